//! Approvals, attestations, break-glass and freezes.

use model::attest::STATEMENT_PAYLOAD_TYPE;
use model::gate::RiskRule;
use model::refusal::Code;
use model::{
    Digest, Gate, GateState, Generation, Millis, OrderKind, ReleaseId, Role, Statement, Timestamp,
    Topology,
};
use serde_json::{Value, json};
use wire::api::{
    ApproveRequest, BreakGlassRequest, BreakGlassView, CountersignRequest, FreezeRequest,
    ProposeRequest, ReleaseState, ReleaseView, ReviewRequest, StatusView,
};
use wire::{Client, ClientError, Envelope, Open, SecretKey};

use crate::support::{Agent, Server, code, fleet, status, until};

/// `/auth` is a high-risk option.
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

fn state(view: &ReleaseView, gate: Gate) -> GateState {
    let look = view.gates.iter().find(|look| look.gate == gate);
    look.unwrap_or_else(|| panic!("{gate} in {view:#?}")).state
}

/// Carries out what hosts are told until the release waits for people.
async fn tested(server: &Server, agents: &[Agent], id: ReleaseId) -> ReleaseView {
    until("the test is passed", async || {
        for agent in agents {
            agent.obey().await;
        }
        let view = server.view(id).await;
        view.binds.is_some().then_some(view)
    })
    .await
}

async fn approve(by: &Client, view: &ReleaseView) -> Result<ReleaseView, ClientError> {
    let request = ApproveRequest {
        release: view.id,
        binds: view.binds.unwrap_or(view.digest),
        note: "looked at".into(),
    };
    by.approve(&request).await
}

