//! Where a release stands at each gate, one line each, for people.

use model::gate::{Demand, RehearsalStep, StepResult};
use model::{Gate, GateLook, GateState, Millis, RollbackCause, Rule, Timestamp, Verdict};

use super::{Demands, approval_wait, broken, countersign_wait, failure, missing_probes};
use crate::{Release, Status};

/// Every gate, in order.
pub fn checklist(release: &Release, demands: &Demands, serving: bool) -> Vec<GateLook> {
    let list = List {
        release,
        demands,
        serving,
    };
    Gate::ALL
        .iter()
        .map(|gate| list.closed(list.look(*gate)))
        .collect()
}

struct List<'a> {
    release: &'a Release,
    demands: &'a Demands,
    /// The release has entered the last environment.
    serving: bool,
}

fn line(gate: Gate, state: GateState, detail: impl Into<String>) -> GateLook {
    GateLook {
        gate,
        state,
        detail: detail.into(),
        began_at: None,
        ended_at: None,
    }
}

fn between(look: GateLook, began_at: Option<Timestamp>, ended_at: Option<Timestamp>) -> GateLook {
    GateLook {
        began_at,
        ended_at,
        ..look
    }
}

fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

impl List<'_> {
    fn look(&self, gate: Gate) -> GateLook {
        if self.demands.waived.contains(&gate) {
            return line(gate, GateState::Waived, "left out by break-glass");
        }
        match gate {
            Gate::Checks => self.proposed(gate, &self.demands.checks),
            Gate::Compatibility => self.proposed(gate, &self.demands.compatibility),
            Gate::Test => self.test(),
            Gate::Rehearsal => self.rehearsal(),
            Gate::Matrix => self.matrix(),
            Gate::Hostile => self.hostile(),
            Gate::References => self.references(),
            Gate::Approval => self.approval(),
            Gate::Freeze => self.freeze(),
            Gate::Attestation => self.attestation(),
        }
    }

    /// A release that turned back shows which gate said no, and nothing as still to come.
    fn closed(&self, look: GateLook) -> GateLook {
        let verdict = match &self.release.status {
            Status::Rolling { .. } | Status::Good => return look,
            Status::RollingBack(rollback) | Status::RolledBack(rollback) => match &rollback.cause {
                RollbackCause::Verdict { verdict } => verdict,
                RollbackCause::Person { .. } => return self.given_up(look, None),
            },
        };
        let Verdict::Fail { rule, reason, .. } = verdict else {
            return self.given_up(look, None);
        };
        let said_no = match rule {
            Rule::Rehearsal => Some(Gate::Rehearsal),
            Rule::Matrix => Some(Gate::Matrix),
            Rule::Hostile => Some(Gate::Hostile),
            Rule::References => Some(Gate::References),
            Rule::Attestation => Some(Gate::Attestation),
            Rule::FailureBudget
            | Rule::Errors
            | Rule::Latency
            | Rule::Crashes
            | Rule::Heartbeats
            | Rule::Saturation
            | Rule::Custom
            | Rule::Fleet
            | Rule::Silence
            | Rule::NotConfirmed
            | Rule::HealthFailing
            | Rule::CrashLoop => (!self.serving).then_some(Gate::Test),
        };
        if said_no == Some(look.gate) {
            return GateLook {
                state: GateState::Failed,
                detail: reason.clone(),
                ..look
            };
        }
        self.given_up(look, said_no)
    }

    fn given_up(&self, look: GateLook, said_no: Option<Gate>) -> GateLook {
        match look.state {
            GateState::Running | GateState::Waiting | GateState::Pending => GateLook {
                state: GateState::Off,
                detail: match said_no {
                    Some(gate) => format!("not looked at: {gate} said no"),
                    None => "not looked at: the release was turned back".into(),
                },
                ..look
            },
            GateState::Passed | GateState::Failed | GateState::Waived | GateState::Off => look,
        }
    }

    fn proposed(&self, gate: Gate, detail: &str) -> GateLook {
        let at = Some(self.release.proposed_at);
        between(line(gate, GateState::Passed, detail), at, at)
    }

    fn stages_before_production(&self) -> &[crate::Stage] {
        let stages = &self.release.stages;
        let count = stages.len() - usize::from(self.serving && !stages.is_empty());
        &stages[..count]
    }

    fn test_passed(&self) -> bool {
        self.release.tested.is_some() || self.serving
    }

    fn test(&self) -> GateLook {
        let stages = self.stages_before_production();
        let Some(stage) = stages.last() else {
            return line(Gate::Test, GateState::Pending, "");
        };
        let hosts: usize = stages
            .iter()
            .flat_map(|stage| &stage.waves)
            .map(|wave| wave.hosts.len())
            .sum();
        let s = plural(hosts, "host", "hosts");
        let began = stages.first().map(|stage| stage.wave_began_at);
        let done = stage.passed == stage.waves.len();
        let look = if done || self.test_passed() {
            line(
                Gate::Test,
                GateState::Passed,
                format!("{hosts} {s}, healthy and baked"),
            )
        } else if stage.baking_since.is_some() {
            line(
                Gate::Test,
                GateState::Running,
                format!("{hosts} {s} bake in {}", stage.environment),
            )
        } else {
            line(
                Gate::Test,
                GateState::Running,
                format!("{hosts} {s} of {} apply it", stage.environment),
            )
        };
        let ended = stage.passed_at.filter(|_| done);
        between(look, began, ended)
    }

    fn rehearsal(&self) -> GateLook {
        if self.demands.rehearsal.is_none() && self.release.seen.rehearsal.is_none() {
            return line(Gate::Rehearsal, GateState::Off, "not demanded");
        }
        let Some(rehearsal) = &self.release.seen.rehearsal else {
            return line(Gate::Rehearsal, GateState::Pending, "");
        };
        let took = |wanted: RehearsalStep| {
            let mut steps = rehearsal.steps.iter();
            steps
                .find(|step| step.step == wanted && step.failure.is_none())
                .map(|step| step.took_ms)
        };
        let began = Some(rehearsal.began_at);
        let (Some(back), Some(forward)) =
            (took(RehearsalStep::Revert), took(RehearsalStep::Reapply))
        else {
            let at = rehearsal
                .current()
                .map_or(String::new(), |step| format!(", {step}"));
            let detail = format!("on {}{at}", rehearsal.host);
            return between(
                line(Gate::Rehearsal, GateState::Running, detail),
                began,
                None,
            );
        };
        let load = match rehearsal.load {
            Some((requests, failed)) => {
                format!("; {failed} of {requests} requests failed meanwhile")
            }
            None => String::new(),
        };
        let detail = format!("back in {back}, forward again in {forward}{load}");
        let total = Millis(back.0.saturating_add(forward.0)).after(rehearsal.began_at);
        between(
            line(Gate::Rehearsal, GateState::Passed, detail),
            began,
            Some(total),
        )
    }

    fn matrix(&self) -> GateLook {
        let off = |why: &str| line(Gate::Matrix, GateState::Off, why);
        let seen = self.release.seen.rehearsal.as_ref();
        let Some(rehearsal) = seen.filter(|rehearsal| rehearsal.mixed.is_some()) else {
            return match (self.demands.matrix, self.demands.mixed) {
                (Demand::Off, _) => off("not demanded"),
                (_, None) => off("files and packages don't both change"),
                (_, Some(_)) if self.demands.rehearsal.is_none() => off("there is no rehearsal"),
                (_, Some(_)) => line(Gate::Matrix, GateState::Pending, ""),
            };
        };
        let mixed: Vec<&StepResult> = rehearsal
            .steps
            .iter()
            .filter(|result| {
                matches!(
                    result.step,
                    RehearsalStep::OldFiles | RehearsalStep::OldPackages
                )
            })
            .collect();
        let failures: Vec<String> = mixed
            .iter()
            .filter_map(|result| Some(format!("{}: {}", result.step, result.failure.as_ref()?)))
            .collect();
        if mixed.len() < 2 {
            return line(
                Gate::Matrix,
                GateState::Running,
                format!("on {}", rehearsal.host),
            );
        }
        if failures.is_empty() {
            return line(Gate::Matrix, GateState::Passed, "old and new go together");
        }
        line(
            Gate::Matrix,
            GateState::Passed,
            format!("told only: {}", failures.join("; ")),
        )
    }

    fn hostile(&self) -> GateLook {
        let tried: Vec<_> = self.release.seen.trials.values().collect();
        if let Some((at, _)) = tried.first() {
            let count: usize = tried.iter().map(|(_, trials)| trials.len()).sum();
            let detail = format!("the check stands {count} broken variants");
            return between(
                line(Gate::Hostile, GateState::Passed, detail),
                None,
                Some(*at),
            );
        }
        match &self.demands.hostile {
            None => line(
                Gate::Hostile,
                GateState::Off,
                "no document with a schema and a check",
            ),
            Some(host) => match broken(self.release, "hostile", host) {
                Some(reason) => line(
                    Gate::Hostile,
                    GateState::Waiting,
                    format!("{host} can't: {reason}"),
                ),
                None => line(Gate::Hostile, GateState::Pending, format!("on {host}")),
            },
        }
    }

    fn references(&self) -> GateLook {
        let count = self.release.checked.references.len();
        if count == 0 {
            return line(Gate::References, GateState::Off, "none are named");
        }
        let s = plural(count, "reference", "references");
        let hosts = self.release.seen.probes.len();
        let began = Some(self.release.proposed_at);
        if let Some(Verdict::Fail {
            rule: Rule::References,
            reason,
            ..
        }) = failure(self.release, self.demands)
        {
            return between(
                line(Gate::References, GateState::Failed, reason),
                began,
                None,
            );
        }
        match missing_probes(self.release, self.demands) {
            Some(_) if self.serving => line(
                Gate::References,
                GateState::Passed,
                format!("{count} {s} answered"),
            ),
            Some(missing) => {
                let missing = missing.trim_start_matches("references: ");
                between(
                    line(Gate::References, GateState::Running, missing),
                    began,
                    None,
                )
            }
            None => {
                let slowest = self.release.seen.probes.values();
                let slowest = slowest
                    .flat_map(|(_, probes)| probes)
                    .map(|probe| probe.latency_ms)
                    .max();
                let slowest = slowest.map_or(String::new(), |ms| format!(", slowest {ms}"));
                let h = plural(hosts, "host", "hosts");
                let detail = format!("{count} {s} answer, seen from {hosts} {h}{slowest}");
                let ended = self.release.seen.probes.values().map(|(at, _)| *at).max();
                between(
                    line(Gate::References, GateState::Passed, detail),
                    began,
                    ended,
                )
            }
        }
    }

    fn approval(&self) -> GateLook {
        if self.demands.approvals == 0 {
            return line(
                Gate::Approval,
                GateState::Off,
                "no high-risk option changes",
            );
        }
        let agreed = &self.demands.approved_by;
        if agreed.len() >= self.demands.approvals as usize || self.serving {
            let newest = self.release.approvals.iter().map(|a| a.at).max();
            let detail = format!("by {}", agreed.join(", "));
            let tested = self.release.tested.as_ref().map(|tested| tested.at);
            return between(
                line(Gate::Approval, GateState::Passed, detail),
                tested,
                newest,
            );
        }
        let wait = approval_wait(self.release, self.demands);
        match &self.release.tested {
            Some(tested) => between(
                line(Gate::Approval, GateState::Waiting, wait),
                Some(tested.at),
                None,
            ),
            None => line(Gate::Approval, GateState::Pending, wait),
        }
    }

    fn freeze(&self) -> GateLook {
        match &self.demands.frozen {
            Some(reason) if !self.serving => line(Gate::Freeze, GateState::Waiting, reason),
            Some(reason) => line(Gate::Freeze, GateState::Waiting, format!("holds: {reason}")),
            None => line(Gate::Freeze, GateState::Passed, "nothing is frozen"),
        }
    }

    fn attestation(&self) -> GateLook {
        let Some(tested) = &self.release.tested else {
            return line(Gate::Attestation, GateState::Pending, "");
        };
        let began = Some(tested.at);
        if self.serving {
            let detail = format!("signed, counts until {:.0}", tested.expires_at);
            return between(
                line(Gate::Attestation, GateState::Passed, detail),
                began,
                began,
            );
        }
        if let Some(void) = &self.demands.void {
            return between(
                line(Gate::Attestation, GateState::Failed, void),
                began,
                None,
            );
        }
        match self.release.attestation {
            Some(_) if self.demands.countersigners > 0 => between(
                line(
                    Gate::Attestation,
                    GateState::Waiting,
                    countersign_wait(self.release, self.demands),
                ),
                began,
                None,
            ),
            Some(_) => line(
                Gate::Attestation,
                GateState::Passed,
                format!("signed, counts until {:.0}", tested.expires_at),
            ),
            None => line(Gate::Attestation, GateState::Pending, ""),
        }
    }
}
