//! Any history of appends and conflicts: reads equal what was acknowledged, and the chain holds.

use model::{
    Actor, Bundle, Digest, Event, Exposure, Millis, Permille, ReleaseId, Role, RollbackCause,
    Scope, Seq, Timestamp, TokenId, Wave,
};
use proptest::prelude::*;

use super::*;
use crate::{AppendError, verify_file};

fn actor() -> impl Strategy<Value = Actor> {
    (".{0,20}", any::<bool>()).prop_map(|(name, machine)| Actor {
        name,
        role: (!machine).then_some(Role::Operator),
    })
}

fn events() -> impl Strategy<Value = Event> {
    let service = "[a-z][a-z0-9]{0,8}".prop_map(|name| name.parse::<model::ServiceName>().unwrap());
    let digest = any::<[u8; 32]>().prop_map(Digest::from_bytes);
    prop_oneof![
        (actor(), ".{0,200}", service.clone()).prop_map(|(by, reason, service)| Event::Frozen {
            until: None,
            by,
            scope: Scope::Service(service),
            reason,
        }),
        (actor(), ".{0,20}", digest.clone()).prop_map(|(by, name, hash)| Event::TokenIssued {
            by,
            token: TokenId(hash.short()),
            name,
            role: Role::Agent,
            hash,
        }),
        (actor(), ".*", service.clone(), digest.clone()).prop_map(
            |(author, message, service, base)| {
                let bundle = Bundle {
                    requires: Default::default(),
                    service: service.clone(),
                    files: [].into(),
                    packages: [].into(),
                    commands: Default::default(),
                    health: None,
                    plan: Default::default(),
                };
                Event::ReleaseProposed {
                    break_glass: None,
                    checked: Default::default(),
                    release: ReleaseId(1),
                    service,
                    digest: bundle.digest(),
                    bundle,
                    base: Some(base),
                    author,
                    message,
                }
            }
        ),
        (any::<u64>(), ".*", service, actor()).prop_map(|(release, reason, service, by)| {
            Event::RollbackStarted {
                release: ReleaseId(release),
                service,
                by,
                cause: RollbackCause::Person { reason },
                to: None,
                exposure: Exposure::default(),
            }
        }),
        (any::<u64>(), any::<u64>()).prop_map(|(release, took)| Event::RollbackCompleted {
            release: ReleaseId(release),
            took_ms: Millis(took),
        }),
        prop::collection::vec(0..=1000_u16, 0..5).prop_map(|shares| Event::StageStarted {
            attestation: None,
            release: ReleaseId(7),
            environment: "test".parse().unwrap(),
            waves: shares
                .into_iter()
                .map(|share| Wave {
                    hosts: vec!["h1".parse().unwrap()],
                    traffic_permille: Permille::new(share).unwrap(),
                })
                .collect(),
        }),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        /// How far behind (or, wrapped, ahead) the decision was.
        lag: u64,
        nanosecond: i64,
        events: Vec<Event>,
    },
    Snapshot,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lag = prop_oneof![4 => Just(0), 1 => 1..4_u64, 1 => Just(u64::MAX)];
    let append = (lag, any::<i64>(), prop::collection::vec(events(), 0..6)).prop_map(
        |(lag, nanosecond, events)| Step::Append {
            lag,
            nanosecond,
            events,
        },
    );
    let step = prop_oneof![8 => append, 1 => Just(Step::Snapshot), 1 => Just(Step::Reopen)];
    prop::collection::vec(step, 1..15)
}

async fn run(steps: Vec<Step>) {
    let place = Place::new();
    let mut journal = place.open();
    let mut kept: Vec<Event> = Vec::new();
    for step in steps {
        let position = Seq(u64::try_from(kept.len()).unwrap());
        match step {
            Step::Append {
                lag,
                nanosecond,
                events,
            } => {
                let expected = Seq(position.0.wrapping_sub(lag));
                let at = Timestamp::from_nanosecond(nanosecond.into()).unwrap();
                match journal.append(expected, at, events.clone()).await {
                    Ok(seq) => {
                        assert_eq!(expected, position);
                        kept.extend(events);
                        assert_eq!(seq.0, u64::try_from(kept.len()).unwrap());
                    }
                    Err(AppendError::Conflict { actual, .. }) => {
                        assert_ne!(expected, position);
                        assert_eq!(actual, position);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Snapshot => journal
                .save_snapshot(position, 1, vec![1, 2, 3])
                .await
                .unwrap(),
            Step::Reopen => {
                drop(journal);
                journal = place.open();
            }
        }
        assert_eq!(journal.position().0, u64::try_from(kept.len()).unwrap());
    }
    let records = read_all(&journal).await;
    let read: Vec<Event> = records.iter().map(|record| record.event.clone()).collect();
    assert_eq!(read, kept);
    assert!(records.is_sorted_by(|a, b| a.at <= b.at && a.seq < b.seq));
    journal.close().await;
    let verified = verify_file(&place.path()).unwrap();
    assert_eq!(verified.events, u64::try_from(kept.len()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn reads_equal_what_was_acknowledged(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps));
    }
}
