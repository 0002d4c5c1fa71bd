//! Bets on latency: fair whatever the histograms, and quick where it counts.

use model::ticks::latency_from_us;

use super::*;
use crate::chance::Chance;
use crate::num::exp;

/// Shares by bucket of requests that take `median_us` in the middle (log-normal, `sigma` in nats).
fn log_normal(median_us: f64, sigma: f64) -> [f64; LATENCY_BUCKETS] {
    let below = |us: f64| 0.5 * libm::erfc(-ln(us / median_us) / sigma / 2f64.sqrt());
    std::array::from_fn(|bucket| {
        let from = |bucket: usize| {
            let bucket = u8::try_from(bucket).unwrap();
            let us = latency_from_us(bucket) as f64;
            if us > 0.0 { below(us) } else { 0.0 }
        };
        let until = if bucket + 1 < LATENCY_BUCKETS {
            from(bucket + 1)
        } else {
            1.0
        };
        until - from(bucket)
    })
}

/// A service with a fast and a slow mode and some requests that never end.
fn service(slowdown: f64, slow: f64, hangs: f64) -> [f64; LATENCY_BUCKETS] {
    let fast = log_normal(40_000.0 * slowdown, 0.7);
    let far = log_normal(900_000.0 * slowdown, 0.35);
    std::array::from_fn(|bucket| {
        let hang = if bucket == LATENCY_BUCKETS - 1 {
            hangs
        } else {
            0.0
        };
        (1.0 - slow - hangs) * fast[bucket] + slow * far[bucket] + hang
    })
}

fn known(shares: &[f64], requests: u64, chance: &mut Chance) -> LatencyHistory {
    let mut history = LatencyHistory::default();
    for _ in 0..requests / 1000 {
        history.observe(0, &chance.histogram(1000, shares));
    }
    history
}

/// All ways in which `n` requests fall into `buckets`, as sequences.
fn sequences(n: usize, buckets: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..buckets.pow(u32::try_from(n).unwrap())).map(move |mut code| {
        let mut next = || {
            let bucket = code % buckets;
            code /= buckets;
            bucket
        };
        (0..n).map(|_| next()).collect()
    })
}

/// Histograms over four buckets, in steps of a quarter.
fn grid() -> Vec<[f64; 4]> {
    let mut grid = Vec::new();
    for a in 0..=4 {
        for b in 0..=4 - a {
            for c in 0..=4 - a - b {
                grid.push([a, b, c, 4 - a - b - c].map(|it| f64::from(it) / 4.0));
            }
        }
    }
    grid
}

fn is_not_slower(canary: &[f64; 4], control: &[f64; 4]) -> bool {
    (1..4).all(|from| {
        canary[from..].iter().sum::<f64>() <= control[from..].iter().sum::<f64>() + 1e-12
    })
}

/// Every outcome of a second with a few requests, under every pair of histograms on a grid
/// of which the canary's is equal or faster: no bet is worth more than it costs.
#[test]
fn no_bet_gains_on_average_while_the_canary_is_not_slower() {
    const AT: [u8; 4] = [3, 9, 14, 31];
    let references = [
        [0, 0, 0, 0],
        [400, 300, 200, 100],
        [9000, 900, 99, 1],
        [50, 0, 0, 80],
    ];
    let mut largest: f64 = 0.0;
    for counts in references {
        let mut reference = Reference::default();
        reference.add(&AT.iter().copied().zip(counts).collect::<Vec<_>>());
        let mut all = Tilts::of(&reference, &Slower::by(0.0));
        if counts.iter().sum::<u64>() == 0 {
            all = Tilts::of_shares(&[1.0 / 32.0; 32]);
        }
        for (n_c, n_b) in [(1, 1), (2, 1), (1, 3), (2, 2)] {
            let outcomes: Vec<_> = sequences(n_c, 4)
                .flat_map(|c| sequences(n_b, 4).map(move |b| (c.clone(), b)))
                .map(|(c, b)| {
                    let histogram = |side: &[usize]| {
                        Histogram::of(&side.iter().map(|it| (AT[*it], 1)).collect::<Vec<_>>())
                    };
                    let e = all.ln_e(&histogram(&c), &histogram(&b)).map(exp);
                    (c, b, e)
                })
                .collect();
            for control in grid() {
                for canary in grid().iter().filter(|it| is_not_slower(it, &control)) {
                    let mut mean = [0.0; TILTS];
                    for (c, b, e) in &outcomes {
                        let p: f64 = c.iter().map(|it| canary[*it]).product::<f64>()
                            * b.iter().map(|it| control[*it]).product::<f64>();
                        for (mean, e) in mean.iter_mut().zip(e) {
                            *mean += p * e;
                        }
                    }
                    largest = mean.into_iter().fold(largest, f64::max);
                }
            }
        }
    }
    assert!(largest <= 1.0 + 1e-9, "{largest}");
    assert!(largest >= 0.99, "near the border little is lost: {largest}");
}

