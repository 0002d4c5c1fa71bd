//! What holds in every state that any history reaches.

use std::collections::BTreeSet;

use model::incident::{
    AlertEnd, Cause, Duty, Fingerprint, IncidentEvent, IncidentId, Labels, Maintenance, Notice,
    Outcome, Override, Severity, Silence, UpdateStatus, Urgency, Via,
};
use model::{Actor, Millis, ReleaseId};
use proptest::prelude::*;

use super::world::{World, labels, minutes, name, person, setup};
use crate::alerts::matchers;
use crate::commands::{self, Ask};
use crate::{State, due, tick, wake_at};

/// Something that can happen; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Move {
    Fire(u8, u8),
    Over(u8, u8),
    Silence(u8, u64),
    See(u8, u8),
    Ask(u8, u8),
    Outcome(u8, u8),
    Pass(u64),
    Back(u64),
    Take(u8),
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0_u8..5, 0_u8..4).prop_map(|(a, b)| Move::Fire(a, b)),
        4 => (0_u8..5, 0_u8..4).prop_map(|(a, b)| Move::Over(a, b)),
        1 => (0_u8..5, 0_u64..90).prop_map(|(a, b)| Move::Silence(a, b)),
        2 => (0_u8..5, 0_u8..6).prop_map(|(a, b)| Move::See(a, b)),
        3 => (0_u8..5, 0_u8..7).prop_map(|(a, b)| Move::Ask(a, b)),
        6 => (0_u8..9, 0_u8..4).prop_map(|(a, b)| Move::Outcome(a, b)),
        8 => (0_u64..1200).prop_map(Move::Pass),
        1 => (0_u64..4000).prop_map(Move::Back),
        1 => (0_u8..4).prop_map(Move::Take),
        1 => Just(Move::Restart),
    ];
    proptest::collection::vec(one, 0..60)
}

const SERVICES: [&str; 5] = ["web", "api", "store", "other", "api"];
const SEVERITIES: [&str; 4] = ["critical", "error", "warning", "info"];

fn cause(pick: u8) -> Cause {
    let release = ReleaseId(u64::from(pick) / 3 + 1);
    let reason = "r".to_owned();
    match pick {
        0 => Cause::VerdictFailed {
            release,
            wave: 0,
            reason,
        },
        1 => Cause::RollbackStarted { release, reason },
        2 => Cause::RollbackCompleted {
            release: ReleaseId(1),
            took_ms: Millis(5),
        },
        3 => Cause::RollbackFailing {
            release: ReleaseId(1),
            reason,
        },
        4 => Cause::HostRevertFailing {
            host: name("h"),
            reason,
        },
        _ => Cause::AgentsSilent {
            environment: name("production"),
            hosts: 1,
            of: 2,
        },
    }
}

fn question(pick: u8) -> Ask {
    let words = "w".to_owned();
    match pick {
        0 => Ask::Acknowledge {
            via: Via::Link,
            for_ms: None,
        },
        1 => Ask::Confirm { words },
        2 => Ask::Resolve { words },
        3 => Ask::Reopen { words },
        4 => Ask::Merge {
            into: IncidentId(1),
        },
        5 => Ask::Severity {
            severity: Severity::Sev3,
            words,
        },
        _ => Ask::Acknowledge {
            via: Via::Cli,
            for_ms: Some(minutes(3)),
        },
    }
}

fn outcome(pick: u8) -> Outcome {
    let reason = "r".to_owned();
    match pick {
        0 | 1 => Outcome::Sent,
        2 => Outcome::Delivered,
        _ => Outcome::Failed { reason },
    }
}

