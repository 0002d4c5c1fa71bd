//! Events in the words of a log: one line each, for people.

mod traffic;

use std::fmt;

use crate::gate::ProbeVerdict;
use crate::{Event, Order, OrderKind, Verdict};

/// Who did what, in one line.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&tell(self))
    }
}

fn tell(event: &Event) -> String {
    match event {
        Event::TopologySet { by, topology } => {
            let hosts: usize = topology.environments.iter().map(|e| e.hosts.len()).sum();
            format!(
                "{by} declared {} environments with {hosts} hosts",
                topology.environments.len()
            )
        }
        Event::TokenIssued {
            by,
            name,
            role,
            token,
            ..
        } => {
            format!("{by} made token {token} for {name} ({role})")
        }
        Event::TokenRevoked { by, token } => format!("{by} revoked token {token}"),
        Event::JoinTokenIssued { by, host, .. } => format!("{by} made a join token for {host}"),
        Event::HostEnrolled { host, .. } => format!("{host} joined"),
        Event::ReleaseProposed {
            release,
            service,
            digest,
            author,
            message,
            ..
        } => {
            format!(
                "{author} proposed release {release} of {service}: {} {message}",
                digest.short()
            )
        }
        Event::StageStarted {
            release,
            environment,
            waves,
            ..
        } => {
            format!(
                "release {release} enters {environment}, {} waves",
                waves.len()
            )
        }
        Event::ReferencesProbed { .. }
        | Event::HostileTried { .. }
        | Event::RehearsalStarted { .. }
        | Event::RehearsalStepped { .. }
        | Event::MatrixStarted { .. }
        | Event::LoadMeasured { .. }
        | Event::TaskBroken { .. }
        | Event::TestPassed { .. }
        | Event::Approved { .. }
        | Event::Attested { .. }
        | Event::Countersigned { .. }
        | Event::RecheckStarted { .. }
        | Event::BreakGlassAsked { .. }
        | Event::BreakGlassConfirmed { .. }
        | Event::BreakGlassReviewed { .. } => tell_gate(event),
        Event::WaveStarted {
            release,
            environment,
            wave,
        } => {
            format!("release {release}: {environment} wave {} begins", wave + 1)
        }
        Event::HostOrdered { order } => tell_order(order),
        Event::HostConfirmed {
            host,
            service,
            generation,
            digest,
        } => {
            format!(
                "{host} confirmed {service} {} (generation {generation})",
                digest.short()
            )
        }
        Event::HostFailed {
            host,
            phase,
            reason,
            ..
        } => format!("{host} failed at {phase}: {reason}"),
        Event::HostRevertFailing {
            host,
            phase,
            reason,
            tries,
            ..
        } => {
            format!("{host} can't go back yet ({phase}, try {tries}): {reason}")
        }
        Event::HostHeld { host, .. } => format!("{host} holds: the control plane was gone"),
        Event::HostHealthChanged {
            host,
            service,
            healthy,
            reason,
            ..
        } => {
            let word = if *healthy {
                "healthy again"
            } else {
                "unhealthy"
            };
            format!("{service} on {host} is {word} {reason}")
        }
        Event::WaveJudged {
            release,
            environment,
            wave,
            verdict,
            ..
        } => {
            let (wave, word) = (wave + 1, verdict_word(verdict));
            format!("release {release}: {environment} wave {wave} {word}")
        }
        Event::WaveHeld {
            release,
            environment,
            wave,
            needs,
            ..
        } => {
            format!(
                "release {release}: {environment} wave {} is held, it needs {needs}",
                wave + 1
            )
        }
        Event::WaveContinued {
            release,
            environment,
            wave,
            by,
            reason,
            ..
        } => {
            format!(
                "{by} passed {environment} wave {} of release {release}: {reason}",
                wave + 1
            )
        }
        Event::ReleaseGood { release, .. } => format!("release {release} is good"),
        Event::RollbackStarted { release, by, .. } => format!("{by} sends release {release} back"),
        Event::RollbackCompleted { release, took_ms } => {
            format!("release {release} is back everywhere, {took_ms}")
        }
        Event::DigestQuarantined {
            service, digest, ..
        } => {
            format!("bundle {} of {service} is quarantined", digest.short())
        }
        Event::QuarantineLifted {
            by,
            service,
            digest,
            reason,
        } => {
            format!(
                "{by} lifted the quarantine of {} of {service}: {reason}",
                digest.short()
            )
        }
        Event::Frozen {
            by,
            scope,
            reason,
            until,
        } => {
            let until = until.map_or(String::new(), |until| format!(" until {until}"));
            format!("{by} froze {scope}{until}: {reason}")
        }
        Event::Thawed { by, scope, reason } => format!("{by} thawed {scope}: {reason}"),
        Event::Incident(event) => event.to_string(),
        Event::HostDrained { .. }
        | Event::HostUndrained { .. }
        | Event::RestartStarted { .. }
        | Event::RestartStopped { .. }
        | Event::RestartEnded { .. }
        | Event::TrafficShifted { .. }
        | Event::TrafficReturned { .. }
        | Event::RampSet { .. } => traffic::tell(event),
    }
}

