//! Killed at any moment, or with a log cut at any byte: what was acknowledged is there.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use model::Seq;

use super::*;
use crate::verify_file;

/// Names the journal to the child; without it the child's test does nothing.
const CHILD: &str = "PLIMSOLL_JOURNAL_CHILD";
/// Set to the printed number to have the same moments again.
const SEED: &str = "PLIMSOLL_SEED";

/// Numbers from a seed that is printed, so that a failure can be looked at again.
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("{SEED}={seed}");
        Random(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Not a test of its own: what `nothing_acknowledged_is_lost_by_a_kill` starts and kills.
#[tokio::test]
async fn child_appends_until_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let journal = Journal::open(Path::new(&path)).unwrap();
    loop {
        let position = journal.position().0;
        let events = (1..=1 + position % 5)
            .map(|ahead| event(&(position + ahead).to_string()))
            .collect();
        let seq = append(&journal, events).await;
        if seq.0.is_multiple_of(7) {
            journal.save_snapshot(seq, 1, vec![7; 5_000]).await.unwrap();
        }
        println!("\nacknowledged {seq}");
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let mut random = Random::seeded();
    let place = Place::new();
    let mut acknowledged = 0;
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::crash::child_appends_until_killed",
                "--nocapture",
            ])
            .env(CHILD, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut positions = output
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        // It works before it dies, so that each round has something to lose.
        acknowledged = acknowledged.max(positions.next().expect("the child appends"));
        let moment = Duration::from_micros(random.below(60_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            child.kill().unwrap();
            child.wait().unwrap();
        });
        acknowledged = positions.last().unwrap_or(0).max(acknowledged);
        killer.join().unwrap();

        let verified = verify_file(&place.path()).unwrap();
        assert!(
            verified.events >= acknowledged,
            "round {round}: {acknowledged} were acknowledged, {} are there",
            verified.events
        );
        let journal = place.open();
        for record in read_all(&journal).await {
            assert_eq!(record.event, event(&record.seq.to_string()));
        }
        journal.load_snapshot(1).await.unwrap();
    }
    assert!(acknowledged >= 10);
}

#[tokio::test]
async fn a_torn_log_opens_at_an_acknowledged_position() {
    let mut random = Random::seeded();
    let place = Place::new();
    let journal = place.open();
    let mut positions = vec![Seq(0)];
    for count in 1..=20 {
        positions.push(append(&journal, vec![event("x"); count % 4 + 1]).await);
    }
    let log = place.folder.path().join("journal.db-wal");
    let bytes = std::fs::read(&log).unwrap();
    for _ in 0..30 {
        // The disk as a power cut may leave it: the log's end is missing, and garbage follows.
        let torn = Place::new();
        copy(&place.path(), &torn.path());
        let keep = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let mut rest = bytes[..keep].to_vec();
        rest.extend((0..random.below(5_000)).map(|_| 0xa5));
        std::fs::write(torn.folder.path().join("journal.db-wal"), rest).unwrap();

        let journal = torn.open();
        assert!(
            positions.contains(&journal.position()),
            "{keep}: {}",
            journal.position()
        );
        append(&journal, vec![event("after")]).await;
        let events = journal.verify().await.unwrap().events;
        assert_eq!(Seq(events), journal.position());
    }
}
