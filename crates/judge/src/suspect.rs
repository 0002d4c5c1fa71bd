//! Which host looks most like the cause.
//!
//! Invariant: it is named and decides nothing.

use crate::num::kl;
use crate::strata::Cell;
use crate::tick::Sums;

/// The group of hosts without which the evidence would be weakest; `None` while the
/// canary does not fail more often than the control.
pub(crate) fn suspect(canary: &[Sums], total: Cell) -> Option<u8> {
    let mut weakest = excess(total.canary, total.control);
    let mut suspect = None;
    let failing = (0u8..).zip(canary).filter(|(_, sums)| sums.e > 0);
    for (group, sums) in failing {
        let rest = Sums {
            n: total.canary.n.saturating_sub(sums.n),
            e: total.canary.e.saturating_sub(sums.e),
        };
        let without = excess(rest, total.control);
        if without < weakest {
            weakest = without;
            suspect = Some(group);
        }
    }
    suspect
}

/// How much better two shares explain the counts than one share does (the likelihood
/// ratio's logarithm), if the canary fails more often.
fn excess(canary: Sums, control: Sums) -> f64 {
    let (n_c, n_b) = (canary.n as f64, control.n as f64);
    let (e_c, e_b) = (canary.e as f64, control.e as f64);
    if canary.n == 0 || control.n == 0 || e_c * n_b <= e_b * n_c {
        return 0.0;
    }
    let both = ((e_c + e_b) / (n_c + n_b)).min(1.0);
    n_c * kl((e_c / n_c).min(1.0), both) + n_b * kl(e_b / n_b, both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_that_fails_most_beyond_its_requests_is_named() {
        let sums = |e, n| Sums { n, e };
        let total = Cell {
            canary: sums(33, 1200),
            control: sums(90, 9000),
        };
        let hosts = [sums(0, 0), sums(12, 1000), sums(21, 200)];
        assert_eq!(suspect(&hosts, total), Some(2));
        let healthy = Cell {
            control: sums(900, 9000),
            ..total
        };
        assert_eq!(suspect(&hosts, healthy), None);
    }
}
