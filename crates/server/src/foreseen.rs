//! The gates that a change would meet, told before it is proposed.
//!
//! Invariant: nothing is called passed here that was not looked at already.

use engine::{FreezeNow, State, Watch};
use model::gate::{CheckSet, Checked, Demand};
use model::{Bundle, Finding, Gate, GateLook, GateState, Scope, Severity, Timestamp};

use crate::checks::Against;

/// People other than the author who must agree.
pub(crate) fn approvals(rules: &CheckSet, checked: &Checked) -> u32 {
    if checked.risks.is_empty() {
        0
    } else {
        rules.approvals
    }
}

/// Freezes that would hold the change up.
pub(crate) fn freezes(
    state: &State,
    watch: &Watch,
    bundle: &Bundle,
    now: Timestamp,
) -> Vec<FreezeNow> {
    let mut freezes = engine::freezes(state, watch, now);
    freezes.retain(|freeze| match &freeze.scope {
        Scope::Everything => true,
        Scope::Service(service) => *service == bundle.service,
        Scope::Environment(environment) => state
            .topology
            .hosts_of(environment, &bundle.service)
            .next()
            .is_some(),
    });
    freezes
}

/// Every gate, in order.
pub(crate) fn gates(
    bundle: &Bundle,
    against: &Against,
    checked: &Checked,
    findings: &[Finding],
    freezes: &[FreezeNow],
) -> Vec<GateLook> {
    let looks = Gate::ALL.iter().map(|gate| {
        let (state, detail) = look(*gate, bundle, against, checked, findings, freezes);
        GateLook {
            gate: *gate,
            state,
            detail,
            began_at: None,
            ended_at: None,
        }
    });
    looks.collect()
}

fn look(
    gate: Gate,
    bundle: &Bundle,
    against: &Against,
    checked: &Checked,
    findings: &[Finding],
    freezes: &[FreezeNow],
) -> (GateState, String) {
    let rules = &against.rules;
    let pending = |words: String| (GateState::Pending, words);
    let off = |words: &str| (GateState::Off, words.to_owned());
    match gate {
        Gate::Checks | Gate::Compatibility => found(gate, findings),
        Gate::Test => pending("it is applied in the test environment and watched".into()),
        Gate::Rehearsal if rules.rehearsal.off => off("not demanded of this service"),
        Gate::Rehearsal => pending("it is taken back and applied again".into()),
        Gate::Matrix if rules.matrix == Demand::Off => off("not demanded of this service"),
        Gate::Matrix if !both_change(bundle, against) => {
            off("files and packages don't both change")
        }
        Gate::Matrix => pending("old files are tried on new packages, and the reverse".into()),
        Gate::Hostile if checked.hostile.is_empty() => off("no document is to be broken"),
        Gate::Hostile => pending(format!(
            "broken variants of {} documents are given to its own check",
            checked.hostile.len()
        )),
        Gate::References if checked.references.is_empty() => off("it names nothing to be asked"),
        Gate::References => pending(format!(
            "{} references are asked from where they will be used",
            checked.references.len()
        )),
        Gate::Approval => match approvals(rules, checked) {
            0 => off("it needs nobody's approval"),
            needed => (
                GateState::Waiting,
                format!(
                    "{} high-risk options: {needed} other than the author must agree",
                    checked.risks.len()
                ),
            ),
        },
        Gate::Freeze => match freezes.first() {
            None => (GateState::Passed, "nothing is frozen".into()),
            Some(freeze) => (
                GateState::Waiting,
                format!(
                    "{} is frozen by {}: {}",
                    freeze.scope, freeze.by, freeze.reason
                ),
            ),
        },
        Gate::Attestation => pending("the test's result is signed".into()),
    }
}

fn found(gate: Gate, findings: &[Finding]) -> (GateState, String) {
    let own = findings.iter().filter(|finding| finding.gate == gate);
    let (mut denials, mut warnings) = (0, 0);
    for finding in own {
        match finding.severity {
            Severity::Deny => denials += 1,
            Severity::Warn => warnings += 1,
            Severity::Risk => {}
        }
    }
    match (denials, warnings) {
        (0, 0) => (GateState::Passed, "nothing was found".into()),
        (0, _) => (GateState::Passed, format!("{warnings} warnings")),
        _ => (
            GateState::Failed,
            format!("{denials} findings stand against it"),
        ),
    }
}

/// Only then is there anything to mix.
fn both_change(bundle: &Bundle, against: &Against) -> bool {
    against
        .good
        .as_ref()
        .is_some_and(|(_, good)| bundle.files != good.files && bundle.packages != good.packages)
}
