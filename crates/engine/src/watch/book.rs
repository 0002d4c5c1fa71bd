//! One service in one environment: its open seconds, its history, and the
//! comparison that is under way.
//!
//! Invariant: seconds are closed in their order and once; what comes for a
//! closed one is dropped and counted.

use std::collections::{BTreeMap, VecDeque};

use judge::{FleetWatch, Tick};
use model::{BundleCounts, EnvironmentName, HostName, Millis, ServiceName, Timestamp};
use release::{Release, Status};

use super::beats::Seen;
use super::comparison::Comparison;
use super::lineup::{self, Lineup, Strata};
use super::roster::{self, Groups, Roster};
use super::second::Second;
use super::usual::Usual;
use crate::State;
use crate::decide::tick::stage_plan;

/// Open seconds at most: they are closed two seconds after their end, so more are a loop that stands still.
const OPEN_MAX: usize = 16;
/// After a pause (a machine that slept) at most so many seconds are caught up with; those before are skipped.
const CATCH_UP_S: i64 = 60;
/// While nothing is compared and nothing is counted, hosts are looked at only this often.
const QUIET_S: i64 = 10;
/// The failing share that is acceptable when a service has no error budget of its own.
const SLO: f64 = 0.01;
/// A budget of nothing would make any failure an outage.
const SLO_MIN: f64 = 0.001;

/// One service in one environment.
#[derive(Debug, Clone)]
pub(super) struct Book {
    open: BTreeMap<i64, Second>,
    /// All seconds up to this one are closed.
    pub(super) closed: i64,
    /// When hosts were last looked at, and the newest second then.
    looked: (Timestamp, i64),
    pub(super) strata: Strata,
    pub(super) groups: Groups,
    usual: Usual,
    /// Some source counts events of this service.
    events: bool,
    slo: f64,
    fleet: FleetWatch,
    pub(super) telemetry: Telemetry,
    pub(super) comparison: Option<Comparison>,
    /// The newest closed seconds of which a source told, with their requests.
    lately: VecDeque<(i64, BundleCounts)>,
}

/// So many: a ramp's longest step.
const LATELY_MAX: usize = 90;

/// What is known of how well seconds are known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Telemetry {
    /// The newest second of which a source told.
    pub(super) told: Option<i64>,
    /// Each tick tells of so many seconds.
    pub(super) period: u64,
    /// Seconds since then that were closed, or all if there was none.
    pub(super) uncovered: u64,
    /// Ticks that came too late.
    pub(super) late: u64,
    /// Seconds closed.
    pub(super) closed: u64,
}

impl Telemetry {
    /// Takes in a closed second; which ones it tells of.
    fn close(&mut self, at: i64, second: &Second) -> std::ops::RangeInclusive<i64> {
        self.closed += 1;
        if !second.told {
            self.uncovered += 1;
            return at..=at;
        }
        let before = self.uncovered.min(second.covers.saturating_sub(1));
        self.told = Some(at);
        self.period = second.covers;
        self.uncovered = 0;
        at.saturating_sub_unsigned(before)..=at
    }
}

impl Book {
    pub(super) fn new(now: Timestamp) -> Book {
        let closed = overdue(now);
        Book {
            open: BTreeMap::new(),
            closed,
            looked: (now, closed),
            strata: Strata::default(),
            groups: Groups::default(),
            usual: Usual::default(),
            events: false,
            slo: SLO,
            fleet: FleetWatch::new(SLO),
            telemetry: Telemetry::default(),
            comparison: None,
            lately: VecDeque::new(),
        }
    }

    /// The second `at`, while it is open.
    pub(super) fn second(&mut self, at: i64) -> Option<&mut Second> {
        if at <= self.closed {
            return None;
        }
        if self.open.len() >= OPEN_MAX
            && !self.open.contains_key(&at)
            && let Some((oldest, _)) = self.open.pop_first()
        {
            self.closed = self.closed.max(oldest);
            self.telemetry.late += 1;
            if at <= self.closed {
                return None;
            }
        }
        Some(self.open.entry(at).or_default())
    }

