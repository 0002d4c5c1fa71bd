//! Whose requests are served by which hosts, as people want it: drains, shifts, ramps.
//!
//! Invariant: a ramp goes up only on answers that came since its last step, and comes down by
//! itself when they are bad.

use model::refusal::Code;
use model::{
    Actor, Digest, DrainCause, EnvironmentName, Event, HostName, Millis, Permille, Refusal,
    ServiceName, Timestamp,
};
use release::{Release, Status};

use super::capacity::{self, Capacity};
use super::{bounded, unknown_host, unknown_service};
use crate::due::is_routed;
use crate::state::{Ramp, Slot};
use crate::{State, Watch, gates};

/// Steps of a ramp: whole quarters, because each new one is a test of its own and costs seconds.
const STEPS: [Permille; 4] = [quarters(1), quarters(2), quarters(3), quarters(4)];
/// A step is looked at after this long at the earliest, over so many requests.
const STEP_MIN: Millis = Millis::seconds(2);
const STEP_REQUESTS: u64 = 200;
/// A service with few requests doesn't wait for so many.
const STEP_PATIENCE: Millis = Millis::seconds(30);
/// After each fall the first step lasts twice as long, up to this: what comes back only to
/// fall again must not do so every few seconds.
const STEP_MAX: Millis = Millis::seconds(64);
/// Failures that a service without an error budget may have.
const BUDGET: Permille = match Permille::new(10) {
    Some(budget) => budget,
    None => Permille::NONE,
};

const fn quarters(count: u16) -> Permille {
    match Permille::new(250 * count) {
        Some(share) => share,
        None => Permille::ALL,
    }
}

/// Where customers are.
pub(super) fn serving(state: &State) -> Result<EnvironmentName, Refusal> {
    let last = state.topology.environments.last();
    last.map(|last| last.name.clone()).ok_or_else(|| {
        Refusal::new(
            Code::NoHosts,
            "the topology has no environments",
            "Declare some in plimsoll.toml and send it with `plimsoll hosts apply`.",
        )
    })
}

fn slot_of<'a>(
    state: &'a State,
    service: &ServiceName,
    host: &HostName,
) -> Result<(&'a EnvironmentName, &'a Slot), Refusal> {
    if !state.topology.services.contains_key(service) {
        return Err(unknown_service(state, service));
    }
    let environment = state.environment_of(host);
    match (environment, state.slot(host, service)) {
        (Some(environment), Some(slot)) => Ok((environment, slot)),
        (None, _) => Err(unknown_host(host)),
        (Some(_), None) => Err(Refusal::new(
            Code::UnknownHost,
            format!("host {host} has no agent for {service}"),
            "Name a host of that service; `plimsoll hosts` lists them.",
        )),
    }
}

/// A person takes a host out.
pub(super) fn drain(
    state: &State,
    watch: &Watch,
    by: Actor,
    (service, host): (ServiceName, HostName),
    reason: String,
    force: bool,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    let (environment, slot) = slot_of(state, &service, &host)?;
    let person = |cause: &DrainCause| matches!(cause, DrainCause::Person { .. });
    if slot
        .drain
        .as_ref()
        .is_some_and(|drain| person(&drain.cause))
    {
        return Ok(Vec::new());
    }
    let floor = capacity::usual_floor(state, environment);
    let mut capacity = Capacity::of(state, watch, (environment, &service), floor, now);
    let alone = is_routed(state, slot) && capacity.serving() <= 1;
    let below = match alone {
        true => Err(format!("{host} is the only host that serves {service}")),
        false => capacity.take(&host),
    };
    if let Err(message) = below.or_else(|why| if force { Ok(()) } else { Err(why) }) {
        return Err(Refusal::new(
            Code::BelowFloor,
            message,
            "Wait until others serve again, or say `--force`.",
        ));
    }
    Ok(vec![Event::HostDrained {
        host,
        service,
        cause: DrainCause::Person { by, reason },
    }])
}

/// A person lets it in again.
pub(super) fn undrain(
    state: &State,
    by: Actor,
    (service, host): (ServiceName, HostName),
    reason: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    let (_, slot) = slot_of(state, &service, &host)?;
    if slot.drain.is_none() {
        return Err(Refusal::new(
            Code::NothingToLift,
            format!("{service} on {host} is not drained"),
            "Nothing to do; `plimsoll traffic show` lists who serves.",
        ));
    }
    Ok(vec![Event::HostUndrained {
        host,
        service,
        by,
        reason,
    }])
}

/// A person takes all requests from a bundle that is on its way, without sending it back.
pub(super) fn shift(
    state: &State,
    by: Actor,
    service: ServiceName,
    digest: Digest,
    reason: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    let Some(known) = state.services.get(&service) else {
        return Err(unknown_service(state, &service));
    };
    let active = known.active.and_then(|id| state.releases.get(&id));
    let rolling = active.filter(|release| {
        release.digest == digest && matches!(release.status, Status::Rolling { .. })
    });
    let Some(release) = rolling else {
        return Err(Refusal::new(
            Code::UnknownRelease,
            format!("{} is not on its way for {service}", digest.short()),
            "A bundle that is good everywhere can only be sent back: `plimsoll rollback`.",
        ));
    };
    if release.shifted.is_some() {
        return Ok(Vec::new());
    }
    if !gates::serving(state, release) {
        return Err(Refusal::new(
            Code::NoHosts,
            format!("release {} has not come to where customers are", release.id),
            "Nothing to take away. To keep it from going there: `plimsoll freeze`.",
        ));
    }
    if !others_serve(state, release) {
        return Err(Refusal::new(
            Code::NoHosts,
            format!("no host serves {service} with another bundle"),
            "Send it back: `plimsoll rollback`.",
        ));
    }
    Ok(vec![Event::TrafficShifted {
        release: release.id,
        service,
        digest,
        by,
        reason,
    }])
}

