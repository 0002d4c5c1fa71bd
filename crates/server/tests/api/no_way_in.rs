//! Whatever one person, one host or one hand on the disk tries: nothing that
//! was not tested and agreed to reaches a host of production.

use std::path::Path;
use std::time::Duration;

use http::Method;
use model::attest::STATEMENT_PAYLOAD_TYPE;
use model::gate::{ProbeVerdict, RiskRule};
use model::refusal::Code;
use model::{Digest, Gate, Generation, OrderKind, ReleaseId, Role, Statement, Topology};
use rusqlite::Connection;
use serde_json::{Value, json};
use wire::api::{ApproveRequest, BreakGlassRequest, ConfirmRequest, ProposeRequest, ReleaseView};
use wire::sign::Open;
use wire::{Client, ClientError, SecretKey};

use crate::support::{
    Agent, PATIENCE, Server, code, config, fleet, probed, problem, raw, refused_start, status,
    until,
};
use crate::tasks::referring;

/// Nothing but the rollback of what was found on disk was ever told to production.
async fn untouched(agents: &[Agent]) {
    for agent in &agents[1..] {
        let orders = agent.orders().await.0;
        assert!(orders.is_empty(), "{}: {orders:?}", agent.name);
    }
}

fn risky() -> Topology {
    let mut topology = fleet();
    let spec = topology.services.values_mut().next().unwrap();
    spec.checks.risks.push(RiskRule {
        file: "api.toml".into(),
        at: "/auth".into(),
        why: "a wrong address stops every request".into(),
    });
    topology
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_brings_findings_results_or_names_of_their_own() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let bundle = json!(server.upload("a = 1\n").await);
    let checked =
        json!({ "check_set": null, "warnings": [], "references": [], "risks": [], "hostile": [] });
    let actor = json!({ "name": "bob", "role": "operator" });
    let fields = [
        ("checked", checked),
        ("check_set", json!(Digest::of(b""))),
        ("by", actor.clone()),
        ("author", actor.clone()),
        (
            "approvals",
            json!([{ "by": "bob", "binds": Digest::of(b""), "note": "" }]),
        ),
        ("approved_by", json!(["bob"])),
        (
            "attestation",
            json!({ "payloadType": "", "payload": "", "signatures": [] }),
        ),
        ("tested", json!({})),
        ("waived", json!(Gate::ALL)),
        ("gates", json!([])),
        ("release", json!(1)),
        ("checks", json!({ "rehearsal": { "off": true } })),
    ];
    let mut tried = 0;
    for (field, value) in fields {
        let proposal = json!({ "bundle": bundle, "message": "" });
        let requests = [
            ("/v1/releases", proposal.clone()),
            ("/v1/checks", json!({ "bundle": bundle })),
            (
                "/v1/approvals",
                json!({ "binds": Digest::of(b""), "note": "", "release": 1 }),
            ),
            (
                "/v1/break-glass",
                json!({ "service": "api", "gates": ["freeze"], "reason": "x" }),
            ),
            ("/v1/break-glass/1/review", json!({ "words": "x" })),
            ("/v1/freezes", json!({ "reason": "x" })),
        ];
        for (path, mut body) in requests {
            if body.get(field).is_some() {
                continue;
            }
            body[field] = value.clone();
            let answer: Result<Value, ClientError> = server.operator.post(path, &body).await;
            let refused = answer.unwrap_err();
            let place = format!("{path} with {field}");
            assert_eq!(
                (status(&refused), code(&refused)),
                (400, Code::BadRequest),
                "{place}"
            );
            tried += 1;
        }
        for within in ["/bundle", "/bundle/plan", "/bundle/commands"] {
            let mut body = proposal.clone();
            body.pointer_mut(within).unwrap()[field] = value.clone();
            let answer: Result<Value, ClientError> =
                server.operator.post("/v1/releases", &body).await;
            let refused = answer.unwrap_err();
            assert_eq!(code(&refused), Code::BadRequest, "{field} in {within}");
            tried += 1;
        }
    }
    assert!(tried > 90, "{tried}");
    for kind in [
        "release_proposed",
        "approved",
        "break_glass_asked",
        "frozen",
    ] {
        assert!(server.journaled(kind).await.is_empty(), "{kind}");
    }
    untouched(&agents).await;
    server.stop().await;
}

