//! Logarithms and their kin, the same on every machine.
//!
//! The standard library's `f64::ln` and `f64::exp` call whatever the platform
//! brings, and platforms differ in the last bit. A verdict must follow again from
//! its record bit for bit, so this crate takes them from `libm` alone. (`sqrt`,
//! `+`, `-`, `*` and `/` are exact to the last bit everywhere, by IEEE 754.)

/// Natural logarithm; `-inf` at 0.
pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `ln(1 + x)`, quickly where most bets are: the series' first nine terms are exact to the last
/// bits up to a hundredth, and from there on the sum loses less than the fourteenth digit.
pub(crate) fn ln_1p(x: f64) -> f64 {
    if x.abs() > 0.01 {
        return ln(1.0 + x);
    }
    let terms = [
        1.0,
        1.0 / 2.0,
        1.0 / 3.0,
        0.25,
        0.2,
        1.0 / 6.0,
        1.0 / 7.0,
        0.125,
        1.0 / 9.0,
    ];
    x * terms
        .into_iter()
        .rev()
        .fold(0.0, |sum, term| term - x * sum)
}

/// `e` to this power.
pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// `ln(exp(a) + exp(b))` without leaving the logarithms; `-inf` is zero.
pub(crate) fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY || high == f64::INFINITY {
        return high;
    }
    high + ln_1p(exp(low - high))
}

/// `ln(sum of exp)`; `-inf` for none.
pub(crate) fn ln_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let high = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if !high.is_finite() {
        return high;
    }
    high + ln(terms.map(|term| exp(term - high)).sum())
}

/// Kullback–Leibler divergence of two Bernoulli shares, in nats.
pub(crate) fn kl(p: f64, q: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * ln(a / b) } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

/// Upper tail of the error function.
pub(crate) fn erfc(x: f64) -> f64 {
    libm::erfc(x)
}

/// Numbers in a record, as the shortest text that means exactly them: a JSON reader
/// may be one bit off with a long decimal fraction, the standard library's is not.
pub(crate) mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(x: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(x)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_logarithms_are_those_of_numbers() {
        assert!((ln_add(ln(3.0), ln(4.0)) - ln(7.0)).abs() < 1e-15);
        assert_eq!(ln_add(f64::NEG_INFINITY, 2.0), 2.0);
        assert_eq!(ln_add(-1e9, 5.0), 5.0);
        let terms = [ln(1.0), f64::NEG_INFINITY, ln(2.0), ln(5.0)];
        assert!((ln_sum(terms.into_iter()) - ln(8.0)).abs() < 1e-15);
        assert_eq!(ln_sum([].into_iter()), f64::NEG_INFINITY);
        for x in [
            -0.01, -0.003, -1e-9, 0.0, 1e-12, 0.0042, 0.00999, 0.0101, 0.7,
        ] {
            let off = ln_1p(x) - libm::log1p(x);
            assert!(off.abs() <= 1e-15 * x.abs(), "{x}: {off}");
        }
        assert_eq!(kl(0.0, 0.5), ln(2.0));
        assert_eq!(kl(0.3, 0.3), 0.0);
    }
}
