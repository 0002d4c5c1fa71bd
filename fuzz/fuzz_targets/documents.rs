//! Any bytes as a document of any kind, with the one before it, under rules of every kind.
//!
//! The first byte says which kind; the rest is split at its first 0xff.
//! Invariant: an answer comes, the same each time, and every place lies in the file.

#![no_main]

use std::collections::BTreeMap;

use check::{Tree, assess, hostile};
use libfuzzer_sys::fuzz_target;
use model::bundle::{Bundle, Commands, FileEntry, Plan};
use model::gate::{CheckSet, Guard, Policy, ReferenceKind, ReferenceRule, RiskRule, Severity};
use model::{BundlePath, Digest, Permille};

const PATHS: &[&str] = &["a.json", "a.yaml", "a.toml", "a.env"];
const SCHEMA: &str = r##"{
    "type": "object", "required": ["a"],
    "properties": {
        "a": {"x-plimsoll-reference": "http", "x-plimsoll-risk": "why", "type": ["string", "object"]},
        "b": {"x-plimsoll-secret": true},
        "c": {"items": {"$ref": "#"}}
    }
}"##;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let path = PATHS[usize::from(*kind) % PATHS.len()];
    let at = rest.iter().position(|byte| *byte == 0xff);
    let (new, old) = rest.split_at(at.unwrap_or(rest.len()));
    let (new, old) = (
        files(path, new),
        files(path, old.get(1..).unwrap_or_default()),
    );
    let (new_bundle, old_bundle) = (bundle(&new), bundle(&old));
    let rules = rules();
    let look = || {
        let new = Tree {
            bundle: &new_bundle,
            files: &new,
        };
        let old = Tree {
            bundle: &old_bundle,
            files: &old,
        };
        assess(&rules, &[], &new, Some(&old))
    };
    let assessment = look();
    assert_eq!(assessment, look());
    for (path, bytes) in &new {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        for finding in &assessment.findings {
            assert!(finding.line as usize <= lines, "{finding:?}");
        }
        let variants = hostile::variants(path.as_str(), bytes, Some(SCHEMA));
        assert!(variants.len() <= hostile::VARIANTS_MAX);
    }
});

fn files(path: &str, bytes: &[u8]) -> BTreeMap<BundlePath, Vec<u8>> {
    [(path.parse().unwrap(), bytes.to_vec())].into()
}

fn bundle(files: &BTreeMap<BundlePath, Vec<u8>>) -> Bundle {
    let entry = |bytes: &Vec<u8>| FileEntry {
        digest: Digest::of(bytes),
        size_bytes: bytes.len() as u64,
        executable: false,
    };
    Bundle {
        service: "api".parse().unwrap(),
        files: files
            .iter()
            .map(|(path, bytes)| (path.clone(), entry(bytes)))
            .collect(),
        packages: BTreeMap::new(),
        requires: BTreeMap::new(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    }
}

fn rules() -> CheckSet {
    let any = || "*".to_owned();
    CheckSet {
        schemas: [(any(), SCHEMA.to_owned())].into(),
        policies: vec![Policy {
            name: "p".to_owned(),
            file: Some(any()),
            when: "new == old || new.exists(k, k == 'a') || size(new.c) > 3".to_owned(),
            severity: Severity::Warn,
            message: "m".to_owned(),
        }],
        guards: vec![Guard {
            file: any(),
            shrink_permille_max: Permille::new(100),
            rows_at: Some("/c".to_owned()),
            rows_min: Some(1),
            keep: vec!["/*".to_owned()],
            ..Guard::default()
        }],
        references: vec![ReferenceRule {
            file: any(),
            at: "/*".to_owned(),
            kind: ReferenceKind::Postgres,
            from: Vec::new(),
            path: None,
            status: None,
            deadline_ms: model::gate::probe_deadline(),
        }],
        risks: vec![RiskRule {
            file: any(),
            at: "/*".to_owned(),
            why: "w".to_owned(),
        }],
        ..CheckSet::default()
    }
}
