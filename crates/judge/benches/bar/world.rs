//! Traffic as the bench makes it up: 1000 requests a second, the new bundle's share 5 %.
//!
//! Invariant: a world's chance comes from the [`Draw`] that it is given and from nothing else.

use judge::tick::{GROUPS_MAX, GroupTick, StratumTick};
use judge::{History, Side, Sums, Tick};
use libm::log;
use model::ticks::{LATENCY_BUCKETS, latency_from_us};

use crate::draw::{Alias, Binomial, Draw};

/// Requests a second on the new bundle and on the old one.
pub(crate) const CANARY: u64 = 50;
pub(crate) const CONTROL: u64 = 950;
/// Seconds of traffic before a release.
pub(crate) const BEFORE: u64 = 600;
/// Seconds of a release.
pub(crate) const HOUR: u64 = 3600;

/// What is told of one second of one kind of traffic.
pub(crate) trait World {
    /// Writes the second `at` into `tick`.
    fn second(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick);
    /// A second before the release: everything is control.
    fn before(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick);
}

/// What the judge knows before a release in this world.
pub(crate) fn history(world: &mut impl World, draw: &mut Draw) -> History {
    let mut history = History::default();
    let mut tick = Tick::default();
    for at in 0..BEFORE {
        tick.at = at;
        world.before(draw, at, &mut tick);
        history.observe(&tick);
    }
    history
}

fn one_stratum(tick: &mut Tick) -> &mut StratumTick {
    if tick.strata.is_empty() {
        tick.strata.push(StratumTick::default());
    }
    &mut tick.strata[0]
}

/// One kind of request; each fails with a fixed probability on each side.
#[derive(Debug)]
pub(crate) struct Plain {
    sizes: [u64; 2],
    healthy: [Binomial; 2],
    sick: Binomial,
    before: Binomial,
    /// The new bundle is as healthy as the old one until this second.
    onset: u64,
}

impl Plain {
    /// `p0` on the old bundle, `p1` on the new one.
    pub(crate) fn new(p0: f64, p1: f64) -> Plain {
        Plain::sized(CANARY, CONTROL, p0, p1)
    }

    /// So many requests in each tick.
    pub(crate) fn sized(canary: u64, control: u64, p0: f64, p1: f64) -> Plain {
        Plain {
            sizes: [canary, control],
            healthy: [Binomial::new(canary, p0), Binomial::new(control, p0)],
            sick: Binomial::new(canary, p1),
            before: Binomial::new(CANARY + CONTROL, p0),
            onset: 0,
        }
    }

    pub(crate) fn late(self, onset: u64) -> Plain {
        Plain { onset, ..self }
    }

    /// The new bundle's counts and the old one's.
    pub(crate) fn counts(&self, draw: &mut Draw, at: u64) -> [Sums; 2] {
        let canary = if at < self.onset {
            &self.healthy[0]
        } else {
            &self.sick
        };
        let failed = [canary.draw(draw), self.healthy[1].draw(draw)];
        [0, 1].map(|side| Sums {
            n: self.sizes[side],
            e: failed[side],
        })
    }
}

impl World for &Plain {
    fn second(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick) {
        let [canary, control] = self.counts(draw, at);
        let stratum = one_stratum(tick);
        (stratum.canary, stratum.control) = (canary, control);
    }

    fn before(&mut self, draw: &mut Draw, _at: u64, tick: &mut Tick) {
        let e = self.before.draw(draw);
        one_stratum(tick).control = Sums {
            n: CANARY + CONTROL,
            e,
        };
    }
}

/// Both sides drift together up to three times and back within the hour, and in two minutes of it
/// everything fails twenty times as often.
#[derive(Debug)]
pub(crate) struct Drift {
    /// Quiet and in the spike, for each ten seconds, for canary and control.
    quiet: Vec<[Binomial; 2]>,
    spike: Vec<[Binomial; 2]>,
    before: Binomial,
}

