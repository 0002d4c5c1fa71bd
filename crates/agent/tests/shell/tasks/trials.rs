//! Hostile trials with real check commands.

use std::collections::BTreeMap;

use model::OrderKind::Forward;
use model::gate::Trial;
use model::{Bundle, Digest, FileEntry, Millis, Task, TaskKind, TaskOutcome};

use super::{outcome, task};
use crate::fake::{Fake, Ship, bundle, dispatch, eventually, package};

const DOCUMENT: &[u8] = b"[limits]\nthreads = 4\n";
const SCHEMA: &str = r#"{"type":"object","required":["limits"],"properties":{"limits":{"type":"object","required":["threads"],"properties":{"threads":{"type":"integer"}}}}}"#;

/// A host that runs the bundle whose check is this script, with the document beside a package.
struct Host {
    fake: Fake,
    ship: Ship,
    bundle: Bundle,
}

impl Host {
    async fn with(check: &str) -> Host {
        let fake = Fake::start().await;
        let mut ship = Ship::new(&fake);
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        header.set_cksum();
        archive
            .append_data(&mut header, "lib/code", b"code".as_slice())
            .unwrap();
        let archive = archive.into_inner().unwrap();
        let mut bundle = bundle(&[("api.toml", DOCUMENT), ("ok", b"")]);
        bundle.packages = [("web".parse().unwrap(), package(&archive))].into();
        let script = check.as_bytes().to_vec();
        let entry = FileEntry {
            digest: Digest::of(&script),
            size_bytes: script.len() as u64,
            executable: true,
        };
        bundle.files.insert("check.sh".parse().unwrap(), entry);
        bundle.commands.check = Some(model::Command {
            run: vec!["sh".into(), "check.sh".into()],
            deadline_ms: Millis::seconds(20),
        });
        ship.start();
        eventually("joined", || !fake.inner().beats.is_empty()).await;
        fake.order(
            &dispatch(1, Forward, &bundle),
            &[DOCUMENT, b"", &script, &archive],
        );
        eventually("confirmed", || !fake.inner().confirmed.is_empty()).await;
        Host { fake, ship, bundle }
    }

    fn task(&self, id: &str) -> Task {
        let kind = TaskKind::Hostile {
            bundle: self.bundle.clone(),
            documents: vec!["api.toml".parse().unwrap()],
            schemas: BTreeMap::from([("*.toml".to_owned(), SCHEMA.to_owned())]),
        };
        task(id, kind)
    }

    async fn outcome(&self, task: Task) -> TaskOutcome {
        let id = task.id.clone();
        self.fake.list(&[task]);
        outcome(&self.fake, &id).await
    }

    async fn trials(&self) -> Vec<Trial> {
        let outcome = self.outcome(self.task("trial")).await;
        let TaskOutcome::Tried { trials } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(!trials.is_empty());
        trials
    }

    /// Nothing is left of the trials, and the host's own bytes are as they were.
    fn untouched(&self) {
        let staging = self.ship.state().join("staging");
        assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
        assert_eq!(self.ship.read("api.toml").as_bytes(), DOCUMENT);
        assert_eq!(self.ship.read("packages/web/lib/code"), "code");
        assert!(!self.ship.live().join("litter").exists());
        assert!(!self.ship.live().join("packages/web/litter").exists());
    }
}

fn blank(trials: &[Trial]) -> &Trial {
    trials
        .iter()
        .find(|trial| trial.variant == "blank")
        .unwrap()
}

