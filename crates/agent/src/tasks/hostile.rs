//! Hostile trials: broken variants of documents for the bundle's own check.
//!
//! Each trial has a copy of the tree of its own, beside copies of the packages,
//! laid out as in the store (`trees/N/packages/NAME` leads to `packages/DIGEST`),
//! in a folder that is removed at the end, or at the agent's next start.
//!
//! Invariant: the store's own files are only read, and what a check does to its
//! copy is not seen by the next one.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use check::hostile::{Variant, variants};
use model::gate::Trial;
use model::{Bundle, BundlePath, Command, Millis, Task, TaskOutcome};
use node::{Context, Place};
use tokio::time::{Instant, timeout_at};

use super::Span;
use crate::command::{self, Leftovers, Ran, Surroundings};
use crate::error::chain;
use crate::hands::Hands;
use crate::words::surroundings;

/// Most trials of one task: at a tenth of a second each more than a minute, and
/// as many lines as a person may want to read. What must be refused comes first,
/// and the rest is told as not tried.
const TRIALS_MAX: usize = 500;
/// What is quoted of a crashed check's last words.
const QUOTE_CHARS_MAX: usize = 200;

/// Which documents, and what holds for them.
pub(super) struct Documents<'a> {
    pub(super) paths: &'a [BundlePath],
    pub(super) schemas: &'a BTreeMap<String, String>,
}

/// Tries them all, in order.
pub(super) async fn try_all(
    hands: &Hands,
    task: &Task,
    bundle: &Bundle,
    documents: Documents<'_>,
    span: Span,
) -> TaskOutcome {
    let Some(check) = &bundle.commands.check else {
        return broken("the bundle has no check command, so there is nothing to give them to");
    };
    // While it is held, nothing that trials are copied from is removed.
    let building = timeout_at(span.until, hands.building.clone().read_owned()).await;
    let Ok(_building) = building else {
        return broken(format!("the store was busy for all of {}", span.within));
    };
    let bench = match Bench::set_up(hands, task, bundle, check).await {
        Ok(bench) => bench,
        Err(reason) => return broken(reason),
    };
    match bench.unchanged(span).await {
        Ok(()) => {}
        Err(reason) => return broken(format!("{reason}; trials would say nothing")),
    }
    let mut queues = Vec::new();
    for path in documents.paths {
        match bench.variants(path, documents.schemas).await {
            Ok(variants) => queues.push((path, variants)),
            Err(reason) => return broken(format!("{path}: {reason}")),
        }
    }
    let mut trials = Vec::new();
    let mut waiting = in_turns(queues).into_iter();
    while trials.len() < TRIALS_MAX && span.left() > Millis(0) {
        match waiting.next() {
            Some((path, variant)) => trials.push(bench.trial(path, variant, span).await),
            None => break,
        }
    }
    // Enough is by design; what there was no time for could be anything.
    let (ok, reason) = match trials.len() < TRIALS_MAX {
        true => (
            false,
            format!("the {} for all trials were over", span.within),
        ),
        false => (true, format!("{TRIALS_MAX} in one task are enough")),
    };
    let mut untried: BTreeMap<&BundlePath, usize> = BTreeMap::new();
    for (path, _) in waiting {
        *untried.entry(path).or_default() += 1;
    }
    trials.extend(untried.into_iter().map(|(path, count)| Trial {
        file: path.clone(),
        variant: format!("{count} more"),
        ok,
        detail: format!("not tried: {reason}"),
        took_ms: Millis(0),
    }));
    TaskOutcome::Tried { trials }
}

fn broken(reason: impl Into<String>) -> TaskOutcome {
    let reason = reason.into();
    TaskOutcome::Broken { reason }
}

/// One of each document after the other, and first what must be refused: when
/// time runs out, what matters most was tried everywhere.
fn in_turns<P: Copy>(queues: Vec<(P, Vec<Variant>)>) -> Vec<(P, Variant)> {
    let mut order = Vec::new();
    for must_refuse in [true, false] {
        let mut waiting: VecDeque<(P, VecDeque<Variant>)> = queues
            .iter()
            .map(|(path, variants)| {
                let of_kind = variants.iter().filter(|it| it.must_refuse == must_refuse);
                (*path, of_kind.cloned().collect())
            })
            .collect();
        while let Some((path, mut variants)) = waiting.pop_front() {
            if let Some(variant) = variants.pop_front() {
                order.push((path, variant));
                waiting.push_back((path, variants));
            }
        }
    }
    order
}

