//! Sizes that may only shrink.
//!
//! Long files and functions are looked at twice, not forbidden: what was judged
//! to be right as it is stands in a list, with its size. The list is a ratchet:
//! a task takes entries out and lowers them, only a person adds one.
//!
//! Invariant: nothing on the list ever grows unseen.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use toml_edit::{DocumentMut, Item};

use super::source;
use super::{File, Violation};

/// Where the crossings are listed.
pub(super) const LIST: &str = "crates/xtask/tidy-ratchet.toml";

struct Kind {
    /// The table of the list.
    table: &'static str,
    lines_max: usize,
    fix: &'static str,
}

const FILES: Kind = Kind {
    table: "files",
    lines_max: 500,
    fix: "split it by what it is about",
};

const FUNCTIONS: Kind = Kind {
    table: "functions",
    lines_max: 70,
    fix: "push ifs up and loops down, and give the leaves names",
};

const WHY: &str = "what doesn't fit a head is changed by guessing";

/// A size over its limit.
struct Crossing {
    path: String,
    line: usize,
    lines: usize,
}

/// New crossings, listed ones that grew, and entries that are not needed.
pub(super) fn crossings(files: &[File]) -> Result<Vec<Violation>> {
    let list = list(files)?;
    let mut found = judged(&FILES, &long_files(files), &list, files);
    found.extend(judged(&FUNCTIONS, &long_functions(files), &list, files));
    Ok(found)
}

/// The list with what has shrunk lowered or taken out.
pub(super) fn lowered(files: &[File]) -> Result<String> {
    let mut list = list(files)?;
    lower(&FILES, &long_files(files), &mut list);
    lower(&FUNCTIONS, &long_functions(files), &mut list);
    Ok(list.to_string())
}

fn list(files: &[File]) -> Result<DocumentMut> {
    let text = text_of_list(files);
    text.parse().with_context(|| format!("can't read {LIST}"))
}

fn text_of_list(files: &[File]) -> &str {
    let file = files.iter().find(|file| file.path == LIST);
    file.map_or("", |file| &file.text)
}

fn listed(list: &DocumentMut, kind: &Kind) -> BTreeMap<String, usize> {
    let table = list.get(kind.table).and_then(Item::as_table);
    let entries = table.into_iter().flat_map(|table| table.iter());
    entries
        .filter_map(|(key, value)| {
            let lines = usize::try_from(value.as_integer()?).ok()?;
            Some((key.to_owned(), lines))
        })
        .collect()
}

fn judged(
    kind: &Kind,
    crossings: &BTreeMap<String, Crossing>,
    list: &DocumentMut,
    files: &[File],
) -> Vec<Violation> {
    let listed = listed(list, kind);
    let mut found = Vec::new();
    for (key, crossing) in crossings {
        let what = match listed.get(key) {
            Some(&allowed) if crossing.lines <= allowed => continue,
            Some(allowed) => format!("{} lines, {allowed} before", crossing.lines),
            None => format!("{} lines, at most {}", crossing.lines, kind.lines_max),
        };
        let what = format!("`{key}` has {what}");
        let (path, line) = (&crossing.path, crossing.line);
        found.push(Violation::new(path, line, what, WHY, kind.fix));
    }
    for key in listed.keys().filter(|key| !crossings.contains_key(*key)) {
        let text = text_of_list(files);
        let line = text.lines().position(|line| line.contains(key.as_str()));
        let what = format!("`{key}` is listed and fits now");
        let why = "room that is not given back is used up again";
        let fix = "run `cargo xtask tidy --update-ratchet`";
        found.push(Violation::new(
            LIST,
            line.map_or(1, |n| n + 1),
            what,
            why,
            fix,
        ));
    }
    found
}

