//! One comparison: the new bundle with the old, from the first second to the verdict.

use model::{Metric, StagePlan};
use serde::{Deserialize, Serialize};

use crate::dispersion::{Curve, Groups, guard, normal};
use crate::errors::Errors;
use crate::events::EventProcess;
use crate::gauges::GaugeProcess;
use crate::history::History;
use crate::interval::Likelihood;
use crate::latency::LatencyProcess;
use crate::num::{exact, exp, ln};
use crate::silence::Silence;
use crate::strata::{Cell, Cells};
use crate::suspect::suspect;
use crate::tick::{STRATA_MAX, Side, StratumTick, Sums, Tick};

/// Wrong passes: a wave whose bundle is as bad as the plan's margin passes once in twenty times at most.
const BETA: f64 = 0.05;
/// Restarts of the processes are spread over an hour at least, over a day at most.
const HORIZON_TICKS: (u64, u64) = (3600, 86_400);
/// Evidence for passing counts for at most so many times what is needed; more would
/// be credit for a bundle that turns bad.
const CREDIT: f64 = 2.0;
/// A wave passes only while so many of its newest [`LOOKED_BACK`](crate::silence::LOOKED_BACK) seconds at most are missing,
/// one in twenty: a watermark that is waited for. What was missing long ago is no reason
/// to wait for ever.
const MISSING_MAX: u64 = 3;
/// Rounding of sums may leave a capped process just below what is needed.
const ROUNDING: f64 = 1e-9;

/// What the judge is asked to find, and how sure it must be. Shares are 0 to 1, ratios 1 and above.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// `p_new <= ratio * p_old + points` is not harm (rho).
    #[serde(with = "exact")]
    pub ratio: f64,
    /// See `ratio` (delta).
    #[serde(with = "exact")]
    pub points: f64,
    /// A new bundle whose requests take longer by this share (0.1: a tenth) is not harm.
    #[serde(with = "exact")]
    pub slowdown: f64,
    /// Probability of ever saying "harm" of a bundle that does none (alpha).
    #[serde(with = "exact")]
    pub alpha: f64,
    /// A wave passes when `p_new >= pass_ratio * p_old + pass_points` is rejected (rho 1).
    #[serde(with = "exact")]
    pub pass_ratio: f64,
    /// See `pass_ratio` (delta 1).
    #[serde(with = "exact")]
    pub pass_points: f64,
    /// Probability of passing a bundle that is as bad as that (beta).
    #[serde(with = "exact")]
    pub beta: f64,
    /// Ticks over which restarts of the processes are spread.
    pub horizon_ticks: u32,
    /// How evidence of metrics is put together; adds up to 1.
    pub weights: Vec<(Metric, f64)>,
}

impl Settings {
    /// As a plan asks for it; `share` of the plan's false rollbacks are this environment's.
    pub fn of(plan: &StagePlan, share: f64) -> Settings {
        let judge = &plan.judge;
        let permille = |value: u32| f64::from(value) / 1000.0;
        let ratio = 1.0 + permille(judge.tolerated_increase_permille);
        let points = f64::from(judge.tolerated_points_permille.get()) / 1000.0;
        let bakes = plan.bake_max_ms.0 / 1000 * plan.waves.len() as u64;
        let horizon = bakes.clamp(HORIZON_TICKS.0, HORIZON_TICKS.1);
        Settings {
            ratio,
            points,
            slowdown: permille(judge.tolerated_slowdown_permille),
            alpha: f64::from(judge.false_rollbacks_ppm) / 1e6 * share,
            // What is tolerated may not be in the way of passing.
            pass_ratio: (1.0 + permille(judge.pass_increase_permille)).max(ratio),
            pass_points: (f64::from(plan.failure_budget_permille.get()) / 1000.0).max(points),
            horizon_ticks: u32::try_from(horizon).unwrap_or(u32::MAX),
            ..Settings::default()
        }
    }
}

impl Default for Settings {
    /// Any worsening is harm, one false rollback in a thousand, a pass excludes a doubling.
    fn default() -> Settings {
        Settings {
            ratio: 1.0,
            points: 0.0,
            slowdown: 0.0,
            alpha: 1e-3,
            pass_ratio: 2.0,
            pass_points: 0.0,
            beta: BETA,
            horizon_ticks: 3600,
            weights: vec![
                (Metric::Errors, 0.35),
                (Metric::Latency, 0.25),
                (Metric::Crashes, 0.15),
                (Metric::Heartbeats, 0.10),
                (Metric::Saturation, 0.05),
                (Metric::Custom, 0.10),
            ],
        }
    }
}

