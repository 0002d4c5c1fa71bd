//! Every way into production past the test that somebody could try: with each
//! role, with the topology, with the database, with the control plane's own key.
//!
//! After each try the trees on disk and the agents say what production runs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use drill::world::Place;
use jiff::{Timestamp, ToSpan};
use model::attest::{Predicate, STATEMENT_PAYLOAD_TYPE, Statement};
use model::order::{Dispatch, OrderKind};
use model::{Bundle, Digest, Envelope, Event, Generation, HostName, ReleaseId, Role, Topology};
use reqwest::Method;
use serde_json::{Value, json};
use wire::api::{ReleaseState, ReleaseView};
use wire::sign::{ORDER_TYPE, SecretKey};
use wire::{Client, ClientError, Identity};

use crate::doctor::Doctored;
use crate::fleet::{self, Fleet, live, starts};
use crate::forged::Between;
use crate::wait::{s, until, until_so};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_way_into_production_past_the_test() -> Result<()> {
    let shape = fleet::shape(&[("zone-a", 2)])?;
    fleet::with(shape, |_| Ok(()), async |fleet| try_all(fleet).await).await
}

async fn try_all(fleet: &mut Fleet) -> Result<()> {
    let load = fleet.customers()?;
    let two = fleet.push_good("2").await?;
    let three = fleet.push_good("3").await?;
    load.stop().await;
    let calm = Calm::of(fleet, "3", three.digest)?;
    let untested = untested(fleet, &three).await?;
    by_role(fleet, &calm, &untested).await?;
    by_host_keys(fleet, &calm, &untested).await?;
    by_topology(fleet, &calm).await?;
    by_database(fleet, &calm).await?;
    by_control_key(fleet, &calm, &untested, [&two, &three]).await
}

/// What production runs, and goes on running.
struct Calm {
    version: &'static str,
    digest: Digest,
    starts: BTreeMap<HostName, u64>,
}

impl Calm {
    fn of(fleet: &Fleet, version: &'static str, digest: Digest) -> Result<Calm> {
        let hosts = fleet.production().into_iter();
        let starts = hosts.map(|place| Ok((place.name.clone(), starts(&place)?)));
        Ok(Calm {
            version,
            digest,
            starts: starts.collect::<Result<_>>()?,
        })
    }

    async fn holds(&self, fleet: &Fleet, after: &str) -> Result<()> {
        for place in fleet.production() {
            let name = &place.name;
            ensure!(
                live(&place)? == fleet.configs[self.version],
                "{after}: {name} has another tree"
            );
            ensure!(
                starts(&place)? == self.starts[name],
                "{after}: {name} was restarted"
            );
            let config = place.folder.join("agent.toml").display().to_string();
            let status = ["agent", "status", "--json", "--config", &config];
            let status = fleet.plimsoll(&status).await?.exits(0)?.json()?;
            let running = &status["services"][0]["running"];
            ensure!(*running == json!(self.digest), "{after}: {status}");
            ensure!(status["gated"] == true, "{after}: {status}");
        }
        Ok(())
    }
}

/// A bundle whose bytes are all there, and that nobody tested.
async fn untested(fleet: &Fleet, like: &ReleaseView) -> Result<Bundle> {
    let path = format!("/v1/bundles/{}", like.digest);
    let mut bundle: Bundle = fleet.world.client.get(&path).await?;
    let bytes = fleet.configs["3"].replace("\"3\"", "\"untested\"");
    let digest = Digest::of(bytes.as_bytes());
    for file in bundle.files.values_mut() {
        (file.digest, file.size_bytes) = (digest, bytes.len() as u64);
    }
    fleet.world.client.put_blob(digest, bytes.into()).await?;
    Ok(bundle)
}

/// What somebody sends, and who at least may send it at all.
struct Try {
    method: Method,
    path: String,
    body: Value,
    least: Option<Role>,
}

impl Try {
    fn post(least: Option<Role>, path: impl Into<String>, body: Value) -> Try {
        Try {
            method: Method::POST,
            path: path.into(),
            body,
            least,
        }
    }

    /// The code of the refusal; there is always one.
    async fn refused(&self, client: &Client) -> Result<String> {
        let sent = client.send_json::<_, Value>(self.method.clone(), &self.path, &self.body);
        match sent.await {
            Err(ClientError::Refused { refusal, .. }) => Ok(refusal.code.to_string()),
            other => anyhow::bail!("{} {} {}: {other:?}", self.method, self.path, self.body),
        }
    }
}

