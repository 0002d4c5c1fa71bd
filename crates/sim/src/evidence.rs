//! What verdicts may rest on: requests that there were, hosts that were heard.

use std::collections::{BTreeMap, BTreeSet};

use model::{Digest, Event, HostName, ReleaseId, RollbackCause, Rule, ServiceName, Verdict};

use crate::fleet::Temper;
use crate::laws::{Lawful, law};
use crate::world::World;

/// What truly happened, beside what the control plane was told of it.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Requests to each bundle so far, after each second.
    asked: BTreeMap<(ServiceName, Digest), Vec<(u64, u64)>>,
    /// When the newest counts that the control plane has were taken.
    told_at: u64,
    /// Up to when counts were known as each release's newest wave began.
    waves: BTreeMap<ReleaseId, u64>,
    /// By which of its processes the control plane last heard of each host.
    heard: BTreeMap<HostName, u64>,
    /// Bundles with requests that nobody answered: a host was down, hung or in change.
    hurt: BTreeSet<(ServiceName, Digest)>,
}

/// A second closes so long after its end at the latest, so as much of what was known
/// as a wave began may count for it.
const CLOSES_WITHIN_MS: u64 = 3_000;

impl Truth {
    pub(crate) fn asked(&mut self, service: &ServiceName, digest: Digest, at: u64, more: u64) {
        let asked = self.asked.entry((service.clone(), digest)).or_default();
        let before = asked.last().map_or(0, |(_, requests)| *requests);
        asked.push((at, before + more));
    }

    pub(crate) fn told(&mut self, taken_at: u64) {
        self.told_at = self.told_at.max(taken_at);
    }

    pub(crate) fn heard(&mut self, host: &HostName, life: u64) {
        self.heard.insert(host.clone(), life);
    }

    pub(crate) fn hurt(&mut self, service: &ServiceName, digest: Digest) {
        self.hurt.insert((service.clone(), digest));
    }

    /// Requests to a bundle since `from`.
    fn since(&self, service: &ServiceName, digest: Digest, from: u64) -> u64 {
        let asked = self.asked.get(&(service.clone(), digest));
        let asked = asked.map_or(&[][..], Vec::as_slice);
        let before = asked.iter().take_while(|(at, _)| *at <= from).last();
        let before = before.map_or(0, |(_, requests)| *requests);
        asked.last().map_or(0, |(_, requests)| requests - before)
    }
}

impl World {
    /// A wave passes on requests that came since it began, and only while this
    /// process has heard of each of its hosts: a control plane that has just
    /// begun knows nothing, and must not take that for health.
    pub(crate) fn check_evidence(&mut self, event: &Event) -> Lawful {
        if let Event::WaveStarted { release, .. } = event {
            let from = self.truth.told_at.saturating_sub(CLOSES_WITHIN_MS);
            self.truth.waves.insert(*release, from);
        }
        self.check_harm(event)?;
        let Event::WaveJudged {
            release,
            environment,
            wave,
            verdict: Verdict::Pass { evidence },
            explanation,
            ..
        } = event
        else {
            return Ok(());
        };
        let Some(release) = self.plane.state.releases.get(release) else {
            return Ok(());
        };
        let from = self
            .truth
            .waves
            .get(&release.id)
            .copied()
            .unwrap_or_default();
        let most = self.truth.since(&release.service, release.digest, from);
        let requests = evidence.canary.requests;
        law(requests <= most, "evidence", || {
            format!(
                "release {}: wave {wave} of {environment} passes on {requests} requests; since it began there were {most}",
                release.id
            )
        })?;
        let bundle = self.plane.state.bundles.get(&release.digest);
        let plan = bundle.and_then(|bundle| bundle.plan.stages.get(environment));
        let needed = plan.map_or(0, |plan| plan.requests_min);
        let undecided = explanation.as_ref().is_some_and(|known| known.undecided);
        let needed = if undecided { 1 } else { needed };
        law(requests >= needed, "silence", || {
            format!(
                "release {}: wave {wave} of {environment} passes on {requests} requests; it needs {needed}",
                release.id
            )
        })?;
        let stage = release
            .stages
            .iter()
            .find(|stage| stage.environment == *environment);
        let hosts = stage.and_then(|stage| stage.waves.get(*wave as usize));
        let life = self.plane.life;
        let mut hosts = hosts.into_iter().flat_map(|wave| &wave.hosts);
        let unheard = hosts.find(|host| self.truth.heard.get(*host) != Some(&life));
        law(unheard.is_none(), "evidence", || {
            format!(
                "release {}: wave {wave} of {environment} passes with {unheard:?} unheard of since the control plane began",
                release.id
            )
        })
    }

    /// A bundle that does no harm is not sent back by counts, and one that fails
    /// customers does not become good.
    fn check_harm(&mut self, event: &Event) -> Lawful {
        match event {
            Event::RollbackStarted {
                release,
                cause:
                    RollbackCause::Verdict {
                        verdict: Verdict::Fail { rule, reason, .. },
                    },
                ..
            } => {
                let Some(known) = self.plane.state.releases.get(release) else {
                    return Ok(());
                };
                let key = (known.service.clone(), known.digest);
                let made = self.made.get(&known.digest);
                let healthy = made.is_some_and(|made| made.temper(true) == Temper::Good);
                // What else is counted (exits, heartbeats) weather may spoil for a healthy bundle too.
                let answered = !self.truth.hurt.contains(&key);
                let blameless = match rule {
                    Rule::Errors | Rule::Latency => healthy && answered,
                    Rule::Crashes
                    | Rule::Heartbeats
                    | Rule::Saturation
                    | Rule::Custom
                    | Rule::Silence => healthy && answered && self.storm == 0,
                    // What fails may be another service, with which this one went on last.
                    Rule::Fleet => healthy && self.truth.hurt.is_empty() && self.storm == 0,
                    Rule::FailureBudget
                    | Rule::NotConfirmed
                    | Rule::HealthFailing
                    | Rule::CrashLoop
                    | Rule::Rehearsal
                    | Rule::Matrix
                    | Rule::Hostile
                    | Rule::References
                    | Rule::Attestation => false,
                };
                law(!blameless, "no rollback without harm", || {
                    format!("release {release} goes back by {rule}: {reason}")
                })
            }
            Event::ReleaseGood { release, .. } => {
                let Some(known) = self.plane.state.releases.get(release) else {
                    return Ok(());
                };
                let made = self.made.get(&known.digest);
                let fails = made.is_some_and(|made| made.temper(true) == Temper::Errors);
                let let_go = known.stage().is_some_and(|stage| stage.continued);
                law(!fails || let_go, "regressions are found", || {
                    format!("release {release} fails customers and became good")
                })
            }
            _ => Ok(()),
        }
    }
}