/// What a judge says at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Go back, go on, or neither.
    pub word: Word,
    /// Evidence for harm over all metrics (ln M*), in nats.
    pub harm: f64,
    /// At this much it is harm: ln(1/alpha).
    pub harm_needed: f64,
    /// Evidence that the bundle is not worse than the pass margin (ln M').
    pub pass: f64,
    /// At this much it passes: phi ln(1/beta).
    pub pass_needed: f64,
    /// By metric, those that were told of.
    pub metrics: Vec<MetricStanding>,
    /// The stratum with the strongest evidence for harm, if it is more than the strata's joint evidence.
    pub stratum: Option<u8>,
    /// The group of hosts without which the evidence would be weakest.
    pub suspect: Option<u8>,
    /// How many times as often requests fail on the new bundle: estimate, and 95 % bounds that hold at all times together.
    pub ratio: Option<Ratio>,
    /// Counts since the comparison began.
    pub canary: Sums,
    /// The old bundle's.
    pub control: Sums,
    /// Counts since the newest wave began.
    pub wave_canary: Sums,
    /// The old bundle's.
    pub wave_control: Sums,
    /// The newest second that was told.
    pub at: u64,
    /// When the harm began, in ticks of this comparison, by the component that found it.
    pub began: Option<u64>,
    /// Seconds since the comparison began in which nothing was told.
    pub missing: u64,
    /// Seconds in a row, up to now, in which the old bundle had requests and the new one had none although it had before.
    pub silent: u64,
    /// Gauges that run full: reported, held for, never reverted for alone.
    pub warnings: Vec<GaugeWarning>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Harm is shown, by this metric most.
    RollBack(Metric),
    /// It is shown not to be worse than the pass margin.
    Pass,
    /// Neither is shown.
    Wait,
}

/// One metric's part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricStanding {
    /// Which.
    pub metric: Metric,
    /// Evidence for harm in nats, after the correction for dispersion.
    pub harm: f64,
    /// Overdispersion (phi), at least 1.
    pub dispersion: f64,
}

/// A ratio of failing shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Absent when the old bundle has no failure.
    pub estimate: Option<f64>,
    /// At least.
    pub low: f64,
    /// At most; infinite when nothing bounds it.
    pub high: f64,
}

/// A gauge that will be full before long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaugeWarning {
    /// Which.
    pub gauge: u8,
    /// In so many seconds, at the present slope.
    pub full_in_s: f64,
    /// It is full on half of the new bundle's hosts and not on the old one's: a hard rule.
    pub is_full: bool,
}

/// The comparison. Its state is a few kilobytes whatever the traffic and the time.
#[derive(Debug, Clone)]
pub struct Judge {
    settings: Settings,
    errors: Errors,
    latency: LatencyProcess,
    crashes: EventProcess,
    heartbeats: EventProcess,
    custom: EventProcess,
    gauges: GaugeProcess,
    ratio: Likelihood,
    hosts: Compared,
    clients: Compared,
    /// ln(1/alpha).
    harm_needed: f64,
    /// ln(1/beta).
    ln_beta: f64,
    /// The normal distribution's quantile for alpha.
    z: f64,
    /// Overdispersion of failing requests, as of the newest second.
    phi: f64,
    /// Each metric's evidence, as of the newest second.
    parts: Vec<Part>,
    silence: Silence,
    total: Cell,
    wave: Wave,
    at: u64,
    /// The next tick is not before this one.
    next: u64,
}

/// Groups during the comparison, and what was known of them before.
#[derive(Debug, Clone)]
struct Compared {
    canary: Groups,
    control: Groups,
    before: Curve,
}

/// Since the newest wave began.
#[derive(Debug, Clone, Copy, Default)]
struct Wave {
    from: u64,
    total: Cell,
}

/// One metric's evidence, before its weight.
#[derive(Debug, Clone, Copy)]
struct Part {
    standing: MetricStanding,
    weight: f64,
    is_told: bool,
    is_hard: bool,
}

