//! Arithmetic of a bench.

use serde::Serialize;

/// Median, least and most of some runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of an even number of runs the median is the mean of the middle two. Zeros for none.
    pub(super) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let Some((first, last)) = values.first().zip(values.last()) else {
            return Spread {
                median: 0.0,
                min: 0.0,
                max: 0.0,
            };
        };
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Spread {
            median: f64::midpoint(low, high),
            min: *first,
            max: *last,
        }
    }
}

/// The smallest value that `permille` of all don't exceed (nearest rank); none of nothing.
pub(super) fn percentile(values: &mut [u64], permille: usize) -> Option<u64> {
    values.sort_unstable();
    let rank = (values.len() * permille).div_ceil(1000);
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of(Vec::new()).median, 0.0);
    }

    #[test]
    fn a_percentile_is_a_value_that_occurred() {
        let mut hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut hundred, 990), Some(99));
        assert_eq!(percentile(&mut hundred, 500), Some(50));
        assert_eq!(percentile(&mut hundred, 1000), Some(100));
        assert_eq!(percentile(&mut hundred, 0), Some(1));
        assert_eq!(percentile(&mut [7], 990), Some(7));
        assert_eq!(percentile(&mut [], 990), None);
    }
}
