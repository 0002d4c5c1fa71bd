//! From what the judge says to what a release is told.
//!
//! Invariant: where requests are part of the verdict, a wave passes on evidence
//! alone: not knowing, in whatever way, is never a pass, and never a way back.

use judge::{Standing, Word};
use model::judged::{Interval, MetricEvidence};
use model::verdict::Evidence;
use model::{
    BundleCounts, Digest, Explanation, Metric, Millis, Rule, StagePlan, Timestamp, Verdict,
};
use release::Release;

use super::book::Book;
use super::comparison::{Comparison, thousandths};
use super::{Judged, Watch, words};
use crate::State;
use crate::decide::tick::stage_plan;

/// Counts come each second; when none came for so long (and twice the source's own period), they are missing.
const STALE_AFTER_S: u64 = 10;
/// The new bundle gets nothing for so long while the old one does: people should look.
const SILENT_HOLDS_S: u64 = 10;
/// It gets nothing for so long: it is out of service.
const SILENT_FAILS_S: u64 = 60;

impl Watch {
    /// What the judge says of an active release.
    pub fn judged(&self, state: &State, release: &Release, _now: Timestamp) -> Judged {
        let Some(stage) = release.stage() else {
            return insufficient("its first environment");
        };
        let plan = stage_plan(state, release);
        let book = self.book(&stage.environment, &release.service);
        let compared = book.and_then(|book| Some((book, book.comparison.as_ref()?)));
        match compared.filter(|(_, comparison)| comparison.is_of(release)) {
            Some((book, comparison)) => judged(book, comparison, release, &plan),
            // Health checks alone decide where traffic is no part of the verdict.
            None if plan.requests_min == 0 => unheard(Verdict::Pass {
                evidence: Evidence::default(),
            }),
            None => insufficient("requests on the new bundle: none was counted yet"),
        }
    }

    /// As [`Watch::judged`], with everything from which it follows again: the explanation names the
    /// digest of the bytes. Without bytes (and digest) when that has become too much to keep. Makes
    /// megabytes: for the moment of a verdict.
    pub fn sealed(
        &self,
        state: &State,
        release: &Release,
        now: Timestamp,
    ) -> Option<(Explanation, Vec<u8>)> {
        let explanation = self.judged(state, release, now).explanation?;
        let environment = &release.stage()?.environment;
        let bytes = self.book(environment, &release.service)?.record();
        let record = bytes.as_deref().map(Digest::of);
        let explanation = Explanation {
            record,
            ..explanation
        };
        Some((explanation, bytes.unwrap_or_default()))
    }
}

fn insufficient(needs: &str) -> Judged {
    unheard(Verdict::Insufficient {
        needs: needs.to_owned(),
    })
}

/// Of something of which nothing was counted.
fn unheard(verdict: Verdict) -> Judged {
    Judged {
        verdict,
        explanation: None,
        wave: Evidence::default(),
        doubts: false,
    }
}

fn judged(book: &Book, comparison: &Comparison, release: &Release, plan: &StagePlan) -> Judged {
    let standing = &comparison.standing;
    // Of a wave that the judge has not heard of nothing was counted.
    let wave = if comparison.is_at(release) {
        Evidence {
            canary: counts(standing.wave_canary),
            control: counts(standing.wave_control),
        }
    } else {
        Evidence::default()
    };
    let verdict = verdict(book, comparison, wave, plan);
    let counted = standing.canary.n > 0 || standing.control.n > 0 || !standing.metrics.is_empty();
    let explanation = counted.then(|| explain(book, comparison, &verdict));
    let told = book.telemetry.told.is_some();
    let doubts = comparison.silent() >= SILENT_HOLDS_S
        || (told && stale(book))
        || !standing.warnings.is_empty()
        || book.fails_since().is_some();
    Judged {
        verdict,
        explanation,
        wave,
        doubts,
    }
}

fn stale(book: &Book) -> bool {
    let telemetry = &book.telemetry;
    telemetry.uncovered > STALE_AFTER_S + 2 * telemetry.period
}

fn verdict(book: &Book, comparison: &Comparison, evidence: Evidence, plan: &StagePlan) -> Verdict {
    let standing = &comparison.standing;
    if let Some((rule, reason)) = harm(book, comparison) {
        return Verdict::Fail {
            rule,
            reason,
            evidence,
        };
    }
    let needs = if comparison.silent() >= SILENT_HOLDS_S {
        Some(words::silent(comparison))
    } else if let Some(warning) = standing.warnings.first() {
        Some(words::gauge(warning))
    } else if plan.requests_min == 0 {
        None
    } else {
        missing(book, comparison, evidence.canary, plan)
    };
    match needs {
        Some(needs) => Verdict::Insufficient { needs },
        None => Verdict::Pass { evidence },
    }
}

/// What speaks for going back, and how it reads.
fn harm(book: &Book, comparison: &Comparison) -> Option<(Rule, String)> {
    let standing = &comparison.standing;
    let full = standing.warnings.iter().any(|warning| warning.is_full);
    match standing.word {
        Word::RollBack(metric) => Some((rule(metric), words::reason(book, comparison, metric))),
        Word::Pass | Word::Wait if full => {
            let reason = words::reason(book, comparison, Metric::Saturation);
            Some((Rule::Saturation, reason))
        }
        Word::Pass | Word::Wait if comparison.silent() >= SILENT_FAILS_S => {
            Some((Rule::Silence, words::silent_reason(comparison)))
        }
        Word::Pass | Word::Wait => None,
    }
}

