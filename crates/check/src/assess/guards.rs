//! Limits of size and change.

use model::gate::{Guard, Severity};

use super::file::File;
use super::findings::Findings;
use super::{Ground, values};
use crate::documents::{Node, Value};
use crate::pattern::{Pointer, pointer_text};

const HELP: &str = "if it is meant, have an operator widen the guard";

pub(super) fn check(ground: &Ground<'_>, findings: &mut Findings) {
    for guard in &ground.rules.guards {
        for (file, _) in ground.fitting(&guard.file) {
            let old = ground.old.and_then(|old| old.files.get(file.path));
            size(guard, file, old.map(Vec::len), findings);
        }
        for (file, old) in ground.fitting(&guard.file) {
            rows(guard, file, old, findings);
            keep(guard, file, old, findings);
        }
    }
}

fn size(guard: &Guard, file: &File<'_>, old: Option<usize>, findings: &mut Findings) {
    let new = file.bytes.len() as u64;
    if let Some(max) = guard.size_bytes_max.filter(|max| new > *max) {
        let message = format!("the file has {new} bytes; its guard allows {max}");
        findings.deny(Some(file.path), message, HELP);
    }
    let Some(old) = old.map(|old| old as u64).filter(|old| *old > 0) else {
        return;
    };
    if let Some(max) = guard.shrink_permille_max
        && shrinks(old, new, u64::from(max.get()))
    {
        let message = format!(
            "the file shrinks from {old} to {new} bytes; its guard allows {} less",
            percent(u64::from(max.get()))
        );
        findings.deny(Some(file.path), message, HELP);
    }
    if let Some(max) = guard.growth_percent_max
        && u128::from(new.saturating_sub(old)) * 100 > u128::from(old) * u128::from(max)
    {
        let message =
            format!("the file grows from {old} to {new} bytes; its guard allows {max}% more");
        findings.deny(Some(file.path), message, HELP);
    }
}

fn shrinks(old: u64, new: u64, permille: u64) -> bool {
    u128::from(old.saturating_sub(new)) * 1000 > u128::from(old) * u128::from(permille)
}

fn percent(permille: u64) -> String {
    match permille % 10 {
        0 => format!("{}%", permille / 10),
        part => format!("{}.{part}%", permille / 10),
    }
}

/// A number of rows and where they are.
struct Rows {
    what: String,
    path: Vec<String>,
    offset: usize,
    count: u64,
}

fn rows(guard: &Guard, file: &File<'_>, old: Option<&File<'_>>, findings: &mut Findings) {
    let asked = guard.rows_min.is_some()
        || guard.rows_max.is_some()
        || guard.rows_shrink_permille_max.is_some();
    if !asked {
        return;
    }
    let before: Vec<Rows> = old.map_or(Vec::new(), |old| counted(guard, old).unwrap_or_default());
    let now = match counted(guard, file) {
        Ok(now) => now,
        Err(message) => {
            findings.deny(Some(file.path), message, HELP);
            return;
        }
    };
    for rows in &now {
        let Rows {
            what,
            offset,
            count,
            ..
        } = rows;
        let mut deny = |message| findings.at(Severity::Deny, file, *offset, message, Some(HELP));
        if let Some(min) = guard.rows_min.filter(|min| count < min) {
            deny(format!(
                "{what} has {}; its guard wants {min}",
                rows_of(*count)
            ));
        }
        if let Some(max) = guard.rows_max.filter(|max| count > max) {
            deny(format!(
                "{what} has {}; its guard allows {max}",
                rows_of(*count)
            ));
        }
        let old = before.iter().find(|old| old.path == rows.path);
        if let Some(old) = old.map(|old| old.count)
            && let Some(max) = guard.rows_shrink_permille_max
            && shrinks(old, *count, u64::from(max.get()))
        {
            let max = percent(u64::from(max.get()));
            deny(format!(
                "{what} shrinks from {old} to {}; its guard allows {max} less",
                rows_of(*count)
            ));
        }
    }
}

fn rows_of(count: u64) -> String {
    match count {
        1 => "1 row".to_owned(),
        _ => format!("{count} rows"),
    }
}

/// Rows of each list or map that the guard names, or the lines of the file.
fn counted(guard: &Guard, file: &File<'_>) -> Result<Vec<Rows>, String> {
    let Some(at) = &guard.rows_at else {
        let lines = file.bytes.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty());
        return Ok(vec![Rows {
            what: "the file".to_owned(),
            path: Vec::new(),
            offset: 0,
            count: lines.count() as u64,
        }]);
    };
    let (Some(root), Ok(pointer)) = (file.root(), Pointer::parse(at)) else {
        // A document that can't be read is told already; anything else has no pointers.
        return match file.format {
            Some(_) => Ok(Vec::new()),
            None => Err(format!(
                "the guard counts rows at {at}, but the file is no YAML, TOML or JSON"
            )),
        };
    };
    let found = values::matches(root, pointer.steps());
    if found.is_empty() {
        return Err(format!(
            "the guard counts rows at {at}, and nothing is there"
        ));
    }
    let rows = found.into_iter().map(|(path, node)| {
        let count = match &node.value {
            Value::List(items) => items.len(),
            Value::Map(map) => map.len(),
            Value::Null => 0,
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Large(_)
            | Value::Float(_)
            | Value::Text(_) => return Err(format!("{} is no list or map", pointer_text(&path))),
        };
        let place = root.place_of(&path).unwrap_or(node.span);
        Ok(Rows {
            what: values::name(&path),
            offset: place.range().start,
            path,
            count: count as u64,
        })
    });
    rows.collect()
}

/// Fields that were there and not empty are still so.
fn keep(guard: &Guard, file: &File<'_>, old: Option<&File<'_>>, findings: &mut Findings) {
    let (Some(root), Some(before)) = (file.root(), old.and_then(File::root)) else {
        return;
    };
    let pointers = guard.keep.iter().filter_map(|at| Pointer::parse(at).ok());
    for pointer in pointers {
        for (path, node) in values::matches(before, pointer.steps()) {
            if node.is_empty() {
                continue;
            }
            let shown = pointer_text(&path);
            match root.at(&path) {
                None => {
                    let offset = nearest(root, &path).span.range().start;
                    let message = format!("{shown} has vanished");
                    findings.at(Severity::Deny, file, offset, message, Some(KEEP_HELP));
                }
                Some(now) if now.is_empty() => {
                    let place = root.place_of(&path).unwrap_or(now.span);
                    let message = format!("{shown} is empty, and was not before");
                    let offset = place.range().start;
                    findings.at(Severity::Deny, file, offset, message, Some(KEEP_HELP));
                }
                Some(_) => {}
            }
        }
    }
}

const KEEP_HELP: &str = "a guard keeps this field: fill it, or have an operator drop it there";

/// The last value on the way to a path that is there.
fn nearest<'n>(root: &'n Node, path: &[String]) -> &'n Node {
    let mut node = root;
    for step in path {
        match node.child(step) {
            Some(child) => node = child,
            None => break,
        }
    }
    node
}
