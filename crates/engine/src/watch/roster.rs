//! Who serves, and on which side: a service's hosts in one environment at one moment.
//!
//! Invariant: a host that is being changed is on no side, because nobody can
//! say which bundle did what it did.

use std::collections::{BTreeMap, BTreeSet};

use judge::tick::{EventTick, Exposed, GROUPS_MAX, GaugeSample};
use judge::{Side, Tick};
use model::{Digest, EnvironmentName, HostName, Metric, Millis, ServiceName, Timestamp, ZoneName};

use super::beats::{GAUGES, Seen};
use super::{LOST_AFTER, SILENT_AFTER};
use crate::{SlotStatus, State};

/// One host.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) zone: ZoneName,
    pub(super) group: u8,
    /// What it runs, unless it is being changed.
    pub(super) running: Option<Digest>,
    /// When it confirmed that; absent for what it was found with.
    pub(super) since: Option<Timestamp>,
}

impl Member {
    /// What it ran in a second that began at `start`.
    pub(super) fn ran(&self, start: Timestamp) -> Option<Digest> {
        self.running
            .filter(|_| self.since.is_none_or(|since| since <= start))
    }

    /// Whether it still warms up after its last restart.
    pub(super) fn warms_up(&self, at: Timestamp, warmup: Millis) -> bool {
        self.since
            .is_some_and(|since| Millis::between(since, at) < warmup)
    }
}

/// Numbers of hosts in comparisons: stable while a host is declared.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    of: BTreeMap<HostName, u8>,
    /// Hosts in each.
    sizes: [u32; GROUPS_MAX],
}

impl Default for Groups {
    fn default() -> Groups {
        Groups {
            of: BTreeMap::new(),
            sizes: [0; GROUPS_MAX],
        }
    }
}

impl Groups {
    fn number(&mut self, host: &HostName) -> u8 {
        if let Some(group) = self.of.get(host) {
            return *group;
        }
        // Beyond as many hosts as there are groups, a host shares one, by its name alone.
        let hashed =
            || usize::from(Digest::of(host.as_str().as_bytes()).as_bytes()[0]) % GROUPS_MAX;
        let free = self.sizes.iter().position(|size| *size == 0);
        let group = free.unwrap_or_else(hashed);
        self.sizes[group] += 1;
        let group = u8::try_from(group).unwrap_or(u8::MAX);
        self.of.insert(host.clone(), group);
        group
    }

    /// Forgets hosts that are not declared any more.
    fn keep(&mut self, hosts: &BTreeMap<HostName, Member>) {
        if self.of.len() <= hosts.len() {
            return;
        }
        let sizes = &mut self.sizes;
        self.of.retain(|host, group| {
            let keep = hosts.contains_key(host);
            sizes[usize::from(*group)] -= u32::from(!keep);
            keep
        });
    }

    /// The host of a group that has only one.
    pub(super) fn only_host(&self, group: u8) -> Option<&HostName> {
        let mut hosts = self.of.iter().filter(|(_, known)| **known == group);
        let first = hosts.next();
        first
            .filter(|_| hosts.next().is_none())
            .map(|(host, _)| host)
    }

    /// Names by number, hosts that share one together.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec![String::new(); GROUPS_MAX];
        for (host, group) in &self.of {
            let name = &mut names[usize::from(*group)];
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(host.as_str());
        }
        let used = names.iter().rposition(|name| !name.is_empty());
        names.truncate(used.map_or(0, |last| last + 1));
        names
    }
}

/// A service's hosts in one environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Roster(pub(super) BTreeMap<HostName, Member>);

impl Roster {
    pub(super) fn of(
        state: &State,
        environment: &EnvironmentName,
        service: &ServiceName,
        groups: &mut Groups,
    ) -> Roster {
        let declared = state.topology.hosts_of(environment, service);
        let members = declared.filter_map(|host| {
            let slot = state.slot(&host.name, service)?;
            let (running, since) = match slot.status {
                SlotStatus::Confirmed { since } => (Some(slot.running), Some(since)),
                SlotStatus::Idle | SlotStatus::Failed { .. } => (Some(slot.running), None),
                SlotStatus::Ordered { .. }
                | SlotStatus::Holding { .. }
                | SlotStatus::RevertFailing { .. } => (None, None),
            };
            let member = Member {
                zone: host.zone.clone(),
                group: groups.number(&host.name),
                running,
                since,
            };
            Some((host.name.clone(), member))
        });
        let members: BTreeMap<_, _> = members.collect();
        groups.keep(&members);
        Roster(members)
    }

