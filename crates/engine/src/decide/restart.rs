//! Restarts: host by host, drained first, as many at a time as capacity allows.
//!
//! Invariant: a restart tells no host while a release of its service is on its way, and no
//! other once one didn't come back; a way back ends it.

use std::collections::{BTreeMap, BTreeSet};

use model::refusal::Code;
use model::{
    Actor, DrainCause, EnvironmentName, Event, Host, HostName, Millis, OrderKind, Permille,
    Refusal, RestartId, ServiceName, Timestamp, ZoneName,
};
use release::{HostLooks, Status};

use super::capacity::{self, Capacity, First};
use super::{bounded, looks, rollback, traffic, unknown_host, unknown_service};
use crate::state::{Restart, Slot};
use crate::watch::CRASH_LOOP_EXITS;
use crate::{SlotStatus, State, Watch};

/// Restarts of one service within [`STORM_SPAN`]: who needs more has a fault that restarts
/// hide, and each costs a part of the capacity.
const STORM_MAX: usize = 4;
const STORM_SPAN: Millis = Millis::seconds(3600);
/// Beyond its own deadline for confirming, a host may take so long until its word is here.
const WORD_WITHIN: Millis = Millis::seconds(10);

/// What a person wants restarted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which service.
    pub service: ServiceName,
    /// Where; absent: where customers are.
    pub environment: Option<EnvironmentName>,
    /// These hosts; none: all.
    pub hosts: Vec<HostName>,
    /// So many at a time; absent: as many as the floor allows.
    pub parallel: Option<u32>,
    /// So many hosts serve meanwhile; absent: three quarters.
    pub floor: Option<Permille>,
    /// In their words.
    pub reason: String,
}

/// A person wants a restart.
pub(super) fn start(
    state: &State,
    watch: &Watch,
    by: Actor,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let Wanted {
        service,
        environment,
        hosts,
        parallel,
        floor,
        reason,
    } = wanted;
    bounded("reason", &reason)?;
    if !state.topology.services.contains_key(&service) {
        return Err(unknown_service(state, &service));
    }
    let environment = match environment {
        Some(environment) => environment,
        None => traffic::serving(state)?,
    };
    let declared: Vec<&Host> = state.topology.hosts_of(&environment, &service).collect();
    let chosen = choose(state, &service, &environment, &declared, &hosts)?;
    quiet(state, &service, &environment, now)?;
    restartable(state, &service, &chosen)?;
    let floor = floor.unwrap_or_else(|| capacity::usual_floor(state, &environment));
    let capacity = Capacity::of(state, watch, (&environment, &service), floor, now);
    let parallel = fits(&capacity, &chosen, declared.len(), parallel, floor)?;
    Ok(vec![Event::RestartStarted {
        restart: RestartId(state.traffic.restarts_given + 1),
        by,
        service,
        environment,
        hosts: chosen,
        parallel,
        floor_permille: floor,
        reason,
    }])
}

/// The hosts that were named, or all; in an order in which no two neighbours share a zone
/// as long as there are others.
fn choose(
    state: &State,
    service: &ServiceName,
    environment: &EnvironmentName,
    declared: &[&Host],
    named: &[HostName],
) -> Result<Vec<HostName>, Refusal> {
    if let Some(stranger) = named
        .iter()
        .find(|name| !declared.iter().any(|host| host.name == **name))
    {
        return Err(match state.topology.host(stranger) {
            None => unknown_host(stranger),
            Some(_) => Refusal::new(
                Code::UnknownHost,
                format!("host {stranger} has no {service} in {environment}"),
                "Name hosts of that service and environment; `plimsoll hosts` lists them.",
            ),
        });
    }
    let mut zones: BTreeMap<&ZoneName, Vec<&HostName>> = BTreeMap::new();
    for host in declared.iter().rev() {
        let wanted = named.is_empty() || named.contains(&host.name);
        if wanted && state.slot(&host.name, service).is_some() {
            zones.entry(&host.zone).or_default().push(&host.name);
        }
    }
    let mut chosen = Vec::new();
    while !zones.is_empty() {
        chosen.extend(zones.values_mut().filter_map(Vec::pop).cloned());
        zones.retain(|_, hosts| !hosts.is_empty());
    }
    if chosen.is_empty() {
        return Err(Refusal::new(
            Code::NoHosts,
            format!("no host of {environment} has an agent for {service}"),
            "Name another environment with `--environment`, or let the hosts join.",
        ));
    }
    Ok(chosen)
}

