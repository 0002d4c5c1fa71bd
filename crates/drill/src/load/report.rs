//! What a load counted, by 100 ms of the schedule, by customer and by kind of failure.
//!
//! A request belongs to the bin in which it was due: a bin tells what became of
//! the customers who came then, however late they learnt it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use model::Permille;
use serde::Serialize;

use super::Failure;

/// Width of a bin.
const BIN: Duration = Duration::from_millis(100);
/// Two hours of bins, 6 MB; older ones are forgotten, the totals keep them.
const BINS_MAX: usize = 72_000;
/// Latency classes: eight for each doubling, from 1 µs to 72 minutes. Wrong by at most 12.5 %.
const LATENCY_CLASSES: usize = 256;

/// Sent, ok and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Were due.
    pub sent: u64,
    /// Answered in time with 2xx or 3xx.
    pub ok: u64,
    /// Everything else that has ended.
    pub failed: u64,
}

impl Tally {
    /// The failed share of what has ended, rounded down; none when nothing has.
    pub fn failed_permille(&self) -> Permille {
        match self.ok + self.failed {
            0 => Permille::NONE,
            ended => Permille::of(self.failed, ended),
        }
    }
}

/// Failures by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Failures {
    /// No whole answer in time.
    pub timeout: u64,
    /// No connection.
    pub connect: u64,
    /// An answer with 5xx.
    pub server_error: u64,
    /// A broken answer, or one with 4xx.
    pub other: u64,
    /// Not sent: too many were under way.
    pub generator_full: u64,
}

impl Failures {
    fn count(&mut self, failure: Failure) {
        let counter = match failure {
            Failure::Timeout => &mut self.timeout,
            Failure::Connect => &mut self.connect,
            Failure::ServerError => &mut self.server_error,
            Failure::Other => &mut self.other,
            Failure::GeneratorFull => &mut self.generator_full,
        };
        *counter += 1;
    }
}

/// The requests that were due within 100 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Bin {
    /// How many, and what became of them.
    #[serde(flatten)]
    pub tally: Tally,
    /// How those that failed did.
    pub failures: Failures,
    /// The slowest good answer, from when it was due.
    pub latency_us_max: u64,
}

/// Latency of good answers, from when they were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LatencyReport {
    /// Half were faster.
    pub p50_us: u64,
    /// Of 100, 99 were faster.
    pub p99_us: u64,
    /// None was slower.
    pub max_us: u64,
}

/// Everything a load has counted at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// When the schedule began.
    pub started_at: Timestamp,
    /// When this was taken.
    pub taken_at: Timestamp,
    /// Over the whole load.
    pub total: Tally,
    /// Failures over the whole load.
    pub failures: Failures,
    /// By customer: `tenants[42]` is `tenant-0042`.
    pub tenants: Vec<Tally>,
    /// When a customer first learnt of a failure.
    pub first_failed_at: Option<Timestamp>,
    /// When a customer last did.
    pub last_failed_at: Option<Timestamp>,
    /// Sent more than 10 ms after they were due: the generator was short of CPU.
    pub late_sends: u64,
    /// Latency over the whole load.
    pub latency: LatencyReport,
    /// Start of the first of `bins`; the schedule's start unless old ones were forgotten.
    pub bins_from: Timestamp,
    /// One for each 100 ms.
    pub bins: Vec<Bin>,
}

impl LoadReport {
    /// What became of the requests due from `a` to `b`, in whole bins that begin there.
    pub fn between(&self, a: Timestamp, b: Timestamp) -> Tally {
        let mut tally = Tally::default();
        for (at, bin) in self.timed() {
            if at >= a && at < b {
                tally.sent += bin.tally.sent;
                tally.ok += bin.tally.ok;
                tally.failed += bin.tally.failed;
            }
        }
        tally
    }

    /// The failed share of the requests that were due from `a` to `b` and have ended.
    pub fn share_failed_between(&self, a: Timestamp, b: Timestamp) -> Permille {
        self.between(a, b).failed_permille()
    }

    /// The longest time in which every bin failed at least to `threshold`.
    /// Bins without an ended request neither begin, extend nor end it.
    pub fn longest_outage(&self, threshold: Permille) -> Option<(Timestamp, Duration)> {
        let mut longest: Option<(Timestamp, Duration)> = None;
        let mut start = None;
        for (at, bin) in self.judged() {
            if bin.tally.failed == 0 || bin.tally.failed_permille() < threshold {
                start = None;
                continue;
            }
            let start = *start.get_or_insert(at);
            let length = span(start, after(at, BIN));
            if longest.is_none_or(|(_, best)| length > best) {
                longest = Some((start, length));
            }
        }
        longest
    }

    /// Start of the first good bin after the last that failed to `threshold`.
    /// None when none failed so, or it is still going on.
    pub fn restored_at(&self, threshold: Permille) -> Option<Timestamp> {
        let mut failing = false;
        let mut restored = None;
        for (at, bin) in self.judged() {
            if bin.tally.failed > 0 && bin.tally.failed_permille() >= threshold {
                failing = true;
                restored = None;
            } else if failing && restored.is_none() {
                restored = Some(at);
            }
        }
        restored
    }

    /// How many customers had at least one failed request.
    pub fn tenants_hit(&self) -> usize {
        self.tenants.iter().filter(|tally| tally.failed > 0).count()
    }

    fn timed(&self) -> impl Iterator<Item = (Timestamp, &Bin)> {
        (0_u32..)
            .zip(&self.bins)
            .map(|(number, bin)| (after(self.bins_from, BIN * number), bin))
    }