    pub(super) fn get(&self, host: &HostName) -> Option<&Member> {
        self.0.get(host)
    }
}

/// On which side a bundle is; without a release on its way all are the old one.
pub(super) fn side(canary: Option<Digest>, digest: Digest) -> Side {
    if canary == Some(digest) {
        Side::Canary
    } else {
        Side::Control
    }
}

/// What hosts themselves said since `since`, added to `tick`.
pub(super) fn add_hosts(
    tick: &mut Tick,
    roster: &Roster,
    hosts: &mut BTreeMap<HostName, Seen>,
    service: &ServiceName,
    canary: Option<Digest>,
    [since, now]: [Timestamp; 2],
) {
    let mut crashes = Exposures::default();
    let mut heartbeats = Exposures::default();
    let mut gauges: BTreeMap<(u8, u8, Side), (u64, u64)> = BTreeMap::new();
    let shared = shared_machines(roster, hosts);
    for (name, member) in &roster.0 {
        let Some(seen) = hosts.get_mut(name) else {
            continue;
        };
        if let Some(exits) = seen.take_exits(service) {
            crashes.add(side(canary, exits.running), exits.exposed);
        }
        let Some(running) = member.running else {
            continue;
        };
        let on = side(canary, running);
        heartbeats.add(on, missed(seen.at, since, now));
        if seen.machine.is_some_and(|it| shared.contains(&it)) {
            continue;
        }
        for (gauge, permille) in seen.gauges_in([since, now]) {
            let (sum, count) = gauges.entry((gauge, member.group, on)).or_default();
            *sum += u64::from(permille);
            *count += 1;
        }
    }
    tick.events.extend(crashes.told(Metric::Crashes));
    tick.events.extend(heartbeats.told(Metric::Heartbeats));
    tick.gauges = gauges
        .into_iter()
        .map(|((gauge, group, side), (sum, count))| GaugeSample {
            gauge,
            group,
            side,
            // Both counts are of the same hosts, so the mean is below 1000.
            permille: u16::try_from(sum / count.max(1)).unwrap_or(1000),
        })
        .collect();
}

/// Machines on which several of these hosts are. How full such a machine is says nothing of a
/// bundle: all of them fill it, and each looks at it at another moment.
fn shared_machines(roster: &Roster, hosts: &BTreeMap<HostName, Seen>) -> BTreeSet<Digest> {
    let machines = roster.0.keys().filter_map(|name| hosts.get(name)?.machine);
    let mut met = BTreeSet::new();
    machines.filter(|machine| !met.insert(*machine)).collect()
}

const _: () = assert!(GAUGES.len() <= judge::tick::GAUGES_MAX);

/// A host that falls silent is one event, at the moment when it is overdue. Its going on
/// being silent is no news: the next ten seconds would depend on the last.
fn missed(heard: Timestamp, since: Timestamp, now: Timestamp) -> Exposed {
    let silent = Millis::between(heard, now);
    let overdue = Millis::between(heard, since) < SILENT_AFTER && silent >= SILENT_AFTER;
    Exposed {
        events: u64::from(overdue),
        host_ms: if silent < LOST_AFTER {
            Millis::between(since, now).0
        } else {
            0
        },
    }
}

/// Events of one metric, on both sides.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Exposures {
    canary: Exposed,
    control: Exposed,
}

impl Exposures {
    pub(super) fn add(&mut self, side: Side, more: Exposed) {
        let sum = match side {
            Side::Canary => &mut self.canary,
            Side::Control => &mut self.control,
        };
        sum.events = sum.events.saturating_add(more.events);
        sum.host_ms = sum.host_ms.saturating_add(more.host_ms);
    }

    /// Nothing when nobody could have had any.
    pub(super) fn told(self, metric: Metric) -> Option<EventTick> {
        let exposed = self.canary.host_ms > 0 || self.control.host_ms > 0;
        exposed.then_some(EventTick {
            metric,
            canary: self.canary,
            control: self.control,
        })
    }
}