/// Where trials happen. Dropped, it is removed.
struct Bench {
    root: PathBuf,
    /// The staged tree that is copied.
    tree: PathBuf,
    bundle: Bundle,
    check: Command,
    words: Surroundings,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.root) {
            tracing::warn!(folder = %self.root.display(), %error, "left until the next start");
        }
    }
}

impl Bench {
    async fn set_up(
        hands: &Hands,
        task: &Task,
        bundle: &Bundle,
        check: &Command,
    ) -> Result<Bench, String> {
        let digest = bundle.digest();
        let context = Context {
            tree: digest,
            place: Some(Place {
                environment: task.environment.clone(),
                zone: task.zone.clone(),
                address: task.address.clone(),
            }),
        };
        let bench = Bench {
            root: hands.store.staging(),
            tree: hands.store.tree(digest),
            bundle: bundle.clone(),
            check: check.clone(),
            words: surroundings(&hands.store, &hands.host, &task.service, &context),
        };
        let (store, bundle) = (hands.store.clone(), bundle.clone());
        let packages = bench.root.join("packages");
        apart(move || {
            // Not strict: what a running service put into its tree is not copied, and harms nobody.
            store.verify(digest, false).map_err(|error| chain(&error))?;
            store.room(&bundle).map_err(|error| chain(&error))?;
            for package in bundle.packages.values() {
                let copied = copy_folder(
                    &store.package(package.digest),
                    &packages.join(package.digest.to_string()),
                );
                copied.map_err(|error| format!("a package can't be copied: {error}"))?;
            }
            Ok(())
        })
        .await?;
        Ok(bench)
    }

    /// The check must accept what is not broken.
    async fn unchanged(&self, span: Span) -> Result<(), String> {
        let ran = self.run(None, span).await?;
        match ran.status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!(
                "the check refuses the unchanged documents ({status}){}",
                quote(&ran.said)
            )),
            None => Err(format!(
                "the check of the unchanged documents had no end within {}",
                self.within(span)
            )),
        }
    }

    async fn variants(
        &self,
        path: &BundlePath,
        schemas: &BTreeMap<String, String>,
    ) -> Result<Vec<Variant>, String> {
        if !self.bundle.files.contains_key(path) {
            return Err("it is not in the bundle".into());
        }
        let mut fitting = schemas
            .iter()
            .filter(|(pattern, _)| check::glob(pattern, path.as_str()));
        let schema = fitting.next().map(|(_, schema)| schema.clone());
        let (place, path) = (self.tree.join(path.as_str()), path.clone());
        apart(move || {
            let bytes = fs::read(place).map_err(|error| error.to_string())?;
            Ok(variants(path.as_str(), &bytes, schema.as_deref()))
        })
        .await
    }

    async fn trial(&self, path: &BundlePath, variant: Variant, span: Span) -> Trial {
        let Variant {
            name,
            bytes,
            must_refuse,
        } = variant;
        let began = Instant::now();
        let (ok, detail) = match self.run(Some((path, bytes)), span).await {
            Ok(Ran {
                status: Some(status),
                said,
            }) => judge(status, &said, must_refuse),
            Ok(Ran { status: None, .. }) => (false, format!("no end within {}", self.within(span))),
            Err(reason) => (false, reason),
        };
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Trial {
            file: path.clone(),
            variant: name,
            ok,
            detail,
            took_ms: Millis(took),
        }
    }

    /// The check's own deadline, or what is left of the task's.
    fn within(&self, span: Span) -> Millis {
        self.check.deadline_ms.min(span.left())
    }

    /// Runs the check in a fresh copy of the tree, with one document replaced.
    async fn run(
        &self,
        instead: Option<(&BundlePath, Vec<u8>)>,
        span: Span,
    ) -> Result<Ran, String> {
        let tree = self.root.join("trees").join("trial");
        let (from, to, bundle) = (self.tree.clone(), tree.clone(), self.bundle.clone());
        let instead = instead.map(|(path, bytes)| (path.clone(), bytes));
        apart(move || {
            copy_tree(&bundle, &from, &to, instead)
                .map_err(|error| format!("the tree can't be copied: {error}"))
        })
        .await?;
        let mut words = self.words.clone();
        words.words.insert("tree", tree.display().to_string());
        let deadline = self.within(span).duration();
        let ran = command::execute(&self.check.run, &words, &tree, deadline, Leftovers::Die).await;
        let gone = tree.clone();
        apart(move || fs::remove_dir_all(gone).map_err(|error| error.to_string())).await?;
        ran
    }
}

