//! Drains, restarts and ramps in the words of a log.

use crate::traffic::DrainCause;
use crate::{Event, HostName, ServiceName};

pub(super) fn tell(event: &Event) -> String {
    match event {
        Event::HostDrained {
            host,
            service,
            cause,
        } => tell_drain(host, service, cause),
        Event::HostUndrained {
            host,
            service,
            by,
            reason,
        } => format!("{by} let {service} on {host} in again: {reason}"),
        Event::RestartStarted {
            restart,
            by,
            service,
            environment,
            hosts,
            parallel,
            reason,
            ..
        } => {
            let count = hosts.len();
            format!(
                "{by} restarts {service} on {count} hosts of {environment}, {parallel} at a time (restart {restart}): {reason}"
            )
        }
        Event::RestartStopped {
            restart,
            by,
            reason,
        } => format!("{by} stopped restart {restart}: {reason}"),
        Event::RestartEnded { restart, took_ms } => {
            format!("restart {restart} is done, {took_ms}")
        }
        Event::TrafficShifted {
            release,
            digest,
            by,
            reason,
            ..
        } => {
            let bundle = digest.short();
            format!("{by} took all requests from {bundle} (release {release}): {reason}")
        }
        Event::TrafficReturned {
            release,
            by,
            reason,
        } => format!("{by} let requests come to release {release} again: {reason}"),
        Event::RampSet {
            service,
            environment,
            by,
            open,
            reason,
            ..
        } => {
            format!("{by} opened {service} in {environment} to {open} of its tenants: {reason}")
        }
        other => other.kind().to_owned(),
    }
}

fn tell_drain(host: &HostName, service: &ServiceName, cause: &DrainCause) -> String {
    match cause {
        DrainCause::Release { release } => {
            format!("release {release}: {host} gets no new requests of {service}")
        }
        DrainCause::Restart { restart } => {
            format!("restart {restart}: {host} gets no new requests of {service}")
        }
        DrainCause::Person { by, reason } => {
            format!("{by} drained {service} on {host}: {reason}")
        }
    }
}