fn make(world: &mut World, step: &Move) {
    let of = |all: &[&str], pick: u8| all[usize::from(pick) % all.len()].to_owned();
    match step {
        Move::Fire(service, severity) => {
            let severity = of(&SEVERITIES, *severity);
            world.fire(
                &of(&SERVICES, *service),
                &severity.to_uppercase(),
                &severity,
            );
        }
        Move::Over(service, severity) => {
            let severity = of(&SEVERITIES, *severity);
            world.over(
                &of(&SERVICES, *service),
                &severity.to_uppercase(),
                &severity,
            );
        }
        Move::Silence(service, length) => {
            let matcher = format!("service={}", of(&SERVICES, *service));
            let silence = Silence {
                id: format!("s{service}"),
                matchers: vec![matchers::parse(&matcher).unwrap()],
                starts_at: world.now,
                ends_at: minutes(*length).after(world.now),
                created_by: String::new(),
                comment: String::new(),
            };
            let set = commands::silence(&world.state, &person("ada"), silence, world.now);
            world.append(set.unwrap_or_default());
            world.settle();
        }
        Move::See(service, pick) => world.see(&of(&SERVICES, *service), cause(*pick)),
        Move::Ask(incident, pick) => drop(world.ask(u64::from(*incident), question(*pick))),
        Move::Outcome(pick, result) => {
            let due = world.due();
            if let Some(message) = due.get(usize::from(*pick) % due.len().max(1)) {
                world.outcome(message, outcome(*result));
            }
        }
        Move::Pass(seconds) => world.pass(Millis::seconds(*seconds)),
        Move::Back(seconds) => {
            world.now = world
                .now
                .checked_sub(Millis::seconds(*seconds).duration())
                .unwrap();
            world.settle();
        }
        Move::Take(pick) => {
            let who = name(["ada", "bob", "cyd", "dan"][usize::from(*pick)]);
            let by = person("ops");
            let platform = name("platform");
            let now = world.state.time(world.now);
            let taken = crate::oncall::commands::take(&world.state, &by, &platform, who, None, now);
            world.append(taken.unwrap_or_default());
            world.settle();
        }
        Move::Restart => {
            world.leases = crate::alerts::Leases::resumed(world.now);
            world.settle();
        }
    }
}

/// Each page, as incident, policy, generation and level: reached at most once.
fn pages(world: &World) -> Vec<(IncidentId, String, u32, u32)> {
    let steps = world.journal.iter().filter_map(|(_, event)| match event {
        IncidentEvent::PageStepped {
            incident,
            policy,
            generation,
            level,
            ..
        } => Some((*incident, policy.to_string(), *generation, *level)),
        _ => None,
    });
    steps.collect()
}

/// No step of a page between an acknowledgement and its end.
fn asked_while_held(world: &World) -> Option<IncidentId> {
    let mut held: BTreeSet<IncidentId> = BTreeSet::new();
    for (_, event) in &world.journal {
        match event {
            IncidentEvent::Acknowledged { incident, .. } => drop(held.insert(*incident)),
            IncidentEvent::AcknowledgementEnded { incident }
            | IncidentEvent::Resolved { incident, .. }
            | IncidentEvent::Merged { incident, .. } => drop(held.remove(incident)),
            IncidentEvent::PageStepped { incident, .. } if held.contains(incident) => {
                return Some(*incident);
            }
            _ => {}
        }
    }
    None
}