#[tokio::test]
async fn a_good_check_refuses_what_it_must() {
    // It also looks at the copy's packages and words, and leaves dirt and a process behind.
    let host = Host::with(
        "case $PLIMSOLL_TREE in */staging/*)\n\
         test ! -e litter -a ! -e packages/web/litter || exit 9\n\
         test \"$PLIMSOLL_TREE\" = \"$(pwd)\" || exit 9\n\
         touch litter; echo x >> ok; sleep 600 & ;;\n\
         esac\n\
         test \"$(cat packages/web/lib/code)\" = code || exit 9\n\
         test \"$PLIMSOLL_ADDRESS\" = 127.0.0.1:8080 || exit 9\n\
         grep -q '^threads *= *[0-9]' api.toml && grep -q '^.limits' api.toml",
    )
    .await;
    let trials = host.trials().await;
    assert!(!blank(&trials).detail.contains("accepted"));
    for trial in &trials {
        assert!(trial.ok, "{trial:?}");
        assert_eq!(trial.file.as_str(), "api.toml");
        assert!(!trial.detail.contains("exit 9"), "{trial:?}");
    }
    assert_eq!(blank(&trials).detail, "refused (exit 1)");
    host.untouched();
}

#[tokio::test]
async fn a_check_that_accepts_blank_is_found() {
    let host = Host::with("exit 0").await;
    let trials = host.trials().await;
    let blank = blank(&trials);
    assert!(!blank.ok);
    assert_eq!(blank.detail, "accepted, but must be refused");
    host.untouched();
}

#[tokio::test]
async fn a_check_that_crashes_is_found() {
    let host = Host::with("test -s api.toml && exit 0\nkill -SEGV $$").await;
    let trials = host.trials().await;
    let blank = blank(&trials);
    assert!(!blank.ok);
    assert_eq!(blank.detail, "crashed: killed by signal 11");
    host.untouched();
}

#[tokio::test]
async fn a_check_that_hangs_is_found_and_killed() {
    let mut host = Host::with("test -s api.toml && exit 0\nsleep 600 & wait").await;
    let mut check = host.bundle.commands.check.clone().unwrap();
    // The deadline is the bundle's: it is the same tree that is ordered again.
    check.deadline_ms = Millis(700);
    host.bundle.commands.check = Some(check);
    host.fake.order(&dispatch(2, Forward, &host.bundle), &[]);
    eventually("confirmed again", || host.fake.inner().confirmed.len() == 2).await;
    let trials = host.trials().await;
    let blank = blank(&trials);
    assert!(!blank.ok);
    assert_eq!(blank.detail, "no end within 700 ms");
    host.untouched();
}

#[tokio::test]
async fn what_the_check_refuses_unbroken_says_nothing_about_it() {
    let host =
        Host::with("case $PLIMSOLL_TREE in */staging/*) echo no such host; exit 3;; esac").await;
    let outcome = host.outcome(host.task("trial")).await;
    let TaskOutcome::Broken { reason } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        reason,
        "the check refuses the unchanged documents (exit status: 3): no such host; trials would say nothing"
    );
    host.untouched();
}

#[tokio::test]
async fn trials_without_time_are_told_and_those_that_left_the_list_are_killed() {
    let host = Host::with("case $PLIMSOLL_TREE in */staging/*) touch \"$PLIMSOLL_TREE/../../../../began\"; test -s api.toml && exit 0; sleep 600;; esac").await;
    let mut short = host.task("short");
    short.within_ms = Millis(1500);
    let TaskOutcome::Tried { trials } = host.outcome(short).await else {
        panic!("the unchanged document is accepted");
    };
    assert!(blank(&trials).detail.starts_with("no end within "));
    // The first that hangs takes all of the time.
    let [.., last] = trials.as_slice() else {
        panic!("{trials:?}");
    };
    assert!(last.variant.ends_with(" more") && !last.ok, "{last:?}");
    assert_eq!(last.detail, "not tried: the 1.5 s for all trials were over");

    let began = host.ship.state().join("began");
    std::fs::remove_file(&began).unwrap();
    host.fake.list(&[host.task("long")]);
    eventually("the trial began", || began.exists()).await;
    host.fake.list(&[]);
    eventually("its folder is gone", || {
        std::fs::read_dir(host.ship.state().join("staging"))
            .unwrap()
            .count()
            == 0
    })
    .await;
    host.untouched();
    assert!(
        host.fake
            .inner()
            .results
            .iter()
            .all(|result| result.id != "long")
    );
}