/// Nothing else is going on, and not too much was.
fn quiet(
    state: &State,
    service: &ServiceName,
    environment: &EnvironmentName,
    now: Timestamp,
) -> Result<(), Refusal> {
    if let Some(active) = state.services.get(service).and_then(|it| it.active) {
        return Err(Refusal::new(
            Code::ReleaseInProgress,
            format!("release {active} of {service} is on its way, and restarts hosts itself"),
            "Wait until it is over, or send it back with `plimsoll rollback`.",
        ));
    }
    if let Some(other) = state.restarting(service, environment) {
        return Err(Refusal::new(
            Code::RestartUnderWay,
            format!(
                "{} restarts {service} in {environment} already (restart {})",
                other.by, other.id
            ),
            format!("Wait for it, or end it with `plimsoll restart --stop {service}`."),
        ));
    }
    let lately = state.traffic.restarts.values().filter(|it| {
        it.service == *service
            && it.environment == *environment
            && Millis::between(it.started_at, now) < STORM_SPAN
    });
    let mut lately: Vec<Timestamp> = lately.map(|it| it.started_at).collect();
    lately.sort();
    let Some(at) = lately
        .len()
        .checked_sub(STORM_MAX)
        .map(|first| lately[first])
    else {
        return Ok(());
    };
    let again = STORM_SPAN.after(at);
    Err(Refusal::new(
        Code::RestartStorm,
        format!(
            "{service} was restarted {} times within an hour: that hides a fault, and costs capacity each time",
            lately.len()
        ),
        format!("Find out what it is that a restart mends. It may be restarted again at {again}."),
    ))
}

/// Somebody knows how to restart what runs there.
fn restartable(state: &State, service: &ServiceName, hosts: &[HostName]) -> Result<(), Refusal> {
    let command = |host: &&HostName| {
        let slot = state.slot(host, service)?;
        let bundle = state.bundles.get(&slot.running)?;
        bundle
            .commands
            .restart
            .as_ref()
            .or(bundle.commands.reload.as_ref())
    };
    match hosts.iter().find(|host| command(host).is_none()) {
        None => Ok(()),
        Some(host) => Err(Refusal::new(
            Code::NotRestartable,
            format!(
                "nobody knows how to restart {service} on {host}: what runs there has no restart command"
            ),
            "Release a bundle with `commands.restart` first, or leave that host out with `--host`.",
        )),
    }
}

/// How many at a time, if the floor allows any.
fn fits(
    capacity: &Capacity,
    chosen: &[HostName],
    hosts: usize,
    parallel: Option<u32>,
    floor: Permille,
) -> Result<u32, Refusal> {
    let max = capacity::out_max(hosts, floor);
    // All at once is an outage, whatever was asked for.
    let max = if hosts > 1 { max.min(hosts - 1) } else { max };
    let below = |message: String, next: String| Err(Refusal::new(Code::BelowFloor, message, next));
    if max == 0 {
        return below(
            format!(
                "{} is the only host: nobody serves while it restarts",
                chosen[0]
            ),
            "If that may be, say `--floor 0%`.".into(),
        );
    }
    let asked = parallel.map_or(max, |asked| asked.max(1) as usize);
    if asked > max {
        let serve = hosts - max;
        return below(
            format!(
                "{asked} of {hosts} hosts at a time would leave fewer than {serve} to serve ({})",
                floor
            ),
            format!("At most {max} at a time: `--parallel {max}`; or lower the floor."),
        );
    }
    let mut trial = capacity.clone();
    if chosen.iter().all(|host| trial.take(host).is_err()) {
        return below(
            capacity.words(),
            "Wait until those are back, or restart them first: name them with `--host`.".into(),
        );
    }
    Ok(u32::try_from(asked).unwrap_or(u32::MAX))
}