    fn judged(&self) -> impl Iterator<Item = (Timestamp, &Bin)> {
        self.timed()
            .filter(|(_, bin)| bin.tally.ok + bin.tally.failed > 0)
    }
}

fn after(at: Timestamp, span: Duration) -> Timestamp {
    // Past the year 9999 a drill's times don't matter.
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

fn span(from: Timestamp, to: Timestamp) -> Duration {
    let span: SignedDuration = to.duration_since(from);
    Duration::try_from(span).unwrap_or_default()
}

/// Counts while the load runs.
#[derive(Debug)]
pub(super) struct Recorder {
    started: Instant,
    started_at: Timestamp,
    total: Tally,
    failures: Failures,
    tenants: Vec<Tally>,
    bins: VecDeque<Bin>,
    bins_forgotten: usize,
    first_failed: Option<Instant>,
    last_failed: Option<Instant>,
    late_sends: u64,
    latency: Box<[u64; LATENCY_CLASSES]>,
    latency_us_max: u64,
}

impl Recorder {
    pub(super) fn new(started: Instant, started_at: Timestamp, tenants: u32) -> Recorder {
        Recorder {
            started,
            started_at,
            total: Tally::default(),
            failures: Failures::default(),
            tenants: vec![Tally::default(); tenants as usize],
            bins: VecDeque::new(),
            bins_forgotten: 0,
            first_failed: None,
            last_failed: None,
            late_sends: 0,
            latency: Box::new([0; LATENCY_CLASSES]),
            latency_us_max: 0,
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// A request was due and is on its way.
    pub(super) fn sent(&mut self, due: Instant, tenant: u32, late: bool) {
        self.total.sent += 1;
        self.late_sends += u64::from(late);
        if let Some(tally) = self.tenants.get_mut(tenant as usize) {
            tally.sent += 1;
        }
        if let Some(bin) = self.bin(due) {
            bin.tally.sent += 1;
        }
    }

    /// It has ended.
    pub(super) fn done(&mut self, due: Instant, tenant: u32, outcome: Result<(), Failure>) {
        let now = Instant::now();
        let latency_us = u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX);
        let bump = |tally: &mut Tally| match outcome {
            Ok(()) => tally.ok += 1,
            Err(_) => tally.failed += 1,
        };
        bump(&mut self.total);
        if let Some(tally) = self.tenants.get_mut(tenant as usize) {
            bump(tally);
        }
        if let Some(bin) = self.bin(due) {
            bump(&mut bin.tally);
            match outcome {
                Ok(()) => bin.latency_us_max = bin.latency_us_max.max(latency_us),
                Err(failure) => bin.failures.count(failure),
            }
        }
        match outcome {
            Ok(()) => {
                self.latency[latency_class(latency_us)] += 1;
                self.latency_us_max = self.latency_us_max.max(latency_us);
            }
            Err(failure) => {
                self.failures.count(failure);
                self.first_failed.get_or_insert(now);
                self.last_failed = Some(now);
            }
        }
    }

    /// The bin of that moment; none when it was forgotten.
    fn bin(&mut self, due: Instant) -> Option<&mut Bin> {
        let number = (due - self.started).as_millis() / BIN.as_millis();
        let index = usize::try_from(number)
            .ok()?
            .checked_sub(self.bins_forgotten)?;
        while self.bins.len() <= index {
            self.bins.push_back(Bin::default());
        }
        let excess = self.bins.len().saturating_sub(BINS_MAX);
        self.bins.drain(..excess);
        self.bins_forgotten += excess;
        self.bins.get_mut(index - excess)
    }

    pub(super) fn report(&self) -> LoadReport {
        // Wall times are the start plus a monotonic span, so they can't go back.
        let at = |moment: Instant| after(self.started_at, moment - self.started);
        let forgotten = u32::try_from(self.bins_forgotten).unwrap_or(u32::MAX);
        LoadReport {
            started_at: self.started_at,
            taken_at: at(Instant::now()),
            total: self.total,
            failures: self.failures,
            tenants: self.tenants.clone(),
            first_failed_at: self.first_failed.map(at),
            last_failed_at: self.last_failed.map(at),
            late_sends: self.late_sends,
            latency: LatencyReport {
                p50_us: self.quantile(500),
                p99_us: self.quantile(990),
                max_us: self.latency_us_max,
            },
            bins_from: after(self.started_at, BIN * forgotten),
            bins: self.bins.iter().copied().collect(),
        }
    }

    /// Upper end of the class in which that share of good answers has come.
    fn quantile(&self, permille: u64) -> u64 {
        let needed = (self.total.ok * permille).div_ceil(1000);
        let mut seen = 0;
        for (class, count) in self.latency.iter().enumerate() {
            seen += count;
            if seen >= needed && seen > 0 {
                return latency_class_end(class).min(self.latency_us_max);
            }
        }
        0
    }
}

/// Below 8 µs each its own class; from there the three bits after the first.
fn latency_class(us: u64) -> usize {
    let bits = 64 - us.leading_zeros() as usize;
    if bits <= 3 {
        return us as usize;
    }
    let shift = bits - 4;
    let class = 8 * (shift + 1) + (us >> shift) as usize - 8;
    class.min(LATENCY_CLASSES - 1)
}

fn latency_class_end(class: usize) -> u64 {
    if class < 8 {
        return class as u64;
    }
    let shift = class / 8 - 1;
    ((class as u64 % 8 + 9) << shift) - 1
}

#[cfg(test)]
mod tests;
