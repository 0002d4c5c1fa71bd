//! A report in order, of any day, hour, pace and clock; and each way to spoil it.
//!
//! Invariant: before a mutation nothing is found, after it its finding is, and
//! with the mutation undone nothing is again.

use std::fmt::Write;

use jiff::civil::{Date, date};
use proptest::prelude::*;
use report::{Code, check};

/// What happens, in order, with its row in the timeline.
const ROWS: [(&str, &str); 9] = [
    ("change", "configuration change pushed to production"),
    ("begin", "outage begins"),
    ("detect", "pagers alerted the on-call team"),
    ("ack", "on-call engineer acknowledged the page"),
    ("failed", "rollback of the change failed"),
    ("rolled", "rollback of the change succeeded"),
    ("restart", "servers restarted"),
    ("full", "100% of traffic is back online"),
    ("closed", "ticket closed"),
];
const CHANGE: usize = 0;
const BEGIN: usize = 1;
const DETECT: usize = 2;
const ACK: usize = 3;
const FAILED: usize = 4;
const ROLLED: usize = 5;
const RESTART: usize = 6;
const FULL: usize = 7;
const CLOSED: usize = 8;

/// A report before it is written: each fact in every place that tells it.
#[derive(Debug, Clone)]
struct Story {
    day: Date,
    /// Twelve hours with am and pm, else 24.
    twelve: bool,
    zone: String,
    /// Minutes of the rows, of the sentences about the same, and what rows say.
    rows: Vec<(i64, String)>,
    told: [Option<i64>; 9],
    window: Option<(i64, i64)>,
    claimed: Option<i64>,
    /// A quarter of the traffic, told in a sentence only.
    quarter: Option<i64>,
    heading_day: Option<Date>,
    weekday: Option<String>,
    error: String,
    impact: String,
    cause: bool,
    dated: bool,
    owners: [String; 3],
    dues: [String; 3],
    flip: Option<usize>,
}

impl Story {
    fn clock(&self, minute: i64) -> String {
        let (hour, rest) = (minute / 60 % 24, minute % 60);
        if !self.twelve {
            return format!("{hour:02}:{rest:02}");
        }
        let half = if hour < 12 { "AM" } else { "PM" };
        let hour = if hour % 12 == 0 { 12 } else { hour % 12 };
        format!("{hour}:{rest:02} {half}")
    }

    fn flipped(&self, minute: i64, at: usize, told: bool) -> String {
        // Rows and sentences are told apart by adding the rows' number.
        let own = if told { at + ROWS.len() } else { at };
        self.clock(if self.flip == Some(own) {
            minute + 720
        } else {
            minute
        })
    }

    fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes it");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let day = self.day.strftime("%B %-d, %Y").to_string();
        let weekday = self
            .weekday
            .as_ref()
            .map(|it| format!("{it}, "))
            .unwrap_or_default();
        let on = if self.dated {
            format!("On {weekday}{day}, ")
        } else {
            String::new()
        };
        writeln!(
            out,
            "# Outage of the ordering service\n\n## Issue summary\n"
        )?;
        if let Some((from, to)) = self.window {
            let (from, to) = (self.clock(from), self.clock(to));
            writeln!(
                out,
                "{on}from {from} to {to}, all requests got a {}.",
                self.error
            )?;
        } else {
            writeln!(out, "{on}all requests got a {}.", self.error)?;
        }
        if let Some(claimed) = self.claimed {
            writeln!(out, "The outage lasted {claimed} minutes.")?;
        }
        writeln!(out, "Impact: {}\n", self.impact)?;
        let heading = self
            .heading_day
            .map(|day| format!(" of {day}"))
            .unwrap_or_default();
        writeln!(out, "## Timeline{heading}{}\n", self.zone)?;
        for (at, (minute, text)) in self.rows.iter().enumerate() {
            writeln!(out, "- {}: {text}", self.flipped(*minute, at, false))?;
        }
        writeln!(
            out,
            "\n## {}\n",
            if self.cause { "Root cause" } else { "Notes" }
        )?;
        let told = |at: usize| Some(self.flipped(self.told[at]?, at, true));
        if let Some(time) = told(CHANGE) {
            writeln!(
                out,
                "At {time}, a configuration change was pushed to production without a test.\n"
            )?;
        }
        if let Some(time) = told(BEGIN) {
            writeln!(
                out,
                "All threads were used up, and the outage began at {time}.\n"
            )?;
        }
        writeln!(out, "## Resolution and recovery\n")?;
        if let Some(time) = told(DETECT) {
            writeln!(out, "At {time}, pagers alerted our engineers.")?;
        }
        if let Some(time) = told(ROLLED) {
            writeln!(out, "The change was rolled back at {time}.")?;
        }
        if let Some(quarter) = self.quarter {
            writeln!(
                out,
                "At {}, 25% of the traffic was restored.",
                self.clock(quarter)
            )?;
        }
        if let Some(time) = told(FULL) {
            writeln!(out, "At {time}, 100% of the traffic was back online.")?;
        }
        writeln!(out, "\n## Corrective and preventative measures\n")?;
        writeln!(out, "| Measure | Owner | Due |\n|---|---|---|")?;
        for (at, text) in [
            "Test before production",
            "Make rollbacks faster",
            "Tell users sooner",
        ]
        .iter()
        .enumerate()
        {
            writeln!(out, "| {text} | {} | {} |", self.owners[at], self.dues[at])?;
        }
        Ok(())
    }

    fn found(&self) -> Vec<Code> {
        check(&self.text(), None)
            .findings
            .into_iter()
            .map(|it| it.code)
            .collect()
    }

    /// The minute of a row, by its first name.
    fn at(&self, row: usize) -> i64 {
        self.rows[row].0
    }

    fn without(&mut self, row: usize) {
        let text = ROWS[row].1;
        self.rows.retain(|(_, it)| it != text);
        self.told[row] = None;
    }
}

/// Days away from those on which clocks change, steps of 5 to 24 minutes.
fn story() -> impl Strategy<Value = Story> {
    let month = prop::sample::select(vec![1i8, 2, 5, 6, 7, 8, 9, 12]);
    let steps = prop::collection::vec(5i64..25, 8);
    (
        2018i16..2030,
        month,
        1i8..28,
        any::<bool>(),
        6i64 * 60..15 * 60,
        steps,
        0..4usize,
    )
        .prop_map(|(year, month, day, twelve, start, steps, zone)| {
            let mut minute = start;
            let mut minutes = vec![minute];
            for step in steps {
                minute += step;
                minutes.push(minute);
            }
            let rows: Vec<(i64, String)> = minutes
                .iter()
                .zip(ROWS)
                .map(|(minute, (_, text))| (*minute, text.to_owned()))
                .collect();
            let told = |row: usize| Some(minutes[row]);
            Story {
                day: date(year, month, day),
                twelve,
                zone: [
                    " (UTC)",
                    " (WAT)",
                    " (all times GMT + 1)",
                    ", all times Pacific time",
                ][zone]
                    .to_owned(),
                told: [
                    told(CHANGE),
                    told(BEGIN),
                    told(DETECT),
                    None,
                    None,
                    told(ROLLED),
                    None,
                    told(FULL),
                    None,
                ],
                window: Some((minutes[BEGIN], minutes[FULL])),
                claimed: Some(minutes[FULL] - minutes[BEGIN]),
                quarter: Some(minutes[RESTART] + 2),
                rows,
                heading_day: None,
                weekday: None,
                error: "500 error response".to_owned(),
                impact: "all customers.".to_owned(),
                cause: true,
                dated: true,
                owners: ["Ada", "Grace", "Mary"].map(str::to_owned),
                dues: ["next week", "in May", "in June"].map(str::to_owned),
                flip: None,
            }
        })
}

