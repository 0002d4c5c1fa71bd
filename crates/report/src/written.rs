//! A report as values, and its words: the five parts that readers know.
//!
//! Invariant: what is written here is read back to the same values, and holds
//! nothing that contradicts itself if the values don't.

use std::fmt::Write;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A report, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub title: String,
    /// The day on which it began.
    pub date: Date,
    /// The zone of all times, as `UTC` or `UTC+01:00`.
    pub zone: String,
    /// Sentences of the summary, before the span.
    pub summary: String,
    /// In the order of time.
    pub timeline: Vec<Entry>,
    pub cause: String,
    pub resolution: String,
    pub measures: Vec<Measure>,
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Minutes after midnight of the report's day; beyond 1440 on the days after.
    pub minute: u32,
    pub text: String,
}

/// A corrective or preventative measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    pub text: String,
    pub owner: Option<String>,
    pub due: Option<Date>,
    pub done: bool,
}

const MINUTES_OF_DAY: u32 = 24 * 60;

impl Report {
    /// As Markdown. Times are of 24 hours; a line of another day says its date.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {}\n", one_line(&self.title))?;
        writeln!(out, "Date: {}\n", self.date)?;
        writeln!(out, "## Summary\n\n{}\n", one_line(&self.summary))?;
        writeln!(out, "## Timeline (all times in {})\n", self.zone)?;
        for entry in &self.timeline {
            writeln!(
                out,
                "- {}: {}",
                self.moment(entry.minute),
                one_line(&entry.text)
            )?;
        }
        writeln!(out, "\n## Root cause\n\n{}\n", one_line(&self.cause))?;
        writeln!(
            out,
            "## Resolution and recovery\n\n{}\n",
            one_line(&self.resolution)
        )?;
        writeln!(out, "## Corrective and preventative measures\n")?;
        for measure in &self.measures {
            let mark = if measure.done { 'x' } else { ' ' };
            write!(out, "- [{mark}] {}", one_line(&measure.text))?;
            if let Some(owner) = &measure.owner {
                write!(out, " (owner: {})", one_line(owner))?;
            }
            if let Some(due) = measure.due {
                write!(out, " (due: {due})")?;
            }
            out.push_str(if measure.done { " (done)\n" } else { "\n" });
        }
        Ok(())
    }

    /// `10:00`, or `2024-05-13 00:10` on another day than the report's.
    fn moment(&self, minute: u32) -> String {
        let days = jiff::Span::new().days(i64::from(minute / MINUTES_OF_DAY));
        let (hour, rest) = (minute / 60 % 24, minute % 60);
        match self.date.checked_add(days) {
            Ok(day) if day != self.date => format!("{day} {hour:02}:{rest:02}"),
            _ => format!("{hour:02}:{rest:02}"),
        }
    }
}

/// Text that can't begin a line of its own.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}
