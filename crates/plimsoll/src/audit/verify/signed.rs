//! What was signed, held against what went to production.
//!
//! Invariant: only digests that were journaled are compared with each other;
//! none is computed anew from values that a later version may read otherwise.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::Digest;
use model::attest::Predicate;

use super::Proposed;

/// Everything in what was signed that is not what went to production.
pub(super) fn wrong_in(
    predicate: &Predicate,
    proposed: &Proposed,
    rules: Digest,
    at: Timestamp,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if predicate.base != proposed.base {
        wrong.push("it was tested against another good bundle".to_owned());
    }
    if predicate.check_set != rules {
        wrong.push("its files were checked under other rules than it was tested under".to_owned());
    }
    if proposed
        .tested
        .is_none_or(|(evidence, _)| evidence != predicate.evidence)
    {
        wrong.push("the evidence is not its test's".to_owned());
    }
    if predicate.expires_at <= at {
        wrong.push(format!("its test had expired at {}", predicate.expires_at));
    }
    let signed: BTreeSet<&str> = predicate.approved_by.iter().map(String::as_str).collect();
    let given: BTreeSet<&str> = proposed
        .approvals
        .iter()
        .map(|(by, _)| by.as_str())
        .collect();
    let invented: Vec<&str> = signed.difference(&given).copied().collect();
    if !invented.is_empty() {
        wrong.push(format!(
            "it names approvals that nobody gave: {}",
            invented.join(", ")
        ));
    }
    wrong
}
