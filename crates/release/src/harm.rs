//! What speaks against a release: hosts, the judge, the fleet, gates.
//!
//! Invariant: silence is no harm, and in the last environment a small part of
//! the hosts decides nothing alone: a machine that breaks during a release is
//! no reason to send every other one back.

use model::verdict::Evidence;
use model::{HostName, Millis, Rule, Timestamp, Verdict};

use crate::next::{HostLooks, Outlook};
use crate::{Release, Stage, gates};

/// Of this many hosts one alone decides, and of more than that a part as large.
const HOSTS_FOR_EACH: usize = 5;

/// Something that speaks against a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Harm {
    /// Always a [`Verdict::Fail`].
    pub(crate) verdict: Verdict,
    /// Its reason.
    pub(crate) reason: String,
}

impl Harm {
    /// Nothing, unless it is a [`Verdict::Fail`].
    pub(crate) fn of(verdict: Verdict) -> Option<Harm> {
        match &verdict {
            Verdict::Fail { reason, .. } => Some(Harm {
                reason: reason.clone(),
                verdict,
            }),
            Verdict::Pass { .. } | Verdict::Insufficient { .. } => None,
        }
    }
}

/// So many of `reached` hosts send a release back when they don't become ready: a
/// fifth, rounded up. Up to five hosts, one does.
pub fn hosts_that_decide(reached: usize) -> usize {
    reached.div_ceil(HOSTS_FOR_EACH).max(1)
}

/// Hard rules first, the judge's word after.
pub(crate) fn harm(release: &Release, outlook: &Outlook<'_>, now: Timestamp) -> Option<Harm> {
    let ahead = outlook.gates.as_ref();
    let gates = || gates::failure(release, &ahead?.demands);
    let counted = || {
        let verdict = Some(outlook.verdict.clone()).filter(is_fail);
        verdict.or_else(|| outlook.fleet.clone())
    };
    let continued = release.stage().filter(|stage| stage.continued);
    if let Some(stage) = continued.filter(|_| outlook.irreversible) {
        return outlook
            .new_to_people(stage, counted, now)
            .or_else(gates)
            .and_then(Harm::of);
    }
    let newest = release.stages.len().saturating_sub(1);
    let failed = release.stages.iter().enumerate().find_map(|(at, stage)| {
        let serves = at == newest && outlook.gates.is_none();
        outlook.hosts_failed(stage, serves)
    });
    failed.or_else(counted).or_else(gates).and_then(Harm::of)
}

fn is_fail(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Fail { .. } => true,
        Verdict::Pass { .. } | Verdict::Insufficient { .. } => false,
    }
}

/// What keeps a wave from passing and is not known to be harm.
pub(crate) fn unclear(stage: &Stage, outlook: &Outlook<'_>) -> Option<String> {
    let reached = stage.hosts_reached();
    let open = stage.open_wave();
    let is_new = |host| open.is_some_and(|wave| wave.hosts.contains(host));
    outlook.hosts.iter().find_map(|(host, looks)| match looks {
        HostLooks::Silent { reason } => Some(reason.clone()),
        // Of an earlier wave: it passed without that host, or a person passed it.
        HostLooks::Failed { .. } if !is_new(host) => None,
        HostLooks::Failed { reason, .. } => Some(format!(
            "{host}: {reason} ({} of {reached} hosts would decide)",
            hosts_that_decide(reached)
        )),
        HostLooks::Ready
        | HostLooks::Draining { .. }
        | HostLooks::Drained
        | HostLooks::Blocked(_)
        | HostLooks::Ordered
        | HostLooks::Confirmed
        | HostLooks::Rehearsing
        | HostLooks::Back { .. } => None,
    })
}

/// Hosts without which the release goes on, for people.
pub(crate) fn left_out(stage: &Stage, outlook: &Outlook<'_>) -> Option<String> {
    let reached = stage.waves.iter().take(stage.begun);
    let hosts = reached.flat_map(|wave| &wave.hosts);
    let mut back = hosts.filter_map(|host| {
        let Some(HostLooks::Back { reason }) = outlook.hosts.get(host) else {
            return None;
        };
        Some((host, reason))
    });
    let (host, reason) = back.next()?;
    let more = match back.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    Some(format!(
        "it goes on without {host} ({reason}){more}, of {} hosts",
        stage.hosts_reached()
    ))
}