impl Judge {
    /// Begins to compare; `history` is what the old bundle did before.
    pub fn new(settings: &Settings, history: &History) -> Judge {
        let events = |metric| EventProcess::new(settings, metric, &history.events);
        let mut judge = Judge {
            settings: settings.clone(),
            errors: Errors::new(settings, history),
            latency: LatencyProcess::new(settings, &history.latency),
            crashes: events(Metric::Crashes),
            heartbeats: events(Metric::Heartbeats),
            custom: events(Metric::Custom),
            gauges: GaugeProcess::new(&history.gauges),
            ratio: Likelihood::new(),
            hosts: Compared::new(&history.hosts),
            clients: Compared::new(&history.clients),
            harm_needed: -ln(settings.alpha),
            ln_beta: -ln(settings.beta),
            z: normal(settings.alpha),
            phi: 1.0,
            parts: Vec::new(),
            silence: Silence::default(),
            total: Cell::default(),
            wave: Wave::default(),
            at: 0,
            next: 0,
        };
        judge.sum_up();
        judge
    }

    /// A new wave begins: [`Standing::wave_canary`] counts from here. What was shown before
    /// counts for no more than what is just enough to pass.
    pub fn begin_wave(&mut self) {
        self.wave = Wave {
            from: self.next,
            total: Cell::default(),
        };
        self.errors.cap_pass(self.pass_needed());
    }

    /// One second passed. Ticks come in the order of [`Tick::at`]; an older one is not looked at.
    pub fn observe(&mut self, tick: &Tick) {
        if tick.at < self.next {
            return;
        }
        self.at = tick.at;
        self.next = tick.at.saturating_add(1);
        let cells = Cells::of(tick);
        let total = cells.total();
        self.silence.observe(tick.at, total);
        for sums in [&mut self.total, &mut self.wave.total] {
            sums.canary.add(total.canary);
            sums.control.add(total.control);
        }
        for (_, cell) in cells.each() {
            self.ratio.observe(cell.canary, cell.control);
        }
        self.errors.observe(tick.at, &cells, &tick.hosts, self.phi);
        self.observe_others(tick);
        self.hosts.observe(&tick.hosts);
        self.clients.observe(&tick.clients);
        self.phi = [&self.hosts, &self.clients]
            .map(|groups| guard(&groups.control, groups.before.over(self.next), self.z))
            .into_iter()
            .fold(1.0, f64::max);
        self.errors.cap_pass(CREDIT * self.pass_needed());
        self.sum_up();
    }

    fn observe_others(&mut self, tick: &Tick) {
        // In the order of numbers, so that sums don't depend on the order in the tick.
        for number in 0..STRATA_MAX {
            let of = |stratum: &&StratumTick| stratum.number() == number;
            for it in tick.strata.iter().filter(of) {
                let stratum = u8::try_from(number).unwrap_or(u8::MAX);
                let (canary, control) = (&it.canary_latency, &it.control_latency);
                self.latency.observe(tick.at, stratum, canary, control);
            }
        }
        for event in &tick.events {
            self.crashes.observe(event);
            self.heartbeats.observe(event);
            self.custom.observe(event);
        }
        self.gauges.observe(tick.at, &tick.gauges);
    }

    /// What is to be said now.
    pub fn standing(&self) -> Standing {
        let parts = &self.parts;
        let (harm, carrier) = merged(parts);
        let word = self.word_of(harm, carrier);
        let (stratum, began) = self.errors.carrier();
        let (stratum, began) = match carrier {
            Metric::Errors => (stratum, Some(began)),
            Metric::Latency => (self.latency.stratum(), None),
            Metric::Crashes | Metric::Heartbeats | Metric::Saturation | Metric::Custom => {
                (None, None)
            }
        };
        let is_shown = harm > 0.0;
        Standing {
            word,
            harm,
            harm_needed: self.harm_needed(),
            pass: self.errors.ln_pass(),
            pass_needed: self.pass_needed(),
            metrics: parts
                .iter()
                .filter(|part| part.is_told)
                .map(|part| part.standing)
                .collect(),
            stratum: stratum.filter(|_| is_shown),
            suspect: suspect(self.hosts.canary.sums(), self.total),
            ratio: self.ratio.ratio(self.phi),
            canary: self.total.canary,
            control: self.total.control,
            wave_canary: self.wave.total.canary,
            wave_control: self.wave.total.control,
            at: self.at,
            began: began.filter(|_| is_shown),
            missing: self.silence.missing,
            silent: self.silence.silent(),
            warnings: self.gauges.warnings(),
        }
    }

