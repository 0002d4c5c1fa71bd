//! Words that mean that something is not finished, or not meant for others.
//!
//! Invariant: only this file may hold them.

use super::{File, Violation};

const SELF: &str = "crates/xtask/src/tidy/words.rs";

const UNFINISHED: &str = "what is merged is finished; an idea for later belongs to the tracker";
const PLACE: &str = "a path of one machine means nothing on another";

/// What is not written, why, and what to do.
const BANNED: &[(&str, &str, &str)] = &[
    ("/work/", PLACE, "name it relative to the root"),
    ("TODO", UNFINISHED, "do it or leave it out"),
    ("FIXME", UNFINISHED, "fix it or leave it out"),
    (
        "unimplemented!",
        UNFINISHED,
        "refuse with a code, or build it",
    ),
    ("todo!", UNFINISHED, "refuse with a code, or build it"),
];

/// No file holds a banned word.
pub(super) fn banned(files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path != SELF) {
        for (n, line) in file.text.lines().enumerate() {
            for (word, why, fix) in BANNED {
                if line.contains(word) {
                    let what = format!("`{word}`");
                    found.push(Violation::new(&file.path, n + 1, what, why, *fix));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> Vec<usize> {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        banned(&[file]).into_iter().map(|it| it.line).collect()
    }

    #[test]
    fn unfinished_work_is_refused() {
        assert_eq!(said("a.rs", "//! A.\n\ntodo!()\n// TODO: b\n"), [3, 4]);
        assert_eq!(said("a.md", "see /work/notes\n"), [1]);
    }

    #[test]
    fn ordinary_words_are_in_order() {
        assert!(said("Cargo.toml", "todo = \"warn\"\n").is_empty());
        assert!(said("a.md", "hard work/life\n").is_empty());
        assert!(said(SELF, "TODO\n").is_empty());
    }
}
