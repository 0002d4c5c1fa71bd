//! Who may be taken out of service now, and whether that host is empty yet.
//!
//! Invariant: a step forward or a restart never takes a host that serves when that would
//! leave fewer than the floor. Ways back don't ask.

use std::collections::BTreeMap;

use model::{
    DrainCause, EnvironmentName, Event, HostName, Millis, Permille, Role, ServiceName, Timestamp,
};

use crate::due::is_routed;
use crate::state::{Drain, Slot};
use crate::watch::SILENT_AFTER;
use crate::{State, Watch};

/// Of the hosts where customers are, so many serve at least when nobody says otherwise.
const FLOOR: Permille = match Permille::new(750) {
    Some(floor) => floor,
    None => Permille::ALL,
};
/// A drained host is told to restart after this long, whatever it still has: requests end by
/// the gateway's deadline, but tunnels and streams may go on for ever.
pub(super) const DRAIN_MAX: Millis = Millis::seconds(10);
/// One that still was not told serves again: something else is in the way.
const LET_IN_AFTER: Millis = Millis::seconds(20);

/// How many hosts of a service may be out at once, and which are.
#[derive(Debug, Clone)]
pub(super) struct Capacity {
    hosts: usize,
    floor: Permille,
    /// With why.
    out: BTreeMap<HostName, String>,
    max: usize,
}

/// The floor of an environment, if the plan has none.
pub(super) fn usual_floor(state: &State, environment: &EnvironmentName) -> Permille {
    let last = state.topology.environments.last();
    match last.is_some_and(|last| last.name == *environment) {
        true => FLOOR,
        false => Permille::NONE,
    }
}

/// Of `hosts`, so many may be out at once. Of two or more one always may, or nothing could
/// ever be changed; and never all, unless nobody has to serve.
pub(super) fn out_max(hosts: usize, floor: Permille) -> usize {
    let serve = usize::try_from(floor.share_of(hosts as u64)).unwrap_or(hosts);
    match (hosts, floor) {
        (_, Permille::NONE) => hosts,
        (0 | 1, _) => 0,
        _ => hosts.saturating_sub(serve).max(1),
    }
}

impl Capacity {
    pub(super) fn of(
        state: &State,
        watch: &Watch,
        (environment, service): (&EnvironmentName, &ServiceName),
        floor: Permille,
        now: Timestamp,
    ) -> Capacity {
        let declared = state.topology.hosts_of(environment, service);
        let slots: Vec<(&HostName, &Slot)> = declared
            .filter_map(|host| Some((&host.name, state.slot(&host.name, service)?)))
            .collect();
        let out = slots.iter().filter_map(|(host, slot)| {
            let why = why_out(state, watch, host, slot, now)?;
            Some(((*host).clone(), why))
        });
        Capacity {
            hosts: slots.len(),
            floor,
            out: out.collect(),
            max: out_max(slots.len(), floor),
        }
    }

    /// Takes a host out. One that serves nobody costs nothing, and the only one is told as it is.
    ///
    /// # Errors
    /// Why it must stay, in one sentence.
    pub(super) fn take(&mut self, host: &HostName) -> Result<(), String> {
        if self.out.contains_key(host) || self.hosts == 1 {
            return Ok(());
        }
        if self.out.len() < self.max {
            self.out.insert(host.clone(), "is being changed".into());
            return Ok(());
        }
        Err(self.words())
    }

    /// Why no other host may go, in one sentence.
    pub(super) fn words(&self) -> String {
        let out: Vec<String> = self
            .out
            .iter()
            .take(3)
            .map(|(host, why)| format!("{host} {why}"))
            .collect();
        let more = match self.out.len().saturating_sub(out.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let serve = self.hosts - self.max;
        format!(
            "{serve} of {} hosts have to serve ({}), and {} {} out: {}{more}",
            self.hosts,
            self.floor,
            self.out.len(),
            if self.out.len() == 1 { "is" } else { "are" },
            out.join(", "),
        )
    }

    /// Hosts that serve.
    pub(super) fn serving(&self) -> usize {
        self.hosts - self.out.len()
    }
}

/// Why a host serves nobody, or not as it should.
fn why_out(
    state: &State,
    watch: &Watch,
    host: &HostName,
    slot: &Slot,
    now: Timestamp,
) -> Option<String> {
    if slot.drain.is_some() {
        return Some("is drained".into());
    }
    if slot.in_change() {
        return Some("is being changed".into());
    }
    if !is_routed(state, slot) {
        return Some("is on its way back".into());
    }
    if slot.unhealthy.is_some() {
        return Some("is not healthy".into());
    }
    let silent = watch.silent_for(host, now);
    (silent >= SILENT_AFTER).then(|| format!("has not been heard from for {silent}"))
}

/// What is done first with a host that is to be ordered.
pub(super) enum First {
    /// Nothing: it can be told.
    Nothing,
    /// It is taken out of the routes.
    Drain,
}

/// Whether a host has to be drained before it is told. Not the only one that serves: its
/// requests have nowhere else to go, and waiting would only make them wait.
pub(super) fn first(
    state: &State,
    watch: &Watch,
    (environment, service): (&EnvironmentName, &ServiceName),
    host: &HostName,
    serving: usize,
    now: Timestamp,
) -> First {
    let Some(slot) = state.slot(host, service) else {
        return First::Nothing;
    };
    let serves = is_routed(state, slot);
    // Gateways have tokens of this role; where there is none there can be no gateway.
    let may_be = |now| watch.is_deaf(now) && state.tokens.values().any(|it| it.role == Role::Agent);
    let routed = watch.has_gateway(environment, now) || may_be(now);
    match serves && serving > 1 && routed {
        true => First::Drain,
        false => First::Nothing,
    }
}

/// What the restart of a drained host waits for; `None` once nothing does.
pub(super) fn emptying(
    watch: &Watch,
    (environment, service): (&EnvironmentName, &ServiceName),
    host: &HostName,
    drain: &Drain,
    now: Timestamp,
) -> Option<String> {
    if Millis::between(drain.since, now) >= DRAIN_MAX {
        return None;
    }
    watch.not_empty(environment, (service, host), drain.since, now)
}

/// Hosts that were drained to be told something and were not: they serve again.
pub(super) fn let_in(state: &State, now: Timestamp) -> Vec<Event> {
    let slots = state.hosts.iter();
    let slots = slots.flat_map(|(host, known)| known.slots.iter().map(move |it| (host, it)));
    let stale = slots.filter(|(_, (_, slot))| {
        slot.drain.as_ref().is_some_and(|drain| {
            let person = matches!(drain.cause, DrainCause::Person { .. });
            !person && Millis::between(drain.since, now) >= LET_IN_AFTER
        })
    });
    stale
        .map(|(host, (service, _))| Event::HostUndrained {
            host: host.clone(),
            service: service.clone(),
            by: model::Actor::plimsoll(),
            reason: "it was drained to be changed, and could not be told".into(),
        })
        .collect()
}