proptest! {
    #[test]
    fn whatever_happens_the_laws_hold(steps in moves()) {
        let mut world = World::new();
        let mut told: BTreeSet<String> = BTreeSet::new();
        for step in &steps {
            make(&mut world, step);
            // A level: asked twice, the same answer.
            let now = due(&world.state, world.now);
            prop_assert_eq!(&now, &due(&world.state, world.now));
            for (_, event) in &world.journal {
                if let IncidentEvent::Notified { notice, contact, .. } = event {
                    told.insert(crate::escalation::id_of(notice, contact));
                }
            }
            for message in &now {
                prop_assert!(!told.contains(&message.id), "{} is told twice", message.id);
            }
            // Nothing follows and nothing changes before it is time to wake.
            let wake = wake_at(&world.state, &world.leases, world.now);
            if let Some(wake) = wake {
                let before = wake.checked_sub(jiff::SignedDuration::from_millis(1)).unwrap();
                let ids = |at| -> Vec<String> {
                    due(&world.state, at).into_iter().map(|it| it.id).collect()
                };
                prop_assert!(tick(&world.state, &world.leases, before).is_empty());
                prop_assert_eq!(ids(before), ids(world.now));
            }
        }
        let pages = pages(&world);
        let once: BTreeSet<_> = pages.iter().collect();
        prop_assert_eq!(once.len(), pages.len(), "a level is reached once: {:?}", pages);
        prop_assert_eq!(asked_while_held(&world), None);
        let mut again = State::default();
        for (at, event) in &world.journal {
            again.evolve(event, *at);
        }
        prop_assert_eq!(&again, &world.state);
        prop_assert_eq!(due(&again, world.now), due(&world.state, world.now));
    }

    #[test]
    fn any_history_gives_a_state(
        events in proptest::collection::vec((any_event(), 0_u64..100_000), 0..60),
    ) {
        let world = World::new();
        let mut state = State::default();
        for (event, seconds) in events {
            let at = Millis::seconds(seconds).after(world.now);
            state.evolve(&event, at);
            let leases = crate::alerts::Leases::default();
            // Neither does what is derived from it fail.
            due(&state, at);
            tick(&state, &leases, at);
            wake_at(&state, &leases, at);
            prop_assert!(state.clock.is_some_and(|clock| clock >= at));
        }
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}

fn fingerprint(pick: u8) -> Fingerprint {
    Labels::new(labels(&[("alertname", &pick.to_string())]))
        .unwrap()
        .fingerprint()
}

fn any_event() -> impl Strategy<Value = IncidentEvent> {
    (0_u8..27, 0_u8..4, 0_u8..4, 0_u8..3).prop_map(|(kind, a, b, c)| event(kind, a, b, c))
}

/// Events that no decision would have made, too.
fn event(kind: u8, a: u8, b: u8, c: u8) -> IncidentEvent {
    let world_now = name::<model::Timestamp>("2026-01-12T12:00:00Z");
    let by = if b == 0 {
        Actor::plimsoll()
    } else {
        person("ada")
    };
    let incident = IncidentId(u64::from(a));
    let (policy, generation) = (name("platform"), u32::from(b));
    let words = String::new();
    let severity = Severity::ALL[usize::from(b) % 4];
    let service = (c > 0).then(|| name(SERVICES[usize::from(c)]));
    let contact = name(["ada", "bob", "eve"][usize::from(c)]);
    let notices = [
        Notice::Page {
            incident,
            policy: name("platform"),
            generation,
            level: 0,
            channel: "0push".into(),
        },
        Notice::Over {
            incident,
            reopened: 0,
            channel: "0push".into(),
        },
        Notice::Digest {
            number: u64::from(b),
            channel: "0push".into(),
        },
        Notice::Test {
            number: u64::from(b),
            channel: "0push".into(),
        },
    ];
    let silence = Silence {
        id: format!("s{a}"),
        matchers: vec![matchers::parse("alertname=~\"[12]\"").unwrap()],
        starts_at: world_now,
        ends_at: Millis::seconds(u64::from(b) * 20_000).after(world_now),
        created_by: words.clone(),
        comment: words.clone(),
    };
    let entry = Override {
        id: u64::from(a),
        contact: name("ada"),
        from: world_now,
        until: minutes(u64::from(b) * 100).after(world_now),
    };
    let maintenance = Maintenance {
        id: u64::from(a),
        title: "t".into(),
        words: words.clone(),
        components: Vec::new(),
        starts_at: world_now,
        ends_at: minutes(60).after(world_now),
    };
    match kind {
        0 => IncidentEvent::SetupDeclared {
            by,
            setup: Box::new(setup()),
        },
        1 => IncidentEvent::OverrideSet {
            by,
            schedule: name("platform"),
            entry,
        },
        2 => IncidentEvent::OverrideRemoved {
            by,
            schedule: name("platform"),
            id: u64::from(a),
        },
        3 | 4 => IncidentEvent::AlertFired {
            alert: model::incident::Alert {
                labels: Labels::new(labels(&[("alertname", &a.to_string())])).unwrap(),
                annotations: Default::default(),
                starts_at: world_now,
                lease_ms: Millis::seconds(u64::from(b) * 100),
                generator_url: words,
                source: "test".into(),
            },
            service,
            group: "g".into(),
        },
        5 => IncidentEvent::AlertResolved {
            fingerprint: fingerprint(a),
            ended_at: world_now,
            why: AlertEnd::Told,
        },
        6 => IncidentEvent::AlertsOverflowed {
            group: "g".into(),
            service,
            total: u64::from(b),
        },
        7 => IncidentEvent::SilenceSet { by, silence },
        8 => IncidentEvent::SilenceExpired {
            by,
            silence: format!("s{a}"),
        },
        9 | 10 => IncidentEvent::Opened {
            incident,
            by,
            service,
            group: "g".into(),
            title: "t".into(),
            severity,
            cause: (c == 1).then(|| cause(a)),
            alerts: vec![fingerprint(a), fingerprint(b)],
            changes: Vec::new(),
        },
        11 => IncidentEvent::Joined {
            incident,
            service,
            severity,
            cause: Some(cause(b)),
            alerts: vec![fingerprint(b)],
        },
        12 => IncidentEvent::CauseEnded {
            incident,
            key: "release:1".into(),
        },
        13 => IncidentEvent::Confirmed {
            incident,
            by,
            words,
        },
        14 => IncidentEvent::SeveritySet {
            incident,
            by,
            severity,
            words,
        },
        15 => IncidentEvent::DutyTaken {
            incident,
            by,
            duty: Duty::Commander,
            contact,
        },
        16 => IncidentEvent::Noted {
            incident,
            by,
            words,
        },
        17 => IncidentEvent::Updated {
            incident,
            by,
            status: UpdateStatus::Identified,
            words,
        },
        18 => IncidentEvent::Merged {
            incident,
            into: IncidentId(u64::from(b)),
            by,
        },
        19 => IncidentEvent::Resolved {
            incident,
            by,
            words,
        },
        20 => IncidentEvent::Reopened {
            incident,
            by,
            words,
        },
        21 => IncidentEvent::PageBegan {
            incident,
            policy,
            generation,
            urgency: Urgency::High,
        },
        22 => IncidentEvent::PageStepped {
            incident,
            policy,
            generation,
            level: u32::from(c),
            recipients: vec![contact],
            skipped: Vec::new(),
        },
        23 => IncidentEvent::PageExhausted {
            incident,
            policy,
            generation,
            skipped: Vec::new(),
        },
        24 => IncidentEvent::Acknowledged {
            incident,
            by,
            via: Via::Api,
            until: world_now,
        },
        25 => IncidentEvent::Notified {
            notice: notices[usize::from(a)].clone(),
            contact,
            outcome: outcome(b),
        },
        _ => match c {
            0 => IncidentEvent::TestPaged {
                contact,
                number: u64::from(b),
            },
            1 => IncidentEvent::MaintenanceSet { by, maintenance },
            _ => IncidentEvent::MaintenanceEnded {
                by,
                id: u64::from(a),
            },
        },
    }
}

/// The spellings of an event that a reader tells cases by.
fn spelling(line: &serde_json::Value) -> String {
    let keys = [
        "what", "notice", "outcome", "severity", "duty", "status", "via", "why", "urgency",
    ];
    let mut told: Vec<String> = keys
        .iter()
        .filter_map(|key| Some(line.get(*key)?.to_string()))
        .collect();
    told.extend(line["notice"].get("notice").map(ToString::to_string));
    told.extend(line["cause"].get("cause").map(ToString::to_string));
    told.retain(|text| !text.starts_with('{'));
    told.join(" ")
}

/// Journals hold lines like these for ever; the journal's own test reads them.
#[test]
fn the_journal_has_an_example_of_each_event_here() {
    let kept = include_str!("../../../journal/src/tests/events-v1.jsonl");
    let kept: BTreeSet<String> = kept
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &serde_json::Value| line["type"] == "incident")
        .map(|line| spelling(&line))
        .collect();
    let mut missing = BTreeSet::new();
    for pick in 0..27 * 4 * 4 * 3_u16 {
        let at = |step: u16, size: u16| u8::try_from(pick / step % size).unwrap();
        let event = model::Event::Incident(event(at(48, 27), at(12, 4), at(3, 4), at(1, 3)));
        let line = serde_json::to_value(&event).unwrap();
        if !kept.contains(&spelling(&line)) {
            let body = model::canonical::encode(&event).unwrap();
            if missing.insert(spelling(&line)) {
                println!("EXAMPLE {}", String::from_utf8(body).unwrap());
            }
        }
    }
    assert!(missing.is_empty(), "add these lines: {missing:?}");
}
