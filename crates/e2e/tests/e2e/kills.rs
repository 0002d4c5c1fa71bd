//! `kill -9` at thirty random moments of ten releases.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drill::world::Place;
use jiff::Timestamp;
use model::Digest;
use tokio::time::Instant;
use wire::api::{JournalRecord, ReleaseState, ReleaseView};

use crate::fleet::{self, Fleet, served};
use crate::random::Random;
use crate::record::{self, Sight};
use crate::wait::s;

/// Good and bad in turn.
const RELEASES: u64 = 10;
/// In each release.
const KILLS: usize = 3;
/// A release lasts about so long when nobody is killed; kills fall into this time.
const KILL_WITHIN_MS: [u64; 2] = [11_000, 8_000];
/// Between two looks at what all hosts run.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_in_ten_releases_leave_nothing_in_between() -> Result<()> {
    let random = Random::seeded("thirty kills");
    let shape = fleet::shape(&[("zone-a", 2), ("zone-b", 2)])?;
    fleet::with(
        shape,
        |_| Ok(()),
        async |fleet| kill_all(fleet, random).await,
    )
    .await
}

/// A part of the fleet that can be killed.
#[derive(Debug, Clone)]
enum Part {
    Control,
    Gateway,
    Agent(Place),
}

impl Part {
    fn name(&self) -> String {
        match self {
            Part::Control => "control".into(),
            Part::Gateway => "gateway".into(),
            Part::Agent(place) => format!("agent-{}", place.name),
        }
    }
}

async fn kill_all(fleet: &mut Fleet, mut random: Random) -> Result<()> {
    let load = fleet.customers()?;
    let sights = Arc::new(Mutex::new(Vec::new()));
    let watcher = tokio::spawn(watch(fleet.world.hosts.clone(), Arc::clone(&sights)));
    let mut versions: BTreeMap<String, Digest> = BTreeMap::new();
    let mut table =
        String::from("release  change  ended         took  hosts  killed (when, for how long)\n");
    let mut ended_good = 0;
    let mut home = "1".to_owned();
    for n in 0..RELEASES {
        let good = n % 2 == 0;
        let version = format!("v{n}");
        if good {
            fleet.write_good(&version)?;
        } else {
            fleet.write_bad(&version)?;
        }
        let proposed = fleet.push(&version).await?;
        versions.insert(version.clone(), proposed.digest);
        let kills = kill_some(fleet, &proposed, good, &mut random).await;
        let kills = kills.with_context(|| format!("release {}", proposed.id))?;
        let ended = fleet.over(proposed.id).await?;
        let took = ended
            .ended_at
            .map(|at| at.duration_since(ended.proposed_at).as_secs_f64());
        let _ = writeln!(
            table,
            "{:<7}  {:<6}  {:<11}  {:>4.1} s  {:>5}  {}",
            ended.id.0,
            if good { "good" } else { "bad" },
            ended.state,
            took.unwrap_or_default(),
            ended.exposure.hosts,
            kills.join(", "),
        );
        println!("{}", table.lines().last().unwrap_or_default());
        ensure!(
            good || ended.state == ReleaseState::RolledBack,
            "a bad change became good: {ended:#?}"
        );
        if ended.state == ReleaseState::Good {
            ended_good += 1;
            home = version;
        }
        settled(fleet, &home, &versions)
            .await
            .with_context(|| format!("{ended:#?}"))?;
    }
    watcher.abort();
    load.stop().await;
    let records = fleet.journal().await?;
    let adopted = record::running(&records[..]);
    // Version 1 is what every host was born with.
    let born = records.iter().find_map(|record| match &record.event {
        model::Event::HostEnrolled { adopted, .. } => adopted.first().map(|(_, digest)| *digest),
        _ => None,
    });
    versions.insert("1".into(), born.context("nobody joined")?);
    let sights = sights
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    ensure!(sights.len() > 100, "only {} looks succeeded", sights.len());
    record::explains(&records, &versions, &sights)?;
    let data = fleet.world.folder().join("data").display().to_string();
    fleet
        .plimsoll(&["journal", "verify", "--data", &data])
        .await?
        .exits(0)?;
    println!("{table}");
    println!(
        "{ended_good} of {} good changes ended good; {} looks at {} hosts, {} events",
        RELEASES.div_ceil(2),
        sights.len(),
        adopted.len(),
        records.len()
    );
    Ok(())
}

