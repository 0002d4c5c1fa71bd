//! Any text as a policy and as a schema, over a document that has a bit of everything.
//!
//! Invariant: an answer comes, the same each time; what has no problems by
//! itself is never refused for itself when it is used.

#![no_main]

use std::collections::BTreeMap;

use check::{Tree, assess, problems};
use libfuzzer_sys::fuzz_target;
use model::BundlePath;
use model::bundle::{Bundle, Commands, Plan};
use model::gate::{CheckSet, Policy, Severity};

const DOCUMENT: &str =
    "a: [1, x, {b: 2.5}]\nb: text\nc: {d: null, e: true, f: 18446744073709551615}\n";

fuzz_target!(|text: &str| {
    let policy = CheckSet {
        policies: vec![Policy {
            name: "p".to_owned(),
            file: Some("a.yaml".to_owned()),
            when: text.to_owned(),
            severity: Severity::Deny,
            message: "m".to_owned(),
        }],
        ..CheckSet::default()
    };
    let schema = CheckSet {
        schemas: [("a.yaml".to_owned(), text.to_owned())].into(),
        ..CheckSet::default()
    };
    let files: BTreeMap<BundlePath, Vec<u8>> =
        [("a.yaml".parse().unwrap(), DOCUMENT.as_bytes().to_vec())].into();
    let bundle = Bundle {
        service: "api".parse().unwrap(),
        files: BTreeMap::new(),
        packages: BTreeMap::new(),
        requires: BTreeMap::new(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    };
    let tree = Tree {
        bundle: &bundle,
        files: &files,
    };
    for rules in [policy, schema] {
        let fine = problems(&rules).is_empty();
        let assessment = assess(&rules, &[], &tree, Some(&tree));
        assert_eq!(assessment, assess(&rules, &[], &tree, Some(&tree)));
        let itself = "an operator must mend the service's rules";
        let refused = assessment
            .findings
            .iter()
            .any(|it| it.help.as_deref() == Some(itself));
        assert!(!fine || !refused, "{:?}", assessment.findings);
    }
});