fn lower(kind: &Kind, crossings: &BTreeMap<String, Crossing>, list: &mut DocumentMut) {
    let listed = listed(list, kind);
    let Some(table) = list.get_mut(kind.table).and_then(Item::as_table_mut) else {
        return;
    };
    for (key, allowed) in listed {
        match crossings.get(&key) {
            None => {
                table.remove(&key);
            }
            Some(crossing) if crossing.lines < allowed => {
                let lines = i64::try_from(crossing.lines).unwrap_or(i64::MAX);
                if let Some(value) = table.get_mut(&key).and_then(Item::as_value_mut) {
                    let decor = value.decor().clone();
                    *value = lines.into();
                    *value.decor_mut() = decor;
                }
            }
            Some(_) => {}
        }
    }
}

fn bodies(files: &[File]) -> impl Iterator<Item = &File> {
    files
        .iter()
        .filter(|file| file.is(".rs") && !source::is_test(&file.path))
}

fn long_files(files: &[File]) -> BTreeMap<String, Crossing> {
    bodies(files)
        .map(|file| (file, source::body_lines(file)))
        .filter(|(_, lines)| *lines > FILES.lines_max)
        .map(|(file, lines)| {
            let crossing = Crossing {
                path: file.path.clone(),
                line: 1,
                lines,
            };
            (file.path.clone(), crossing)
        })
        .collect()
}

/// The longest of each name in each file.
fn long_functions(files: &[File]) -> BTreeMap<String, Crossing> {
    let mut found: BTreeMap<String, Crossing> = BTreeMap::new();
    for file in bodies(files) {
        for function in source::functions(file) {
            let key = format!("{}::{}", file.path, function.name);
            let known = found.get(&key).map_or(FUNCTIONS.lines_max, |it| it.lines);
            if function.lines > known {
                let crossing = Crossing {
                    path: file.path.clone(),
                    line: function.line,
                    lines: function.lines,
                };
                found.insert(key, crossing);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/model/src/x.rs";

    /// A file with one function of so many lines, and the list.
    fn tree(lines: usize, list: &str) -> Vec<File> {
        let body = "    a();\n".repeat(lines - 2);
        vec![
            File {
                path: PATH.to_owned(),
                text: format!("fn long() {{\n{body}}}\n"),
            },
            File {
                path: LIST.to_owned(),
                text: list.to_owned(),
            },
        ]
    }

    fn functions(lines: usize) -> String {
        format!("# Why.\n[functions]\n\"{PATH}::long\" = {lines} # because\n")
    }

    fn whats(files: &[File]) -> Vec<String> {
        let found = crossings(files).expect("the list can be read");
        found.into_iter().map(|it| it.what).collect()
    }

    #[test]
    fn what_fits_is_in_order() {
        assert_eq!(whats(&tree(70, "")), Vec::<String>::new());
    }

    #[test]
    fn a_new_crossing_is_refused() {
        let expected = format!("`{PATH}::long` has 71 lines, at most 70");
        assert_eq!(whats(&tree(71, "")), [expected]);
        assert_eq!(whats(&tree(501, "")).len(), 2);
    }

    #[test]
    fn a_listed_crossing_may_shrink_and_not_grow() {
        assert_eq!(whats(&tree(80, &functions(80))), Vec::<String>::new());
        assert_eq!(whats(&tree(75, &functions(80))), Vec::<String>::new());
        assert_eq!(whats(&tree(81, &functions(80))).len(), 1);
    }

    #[test]
    fn a_listed_crossing_that_fits_is_taken_out() {
        let files = tree(70, &functions(80));
        assert_eq!(whats(&files).len(), 1);
        let list = lowered(&files).expect("the list can be read");
        assert!(!list.contains("long"), "{list}");
    }

    #[test]
    fn the_update_lowers_and_never_raises() {
        let list = lowered(&tree(75, &functions(80))).expect("the list can be read");
        assert_eq!(list, functions(75));
        let list = lowered(&tree(90, &functions(80))).expect("the list can be read");
        assert_eq!(list, functions(80));
    }
}
