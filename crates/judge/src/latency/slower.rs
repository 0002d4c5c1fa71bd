//! How a histogram looks when every request takes longer by the same factor.
//!
//! Latencies are taken to lie evenly (in logarithms) within their buckets. A bet against
//! "no slower than the old bundle, slowed down" is fair against exactly that claim: with the
//! control's counts spread as this says, each request's mean factor is at most what it is
//! when the spread is drawn (the logarithm is concave).
//!
//! Invariant: no request is lost, none becomes faster, and none of those that end becomes
//! one that never does (the last bucket).

use model::ticks::{LATENCY_BUCKETS, latency_from_us};

use crate::num::ln;

/// The first bucket has no beginning; it is taken to be so many times as long as that.
const FIRST_WIDTH: f64 = 2.0;
/// The last bucket of requests that end.
const LAST: usize = LATENCY_BUCKETS - 2;
/// A factor beyond this moves everything to the last bucket anyway.
const TIMES_MAX: f64 = 1e6;

/// Where the requests of each bucket go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slower {
    rows: Option<Box<[Row; LATENCY_BUCKETS]>>,
}

/// The first bucket that some of a bucket's requests go to, and the shares for that and the next ones.
type Row = (usize, Vec<f64>);

impl Slower {
    /// By so many times as long (0.1: a tenth longer).
    pub(crate) fn by(slowdown: f64) -> Slower {
        let times = (1.0 + slowdown).clamp(1.0, TIMES_MAX);
        // What is no number changes nothing.
        let rows =
            (times > 1.0).then(|| Box::new(std::array::from_fn(|bucket| row(bucket, times))));
        Slower { rows }
    }

    /// The same requests or shares, later.
    pub(crate) fn spread(&self, counts: &[f64; LATENCY_BUCKETS]) -> [f64; LATENCY_BUCKETS] {
        let Some(rows) = &self.rows else {
            return *counts;
        };
        let mut later = [0.0; LATENCY_BUCKETS];
        for ((first, shares), count) in rows.iter().zip(counts).filter(|(_, n)| **n > 0.0) {
            for (share, later) in shares.iter().zip(&mut later[*first..]) {
                *later += share * count;
            }
        }
        later
    }
}

/// Logarithm of where a bucket begins, in microseconds.
fn begin(bucket: usize) -> f64 {
    match bucket {
        0 => begin(1) - ln(FIRST_WIDTH),
        _ => ln(latency_from_us(u8::try_from(bucket).unwrap_or(u8::MAX)) as f64),
    }
}

fn row(bucket: usize, times: f64) -> Row {
    if bucket > LAST {
        return (bucket, vec![1.0]);
    }
    let later = ln(times);
    let (from, until) = (begin(bucket), begin(bucket + 1));
    // What goes beyond a bucket's beginning, as a share of this one.
    let beyond = |to: usize| match to {
        to if to > LAST => 0.0,
        to => ((until + later - begin(to)) / (until - from)).clamp(0.0, 1.0),
    };
    let shares = (bucket..=LAST).map(|to| beyond(to) - beyond(to + 1));
    let first = shares.clone().take_while(|share| *share <= 0.0).count();
    let shares: Vec<f64> = shares
        .skip(first)
        .take_while(|share| *share > 0.0)
        .collect();
    (bucket + first, shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slower(bucket: usize, slowdown: f64) -> [f64; LATENCY_BUCKETS] {
        let mut counts = [0.0; LATENCY_BUCKETS];
        counts[bucket] = 1.0;
        Slower::by(slowdown).spread(&counts)
    }

    #[test]
    fn requests_go_where_they_would_be() {
        // From 1024 to 1536 µs; ln 1.2 is 0.45 of that bucket's width.
        let fifth = slower(3, 0.2);
        assert!((fifth[4] - 0.4497).abs() < 1e-4, "{fifth:?}");
        assert!((fifth[3] - 0.5503).abs() < 1e-4, "{fifth:?}");
        // Twice as slow is two buckets, exactly.
        let doubled = slower(3, 1.0);
        assert!((doubled[5] - 1.0).abs() < 1e-12, "{doubled:?}");
        assert_eq!(slower(31, 5.0)[31], 1.0);
        assert_eq!(slower(30, 5.0)[30], 1.0);
        assert_eq!(slower(0, 1e9)[30], 1.0);
        assert_eq!(slower(7, f64::NAN)[7], 1.0);
        assert_eq!(slower(7, -0.5)[7], 1.0);
    }

    proptest::proptest! {
        #[test]
        fn nobody_is_lost_or_faster(bucket in 0..LATENCY_BUCKETS, slowdown in 0.0..20.0) {
            let later = slower(bucket, slowdown);
            proptest::prop_assert!((later.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            proptest::prop_assert!(later[..bucket].iter().all(|share| *share == 0.0));
        }
    }
}
