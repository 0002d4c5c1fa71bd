//! From lines to blocks: headings, items, cells and paragraphs, each in a
//! section of which it is known what it tells.
//!
//! Invariant: every line of text is in exactly one block, in its order.

use crate::calendar;
use crate::clock;
use crate::place::Text;
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
}

/// A line that is shorter was not wrapped by a program, so the next is no part of it.
const WRAPPED_MIN: usize = 50;
/// A heading without a mark has at most so many words.
const TITLE_WORDS_MAX: usize = 7;

/// Reads a whole report.
pub(crate) fn lay(text: &str) -> Vec<Block> {
    let lines = source::read(text);
    let mut layer = Layer::default();
    for (at, line) in lines.iter().enumerate() {
        layer.line(line, lines.get(at + 1));
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
    fn line(&mut self, line: &Line, next: Option<&Line>) {
        if line.mark == Mark::Rule || line.text.is_blank() {
            self.open = false;
            return;
        }
        if line.text.raw.chars().all(|c| " |-:=+".contains(c)) {
            return;
        }
        if self.continues(line)
            && let Some(block) = self.blocks.last_mut()
        {
            block.text.join(&line.text);
            self.last = line.text.len();
            return;
        }
        self.last = line.text.len();
        let underlined = next.is_some_and(|next| next.mark == Mark::Rule);
        if !line.fenced && !is_timed(&line.text) && self.heading(line, underlined) {
            return;
        }
        let shape = match line.mark {
            // A heading with a time is an entry of a timeline.
            Mark::Item | Mark::Heading(_) => Shape::Item,
            _ if line.cells => Shape::Cells,
            Mark::None | Mark::Rule => Shape::Text,
        };
        self.push(shape, line.text.clone(), line.fenced);
        self.open = line.mark != Mark::Item || line.text.len() > 0;
    }

    fn push(&mut self, shape: Shape, text: Text, fenced: bool) {
        self.blocks.push(Block {
            shape,
            text,
            kind: self.kind,
            section: self.section,
            fenced,
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
            && !is_timed(&line.text)
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

/// It begins with a time of day, perhaps with a date before it.
pub(crate) fn is_timed(text: &Text) -> bool {
    lead(text).is_some()
}

/// The time that a text begins with, after a date, brackets and the like.
pub(crate) fn lead(text: &Text) -> Option<clock::Token> {
    /// Dates with their weekdays fit in here.
    const REACH: usize = 60;
    let mut reach = REACH.min(text.len());
    while !text.raw.is_char_boundary(reach) {
        reach -= 1;
    }
    let head = text.part(0, reach);
    let token = clock::scan(&head).into_iter().next()?;
    let dates = calendar::scan(&head.raw, &head.low);
    let mut before = head.low_in(0, token.start).to_owned();
    for date in dates.iter().rev().filter(|date| date.end <= token.start) {
        before.replace_range(date.start..date.end, "");
    }
    let only = |word: &str| {
        matches!(
            word,
            "" | "at"
                | "about"
                | "around"
                | "approximately"
                | "approx"
                | "circa"
                | "ca"
                | "t"
                | "time"
                | "on"
                | "utc"
                | "mon"
                | "tue"
                | "wed"
                | "thu"
                | "fri"
                | "sat"
                | "sun"
                | "monday"
                | "tuesday"
                | "wednesday"
                | "thursday"
                | "friday"
                | "saturday"
                | "sunday"
        )
    };
    let plain = before.split(|c: char| !c.is_alphanumeric()).all(only);
    if !plain {
        return None;
    }
    // The whole range, zone and all, may reach further than the head.
    clock::scan_first(text)
}

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
