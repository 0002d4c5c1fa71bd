//! `[service.NAME.plan.ENVIRONMENT.judge]`: what is held against a new bundle, and how sure one must be.
//!
//! Invariant: between what is tolerated and what passes there is no gap in which
//! a bundle could stay for ever, neither harmful nor good.

use model::{JudgePlan, Millis, Permille, StagePlan, Undecided};

use super::grammar::{self, Flaw};
use super::plan::DEADLINE_MAX;
use super::reader::Reader;
use super::tree::Node;

/// Ratios of more than eleven times as often are not compared but noticed.
const INCREASE_PERMILLE_MAX: u64 = 10_000;
/// Fewer false rollbacks than one in ten thousand would need more requests than most fleets have.
const FALSE_PPM_MIN: u64 = 100;
/// Every tenth healthy release sent back is the most that anybody bears.
const FALSE_PPM_MAX: u64 = 100_000;
/// Steps of 0.1 %: thousandths.
const PERMILLE_DIGITS: u32 = 1;
/// Steps of 0.0001 %: millionths.
const PPM_DIGITS: u32 = 4;

const KEYS: [&str; 7] = [
    "tolerated_increase",
    "tolerated_points",
    "tolerated_slowdown",
    "false_rollbacks",
    "pass_increase",
    "latency_warmup",
    "undecided",
];

/// What is written over the defaults; `None` when it is no table.
pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<JudgePlan> {
    let table = reader.table(node, "judge", &KEYS)?;
    // A value that can't be read leaves the default, as in the plan around it.
    let mut judge = JudgePlan::default();
    let mut percentage = |key: &str, digits, allowed, default: u32| {
        let node = table.get(key);
        let read = node.and_then(|node| reader.percentage(node, key, digits, allowed));
        read.and_then(|read| u32::try_from(read).ok())
            .unwrap_or(default)
    };
    let any = 0..=INCREASE_PERMILLE_MAX;
    judge.tolerated_increase_permille = percentage(
        "tolerated_increase",
        PERMILLE_DIGITS,
        any.clone(),
        judge.tolerated_increase_permille,
    );
    judge.tolerated_slowdown_permille = percentage(
        "tolerated_slowdown",
        PERMILLE_DIGITS,
        any.clone(),
        judge.tolerated_slowdown_permille,
    );
    judge.pass_increase_permille = percentage(
        "pass_increase",
        PERMILLE_DIGITS,
        any,
        judge.pass_increase_permille,
    );
    judge.false_rollbacks_ppm = percentage(
        "false_rollbacks",
        PPM_DIGITS,
        FALSE_PPM_MIN..=FALSE_PPM_MAX,
        judge.false_rollbacks_ppm,
    );
    if let Some(node) = table.get("tolerated_points") {
        let read = reader.share(node, "tolerated_points");
        judge.tolerated_points_permille = read.unwrap_or(judge.tolerated_points_permille);
    }
    if let Some(node) = table.get("latency_warmup") {
        let read = reader.duration(node, "latency_warmup", Millis(0)..=DEADLINE_MAX);
        judge.latency_warmup_ms = read.unwrap_or(judge.latency_warmup_ms);
    }
    if let Some(node) = table.get("undecided") {
        let words = [("hold", Undecided::Hold), ("advance", Undecided::Advance)];
        judge.undecided = reader
            .word(node, "undecided", &words)
            .unwrap_or(judge.undecided);
    }
    Some(judge)
}

/// What no bundle could ever pass, and what could stay in between for ever.
pub(super) fn check(table: &Node, stage: &StagePlan, reader: &mut Reader<'_>) {
    let judge = &stage.judge;
    let judged = table.get("judge");
    let span = |key: &str| {
        let given = judged.and_then(|node| node.get(key)).or(table.get(key));
        given.or(judged).unwrap_or(table).span.clone()
    };
    if judge.tolerated_increase_permille > judge.pass_increase_permille {
        let written = |permille: u32| grammar::percentage_written(permille.into(), PERMILLE_DIGITS);
        let flaw = Flaw::new(format!(
            "`tolerated_increase` ({}) is more than `pass_increase` ({})",
            written(judge.tolerated_increase_permille),
            written(judge.pass_increase_permille)
        ));
        let help = "what is tolerated must be able to pass: raise `pass_increase` (\"100%\" if absent), or tolerate less";
        reader.report(span("tolerated_increase"), flaw.help(help));
    }
    // Without requests to wait for, traffic is no part of passing.
    if stage.requests_min == 0 {
        return;
    }
    let (tolerated, budget) = (
        judge.tolerated_points_permille,
        stage.failure_budget_permille,
    );
    if tolerated > budget {
        let flaw = Flaw::new(format!(
            "`tolerated_points` ({tolerated}) is more than `failure_budget` ({budget})"
        ));
        let help =
            "what is tolerated must be able to pass: raise `failure_budget`, or tolerate less";
        reader.report(span("tolerated_points"), flaw.help(help));
    }
    if budget == Permille::NONE {
        let flaw = Flaw::new("with a `failure_budget` of 0% no wave could ever pass");
        let help = "no number of requests shows that nothing fails; allow \"0.1%\", or set `requests_min = 0` to pass by health alone";
        reader.report(span("failure_budget"), flaw.help(help));
    }
}
