//! Asking, saying yes, being told, and leaving.

use model::{Millis, Timestamp};
use tempfile::TempDir;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn fresh() -> (TempDir, Subscribers) {
    let folder = tempfile::tempdir().unwrap();
    let store = Subscribers::open(&folder.path().join("subscribers.db")).unwrap();
    (folder, store)
}

fn ask(store: &mut Subscribers, address: &str, components: &[&str]) -> Option<String> {
    let components: Vec<String> = components.iter().map(|it| (*it).to_owned()).collect();
    store
        .ask(Kind::Mail, address, &components, at(0))
        .unwrap()
        .unwrap()
}

fn subscribe(store: &mut Subscribers, address: &str, components: &[&str]) {
    let ticket = ask(store, address, components).unwrap();
    assert!(store.confirm(&ticket).unwrap());
}

fn publish(store: &mut Subscribers, key: &str, components: &[&str]) -> usize {
    let components: Vec<String> = components.iter().map(|it| (*it).to_owned()).collect();
    store.publish(key, &components, "{}", at(10)).unwrap()
}

fn due(store: &mut Subscribers, second: i64) -> Vec<String> {
    let due = store.due(100, at(second)).unwrap();
    due.into_iter().map(|delivery| delivery.address).collect()
}

#[test]
fn nobody_is_told_before_they_said_yes() {
    let (_folder, mut store) = fresh();
    let ticket = ask(&mut store, "ada@example.com", &[]).unwrap();
    assert_eq!(publish(&mut store, "u1", &["api"]), 0);
    assert!(store.confirm(&ticket).unwrap());
    assert_eq!(
        publish(&mut store, "u1", &["api"]),
        0,
        "the same update, told to nobody then"
    );
    assert_eq!(publish(&mut store, "u2", &["api"]), 1);
    assert_eq!(due(&mut store, 10), ["ada@example.com"]);
}

#[test]
fn each_gets_the_components_that_they_asked_for() {
    let (_folder, mut store) = fresh();
    subscribe(&mut store, "all@example.com", &[]);
    subscribe(&mut store, "api@example.com", &["api", "web"]);
    subscribe(&mut store, "web@example.com", &["web"]);
    assert_eq!(publish(&mut store, "u1", &["api"]), 2);
    assert_eq!(due(&mut store, 10), ["all@example.com", "api@example.com"]);
    assert_eq!(publish(&mut store, "u2", &[]), 3);
}

#[test]
fn who_asks_again_is_asked_again_a_few_times_and_changes_nothing_alone() {
    let (_folder, mut store) = fresh();
    subscribe(&mut store, "ada@example.com", &["api"]);
    // Somebody else types her address in.
    let ticket = ask(&mut store, "ada@EXAMPLE.com", &["web"]).unwrap();
    assert_eq!(publish(&mut store, "u1", &["web"]), 0);
    assert!(store.confirm(&ticket).unwrap());
    assert_eq!(publish(&mut store, "u2", &["web"]), 1);
    assert!(ask(&mut store, "ada@example.com", &[]).is_some());
    assert_eq!(
        ask(&mut store, "ada@example.com", &[]),
        None,
        "more than enough for a day"
    );
    let later = store
        .ask(Kind::Mail, "ada@example.com", &[], at(2 * 24 * 3600))
        .unwrap();
    assert!(later.unwrap().is_some());
}

#[test]
fn a_ticket_opens_one_thing() {
    let (_folder, mut store) = fresh();
    let yes = ask(&mut store, "ada@example.com", &[]).unwrap();
    assert!(
        !store.unsubscribe(&yes).unwrap(),
        "a question's link does not end anything"
    );
    assert!(store.confirm(&yes).unwrap());
    publish(&mut store, "u1", &[]);
    let leave = store.due(1, at(10)).unwrap().remove(0).unsubscribe;
    assert!(!store.confirm(&leave).unwrap());
    for place in 0..leave.len() {
        let mut forged = leave.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(!store.unsubscribe(&forged).unwrap(), "place {place}");
    }
    for nonsense in ["", "x", &"A".repeat(10_000), "%00", "../../"] {
        assert!(!store.unsubscribe(nonsense).unwrap());
    }
    assert_eq!(store.counts().unwrap().confirmed, 1);
    assert!(store.unsubscribe(&leave).unwrap());
    assert!(
        store.unsubscribe(&leave).unwrap(),
        "twice is as good as once"
    );
    assert!(
        !store.confirm(&yes).unwrap(),
        "a ticket dies with its subscription"
    );
    assert_eq!(store.counts().unwrap().confirmed, 0);
    assert!(
        due(&mut store, 1_000).is_empty(),
        "nothing is sent to who has left"
    );
}