impl Outlook<'_> {
    /// What speaks against a release that a person let go on in this environment, beyond what
    /// they have seen: hosts of the open wave, what is counted once that has baked, and
    /// in the end that most hosts don't run it.
    fn new_to_people(
        &self,
        stage: &Stage,
        counted: impl Fn() -> Option<Verdict>,
        now: Timestamp,
    ) -> Option<Verdict> {
        if let Some(wave) = stage.open_wave() {
            let since = stage.baking_since;
            let baked = since.is_some_and(|it| Millis::between(it, now) >= self.plan.bake_ms);
            return self
                .any_failed(&wave.hosts)
                .or_else(|| counted().filter(|_| baked));
        }
        if stage.begun < stage.waves.len() {
            return None;
        }
        let hosts = || stage.waves.iter().flat_map(|wave| &wave.hosts);
        let without = hosts().filter(|host| {
            let failed = self.failed(host);
            failed.is_some_and(|(rule, _)| rule == Rule::NotConfirmed)
        });
        let mostly = 2 * without.count() > hosts().count();
        self.any_failed(hosts()).filter(|_| mostly)
    }

    /// The first host of these that did not take it or does harm.
    fn any_failed<'h>(&self, hosts: impl IntoIterator<Item = &'h HostName>) -> Option<Verdict> {
        hosts.into_iter().find_map(|host| {
            let (rule, reason) = self.failed(host)?;
            Some(verdict(rule, host, reason, String::new()))
        })
    }

    /// Whether too many hosts of a stage failed. Where customers are not, one is too many.
    fn hosts_failed(&self, stage: &Stage, serves: bool) -> Option<Verdict> {
        let reached = stage.waves.iter().take(stage.begun);
        let hosts = || reached.clone().flat_map(|wave| &wave.hosts);
        if !serves {
            return self.any_failed(hosts());
        }
        let failed: Vec<_> = hosts()
            .filter_map(|host| {
                let (rule, reason) = self.failed(host)?;
                Some((host, rule, reason))
            })
            .collect();
        // A health check that fails where the new bundle runs decides alone.
        let alone = failed
            .iter()
            .find(|(_, rule, _)| !matches!(rule, Rule::NotConfirmed | Rule::CrashLoop));
        if let Some((host, rule, reason)) = alone {
            return Some(verdict(*rule, host, reason, String::new()));
        }
        let reached = hosts().count();
        let loops = failed
            .iter()
            .filter(|(_, rule, _)| *rule == Rule::CrashLoop);
        let counts = self.loops_by_itself(loops.count(), reached);
        let mut blamed = failed
            .iter()
            .filter(|(_, rule, _)| counts || *rule != Rule::CrashLoop);
        let enough = blamed.clone().count() >= hosts_that_decide(reached);
        let (host, rule, reason) = blamed.next().filter(|_| enough)?;
        let more = match blamed.count() {
            0 => String::new(),
            count => format!("; {count} more of {reached} hosts failed"),
        };
        Some(verdict(*rule, host, reason, more))
    }

    /// Whether the old bundle exits again and again on less than half as large a share of its hosts.
    fn loops_by_itself(&self, looping: usize, reached: usize) -> bool {
        let (control, of) = self.control_looping;
        2 * control * reached < looping * of.max(1)
    }

    fn failed(&self, host: &HostName) -> Option<(Rule, &str)> {
        match self.hosts.get(host)? {
            HostLooks::Back { reason } => Some((Rule::NotConfirmed, reason)),
            HostLooks::Failed { rule, reason } => Some((*rule, reason)),
            HostLooks::Ready
            | HostLooks::Draining { .. }
            | HostLooks::Drained
            | HostLooks::Blocked(_)
            | HostLooks::Ordered
            | HostLooks::Confirmed
            | HostLooks::Rehearsing
            | HostLooks::Silent { .. } => None,
        }
    }
}

fn verdict(rule: Rule, host: &HostName, reason: &str, more: String) -> Verdict {
    Verdict::Fail {
        rule,
        reason: format!("{host}: {reason}{more}"),
        evidence: Evidence::default(),
    }
}
