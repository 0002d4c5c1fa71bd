//! Each refusal has a page, and each page a refusal.

use std::collections::BTreeSet;
use std::path::Path;

use model::refusal::Code;

fn pages() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.md")).collect();
    let entries = std::fs::read_dir(pages()).unwrap();
    let files = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name != "README.md").collect();
    assert_eq!(files, codes);
    let index = std::fs::read_to_string(pages().join("README.md")).unwrap();
    for code in Code::ALL {
        let row = format!("| [`{code}`]({code}.md) |");
        assert_eq!(index.matches(&row).count(), 1, "{row}");
    }
}

#[test]
fn every_page_says_what_why_and_what_next_with_a_true_example() {
    for code in Code::ALL {
        let text = std::fs::read_to_string(pages().join(format!("{code}.md"))).unwrap();
        assert!(text.starts_with(&format!("# `{code}`\n")), "{code}");
        for heading in [
            "## What happened",
            "## Why it matters",
            "## What to do next",
            "## The answer",
        ] {
            assert_eq!(text.matches(heading).count(), 1, "{code}: {heading}");
        }
        let (_, example) = text.split_once("```http\n").unwrap();
        let (head, rest) = example.split_once("\n\n").unwrap();
        let (body, _) = rest.split_once("\n```").unwrap();
        let problem: wire::api::Problem = serde_json::from_str(body).unwrap();
        assert_eq!(problem.code, code.as_str());
        assert_eq!(problem.type_, format!("docs/errors/{code}.md"));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {} ", problem.status)),
            "{code}: {head}"
        );
        let row = format!("| [`{code}`]({code}.md) | {} |", problem.status);
        let index = std::fs::read_to_string(pages().join("README.md")).unwrap();
        assert!(index.contains(&row), "{row}");
    }
}