/// The drift is constant for so long, and the spike begins at a multiple of it.
const STEP: u64 = 10;
const SPIKE: u64 = 120;

impl Drift {
    pub(crate) fn new(p0: f64) -> Drift {
        let steps = |factor: f64| {
            let step = |step: u64| {
                let turn = std::f64::consts::TAU * (step * STEP) as f64 / HOUR as f64;
                let p = p0 * (2.0 - libm::cos(turn)) * factor;
                [Binomial::new(CANARY, p), Binomial::new(CONTROL, p)]
            };
            (0..HOUR / STEP).map(step).collect()
        };
        Drift {
            quiet: steps(1.0),
            spike: steps(20.0),
            before: Binomial::new(CANARY + CONTROL, p0),
        }
    }

    /// The world of one run: the spike begins at some time of the hour.
    pub(crate) fn run<'a>(&'a self, draw: &mut Draw) -> Drifting<'a> {
        let spike_at = (draw.unit() * (HOUR - SPIKE) as f64) as u64;
        Drifting {
            drift: self,
            spike_at,
        }
    }
}

/// One run of [`Drift`].
#[derive(Debug)]
pub(crate) struct Drifting<'a> {
    drift: &'a Drift,
    spike_at: u64,
}

impl Drifting<'_> {
    pub(crate) fn counts(&self, draw: &mut Draw, at: u64) -> [Sums; 2] {
        let spike = (self.spike_at..self.spike_at + SPIKE).contains(&at);
        let steps = if spike {
            &self.drift.spike
        } else {
            &self.drift.quiet
        };
        let [canary, control] = &steps[(at % HOUR / STEP) as usize];
        [
            Sums {
                n: CANARY,
                e: canary.draw(draw),
            },
            Sums {
                n: CONTROL,
                e: control.draw(draw),
            },
        ]
    }
}

impl World for Drifting<'_> {
    fn second(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick) {
        let [canary, control] = self.counts(draw, at);
        let stratum = one_stratum(tick);
        (stratum.canary, stratum.control) = (canary, control);
    }

    fn before(&mut self, draw: &mut Draw, _at: u64, tick: &mut Tick) {
        let e = self.drift.before.draw(draw);
        one_stratum(tick).control = Sums {
            n: CANARY + CONTROL,
            e,
        };
    }
}

/// Two kinds of requests, one of which fails ten times as often (1 % and 0.1 %). Ten minutes after
/// the release the new bundle's mix changes from 10 % of the bad kind to 30 %.
#[derive(Debug)]
pub(crate) struct Mix {
    /// Requests of each kind: canary before and after the shift, control, before the release.
    sizes: [[u64; 2]; 4],
    tables: [[Binomial; 2]; 4],
    shift: u64,
    pooled: bool,
}

const MIX: [f64; 2] = [0.001, 0.01];

impl Mix {
    /// `factors`: how many times as often each kind fails on the new bundle.
    /// `pooled`: the judge is not told of kinds.
    pub(crate) fn new(factors: [f64; 2], shifts: bool, pooled: bool) -> Mix {
        let sizes = [[45, 5], [35, 15], [855, 95], [900, 100]];
        let factor = [factors, factors, [1.0; 2], [1.0; 2]];
        let row = |row: usize| {
            [0, 1].map(|kind| Binomial::new(sizes[row][kind], MIX[kind] * factor[row][kind]))
        };
        Mix {
            sizes,
            tables: [row(0), row(1), row(2), row(3)],
            shift: if shifts { 600 } else { u64::MAX },
            pooled,
        }
    }

    fn sums(&self, draw: &mut Draw, row: usize) -> [Sums; 2] {
        [0, 1].map(|kind| Sums {
            n: self.sizes[row][kind],
            e: self.tables[row][kind].draw(draw),
        })
    }

