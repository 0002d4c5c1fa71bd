//! One turn of the loop, with a journal on disk.

use std::collections::BTreeMap;

use model::{
    Actor, Bundle, Checked, Commands, Finding, Gate, Plan, Role, ServiceName, Severity, Topology,
};

use super::*;

fn ada() -> Actor {
    Actor {
        name: "ada".into(),
        role: Some(Role::Operator),
    }
}

fn topology() -> Topology {
    let host = |name: &str| serde_json::json!({"name": name, "zone": "a", "services": {"api": "127.0.0.1:1", "web": "127.0.0.1:2"}});
    let topology = serde_json::json!({
        "environments": [
            {"name": "test", "hosts": [host("test-0")]},
            {"name": "production", "hosts": [host("web-0")]},
        ],
        "services": {"api": {}, "web": {}},
    });
    serde_json::from_value(topology).unwrap()
}

fn propose(service: &str, warning: String) -> Input {
    let finding = Finding {
        gate: Gate::Checks,
        severity: Severity::Warn,
        file: None,
        line: 0,
        column: 0,
        message: warning,
        help: None,
    };
    let bundle = Bundle {
        service: service.parse().unwrap(),
        files: BTreeMap::new(),
        packages: BTreeMap::new(),
        requires: BTreeMap::new(),
        commands: Commands::default(),
        health: None,
        plan: Plan::default(),
    };
    Input::Propose {
        by: ada(),
        bundle: Box::new(bundle),
        base: None,
        message: String::new(),
        checked: Box::new(Checked {
            warnings: vec![finding],
            ..Checked::default()
        }),
        break_glass: None,
    }
}

type Answered = oneshot::Receiver<Result<Decided, ControlError>>;

fn message(input: Input) -> (Message, Answered) {
    let (reply, answer) = oneshot::channel();
    (Message::Decide(Box::new(input), None, reply), answer)
}

fn owner(folder: &tempfile::TempDir) -> Owner {
    let journal = Journal::open(&folder.path().join("journal.db")).unwrap();
    let key = SecretKey::generate().unwrap();
    let (_urgent, urgent) = mpsc::channel(1);
    let (_normal, normal) = mpsc::channel(1);
    let now = Timestamp::now();
    let blobs = Blobs::open(&folder.path().join("blobs")).unwrap();
    Owner {
        journal,
        boards: Arc::new(Boards::new(key.clone())),
        blobs: Arc::new(blobs),
        key,
        state: State::default(),
        watch: Watch::new(now),
        position: Seq(0),
        snapshot_at: Seq(0),
        now,
        looked_at: Instant::now(),
        unlooked: true,
        urgent,
        normal,
    }
}

#[tokio::test]
async fn a_state_that_somebody_else_wrote_beside_the_journal_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = owner(&folder);
    let (message, answer) = message(Input::SetTopology {
        by: ada(),
        topology: topology(),
    });
    owner.turn(vec![message]).await;
    answer.await.unwrap().unwrap();
    let at = owner.position;
    let lie = State {
        releases_given: 99,
        ..owner.state.clone()
    };
    let lie = serde_json::to_vec(&lie).unwrap();
    let stranger = SecretKey::generate().unwrap();
    for forged in [lie.clone(), sealed::seal(&stranger, at, &lie).unwrap()] {
        let saved = owner.journal.save_snapshot(at, STATE_FORMAT, forged).await;
        saved.unwrap();
        let (state, position) = fold(&owner.journal, &owner.key).await.unwrap();
        assert_eq!((&state, position), (&owner.state, at));
    }
    // Its own is: with that it would start from the lie.
    let own = sealed::seal(&owner.key, at, &lie).unwrap();
    let saved = owner.journal.save_snapshot(at, STATE_FORMAT, own).await;
    saved.unwrap();
    let (state, _) = fold(&owner.journal, &owner.key).await.unwrap();
    assert_eq!(state.releases_given, 99);
}

#[tokio::test]
async fn what_the_journal_can_never_hold_stands_in_no_way_backs_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = owner(&folder);
    let topology = Input::SetTopology {
        by: ada(),
        topology: topology(),
    };
    for input in [topology, propose("api", String::new())] {
        let (message, answer) = message(input);
        owner.turn(vec![message]).await;
        answer.await.unwrap().unwrap();
    }
    let api: ServiceName = "api".parse().unwrap();
    let (huge, refused) = message(propose("web", "x".repeat(9 << 20)));
    let (back, done) = message(Input::Rollback {
        by: ada(),
        service: api.clone(),
        release: None,
        to: None,
        reason: "wrong".into(),
    });
    owner.turn(vec![huge, back]).await;
    let words = refused.await.unwrap().unwrap_err().to_string();
    assert!(words.contains("make its content smaller"), "{words}");
    assert!(!done.await.unwrap().unwrap().events.is_empty());
    let (durable, position) = fold(&owner.journal, &owner.key).await.unwrap();
    assert_eq!((&durable, position), (&owner.state, owner.position));
    assert_eq!(durable.services[&api].active, None);
}

#[tokio::test]
async fn news_wake_the_loop_and_look_at_the_world_so_often_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = owner(&folder);
    let news = || Message::Observe(Box::new(|_, _, _| {}));
    // It has just looked, and time stands still.
    let future = Instant::now() + Duration::from_secs(3600);
    (owner.looked_at, owner.unlooked) = (future, false);
    assert_eq!(owner.pause(), IDLE_TURN);
    owner.turn(vec![news()]).await;
    assert!(owner.unlooked, "what was told waits for the next look");
    assert!(owner.pause() <= LOOK_EVERY);
    assert_eq!(owner.looked_at, future);

    // Whoever asks for a decision does not wait.
    let (message, answer) = message(Input::SetTopology {
        by: ada(),
        topology: topology(),
    });
    owner.turn(vec![message]).await;
    answer.await.unwrap().unwrap();
    assert!(!owner.unlooked && owner.looked_at < future);

    // And news does not wait longer than that.
    owner.looked_at = Instant::now() - LOOK_EVERY;
    owner.turn(vec![news()]).await;
    assert!(!owner.unlooked);
}