fn others_serve(state: &State, release: &Release) -> bool {
    let Some(stage) = release.stage() else {
        return true;
    };
    let mut hosts = state
        .topology
        .hosts_of(&stage.environment, &release.service);
    hosts.any(|host| {
        let slot = state.slot(&host.name, &release.service);
        slot.is_some_and(|slot| slot.running != release.digest && is_routed(state, slot))
    })
}

/// A person says how many tenants are let in.
pub(super) fn ramp(
    state: &State,
    by: Actor,
    service: ServiceName,
    open: Permille,
    hold: bool,
    reason: String,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    if !state.topology.services.contains_key(&service) {
        return Err(unknown_service(state, &service));
    }
    if !STEPS.contains(&open) {
        return Err(Refusal::new(
            Code::BadRequest,
            format!("{open} is no step of a ramp"),
            "Name 25, 50, 75 or 100.",
        ));
    }
    let environment = serving(state)?;
    let before = state.traffic.ramps.get(&service);
    if before.is_none() && open.is_all() {
        return Ok(Vec::new());
    }
    Ok(vec![Event::RampSet {
        service,
        environment,
        by,
        open,
        hold,
        reason,
    }])
}

/// What ramps do by themselves.
pub(super) fn tick(state: &State, watch: &Watch, now: Timestamp) -> Vec<Event> {
    let ramps = state.traffic.ramps.iter();
    ramps
        .filter_map(
            |(service, ramp)| match look(state, watch, service, ramp, now) {
                Look::Wait(_) => None,
                Look::Step(open, reason) => Some(Event::RampSet {
                    service: service.clone(),
                    environment: ramp.environment.clone(),
                    by: Actor::plimsoll(),
                    open,
                    hold: false,
                    reason,
                }),
            },
        )
        .collect()
}

enum Look {
    Wait(String),
    Step(Permille, String),
}

/// What a ramp waits for, in words.
pub fn ramp_waits(
    state: &State,
    watch: &Watch,
    service: &ServiceName,
    now: Timestamp,
) -> Option<String> {
    let ramp = state.traffic.ramps.get(service)?;
    match look(state, watch, service, ramp, now) {
        Look::Wait(reason) => Some(reason),
        Look::Step(..) => None,
    }
}

fn look(state: &State, watch: &Watch, service: &ServiceName, ramp: &Ramp, now: Timestamp) -> Look {
    if ramp.hold {
        return Look::Wait("a person".into());
    }
    let spec = state.topology.services.get(service);
    let budget = spec.and_then(|spec| spec.error_budget.as_ref());
    let budget = budget.map_or(BUDGET, |budget| budget.failed_permille_max);
    let seen = watch.counted_since(&ramp.environment, service, ramp.since);
    let share = Permille::of(seen.failed, seen.requests.max(1));
    let enough = seen.requests >= STEP_REQUESTS;
    let told = format!("{} of {} requests failed", seen.failed, seen.requests);
    // A flood of failures needs no two hundred of them.
    let flood = seen.requests >= STEP_REQUESTS / 10 && 2 * seen.failed > seen.requests;
    if flood || enough && share > budget {
        return match ramp.open > STEPS[0] {
            true => Look::Step(STEPS[0], format!("{told}, more than {budget}")),
            false => Look::Wait(format!("fewer failures: {told}")),
        };
    }
    let doubled = STEP_MIN.0.saturating_mul(1 << ramp.falls.min(6));
    let least = Millis(if ramp.falls > 0 {
        doubled.min(STEP_MAX.0)
    } else {
        STEP_MIN.0
    });
    let lasted = Millis::between(ramp.since, now);
    let patient = seen.requests > 0 && share <= budget && lasted >= STEP_PATIENCE;
    if lasted < least || !(enough || patient) {
        let missing = STEP_REQUESTS.saturating_sub(seen.requests);
        return Look::Wait(match missing {
            0 => format!("{} more", Millis(least.0.saturating_sub(lasted.0))),
            missing => format!("{missing} more requests"),
        });
    }
    let next = STEPS.into_iter().find(|step| *step > ramp.open);
    Look::Step(next.unwrap_or(Permille::ALL), told)
}

/// Why releases of a service wait: it takes in its tenants again.
pub(super) fn in_the_way(
    state: &State,
    service: &ServiceName,
    environment: &EnvironmentName,
) -> Option<String> {
    let ramp = state.traffic.ramps.get(service);
    let ramp = ramp.filter(|ramp| ramp.environment == *environment)?;
    Some(format!(
        "{service} lets in {} of its tenants in {environment}",
        ramp.open
    ))
}