    fn write(&self, tick: &mut Tick, canary: [Sums; 2], control: [Sums; 2]) {
        tick.strata.clear();
        if self.pooled {
            tick.strata.push(StratumTick {
                canary: total(&canary),
                control: total(&control),
                ..StratumTick::default()
            });
            return;
        }
        for (kind, (canary, control)) in canary.into_iter().zip(control).enumerate() {
            tick.strata.push(StratumTick {
                stratum: kind as u8,
                canary,
                control,
                ..StratumTick::default()
            });
        }
    }
}

fn total(sums: &[Sums]) -> Sums {
    let sum = |of: fn(&Sums) -> u64| sums.iter().map(of).sum();
    Sums {
        n: sum(|sums| sums.n),
        e: sum(|sums| sums.e),
    }
}

impl World for &Mix {
    fn second(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick) {
        let canary = self.sums(draw, usize::from(at >= self.shift));
        let control = self.sums(draw, 2);
        self.write(tick, canary, control);
    }

    fn before(&mut self, draw: &mut Draw, _at: u64, tick: &mut Tick) {
        let control = self.sums(draw, 3);
        self.write(tick, [Sums::default(); 2], control);
    }
}

/// Hosts that are not equal: each fails with its own probability, and more in some minutes.
#[derive(Debug)]
pub(crate) struct Hosts {
    p: Vec<f64>,
    burst_cv: f64,
    factor: f64,
    /// The judge is told which host answered.
    grouped: bool,
    /// For each second of this minute: who failed, once for each failure.
    failures: Vec<Vec<u8>>,
}

pub(crate) const HOSTS: u8 = 200;
/// Hosts with the new bundle; with [`HOST_RPS`] they have the same share as in the other worlds.
const CANARIES: u8 = 10;
const HOST_RPS: u64 = 5;
const MINUTE: u64 = 60;

impl Hosts {
    /// 200 hosts whose failing shares have this coefficient of variation around `p0`, and those of
    /// their minutes another one around a host's. Ten get the new bundle, which makes them fail
    /// `factor` times as often.
    pub(crate) fn new(draw: &mut Draw, p0: f64, host_cv: f64, burst_cv: f64, factor: f64) -> Hosts {
        Hosts {
            p: (0..HOSTS).map(|_| p0 * draw.spread(host_cv)).collect(),
            burst_cv,
            factor,
            grouped: true,
            failures: vec![Vec::new(); MINUTE as usize],
        }
    }

    pub(crate) fn ungrouped(self) -> Hosts {
        Hosts {
            grouped: false,
            ..self
        }
    }

    /// Between two failures lies a geometric number of requests.
    fn minute(&mut self, draw: &mut Draw, canaries: u8) {
        self.failures.iter_mut().for_each(Vec::clear);
        for host in 0..HOSTS {
            let factor = if host < canaries { self.factor } else { 1.0 };
            let p = self.p[usize::from(host)] * draw.spread(self.burst_cv) * factor;
            let p = p.min(0.99);
            let mut request = draw.skip(p);
            while request < MINUTE * HOST_RPS {
                self.failures[(request / HOST_RPS) as usize].push(host);
                request = request.saturating_add(1 + draw.skip(p));
            }
        }
    }

    fn write(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick, canaries: u8) {
        if at.is_multiple_of(MINUTE) {
            self.minute(draw, canaries);
        }
        let mut sums = [[Sums::default(); GROUPS_MAX]; 2];
        let side = |host: u8| usize::from(host >= canaries);
        let group = |host: u8| usize::from(host) % GROUPS_MAX;
        for host in 0..HOSTS {
            sums[side(host)][group(host)].n += HOST_RPS;
        }
        for host in &self.failures[(at % MINUTE) as usize] {
            sums[side(*host)][group(*host)].e += 1;
        }
        let stratum = one_stratum(tick);
        (stratum.canary, stratum.control) = (total(&sums[0]), total(&sums[1]));
        tick.hosts.clear();
        if self.grouped {
            for (side, groups) in [Side::Canary, Side::Control].into_iter().zip(sums) {
                let told = groups.into_iter().zip(0..).filter(|(sums, _)| sums.n > 0);
                tick.hosts
                    .extend(told.map(|(sums, group)| GroupTick { group, side, sums }));
            }
        }
    }
}