/// What is still needed before a wave may pass on its counts.
fn missing(
    book: &Book,
    comparison: &Comparison,
    wave: BundleCounts,
    plan: &StagePlan,
) -> Option<String> {
    let standing = &comparison.standing;
    if book.telemetry.told.is_none() {
        return Some("counts: no gateway and no other source has told of this service yet".into());
    }
    if stale(book) {
        let since = Millis::seconds(book.telemetry.uncovered);
        return Some(format!("counts: none has come for {since}"));
    }
    if wave.requests == 0 {
        return Some("requests on the new bundle: none was counted yet".into());
    }
    let too_few = wave.requests < plan.requests_min;
    match standing.word {
        Word::Pass if !too_few => None,
        Word::Pass | Word::Wait | Word::RollBack(_) => {
            Some(words::needs(standing, wave, plan.requests_min))
        }
    }
}

fn rule(metric: Metric) -> Rule {
    match metric {
        Metric::Errors => Rule::Errors,
        Metric::Latency => Rule::Latency,
        Metric::Crashes => Rule::Crashes,
        Metric::Heartbeats => Rule::Heartbeats,
        Metric::Saturation => Rule::Saturation,
        Metric::Custom => Rule::Custom,
    }
}

fn counts(sums: judge::Sums) -> BundleCounts {
    BundleCounts {
        requests: sums.n,
        failed: sums.e.min(sums.n),
    }
}

fn explain(book: &Book, comparison: &Comparison, verdict: &Verdict) -> Explanation {
    let standing = &comparison.standing;
    let by_harm =
        |a: &&judge::MetricStanding, b: &&judge::MetricStanding| a.harm.total_cmp(&b.harm);
    let leading = standing.metrics.iter().max_by(by_harm);
    let metric = match standing.word {
        Word::RollBack(metric) => Some(metric),
        Word::Pass | Word::Wait => leading.filter(|it| it.harm > 0.0).map(|it| it.metric),
    };
    let began = standing
        .began
        .map(|began| standing.at.saturating_sub(began));
    let suspect = standing
        .suspect
        .and_then(|group| book.groups.only_host(group));
    Explanation {
        metric,
        stratum: stratum(book, comparison),
        suspect: suspect.cloned(),
        canary: counts(standing.canary),
        control: counts(standing.control),
        ratio: standing.ratio.as_ref().map(interval),
        metrics: standing.metrics.iter().map(of_metric).collect(),
        harm_millinats: thousandths(standing.harm),
        harm_needed_millinats: thousandths(standing.harm_needed),
        pass_millinats: thousandths(standing.pass),
        pass_needed_millinats: thousandths(standing.pass_needed),
        course: comparison.course.points(),
        began_before: began.map(Millis::seconds),
        needs: match verdict {
            Verdict::Insufficient { needs } => needs.clone(),
            Verdict::Pass { .. } | Verdict::Fail { .. } => String::new(),
        },
        warnings: warnings(book, standing),
        ticks_late: book.telemetry.late.saturating_sub(comparison.late_before),
        ticks_missing: book.telemetry.told.map_or(0, |_| standing.missing),
        undecided: false,
        record: None,
    }
}

/// The stratum that carries the evidence, if there is more than one.
pub(super) fn stratum(book: &Book, comparison: &Comparison) -> Option<String> {
    let number = comparison.standing.stratum?;
    (comparison.strata.len() > 1).then(|| book.strata.name(number))
}

fn warnings(book: &Book, standing: &Standing) -> Vec<String> {
    /// From here on unequal hosts cost more than chance does.
    const UNEQUAL: f64 = 2.0;
    let gauges = standing.warnings.iter().map(words::gauge);
    // Events come in bursts, which is no matter of hosts; and before any is known they are
    // taken to, which nobody need look at.
    let of_requests = |metric| matches!(metric, Metric::Errors | Metric::Latency);
    let unequal = standing
        .metrics
        .iter()
        .filter(|it| of_requests(it.metric) && it.dispersion >= UNEQUAL);
    let unequal = unequal.map(|it| words::unequal(it.metric, it.dispersion));
    let alone = standing.control.n == 0 && standing.canary.n > 0;
    let alone =
        alone.then(|| "nothing runs the old bundle: harm can't be seen by comparison".to_owned());
    let fails = book
        .fails_since()
        .map(|since| format!("all bundles together fail more than they may since {since}"));
    gauges.chain(unequal).chain(alone).chain(fails).collect()
}

fn of_metric(standing: &judge::MetricStanding) -> MetricEvidence {
    MetricEvidence {
        metric: standing.metric,
        millinats: thousandths(standing.harm),
        dispersion_permille: thousandths(standing.dispersion).unsigned_abs(),
    }
}

/// Bounds are rounded away from the estimate: what is written must still hold.
fn interval(ratio: &judge::judge::Ratio) -> Interval {
    // Casts saturate; an infinite bound is none.
    let whole = |value: f64| (value * 1000.0) as u64;
    Interval {
        estimate: ratio
            .estimate
            .filter(|it| it.is_finite())
            .map(|it| thousandths(it).unsigned_abs()),
        low: whole(ratio.low),
        high: ratio
            .high
            .is_finite()
            .then(|| whole(ratio.high).saturating_add(1)),
    }
}