fn tell_order(order: &Order) -> String {
    let (host, generation) = (&order.host, order.generation);
    let way = match order.kind {
        OrderKind::Forward => "to",
        OrderKind::Rollback => "back to",
        OrderKind::Restart => {
            let service = &order.service;
            return format!("{host} ordered to restart {service} (generation {generation})");
        }
    };
    let (release, bundle) = (order.release, order.digest.short());
    format!("release {release}: {host} ordered {way} {bundle} (generation {generation})")
}

/// What happens between a proposal and production.
fn tell_gate(event: &Event) -> String {
    match event {
        Event::ReferencesProbed {
            release,
            host,
            probes,
            ..
        } => match probes
            .iter()
            .find(|probe| probe.verdict != ProbeVerdict::Answers)
        {
            Some(bad) => format!("release {release}: seen from {host}, {}", bad.detail),
            None => format!(
                "release {release}: {} references answer {host}",
                probes.len()
            ),
        },
        Event::HostileTried {
            release,
            host,
            trials,
        } => match trials.iter().find(|trial| !trial.ok) {
            Some(bad) => format!(
                "release {release}: on {host}, {} {}: {}",
                bad.file, bad.variant, bad.detail
            ),
            None => format!(
                "release {release}: the check on {host} stands {} broken variants",
                trials.len()
            ),
        },
        Event::RehearsalStarted { release, host } => {
            format!("release {release}: {host} rehearses the way back")
        }
        Event::RehearsalStepped {
            release,
            host,
            result,
        } => match &result.failure {
            Some(failure) => {
                format!(
                    "release {release}: {host} failed at {}: {failure}",
                    result.step
                )
            }
            None => format!(
                "release {release}: {host}, {}: {}",
                result.step, result.took_ms
            ),
        },
        Event::MatrixStarted { release, host, .. } => {
            format!("release {release}: {host} tries old beside new")
        }
        Event::LoadMeasured {
            release,
            host,
            requests,
            failed,
        } => {
            format!("release {release}: {host} got {requests} requests meanwhile, {failed} failed")
        }
        Event::TaskBroken {
            release,
            host,
            task,
            reason,
        } => format!("release {release}: {host} could not do {task}: {reason}"),
        Event::TestPassed {
            release,
            expires_at,
            ..
        } => format!("release {release} passed its test, which counts until {expires_at}"),
        Event::Approved {
            release, by, note, ..
        } => format!("{by} approved release {release} {note}"),
        Event::Attested { release, .. } => format!("release {release} is attested"),
        Event::Countersigned {
            release,
            by,
            signature,
        } => {
            let key: String = signature.keyid.chars().take(12).collect();
            format!("{by} brought a signature of key {key} for release {release}")
        }
        Event::RecheckStarted { release, reason } => {
            format!("release {release} is checked again: {reason}")
        }
        Event::BreakGlassAsked {
            id,
            by,
            service,
            gates,
            reason,
            expires_at,
        } => {
            let gates: Vec<&str> = gates.iter().map(|gate| gate.as_str()).collect();
            format!(
                "{by} asks to break the glass of {service} ({id}: {} until {expires_at}): {reason}",
                gates.join(", ")
            )
        }
        Event::BreakGlassConfirmed { id, by } => format!("{by} agrees to break-glass {id}"),
        Event::BreakGlassReviewed { id, by, words } => {
            format!("{by} reviewed break-glass {id}: {words}")
        }
        other => other.kind().to_owned(),
    }
}

fn verdict_word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass { evidence } => format!("passed on {} requests", evidence.canary.requests),
        Verdict::Fail { rule, reason, .. } => format!("failed, {rule}: {reason}"),
        Verdict::Insufficient { needs } => format!("can't be judged yet: {needs}"),
    }
}