impl World for Hosts {
    fn second(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick) {
        self.write(draw, at, tick, CANARIES);
    }

    fn before(&mut self, draw: &mut Draw, at: u64, tick: &mut Tick) {
        self.write(draw, at, tick, 0);
    }
}

/// Latencies of 32 buckets on each side.
#[derive(Debug)]
pub(crate) struct Latencies {
    pub(crate) control: [f64; LATENCY_BUCKETS],
    pub(crate) canary: [f64; LATENCY_BUCKETS],
    tables: [Alias; 2],
}

/// How the new bundle's latencies differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slower {
    /// All are so many times as long.
    pub(crate) factor: f64,
    /// This share is in the slow mode; 2 % is healthy.
    pub(crate) slow: f64,
    /// This share never ends; 0.01 % is healthy.
    pub(crate) hangs: f64,
}

pub(crate) const HEALTHY: Slower = Slower {
    factor: 1.0,
    slow: 0.02,
    hangs: 0.0001,
};

/// Median and width of the fast mode, and how many times as slow the slow one is.
const MEDIAN_US: f64 = 50_000.0;
const WIDTH: f64 = 0.7;
const SLOW: f64 = 8.0;

impl Latencies {
    pub(crate) fn new(slower: Slower) -> Latencies {
        let (control, canary) = (shape(HEALTHY), shape(slower));
        let tables = [Alias::new(&canary), Alias::new(&control)];
        Latencies {
            control,
            canary,
            tables,
        }
    }

    pub(crate) fn counts(&self, draw: &mut Draw) -> [[u64; LATENCY_BUCKETS]; 2] {
        [
            self.tables[0].counts(draw, CANARY),
            self.tables[1].counts(draw, CONTROL),
        ]
    }
}

/// Two log-normal modes, and what hangs.
fn shape(slower: Slower) -> [f64; LATENCY_BUCKETS] {
    // The share that takes less than so long.
    let below = |micros: f64| {
        let mode = |median: f64| {
            let z = (log(micros) - log(median * slower.factor)) / WIDTH;
            libm::erfc(-z / std::f64::consts::SQRT_2) / 2.0
        };
        let modes = (1.0 - slower.slow) * mode(MEDIAN_US) + slower.slow * mode(MEDIAN_US * SLOW);
        modes * (1.0 - slower.hangs)
    };
    let edge = |bucket: usize| match bucket {
        0 => 0.0,
        LATENCY_BUCKETS => 1.0,
        bucket => below(latency_from_us(bucket as u8) as f64),
    };
    std::array::from_fn(|bucket| edge(bucket + 1) - edge(bucket))
}

fn pairs(counts: &[u64; LATENCY_BUCKETS], into: &mut Vec<(u8, u64)>) {
    into.clear();
    into.extend(
        (0..)
            .zip(counts.iter().copied())
            .filter(|(_, count)| *count > 0),
    );
}

/// Writes these latencies as one second without failures.
pub(crate) fn write_latencies(counts: &[[u64; LATENCY_BUCKETS]; 2], tick: &mut Tick) {
    let stratum = one_stratum(tick);
    stratum.canary = Sums {
        n: counts[0].iter().sum(),
        e: 0,
    };
    stratum.control = Sums {
        n: counts[1].iter().sum(),
        e: 0,
    };
    pairs(&counts[0], &mut stratum.canary_latency);
    pairs(&counts[1], &mut stratum.control_latency);
}

impl World for &Latencies {
    fn second(&mut self, draw: &mut Draw, _at: u64, tick: &mut Tick) {
        write_latencies(&self.counts(draw), tick);
    }

    fn before(&mut self, draw: &mut Draw, _at: u64, tick: &mut Tick) {
        let none = [0; LATENCY_BUCKETS];
        write_latencies(&[none, self.tables[1].counts(draw, CANARY + CONTROL)], tick);
    }
}
