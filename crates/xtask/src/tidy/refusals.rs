//! Every refusal has a page that says what to do.
//!
//! Invariant: codes and pages correspond one to one.

use std::collections::BTreeMap;

use super::{File, Violation};

const CODES: &str = "crates/model/src/refusal.rs";
const PAGES: &str = "docs/errors/";

/// Each code has a page, and each page a code.
pub(super) fn pages(files: &[File]) -> Vec<Violation> {
    let Some(source) = files.iter().find(|file| file.path == CODES) else {
        return vec![Violation::new(
            CODES,
            1,
            "not there",
            "the pages of refusals are checked against it",
            "tell crates/xtask/src/tidy/refusals.rs where the codes are now",
        )];
    };
    let codes = codes(&source.text);
    let mut found = Vec::new();
    for (code, line) in &codes {
        let page = format!("{PAGES}{code}.md");
        if !files.iter().any(|file| file.path == page) {
            found.push(Violation::new(
                CODES,
                *line,
                format!("no page for the refusal `{code}`"),
                "a no without a next step leaves people stuck",
                format!("write {page}"),
            ));
        }
    }
    for file in files {
        let page = file.path.strip_prefix(PAGES);
        let page = page.and_then(|page| page.strip_suffix(".md"));
        let Some(page) = page.filter(|&page| page != "README") else {
            continue;
        };
        if !codes.contains_key(page) {
            found.push(Violation::new(
                &file.path,
                1,
                format!("there is no refusal `{page}`"),
                "a page about nothing misleads",
                "remove it, or name it as the code is",
            ));
        }
    }
    found
}

/// `Name = "code";`, with the line it is on.
fn codes(text: &str) -> BTreeMap<&str, usize> {
    text.lines()
        .enumerate()
        .filter_map(|(n, line)| {
            let (name, rest) = line.trim().split_once(" = \"")?;
            let code = rest.strip_suffix("\";")?;
            let plain = name.chars().all(char::is_alphanumeric);
            plain.then_some((code, n + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pages: &[&str]) -> Vec<File> {
        let source = File {
            path: CODES.to_owned(),
            text: "codes! {\n    /// Frozen.\n    Frozen = \"frozen\";\n}\n".to_owned(),
        };
        let pages = pages.iter().map(|page| File {
            path: format!("{PAGES}{page}"),
            text: String::new(),
        });
        pages.chain([source]).collect()
    }

    #[test]
    fn a_page_for_each_code_is_in_order() {
        assert_eq!(pages(&tree(&["frozen.md", "README.md"])), []);
    }

    #[test]
    fn a_code_without_a_page_is_refused_at_its_line() {
        let found = pages(&tree(&[]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, 3);
    }

    #[test]
    fn a_page_without_a_code_is_refused() {
        let found = pages(&tree(&["frozen.md", "thawed.md"]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "docs/errors/thawed.md");
    }
}
