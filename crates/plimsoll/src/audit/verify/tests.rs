//! A history without fault, bent in one place at a time.
//!
//! Invariant: whatever is bent is found, and nothing else.

use model::gate::{Checked, Risk, TestRecord};
use model::{Bundle, CheckSet, Commands, Environment, Plan, ServiceSpec};
use wire::SecretKey;

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

fn service() -> ServiceName {
    "api".parse().unwrap()
}

fn bundle() -> Bundle {
    Bundle {
        service: service(),
        files: BTreeMap::new(),
        packages: BTreeMap::new(),
        requires: BTreeMap::new(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    }
}

/// A release that went through as it should; each test bends one thing.
struct Story {
    key: SecretKey,
    record: TestRecord,
    events: Vec<Event>,
}

const APPROVED: usize = 3;
const ATTESTED: usize = 4;
const OPENED: usize = 5;

impl Story {
    fn new() -> Story {
        let key = SecretKey::generate().unwrap();
        let rules = CheckSet::default();
        let environment = |name: &str| Environment {
            name: name.parse().unwrap(),
            hosts: Vec::new(),
        };
        let topology = Topology {
            environments: vec![environment("test"), environment("production")],
            services: [(service(), ServiceSpec::default())].into(),
            ..Topology::default()
        };
        let record = TestRecord {
            digest: bundle().digest(),
            base: None,
            check_set: rules.digest(),
            environment: Digest::of(b"test"),
            hosts: Vec::new(),
            rehearsal: Vec::new(),
            load: None,
            trials: Vec::new(),
            probes: BTreeMap::new(),
            waived: Vec::new(),
            ended_at: at(1),
        };
        let release = ReleaseId(1);
        let risk = Risk {
            file: None,
            at: String::new(),
            why: "it is".into(),
            before: None,
            after: None,
        };
        let mut story = Story {
            key,
            events: vec![
                Event::TopologySet {
                    by: actor("ops"),
                    topology,
                },
                Event::ReleaseProposed {
                    release,
                    service: service(),
                    digest: record.digest,
                    bundle: bundle(),
                    base: None,
                    author: actor("ada"),
                    message: String::new(),
                    checked: Checked {
                        check_set: Some(record.check_set),
                        risks: vec![risk],
                        ..Checked::default()
                    },
                    break_glass: None,
                },
                Event::TestPassed {
                    release,
                    record: record.clone(),
                    expires_at: at(1000),
                },
                Event::Approved {
                    release,
                    by: actor("bob"),
                    binds: record.binds(),
                    note: String::new(),
                },
            ],
            record,
        };
        let envelope = story.envelope(&story.key, |_| {});
        story.events.push(Event::Attested {
            release,
            envelope: envelope.clone(),
        });
        story.open("production", Some(envelope));
        story
    }

    fn envelope(&self, key: &SecretKey, bend: impl FnOnce(&mut Predicate)) -> Envelope {
        let mut predicate = Predicate {
            release: ReleaseId(1),
            base: None,
            check_set: self.record.check_set,
            environment: self.record.environment,
            evidence: self.record.digest(),
            approved_by: vec!["bob".into()],
            issued_at: at(1),
            expires_at: at(1000),
        };
        bend(&mut predicate);
        let statement = Statement::new(service(), self.record.digest, predicate);
        key.seal(STATEMENT_PAYLOAD_TYPE, &statement)
    }

    fn open(&mut self, environment: &str, attestation: Option<Envelope>) {
        self.events.truncate(OPENED);
        self.events.push(Event::StageStarted {
            release: ReleaseId(1),
            environment: environment.parse().unwrap(),
            waves: Vec::new(),
            attestation,
        });
    }

    fn records(&self) -> Vec<StoredRecord> {
        let mut hash = journal::genesis();
        let events = self.events.iter().enumerate();
        events
            .map(|(index, event)| {
                let seq = index as u64 + 1;
                let time = at(i64::try_from(index).unwrap());
                let bytes = model::canonical::encode(event).unwrap();
                hash = journal::hash(&hash, seq, time.to_string().as_bytes(), &bytes);
                StoredRecord {
                    seq,
                    at: time,
                    hash,
                    event: serde_json::to_value(event).unwrap(),
                }
            })
            .collect()
    }

    fn audit(&self, records: Vec<StoredRecord>, head: Option<(u64, Digest)>) -> Auditor {
        let mut auditor = Auditor::new(self.key.public(), head);
        for record in records {
            auditor.take(record);
        }
        auditor.end();
        auditor
    }

    fn faults(&self) -> Vec<Law> {
        let auditor = self.audit(self.records(), None);
        auditor.faults.iter().map(|fault| fault.law).collect()
    }
}

#[test]
fn a_release_that_went_as_it_should_has_no_fault() {
    let story = Story::new();
    let auditor = story.audit(story.records(), None);
    assert_eq!(auditor.faults, []);
    let counted = &auditor.counted;
    assert_eq!(
        (counted.openings, counted.attestations, counted.approvals),
        (1, 1, 1)
    );
}

#[test]
fn a_changed_a_lost_and_a_cut_off_record_are_found() {
    let story = Story::new();
    let laws = |records: Vec<StoredRecord>, head| -> Vec<Law> {
        let auditor = story.audit(records, head);
        auditor.faults.iter().map(|fault| fault.law).collect()
    };
    let mut changed = story.records();
    changed[1].event["message"] = "another".into();
    assert_eq!(laws(changed, None), [Law::Chain]);
    let mut lost = story.records();
    lost.remove(3);
    assert!(laws(lost, None).contains(&Law::Chain));

    let records = story.records();
    let head = Some((6, records[5].hash));
    assert_eq!(laws(records.clone(), head), []);
    assert_eq!(laws(records[..5].to_vec(), head), [Law::Chain]);
    assert_eq!(laws(records, Some((6, Digest::of(b"")))), [Law::Chain]);
}

#[test]
fn production_that_opens_without_what_holds_is_found() {
    let mut story = Story::new();
    story.open("production", None);
    assert_eq!(story.faults(), [Law::Opening]);
    let thief = SecretKey::generate().unwrap();
    let forged = story.envelope(&thief, |_| {});
    story.open("production", Some(forged));
    assert_eq!(story.faults(), [Law::Opening]);
    let bends: [fn(&mut Predicate); 6] = [
        |it| it.base = Some(Digest::of(b"other")),
        |it| it.check_set = Digest::of(b"other"),
        |it| it.evidence = Digest::of(b"other"),
        |it| it.expires_at = at(2),
        |it| it.approved_by = vec!["mallory".into()],
        |it| it.release = ReleaseId(9),
    ];
    for (index, bend) in bends.into_iter().enumerate() {
        let bent = story.envelope(&story.key, bend);
        story.open("production", Some(bent));
        assert_eq!(story.faults(), [Law::Opening], "bend {index}");
    }
    // The test environment needs no attestation.
    story.open("test", None);
    assert_eq!(story.faults(), []);
}

#[test]
fn forged_attestations_in_the_journal_are_found() {
    let mut story = Story::new();
    let thief = SecretKey::generate().unwrap();
    story.events[ATTESTED] = Event::Attested {
        release: ReleaseId(1),
        envelope: story.envelope(&thief, |_| {}),
    };
    assert_eq!(story.faults(), [Law::Signature]);
    story.events[ATTESTED] = Event::Attested {
        release: ReleaseId(1),
        envelope: story.envelope(&story.key, |it| it.evidence = Digest::of(b"other")),
    };
    assert_eq!(story.faults(), [Law::Signature]);
}

#[test]
fn approvals_that_do_not_count_are_found() {
    for (by, binds, laws) in [("ada", None, 2), ("bob", Some(Digest::of(b"other")), 2)] {
        let mut story = Story::new();
        story.events[APPROVED] = Event::Approved {
            release: ReleaseId(1),
            by: actor(by),
            binds: binds.unwrap_or_else(|| story.record.binds()),
            note: String::new(),
        };
        let honest = story.envelope(&story.key, |it| it.approved_by = Vec::new());
        story.open("production", Some(honest));
        let faults = story.faults();
        assert_eq!(faults, vec![Law::Approval; laws], "{by}");
    }
}

#[test]
fn one_person_s_break_glass_is_found() {
    let glass = |by: &str, confirmed: Option<&str>| {
        let mut story = Story::new();
        let mut events = vec![Event::BreakGlassAsked {
            id: 1,
            by: actor(by),
            service: service(),
            gates: vec![Gate::Approval],
            reason: String::new(),
            expires_at: at(100),
        }];
        if let Some(confirmed) = confirmed {
            events.push(Event::BreakGlassConfirmed {
                id: 1,
                by: actor(confirmed),
            });
        }
        if let Event::ReleaseProposed { break_glass, .. } = &mut story.events[1] {
            *break_glass = Some(1);
        }
        // Nobody approves: that is what the glass is broken for.
        let honest = story.envelope(&story.key, |it| it.approved_by = Vec::new());
        story.open("production", Some(honest));
        story.events.remove(APPROVED);
        story.events.splice(1..1, events);
        story.faults()
    };
    assert_eq!(glass("ada", Some("bob")), []);
    assert_eq!(glass("ada", None), [Law::BreakGlass]);
    assert_eq!(glass("ada", Some("ada")), [Law::BreakGlass; 2]);
}
