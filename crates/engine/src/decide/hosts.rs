//! What hosts say.

use std::collections::BTreeMap;

use model::refusal::Code;
use model::{
    Digest, Event, Generation, HostName, OrderKind, Refusal, Report, ReportKind, ServiceName,
    Timestamp,
};

use super::{REPORTS_MAX, unknown_host};
use crate::{Slot, SlotStatus, State};

#[expect(
    clippy::too_many_arguments,
    reason = "the fields of one input, taken apart once"
)]
pub(super) fn enrol(
    state: &State,
    host: HostName,
    join: Digest,
    public_key: String,
    peer_address: String,
    adopted: BTreeMap<ServiceName, Digest>,
    fence: Generation,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let Some((_, declared)) = state.topology.host(&host) else {
        return Err(unknown_host(&host));
    };
    let valid = state
        .joins
        .get(&join)
        .filter(|join| join.host == host && join.expires_at > now);
    let Some(valid) = valid else {
        return Err(Refusal::new(
            Code::BadJoinToken,
            format!("the join token is unknown, used up, expired, or not for host {host}"),
            format!("Ask an operator for a new one: `plimsoll hosts join-token {host}`."),
        ));
    };
    let unknown = adopted
        .keys()
        .find(|service| !declared.services.contains_key(*service));
    if let Some(service) = unknown {
        return Err(Refusal::new(
            Code::UnknownService,
            format!(
                "host {host} has an agent for service {service}, which the topology doesn't put there"
            ),
            "Make the agent's configuration and plimsoll.toml agree.",
        ));
    }
    Ok(vec![Event::HostEnrolled {
        host,
        token: valid.id.clone(),
        public_key,
        peer_address,
        adopted: adopted.into_iter().collect(),
        fence,
    }])
}

pub(super) fn confirm(
    state: &State,
    host: HostName,
    service: ServiceName,
    generation: Generation,
    digest: Digest,
) -> Result<Vec<Event>, Refusal> {
    let known = state.hosts.get(&host).ok_or_else(|| unknown_host(&host))?;
    let slot = known.slots.get(&service).ok_or_else(|| {
        Refusal::new(
            Code::UnknownService,
            format!("host {host} did not join with service {service}"),
            "Join it again with that service in its agent's configuration.",
        )
    })?;
    let Some(order) = &slot.order else {
        return Err(stale(&host, generation, "it was never ordered anything"));
    };
    if order.generation != generation {
        let newest = format!("generation {} is its newest order", order.generation);
        return Err(stale(&host, generation, &newest));
    }
    if order.digest != digest {
        let other = format!(
            "that order names {}, not {}",
            order.digest.short(),
            digest.short()
        );
        return Err(stale(&host, generation, &other));
    }
    match &slot.status {
        SlotStatus::Confirmed { .. } => Ok(Vec::new()),
        SlotStatus::Failed { .. } if order.kind == OrderKind::Forward => Err(stale(
            &host,
            generation,
            "it has reported that it went back",
        )),
        SlotStatus::Idle
        | SlotStatus::Ordered { .. }
        | SlotStatus::Holding { .. }
        | SlotStatus::Failed { .. }
        | SlotStatus::RevertFailing { .. } => Ok(vec![Event::HostConfirmed {
            host,
            service,
            generation,
            digest,
        }]),
    }
}

fn stale(host: &HostName, generation: Generation, why: &str) -> Refusal {
    Refusal::new(
        Code::StaleGeneration,
        format!("generation {generation} of host {host} is over: {why}"),
        "The agent fetches its newest order and obeys that; nothing for people to do.",
    )
}

/// Reports in, facts out. What is known or about an older order is skipped: it
/// changes nothing any more.
pub(super) fn reports(
    state: &State,
    host: &HostName,
    reports: Vec<Report>,
) -> Result<Vec<Event>, Refusal> {
    let known = state.hosts.get(host).ok_or_else(|| unknown_host(host))?;
    if reports.len() > REPORTS_MAX {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("{} reports at once; at most {REPORTS_MAX}", reports.len()),
            "Send them in smaller batches.",
        ));
    }
    let mut through = known.reports_through;
    let mut events = Vec::new();
    for report in reports {
        let slot = known.slots.get(&report.service);
        let current = slot.map(|slot| {
            slot.order
                .as_ref()
                .map_or(Generation(0), |order| order.generation)
        });
        let stale = report.number <= through || current != Some(report.generation);
        if stale || slot.is_some_and(|slot| overtaken(slot, &report.kind)) {
            continue;
        }
        through = report.number;
        events.push(fact(host.clone(), report));
    }
    Ok(events)
}

/// Confirmations come over connections of their own, so a report of trouble on
/// the way back may arrive when the host is back already.
fn overtaken(slot: &Slot, kind: &ReportKind) -> bool {
    let back = slot
        .order
        .as_ref()
        .is_some_and(|order| order.kind != OrderKind::Forward)
        && matches!(slot.status, SlotStatus::Confirmed { .. });
    back && matches!(kind, ReportKind::RevertFailing { .. })
}

fn fact(host: HostName, report: Report) -> Event {
    let Report {
        number,
        service,
        generation,
        kind,
        ..
    } = report;
    match kind {
        ReportKind::Declined {
            phase,
            reason,
            running,
        } => Event::HostFailed {
            host,
            service,
            generation,
            phase,
            reason: format!("declined: {reason}"),
            running,
            report: number,
        },
        ReportKind::Reverted {
            to, phase, reason, ..
        } => Event::HostFailed {
            host,
            service,
            generation,
            phase,
            reason: format!("went back by itself: {reason}"),
            running: to,
            report: number,
        },
        ReportKind::RevertFailing {
            phase,
            reason,
            tries,
            ..
        } => Event::HostRevertFailing {
            host,
            service,
            generation,
            phase,
            reason,
            tries,
            report: number,
        },
        ReportKind::Holding { .. } => Event::HostHeld {
            host,
            service,
            generation,
            report: number,
        },
        ReportKind::Health {
            healthy, reason, ..
        } => Event::HostHealthChanged {
            host,
            service,
            generation,
            healthy,
            reason,
            report: number,
        },
    }
}
