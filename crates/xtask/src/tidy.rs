//! The house rules, checked.
//!
//! Each rule is a function from what is in the tree to what is wrong with it, so
//! that it can be tried on an example. Only this file looks at the disk.
//!
//! Invariant: a violation says where, what, why, and what to do.

mod files;
mod licences;
mod links;
mod pure;
mod ratchet;
mod refusals;
mod source;
mod text;
mod tower;
mod words;
mod workspace;

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::run::root;

/// One file of the project, with `/` between the parts of its path.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    fn is(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }
}

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    what: String,
    why: &'static str,
    fix: String,
}

impl Violation {
    fn new(
        path: &str,
        line: usize,
        what: impl Into<String>,
        why: &'static str,
        fix: impl Into<String>,
    ) -> Violation {
        Violation {
            path: path.to_owned(),
            line,
            what: what.into(),
            why,
            fix: fix.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            path,
            line,
            what,
            why,
            fix,
        } = self;
        write!(f, "{path}:{line}: {what}; {why}; {fix}")
    }
}

/// Checks the whole tree, prints what is wrong, and says how much that is.
pub(crate) fn run() -> Result<usize> {
    let start = Instant::now();
    let files = files::read(&root())?;
    let policy = licences::Policy::read(&files)?;
    let workspace = workspace::read(&root(), &policy.targets)?;

    let mut found = Vec::new();
    found.extend(tower::edges(&files, &workspace));
    found.extend(tower::count(&workspace));
    found.extend(pure::dependencies(&files, &workspace));
    found.extend(pure::sources(&files));
    found.extend(text::module_docs(&files));
    found.extend(text::whitespace(&files));
    found.extend(text::suppressions(&files));
    found.extend(refusals::pages(&files));
    found.extend(ratchet::crossings(&files)?);
    found.extend(words::banned(&files));
    found.extend(links::broken(&files));
    found.extend(licences::licences(&policy, &workspace));
    found.extend(licences::sources(&files));
    found.extend(licences::duplicates(&policy, &workspace));
    found.sort();
    found.dedup();

    for violation in &found {
        println!("{violation}");
    }
    let took = start.elapsed().as_secs_f64();
    match found.len() {
        0 => println!("tidy: {} files in order ({took:.1} s)", files.len()),
        n => println!("tidy: {n} violations in {} files", files.len()),
    }
    Ok(found.len())
}

/// Takes out of the ratchet's list what has shrunk.
pub(crate) fn update_ratchet() -> Result<()> {
    let files = files::read(&root())?;
    let text = ratchet::lowered(&files)?;
    let path = root().join(ratchet::LIST);
    std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
}