    #[cfg(test)]
    pub(super) fn cells_max(&self) -> usize {
        self.open
            .values()
            .map(|second| second.cells.len())
            .max()
            .unwrap_or(0)
    }

    /// A source counts events of this service.
    pub(super) fn has_events(&mut self) {
        self.events = true;
    }

    pub(super) fn baseline(&self) -> Option<(judge::Baseline, u64)> {
        self.usual.baseline()
    }

    pub(super) fn fails_since(&self) -> Option<Timestamp> {
        let at = i64::try_from(self.fleet.alarm()?).ok()?;
        Timestamp::from_second(at).ok()
    }

    /// The record of the comparison that is under way, as it is kept.
    pub(super) fn record(&self) -> Option<Vec<u8>> {
        let comparison = self.comparison.as_ref()?;
        let record = comparison.record(self.strata.names(), self.groups.names())?;
        // Text keys and numbers only; there is nothing to fail on.
        serde_json::to_vec(&record).ok()
    }

    /// Closes all seconds up to `through`, with what hosts said meanwhile.
    pub(super) fn close(
        &mut self,
        state: &State,
        place: (&EnvironmentName, &ServiceName),
        hosts: &mut BTreeMap<HostName, Seen>,
        through: i64,
        now: Timestamp,
    ) {
        self.follow(state, place);
        if through <= self.closed {
            return;
        }
        self.closed = self.closed.max(through - CATCH_UP_S);
        self.open = self.open.split_off(&(self.closed + 1));
        let quiet = self.comparison.is_none() && self.open.range(..=through).next().is_none();
        if quiet && through - self.looked.1 < QUIET_S {
            for at in self.closed + 1..=through {
                self.telemetry.close(at, &Second::default());
            }
            self.closed = through;
            return;
        }
        let (environment, service) = place;
        let roster = Roster::of(state, environment, service, &mut self.groups);
        let resting = !on_the_way(state, environment, service);
        let heard = self.hosts_at(through);
        for at in self.closed + 1..=through {
            let second = self.open.remove(&at).unwrap_or_default();
            let told = self.telemetry.close(at, &second);
            if !second.told && heard != Some(at) {
                continue;
            }
            let mut tick = self.lay_out(&second, &roster, at);
            if heard == Some(at) {
                let span = [self.looked.0, now];
                let canary = self.comparison.as_ref().map(|it| it.digest);
                roster::add_hosts(&mut tick, &roster, hosts, service, canary, span);
                self.looked = (now, at);
            }
            if second.told {
                let all = second.all();
                self.fleet.observe(at.unsigned_abs(), all);
                let counts = BundleCounts {
                    requests: all.n,
                    failed: all.e.min(all.n),
                };
                self.lately.push_back((at, counts));
                let surplus = self.lately.len().saturating_sub(LATELY_MAX);
                self.lately.drain(..surplus);
            }
            if let Some(comparison) = &mut self.comparison {
                let serves = comparison.is_unanswered(&tick)
                    && serves(state, environment, service, &roster, comparison.digest);
                for empty in told.filter(|second| *second < at) {
                    comparison.observe(empty, Tick::default(), serves);
                }
                comparison.observe(at, tick, serves);
            } else if resting {
                for empty in told.filter(|second| *second < at) {
                    self.usual.hear(empty, Tick::default(), 0);
                }
                self.usual
                    .hear(at, tick, if second.told { second.covers } else { 0 });
            }
            self.usual.learn(&self.fleet);
        }
        self.closed = through;
    }

    /// Requests of closed seconds that began at `since` or later.
    pub(super) fn counted_since(&self, since: Timestamp) -> BundleCounts {
        let ms = |second: i64| second.saturating_mul(1000);
        let seconds = self.lately.iter();
        let seconds = seconds.filter(|(at, _)| ms(*at) >= since.as_millisecond());
        seconds.fold(BundleCounts::default(), |sum, (_, counts)| {
            sum.plus(*counts)
        })
    }

