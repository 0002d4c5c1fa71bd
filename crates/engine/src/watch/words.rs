//! What a verdict rests on, in sentences.
//!
//! Invariant: words follow from numbers that the verdict's record has; nothing
//! is decided here.

use judge::Standing;
use judge::judge::{GaugeWarning, Ratio};
use model::ticks::{LATENCY_BUCKETS, latency_from_us};
use model::{BundleCounts, Metric, Millis};

use super::beats::GAUGES;
use super::book::Book;
use super::comparison::{Both, Comparison};
use super::second::{Counted, Latencies};
use super::verdict::stratum;

/// Why a release goes back.
pub(super) fn reason(book: &Book, comparison: &Comparison, metric: Metric) -> String {
    let sentence = match metric {
        Metric::Errors => errors(comparison),
        Metric::Latency => latency(comparison),
        Metric::Crashes => events(comparison, metric, "unplanned exits"),
        Metric::Heartbeats => events(comparison, metric, "hosts fallen silent"),
        Metric::Custom => events(comparison, metric, "events"),
        Metric::Saturation => return saturation(comparison),
    };
    let of_requests = matches!(metric, Metric::Errors | Metric::Latency);
    match stratum(book, comparison).filter(|_| of_requests) {
        Some(name) => format!("{name}: {sentence}"),
        None => sentence,
    }
}

/// The counts that carried it: of one stratum, or of all.
fn carried(comparison: &Comparison) -> Both<Counted> {
    let one = comparison.standing.stratum;
    let mut sum: Both<Counted> = Both::default();
    for (number, both) in &comparison.strata {
        if one.is_none_or(|one| one == *number) {
            sum.canary.add_sums(both.canary.sums);
            sum.control.add_sums(both.control.sums);
            sum.canary.add_latency(&both.canary.latency);
            sum.control.add_latency(&both.control.latency);
        }
    }
    sum
}

fn errors(comparison: &Comparison) -> String {
    let Both { canary, control } = carried(comparison);
    let (c, b) = (canary.sums, control.sums);
    let mut words = format!(
        "{} of {} requests failed ({}) on the new bundle, {} of {} ({}) on the old",
        c.e,
        c.n,
        percent(c.e, c.n),
        b.e,
        b.n,
        percent(b.e, b.n)
    );
    let whole = comparison.standing.stratum.is_none();
    let ratio = comparison.standing.ratio.filter(|_| whole);
    if let Some(times) = ratio.and_then(|ratio| times(&ratio)) {
        words = format!("{words}: {times}");
    }
    words
}

/// `at least 5.3 times as often`. The best guess would stand beside counts of which it compares only
/// those of the same second and zone, and seem to contradict them.
fn times(ratio: &Ratio) -> Option<String> {
    let low = floored(ratio.low);
    (low > 1.0).then(|| format!("at least {} times as often", number(low)))
}

/// To two digits, downward: what is said to be a bound must be one.
fn floored(value: f64) -> f64 {
    let step = if value >= 100.0 {
        10.0
    } else if value >= 10.0 {
        1.0
    } else {
        0.1
    };
    // A tenth is no binary number: what is a hair below a step is on it.
    (value / step + 1e-9).floor() * step
}

fn latency(comparison: &Comparison) -> String {
    let Both { canary, control } = carried(comparison);
    let of = |latency: &Latencies| [500, 950, 990].map(|permille| quantile(latency, permille));
    let ([c50, c95, c99], [b50, b95, b99]) = (of(&canary.latency), of(&control.latency));
    format!(
        "p50 {c50}, p95 {c95} and p99 {c99} on the new bundle; {b50}, {b95} and {b99} on the old"
    )
}

/// The upper end of the bucket in which a quantile lies.
fn quantile(latency: &Latencies, permille: u64) -> String {
    let all: u128 = latency.iter().map(|count| u128::from(*count)).sum();
    if all == 0 {
        return "unknown".to_owned();
    }
    let mut sum = 0;
    let bucket = latency.iter().position(|count| {
        sum += u128::from(*count);
        sum * 1000 >= all * u128::from(permille)
    });
    let bucket = bucket.unwrap_or(LATENCY_BUCKETS - 1);
    let edge = |bucket: usize| latency_from_us(u8::try_from(bucket).unwrap_or(u8::MAX));
    if bucket + 1 >= LATENCY_BUCKETS {
        return format!("over {}", span(edge(LATENCY_BUCKETS - 1)));
    }
    span(edge(bucket + 1))
}

fn span(micros: u64) -> String {
    if micros < 10_000 {
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
    } else {
        Millis(micros / 1000).to_string()
    }
}