/// The slowdown that is tolerated is part of the claim: a canary that is slower by as much as
/// that gives no bet anything on average.
#[test]
fn no_bet_gains_on_average_within_the_tolerated_slowdown() {
    for slowdown in [0.1, 0.2, 1.0] {
        let slower = Slower::by(slowdown);
        let mut reference = Reference::default();
        reference.add(&[(3, 400), (4, 300), (5, 200), (31, 9)]);
        let tilts = Tilts::of(&reference, &slower);
        let mut usual = [0.0; LATENCY_BUCKETS];
        (usual[3], usual[4], usual[5], usual[31]) = (0.4, 0.3, 0.2, 0.1);
        let slow = slower.spread(&usual);
        let possible = |shares: &[f64; LATENCY_BUCKETS]| -> Vec<(u8, f64)> {
            let each = (0..).zip(shares.iter().copied());
            each.filter(|(_, share)| *share > 0.0).collect()
        };
        let (usual, slow) = (possible(&usual), possible(&slow));
        let mut mean = [0.0; TILTS];
        for c in sequences(2, slow.len()) {
            for b in sequences(2, usual.len()) {
                let side = |drawn: &[usize], of: &[(u8, f64)]| {
                    Histogram::of(&drawn.iter().map(|it| (of[*it].0, 1)).collect::<Vec<_>>())
                };
                let control = side(&b, &usual).slowed(&slower);
                let ln_e = tilts.ln_e(&side(&c, &slow), &control);
                let chance = c.iter().map(|it| slow[*it].1);
                let p: f64 = chance.chain(b.iter().map(|it| usual[*it].1)).product();
                for (mean, ln_e) in mean.iter_mut().zip(ln_e) {
                    *mean += p * exp(ln_e);
                }
            }
        }
        assert!(mean.iter().all(|mean| *mean <= 1.0 + 1e-9), "{mean:?}");
    }
}

/// Runs one comparison at 1000 requests per second, a twentieth of them canary's; the second in which
/// evidence reaches `ln(1/alpha)`.
fn detected(
    history: &LatencyHistory,
    chance: &mut Chance,
    (control, canary): (&[f64], &[f64]),
    ticks: u64,
) -> Option<u64> {
    let mut process = LatencyProcess::new(&Settings::default(), history);
    (0..ticks).find(|at| {
        let c = chance.histogram(50, canary);
        let b = chance.histogram(950, control);
        process.observe(*at, 0, &c, &b);
        process.ln_m() >= ln(1000.0)
    })
}

/// The same with both histograms known.
fn oracle(chance: &mut Chance, (control, canary): (&[f64], &[f64]), ticks: u64) -> Option<u64> {
    let mut ln_e = 0.0;
    (0..ticks).find(|_| {
        let p =
            |bucket: u8| 0.05 * canary[usize::from(bucket)] + 0.95 * control[usize::from(bucket)];
        for (bucket, n) in chance.histogram(50, canary) {
            ln_e += n as f64 * ln(canary[usize::from(bucket)] / p(bucket));
        }
        for (bucket, n) in chance.histogram(950, control) {
            ln_e += n as f64 * ln(control[usize::from(bucket)] / p(bucket));
        }
        ln_e >= ln(1000.0)
    })
}

