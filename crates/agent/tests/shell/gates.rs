//! What a production host demands, and the ways back that were signed in advance.

use std::path::PathBuf;

use agent::{AgentError, Attestation};
use model::OrderKind::{Forward, Rollback};
use model::attest::{Predicate, STATEMENT_PAYLOAD_TYPE, Statement};
use model::gate::LoadPlan;
use model::order::{Dispatch, Revert};
use model::refusal::Code;
use model::{Bundle, Digest, Millis, ReleaseId, ReportKind, Task, TaskKind, TaskOutcome};
use wire::sign::REVERT_TYPE;
use wire::{Envelope, SecretKey};

use crate::fake::{Fake, Ship, api, bundle, dispatch, eventually, host};
use crate::stories::{GOOD, confirmed, good, origin, ready};

const NEXT: &[u8] = b"generation = 2\n";

fn next() -> Bundle {
    bundle(&[("api.toml", NEXT), ("ok", b"")])
}

/// A test result about `bundle`, for release 1.
fn statement(bundle: &Bundle, base: Option<Digest>) -> Statement {
    let now = jiff::Timestamp::now();
    let predicate = Predicate {
        release: ReleaseId(1),
        base,
        check_set: Digest::of(b"rules"),
        environment: Digest::of(b"test"),
        evidence: Digest::of(b"evidence"),
        approved_by: Vec::new(),
        issued_at: now,
        expires_at: now + jiff::SignedDuration::from_hours(1),
    };
    Statement::new(api(), bundle.digest(), predicate)
}

fn attested(key: &SecretKey, generation: u64, bundle: &Bundle, base: Option<Digest>) -> Dispatch {
    Dispatch {
        attestation: Some(key.seal(STATEMENT_PAYLOAD_TYPE, &statement(bundle, base))),
        ..dispatch(generation, Forward, bundle)
    }
}

async fn declined(fake: &Fake, number: usize, words: &str) {
    eventually("declined", || fake.reported().len() >= number).await;
    let reported = fake.reported();
    let ReportKind::Declined { reason, .. } = &reported[number - 1] else {
        panic!("{reported:?}");
    };
    assert!(reason.starts_with("not attested: "), "{reason}");
    assert!(reason.contains(words), "{reason}");
}

#[tokio::test]
async fn a_host_of_the_last_environment_takes_nothing_untested_for_ever() {
    let fake = Fake::start().await;
    fake.inner().gated = true;
    let mut ship = ready(&fake).await;
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    declined(&fake, 1, "brings no test result").await;
    let thief = SecretKey::generate().unwrap();
    fake.order(&attested(&thief, 2, &good(), None), &[]);
    declined(&fake, 2, "is not believed").await;
    fake.order(&attested(&fake.key, 3, &good(), None), &[]);
    confirmed(&fake, 3).await;
    assert_eq!(ship.read("api.toml"), "generation = 1\n");

    // Whatever the control plane says later, and over a restart.
    fake.inner().gated = false;
    ship.kill().await;
    ship.start();
    fake.order(&dispatch(4, Forward, &next()), &[NEXT]);
    declined(&fake, 3, "brings no test result").await;
    fake.order(&attested(&fake.key, 5, &next(), Some(origin(&fake))), &[]);
    declined(&fake, 4, "this host has").await;
    let mut never = dispatch(6, Rollback, &next());
    never.attestation = None;
    fake.order(&never, &[]);
    declined(&fake, 5, "a way back to a bundle that was never good here").await;
    let status = agent::status(ship.state()).await.unwrap();
    assert!(status.gated);

    let mut back = dispatch(7, Rollback, &good());
    back.order.digest = origin(&fake);
    back.bundle = None;
    fake.order(&back, &[]);
    confirmed(&fake, 7).await;
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
}