fn events(comparison: &Comparison, metric: Metric, what: &str) -> String {
    let both = comparison.events.get(&metric).copied().unwrap_or_default();
    let hours = |host_ms: u64| {
        let minutes = host_ms as f64 / 60_000.0;
        if minutes < 120.0 {
            format!("{} host minutes", number(minutes))
        } else {
            format!("{} host hours", number(minutes / 60.0))
        }
    };
    format!(
        "{} {what} in {} on the new bundle, {} in {} on the old",
        both.canary.events,
        hours(both.canary.host_ms),
        both.control.events,
        hours(both.control.host_ms)
    )
}

/// The gauge that differs most.
fn saturation(comparison: &Comparison) -> String {
    let mean = |(sum, count): (u64, u64)| sum.checked_div(count).unwrap_or(0);
    let means = comparison
        .gauges
        .map(|both| (mean(both.canary), mean(both.control)));
    let by_difference =
        |(_, (canary, control)): &(&str, (u64, u64))| canary.saturating_sub(*control);
    let widest = GAUGES.into_iter().zip(means).max_by_key(by_difference);
    widest.map_or_else(String::new, |(name, (canary, control))| {
        format!(
            "{name} is {} full on hosts with the new bundle, {} on those with the old, on average",
            percent(canary, 1000),
            percent(control, 1000)
        )
    })
}

/// What a gauge warns of.
pub(super) fn gauge(warning: &GaugeWarning) -> String {
    let name = GAUGES.get(usize::from(warning.gauge)).unwrap_or(&"a gauge");
    if warning.is_full {
        return format!("{name} is full on hosts with the new bundle");
    }
    // A cast saturates.
    let within = Millis::seconds(warning.full_in_s.max(0.0) as u64);
    format!(
        "{name} that stays below its limit: on hosts with the new bundle it is full in {within} at this slope"
    )
}

pub(super) fn unequal(metric: Metric, dispersion: f64) -> String {
    format!(
        "hosts or customers differ {} times as much as chance would have them ({metric}): it takes more to show anything",
        number(dispersion)
    )
}

/// Why silence holds a wave.
pub(super) fn silent(comparison: &Comparison) -> String {
    format!(
        "requests on the new bundle: it has had none for {}, and the old one has",
        Millis::seconds(comparison.silent())
    )
}

/// Why silence sends a release back.
pub(super) fn silent_reason(comparison: &Comparison) -> String {
    format!(
        "nothing was counted on the new bundle for {}, although it has its share of the routes and the old bundle's requests come in",
        Millis::seconds(comparison.silent())
    )
}

/// What counts must still show.
pub(super) fn needs(standing: &Standing, wave: BundleCounts, requests_min: u64) -> String {
    let short = requests_min.saturating_sub(wave.requests);
    let short_of =
        |evidence: f64| standing.canary.n as f64 * (standing.pass_needed / evidence - 1.0);
    // Evidence grows with requests, on average in proportion.
    let estimate = (standing.pass > 0.1).then(|| short_of(standing.pass));
    let open = standing.pass < standing.pass_needed;
    let bound = standing.ratio.filter(|it| open && it.high.is_finite());
    let bound = bound.map_or_else(String::new, |it| {
        format!(
            " (up to {} times as many failures as on the old bundle can't be excluded yet)",
            number(it.high)
        )
    });
    match estimate {
        _ if !open && short > 0 => {
            format!("about {} more requests on the new bundle", about(short))
        }
        _ if !open && standing.missing > 0 => format!(
            "counts without gaps: of {} seconds nothing is known",
            standing.missing
        ),
        _ if !open => "what speaks for harm to be refuted by more requests".to_owned(),
        // A cast saturates.
        Some(more) => format!(
            "about {} more requests on the new bundle{bound}",
            about(short.max(more.max(1.0) as u64))
        ),
        None if short > 0 => format!(
            "more requests on the new bundle, at least {}{bound}",
            about(short)
        ),
        None => format!("more requests on the new bundle, or fewer failures there{bound}"),
    }
}

/// Two digits of it.
fn about(count: u64) -> u64 {
    let mut unit = 1_u64;
    while count / unit >= 100 {
        unit = unit.saturating_mul(10);
    }
    count.div_ceil(unit).saturating_mul(unit)
}

/// A share as people write it: `7.5 %`.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    format!("{} %", number(share))
}

/// Two digits or so: `14`, `7.5`, `0.03`.
fn number(value: f64) -> String {
    let text = if value >= 10.0 {
        format!("{value:.0}")
    } else if value >= 0.095 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