fn median(mut runs: Vec<u64>) -> u64 {
    runs.sort_unstable();
    runs[runs.len() / 2]
}

#[test]
fn a_slowdown_shows_within_two_and_a_half_times_what_an_oracle_needs() {
    const RUNS: usize = 60;
    let cases = [
        (
            "all +10 %",
            service(1.0, 0.02, 0.0),
            service(1.1, 0.02, 0.0),
        ),
        (
            "all +20 %",
            service(1.0, 0.02, 0.0),
            service(1.2, 0.02, 0.0),
        ),
        (
            "all +50 %",
            service(1.0, 0.02, 0.0),
            service(1.5, 0.02, 0.0),
        ),
        (
            "slow mode 2 -> 4 %",
            service(1.0, 0.02, 0.0),
            service(1.0, 0.04, 0.0),
        ),
        (
            "slow mode 2 -> 3 %",
            service(1.0, 0.02, 0.0),
            service(1.0, 0.03, 0.0),
        ),
        (
            "slow mode 5 -> 10 %",
            service(1.0, 0.05, 0.0),
            service(1.0, 0.1, 0.0),
        ),
        (
            "slow mode 0.5 -> 1 %",
            service(1.0, 0.005, 0.0),
            service(1.0, 0.01, 0.0),
        ),
        (
            "slow mode 0.1 -> 1 %",
            service(1.0, 0.001, 0.0),
            service(1.0, 0.01, 0.0),
        ),
        (
            "slow mode 10 -> 15 %",
            service(1.0, 0.1, 0.0),
            service(1.0, 0.15, 0.0),
        ),
        (
            "0.1 % hangs",
            service(1.0, 0.02, 1e-5),
            service(1.0, 0.02, 0.001),
        ),
        (
            "0.5 % hangs",
            service(1.0, 0.02, 1e-5),
            service(1.0, 0.02, 0.005),
        ),
    ];
    for (name, control, canary) in cases {
        let mut chance = Chance::new(11);
        let history = known(&control, 600_000, &mut chance);
        let sides = (&control[..], &canary[..]);
        let ours = (0..RUNS).map(|_| detected(&history, &mut chance, sides, 3600).unwrap_or(3600));
        let ours = 50 * (median(ours.collect()) + 1);
        let best = (0..RUNS).map(|_| oracle(&mut chance, sides, 3600).unwrap_or(3600));
        let best = 50 * (median(best.collect()) + 1);
        println!(
            "{name}: {ours} requests, oracle {best}: {:.2}",
            ours as f64 / best as f64
        );
        assert!(
            2 * ours <= 5 * best + 100,
            "{name}: {ours} requests, oracle {best}"
        );
    }
}

#[test]
fn equal_latencies_show_a_slowdown_as_seldom_as_promised() {
    let shares = service(1.0, 0.02, 0.001);
    let mut chance = Chance::new(5);
    let history = known(&shares, 100_000, &mut chance);
    let mut wrong = 0;
    for run in 0..300 {
        // One comparison in three begins without history.
        let known = if run % 3 == 0 {
            &LatencyHistory::default()
        } else {
            &history
        };
        let mut process = LatencyProcess::new(&Settings::default(), known);
        wrong += u32::from((0..600).any(|at| {
            let (c, b) = (chance.histogram(5, &shares), chance.histogram(45, &shares));
            process.observe(at, 0, &c, &b);
            process.ln_m() >= ln(200.0)
        }));
    }
    // 1.5 are allowed on average.
    assert!(wrong <= 5, "{wrong} of 300");
}

