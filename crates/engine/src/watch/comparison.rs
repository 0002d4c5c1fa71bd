//! One release in one environment, compared second by second.
//!
//! Invariant: what the judge says follows from what is recorded here; the
//! record, the course and all sums are bounded however long it takes.

use std::collections::BTreeMap;

use judge::tick::Exposed;
use judge::{History, Judge, Record, Settings, Side, Standing, Sums, Tick};
use model::judged::{POINTS_MAX, Point};
use model::{Digest, Metric, Millis, ReleaseId, StagePlan, Timestamp};
use release::Release;

use super::beats::GAUGES;
use super::second::{Counted, plus};

/// Seconds in a record at most: an environment that takes longer than four hours is judged on, but leaves none.
const RECORD_TICKS_MAX: usize = 4 * 3600;
/// Numbers in a record at most, some tens of megabytes as text.
const RECORD_PARTS_MAX: usize = 1_000_000;
/// Both sides of something.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Both<T> {
    pub(super) canary: T,
    pub(super) control: T,
}

/// One comparison.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    release: ReleaseId,
    /// Environments entered, with this one.
    stage: usize,
    /// Waves begun, as the judge was told.
    wave: usize,
    /// Waves begun, and when the newest did, if the judge is still to be told.
    begun: Option<(usize, Timestamp)>,
    pub(super) digest: Digest,
    pub(super) warmup: Millis,
    judge: Judge,
    pub(super) standing: Standing,
    /// The second that is the judge's first.
    first: Option<i64>,
    /// The newest that it was told of.
    newest: i64,
    record: Option<Record>,
    parts: usize,
    pub(super) course: Course,
    pub(super) strata: BTreeMap<u8, Both<Counted>>,
    pub(super) events: BTreeMap<Metric, Both<Exposed>>,
    /// Sum and number of samples.
    pub(super) gauges: [Both<(u64, u64)>; GAUGES.len()],
    /// Seconds in a row in which the old bundle had requests and the new one had none, although
    /// routes gave it some.
    unanswered: u64,
    /// Late ticks before it began.
    pub(super) late_before: u64,
}

impl Comparison {
    pub(super) fn begin(
        release: &Release,
        plan: &StagePlan,
        share: f64,
        history: &History,
        late_before: u64,
    ) -> Comparison {
        let settings = Settings::of(plan, share);
        let judge = Judge::new(&settings, history);
        let standing = judge.standing();
        let mut comparison = Comparison {
            release: release.id,
            stage: release.stages.len(),
            wave: 0,
            begun: None,
            digest: release.digest,
            warmup: plan.judge.latency_warmup_ms,
            judge,
            standing,
            first: None,
            newest: i64::MIN,
            record: Some(Record {
                settings,
                history: history.clone(),
                first: None,
                ticks: Vec::new(),
                waves: Vec::new(),
                strata: Vec::new(),
                hosts: Vec::new(),
            }),
            parts: 0,
            course: Course::default(),
            strata: BTreeMap::new(),
            events: BTreeMap::new(),
            gauges: Default::default(),
            unanswered: 0,
            late_before,
        };
        comparison.follow(release);
        comparison
    }

    pub(super) fn is_of(&self, release: &Release) -> bool {
        self.release == release.id && self.stage == release.stages.len()
    }

    /// Whether the judge knows of the newest wave; if not, nothing was counted in it yet.
    pub(super) fn is_at(&self, release: &Release) -> bool {
        release.stage().is_some_and(|it| it.begun == self.wave)
    }

    /// A wave may have begun. The judge is told with the first second that lies in it.
    pub(super) fn follow(&mut self, release: &Release) {
        if let Some(stage) = release.stage().filter(|stage| stage.begun != self.wave) {
            self.begun = Some((stage.begun, stage.wave_began_at));
        }
    }

    fn begin_wave(&mut self, second: i64) {
        let started = |at: &Timestamp| second.saturating_mul(1000) >= at.as_millisecond();
        if let Some((wave, _)) = self.begun.take_if(|(_, at)| started(at)) {
            self.wave = wave;
            self.judge.begin_wave();
            if let Some(record) = &mut self.record {
                record.waves.push(record.ticks.len());
            }
        }
    }

    /// Whether the old bundle had requests and the new one had none.
    pub(super) fn is_unanswered(&self, tick: &Tick) -> bool {
        let (canary, control) = requests(tick);
        canary.n == 0 && control.n > 0
    }

    /// One second passed. Requests were meant to come to the new bundle, if it `serves`.
    pub(super) fn observe(&mut self, second: i64, mut tick: Tick, serves: bool) {
        if second <= self.newest {
            return;
        }
        self.newest = second;
        self.begin_wave(second);
        let first = *self.first.get_or_insert(second);
        tick.at = second.abs_diff(first);
        if let Some(record) = &mut self.record {
            record.first = Some(first);
        }
        self.judge.observe(&tick);
        self.standing = self.judge.standing();
        let (canary, control) = requests(&tick);
        self.unanswered = match (canary.n, control.n) {
            (0, 0) => self.unanswered,
            (0, _) if serves => self.unanswered + 1,
            (_, _) => 0,
        };
        self.course.push(tick.at, &self.standing, canary);
        self.sum(&tick);
        self.keep(tick);
    }