/// Everything that one person can do with a release of their own.
async fn alone(server: &Server, ada: &Client, view: &ReleaseView) {
    let approval = ApproveRequest {
        release: view.id,
        binds: view.binds.unwrap_or(view.digest),
        note: String::new(),
    };
    let refused = ada.approve(&approval).await.unwrap_err();
    assert_eq!(code(&refused), Code::OwnApproval);
    let glass = BreakGlassRequest {
        service: "api".parse().unwrap(),
        gates: vec![Gate::Approval, Gate::Rehearsal, Gate::References],
        reason: "mine".into(),
        valid_s: 60,
    };
    let glass = ada.ask_break_glass(&glass).await.unwrap();
    let refused = ada.confirm_break_glass(glass.id).await.unwrap_err();
    assert_eq!(code(&refused), Code::SecondPerson);
    let request = ProposeRequest {
        bundle: server.upload("auth = \"10.0.0.2:1\"\n").await,
        message: String::new(),
        base: None,
        break_glass: Some(glass.id),
    };
    let refused = ada.propose(&request).await.unwrap_err();
    assert_eq!(code(&refused), Code::NoBreakGlass);
    // The doors of hosts don't open to a token, whatever it may do.
    let confirm = ConfirmRequest {
        service: "api".parse().unwrap(),
        generation: Generation(1),
        digest: view.digest,
    };
    for (path, body) in [
        ("/v1/agents/web-1/confirm", json!(confirm)),
        ("/v1/agents/test-1/results", json!({ "results": [] })),
        ("/v1/agents/web-1/reports", json!({ "reports": [] })),
        ("/v1/agents/web-1/heartbeat", json!({ "services": [] })),
    ] {
        let answer: Result<Value, ClientError> = ada.post(path, &body).await;
        let refused = answer.unwrap_err();
        assert_eq!(
            (status(&refused), code(&refused)),
            (401, Code::Unauthenticated),
            "{path}"
        );
    }
    for path in ["/v1/agents/web-1/orders", "/v1/agents/web-1/events"] {
        let answer: Result<Value, ClientError> = ada.get(path).await;
        assert_eq!(code(&answer.unwrap_err()), Code::Unauthenticated, "{path}");
    }
    for (method, path) in [
        (Method::POST, "/v1/releases/1/attestation"),
        (Method::PUT, "/v1/releases/1/attestation"),
        (Method::PUT, "/v1/releases/1"),
        (Method::POST, "/v1/journal"),
    ] {
        let request = ada.request(method, path, "{}".into(), PATIENCE);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        problem(response).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_person_alone_brings_no_high_risk_change_into_production() {
    let server = Server::start_with(risky()).await;
    let agents = server.join_all().await;
    for role in [Role::Agent, Role::Viewer] {
        let client = server.with_role(role).await;
        let proposal = json!({ "bundle": server.upload("a = 1\n").await, "message": "" });
        let answer: Result<Value, ClientError> = client.post("/v1/releases", &proposal).await;
        assert_eq!(code(&answer.unwrap_err()), Code::WrongRole, "{role}");
    }
    let ada = server.person("ada", Role::Operator).await;
    let request = ProposeRequest {
        bundle: server.upload("auth = \"10.0.0.1:1\"\n").await,
        message: String::new(),
        base: None,
        break_glass: None,
    };
    let id = ada.propose(&request).await.unwrap().id;
    let view = until("the test is passed", async || {
        agents[0].obey().await;
        let view = server.view(id).await;
        view.binds.is_some().then_some(view)
    })
    .await;
    alone(&server, &ada, &view).await;
    // A lower role of the same name is the same person.
    let again = server.person("ada", Role::Approver).await;
    let approval = ApproveRequest {
        release: id,
        binds: view.binds.unwrap(),
        note: String::new(),
    };
    let refused = again.approve(&approval).await.unwrap_err();
    assert_eq!(code(&refused), Code::OwnApproval);
    assert!(server.journaled("attested").await.is_empty());
    untouched(&agents).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_answers_for_itself_once_and_for_one_release() {
    let server = Server::start_with(referring()).await;
    let agents = server.join_all().await;
    let first = server.propose("auth = \"10.1.2.3:9000\"\n").await.unwrap();
    let task = agents[1].task().await;
    let result = probed(&task, ProbeVerdict::Answers).unwrap();
    let body = json!({ "results": [result] });
    // In another's name, with its own signature.
    let path = agents[1].path("results");
    let refused: Result<Value, ClientError> = agents[2].client.post(&path, &body).await;
    let refused = refused.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (403, Code::WrongRole));
    // A stranger's signature under the right name.
    let stranger = SecretKey::generate().unwrap();
    let bytes = body.to_string();
    let now = model::Timestamp::now().as_millisecond();
    let header = stranger.authorize("web-1", "POST", &path, now, bytes.as_bytes());
    let request = raw(Method::POST, server.url(&path)).body(bytes.clone());
    let response = request
        .header("authorization", header)
        .send()
        .await
        .unwrap();
    assert_eq!(problem(response).await.code, "bad-signature");
    assert!(server.journaled("references_probed").await.is_empty());

    // Its own, as it was sent; then the same bytes under the same signature again.
    let header = agents[1]
        .key
        .authorize("web-1", "POST", &path, now, bytes.as_bytes());
    for _ in 0..3 {
        let request = raw(Method::POST, server.url(&path)).body(bytes.clone());
        let request = request.header("authorization", &header);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    assert_eq!(server.journaled("references_probed").await.len(), 1);

    // What was said of the first release is nothing that the second one has.
    let back = json!({ "service": "api", "reason": "another" });
    let _: Value = server.operator.post("/v1/rollbacks", &back).await.unwrap();
    server
        .carry(&agents, first.id, wire::api::ReleaseState::RolledBack)
        .await;
    let second = server.propose("auth = \"10.9.9.9:9000\"\n").await.unwrap();
    agents[1].tell(std::slice::from_ref(&result)).await.unwrap();
    let mut moved = result.clone();
    moved.release = second.id;
    agents[1].tell(&[moved]).await.unwrap();
    assert_eq!(server.journaled("references_probed").await.len(), 1);
    // Confirming what was never ordered is no way either.
    let confirm = ConfirmRequest {
        service: "api".parse().unwrap(),
        generation: Generation(99),
        digest: second.digest,
    };
    let refused: Result<Value, ClientError> = agents[1]
        .client
        .post(&agents[1].path("confirm"), &confirm)
        .await;
    assert_eq!(code(&refused.unwrap_err()), Code::StaleGeneration);
    untouched(&agents).await;
    server.stop().await;
}

/// A journal that somebody opens with an editor of databases.
struct Doctor(Connection);

impl Doctor {
    fn of(data: &Path) -> Doctor {
        let connection = Connection::open(data.join("journal.db")).unwrap();
        // Who can write to the file can do without the journal's own guards, too.
        let guards = "DROP TRIGGER event_is_never_changed; DROP TRIGGER event_is_never_deleted";
        connection.execute_batch(guards).unwrap();
        Doctor(connection)
    }

    fn events(&self) -> Vec<(i64, Value)> {
        let mut rows = self
            .0
            .prepare("SELECT seq, body FROM event ORDER BY seq")
            .unwrap();
        let rows = rows.query_map([], |row| {
            let body: String = row.get(1)?;
            Ok((row.get(0)?, serde_json::from_str(&body).unwrap()))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn newest(&self, fits: impl Fn(&Value) -> bool) -> (i64, Value) {
        let mut events = self.events();
        events.retain(|(_, event)| fits(event));
        events.pop().unwrap()
    }

    fn put(&self, seq: i64, event: &Value) {
        let body = event.to_string();
        let changed = self
            .0
            .execute("UPDATE event SET body = ?1 WHERE seq = ?2", (body, seq));
        assert_eq!(changed.unwrap(), 1);
    }

    fn append(&self, event: &Value) {
        let copy =
            "INSERT INTO event SELECT seq + 1, at, ?1, hash FROM event ORDER BY seq DESC LIMIT 1";
        assert_eq!(self.0.execute(copy, [event.to_string()]).unwrap(), 1);
    }

    /// Makes the chain right again, and has the start look at events alone.
    fn mend(&self) {
        let mut rows = self
            .0
            .prepare("SELECT seq, at, body FROM event ORDER BY seq")
            .unwrap();
        let rows: Vec<(i64, String, String)> = rows
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut hash = journal::genesis();
        for (seq, at, body) in rows {
            hash = journal::hash(
                &hash,
                u64::try_from(seq).unwrap(),
                at.as_bytes(),
                body.as_bytes(),
            );
            let changed = self.0.execute(
                "UPDATE event SET hash = ?1 WHERE seq = ?2",
                (hash.as_bytes().as_slice(), seq),
            );
            assert_eq!(changed.unwrap(), 1);
        }
        self.0.execute("DELETE FROM snapshot", []).unwrap();
    }
}

/// A release that is attested and waits before a frozen production.
async fn attested(data: &Path) -> (Server, Vec<Agent>, ReleaseId) {
    let server = Server::with(config(data)).await;
    let agents = server.join_all().await;
    let freeze = json!({ "environment": "production", "reason": "fair day" });
    let _: Value = server.operator.post("/v1/freezes", &freeze).await.unwrap();
    let id = server.propose("a = 1\n").await.unwrap().id;
    until("it is attested", async || {
        agents[0].obey().await;
        server.operator.attestation(id).await.ok()
    })
    .await;
    (server, agents, id)
}

async fn distrusted(server: &Server) -> bool {
    let request = raw(Method::GET, server.url("/metrics"));
    let text = request.send().await.unwrap().text().await.unwrap();
    !text.contains("plimsoll_releases_distrusted 0")
}

/// The same agents at another start of the control plane.
fn meet(agents: Vec<Agent>, server: &Server) -> Vec<Agent> {
    let meet = |agent: Agent| {
        let identity = wire::Identity::Host(agent.name.clone(), Box::new(agent.key.clone()));
        Agent {
            client: server.operator.as_identity(identity),
            ..agent
        }
    };
    agents.into_iter().map(meet).collect()
}

async fn thaw(server: &Server) {
    let body = json!({ "environment": "production", "reason": "over" });
    let _: Value = server.operator.post("/v1/thaws", &body).await.unwrap();
}

async fn ordered_into_production(server: &Server) -> bool {
    let orders = server.journaled("host_ordered").await;
    orders
        .iter()
        .any(|event| event["order"]["environment"] == "production")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_row_changes_nothing_or_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (server, _, id) = attested(&data).await;
    server.stop().await;
    let doctor = Doctor::of(&data);
    let (seq, mut passed) = doctor.newest(|event| event["type"] == "test_passed");
    passed["record"]["waived"] = json!(["references"]);
    doctor.put(seq, &passed);
    // What was folded before is kept in a snapshot; the row is not looked at again.
    let server = Server::with(config(&data)).await;
    let record = server.operator.attestation(id).await.unwrap().record;
    assert!(record.waived.is_empty());
    server.stop().await;
    doctor.0.execute("DELETE FROM snapshot", []).unwrap();
    drop(doctor);
    let words = refused_start(config(&data)).await;
    assert!(words.contains(&seq.to_string()), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_attestation_in_a_mended_chain_sends_nobody_forward() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (server, agents, id) = attested(&data).await;
    let control_key = server.started.control_key.clone();
    server.stop().await;
    let doctor = Doctor::of(&data);
    let (seq, mut event) = doctor.newest(|event| event["type"] == "attested");
    let genuine: wire::Envelope = serde_json::from_value(event["envelope"].clone()).unwrap();
    let key = wire::PublicKey::parse(&control_key).unwrap();
    let statement: Statement = genuine.open(STATEMENT_PAYLOAD_TYPE, &key).unwrap();
    // Word for word what was signed, by a key that calls itself the control plane's.
    let mut forged = SecretKey::generate()
        .unwrap()
        .seal(STATEMENT_PAYLOAD_TYPE, &statement);
    forged.signatures[0].keyid = control_key;
    event["envelope"] = json!(forged);
    doctor.put(seq, &event);
    doctor.mend();
    drop(doctor);

    let server = Server::with(config(&data)).await;
    let agents = meet(agents, &server);
    assert!(distrusted(&server).await);
    thaw(&server).await;
    // The journal says that it may go; the signature says that it may not.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while tokio::time::Instant::now() < deadline && !ordered_into_production(&server).await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    untouched(&agents).await;
    let back = json!({ "service": "api", "release": id, "reason": "forged" });
    let _: Value = server.operator.post("/v1/rollbacks", &back).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_written_into_the_journal_is_not_signed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::with(config(&data)).await;
    let agents = server.join_all().await;
    server.propose("a = 1\n").await.unwrap();
    agents[0].order_above(Generation(0)).await;
    server.stop().await;
    let doctor = Doctor::of(&data);
    let (_, mut event) = doctor.newest(|event| event["type"] == "host_ordered");
    assert_eq!(event["order"]["kind"], json!(OrderKind::Forward));
    for (host, environment) in [("web-1", "production"), ("web-2", "test")] {
        event["order"]["host"] = json!(host);
        event["order"]["environment"] = json!(environment);
        event["order"]["generation"] = json!(event["order"]["generation"].as_u64().unwrap() + 1);
        doctor.append(&event);
    }
    doctor.mend();
    drop(doctor);
    let server = Server::with(config(&data)).await;
    let agents = meet(agents, &server);
    assert_eq!(agents[0].orders().await.0.len(), 1);
    untouched(&agents).await;
    assert!(distrusted(&server).await);
    server.stop().await;
}
