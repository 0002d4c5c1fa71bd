//! What an audit tells of a history.
//!
//! Invariant: events come in the order in which the engine appends them.

use model::gate::Checked;
use model::{Actor, Bundle, Commands, Plan};

use super::*;

fn actor(name: &str) -> Actor {
    Actor {
        name: name.into(),
        role: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

fn risk() -> Risk {
    Risk {
        file: Some("service.toml".parse().unwrap()),
        at: "/auth/production/address".into(),
        why: "a wrong address stops every request".into(),
        before: Some("auth-1:7800".into()),
        after: Some("auth-2:7800".into()),
    }
}

fn proposed(release: u64, service: &str, risks: Vec<Risk>, break_glass: Option<u64>) -> Event {
    let service: ServiceName = service.parse().unwrap();
    let bundle = Bundle {
        service: service.clone(),
        files: BTreeMap::new(),
        packages: BTreeMap::new(),
        requires: BTreeMap::new(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    };
    Event::ReleaseProposed {
        release: ReleaseId(release),
        service,
        digest: bundle.digest(),
        bundle,
        base: None,
        author: actor("ada"),
        message: "move".into(),
        checked: Checked {
            risks,
            ..Checked::default()
        },
        break_glass,
    }
}

fn audit(wanted: Wanted, events: Vec<Event>) -> Vec<Entry> {
    let mut ledger = Ledger::new(wanted);
    for (second, event) in events.into_iter().enumerate() {
        ledger.take(at(i64::try_from(second).unwrap()), event);
    }
    ledger.entries()
}

fn history() -> Vec<Event> {
    vec![
        proposed(1, "api", Vec::new(), None),
        Event::BreakGlassAsked {
            id: 1,
            by: actor("ada"),
            service: "api".parse().unwrap(),
            gates: vec![Gate::Freeze],
            reason: "outage".into(),
            expires_at: at(3600),
        },
        Event::BreakGlassConfirmed {
            id: 1,
            by: actor("bob"),
        },
        proposed(2, "api", vec![risk()], Some(1)),
        Event::Approved {
            release: ReleaseId(2),
            by: actor("bob"),
            binds: Digest::of(b""),
            note: "looked".into(),
        },
        proposed(3, "web", vec![risk()], None),
        Event::RollbackStarted {
            release: ReleaseId(2),
            service: "api".parse().unwrap(),
            by: actor("eve"),
            cause: RollbackCause::Person {
                reason: "orders fail".into(),
            },
            to: None,
            exposure: model::Exposure::default(),
        },
        Event::RollbackCompleted {
            release: ReleaseId(2),
            took_ms: model::Millis(900),
        },
        Event::BreakGlassReviewed {
            id: 1,
            by: actor("eve"),
            words: "right call".into(),
        },
    ]
}

#[test]
fn what_became_of_each_high_risk_option_is_told() {
    let entries = audit(Wanted::default(), history());
    let [
        Entry::BreakGlass(glass),
        Entry::Change(api),
        Entry::Change(web),
    ] = entries.as_slice()
    else {
        panic!("{entries:?}");
    };
    assert_eq!(glass.confirmed_by.as_deref(), Some("bob"));
    assert_eq!(glass.used_by, [ReleaseId(2)]);
    assert_eq!(glass.review.as_deref(), Some("right call"));
    assert_eq!((api.approvals.len(), api.break_glass), (1, Some(1)));
    assert_eq!(
        api.outcome,
        Outcome::SentBack {
            at: at(6),
            by: "eve".into(),
            why: "orders fail".into(),
            back_at: Some(at(7)),
        }
    );
    assert_eq!(web.outcome, Outcome::OnItsWay);
}

#[test]
fn only_what_is_asked_for_is_kept() {
    let web = Wanted {
        service: Some("web".parse().unwrap()),
        since: None,
    };
    assert_eq!(audit(web, history()).len(), 1);
    let late = Wanted {
        service: None,
        since: Some(at(4)),
    };
    assert_eq!(audit(late, history()).len(), 1);
}