fn no(outcome: Result<impl std::fmt::Debug, ClientError>) -> (u16, Code) {
    let refused = outcome.unwrap_err();
    (status(&refused), code(&refused))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_high_risk_change_waits_for_somebody_else() {
    let server = Server::start_with(risky()).await;
    let agents = server.join_all().await;
    let ada = server.person("ada", Role::Operator).await;
    let bob = server.person("bob", Role::Approver).await;
    let request = ProposeRequest {
        bundle: server.upload("auth = \"10.0.0.1:9000\"\n").await,
        message: String::new(),
        base: None,
        break_glass: None,
    };
    let proposed = ada.propose(&request).await.unwrap();
    assert_eq!(proposed.approvals_needed, 1);
    assert_eq!(proposed.risks.len(), 1, "{:?}", proposed.risks);
    // Before there is evidence there is nothing to agree to.
    assert_eq!(
        no(approve(&bob, &proposed).await),
        (409, Code::NoApprovalNeeded)
    );

    let view = tested(&server, &agents, proposed.id).await;
    assert_eq!(state(&view, Gate::Approval), GateState::Waiting);
    assert_eq!(view.state, ReleaseState::Rolling);
    assert_eq!(
        no(server.operator.attestation(view.id).await),
        (409, Code::NotAttested)
    );
    assert_eq!(no(approve(&ada, &view).await), (409, Code::OwnApproval));
    let stale = ReleaseView {
        binds: Some(Digest::of(b"what was looked at")),
        ..view.clone()
    };
    assert_eq!(no(approve(&bob, &stale).await), (409, Code::ApprovalMoved));
    let unknown = ReleaseView {
        id: ReleaseId(77),
        ..view.clone()
    };
    assert_eq!(
        no(approve(&bob, &unknown).await),
        (404, Code::UnknownRelease)
    );
    for role in [Role::Author, Role::Viewer, Role::Agent] {
        let client = server.with_role(role).await;
        assert_eq!(no(approve(&client, &view).await), (403, Code::WrongRole));
    }
    assert!(server.journaled("approved").await.is_empty());
    assert!(server.journaled("attested").await.is_empty());

    let approved = approve(&bob, &view).await.unwrap();
    assert_eq!(approved.approvals[0].by, "bob");
    assert_eq!(approved.approvals[0].note, "looked at");
    server.carry(&agents, view.id, ReleaseState::Good).await;
    let answer = server.operator.attestation(view.id).await.unwrap();
    let statement: Statement = answer
        .envelope
        .open(STATEMENT_PAYLOAD_TYPE, &agents[0].control_key)
        .unwrap();
    assert_eq!(statement.predicate.approved_by, ["bob"]);
    assert_eq!(
        no(approve(&bob, &view).await),
        (409, Code::NoApprovalNeeded)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_control_plane_does_not_hold_signs_too() {
    let (ci, other) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let mut topology = fleet();
    let spec = topology.services.values_mut().next().unwrap();
    spec.checks.countersigners = vec![ci.public().to_string()];
    let server = Server::start_with(topology).await;
    let agents = server.join_all().await;
    let bob = server.person("bob", Role::Approver).await;
    let id = server.propose("a = 1\n").await.unwrap().id;
    let of = |key: &SecretKey, envelope: &Envelope| {
        let signature = key.countersign(envelope).unwrap();
        CountersignRequest {
            keyid: signature.keyid,
            sig: signature.sig,
        }
    };
    let early = of(&ci, &ci.seal(STATEMENT_PAYLOAD_TYPE, &1));
    assert_eq!(
        no(bob.countersign(id, &early).await),
        (409, Code::NotAttested)
    );
    let envelope = until("the control plane has signed", async || {
        for agent in &agents {
            agent.obey().await;
        }
        let answer = server.operator.attestation(id).await.ok()?;
        Some(answer.envelope)
    })
    .await;
    assert_eq!(
        state(&server.view(id).await, Gate::Attestation),
        GateState::Waiting
    );
    for forged in [
        early,
        of(&other, &envelope),
        CountersignRequest {
            keyid: ci.public().to_string(),
            ..of(&other, &envelope)
        },
    ] {
        assert_eq!(
            no(bob.countersign(id, &forged).await),
            (401, Code::BadSignature)
        );
    }
    assert!(server.journaled("countersigned").await.is_empty());
    bob.countersign(id, &of(&ci, &envelope)).await.unwrap();
    bob.countersign(id, &of(&ci, &envelope)).await.unwrap();
    assert_eq!(server.journaled("countersigned").await.len(), 1);
    let dispatch = until("an order for production", async || {
        agents[0].obey().await;
        let orders = [agents[1].orders().await.0, agents[2].orders().await.0];
        orders.into_iter().flatten().next()
    })
    .await;
    let sent = dispatch.attestation.unwrap();
    for key in [agents[0].control_key.clone(), ci.public()] {
        assert!(sent.open::<Statement>(STATEMENT_PAYLOAD_TYPE, &key).is_ok());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_serves_was_signed_by_the_control_key_over_its_evidence() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let id = server.propose("a = 1\n").await.unwrap().id;
    assert_eq!(
        no(server.operator.attestation(id).await),
        (409, Code::NotAttested)
    );
    assert_eq!(
        no(server.operator.attestation(ReleaseId(9)).await),
        (404, Code::UnknownRelease)
    );
    agents[0].obey().await;
    let dispatch = until("an order for production", async || {
        agents[0].obey().await;
        let orders = [agents[1].orders().await.0, agents[2].orders().await.0];
        orders.into_iter().flatten().next()
    })
    .await;
    let envelope = dispatch.attestation.clone().unwrap();
    let key = &agents[0].control_key;
    let statement: Statement = envelope.open(STATEMENT_PAYLOAD_TYPE, key).unwrap();
    let (service, digest) = ("api".parse().unwrap(), dispatch.order.digest);
    assert!(statement.is_about(&service, digest));
    let answer = server.operator.attestation(id).await.unwrap();
    assert_eq!(answer.envelope, envelope);
    assert_eq!(answer.control_key, key.to_string());
    assert_eq!(answer.record.digest(), statement.predicate.evidence);
    assert_eq!(answer.record.hosts, [agents[0].name.clone()]);
    assert_eq!(answer.void, None);
    // With each order forward the way back from it, for that host and generation.
    let holder = agents
        .iter()
        .find(|agent| agent.name == dispatch.order.host);
    let reverts = holder.unwrap().reverts().await;
    assert_eq!(reverts.len(), 1);
    assert_eq!(reverts[0].order.kind, OrderKind::Rollback);
    assert_eq!(reverts[0].order.generation, dispatch.order.generation);
    assert_eq!(reverts[0].order.digest, Digest::of(b"found on disk"));
    server.carry(&agents, id, ReleaseState::Good).await;
    assert_eq!(server.journaled("attested").await.len(), 1);
    server.stop().await;
}

fn ask(gates: &[Gate], valid_s: u64) -> BreakGlassRequest {
    BreakGlassRequest {
        service: "api".parse().unwrap(),
        gates: gates.to_vec(),
        reason: "the fair burns".into(),
        valid_s,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_glass_is_broken_by_two_people_and_looked_at_afterwards() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let ada = server.person("ada", Role::Operator).await;
    let bob = server.person("bob", Role::Operator).await;
    let freeze = json!({ "reason": "fair day" });
    let _: Value = bob.post("/v1/freezes", &freeze).await.unwrap();
    let bundle = server.upload("a = 1\n").await;
    let propose = async |break_glass| {
        let request = ProposeRequest {
            bundle: bundle.clone(),
            message: String::new(),
            base: None,
            break_glass,
        };
        ada.propose(&request).await
    };
    assert_eq!(no(propose(None).await), (409, Code::Frozen));
    assert_eq!(no(propose(Some(1)).await), (404, Code::NoBreakGlass));

    let glass = ada
        .ask_break_glass(&ask(&[Gate::Freeze], 3600))
        .await
        .unwrap();
    assert_eq!((glass.id, glass.asked_by.as_str()), (1, "ada"));
    assert_eq!(glass.confirmed_by, None);
    // Nobody else has agreed: nothing is open.
    assert_eq!(no(propose(Some(1)).await), (404, Code::NoBreakGlass));
    assert_eq!(
        no(ada.confirm_break_glass(1).await),
        (409, Code::SecondPerson)
    );
    assert_eq!(
        no(bob.confirm_break_glass(2).await),
        (404, Code::NoBreakGlass)
    );
    let approver = server.with_role(Role::Approver).await;
    assert_eq!(
        no(approver.confirm_break_glass(1).await),
        (403, Code::WrongRole)
    );
    let glass = bob.confirm_break_glass(1).await.unwrap();
    assert_eq!(glass.confirmed_by.as_deref(), Some("bob"));

    let view = propose(Some(1)).await.unwrap();
    assert_eq!(view.break_glass, Some(1));
    server.carry(&agents, view.id, ReleaseState::Good).await;
    let seen: StatusView = ada.get("/v1/status").await.unwrap();
    assert_eq!(seen.break_glass[0].used_by, [view.id]);
    let words = ReviewRequest { words: " ".into() };
    assert_eq!(
        no(bob.review_break_glass(1, &words).await),
        (400, Code::BadRequest)
    );
    let words = ReviewRequest {
        words: "right, this once".into(),
    };
    let glass: BreakGlassView = bob.review_break_glass(1, &words).await.unwrap();
    assert_eq!(glass.reviewed_by.as_deref(), Some("bob"));
    let seen: StatusView = ada.get("/v1/status").await.unwrap();
    assert!(seen.break_glass.is_empty());
    let kinds = [
        "break_glass_asked",
        "break_glass_confirmed",
        "break_glass_reviewed",
    ];
    for kind in kinds {
        assert_eq!(server.journaled(kind).await.len(), 1, "{kind}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_glass_is_not_broken_in_any_emergency_and_none_lasts() {
    let server = Server::start().await;
    let bob = server.person("bob", Role::Operator).await;
    for gate in [
        Gate::Checks,
        Gate::Compatibility,
        Gate::Test,
        Gate::Attestation,
    ] {
        let asked = bob.ask_break_glass(&ask(&[Gate::Freeze, gate], 60)).await;
        assert_eq!(no(asked), (400, Code::BadRequest), "{gate}");
    }
    assert_eq!(
        no(bob.ask_break_glass(&ask(&[], 60)).await),
        (400, Code::BadRequest)
    );
    let stranger = BreakGlassRequest {
        service: "unknown".parse().unwrap(),
        ..ask(&[Gate::Freeze], 60)
    };
    assert_eq!(
        no(bob.ask_break_glass(&stranger).await),
        (404, Code::UnknownService)
    );
    let speechless = BreakGlassRequest {
        reason: " ".into(),
        ..ask(&[Gate::Freeze], 60)
    };
    assert_eq!(
        no(bob.ask_break_glass(&speechless).await),
        (400, Code::BadRequest)
    );
    // A year is cut to a day.
    let year = bob
        .ask_break_glass(&ask(&[Gate::Freeze], 365 * 86_400))
        .await
        .unwrap();
    let left = Millis::between(Timestamp::now(), year.expires_at);
    assert!(left <= Millis::seconds(86_400), "{left}");
    // What is over can neither be confirmed nor used.
    let over = bob.ask_break_glass(&ask(&[Gate::Freeze], 0)).await.unwrap();
    assert_eq!(
        no(server.operator.confirm_break_glass(over.id).await),
        (404, Code::NoBreakGlass)
    );
    for path in ["/v1/break-glass/x/confirm", "/v1/break-glass/-1/confirm"] {
        let answer: Result<Value, _> = bob.post(path, &json!({})).await;
        assert_eq!(no(answer), (400, Code::BadRequest), "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_environment_is_not_entered_and_a_way_back_is_open() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    let freeze = FreezeRequest {
        service: None,
        environment: Some("production".parse().unwrap()),
        until: None,
        reason: "fair day".into(),
    };
    let answer: Value = server.operator.post("/v1/freezes", &freeze).await.unwrap();
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("into production"),
        "{answer}"
    );
    let view = server.propose("a = 1\n").await.unwrap();
    let view = tested(&server, &agents, view.id).await;
    let held = until("it waits for the thaw", async || {
        let view = server.view(view.id).await;
        (state(&view, Gate::Freeze) == GateState::Waiting).then_some(view)
    })
    .await;
    assert!(held.waiting.unwrap_or_default().contains("fair day"));
    for agent in &agents[1..] {
        assert!(agent.orders().await.0.is_empty());
    }
    let seen: StatusView = server.operator.get("/v1/status").await.unwrap();
    assert_eq!(seen.freezes[0].scope, "production");
    assert!(!seen.freezes[0].automatic);
    let _: Value = server.operator.post("/v1/thaws", &freeze).await.unwrap();
    server.carry(&agents, view.id, ReleaseState::Good).await;

    let _: Value = server.operator.post("/v1/freezes", &freeze).await.unwrap();
    let body = json!({ "service": "api", "reason": "orders fail" });
    let _: Value = server.operator.post("/v1/rollbacks", &body).await.unwrap();
    server
        .carry(&agents, view.id, ReleaseState::RolledBack)
        .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_ends_by_itself_and_is_of_one_thing() {
    let server = Server::start().await;
    server.join_all().await;
    let both = json!({ "service": "api", "environment": "production", "reason": "" });
    for path in ["/v1/freezes", "/v1/thaws"] {
        let answer: Result<Value, _> = server.operator.post(path, &both).await;
        assert_eq!(no(answer), (400, Code::BadRequest), "{path}");
    }
    let soon = Millis(1500).after(Timestamp::now());
    let freeze = json!({ "until": soon, "reason": "lunch" });
    let thaw: Result<Value, _> = server.operator.post("/v1/thaws", &freeze).await;
    assert_eq!(no(thaw), (400, Code::BadRequest));
    let _: Value = server.operator.post("/v1/freezes", &freeze).await.unwrap();
    let first = server.propose("a = 1\n").await;
    if Timestamp::now() < soon {
        assert_eq!(no(first), (409, Code::Frozen));
    }
    until("the freeze is over", async || {
        let seen: StatusView = server.operator.get("/v1/status").await.unwrap();
        seen.freezes.is_empty().then_some(())
    })
    .await;
    let outcome = server.propose("a = 2\n").await;
    outcome.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_count_what_waits_and_what_was_signed() {
    let server = Server::start_with(risky()).await;
    let agents = server.join_all().await;
    let page = async || {
        let request = crate::support::raw(http::Method::GET, server.url("/metrics"));
        request.send().await.unwrap().text().await.unwrap()
    };
    let text = page().await;
    for gate in Gate::ALL {
        let line = format!("plimsoll_gates_failed{{gate=\"{gate}\"}} 0");
        assert!(text.contains(&line), "{line} in {text}");
    }
    assert!(text.contains("plimsoll_releases_attested 0"), "{text}");
    let view = server.propose("auth = \"10.0.0.1:9000\"\n").await.unwrap();
    tested(&server, &agents, view.id).await;
    until("an approval is waited for", async || {
        page()
            .await
            .contains("plimsoll_approvals_waiting 1")
            .then_some(())
    })
    .await;
    let bob = server.person("bob", Role::Approver).await;
    approve(&bob, &server.view(view.id).await).await.unwrap();
    server.carry(&agents, view.id, ReleaseState::Good).await;
    let refused = server.propose("auth = \"10.0.0.1:9000\"\n").await;
    assert_eq!(no(refused), (409, Code::AlreadyGood));
    let text = page().await;
    for line in [
        "plimsoll_releases_attested 1",
        "plimsoll_approvals_waiting 0",
        "plimsoll_releases_distrusted 0",
        "plimsoll_proposals_refused_total{code=\"already-good\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rehearsal_goes_there_and_back_through_the_same_doors() {
    let mut topology = fleet();
    let spec = topology.services.values_mut().next().unwrap();
    spec.checks.rehearsal.off = false;
    let server = Server::start_with(topology).await;
    let agents = server.join_all().await;
    let good = server.good(&agents, "a = 1\n").await;
    assert_eq!(state(&good, Gate::Rehearsal), GateState::Passed);
    assert!(good.expected_rollback_ms.is_some());
    let steps = server.journaled("rehearsal_stepped").await;
    assert_eq!(steps.len(), 2, "{steps:?}");
    let order = agents[0].order_above(Generation(2)).await.order;
    assert_eq!(order.kind, OrderKind::Forward);
    server.stop().await;
}