    /// With which second, of those up to `through`, the judge is told what hosts said: the newest
    /// of which a source tells. One of which none does may still be one of those of which a later
    /// tick tells; hosts don't wait for that for ever.
    fn hosts_at(&self, through: i64) -> Option<i64> {
        let open = self.open.range(..=through).rev();
        let told = open.map(|(at, second)| (*at, second.told));
        let newest = told.filter(|(_, told)| *told).map(|(at, _)| at).next();
        let unknown = self.telemetry.uncovered + through.abs_diff(self.closed);
        let waited = unknown > 2 * self.telemetry.period
            && unknown >= QUIET_S.unsigned_abs()
            && through - self.looked.1 >= QUIET_S;
        newest.or(waited.then_some(through))
    }

    fn lay_out(&mut self, second: &Second, roster: &Roster, at: i64) -> Tick {
        let comparison = self.comparison.as_ref();
        let lineup = Lineup {
            roster,
            canary: comparison.map(|it| it.digest),
            start: Timestamp::from_second(at).unwrap_or(Timestamp::MAX),
            warmup: comparison.map_or(Millis(0), |it| it.warmup),
            events: self.events && second.told,
        };
        lineup::tick(second, &lineup, &mut self.strata)
    }

    /// Begins a comparison, or its next wave, or ends it, as the state has it.
    fn follow(&mut self, state: &State, (environment, service): (&EnvironmentName, &ServiceName)) {
        let budget = state.topology.services.get(service);
        let budget = budget.and_then(|spec| spec.error_budget.as_ref());
        let slo = budget.map_or(SLO, |it| f64::from(it.failed_permille_max.get()) / 1000.0);
        let slo = slo.max(SLO_MIN);
        if slo.total_cmp(&self.slo).is_ne() {
            self.slo = slo;
            self.fleet = FleetWatch::new(slo);
        }
        let release = active(state, service).filter(|release| {
            let here = |stage: &release::Stage| stage.environment == *environment;
            matches!(release.status, Status::Rolling { .. }) && release.stage().is_some_and(here)
        });
        let Some(release) = release else {
            self.comparison = None;
            return;
        };
        match &mut self.comparison {
            Some(comparison) if comparison.is_of(release) => comparison.follow(release),
            Some(_) | None => {
                let plan = stage_plan(state, release);
                let share = share(state, environment);
                let late = self.telemetry.late;
                let begun = Comparison::begin(release, &plan, share, self.usual.history(), late);
                self.comparison = Some(begun);
            }
        }
    }
}

/// The newest second that is closed whoever has not told of it: two seconds after its end.
pub(super) fn overdue(now: Timestamp) -> i64 {
    (now.as_millisecond() - CLOSED_AFTER_MS).div_euclid(1000) - 1
}

/// A second is closed so long after its end at the latest. Sources tell of it within half a
/// second; a judge that waited longer for one that lags would let harm go on for all.
const CLOSED_AFTER_MS: i64 = 2000;

/// An environment's part of the false rollbacks that a plan allows: most releases
/// that are sent back are so where customers are.
pub fn share(state: &State, environment: &EnvironmentName) -> f64 {
    const LAST: f64 = 0.9;
    let environments = &state.topology.environments;
    let last = environments
        .last()
        .is_some_and(|it| it.name == *environment);
    match environments.len() {
        0 | 1 => 1.0,
        _ if last => LAST,
        all => (1.0 - LAST) / (all - 1) as f64,
    }
}

fn active<'a>(state: &'a State, service: &ServiceName) -> Option<&'a Release> {
    state.releases.get(&state.services.get(service)?.active?)
}

/// Whether a release that is neither good nor back has come to this environment.
fn on_the_way(state: &State, environment: &EnvironmentName, service: &ServiceName) -> bool {
    let stages = active(state, service).into_iter().flat_map(|it| &it.stages);
    stages.into_iter().any(|it| it.environment == *environment)
}

/// Whether requests are meant to come to the new bundle.
fn serves(
    state: &State,
    environment: &EnvironmentName,
    service: &ServiceName,
    roster: &Roster,
    digest: model::Digest,
) -> bool {
    let share = crate::due::canary(state, environment, service);
    let routed = share.is_some_and(|(routed, share)| routed == digest && share.most.get() > 0);
    routed && roster.0.values().any(|it| it.running == Some(digest))
}