#[tokio::test]
async fn the_configuration_gates_a_host_and_taking_the_line_out_does_not_ungate_it() {
    let fake = Fake::start().await;
    let mut ship = Ship::new(&fake);
    ship.config.attestation = Attestation::Required;
    ship.start();
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    declined(&fake, 1, "brings no test result").await;
    ship.kill().await;
    ship.config.attestation = Attestation::OnceMet;
    ship.start();
    fake.order(&dispatch(2, Forward, &good()), &[]);
    declined(&fake, 2, "brings no test result").await;

    // As documented: a person on the host, with the agent stopped.
    ship.kill().await;
    let path = ship.state().join("host.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"gated\":true"));
    std::fs::write(&path, text.replace("\"gated\":true", "\"gated\":false")).unwrap();
    ship.start();
    fake.order(&dispatch(3, Forward, &good()), &[]);
    confirmed(&fake, 3).await;
}

#[tokio::test]
async fn with_attesters_the_control_plane_alone_is_not_enough() {
    let fake = Fake::start().await;
    let mut ship = Ship::new(&fake);
    let ci = SecretKey::generate().unwrap();
    ship.config.attestation = Attestation::Required;
    ship.config.attesters = vec![ci.public().to_string()];
    ship.start();
    fake.order(&attested(&fake.key, 1, &good(), None), &[GOOD, b""]);
    declined(&fake, 1, "none of the attesters").await;
    let result = statement(&good(), None);
    let mut both = fake.key.seal(STATEMENT_PAYLOAD_TYPE, &result);
    let second = ci.seal(STATEMENT_PAYLOAD_TYPE, &result);
    both.signatures.extend(second.signatures);
    let mut order = dispatch(2, Forward, &good());
    order.attestation = Some(both);
    fake.order(&order, &[]);
    confirmed(&fake, 2).await;
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
}

#[tokio::test]
async fn a_gated_host_runs_no_command_that_a_task_brings() {
    let fake = Fake::start().await;
    fake.inner().gated = true;
    let ship = ready(&fake).await;
    let mark = ship.folder.path().join("ran");
    let mut bundle = good();
    let script = format!("touch {}", mark.display());
    bundle.commands.check.as_mut().unwrap().run = vec!["sh".into(), "-c".into(), script];
    let task = |id: &str, kind| Task {
        id: id.into(),
        host: host(),
        release: ReleaseId(1),
        service: api(),
        environment: "production".parse().unwrap(),
        zone: "a".parse().unwrap(),
        address: "127.0.0.1:8080".into(),
        within_ms: Millis::seconds(10),
        kind,
    };
    let trial = TaskKind::Hostile {
        documents: vec!["api.toml".parse().unwrap()],
        schemas: Default::default(),
        bundle,
    };
    let plan = LoadPlan {
        url: "http://${address}/".into(),
        rate_per_s: 1,
    };
    let load = TaskKind::Load { plan };
    fake.list(&[task("1/hostile/0", trial), task("1/load/0", load)]);
    eventually("both told", || fake.inner().results.len() >= 2).await;
    for result in &fake.inner().results {
        let TaskOutcome::Broken { reason } = &result.outcome else {
            panic!("{result:?}");
        };
        assert!(reason.starts_with("not attested: "), "{reason}");
    }
    assert!(!mark.exists());
}

/// The way back from order `generation`.
fn revert(key: &SecretKey, generation: u64, to: Digest) -> Envelope {
    let mut order = dispatch(generation, Rollback, &good()).order;
    (order.digest, order.release) = (to, ReleaseId(7));
    let approved_by = vec!["ann".into(), "bob".into()];
    key.seal(REVERT_TYPE, &Revert { order, approved_by })
}

const AUTHORISED: &str = "authorised in advance with release 7, approved by ann and bob";

fn kept(ship: &Ship) -> PathBuf {
    ship.state().join("reverts/api.json")
}

/// A host on `good`, with the way back from there kept.
async fn prepared(fake: &Fake) -> Ship {
    let ship = ready(fake).await;
    fake.inner().reverts = vec![revert(&fake.key, 1, origin(fake))];
    fake.order(&dispatch(1, Forward, &good()), &[GOOD, b""]);
    confirmed(fake, 1).await;
    ship
}