/// Whether the check did what it must, and what it did.
fn judge(status: ExitStatus, said: &str, must_refuse: bool) -> (bool, String) {
    let crash = |what: String| (false, format!("{what}{}", quote(said)));
    match status.code() {
        Some(0) if must_refuse => (false, "accepted, but must be refused".into()),
        Some(0) => (true, "accepted".into()),
        Some(101) if said.contains("panicked") || said.contains("stack backtrace:") => {
            crash("crashed: a panic (exit 101)".into())
        }
        Some(2) if said.contains("panic: ") && said.contains("goroutine ") => {
            crash("crashed: a panic (exit 2)".into())
        }
        // A shell tells so that what it ran was killed by a signal; 255 is many programs' plain -1.
        Some(code @ 129..=192) => crash(format!("crashed: killed by signal {}", code - 128)),
        Some(code) => (true, format!("refused (exit {code})")),
        None => crash(match status.signal() {
            Some(signal) => format!("crashed: killed by signal {signal}"),
            None => "crashed".into(),
        }),
    }
}

/// The end of what was said, in one line.
fn quote(said: &str) -> String {
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let extra = line.chars().count().saturating_sub(QUOTE_CHARS_MAX);
    let end: String = line
        .chars()
        .skip(extra)
        .filter(|c| !c.is_control())
        .collect();
    match (end.is_empty(), extra) {
        (true, _) => String::new(),
        (false, 0) => format!(": {end}"),
        (false, _) => format!(": … {end}"),
    }
}

/// The bundle's own files, with one replaced, and its links to packages.
fn copy_tree(
    bundle: &Bundle,
    from: &Path,
    to: &Path,
    mut instead: Option<(BundlePath, Vec<u8>)>,
) -> std::io::Result<()> {
    for path in bundle.files.keys() {
        let place = to.join(path.as_str());
        crate::files::make_parent(&place)?;
        fs::copy(from.join(path.as_str()), &place)?;
        if let Some((_, bytes)) = instead.take_if(|(replaced, _)| replaced == path) {
            // Written over the copy: it keeps the mode of the document.
            fs::write(&place, bytes)?;
        }
    }
    for name in bundle.packages.keys() {
        let link = to.join("packages").join(name.as_str());
        crate::files::make_parent(&link)?;
        let target = fs::read_link(from.join("packages").join(name.as_str()))?;
        std::os::unix::fs::symlink(target, &link)?;
    }
    fs::create_dir_all(to)
}

/// A folder with everything in it; links stay links.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, place) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &place)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &place)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}

/// Work on files, on a thread of its own; a panic in it is a reason like any other.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    /// Copying a whole bundle takes seconds; a disk that takes longer than this hangs.
    const DISK_WITHIN: Duration = Duration::from_secs(300);
    let done = tokio::time::timeout(DISK_WITHIN, tokio::task::spawn_blocking(work));
    match done.await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(format!("the agent's own work broke off: {error}")),
        Err(_) => Err("the disk gives no answer".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_check_did() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        for (status, said, must_refuse, expected) in [
            (exit(1), "no threads", true, (true, "refused (exit 1)")),
            (exit(255), "", true, (true, "refused (exit 255)")),
            (
                exit(101),
                "101 problems",
                true,
                (true, "refused (exit 101)"),
            ),
            (exit(0), "", false, (true, "accepted")),
            (exit(0), "", true, (false, "accepted, but must be refused")),
            (
                ExitStatus::from_raw(11),
                "",
                false,
                (false, "crashed: killed by signal 11"),
            ),
            (exit(139), "", true, (false, "crashed: killed by signal 11")),
            (
                exit(101),
                "thread 'main' panicked at\nsrc/main.rs",
                true,
                (
                    false,
                    "crashed: a panic (exit 101): thread 'main' panicked at src/main.rs",
                ),
            ),
            (
                exit(2),
                "panic: nil\ngoroutine 1",
                true,
                (false, "crashed: a panic (exit 2): panic: nil goroutine 1"),
            ),
        ] {
            let (ok, detail) = judge(status, said, must_refuse);
            assert_eq!((ok, detail.as_str()), expected);
        }
        assert_eq!(quote(&"x".repeat(500)).chars().count(), 204);
    }

    #[test]
    fn every_document_has_its_turn_and_what_must_be_refused_comes_first() {
        let variant = |name: &str, must_refuse| Variant {
            name: name.into(),
            bytes: Vec::new(),
            must_refuse,
        };
        let queues = vec![
            (
                "a",
                vec![variant("1", false), variant("2", true), variant("3", true)],
            ),
            ("b", vec![variant("4", true)]),
        ];
        let order = in_turns(queues).into_iter();
        let order: Vec<String> = order
            .map(|(path, it)| format!("{path}{}", it.name))
            .collect();
        assert_eq!(order, ["a2", "b4", "a3", "a1"]);
    }
}