/// A person ends it.
pub(super) fn stop(
    state: &State,
    by: Actor,
    service: &ServiceName,
    reason: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    let ours = state.restarts().filter(|it| it.service == *service);
    let events: Vec<Event> = ours
        .map(|it| stopped(it, by.clone(), reason.clone()))
        .collect();
    if events.is_empty() {
        return Err(Refusal::new(
            Code::NothingToLift,
            format!("{service} is not being restarted"),
            "Nothing to do.",
        ));
    }
    Ok(events)
}

fn stopped(restart: &Restart, by: Actor, reason: String) -> Event {
    Event::RestartStopped {
        restart: restart.id,
        by,
        reason,
    }
}

/// What a restart does now.
enum Step {
    Wait(String),
    Tell(Vec<HostName>),
    Stop(String),
    End,
}

/// One step of each restart.
pub(super) fn tick(
    state: &State,
    watch: &Watch,
    leased: &BTreeSet<HostName>,
    now: Timestamp,
) -> Vec<Event> {
    let restarts = state.restarts();
    restarts
        .flat_map(|restart| match next(state, watch, restart, leased, now) {
            Step::Wait(_) => Vec::new(),
            Step::Stop(reason) => vec![stopped(restart, Actor::plimsoll(), reason)],
            Step::End => vec![Event::RestartEnded {
                restart: restart.id,
                took_ms: Millis::between(restart.started_at, now),
            }],
            Step::Tell(hosts) => tell(state, watch, restart, &hosts, now),
        })
        .collect()
}

/// Why a restart doesn't go on at this moment, in one sentence.
pub fn restart_waits(
    state: &State,
    watch: &Watch,
    restart: &Restart,
    now: Timestamp,
) -> Option<String> {
    if restart.end.is_some() {
        return None;
    }
    match next(state, watch, restart, &BTreeSet::new(), now) {
        Step::Wait(reason) => Some(reason),
        Step::Tell(_) | Step::Stop(_) | Step::End => None,
    }
}

fn next(
    state: &State,
    watch: &Watch,
    restart: &Restart,
    leased: &BTreeSet<HostName>,
    now: Timestamp,
) -> Step {
    if let Some(reason) = trouble(state, watch, restart, now) {
        return Step::Stop(reason);
    }
    let declared = |host: &&HostName| state.topology.host(host).is_some();
    let left = restart.hosts.iter().filter(declared);
    let left: Vec<&HostName> = left.filter(|it| !restart.done.contains(*it)).collect();
    if left.is_empty() {
        return Step::End;
    }
    let place = (&restart.environment, &restart.service);
    let mut capacity = Capacity::of(state, watch, place, restart.floor, now);
    let mut waits = None;
    let (mut under_way, mut drained, mut ready) = (0, Vec::new(), Vec::new());
    for host in left {
        let Some(slot) = state.slot(host, &restart.service) else {
            continue;
        };
        if told(restart, slot) {
            under_way += 1;
            waits.get_or_insert_with(|| format!("{host} to come back"));
            continue;
        }
        let ordered = looks::may_be_ordered(state, watch, &restart.service, host, leased, now);
        if let HostLooks::Blocked(reason) = ordered {
            let ours = slot
                .drain
                .as_ref()
                .is_some_and(|it| it.cause == of_restart(restart));
            under_way += usize::from(ours);
            waits.get_or_insert(reason);
            continue;
        }
        match &slot.drain {
            Some(drain) => {
                let ours = drain.cause == of_restart(restart);
                under_way += usize::from(ours);
                match capacity::emptying(watch, place, host, drain, now) {
                    Some(reason) => drop(waits.get_or_insert(reason)),
                    None if ours => drained.push(host.clone()),
                    // It was out before its turn came.
                    None => ready.push(host.clone()),
                }
            }
            None => match capacity.take(host) {
                Ok(()) => ready.push(host.clone()),
                Err(reason) => drop(waits.get_or_insert(reason)),
            },
        }
    }
    let room = (restart.parallel.max(1) as usize).saturating_sub(under_way);
    drained.extend(ready.into_iter().take(room));
    match drained.is_empty() {
        true => Step::Wait(waits.unwrap_or_else(|| "its hosts".into())),
        false => Step::Tell(drained),
    }
}