#[test]
fn what_begins_late_shows_nearly_as_soon() {
    let (control, canary) = (service(1.0, 0.02, 0.0), service(1.2, 0.02, 0.0));
    let mut chance = Chance::new(21);
    let history = known(&control, 200_000, &mut chance);
    let mut delays = Vec::new();
    for _ in 0..30 {
        let mut process = LatencyProcess::new(&Settings::default(), &history);
        let delay = (0..2400u64).find(|at| {
            let now = if *at < 1200 { &control } else { &canary };
            let c = chance.histogram(50, now);
            process.observe(*at, 0, &c, &chance.histogram(950, &control));
            process.ln_m() >= ln(1000.0)
        });
        delays.push(delay.unwrap_or(2400).saturating_sub(1200));
    }
    let delay = median(delays);
    assert!(delay <= 25, "{delay} s");
}

#[test]
fn a_slowdown_in_one_stratum_is_found_there() {
    let (control, canary) = (service(1.0, 0.02, 0.0), service(1.5, 0.02, 0.0));
    let mut chance = Chance::new(8);
    let mut process = LatencyProcess::new(&Settings::default(), &LatencyHistory::default());
    for at in 0..120 {
        for stratum in 0..16 {
            let now = if stratum == 11 { &canary } else { &control };
            let (c, b) = (chance.histogram(10, now), chance.histogram(190, &control));
            process.observe(at, stratum, &c, &b);
        }
    }
    assert!(process.ln_m() >= ln(1000.0), "{}", process.ln_m());
    assert_eq!(process.stratum(), Some(11));
}

#[test]
fn one_silent_side_is_no_evidence() {
    let mut chance = Chance::new(2);
    let history = known(&service(1.0, 0.02, 0.0), 10_000, &mut chance);
    let mut process = LatencyProcess::new(&Settings::default(), &history);
    for at in 0..1000 {
        process.observe(at, 0, &[(31, 1_000_000)], &[]);
        process.observe(at, 1, &[], &[(3, 1_000_000)]);
        process.observe(at, 2, &[], &[]);
        process.observe(at, 3, &[(31, 0)], &[(3, 7)]);
    }
    assert!(process.ln_m().abs() < 1e-9, "{}", process.ln_m());
    assert!(!process.told());
    process.observe(1000, 0, &[(3, 1)], &[(3, 1)]);
    assert!(process.told());
}

#[test]
fn shares_are_over_all_strata() {
    let mut history = LatencyHistory::default();
    assert_eq!(history.shares(), Vec::<f64>::new());
    history.observe(0, &[(3, 10), (200, 10)]);
    history.observe(99, &[(3, 20)]);
    let shares = history.shares();
    assert_eq!(shares.len(), LATENCY_BUCKETS);
    assert_eq!((shares[3], shares[31]), (0.75, 0.25));
}

#[test]
fn a_reference_follows_what_is_usual_now() {
    let mut history = LatencyHistory::default();
    for _ in 0..1000 {
        history.observe(0, &[(3, 1000)]);
    }
    for _ in 0..1000 {
        history.observe(0, &[(9, 1000)]);
    }
    assert!(history.shares()[9] > 0.99, "{:?}", history.shares());
}

#[test]
fn a_stratum_takes_no_more_than_a_kilobyte() {
    assert!(size_of::<Stratum>() <= 1024, "{}", size_of::<Stratum>());
}

proptest::proptest! {
    #[test]
    fn any_counts_are_taken(
        ticks: Vec<(u8, Vec<(u8, u64)>, Vec<(u8, u64)>)>,
        slowdown: f64,
    ) {
        let settings = Settings { slowdown, ..Settings::default() };
        let mut process = LatencyProcess::new(&settings, &LatencyHistory::default());
        for (at, (stratum, canary, control)) in ticks.into_iter().enumerate() {
            process.observe(at as u64, stratum % 16, &canary, &control);
            proptest::prop_assert!(!process.ln_m().is_nan());
        }
    }
}