/// `plimsoll agent revert --local`.
async fn here(ship: &Ship) -> agent::Reverted {
    agent::revert_local(&ship.config, &api(), None, None)
        .await
        .unwrap()
}

async fn told(fake: &Fake, words: &str) {
    eventually("told", || !fake.reported().is_empty()).await;
    let reported = fake.reported();
    let Some(ReportKind::Reverted { reason, .. }) = reported.last() else {
        panic!("{reported:?}");
    };
    assert_eq!(reason, words);
}

#[tokio::test]
async fn a_kept_way_back_is_used_with_the_control_plane_dead() {
    let fake = Fake::start().await;
    let ship = prepared(&fake).await;
    fake.inner().dead = true;
    let back = here(&ship).await;
    assert_eq!(back.word, AUTHORISED);
    assert!(back.status.held_local && back.status.at_rest, "{back:?}");
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
    fake.inner().dead = false;
    told(&fake, AUTHORISED).await;
}

#[tokio::test]
async fn a_kept_way_back_is_used_with_the_agent_dead_too() {
    let fake = Fake::start().await;
    let mut ship = prepared(&fake).await;
    fake.inner().dead = true;
    ship.kill().await;
    assert_eq!(here(&ship).await.word, AUTHORISED);
    assert_eq!(ship.read("api.toml"), "generation = 0\n");
    // A second time there is nothing left that it could undo.
    let again = here(&ship).await;
    assert_eq!(again.word, "on the word of a person on this host");
    fake.inner().dead = false;
    ship.start();
    eventually("told", || fake.reported().len() == 2).await;
    let reported = fake.reported();
    let ReportKind::Reverted { reason, .. } = &reported[0] else {
        panic!("{reported:?}");
    };
    assert_eq!(reason, AUTHORISED);
}

#[tokio::test]
async fn a_kept_way_back_that_was_overtaken_is_no_downgrade() {
    let fake = Fake::start().await;
    let ship = prepared(&fake).await;
    let old = std::fs::read(kept(&ship)).unwrap();
    fake.order(&dispatch(2, Forward, &next()), &[NEXT]);
    confirmed(&fake, 2).await;
    assert_eq!(std::fs::read(kept(&ship)).unwrap(), old);
    let back = here(&ship).await;
    assert_eq!(
        back.word,
        "on the word of a person on this host; the way back signed in advance undoes order 1, and order 2 came since"
    );
    assert_eq!(ship.read("api.toml"), "generation = 1\n", "home, not gen 0");
}

#[tokio::test]
async fn the_control_plane_keeps_the_way_back_up_to_date_and_nobody_else_does() {
    let fake = Fake::start().await;
    let ship = prepared(&fake).await;
    let old = std::fs::read(kept(&ship)).unwrap();
    let thief = SecretKey::generate().unwrap();
    let mut foreign = dispatch(2, Rollback, &good()).order;
    foreign.host = "web-02".parse().unwrap();
    let foreign = Revert {
        order: foreign,
        approved_by: Vec::new(),
    };
    fake.inner().reverts = vec![
        revert(&thief, 2, origin(&fake)),
        fake.key.seal(REVERT_TYPE, &foreign),
        revert(&fake.key, 0, origin(&fake)),
    ];
    fake.order(&dispatch(2, Forward, &next()), &[NEXT]);
    confirmed(&fake, 2).await;
    assert_eq!(std::fs::read(kept(&ship)).unwrap(), old);
    fake.inner().reverts = vec![revert(&fake.key, 3, next().digest())];
    fake.order(&dispatch(3, Forward, &good()), &[]);
    confirmed(&fake, 3).await;
    let new = std::fs::read(kept(&ship)).unwrap();
    assert_ne!(new, old);
    assert_eq!(here(&ship).await.word, AUTHORISED);
    assert_eq!(ship.read("api.toml"), "generation = 2\n");
}

