//! What stands between a release and the last environment of its pipeline.
//!
//! [`checklist`] says where the release stands at each gate, for people;
//! [`step`] says what to do next, for the machine. Both read the same facts:
//! what the release's own events told ([`crate::state::Seen`]) and what its
//! surroundings demand ([`Demands`]).
//!
//! Invariant: [`Gating::Open`] is answered only when every demanded gate was
//! passed, by the release as it is now.

mod checklist;
mod rehearsal;

use std::collections::BTreeSet;

use model::gate::{Demand, ProbeVerdict};
use model::verdict::Evidence;
use model::{Digest, Gate, HostName, Millis, Rule, Timestamp, Verdict};

pub use checklist::checklist;
pub use rehearsal::{Act, Came, RehearsalHost, program};

use crate::Release;

/// Probes older than this don't count when production is opened; they are made again.
pub const PROBES_FRESH: Millis = Millis::seconds(600);
/// So long after its last step a rehearsal waits for the totals of its load.
pub const LOAD_WITHIN: Millis = Millis::seconds(15);

/// What the surroundings of a release demand of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demands {
    /// Gates that a break-glass leaves out.
    pub waived: BTreeSet<Gate>,
    /// Which test host goes back and forth, when that is demanded.
    pub rehearsal: Option<HostName>,
    /// Going back may take this long.
    pub revert_within: Option<Millis>,
    /// Requests are sent meanwhile, and their totals are waited for.
    pub load: bool,
    /// Old beside new, when both files and packages change.
    pub matrix: Demand,
    /// The two mixed bundles, when there are any.
    pub mixed: Option<(Digest, Digest)>,
    /// Which test host tries broken variants, when there are documents for it.
    pub hostile: Option<HostName>,
    /// Who must probe.
    pub probing: Vec<Probing>,
    /// How many people must agree; 0 for a change without high risk.
    pub approvals: u32,
    /// Names of those who agreed to exactly that.
    pub approved_by: Vec<String>,
    /// Keys of which one must have signed the test's result too, when it has not.
    pub countersigners: usize,
    /// Why what was checked and tested counts no longer.
    pub void: Option<String>,
    /// Why nothing may enter the last environment now.
    pub frozen: Option<String>,
    /// In words: what went into the static checks, and into compatibility.
    pub checks: String,
    /// The same for compatibility.
    pub compatibility: String,
}

/// Hosts of one zone that probe the same references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probing {
    /// Environment and zone, for people.
    pub place: String,
    /// Those that are asked.
    pub hosts: Vec<HostName>,
    /// So many must answer.
    pub quorum: usize,
}

/// What gates want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gating {
    /// Nothing yet, and why.
    Wait(String),
    /// The release may not go on.
    Fail(Verdict),
    /// Ways back are to be rehearsed on this host.
    Rehearse(HostName),
    /// A step of the rehearsal.
    Act(rehearsal::Act),
    /// Mixed bundles are to be tried next.
    Mix,
    /// Everything before production was passed.
    Seal,
    /// Probes are too old.
    Recheck(String),
    /// Production may be opened.
    Open,
}

/// A gate's no, at whatever time it comes: while the test still runs, too.
pub fn failure(release: &Release, demands: &Demands) -> Option<Verdict> {
    probes_failed(release, demands).or_else(|| trials_failed(release, demands))
}

/// What to do once every wave before production has passed.
pub fn step(
    release: &Release,
    demands: &Demands,
    host: Option<&RehearsalHost>,
    now: Timestamp,
) -> Gating {
    if let Some(verdict) = failure(release, demands) {
        return Gating::Fail(verdict);
    }
    if let Some(reason) = &demands.void {
        return Gating::Fail(no(Rule::Attestation, reason.clone()));
    }
    if release.tested.is_some() {
        return sealed(release, demands, now);
    }
    if let Some(host) = &demands.hostile
        && !release.seen.trials.contains_key(host)
        && !demands.waived.contains(&Gate::Hostile)
    {
        let wait = match broken(release, "hostile", host) {
            Some(reason) => format!("{host} can't try broken variants: {reason}"),
            None => format!("{host} gives broken variants to the bundle's own check"),
        };
        return Gating::Wait(wait);
    }
    if let Some(gating) = rehearsal::step(release, demands, host, now) {
        return gating;
    }
    match missing_probes(release, demands) {
        Some(missing) => Gating::Wait(missing),
        None => Gating::Seal,
    }
}

