//! What is wrong with a report: one file for each kind, a function in each.
//!
//! A false accusation is worse than a miss: a finding needs two facts that can't
//! both be so, or something whose absence the report's own form shows.
//!
//! Invariant: the same report gives the same findings in the same order.

mod actions;
mod cause;
mod dates;
mod duration;
mod late;
mod missing;
mod order;
mod prose;
mod slips;
mod status;
mod template;
mod window;
mod zones;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::place::Place;
use crate::reading::Reading;

/// The kinds of findings; docs/report.md has a line on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    ClockSlip,
    EffectBeforeCause,
    OutOfOrder,
    SummaryWindowMismatch,
    ProseDisagrees,
    DurationMismatch,
    DateMissing,
    DateMismatch,
    ZoneMissing,
    ZoneUnknown,
    ZoneDst,
    BeginMissing,
    RestoredMissing,
    DetectionMissing,
    TriggerMissing,
    LateDetection,
    StatusCodeContradiction,
    TemplateLeftover,
    ActionWithoutOwner,
    ActionWithoutDue,
}

impl Code {
    /// All of them, in the order in which of two at one place the first is told.
    pub const ALL: [Code; 20] = [
        Code::ClockSlip,
        Code::EffectBeforeCause,
        Code::OutOfOrder,
        Code::SummaryWindowMismatch,
        Code::ProseDisagrees,
        Code::DurationMismatch,
        Code::DateMissing,
        Code::DateMismatch,
        Code::ZoneMissing,
        Code::ZoneUnknown,
        Code::ZoneDst,
        Code::BeginMissing,
        Code::RestoredMissing,
        Code::DetectionMissing,
        Code::TriggerMissing,
        Code::LateDetection,
        Code::StatusCodeContradiction,
        Code::TemplateLeftover,
        Code::ActionWithoutOwner,
        Code::ActionWithoutDue,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Code::ClockSlip => "clock-slip",
            Code::EffectBeforeCause => "effect-before-cause",
            Code::OutOfOrder => "out-of-order",
            Code::SummaryWindowMismatch => "summary-window-mismatch",
            Code::ProseDisagrees => "prose-disagrees",
            Code::DurationMismatch => "duration-mismatch",
            Code::DateMissing => "date-missing",
            Code::DateMismatch => "date-mismatch",
            Code::ZoneMissing => "zone-missing",
            Code::ZoneUnknown => "zone-unknown",
            Code::ZoneDst => "zone-dst",
            Code::BeginMissing => "begin-missing",
            Code::RestoredMissing => "restored-missing",
            Code::DetectionMissing => "detection-missing",
            Code::TriggerMissing => "trigger-missing",
            Code::LateDetection => "late-detection",
            Code::StatusCodeContradiction => "status-code-contradiction",
            Code::TemplateLeftover => "template-leftover",
            Code::ActionWithoutOwner => "action-without-owner",
            Code::ActionWithoutDue => "action-without-due",
        }
    }

    /// It is about when something was, so of two about one time the first is enough.
    fn is_about_time(self) -> bool {
        self <= Code::ProseDisagrees
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that is wrong with a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: Code,
    #[serde(flatten)]
    pub place: Place,
    /// Both facts, each with its line.
    pub message: String,
    /// What would probably mend it.
    pub repair: String,
    /// Where the other fact stands.
    #[serde(rename = "with", skip_serializing_if = "Option::is_none", default)]
    pub other: Option<Place>,
}

impl Finding {
    fn new(code: Code, place: Place, message: String, repair: impl Into<String>) -> Finding {
        Finding {
            code,
            place,
            message,
            repair: repair.into(),
            other: None,
        }
    }

    fn with(self, other: Place) -> Finding {
        Finding {
            other: Some(other),
            ..self
        }
    }
}

/// More than this nobody reads; what is beyond is left out, in the order of lines.
const FINDINGS_MAX: usize = 200;

/// All findings, in the order of their places.
pub(crate) fn all(reading: &Reading) -> Vec<Finding> {
    let rules: [fn(&Reading) -> Vec<Finding>; 13] = [
        slips::find,
        cause::find,
        order::find,
        window::find,
        prose::find,
        duration::find,
        dates::find,
        zones::find,
        missing::find,
        late::find,
        status::find,
        template::find,
        actions::find,
    ];
    let mut found: Vec<Finding> = Vec::new();
    for rule in rules {
        for finding in rule(reading) {
            let told = |it: &Finding| {
                it.place == finding.place
                    && (it.code == finding.code
                        || (it.code.is_about_time() && finding.code.is_about_time()))
            };
            if found.len() < 10 * FINDINGS_MAX && !found.iter().any(told) {
                found.push(finding);
            }
        }
    }
    found.sort_by_key(|finding| (finding.place, finding.code));
    found.truncate(FINDINGS_MAX);
    found
}