fn tries(fleet: &Fleet, untested: &Bundle) -> Vec<Try> {
    let (author, operator) = (Some(Role::Author), Some(Role::Operator));
    let proposal = |more: Value| {
        let mut body = json!({"bundle": untested, "message": "sneaky"});
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        Try::post(author, "/v1/releases", body)
    };
    let mut tries: Vec<Try> = [
        json!({"checked": {}}),
        json!({"attestation": {}}),
        json!({"tested": true}),
        json!({"environment": "production"}),
        json!({"stages": []}),
        json!({"gates": []}),
        json!({"author": "ada"}),
        json!({"break_glass": 1}),
    ]
    .map(proposal)
    .into();
    let approval = json!({"release": 99, "binds": untested.digest(), "note": ""});
    tries.push(Try::post(Some(Role::Approver), "/v1/approvals", approval));
    for gate in ["attestation", "test", "checks", "compatibility"] {
        let body = json!({"service": "api", "gates": [gate], "reason": "now"});
        tries.push(Try::post(operator, "/v1/break-glass", body));
    }
    tries.push(Try::post(operator, "/v1/break-glass/1/confirm", json!({})));
    let back = json!({"service": "api", "to": untested.digest()});
    tries.push(Try::post(operator, "/v1/rollbacks", back));
    let lift = json!({"service": "api", "digest": untested.digest(), "reason": "x"});
    tries.push(Try::post(operator, "/v1/quarantine/lift", lift));
    let odd = json!({"environments": [], "services": {}, "attestations": {}});
    tries.push(Try {
        method: Method::PUT,
        ..Try::post(operator, "/v1/topology", odd)
    });
    // A bearer is no host, whatever the role.
    for place in fleet.production() {
        for (what, body) in said_for(untested) {
            let path = format!("/v1/agents/{}/{what}", place.name);
            tries.push(Try::post(None, path, body));
        }
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let body = json!({"host": place.name, "join_token": "pls_guess", "public_key": key,
            "peer_address": "127.0.0.1:1", "adopted": {"api": untested.digest()}, "fence": 0});
        tries.push(Try::post(None, "/v1/agents/enrol", body));
    }
    tries
}