fn sealed(release: &Release, demands: &Demands, now: Timestamp) -> Gating {
    let agreed = demands.approved_by.len();
    let needed = demands.approvals as usize;
    if agreed < needed && !demands.waived.contains(&Gate::Approval) {
        return Gating::Wait(approval_wait(release, demands));
    }
    if let Some(frozen) = &demands.frozen {
        return Gating::Wait(frozen.clone());
    }
    if let Some(missing) = missing_probes(release, demands) {
        return Gating::Wait(missing);
    }
    let oldest = release.seen.probes.values().map(|(at, _)| *at).min();
    if let Some(oldest) = oldest
        && Millis::between(oldest, now) > PROBES_FRESH
        && !demands.waived.contains(&Gate::References)
    {
        let age = Millis::between(oldest, now);
        return Gating::Recheck(format!("its references were probed {age} ago"));
    }
    if release.attestation.is_none() {
        return Gating::Wait("the test's result is being signed".into());
    }
    if demands.countersigners > 0 {
        return Gating::Wait(countersign_wait(release, demands));
    }
    Gating::Open
}

fn approval_wait(release: &Release, demands: &Demands) -> String {
    let missing = (demands.approvals as usize).saturating_sub(demands.approved_by.len());
    let people = if missing == 1 { "person" } else { "people" };
    format!(
        "needs {missing} {people} other than {}: `plimsoll approve {}`",
        release.author, release.id
    )
}

fn countersign_wait(release: &Release, demands: &Demands) -> String {
    let keys = match demands.countersigners {
        1 => "the key".to_owned(),
        count => format!("one of {count} keys"),
    };
    format!(
        "needs a signature of {keys} that its rules name: `plimsoll attest countersign {}`",
        release.id
    )
}

fn no(rule: Rule, reason: String) -> Verdict {
    Verdict::Fail {
        rule,
        reason,
        evidence: Evidence::default(),
    }
}

fn probes_failed(release: &Release, demands: &Demands) -> Option<Verdict> {
    if demands.waived.contains(&Gate::References) {
        return None;
    }
    // Before it sees production nothing depends on the references; after that the judge decides.
    let bad: Vec<(&HostName, &model::gate::Probe)> = release
        .seen
        .probes
        .iter()
        .flat_map(|(host, (_, probes))| probes.iter().map(move |probe| (host, probe)))
        .filter(|(_, probe)| probe.verdict != ProbeVerdict::Answers)
        .collect();
    let (_, first) = bad.first()?;
    let reference = release.checked.references.get(first.reference as usize);
    let of = reference.map_or(String::new(), |reference| {
        format!("{}:{}, {}: ", reference.file, reference.line, reference.at)
    });
    let hosts: BTreeSet<&HostName> = bad.iter().map(|(host, _)| *host).collect();
    let asked = release.seen.probes.len();
    let names: Vec<&str> = hosts.iter().take(3).map(|host| host.as_str()).collect();
    let more = hosts.len().saturating_sub(names.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let reason = format!(
        "{of}{}; seen from {}{more} ({} of {asked} hosts asked so far)",
        first.detail,
        names.join(", "),
        hosts.len()
    );
    Some(no(Rule::References, reason))
}

fn trials_failed(release: &Release, demands: &Demands) -> Option<Verdict> {
    if demands.waived.contains(&Gate::Hostile) {
        return None;
    }
    let trials = release.seen.trials.values().flat_map(|(_, trials)| trials);
    let bad: Vec<_> = trials.filter(|trial| !trial.ok).collect();
    let first = bad.first()?;
    let more = match bad.len() {
        1 => String::new(),
        count => format!("; {count} variants in all"),
    };
    let reason = format!(
        "the check given {} {}: {}{more}",
        first.file, first.variant, first.detail
    );
    Some(no(Rule::Hostile, reason))
}

/// Why a host could not do a task, if it said so.
fn broken<'a>(release: &'a Release, task: &str, host: &HostName) -> Option<&'a str> {
    let key = format!("{task} {host}");
    release.seen.broken.get(&key).map(String::as_str)
}

/// Which probes are still waited for; `None` once enough hosts of each zone answered.
fn missing_probes(release: &Release, demands: &Demands) -> Option<String> {
    if demands.waived.contains(&Gate::References) {
        return None;
    }
    let short = demands.probing.iter().find_map(|probing| {
        let asked = probing.hosts.iter();
        let done = asked
            .filter(|host| release.seen.probes.contains_key(*host))
            .count();
        (done < probing.quorum).then_some((probing, done))
    });
    let (probing, done) = short?;
    let broken = probing
        .hosts
        .iter()
        .find_map(|host| broken(release, "probe", host));
    let why = broken.map_or(String::new(), |reason| format!(" ({reason})"));
    Some(format!(
        "references: {done} of {} hosts of {} have probed{why}",
        probing.quorum, probing.place
    ))
}