type Mutation = (&'static str, Code, fn(&mut Story));

const MUTATIONS: &[Mutation] = &[
    ("rows 1 and 2 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(0, 1)
    }),
    ("rows 2 and 3 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(1, 2)
    }),
    ("rows 3 and 4 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(2, 3)
    }),
    ("rows 4 and 5 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(3, 4)
    }),
    ("rows 5 and 6 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(4, 5)
    }),
    ("rows 6 and 7 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(5, 6)
    }),
    ("rows 7 and 8 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(6, 7)
    }),
    ("rows 8 and 9 swapped", Code::OutOfOrder, |it| {
        it.rows.swap(7, 8)
    }),
    ("a row an hour later", Code::OutOfOrder, |it| {
        it.rows[FAILED].0 = it.at(CLOSED) + 30;
    }),
    ("summary begins later", Code::SummaryWindowMismatch, |it| {
        it.window = Some((it.at(BEGIN) + 2, it.at(FULL)));
    }),
    (
        "summary begins with the change",
        Code::SummaryWindowMismatch,
        |it| {
            it.window = Some((it.at(CHANGE), it.at(FULL)));
        },
    ),
    ("summary ends later", Code::SummaryWindowMismatch, |it| {
        it.window = Some((it.at(BEGIN), it.at(FULL) + 2));
    }),
    ("span too long", Code::DurationMismatch, |it| {
        it.claimed = it.claimed.map(|it| it + 6)
    }),
    ("span too short", Code::DurationMismatch, |it| {
        it.claimed = it.claimed.map(|it| it - 6)
    }),
    ("span from the change", Code::DurationMismatch, |it| {
        it.claimed = Some(it.at(FULL) - it.at(CHANGE));
    }),
    ("span to the closing", Code::DurationMismatch, |it| {
        it.claimed = Some(it.at(CLOSED) - it.at(BEGIN));
    }),
    ("sentence of the beginning", Code::ProseDisagrees, |it| {
        it.told[BEGIN] = Some(it.at(BEGIN) + 2)
    }),
    (
        "sentence of the beginning, early",
        Code::ProseDisagrees,
        |it| it.told[BEGIN] = Some(it.at(CHANGE)),
    ),
    ("sentence of the alert", Code::ProseDisagrees, |it| {
        it.told[DETECT] = Some(it.at(DETECT) + 3)
    }),
    ("sentence of the rollback", Code::ProseDisagrees, |it| {
        it.told[ROLLED] = Some(it.at(ROLLED) - 2)
    }),
    ("sentence of the end", Code::ProseDisagrees, |it| {
        it.told[FULL] = Some(it.at(FULL) + 2)
    }),
    ("sentence of the change", Code::ProseDisagrees, |it| {
        it.told[CHANGE] = Some(it.at(CHANGE) + 2)
    }),
    (
        "half a day: sentence of the change",
        Code::ClockSlip,
        |it| {
            it.twelve = true;
            it.flip = Some(CHANGE + ROWS.len());
        },
    ),
    (
        "half a day: sentence of the rollback",
        Code::ClockSlip,
        |it| {
            it.twelve = true;
            it.flip = Some(ROLLED + ROWS.len());
        },
    ),
    ("half a day: a row", Code::ClockSlip, |it| {
        it.twelve = true;
        it.flip = Some(FAILED);
    }),
    ("half a day: the first row", Code::ClockSlip, |it| {
        it.twelve = true;
        it.flip = Some(CHANGE);
    }),
    ("a quarter is back before", Code::EffectBeforeCause, |it| {
        it.quarter = Some(it.at(CHANGE) - 20);
    }),
    (
        "acknowledged before the alert",
        Code::EffectBeforeCause,
        |it| {
            it.rows.swap(ACK, DETECT);
            let minute = it.rows[ACK].0;
            it.rows[ACK].0 = it.rows[DETECT].0;
            it.rows[DETECT].0 = minute;
            it.told[DETECT] = None;
        },
    ),
    ("back before it was lost", Code::EffectBeforeCause, |it| {
        it.rows[BEGIN].1 = ROWS[FULL].1.to_owned();
        it.rows[FULL].1 = ROWS[BEGIN].1.to_owned();
    }),
    ("no zone", Code::ZoneMissing, |it| it.zone = String::new()),
    ("no such zone", Code::ZoneUnknown, |it| {
        it.zone = " (PCT)".to_owned()
    }),
    ("the other half's zone", Code::ZoneDst, |it| {
        let summer = (5..=9).contains(&it.day.month());
        it.zone = if summer { " (PST)" } else { " (PDT)" }.to_owned();
    }),
    ("no date", Code::DateMissing, |it| {
        it.dated = false;
        it.heading_day = None;
    }),
    ("another weekday", Code::DateMismatch, |it| {
        let wrong = it.day.tomorrow().expect("a day after it");
        it.weekday = Some(wrong.strftime("%A").to_string());
    }),
    ("another day in the timeline", Code::DateMismatch, |it| {
        it.heading_day = it.day.checked_add(jiff::Span::new().days(3)).ok();
    }),
    ("another year in the timeline", Code::DateMismatch, |it| {
        it.heading_day = Some(date(it.day.year() - 1, it.day.month(), it.day.day()));
    }),
    ("no beginning", Code::BeginMissing, |it| {
        it.without(BEGIN);
        it.window = None;
        it.claimed = None;
    }),
    ("no end", Code::RestoredMissing, |it| {
        it.without(FULL);
        it.without(CLOSED);
        it.without(ROLLED);
        it.window = None;
        it.claimed = None;
    }),
    ("nobody noticed", Code::DetectionMissing, |it| {
        it.without(DETECT);
        it.without(ACK);
        it.without(CLOSED);
    }),
    ("nothing led to it", Code::TriggerMissing, |it| {
        it.rows.remove(CHANGE);
        it.told[CHANGE] = None;
        it.cause = false;
        it.rows.retain(|(_, text)| !text.contains("change"));
        it.told[ROLLED] = None;
    }),
    ("noticed at the end", Code::LateDetection, |it| {
        for row in ACK..=CLOSED {
            it.rows[row].0 += 120;
        }
        it.rows[DETECT].0 = it.at(ACK) - 1;
        it.told = [None; 9];
        it.window = None;
        it.claimed = None;
        it.quarter = None;
    }),
    (
        "success as the error",
        Code::StatusCodeContradiction,
        |it| it.error = "200 error response".to_owned(),
    ),
    ("another code's name", Code::StatusCodeContradiction, |it| {
        it.error = "503 Bad Gateway".to_owned()
    }),
    ("an error as success", Code::StatusCodeContradiction, |it| {
        it.error = "HTTP 500 OK".to_owned()
    }),
    ("a form's words", Code::TemplateLeftover, |it| {
        it.impact = "[describe the impact here]".to_owned()
    }),
    ("a form's name", Code::TemplateLeftover, |it| {
        it.impact = "customers of <service name>".to_owned()
    }),
    ("to be done", Code::TemplateLeftover, |it| {
        it.impact = "TBD".to_owned()
    }),
    ("no owner", Code::ActionWithoutOwner, |it| {
        it.owners[1] = String::new()
    }),
    ("owner to be done", Code::ActionWithoutOwner, |it| {
        it.owners[2] = "TBD".to_owned()
    }),
    ("no date of an action", Code::ActionWithoutDue, |it| {
        it.dues[0] = "-".to_owned()
    }),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_mutation_is_found_and_its_undoing_is_at_peace(story in story()) {
        prop_assert_eq!(story.found(), [], "{}", story.text());
        for (name, code, mutate) in MUTATIONS {
            let mut spoilt = story.clone();
            mutate(&mut spoilt);
            let found = spoilt.found();
            prop_assert!(found.contains(code), "{}: {:?} in\n{}", name, found, spoilt.text());
        }
        prop_assert_eq!(story.found(), []);
    }
}

#[test]
fn every_code_has_a_mutation() {
    for code in Code::ALL {
        assert!(MUTATIONS.iter().any(|(_, it, _)| *it == code), "{code}");
    }
}