    /// Seconds for which the new bundle has been silent, when that is no chance and not meant.
    pub(super) fn silent(&self) -> u64 {
        self.standing.silent.min(self.unanswered)
    }

    fn sum(&mut self, tick: &Tick) {
        for stratum in &tick.strata {
            let both = self.strata.entry(stratum.stratum).or_default();
            both.canary.add_sums(stratum.canary);
            both.control.add_sums(stratum.control);
            for (to, from) in [
                (&mut both.canary, &stratum.canary_latency),
                (&mut both.control, &stratum.control_latency),
            ] {
                for (bucket, count) in from {
                    if let Some(sum) = to.latency.get_mut(usize::from(*bucket)) {
                        *sum = sum.saturating_add(*count);
                    }
                }
            }
        }
        for event in &tick.events {
            let both = self.events.entry(event.metric).or_default();
            for (to, from) in [
                (&mut both.canary, event.canary),
                (&mut both.control, event.control),
            ] {
                to.events = to.events.saturating_add(from.events);
                to.host_ms = to.host_ms.saturating_add(from.host_ms);
            }
        }
        for sample in &tick.gauges {
            if let Some(both) = self.gauges.get_mut(usize::from(sample.gauge)) {
                let (sum, count) = match sample.side {
                    Side::Canary => &mut both.canary,
                    Side::Control => &mut both.control,
                };
                *sum += u64::from(sample.permille);
                *count += 1;
            }
        }
    }

    fn keep(&mut self, tick: Tick) {
        let Some(record) = &mut self.record else {
            return;
        };
        let latency =
            |it: &judge::tick::StratumTick| 1 + it.canary_latency.len() + it.control_latency.len();
        let lists = tick.hosts.len() + tick.clients.len() + tick.events.len() + tick.gauges.len();
        self.parts += 1 + lists + tick.strata.iter().map(latency).sum::<usize>();
        if record.ticks.len() >= RECORD_TICKS_MAX || self.parts > RECORD_PARTS_MAX {
            // Half a record is none.
            self.record = None;
            return;
        }
        record.ticks.push(tick);
    }

    /// Everything from which the standing follows again, while it is not too much.
    pub(super) fn record(&self, strata: Vec<String>, hosts: Vec<String>) -> Option<Record> {
        let record = self.record.clone()?;
        Some(Record {
            strata,
            hosts,
            ..record
        })
    }
}

/// All requests of a tick: the new bundle's and the old one's.
fn requests(tick: &Tick) -> (Sums, Sums) {
    let zero = (Sums::default(), Sums::default());
    tick.strata.iter().fold(zero, |(canary, control), stratum| {
        (plus(canary, stratum.canary), plus(control, stratum.control))
    })
}

/// How evidence grew: every 2^k-th second, so that at most [`POINTS_MAX`] points are kept.
#[derive(Debug, Clone)]
pub(super) struct Course {
    points: Vec<Point>,
    /// The one that is being filled, and of how many seconds it has.
    filling: Option<(Point, u64)>,
    stride: u64,
}

impl Default for Course {
    fn default() -> Course {
        Course {
            points: Vec::new(),
            filling: None,
            stride: 1,
        }
    }
}

impl Course {
    fn push(&mut self, second: u64, standing: &Standing, canary: Sums) {
        let (before, seconds) = self.filling.take().map_or((None, 0), |(p, n)| (Some(p), n));
        let point = Point {
            second,
            harm: thousandths(standing.harm),
            pass: thousandths(standing.pass),
            requests: before.map_or(0, |it| it.requests).saturating_add(canary.n),
            failed: before
                .map_or(0, |it| it.failed)
                .saturating_add(canary.e.min(canary.n)),
        };
        if seconds + 1 < self.stride {
            self.filling = Some((point, seconds + 1));
            return;
        }
        self.points.push(point);
        // One place is kept for the point that is being filled.
        if self.points.len() >= POINTS_MAX - 1 {
            self.halve();
        }
    }

    /// Two points become one. An odd one out has half as many seconds as the others, and is filled up.
    fn halve(&mut self) {
        if self.points.len() % 2 == 1 {
            self.filling = self.points.pop().map(|last| (last, self.stride));
        }
        self.stride *= 2;
        let pairs = self.points.chunks_exact(2);
        let joined = pairs.map(|pair| Point {
            requests: pair[0].requests.saturating_add(pair[1].requests),
            failed: pair[0].failed.saturating_add(pair[1].failed),
            ..pair[1]
        });
        self.points = joined.collect();
    }

    /// Oldest first, up to now.
    pub(super) fn points(&self) -> Vec<Point> {
        let filling = self.filling.iter().map(|(point, _)| *point);
        self.points.iter().copied().chain(filling).collect()
    }
}

/// In thousandths, for an event; what is infinite is the largest number.
pub(super) fn thousandths(value: f64) -> i64 {
    // A cast saturates, and makes 0 of what is no number.
    (value * 1000.0).round() as i64
}