/// What a host could say so that something untested looked done.
fn said_for(untested: &Bundle) -> [(&'static str, Value); 3] {
    let digest = untested.digest();
    let result =
        json!({"id": "r3-probe-0", "release": 3, "outcome": {"outcome": "probed", "probes": []}});
    let report = json!({"number": 999, "service": "api", "generation": 3, "at": Timestamp::now(),
        "report": "holding", "running": digest});
    [
        ("results", json!({"results": [result]})),
        (
            "confirm",
            json!({"service": "api", "generation": 3, "digest": digest}),
        ),
        ("reports", json!({"reports": [report]})),
    ]
}

async fn by_role(fleet: &Fleet, calm: &Calm, untested: &Bundle) -> Result<()> {
    let before = fleet.journal().await?.len();
    let tries = tries(fleet, untested);
    for role in Role::ALL {
        let token = fleet.person(&format!("{role:?}"), role).await?;
        let client = fleet.world.client.as_identity(Identity::Bearer(token));
        for one in &tries {
            let code = one.refused(&client).await?;
            let may = one.least.is_none_or(|least| role.covers(least));
            // What can't be read is refused before it is asked who sends it.
            let fits = if may {
                code != "wrong-role"
            } else {
                code == "wrong-role" || code == "bad-request"
            };
            ensure!(fits, "{role:?} {}: {code}", one.path);
        }
        calm.holds(fleet, &format!("with the role {role:?}"))
            .await?;
    }
    let news = fleet.journal().await?.split_off(before);
    let only = news
        .iter()
        .all(|record| matches!(record.event, Event::TokenIssued { .. }));
    ensure!(only, "{news:#?}");
    Ok(())
}

/// A test host that was broken into speaks for production's.
async fn by_host_keys(fleet: &Fleet, calm: &Calm, untested: &Bundle) -> Result<()> {
    let test = fleet.world.hosts.first().context("no test host")?;
    let key = SecretKey::load_or_create(&test.folder.join("agent/key"))?;
    for place in fleet.production() {
        for name in [&test.name, &place.name] {
            let identity = Identity::Host(name.clone(), Box::new(key.clone()));
            let client = fleet.world.client.as_identity(identity);
            for (what, body) in said_for(untested) {
                let path = format!("/v1/agents/{}/{what}", place.name);
                let code = Try::post(None, path, body).refused(&client).await?;
                let known = ["wrong-role", "bad-signature"].contains(&code.as_str());
                ensure!(known, "{what} as {name} for {}: {code}", place.name);
            }
        }
    }
    calm.holds(fleet, "with a test host's key").await
}

async fn by_topology(fleet: &mut Fleet, calm: &Calm) -> Result<()> {
    let declared: Topology = fleet.world.client.get("/v1/topology").await?;
    let client = fleet.world.client.clone();

    // Production alone: there is nowhere to test, so nothing is taken at all.
    let mut alone = declared.clone();
    alone.environments.remove(0);
    client.set_topology(&alone).await?;
    fleet.write_good("alone")?;
    let said = fleet
        .plimsoll(&["push", "api", "--no-follow", "-m", "alone"])
        .await?;
    said.exits(3)?.says(&["no-hosts"])?;
    calm.holds(fleet, "without a test environment").await?;

    // Production first, or a production host among the test hosts: its agent
    // knows better, whatever the control plane calls it.
    let mut turned = declared.clone();
    turned.environments.reverse();
    let mut moved = declared.clone();
    let host = moved.environments[1].hosts.remove(0);
    moved.environments[0].hosts.push(host);
    for (what, topology) in [("turned", turned), ("moved", moved)] {
        client.set_topology(&topology).await?;
        fleet.write_good(what)?;
        let release = fleet.push(what).await?;
        let over = fleet.over(release.id).await?;
        ensure!(over.state == ReleaseState::RolledBack, "{over:#?}");
        refused_in_journal(fleet, release.digest, "not attested").await?;
        calm.holds(fleet, what).await?;
    }
    client.set_topology(&declared).await?;

    // A test host that has not finished its test is not declared into production.
    stay_in_test(fleet, "brought").await?;
    let mut brought = declared.clone();
    let [test, production] = brought.environments.as_mut_slice() else {
        anyhow::bail!("two environments");
    };
    std::mem::swap(&mut test.hosts[0], &mut production.hosts[0]);
    match client.set_topology(&brought).await {
        Err(ClientError::Refused { refusal, .. }) => {
            ensure!(
                refusal.message.contains("would enter production"),
                "{refusal:?}"
            );
        }
        other => anyhow::bail!("an untested bundle was declared into production: {other:?}"),
    }
    withdraw(fleet).await?;
    calm.holds(fleet, "with a test host in production").await
}

/// An agent refused this bundle, and the journal has its words.
pub(crate) async fn refused_in_journal(fleet: &Fleet, digest: Digest, words: &str) -> Result<()> {
    let records = fleet.journal().await?;
    let mut orders = BTreeMap::new();
    let refused = records.iter().any(|record| match &record.event {
        Event::HostOrdered { order } => {
            orders.insert((&order.host, order.generation), order.digest);
            false
        }
        Event::HostFailed {
            host,
            generation,
            reason,
            ..
        } => orders.get(&(host, *generation)) == Some(&digest) && reason.contains(words),
        _ => false,
    });
    ensure!(refused, "no host refused {}", digest.short());
    Ok(())
}

/// A change that is under test, and will be for long.
pub(crate) async fn stay_in_test(fleet: &mut Fleet, version: &str) -> Result<ReleaseView> {
    let path = fleet.world.folder().join("project/plimsoll.toml");
    let project = std::fs::read_to_string(&path)?;
    let long = project.replace("bake = \"2s\"", "bake = \"4m\"");
    ensure!(long != project, "{project}");
    std::fs::write(&path, long)?;
    fleet.write_good(version)?;
    let release = fleet.push(version).await?;
    std::fs::write(&path, project)?;
    let test = fleet.world.hosts.first().context("no test host")?.clone();
    let wanted = fleet.configs[version].clone();
    until_so("it is under test", s(60), async || {
        Ok(live(&test)? == wanted)
    })
    .await?;
    Ok(release)
}

async fn withdraw(fleet: &Fleet) -> Result<()> {
    let back = ["rollback", "api", "--reason", "enough"];
    fleet.plimsoll(&back).await?.exits(0)?;
    let nothing = async || {
        let status = fleet.plimsoll(&["status", "--json"]).await?.json()?;
        Ok(status["services"][0]["active"].is_null())
    };
    until_so("nothing is on its way", s(60), nothing).await
}

/// Somebody who can write the journal, and has no key.
async fn by_database(fleet: &mut Fleet, calm: &Calm) -> Result<()> {
    let release = stay_in_test(fleet, "doctored").await?;
    let folder = fleet.world.folder().to_path_buf();
    fleet.world.crash("control").await?;

    let journal = Doctored::open(&folder)?;
    let (seq, event) = journal.last(|event| event["type"] == "release_proposed")?;
    let mut other = event.clone();
    other["message"] = json!("nothing to see");
    journal.replace(seq, &other)?;
    journal.close()?;
    let words = fleet.control_refuses_to_start().await?;
    ensure!(words.contains(&format!("event {seq}")), "{words}");
    calm.holds(fleet, "with a changed event").await?;

    // With every hash made to fit: a test result that a stranger signed, the
    // opening of production with it, and an order "back" to what was never there.
    let journal = Doctored::open(&folder)?;
    journal.replace(seq, &event)?;
    let envelope = SecretKey::generate()?.seal(
        STATEMENT_PAYLOAD_TYPE,
        &statement(&release, release.digest)?,
    );
    journal.append(&json!({"type": "attested", "release": release.id, "envelope": envelope}))?;
    let (_, mut opened) = journal
        .last(|event| event["type"] == "stage_started" && event["environment"] == "production")?;
    opened["release"] = json!(release.id);
    opened["attestation"] = json!(envelope);
    journal.append(&opened)?;
    let place = fleet.production().pop().context("no host")?;
    let (_, mut ordered) = journal.last(|event| {
        event["type"] == "host_ordered" && event["order"]["host"] == json!(place.name)
    })?;
    for (key, value) in [
        ("kind", json!("rollback")),
        ("digest", json!(release.digest)),
        ("release", json!(release.id)),
        ("generation", json!(1_000)),
    ] {
        ordered["order"][key] = value;
    }
    journal.append(&ordered)?;
    journal.rechain()?;
    journal.close()?;
    fleet.start_control().await?;
    let log = folder.join("logs/control.log");
    until_so("the control plane says that it never signed that", s(30), async || {
        Ok(std::fs::read_to_string(&log)?.contains("this control plane did not sign that"))
    })
    .await?;
    until_so("the host refuses the order back", s(30), async || {
        Ok(refused_in_journal(fleet, release.digest, "not attested")
            .await
            .is_ok())
    })
    .await?;
    calm.holds(fleet, "with a forged journal").await?;
    withdraw(fleet).await?;
    calm.holds(fleet, "after the way back from a forged journal")
        .await
}

/// What a test result of `digest` would say.
fn statement(release: &ReleaseView, digest: Digest) -> Result<Statement> {
    let now = Timestamp::now();
    let predicate = Predicate {
        release: release.id,
        base: release.base,
        check_set: Digest::of(b"rules"),
        environment: Digest::of(b"test"),
        evidence: Digest::of(b"evidence"),
        approved_by: Vec::new(),
        issued_at: now,
        expires_at: now.checked_add(24.hours())?,
    };
    Ok(Statement::new(release.service.clone(), digest, predicate))
}

/// Somebody who has the control plane's own key, and answers in its place.
async fn by_control_key(
    fleet: &mut Fleet,
    calm: &Calm,
    untested: &Bundle,
    [two, three]: [&ReleaseView; 2],
) -> Result<()> {
    let data = fleet.world.folder().join("data/control.key");
    let key = SecretKey::load_or_create(&data)?;
    let ci = SecretKey::generate()?;
    let between = Between::start(fleet.world.control_url()).await?;
    let place = fleet.production().into_iter().next().context("no host")?;
    behind(fleet, &place, &between, "").await?;
    let newest = until(
        "an order came through",
        s(30),
        async || Ok(between.newest()),
    )
    .await?;
    let true_one: Dispatch = serde_json::from_slice(&STANDARD.decode(&newest.payload)?)?;

    let digest = untested.digest();
    let release = ReleaseView {
        id: ReleaseId(99),
        base: Some(three.digest),
        ..three.clone()
    };
    let fits = statement(&release, digest)?;
    let signed =
        |key: &SecretKey, statement: &Statement| key.seal(STATEMENT_PAYLOAD_TYPE, statement);
    let mut other_base = fits.clone();
    other_base.predicate.base = Some(Digest::of(b"another"));
    let mut expired = fits.clone();
    expired.predicate.expires_at = Timestamp::now().checked_sub(1.second())?;
    let earlier = fleet.world.client.attestation(two.id).await?.envelope;
    let order = |digest: Digest, release: ReleaseId, attestation: Option<Envelope>| {
        let mut dispatch = true_one.clone();
        dispatch.order.kind = OrderKind::Forward;
        (dispatch.order.digest, dispatch.order.release) = (digest, release);
        dispatch.bundle = (digest == untested.digest()).then(|| untested.clone());
        dispatch.attestation = attestation;
        dispatch
    };
    let new = ReleaseId(99);
    let stranger = SecretKey::generate()?;
    let mut replayed = order(two.digest, two.id, Some(earlier.clone()));
    let path = format!("/v1/bundles/{}", two.digest);
    replayed.bundle = fleet.world.client.get(&path).await?;
    let mut back = order(digest, new, None);
    back.order.kind = OrderKind::Rollback;
    let lies = [
        (order(digest, new, None), "the order brings no test result"),
        (
            order(digest, new, Some(earlier)),
            "the test result is about another bundle",
        ),
        (
            order(digest, new, Some(signed(&stranger, &fits))),
            "is not believed",
        ),
        (
            order(digest, new, Some(signed(&key, &other_base))),
            "it was tested against",
        ),
        (
            order(digest, new, Some(signed(&key, &expired))),
            "counts no longer since",
        ),
        (replayed, "it was tested"),
        (back, "never good here and never attested"),
    ];
    // Each is newer than all before it, or it would be refused for that alone.
    let mut generation = true_one.order.generation.0.max(10_000);
    let mut newer = |mut dispatch: Dispatch| {
        generation += 1;
        dispatch.order.generation = Generation(generation);
        key.seal(ORDER_TYPE, &dispatch)
    };
    for (lie, words) in lies {
        declined(fleet, &place, &between, newer(lie), words).await?;
        calm.holds(fleet, words).await?;
    }

    // With the key a test can be made up. Only somebody who holds another one
    // stands in the way: then the host wants both.
    between.lie(None);
    let pinned = format!("attesters = [\"{}\"]\n", ci.public());
    behind(fleet, &place, &between, &pinned).await?;
    let made_up = order(digest, new, Some(signed(&key, &fits)));
    let words = "none of the attesters";
    declined(fleet, &place, &between, newer(made_up), words).await?;
    calm.holds(fleet, words).await?;

    // The same with both signatures is taken: nothing else was wrong with it.
    let mut both = signed(&key, &fits);
    both.signatures.extend(signed(&ci, &fits).signatures);
    let countersigned = order(digest, new, Some(both));
    between.lie(Some(newer(countersigned)));
    until_so("what both signed is applied", s(30), async || {
        Ok(live(&place)?.contains("untested"))
    })
    .await
}

/// From now on this host's agent talks to somebody in between.
async fn behind(fleet: &mut Fleet, place: &Place, between: &Between, first: &str) -> Result<()> {
    let config = place.folder.join("agent.toml");
    let text = std::fs::read_to_string(&config)?;
    let text = text.replace(&fleet.world.control_url(), &between.url);
    std::fs::write(&config, format!("{first}{text}"))?;
    fleet.world.crash(&format!("agent-{}", place.name)).await?;
    fleet.world.start_agent(place)
}

/// Tells a lie until the agent says why it does not obey.
async fn declined(
    fleet: &Fleet,
    place: &Place,
    between: &Between,
    lie: Envelope,
    words: &str,
) -> Result<()> {
    let log = fleet
        .world
        .folder()
        .join(format!("logs/agent-{}.log", place.name));
    let before = std::fs::read_to_string(&log)?.len();
    between.lie(Some(lie));
    let what = format!("the host declines: {words}");
    until_so(&what, s(30), async || {
        let said = std::fs::read_to_string(&log)?.split_off(before);
        Ok(said.contains("not attested") && said.contains(words))
    })
    .await
}
