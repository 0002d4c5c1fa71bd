//! From lines to blocks: headings, items, cells and paragraphs, each in a
//! section of which it is known what it tells.
//!
//! Invariant: every line of text is in exactly one block, in its order.

use crate::calendar::{self, DateToken};
use crate::clock;
use crate::place::{Text, head};
use crate::source::{self, Line, Mark};

/// What a section of a report tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Before the first heading that says anything.
    Intro,
    Summary,
    Timeline,
    Cause,
    Resolution,
    Detection,
    Impact,
    Actions,
    Lessons,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Heading,
    Item,
    /// A row of a table; cells are separated by a vertical bar.
    Cells,
    Text,
}

#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) shape: Shape,
    pub(crate) text: Text,
    pub(crate) kind: Kind,
    /// Sections are counted from 0; each heading that says something begins one.
    pub(crate) section: usize,
    pub(crate) fenced: bool,
    pub(crate) times: Vec<clock::Token>,
    pub(crate) dates: Vec<DateToken>,
    /// The time that it begins with.
    pub(crate) lead: Option<clock::Token>,
}

/// A line that is shorter was not wrapped by a program, so the next is no part of it.
const WRAPPED_MIN: usize = 50;
/// A heading without a mark has at most so many words.
const TITLE_WORDS_MAX: usize = 7;

/// Reads a whole report.
pub(crate) fn lay(text: &str) -> Vec<Block> {
    let mut lines = source::read(text).into_iter().peekable();
    let mut layer = Layer::default();
    while let Some(line) = lines.next() {
        let underlined = lines.peek().is_some_and(|next| next.mark == Mark::Rule);
        layer.line(line, underlined);
    }
    for block in &mut layer.blocks {
        let text = &block.text;
        block.times = clock::scan(text);
        block.dates = calendar::scan(&text.raw, &text.low);
        block.lead = lead(text, &block.times, &block.dates);
    }
    layer.blocks
}

#[derive(Debug)]
struct Layer {
    blocks: Vec<Block>,
    kind: Kind,
    /// The level of the heading that said so; unmarked ones have the lowest.
    level: u8,
    section: usize,
    /// Nothing stood between the last block's last line and this one.
    open: bool,
    /// How long the last line was.
    last: usize,
}

impl Default for Layer {
    fn default() -> Layer {
        Layer {
            blocks: Vec::new(),
            kind: Kind::Intro,
            level: 0,
            section: 0,
            open: false,
            last: 0,
        }
    }
}

impl Layer {
    fn line(&mut self, line: Line, underlined: bool) {
        if line.mark == Mark::Rule || line.text.is_blank() {
            self.open = false;
            return;
        }
        if line.text.raw.chars().all(|c| " |-:=+".contains(c)) {
            return;
        }
        let timed = is_timed(&line.text);
        if !timed
            && self.continues(&line)
            && let Some(block) = self.blocks.last_mut()
        {
            block.text.join(&line.text);
            self.last = line.text.len();
            return;
        }
        self.last = line.text.len();
        if !line.fenced && !timed && self.heading(&line, underlined) {
            return;
        }
        let shape = match line.mark {
            // A heading with a time is an entry of a timeline.
            Mark::Item | Mark::Heading(_) => Shape::Item,
            _ if line.cells => Shape::Cells,
            Mark::None | Mark::Rule => Shape::Text,
        };
        self.push(shape, line.text, line.fenced);
    }

    fn push(&mut self, shape: Shape, text: Text, fenced: bool) {
        self.blocks.push(Block {
            shape,
            text,
            kind: self.kind,
            section: self.section,
            fenced,
            times: Vec::new(),
            dates: Vec::new(),
            lead: None,
        });
        self.open = !matches!(shape, Shape::Heading | Shape::Cells);
    }

    /// The line goes on where the one before it was wrapped.
    fn continues(&self, line: &Line) -> bool {
        let Some(block) = self.blocks.last().filter(|_| self.open) else {
            return false;
        };
        line.mark == Mark::None
            && !line.bold
            && !line.cells
            && !line.fenced
            && !block.fenced
            && (self.last >= WRAPPED_MIN || (block.shape == Shape::Item && line.indent >= 2))
            && label(&line.text).is_none()
            && title_kind(&line.text.low).is_none()
    }

    /// Takes a line as a heading, if it is one.
    fn heading(&mut self, line: &Line, underlined: bool) -> bool {
        let text = &line.text;
        let words = text.low.split_whitespace().count();
        let (level, marked) = match line.mark {
            Mark::Heading(level) => (level, true),
            Mark::None if line.bold && words <= 12 && !line.cells => (6, true),
            Mark::None if underlined && words <= 8 && !text.low.ends_with('.') => (2, true),
            Mark::None | Mark::Item | Mark::Rule => (6, false),
        };
        if marked {
            self.begin(text, level, kind_of(&text.low));
            return true;
        }
        if line.cells {
            return false;
        }
        if let Some(kind) = title_kind(&text.low) {
            self.begin(text, level, kind);
            return true;
        }
        // "Summary: all requests failed" is a heading and its text.
        let Some((end, kind)) = label(text).filter(|_| line.mark == Mark::None) else {
            return false;
        };
        self.begin(&text.part(0, end), level, kind);
        let rest = text.from(end + 1);
        if !rest.is_blank() {
            self.push(Shape::Text, rest, line.fenced);
        }
        true
    }

