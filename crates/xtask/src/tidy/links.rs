//! Links between documents lead somewhere.
//!
//! Invariant: nothing is fetched; only what is in the tree is judged.

use std::collections::BTreeSet;

use super::{File, Violation};

/// Every local link in a Markdown file names a file or a folder of the tree.
pub(super) fn broken(files: &[File]) -> Vec<Violation> {
    let mut there = BTreeSet::new();
    for file in files {
        let mut path = file.path.as_str();
        there.insert(path);
        while let Some((folder, _)) = path.rsplit_once('/') {
            there.insert(folder);
            path = folder;
        }
    }
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is(".md")) {
        for (line, target) in targets(&file.text) {
            let Some(path) = resolved(&file.path, target) else {
                continue;
            };
            if !path.is_empty() && !there.contains(path.as_str()) {
                found.push(Violation::new(
                    &file.path,
                    line,
                    format!("the link to `{target}` leads nowhere"),
                    "a reader who is sent astray stops reading",
                    "correct it, or add what it names",
                ));
            }
        }
    }
    found
}

/// What a text links to, with the lines: `[words](target)` and `[name]: target`,
/// outside of code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (n, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let in_code = line[..at].matches('`').count() % 2 == 1;
            let rest = &line[at + 2..];
            if let Some(end) = rest.find([')', ' ']).filter(|_| !in_code) {
                found.push((n + 1, &rest[..end]));
            }
        }
        let definition = line
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        if let Some((_, target)) = definition {
            found.push((n + 1, target.split(' ').next().unwrap_or(target)));
        }
    }
    found
}

/// The path in the tree that a link means; none if it leaves the tree's files.
fn resolved(from: &str, target: &str) -> Option<String> {
    let target = target.trim_start_matches('<').trim_end_matches('>');
    let target = target.split(['#', '?']).next().unwrap_or(target);
    let scheme = target.split('/').next().is_some_and(|it| it.contains(':'));
    if target.is_empty() || scheme {
        return None;
    }
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => from.split('/').collect(),
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tree = ["docs/a.md", "docs/errors/b.md", "README.md"].map(|path| File {
            path: path.to_owned(),
            text: match path {
                "docs/a.md" => text.to_owned(),
                _ => String::new(),
            },
        });
        broken(&tree).into_iter().map(|it| it.line).collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_in_order() {
        let text = "[b](errors/b.md#next), [all](errors/), [r](../README.md), [r](/README.md)\n\
                    [self](#top) [web](https://example.org/x) [mail](mailto:a@example.org)\n";
        assert!(lines(text).is_empty());
    }

    #[test]
    fn links_that_lead_nowhere_are_refused() {
        assert_eq!(lines("\n[c](c.md)\n[d]: errors/d.md\n"), [2, 3]);
    }

    #[test]
    fn code_is_no_link() {
        assert!(lines("```\na[0](c.md)\n```\n`a[0](c.md)`\n").is_empty());
    }
}