    /// The word alone, without what explains it.
    pub fn word(&self) -> Word {
        let (harm, carrier) = merged(&self.parts);
        self.word_of(harm, carrier)
    }

    fn word_of(&self, harm: f64, carrier: Metric) -> Word {
        if let Some(hard) = self.parts.iter().find(|part| part.is_hard) {
            return Word::RollBack(hard.standing.metric);
        }
        if harm >= self.harm_needed() {
            return Word::RollBack(carrier);
        }
        if self.passes(harm) {
            return Word::Pass;
        }
        Word::Wait
    }

    /// Shown to be good in this wave's eyes, nothing speaks against it, and its counts are there.
    fn passes(&self, harm: f64) -> bool {
        let seconds = self.next.saturating_sub(self.wave.from);
        self.errors.ln_pass() + ROUNDING >= self.pass_needed()
            && harm < self.ln_beta
            && self.wave.total.canary.n > 0
            && self.silence.silent() == 0
            && self.gauges.warnings().is_empty()
            && self.silence.missing_lately(seconds) <= MISSING_MAX
    }

    fn harm_needed(&self) -> f64 {
        self.harm_needed
    }

    fn pass_needed(&self) -> f64 {
        self.phi * self.ln_beta
    }

    /// Sums up each metric, in the room that is there.
    fn sum_up(&mut self) {
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        let weights = self.settings.weights.iter();
        parts.extend(weights.map(|(metric, weight)| self.part(*metric, *weight)));
        self.parts = parts;
    }

    fn part(&self, metric: Metric, weight: f64) -> Part {
        let (harm, dispersion, is_told, is_hard) = match metric {
            // What was never told of has bet nothing.
            Metric::Latency if !self.latency.told() => (0.0, 1.0, false, false),
            Metric::Errors => {
                let harm = self.errors.ln_harm_over(self.phi);
                (harm, self.phi, self.errors.is_told(), false)
            }
            Metric::Latency => (self.latency.ln_m(), 1.0, self.latency.told(), false),
            Metric::Crashes => of_events(&self.crashes),
            Metric::Heartbeats => of_events(&self.heartbeats),
            Metric::Custom => of_events(&self.custom),
            Metric::Saturation => {
                let is_full = self.gauges.warnings().iter().any(|it| it.is_full);
                (self.gauges.ln_m(), 1.0, self.gauges.told(), is_full)
            }
        };
        Part {
            standing: MetricStanding {
                metric,
                harm,
                dispersion,
            },
            weight,
            is_told,
            is_hard,
        }
    }
}

/// Evidence after the correction for bursts, dispersion, whether it was told, and the hard rule.
fn of_events(process: &EventProcess) -> (f64, f64, bool, bool) {
    if !process.told() {
        return (0.0, 1.0, false, process.hard());
    }
    let (harm, dispersion) = (process.ln_m(), process.dispersion());
    (harm, dispersion, process.told(), process.hard())
}

/// Evidence of all metrics together, and which has the most of it. A weighted mean is the one
/// way to merge that is right however metrics hang together, and that loses nothing (Wang 2024).
fn merged(parts: &[Part]) -> (f64, Metric) {
    let harms = parts.iter().map(|part| part.standing.harm);
    // Finite, so that differences are numbers.
    let high = harms.fold(f64::MIN, f64::max).min(f64::MAX);
    let (mut sum, mut most) = (0.0, (f64::NEG_INFINITY, Metric::Errors));
    for part in parts {
        let held = part.weight * exp(part.standing.harm - high);
        sum += held;
        if held > most.0 {
            most = (held, part.standing.metric);
        }
    }
    (high + ln(sum), most.1)
}

impl Compared {
    fn new(before: &Curve) -> Compared {
        Compared {
            canary: Groups::new(),
            control: Groups::new(),
            before: before.clone(),
        }
    }

    fn observe(&mut self, ticks: &[crate::tick::GroupTick]) {
        self.canary.observe(ticks, Side::Canary);
        self.control.observe(ticks, Side::Control);
    }
}
