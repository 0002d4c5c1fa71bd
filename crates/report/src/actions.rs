//! What a report says is to be done, by whom and until when.
//!
//! Invariant: an owner or a date is missed only where the report's own form
//! asks for it: a column, a label, or the same said of another action.

use crate::calendar;
use crate::layout::{Block, Kind, Shape};
use crate::place::Place;

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub place: Place,
    pub text: String,
    pub owner: Field,
    pub due: Field,
    /// It is told to be finished.
    pub done: bool,
}

/// What a form may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Nothing asks for it.
    Unasked,
    /// There is a column or a label for it, and nothing in it.
    Empty,
    Given(String),
}

/// Words that stand where something is still to be said.
const NOTHING: &[&str] = &[
    "",
    "-",
    "--",
    "tbd",
    "n/a",
    "none",
    "?",
    "unassigned",
    "todo",
    "nobody",
    "to be assigned",
    "to be determined",
];

pub(crate) fn read(blocks: &[Block]) -> Vec<Action> {
    let mut found = Vec::new();
    let mut columns: Option<Columns> = None;
    let mut section = usize::MAX;
    for block in blocks.iter().filter(|block| block.kind == Kind::Actions) {
        if block.section != section || block.shape != Shape::Cells {
            columns = None;
        }
        section = block.section;
        match block.shape {
            Shape::Cells => match &columns {
                None => columns = Some(Columns::of(block)),
                Some(columns) => found.extend(columns.action(block)),
            },
            Shape::Item => found.push(item(block)),
            Shape::Heading | Shape::Text => {}
        }
    }
    spread(&mut found);
    found
}

/// A form that some of the actions have is asked of all that are not done.
fn spread(actions: &mut [Action]) {
    let most = |asked: usize| asked >= 2 && asked * 2 > actions.len();
    let owners = most(
        actions
            .iter()
            .filter(|it| matches!(it.owner, Field::Given(_)))
            .count(),
    );
    let dues = most(
        actions
            .iter()
            .filter(|it| matches!(it.due, Field::Given(_)))
            .count(),
    );
    for action in actions.iter_mut() {
        if owners && action.owner == Field::Unasked {
            action.owner = Field::Empty;
        }
        if dues && action.due == Field::Unasked {
            action.due = Field::Empty;
        }
    }
}

/// Which cell of a table says what.
struct Columns {
    names: Vec<String>,
}

impl Columns {
    fn of(block: &Block) -> Columns {
        let names = cells(&block.text.low)
            .into_iter()
            .map(|(_, name)| name.to_owned());
        Columns {
            names: names.collect(),
        }
    }

    fn find(&self, stems: &[&str]) -> Option<usize> {
        self.names
            .iter()
            .position(|name| stems.iter().any(|stem| name.starts_with(stem)))
    }

    fn action(&self, block: &Block) -> Option<Action> {
        let cells = cells(&block.text.raw);
        let field = |stems: &[&str]| match self.find(stems) {
            None => Field::Unasked,
            Some(at) => given(cells.get(at).map_or("", |(_, cell)| cell)),
        };
        let text = self.find(&[
            "action",
            "task",
            "item",
            "what",
            "description",
            "measure",
            "todo",
            "improvement",
        ]);
        let (start, text) = *cells
            .get(text.unwrap_or(0))
            .filter(|(_, cell)| !cell.is_empty())?;
        let owner = field(&[
            "owner",
            "assignee",
            "assigned",
            "responsible",
            "who",
            "dri",
            "lead",
        ]);
        let due = field(&[
            "due", "deadline", "eta", "target", "by when", "when", "date",
        ]);
        // Only a table that asks for one of the two is a table of actions.
        let status = self.find(&["status", "state"]).and_then(|at| cells.get(at));
        Some(Action {
            place: block.text.place(start),
            text: text.to_owned(),
            owner,
            due,
            done: status.is_some_and(|(_, cell)| is_done(cell)) || is_done(&block.text.low),
        })
    }
}

fn given(cell: &str) -> Field {
    let plain = cell
        .trim()
        .trim_matches(['[', ']', '(', ')', '<', '>'])
        .to_ascii_lowercase();
    if NOTHING.contains(&plain.as_str()) {
        Field::Empty
    } else {
        Field::Given(cell.trim().to_owned())
    }
}

fn cells(text: &str) -> Vec<(usize, &str)> {
    let skip = text.len() - text.trim_start().len();
    let inner = text.trim();
    let skip = skip + usize::from(inner.starts_with('|'));
    let inner = inner.strip_prefix('|').unwrap_or(inner);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let mut at = skip;
    let mut found = Vec::new();
    for cell in inner.split('|') {
        let blank = cell.len() - cell.trim_start().len();
        found.push((at + blank, cell.trim()));
        at += cell.len() + 1;
    }
    found
}

fn is_done(text: &str) -> bool {
    let low = text.to_ascii_lowercase();
    let low = low.as_str();
    [
        "(done)",
        "[done]",
        "completed",
        "(finished",
        "finished.",
        "already ",
    ]
    .iter()
    .any(|word| low.contains(word))
        || matches!(
            low.trim(),
            "done" | "complete" | "closed" | "finished" | "fixed" | "yes"
        )
}

fn item(block: &Block) -> Action {
    let text = &block.text;
    let label = |stems: &[&str]| {
        stems.iter().find_map(|stem| {
            let at = text.low.find(&format!("{stem}:"))?;
            let free = text.low_in(0, at).chars().next_back();
            if free.is_some_and(char::is_alphanumeric) {
                return None;
            }
            let value = text.raw_in(at + stem.len() + 1, text.len());
            let value = value
                .split([',', ';', ')', ']', '|'])
                .next()
                .unwrap_or_default();
            Some(given(value))
        })
    };
    let handle = text.raw.split([' ', '(', '[']).find_map(|word| {
        let name = word.strip_prefix('@')?;
        name.starts_with(|c: char| c.is_alphabetic()).then(|| {
            let name = name.trim_end_matches(|c: char| !c.is_alphanumeric());
            Field::Given(name.to_owned())
        })
    });
    let owner = label(&["owner", "assignee", "assigned to", "responsible"]);
    let due = label(&["due", "due date", "deadline", "eta", "by"]).or_else(|| {
        let low = &text.low;
        let dates = calendar::scan(&text.raw, low);
        let date = dates.iter().find(|date| {
            ["by ", "due ", "until ", "before "]
                .iter()
                .any(|word| low[..date.start].ends_with(word))
        })?;
        Some(Field::Given(text.raw_in(date.start, date.end).to_owned()))
    });
    Action {
        place: text.place(0),
        text: text.raw.clone(),
        owner: owner.or(handle).unwrap_or(Field::Unasked),
        due: due.unwrap_or(Field::Unasked),
        done: is_done(&text.low),
    }
}