    fn begin(&mut self, text: &Text, level: u8, kind: Kind) {
        let below = level > self.level && matches!(self.kind, Kind::Timeline | Kind::Actions);
        let dated = !calendar::scan(&text.raw, &text.low).is_empty();
        let stays = kind == Kind::Other && (below || (dated && self.kind == Kind::Timeline));
        // The title of the whole says nothing of what comes first.
        let title = self.blocks.is_empty() || (kind == Kind::Other && self.kind == Kind::Intro);
        if !stays {
            self.section += 1;
            self.level = level;
            self.kind = if title && kind == Kind::Other {
                Kind::Intro
            } else {
                kind
            };
        }
        self.push(Shape::Heading, text.clone(), false);
    }
}

/// A line begins with a time of day, perhaps with a date before it.
fn is_timed(text: &Text) -> bool {
    let start = head(&text.low, LEAD_BYTES);
    let may = start.contains(|c: char| c.is_ascii_digit()) || start.contains("noon");
    may && {
        let start = text.part(0, start.len());
        lead(
            &start,
            &clock::scan(&start),
            &calendar::scan(&start.raw, &start.low),
        )
        .is_some()
    }
}

/// Dates with their weekdays fit before a time that leads a line.
const LEAD_BYTES: usize = 60;

/// The time that a text begins with, after a date, brackets and the like.
fn lead(text: &Text, times: &[clock::Token], dates: &[DateToken]) -> Option<clock::Token> {
    let token = times.first().filter(|token| token.start <= LEAD_BYTES)?;
    let mut before = text.low_in(0, token.start).to_owned();
    for date in dates.iter().rev().filter(|date| date.end <= token.start) {
        before.replace_range(date.start..date.end, "");
    }
    let plain = before
        .split(|c: char| !c.is_alphanumeric())
        .all(|word| BEFORE_TIMES.split(' ').any(|it| it == word));
    plain.then(|| token.clone())
}

/// Words that may stand before a time that leads a line; none is one of them.
const BEFORE_TIMES: &str = " at about around approximately approx circa ca t time on utc mon tue wed \
    thu fri sat sun monday tuesday wednesday thursday friday saturday sunday";

/// Words that unmarked headings are made of.
const TITLE_WORDS: &[&str] = &[
    "issue",
    "incident",
    "executive",
    "summary",
    "timeline",
    "timelines",
    "overview",
    "abstract",
    "root",
    "cause",
    "causes",
    "and",
    "resolution",
    "recovery",
    "corrective",
    "preventative",
    "preventive",
    "measures",
    "actions",
    "action",
    "items",
    "impact",
    "detection",
    "lessons",
    "learned",
    "learnt",
    "analysis",
    "of",
    "events",
    "the",
    "response",
    "mitigation",
    "trigger",
    "follow",
    "up",
    "ups",
    "next",
    "steps",
    "chronology",
    "background",
    "description",
    "postmortem",
    "apparent",
    "reason",
    "prevention",
    "remediation",
    "plan",
    "contributing",
    "factors",
    "introduction",
    "conclusion",
    "outage",
    "sequence",
    "what",
    "happened",
    "went",
    "well",
    "wrong",
    "improvements",
    "tasks",
    "detailed",
    "key",
];

/// What a line that is nothing but a title says; none for ordinary text.
fn title_kind(low: &str) -> Option<Kind> {
    /// So many of the longest words, with their zone in brackets, are shorter.
    const BYTES_MAX: usize = 100;
    if low.len() > BYTES_MAX {
        return None;
    }
    let name = low.split('(').next().unwrap_or_default();
    let rest = low.get(name.len()..).unwrap_or_default();
    let name = name.trim().trim_end_matches(':').trim();
    // `Timeline (UTC):` and nothing behind.
    let closed = rest.trim().trim_end_matches(':').trim_end();
    if !closed.is_empty() && !closed.ends_with(')') {
        return None;
    }
    vocabulary(name)
}

fn vocabulary(name: &str) -> Option<Kind> {
    let words: Vec<&str> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let fits = !words.is_empty()
        && words.len() <= TITLE_WORDS_MAX
        && words.iter().all(|word| TITLE_WORDS.contains(word))
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " &/-".contains(c));
    let kind = fits.then(|| kind_of(name))?;
    (kind != Kind::Other).then_some(kind)
}

/// The label before a colon, where it ends, and what it says.
fn label(text: &Text) -> Option<(usize, Kind)> {
    let end = text
        .low
        .get(..40.min(text.len()))
        .unwrap_or(&text.low)
        .find(':')?;
    let name = text.low_in(0, end).split('(').next().unwrap_or_default();
    Some((end, vocabulary(name.trim())?))
}

/// What a heading says.
fn kind_of(low: &str) -> Kind {
    let words: Vec<&str> = low.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let any = |stems: &[&str]| {
        words
            .iter()
            .any(|word| stems.iter().any(|stem| word.starts_with(stem)))
    };
    if any(&["timeline", "chronolog"])
        || low.contains("sequence of events")
        || low.contains("events took place")
        || low.contains("incident log")
        || low.trim() == "events"
    {
        Kind::Timeline
    } else if any(&[
        "corrective",
        "prevent",
        "action",
        "remediation",
        "improvement",
        "tasks",
    ]) || low.contains("follow-up")
        || low.contains("follow up")
        || low.contains("next step")
    {
        Kind::Actions
    } else if any(&["lesson", "lucky"]) || low.contains("went well") || low.contains("went wrong") {
        Kind::Lessons
    } else if any(&["cause", "trigger", "fault", "contributing", "reason", "why"]) {
        Kind::Cause
    } else if any(&["resolution", "recovery", "mitigation", "response"]) {
        Kind::Resolution
    } else if any(&["detection"]) {
        Kind::Detection
    } else if any(&["impact"]) {
        Kind::Impact
    } else if any(&[
        "summary",
        "overview",
        "abstract",
        "tl",
        "description",
        "introduction",
    ]) || low.contains("what happened")
    {
        Kind::Summary
    } else {
        Kind::Other
    }
}