fn of_restart(restart: &Restart) -> DrainCause {
    DrainCause::Restart {
        restart: restart.id,
    }
}

/// Whether the host's newest order is this restart's.
fn told(restart: &Restart, slot: &Slot) -> bool {
    slot.order.as_ref().is_some_and(|order| {
        order.kind == OrderKind::Restart && order.issued_at >= restart.started_at
    })
}

/// Why it goes no further.
fn trouble(state: &State, watch: &Watch, restart: &Restart, now: Timestamp) -> Option<String> {
    let active = state
        .services
        .get(&restart.service)
        .and_then(|it| it.active);
    let active = active.and_then(|id| state.releases.get(&id));
    if let Some(release) = active.filter(|it| matches!(it.status, Status::RollingBack(_))) {
        return Some(format!("release {} is on its way back", release.id));
    }
    let fails = watch.fleet_fails_since(&restart.environment, &restart.service);
    if fails.is_some_and(|since| since >= restart.started_at) {
        return Some(format!("{} fails as a whole since then", restart.service));
    }
    restart.hosts.iter().find_map(|host| {
        let slot = state.slot(host, &restart.service)?;
        if !told(restart, slot) {
            return None;
        }
        broken(watch, restart, host, slot, now).map(|why| format!("{host}: {why}"))
    })
}

/// Why a host that was told to restart doesn't serve as it did.
fn broken(
    watch: &Watch,
    restart: &Restart,
    host: &HostName,
    slot: &Slot,
    now: Timestamp,
) -> Option<String> {
    let order = slot.order.as_ref()?;
    match &slot.status {
        SlotStatus::RevertFailing { phase, reason } | SlotStatus::Failed { phase, reason } => Some(
            format!("does not come back ({phase}: {reason}); it keeps trying"),
        ),
        SlotStatus::Idle | SlotStatus::Ordered { .. } | SlotStatus::Holding { .. } => {
            let listened = order.issued_at.max(watch.since());
            let within = Millis(order.confirm_within_ms.0.saturating_add(WORD_WITHIN.0));
            (within.after(listened) < now).then(|| format!("is not back within {within}"))
        }
        SlotStatus::Confirmed { .. } => {
            if let Some(reason) = &slot.unhealthy {
                return Some(format!("was restarted and is not healthy: {reason}"));
            }
            let beat = watch.last_beat(host, &restart.service);
            let beat = beat.filter(|beat| beat.generation == order.generation)?;
            let exits = beat.exits_lately();
            (exits >= CRASH_LOOP_EXITS)
                .then(|| format!("exited {exits} times since it was restarted"))
        }
    }
}

/// Out of the routes first, or at once to the host.
fn tell(
    state: &State,
    watch: &Watch,
    restart: &Restart,
    hosts: &[HostName],
    now: Timestamp,
) -> Vec<Event> {
    let (service, environment) = (&restart.service, &restart.environment);
    let place = (environment, service);
    let serving = Capacity::of(state, watch, place, restart.floor, now).serving();
    let of_host = |host: &HostName| {
        if let First::Drain = capacity::first(state, watch, place, host, serving, now) {
            return Some(Event::HostDrained {
                host: host.clone(),
                service: service.clone(),
                cause: of_restart(restart),
            });
        }
        let slot = state.slot(host, service)?;
        let release = slot.order.as_ref().map(|order| order.release);
        let order = rollback::order(
            state,
            host,
            service,
            release.unwrap_or_default(),
            slot.running,
            OrderKind::Restart,
            now,
        );
        order.map(|order| Event::HostOrdered { order })
    };
    hosts.iter().filter_map(of_host).collect()
}

/// Why releases of a service wait: its hosts are being restarted.
pub(super) fn in_the_way(
    state: &State,
    service: &ServiceName,
    environment: &EnvironmentName,
) -> Option<String> {
    let restart = state.restarting(service, environment)?;
    Some(format!(
        "{service} is being restarted in {environment} (restart {})",
        restart.id
    ))
}