#[test]
fn what_was_handed_out_and_never_told_comes_again_under_the_same_name() {
    let (folder, mut store) = fresh();
    subscribe(&mut store, "ada@example.com", &[]);
    publish(&mut store, "u1", &[]);
    let first = store.due(10, at(10)).unwrap();
    assert!(due(&mut store, 11).is_empty());
    drop(store);
    let mut store = Subscribers::open(&folder.path().join("subscribers.db")).unwrap();
    let again = store.due(10, at(60)).unwrap();
    assert_eq!(first, again);
    store.told(again[0].id, &Told::Sent, at(61)).unwrap();
    assert!(due(&mut store, 10_000).is_empty());
    assert_eq!(store.wake_at().unwrap(), None);
}

#[test]
fn what_fails_is_tried_again_with_growing_pauses_and_given_up() {
    let (_folder, mut store) = fresh();
    subscribe(&mut store, "ada@example.com", &[]);
    subscribe(&mut store, "gone@example.com", &[]);
    publish(&mut store, "u1", &[]);
    let both = store.due(10, at(10)).unwrap();
    store
        .told(both[1].id, &Told::Never("no such user".into()), at(11))
        .unwrap();
    store
        .told(both[0].id, &Told::Later(Some(Millis::seconds(100))), at(11))
        .unwrap();
    assert!(
        due(&mut store, 100).is_empty(),
        "the receiver asked for a pause"
    );
    let mut second = 111;
    for attempt in 1..TRIES_MAX {
        assert_eq!(
            due(&mut store, second),
            ["ada@example.com"],
            "try {attempt}"
        );
        store
            .told(both[0].id, &Told::Later(None), at(second))
            .unwrap();
        second += 15 << attempt;
    }
    assert!(due(&mut store, 1_000_000).is_empty());
    let counts = store.counts().unwrap();
    assert_eq!((counts.waiting, counts.failed), (0, 2));
}

#[test]
fn addresses_are_one_each() {
    let (_folder, mut store) = fresh();
    let bad = [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@.com",
        "ada@-x.com",
        "a b@example.com",
        "a@example.com,b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "<a@example.com>",
        "\"a b\"@example.com",
        "a@exa..mple.com",
    ];
    for address in bad {
        let asked = store.ask(Kind::Mail, address, &[], at(0)).unwrap();
        assert_eq!(asked, Err(Refused::NotAnAddress), "{address:?}");
    }
    let bad = [
        "",
        "ftp://x.example/",
        "https://",
        "https://a@b/",
        "javascript:alert(1)",
    ];
    for address in bad {
        let asked = store.ask(Kind::Webhook, address, &[], at(0)).unwrap();
        assert_eq!(asked, Err(Refused::NotAnAddress), "{address:?}");
    }
    let long = format!("{}@example.com", "a".repeat(2000));
    assert!(store.ask(Kind::Mail, &long, &[], at(0)).unwrap().is_err());
    assert!(ask(&mut store, "o'brien+api@bücher.example", &[]).is_some());
    let hook = store
        .ask(Kind::Webhook, "https://hook.example.com/x?y=1", &[], at(0))
        .unwrap();
    assert!(hook.unwrap().is_some());
}

#[test]
fn questions_without_an_answer_are_forgotten_with_their_addresses() {
    let (folder, mut store) = fresh();
    ask(&mut store, "nobody-in-particular@example.com", &[]).unwrap();
    subscribe(&mut store, "ada@example.com", &[]);
    publish(&mut store, "u1", &[]);
    store.tidy(at(4 * 24 * 3600)).unwrap();
    let counts = store.counts().unwrap();
    assert_eq!((counts.pending, counts.confirmed), (0, 1));
    store.tidy(at(30 * 24 * 3600)).unwrap();
    assert_eq!(store.counts().unwrap().waiting, 0);
    drop(store);
    let bytes = std::fs::read(folder.path().join("subscribers.db")).unwrap();
    let found = bytes
        .windows(22)
        .any(|window| window == b"nobody-in-particular@e");
    assert!(!found, "an address that is deleted is not left in the file");
}

#[test]
fn a_thousand_are_told_of_one_update() {
    let (_folder, mut store) = fresh();
    for n in 0..1_000 {
        subscribe(&mut store, &format!("a{n}@example.com"), &[]);
    }
    assert_eq!(publish(&mut store, "u1", &["api"]), 1_000);
    let mut told = 0;
    loop {
        let due = store.due(100, at(10)).unwrap();
        if due.is_empty() {
            break;
        }
        for delivery in due {
            store.told(delivery.id, &Told::Sent, at(10)).unwrap();
            told += 1;
        }
    }
    assert_eq!(told, 1_000);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let (folder, store) = fresh();
    drop(store);
    let path = folder.path().join("subscribers.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Subscribers::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 99, .. }),
        "{error}"
    );
}
