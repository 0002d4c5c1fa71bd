//! The e-value's expectation, by enumeration of all outcomes.
//!
//! Invariant: whatever the claim allows, it is at most 1.

use super::*;

/// Probabilities of 0..=n failures.
fn binomial(n: u64, p: f64) -> Vec<f64> {
    let mut chance = vec![0.0; n as usize + 1];
    chance[0] = 1.0;
    for _ in 0..n {
        for e in (0..=n as usize).rev() {
            let before = if e > 0 { chance[e - 1] } else { 0.0 };
            chance[e] = chance[e] * (1.0 - p) + before * p;
        }
    }
    chance
}

/// E[exp(ln_e)] with these shares.
fn mean(line: Line, bet: Bet, (n_c, n_b): (u64, u64), (p_c, p_b): (f64, f64)) -> f64 {
    let (canary, control) = (binomial(n_c, p_c), binomial(n_b, p_b));
    let mut mean = 0.0;
    for (e_c, chance_c) in (0..).zip(&canary) {
        for (e_b, chance_b) in (0..).zip(&control) {
            let ln_e = line.ln_e(bet, Sums { n: n_c, e: e_c }, Sums { n: n_b, e: e_b });
            assert!(ln_e.is_finite(), "{line:?} {bet:?} {e_c}/{n_c} {e_b}/{n_b}");
            mean += chance_c * chance_b * crate::num::exp(ln_e);
        }
    }
    mean
}

const SIZES: [(u64, u64); 6] = [(1, 1), (3, 7), (1, 19), (8, 2), (4, 0), (12, 12)];
const LINES: [(f64, f64); 9] = [
    (5.0, 0.1),
    (1.0, 0.99),
    (1.0, 0.0),
    (1.2, 0.0),
    (2.0, 0.0),
    (5.0, 0.0),
    (1.0, 0.01),
    (1.5, 0.05),
    (2.0, 0.2),
];
const USUAL: [f64; 4] = [1e-7, 0.004, 0.08, 0.35];

/// The largest mean over a grid of shares that the claim allows: up to the line for
/// harm, from the line for passing.
fn worst(line: Line, bet: Bet, sizes: (u64, u64), is_harm: bool) -> f64 {
    let mut worst: f64 = 0.0;
    for i in 0..=40 {
        // Finer where shares are small.
        let p_b = (f64::from(i) / 40.0).powi(3);
        let border = line.at(p_b);
        for j in 0..=12 {
            let part = f64::from(j) / 12.0;
            let p_c = if is_harm {
                border.min(1.0) * part
            } else if border <= 1.0 {
                border + (1.0 - border) * part
            } else {
                continue;
            };
            worst = worst.max(mean(line, bet, sizes, (p_c, p_b)));
        }
    }
    worst
}

#[test]
fn a_bet_on_harm_wins_nothing_on_average_while_there_is_none() {
    let mut looked_at = 0;
    for (ratio, points) in LINES {
        let line = Line { ratio, points };
        for control in USUAL {
            for times in [1.25, 2.2, 7.0, 50.0, 1e4] {
                let canary = (times * line.at(control)).min(0.97);
                if canary <= line.at(control) {
                    continue;
                }
                for sizes in SIZES {
                    let worst = worst(line, Bet { canary, control }, sizes, true);
                    assert!(
                        worst <= 1.0 + 1e-9,
                        "{line:?} {canary} {control} {sizes:?}: {worst}"
                    );
                    looked_at += 1;
                }
            }
        }
    }
    assert!(looked_at > 500, "{looked_at}");
}

#[test]
fn a_bet_on_health_wins_nothing_on_average_while_there_is_harm() {
    let mut looked_at = 0;
    for (ratio, points) in LINES {
        let line = Line { ratio, points };
        for control in [1e-7, 0.004, 0.08, 0.35, 0.8] {
            for times in [0.1, 0.8, 1.0, 1.2] {
                let canary = times * control;
                if canary >= line.at(control).min(1.0) {
                    continue;
                }
                for sizes in SIZES {
                    let worst = worst(line, Bet { canary, control }, sizes, false);
                    assert!(
                        worst <= 1.0 + 1e-9,
                        "{line:?} {canary} {control} {sizes:?}: {worst}"
                    );
                    looked_at += 1;
                }
            }
        }
    }
    assert!(looked_at > 400, "{looked_at}");
}

#[test]
fn one_silent_side_shows_no_harm_and_a_silent_canary_shows_nothing() {
    let line = Line {
        ratio: 2.0,
        points: 0.01,
    };
    let sums = |e, n| Sums { n, e };
    let harm = Bet {
        canary: 0.5,
        control: 0.001,
    };
    let health = Bet {
        canary: 0.001,
        control: 0.001,
    };
    assert_eq!(line.ln_e(harm, sums(40, 50), sums(0, 0)), 0.0);
    assert_eq!(line.ln_e(harm, sums(0, 0), sums(0, 1000)), 0.0);
    assert_eq!(line.ln_e(health, sums(0, 0), sums(1000, 1000)), 0.0);
    // Without a control, "not more than a point fails" can still be shown.
    let alone = line.ln_e(health, sums(0, 1000), sums(0, 0));
    assert!((alone - 1000.0 * ln(0.999 / 0.99)).abs() < 1e-9, "{alone}");
}

#[test]
fn the_closed_forms_are_the_root_that_is_searched_for() {
    for (ratio, points) in [(1.0, 0.0), (1.7, 0.0), (4.0, 0.0)] {
        let line = Line { ratio, points };
        for (canary, control) in [(0.3, 0.02), (0.9, 1e-6), (0.01, 0.4)] {
            let bet = Bet { canary, control };
            for (n_c, n_b) in [(1.0, 1.0), (50.0, 950.0), (1e6, 3.0)] {
                let near = line.nearest(bet, n_c, n_b).control;
                let root = line.root(bet, n_c, n_b);
                assert!(
                    (near / root - 1.0).abs() < 1e-10,
                    "{line:?} {bet:?} {near} {root}"
                );
            }
        }
    }
}
