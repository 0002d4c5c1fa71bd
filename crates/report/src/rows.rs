//! Lines of timelines: what each tells, and where it stands on one axis.
//!
//! Invariant: an axis only goes on to the next day where the clock goes back
//! further than half a day; a smaller step back is left for a finding to judge.

use jiff::civil::{Date, date};

use crate::calendar::WrittenDate;
use crate::clock::{DAY, HALF_DAY, Half, Hedge, Time, Token};
use crate::layout::{Block, Kind, Shape};
use crate::place::{Place, Text};
use crate::role::Role;
use crate::zone::Zone;

/// One line of a timeline.
#[derive(Debug, Clone)]
pub struct Row {
    pub place: Place,
    pub time: Time,
    pub until: Option<Time>,
    /// What it says, as it was written.
    pub text: String,
    /// What that means; several, or nothing that is known.
    pub roles: Vec<Role>,
    /// Minutes on an axis that all lines of its list share.
    pub at: i64,
    pub(crate) date: Option<WrittenDate>,
    pub(crate) zone: Option<Zone>,
    pub(crate) near: bool,
    /// Which list it stands in: a section of the report.
    pub(crate) list: usize,
    pub(crate) next_day: bool,
}

impl Row {
    pub(crate) fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The time, and the zone that stands with it.
    pub(crate) fn clock(&self) -> (Time, Option<&Zone>) {
        (self.time, self.zone.as_ref())
    }
}

/// Beyond so many lines nothing is compared: a log is no timeline, and findings
/// compare lines with each other.
pub(crate) const ROWS_MAX: usize = 1_000;

/// A block as a line of a timeline, if it is one; its roles are for later.
pub(crate) fn read(block: &Block, date: Option<&WrittenDate>) -> Option<Row> {
    if block.shape == Shape::Heading || matches!(block.kind, Kind::Actions | Kind::Lessons) {
        return None;
    }
    let text = &block.text;
    let (token, rest) = match &block.lead {
        Some(token) => (token, text.from(token.end)),
        None if block.kind != Kind::Timeline => return None,
        None => trailing(block)?,
    };
    let prose = block.shape == Shape::Text && text.low.starts_with("at ");
    if prose && block.kind != Kind::Timeline {
        return None;
    }
    let own = block.dates.iter().find(|date| date.end <= token.start);
    let words = strip(&rest);
    Some(Row {
        place: text.place(token.start),
        time: token.time,
        until: token.until,
        roles: Vec::new(),
        next_day: next_day(&words.low),
        text: words.raw.replace('|', " ").trim().to_owned(),
        at: 0,
        date: own.map(|own| own.date.clone()).or(date.cloned()),
        zone: token.zone().cloned(),
        near: token.hedge != Hedge::Exact || token.until.is_some(),
        list: block.section,
    })
}

fn next_day(low: &str) -> bool {
    [
        "next day",
        "following day",
        "next morning",
        "following morning",
        "day after",
        "(+1)",
    ]
    .iter()
    .any(|words| low.contains(words))
}

/// "Outage begins at 10:00", "| Outage begins | 10:00 |": the time comes last.
fn trailing(block: &Block) -> Option<(&Token, Text)> {
    let text = &block.text;
    if block.shape == Shape::Text || text.len() > 400 {
        return None;
    }
    let [token] = block.times.as_slice() else {
        return None;
    };
    let after = text.low_in(token.end, text.len());
    let only = !after.chars().any(char::is_alphanumeric);
    let before = text.low_in(0, token.start);
    let cell = block.shape == Shape::Cells && before.trim_end().ends_with('|');
    let last = only && before.chars().filter(|c| c.is_alphabetic()).count() > 3;
    if cell {
        let mut rest = text.part(0, token.start);
        rest.join(&text.from(token.end));
        return Some((token, rest));
    }
    last.then(|| (token, text.part(0, token.start)))
}

/// Without the marks between a time and its words.
fn strip(rest: &Text) -> Text {
    let low = rest.low.as_str();
    let blank = low.len()
        - low
            .trim_start_matches(|c: char| " :-|),.]>=~".contains(c))
            .len();
    rest.from(blank)
}

/// Gives each line its minute on the axis of its list, and its order in time.
pub(crate) fn place_all(rows: &mut [Row], base: Option<Date>) {
    let mut from = 0;
    while from < rows.len() {
        let list = rows[from].list;
        let end = rows[from..]
            .iter()
            .position(|row| row.list != list)
            .map_or(rows.len(), |length| from + length);
        let part = &mut rows[from..end];
        if descends(part) {
            // Newest first: read from its end, so that steps back mean the same.
            part.reverse();
            axis(part, base);
            part.reverse();
        } else {
            axis(part, base);
        }
        from = end;
    }
}

/// Most steps go back in time, on the clock or by date.
pub(crate) fn descends(rows: &[Row]) -> bool {
    let mut steps = (0, 0);
    for pair in rows.windows(2) {
        let days = match (&pair[0].date, &pair[1].date) {
            (Some(a), Some(b)) => day_of(b, None) - day_of(a, None),
            _ => 0,
        };
        let step = days * DAY + pair[1].time.of() - pair[0].time.of();
        match step {
            step if step > 0 && step <= HALF_DAY => steps.0 += 1,
            step if (-HALF_DAY..0).contains(&step) => steps.1 += 1,
            _ => {}
        }
    }
    steps.1 > steps.0 && steps.1 >= 2
}

fn axis(rows: &mut [Row], base: Option<Date>) {
    let epoch = base.map_or(0, |base| i64::from(days(base)));
    let mut day = epoch;
    let mut before: Option<(i64, Time)> = None;
    for row in rows {
        let minute = row.time.of();
        let written = row.date.as_ref().map(|it| day_of(it, base));
        row.at = match (before, written) {
            (None, written) => {
                day = written.unwrap_or(day);
                day * DAY + minute
            }
            (Some((last, _)), Some(written)) if written * DAY + minute >= last - HALF_DAY => {
                // A date heading holds until the clock passes midnight.
                let at = written * DAY + minute;
                if row.time.of() + HALF_DAY < last.rem_euclid(DAY) && at < last && !row.next_day {
                    at + DAY
                } else {
                    at
                }
            }
            (Some((last, time)), _) => follow(last, time, row),
        };
        day = row.at.div_euclid(DAY);
        before = Some((row.at, row.time));
    }
}

/// The minute of a line without a date, after another.
fn follow(last: i64, time: Time, row: &Row) -> i64 {
    let step = row.time.of() - time.of();
    if row.time.half == Half::Open && time.half == Half::Open {
        // 12:50, then 1:10: on a clock with twelve hours that is later.
        let forward = step.rem_euclid(HALF_DAY);
        // A step of most of a round is rather a step back.
        const BACK: i64 = 3 * 60;
        return if forward > HALF_DAY - BACK {
            last + forward - HALF_DAY
        } else {
            last + forward
        };
    }
    if step < -HALF_DAY || (row.next_day && step < 0) {
        last + step + DAY
    } else {
        last + step
    }
}

/// The day's number; a year that is left out is the base's.
pub(crate) fn day_of(written: &WrittenDate, base: Option<Date>) -> i64 {
    let year = written.year.or(base.map(Date::year)).unwrap_or(2024);
    Date::new(year, written.month, written.day).map_or(0, |day| i64::from(days(day)))
}

fn days(day: Date) -> i32 {
    day.since(date(1970, 1, 1))
        .map_or(0, |span| span.get_days())
}