/// Kills three parts at random moments of a release; each is started again.
async fn kill_some(
    fleet: &mut Fleet,
    release: &ReleaseView,
    good: bool,
    random: &mut Random,
) -> Result<Vec<String>> {
    let within = KILL_WITHIN_MS[usize::from(!good)];
    let mut moments: Vec<u64> = (0..KILLS).map(|_| random.between(0, within)).collect();
    moments.sort_unstable();
    let began = Instant::now();
    let mut told = Vec::new();
    for moment in moments {
        let draw = [
            random.between(0, 3),
            random.between(0, 2),
            random.between(0, 1 << 32),
        ];
        let away = Duration::from_millis(random.between(100, 2_000));
        tokio::time::sleep_until(began + Duration::from_millis(moment)).await;
        let state = fleet
            .release(release.id)
            .await?
            .map(|release| release.state);
        let part = part(fleet, release, draw).await?;
        let over = matches!(state, Some(ReleaseState::Good | ReleaseState::RolledBack));
        told.push(format!(
            "{} ({:.1} s{}, {:.1} s)",
            part.name(),
            began.elapsed().as_secs_f64(),
            if over { ", over" } else { "" },
            away.as_secs_f64()
        ));
        kill(fleet, &part, away)
            .await
            .with_context(|| part.name())?;
    }
    Ok(told)
}

/// The part that a draw means: which kind, whether an agent that is busy, and which.
async fn part(fleet: &Fleet, release: &ReleaseView, [kind, busy, which]: [u64; 3]) -> Result<Part> {
    match kind {
        0 => return Ok(Part::Control),
        1 => return Ok(Part::Gateway),
        _ => {}
    }
    let now = fleet.release(release.id).await?;
    let waves = now
        .iter()
        .flat_map(|release| &release.stages)
        .flat_map(|stage| &stage.waves);
    let changing: Vec<&Place> = waves
        .flat_map(|wave| &wave.hosts)
        .filter(|host| matches!(host.state.as_str(), "ordered" | "reverting"))
        .filter_map(|host| {
            fleet
                .world
                .hosts
                .iter()
                .find(|place| place.name == host.host)
        })
        .collect();
    let all: Vec<&Place> = fleet.world.hosts.iter().collect();
    let from = if busy == 1 && !changing.is_empty() {
        changing
    } else {
        all
    };
    let index = usize::try_from(which % from.len() as u64)?;
    Ok(Part::Agent(from[index].clone()))
}

async fn kill(fleet: &mut Fleet, part: &Part, away: Duration) -> Result<()> {
    let acknowledged = match part {
        Part::Control => newest(fleet).await?,
        Part::Gateway | Part::Agent(_) => None,
    };
    fleet.world.crash(&part.name()).await?;
    tokio::time::sleep(away).await;
    match part {
        Part::Control => fleet.start_control().await?,
        Part::Gateway => fleet.world.start_gateway()?,
        Part::Agent(place) => fleet.world.start_agent(place)?,
    }
    let Some(before) = acknowledged else {
        return Ok(());
    };
    let path = format!("/v1/journal?after={}&limit=1", before.seq - 1);
    let after: Vec<JournalRecord> = fleet.world.client.get(&path).await?;
    ensure!(
        after.first() == Some(&before),
        "an acknowledged event is lost: {before:?} became {after:?}"
    );
    Ok(())
}

/// The newest event that the control plane has shown to anybody.
async fn newest(fleet: &Fleet) -> Result<Option<JournalRecord>> {
    let client = &fleet.world.client;
    let status: wire::api::StatusView = client.get("/v1/status").await?;
    let after = status.position.saturating_sub(1);
    let path = format!("/v1/journal?after={after}&limit=100");
    let records: Vec<JournalRecord> = client.get(&path).await?;
    Ok(records.into_iter().next_back())
}

/// Every host has, serves and is known to run what is good; nothing in between.
async fn settled(fleet: &Fleet, home: &str, versions: &BTreeMap<String, Digest>) -> Result<()> {
    fleet.all_serve(&fleet.world.hosts, home, s(30)).await?;
    let records = fleet.journal().await?;
    let (running, approved) = (record::running(&records), record::approved(&records));
    ensure!(running.len() == fleet.world.hosts.len(), "{running:?}");
    for (host, digest) in &running {
        ensure!(
            approved.contains(digest),
            "{host} runs {digest}, which was never good"
        );
        if let Some(wanted) = versions.get(home) {
            ensure!(
                digest == wanted,
                "{host} runs {digest} by the journal, not {wanted}"
            );
        }
    }
    Ok(())
}

/// Looks again and again at what every host's server runs.
async fn watch(hosts: Vec<Place>, sights: Arc<Mutex<Vec<Sight>>>) {
    loop {
        for place in &hosts {
            let asked = Timestamp::now();
            if let Some(version) = served(place).await {
                let host = place.name.clone();
                let sight = Sight {
                    host,
                    asked,
                    answered: Timestamp::now(),
                    version,
                };
                sights
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(sight);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
