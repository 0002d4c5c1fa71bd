//! Who is compared with whom: a closed second laid out as a judge's tick.
//!
//! Invariant: who is compared with whom follows from numbers of requests and
//! from names, never from failures; else a comparison could be chosen by its result.

use std::collections::BTreeMap;

use judge::tick::{Exposed, GROUPS_MAX, GroupTick, STRATA_MAX, StratumTick};
use judge::{Side, Sums, Tick};
use model::ticks::CLIENT_GROUPS;
use model::{Digest, HostName, Metric, Millis, Timestamp, ZoneName};

use super::roster::{Exposures, Roster, side};
use super::second::{Counted, Latencies, Second, plus};

/// Class of endpoint, and zone when both sides have requests there.
type Stratum = (String, Option<ZoneName>);

/// Numbers of strata: stable over all comparisons of one service in one environment, so
/// that history and comparison speak of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Strata(Vec<Stratum>);

impl Strata {
    /// The last number is everything that came after.
    fn number(&mut self, class: &str, zone: Option<&ZoneName>) -> u8 {
        let known = |(name, place): &Stratum| name == class && place.as_ref() == zone;
        let number = self.0.iter().position(known).unwrap_or_else(|| {
            if self.0.len() < STRATA_MAX - 1 {
                self.0.push((class.to_owned(), zone.cloned()));
                return self.0.len() - 1;
            }
            STRATA_MAX - 1
        });
        u8::try_from(number.min(STRATA_MAX - 1)).unwrap_or(u8::MAX)
    }

    /// In words: `write in zone b`.
    pub(super) fn name(&self, number: u8) -> String {
        match self.0.get(usize::from(number)) {
            Some((class, Some(zone))) if class.is_empty() => format!("zone {zone}"),
            Some((class, Some(zone))) => format!("{class} in zone {zone}"),
            Some((class, None)) if class.is_empty() => "all requests".to_owned(),
            Some((class, None)) => class.clone(),
            None => "other requests".to_owned(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        (0..STRATA_MAX as u8)
            .take(self.0.len())
            .map(|number| self.name(number))
            .collect()
    }
}

/// Requests of one class in one zone, on both sides.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    canary: Counted,
    control: Counted,
}

impl Pair {
    fn on(&mut self, side: Side) -> &mut Counted {
        match side {
            Side::Canary => &mut self.canary,
            Side::Control => &mut self.control,
        }
    }

    fn add(&mut self, other: &Pair) {
        for side in [Side::Canary, Side::Control] {
            let mut from = *other;
            let from = from.on(side);
            let to = self.on(side);
            to.add_sums(from.sums);
            to.add_latency(&from.latency);
        }
    }
}

/// What [`tick`] looks at beside the second itself.
pub(super) struct Lineup<'a> {
    pub(super) roster: &'a Roster,
    /// The bundle that is compared with all others; absent while nothing is released.
    pub(super) canary: Option<Digest>,
    /// When the second began.
    pub(super) start: Timestamp,
    /// Latency is not compared for so long after a restart.
    pub(super) warmup: Millis,
    /// A source counts events of this service.
    pub(super) events: bool,
}

/// A closed second as the judge is told of it; `at` is the caller's.
pub(super) fn tick(second: &Second, lineup: &Lineup<'_>, strata: &mut Strata) -> Tick {
    let mut classes: BTreeMap<&str, BTreeMap<Option<&ZoneName>, Pair>> = BTreeMap::new();
    let mut hosts: BTreeMap<(u8, Side), Sums> = BTreeMap::new();
    for ((digest, host, class), counted) in &second.cells {
        let member = host.as_ref().and_then(|host| lineup.roster.get(host));
        let ran = || member.and_then(|member| member.ran(lineup.start));
        // Not knowing which bundle answered, it is nobody's.
        let Some(digest) = digest.or_else(ran) else {
            continue;
        };
        let on = side(lineup.canary, digest);
        let zones = classes.entry(class).or_default();
        let pair = zones.entry(member.map(|member| &member.zone)).or_default();
        let counts = pair.on(on);
        counts.add_sums(counted.sums);
        if !member.is_some_and(|member| member.warms_up(lineup.start, lineup.warmup)) {
            counts.add_latency(&counted.latency);
        }
        if let Some(member) = member {
            let sums = hosts.entry((member.group, on)).or_default();
            *sums = plus(*sums, counted.sums);
        }
    }
    let mut numbered: BTreeMap<u8, Pair> = BTreeMap::new();
    for (class, zones) in &classes {
        let by_zone = matched(zones);
        for (zone, pair) in zones {
            let number = strata.number(class, zone.filter(|_| by_zone));
            numbered.entry(number).or_default().add(pair);
        }
    }
    Tick {
        at: 0,
        strata: numbered.into_iter().map(stratum).collect(),
        hosts: groups(hosts),
        clients: groups(clients(second, lineup.canary)),
        events: custom(&second.events, lineup).into_iter().collect(),
        gauges: Vec::new(),
    }
}

/// Whether every zone in which the new bundle had requests has the old one's to compare with.
fn matched(zones: &BTreeMap<Option<&ZoneName>, Pair>) -> bool {
    let alone = |pair: &Pair| pair.canary.sums.n > 0 && pair.control.sums.n == 0;
    !zones.contains_key(&None) && !zones.values().any(alone)
}

fn stratum((stratum, pair): (u8, Pair)) -> StratumTick {
    StratumTick {
        stratum,
        canary: pair.canary.sums,
        control: pair.control.sums,
        canary_latency: sparse(&pair.canary.latency),
        control_latency: sparse(&pair.control.latency),
    }
}

fn sparse(latency: &Latencies) -> Vec<(u8, u64)> {
    let buckets = (0..).zip(latency);
    buckets
        .filter(|(_, count)| **count > 0)
        .map(|(bucket, count)| (bucket, *count))
        .collect()
}

fn clients(second: &Second, canary: Option<Digest>) -> BTreeMap<(u8, Side), Sums> {
    const _: () = assert!(CLIENT_GROUPS as usize <= GROUPS_MAX);
    let mut clients: BTreeMap<(u8, Side), Sums> = BTreeMap::new();
    for ((digest, group), sums) in &second.clients {
        let key = (group % CLIENT_GROUPS, side(canary, *digest));
        let sum = clients.entry(key).or_default();
        *sum = plus(*sum, *sums);
    }
    clients
}

fn groups(sums: BTreeMap<(u8, Side), Sums>) -> Vec<GroupTick> {
    sums.into_iter()
        .map(|((group, side), sums)| GroupTick { group, side, sums })
        .collect()
}

/// Events that a source counts, in a second of every host that could have had some.
fn custom(events: &BTreeMap<HostName, u64>, lineup: &Lineup<'_>) -> Option<judge::tick::EventTick> {
    if !lineup.events {
        return None;
    }
    let mut sums = Exposures::default();
    for (host, member) in &lineup.roster.0 {
        let Some(running) = member.ran(lineup.start) else {
            continue;
        };
        let exposed = Exposed {
            events: events.get(host).copied().unwrap_or(0),
            host_ms: 1000,
        };
        sums.add(side(lineup.canary, running), exposed);
    }
    sums.told(Metric::Custom)
}