/// Hands over an envelope in a file, as an operator would.
async fn hand_over(ship: &Ship, envelope: &Envelope) -> Result<String, AgentError> {
    let file = ship.folder.path().join("way-back.json");
    std::fs::write(&file, serde_json::to_vec(envelope).unwrap()).unwrap();
    let order = agent::signed_order(&file).unwrap();
    let back = agent::revert_local(&ship.config, &api(), None, Some(order)).await;
    back.map(|back| back.word)
}

fn code(result: Result<String, AgentError>) -> Code {
    match result {
        Err(AgentError::Refused(refusal)) => refusal.code,
        other => panic!("{other:?}"),
    }
}

/// Every wrong order is refused, and then the right one goes back.
async fn refuses_all_but_the_fitting(fake: &Fake, ship: &Ship) {
    let thief = SecretKey::generate().unwrap();
    let home = good().digest();
    let forged = hand_over(ship, &revert(&thief, 2, home)).await;
    assert_eq!(code(forged), Code::BadSignature);
    let replayed = hand_over(ship, &revert(&fake.key, 1, origin(fake))).await;
    assert_eq!(code(replayed), Code::RevertMoved);
    let mut order = dispatch(2, Rollback, &good()).order;
    order.host = "web-02".parse().unwrap();
    let approved_by = Vec::new();
    let foreign = fake.key.seal(REVERT_TYPE, &Revert { order, approved_by });
    assert_eq!(code(hand_over(ship, &foreign).await), Code::UnknownHost);
    let mut order = dispatch(2, Rollback, &good()).order;
    order.service = "mail".parse().unwrap();
    let approved_by = Vec::new();
    let mail = fake.key.seal(REVERT_TYPE, &Revert { order, approved_by });
    assert_eq!(code(hand_over(ship, &mail).await), Code::BadRequest);
    let order = fake
        .key
        .seal(wire::sign::ORDER_TYPE, &dispatch(2, Rollback, &good()));
    assert_eq!(code(hand_over(ship, &order).await), Code::BadSignature);
    let nowhere = revert(&fake.key, 2, Digest::of(b"never here"));
    assert_eq!(code(hand_over(ship, &nowhere).await), Code::TargetNeverGood);
    assert_eq!(ship.read("api.toml"), "generation = 2\n", "nothing moved");

    let fitting = hand_over(ship, &revert(&fake.key, 2, home)).await;
    assert_eq!(fitting.unwrap(), AUTHORISED);
    assert_eq!(ship.read("api.toml"), "generation = 1\n");
}

async fn on_next(fake: &Fake) -> Ship {
    let ship = prepared(fake).await;
    fake.order(&dispatch(2, Forward, &next()), &[NEXT]);
    confirmed(fake, 2).await;
    fake.inner().dead = true;
    ship
}

#[tokio::test]
async fn an_operator_hands_over_a_way_back() {
    let fake = Fake::start().await;
    let ship = on_next(&fake).await;
    refuses_all_but_the_fitting(&fake, &ship).await;
    fake.inner().dead = false;
    told(&fake, AUTHORISED).await;
    let order = dispatch(3, Forward, &next());
    fake.order(&order, &[]);
    confirmed(&fake, 3).await;
    let again = hand_over(&ship, &revert(&fake.key, 2, good().digest())).await;
    assert_eq!(code(again), Code::RevertMoved);
    assert_eq!(ship.read("api.toml"), "generation = 2\n");
}

#[tokio::test]
async fn an_operator_hands_over_a_way_back_where_no_agent_runs() {
    let fake = Fake::start().await;
    let mut ship = on_next(&fake).await;
    ship.kill().await;
    refuses_all_but_the_fitting(&fake, &ship).await;
}

#[tokio::test]
async fn a_file_that_holds_no_order_is_named() {
    let fake = Fake::start().await;
    let ship = Ship::new(&fake);
    let file = ship.folder.path().join("way-back.json");
    std::fs::write(&file, "go back, please").unwrap();
    let error = agent::signed_order(&file).unwrap_err().to_string();
    assert!(
        error.contains("way-back.json: this is no signed order"),
        "{error}"
    );
}
