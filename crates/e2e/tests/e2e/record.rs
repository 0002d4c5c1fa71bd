//! What the journal says of each host, to be held against what was seen.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use model::{Digest, Event, Generation, HostName};
use wire::api::JournalRecord;

/// A version that a host's server was seen to run at some moment in between.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) host: HostName,
    pub(crate) asked: Timestamp,
    pub(crate) answered: Timestamp,
    pub(crate) version: String,
}

/// What each host runs by the journal's last word.
pub(crate) fn running(records: &[JournalRecord]) -> BTreeMap<HostName, Digest> {
    let mut running = BTreeMap::new();
    for record in records {
        match &record.event {
            Event::HostEnrolled { host, adopted, .. } => {
                running.extend(adopted.iter().map(|(_, digest)| (host.clone(), *digest)));
            }
            Event::HostConfirmed { host, digest, .. }
            | Event::HostFailed {
                host,
                running: digest,
                ..
            } => {
                running.insert(host.clone(), *digest);
            }
            _ => {}
        }
    }
    running
}

/// What hosts were born with, and what became good.
pub(crate) fn approved(records: &[JournalRecord]) -> BTreeSet<Digest> {
    let mut proposed = BTreeMap::new();
    let mut approved = BTreeSet::new();
    for record in records {
        match &record.event {
            Event::HostEnrolled { adopted, .. } => {
                approved.extend(adopted.iter().map(|(_, digest)| *digest));
            }
            Event::ReleaseProposed {
                release, digest, ..
            } => {
                proposed.insert(*release, *digest);
            }
            Event::ReleaseGood { release, .. } => approved.extend(proposed.get(release)),
            _ => {}
        }
    }
    approved
}

/// No host was ever seen with a version that the journal had not ordered to it
/// by then, nor with another than the one it had settled on.
pub(crate) fn explains(
    records: &[JournalRecord],
    versions: &BTreeMap<String, Digest>,
    sights: &[Sight],
) -> Result<()> {
    for sight in sights {
        let digest = versions.get(&sight.version);
        let digest = *digest.with_context(|| format!("never released: {sight:?}"))?;
        let allowed = allowed(records, sight);
        let names = |digest: &Digest| {
            let known = versions.iter().find(|(_, known)| *known == digest);
            known.map_or_else(|| digest.short(), |(version, _)| version.clone())
        };
        ensure!(
            allowed.contains(&digest),
            "{sight:?}, but the journal allows {:?}",
            allowed.iter().map(names).collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// What a host may have run at the time of a sight: what it had settled on, and
/// what it was ordered to since.
fn allowed(records: &[JournalRecord], sight: &Sight) -> BTreeSet<Digest> {
    let mut allowed = BTreeSet::new();
    // A settled host is at rest, unless it says later that it went back by itself.
    let relapsed = |wanted: Generation, from: usize| {
        records[from..].iter().any(|record| {
            matches!(&record.event, Event::HostFailed { host, generation, .. }
                if *host == sight.host && *generation == wanted)
        })
    };
    for (at, record) in records.iter().enumerate() {
        if record.at > sight.answered {
            break;
        }
        match &record.event {
            Event::HostEnrolled { host, adopted, .. } if *host == sight.host => {
                allowed.extend(adopted.iter().map(|(_, digest)| *digest));
            }
            Event::HostOrdered { order } if order.host == sight.host => {
                allowed.insert(order.digest);
            }
            Event::HostConfirmed {
                host,
                generation,
                digest,
                ..
            } if *host == sight.host && record.at < sight.asked && !relapsed(*generation, at) => {
                allowed = BTreeSet::from([*digest]);
            }
            Event::HostFailed { host, running, .. }
                if *host == sight.host && record.at < sight.asked =>
            {
                // It may have been ordered elsewhere in the meantime.
                allowed.insert(*running);
            }
            _ => {}
        }
    }
    allowed
}
