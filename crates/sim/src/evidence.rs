//! What verdicts may rest on: requests that there were, hosts that were heard.

use std::collections::BTreeMap;

use model::{Digest, Event, HostName, ReleaseId, ServiceName, Verdict};

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
}

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
            let told_at = self.truth.told_at;
            self.truth.waves.insert(*release, told_at);
        }
        let Event::WaveJudged {
            release,
            environment,
            wave,
            verdict: Verdict::Pass { evidence },
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
}
