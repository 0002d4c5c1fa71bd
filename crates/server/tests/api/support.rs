//! A control plane of one's own for each test, and those who talk to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::Method;
use model::bundle::{FileEntry, HealthCheck, Plan};
use model::gate::{Probe, ProbeVerdict};
use model::order::{Dispatch, Revert};
use model::refusal::Code;
use model::{
    Bundle, Commands, Digest, Environment, Generation, Host, HostName, Millis, ReleaseId, Role,
    ServiceSpec, StagePlan, Task, TaskKind, TaskOutcome, TaskResult, Topology, WavePlan,
    WaveSelector,
};
use serde_json::{Value, json};
use server::{ServerConfig, ServerError, Started};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use wire::Open;
use wire::api::{
    ConfirmRequest, EnrolAnswer, EnrolRequest, OrdersAnswer, ProposeRequest, ReleaseState,
    ReleaseView, TokenAnswer,
};
use wire::client::Fetched;
use wire::sign::{ORDER_TYPE, REVERT_TYPE, TASK_TYPE};
use wire::{Client, ClientError, Identity, PublicKey, SecretKey};

/// Nothing here takes that long, not even on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running control plane.
pub(crate) struct Server {
    pub(crate) data: PathBuf,
    pub(crate) started: Started,
    pub(crate) operator: Client,
    pub(crate) token: String,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), ServerError>>,
    /// Kept so that the folder lives as long as the server.
    folder: Option<TempDir>,
}

pub(crate) fn config(data: &Path) -> ServerConfig {
    ServerConfig {
        data: data.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        topology: Some(fleet()),
        drain: Duration::from_secs(20),
        notify: None,
        status: None,
    }
}

/// Runs a server that is expected not to start.
pub(crate) async fn refused_start(config: ServerConfig) -> String {
    wire::install_crypto();
    let (_stop, stopped) = watch::channel(false);
    let run = server::run(config, stopped, |_| panic!("it started"));
    let outcome = tokio::time::timeout(PATIENCE, run).await;
    outcome
        .expect("it says no in time")
        .unwrap_err()
        .to_string()
}

impl Server {
    pub(crate) async fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut server = Server::with(config(&data)).await;
        server.folder = Some(folder);
        server
    }

    pub(crate) async fn with(config: ServerConfig) -> Server {
        wire::install_crypto();
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = oneshot::channel();
        let (data, tls) = (config.data.clone(), config.tls.clone());
        let run = server::run(config, stopped, move |started| drop(tell.send(started)));
        let running = tokio::spawn(run);
        let Ok(started) = told.await else {
            panic!("it did not start: {:?}", running.await.unwrap());
        };
        let token = std::fs::read_to_string(&started.token_file).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}", started.address);
        let ca = tls.map(|(certificate, _)| certificate);
        let operator = Client::new(&base, Identity::Bearer(token.clone()), ca).unwrap();
        Server {
            data,
            started,
            operator,
            token,
            stop,
            running,
            folder: None,
        }
    }

    /// Keeps a folder for as long as the server, and gives it back when that has stopped.
    pub(crate) fn keep(&mut self, folder: TempDir) {
        self.folder = Some(folder);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.started.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.operator.base())
    }

    pub(crate) fn tell_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end of `run`; gives the folder back for a look or another start.
    pub(crate) async fn stopped(self) -> Option<TempDir> {
        let outcome = tokio::time::timeout(PATIENCE, self.running).await;
        outcome.expect("it stops").unwrap().unwrap();
        self.folder
    }

    pub(crate) async fn stop(self) -> Option<TempDir> {
        self.tell_to_stop();
        self.stopped().await
    }

    pub(crate) async fn with_role(&self, role: Role) -> Client {
        let body = json!({ "name": format!("the {role}"), "role": role });
        let answer: TokenAnswer = self.operator.post("/v1/tokens", &body).await.unwrap();
        self.operator.as_identity(Identity::Bearer(answer.token))
    }

    /// Somebody with a name and a token of their own.
    pub(crate) async fn person(&self, name: &str, role: Role) -> Client {
        let body = json!({ "name": name, "role": role });
        let answer: TokenAnswer = self.operator.post("/v1/tokens", &body).await.unwrap();
        self.operator.as_identity(Identity::Bearer(answer.token))
    }

    /// A control plane whose fleet is not [`fleet`].
    pub(crate) async fn start_with(topology: Topology) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&folder.path().join("data"));
        config.topology = Some(topology);
        let mut server = Server::with(config).await;
        server.folder = Some(folder);
        server
    }

    pub(crate) async fn join_token(&self, host: &str, valid_s: u64) -> String {
        let body = json!({ "host": host, "valid_s": valid_s });
        let answer: TokenAnswer = self.operator.post("/v1/join-tokens", &body).await.unwrap();
        answer.token
    }

    /// An agent that has joined.
    pub(crate) async fn join(&self, host: &str) -> Agent {
        let key = SecretKey::generate().unwrap();
        let token = self.join_token(host, 3600).await;
        let nobody = self.operator.as_identity(Identity::Nobody);
        let request = enrolment(host, &token, &key);
        let answer: EnrolAnswer = nobody.post("/v1/agents/enrol", &request).await.unwrap();
        let name: HostName = host.parse().unwrap();
        Agent {
            client: self
                .operator
                .as_identity(Identity::Host(name.clone(), Box::new(key.clone()))),
            name,
            key,
            control_key: PublicKey::parse(&answer.control_key).unwrap(),
        }
    }

    pub(crate) async fn join_all(&self) -> Vec<Agent> {
        let mut agents = Vec::new();
        for host in ["test-1", "web-1", "web-2"] {
            agents.push(self.join(host).await);
        }
        agents
    }

    /// Proposes a bundle whose one file holds `content`, as the operator.
    pub(crate) async fn propose(&self, content: &str) -> Result<ReleaseView, ClientError> {
        let bundle = self.upload(content).await;
        let request = ProposeRequest {
            break_glass: None,
            bundle,
            message: format!("with {content}"),
            base: None,
        };
        self.operator.propose(&request).await
    }

    pub(crate) async fn upload(&self, content: &str) -> Bundle {
        let digest = Digest::of(content.as_bytes());
        let bytes = content.to_owned().into_bytes().into();
        self.operator.put_blob(digest, bytes).await.unwrap();
        bundle(content)
    }

    /// Does what hosts are told until the release ends in `wanted`.
    pub(crate) async fn carry(&self, agents: &[Agent], id: ReleaseId, wanted: ReleaseState) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for agent in agents {
                agent.obey().await;
            }
            let view = self.view(id).await;
            if view.state == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{wanted} wanted: {view:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A release that came through.
    pub(crate) async fn good(&self, agents: &[Agent], content: &str) -> ReleaseView {
        let id = self.propose(content).await.unwrap().id;
        self.carry(agents, id, ReleaseState::Good).await;
        self.view(id).await
    }

    pub(crate) async fn view(&self, id: ReleaseId) -> ReleaseView {
        match self.operator.release(id, "", Duration::ZERO).await.unwrap() {
            Fetched::New(view, _) => view,
            Fetched::Unchanged => panic!("unchanged from nothing"),
        }
    }

    /// All events of a kind, oldest first.
    pub(crate) async fn journaled(&self, kind: &str) -> Vec<Value> {
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let path = format!("/v1/journal?after={after}&limit=1000");
            let records: Vec<Value> = self.operator.get(&path).await.unwrap();
            let Some(last) = records.last() else {
                return found;
            };
            after = last["seq"].as_u64().unwrap();
            let events = records.into_iter().map(|record| record["event"].clone());
            found.extend(events.filter(|event| event["type"] == kind));
        }
    }
}

/// A host's agent, as much of it as the control plane can see.
pub(crate) struct Agent {
    pub(crate) name: HostName,
    pub(crate) key: SecretKey,
    pub(crate) client: Client,
    pub(crate) control_key: PublicKey,
}

impl Agent {
    pub(crate) fn path(&self, what: &str) -> String {
        format!("/v1/agents/{}/{what}", self.name)
    }

    /// The newest orders, with their signatures checked, and their tag.
    pub(crate) async fn orders(&self) -> (Vec<Dispatch>, String) {
        let fetched = self
            .client
            .get_newer(&self.path("orders"), "", Duration::ZERO)
            .await;
        match fetched.unwrap() {
            Fetched::New(answer, tag) => (self.open(&answer), tag),
            Fetched::Unchanged => panic!("unchanged from nothing"),
        }
    }

    pub(crate) fn open(&self, answer: &OrdersAnswer) -> Vec<Dispatch> {
        let open = |envelope: &wire::Envelope| envelope.open(ORDER_TYPE, &self.control_key);
        answer
            .orders
            .iter()
            .map(|envelope| open(envelope).unwrap())
            .collect()
    }

    /// Waits for an order above `generation`.
    pub(crate) async fn order_above(&self, generation: Generation) -> Dispatch {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (orders, tag) = self.orders().await;
            let newer = orders
                .into_iter()
                .find(|dispatch| dispatch.order.generation > generation);
            if let Some(dispatch) = newer {
                return dispatch;
            }
            assert!(Instant::now() < deadline, "no order for {}", self.name);
            let path = self.path("orders");
            let wait = Duration::from_secs(5);
            let _: Fetched<OrdersAnswer> = self.client.get_newer(&path, &tag, wait).await.unwrap();
        }
    }

    /// What the host is to probe or try, with its signatures checked.
    pub(crate) async fn tasks(&self) -> Vec<Task> {
        let answer = self.answer().await;
        let open = |envelope: &wire::Envelope| envelope.open(TASK_TYPE, &self.control_key);
        let tasks = answer.tasks.iter();
        tasks.map(|envelope| open(envelope).unwrap()).collect()
    }

    /// The ways back that were signed in advance.
    pub(crate) async fn reverts(&self) -> Vec<Revert> {
        let answer = self.answer().await;
        let open = |envelope: &wire::Envelope| envelope.open(REVERT_TYPE, &self.control_key);
        let reverts = answer.reverts.iter();
        reverts.map(|envelope| open(envelope).unwrap()).collect()
    }

    /// Everything on the host's list.
    pub(crate) async fn answer(&self) -> OrdersAnswer {
        let path = self.path("orders");
        match self.client.get_newer(&path, "", Duration::ZERO).await {
            Ok(Fetched::New(answer, _)) => answer,
            other => panic!("an answer was expected: {other:?}"),
        }
    }

    /// Waits for something to probe or try.
    pub(crate) async fn task(&self) -> Task {
        until("a task", async || self.tasks().await.into_iter().next()).await
    }

    pub(crate) async fn tell(&self, results: &[TaskResult]) -> Result<Value, ClientError> {
        let body = json!({ "results": results });
        self.client.post(&self.path("results"), &body).await
    }

    pub(crate) async fn confirm(&self, dispatch: &Dispatch) -> Result<Value, ClientError> {
        let request = ConfirmRequest {
            service: dispatch.order.service.clone(),
            generation: dispatch.order.generation,
            digest: dispatch.order.digest,
        };
        self.client.post(&self.path("confirm"), &request).await
    }

    /// Confirms whatever is ordered, and finds that whatever is probed answers. An order that was replaced meanwhile is none any more.
    pub(crate) async fn obey(&self) {
        for dispatch in self.orders().await.0 {
            match self.confirm(&dispatch).await {
                Ok(_) => {}
                Err(error) => assert_eq!(code(&error), Code::StaleGeneration),
            }
        }
        for task in self.tasks().await {
            if let Some(result) = probed(&task, ProbeVerdict::Answers) {
                self.tell(&[result]).await.unwrap();
            }
        }
    }
}

/// What a host says that found the same of all it was to probe.
pub(crate) fn probed(task: &Task, verdict: ProbeVerdict) -> Option<TaskResult> {
    let TaskKind::Probe { references, .. } = &task.kind else {
        return None;
    };
    let probes = references.iter().map(|(reference, it)| Probe {
        reference: *reference,
        verdict,
        latency_ms: Millis(1),
        detail: it.target.clone(),
    });
    Some(TaskResult {
        id: task.id.clone(),
        release: task.release,
        outcome: TaskOutcome::Probed {
            probes: probes.collect(),
        },
    })
}

/// `test` with one host, `production` with two, each in a zone of its own.
pub(crate) fn fleet() -> Topology {
    let host = |name: &str, zone: &str, port: u16| Host {
        class: None,
        name: name.parse().unwrap(),
        zone: zone.parse().unwrap(),
        services: [("api".parse().unwrap(), format!("127.0.0.1:{port}"))].into(),
    };
    let environment = |name: &str, hosts: Vec<Host>| Environment {
        name: name.parse().unwrap(),
        hosts,
    };
    // The way there and back is the subject of few tests, and each release would take thrice as long.
    let mut service = ServiceSpec::default();
    service.checks.rehearsal.off = true;
    Topology {
        catalog: Vec::new(),
        classes: Default::default(),
        freezes: Vec::new(),
        environments: vec![
            environment("test", vec![host("test-1", "lab", 9001)]),
            environment(
                "production",
                vec![host("web-1", "a", 9002), host("web-2", "b", 9003)],
            ),
        ],
        services: [("api".parse().unwrap(), service)].into(),
    }
}

/// A bundle whose plan needs neither time nor traffic.
pub(crate) fn bundle(content: &str) -> Bundle {
    let stage = |waves| StagePlan {
        waves,
        bake_ms: Millis(0),
        requests_min: 0,
        ..StagePlan::default()
    };
    let one = WavePlan::of(WaveSelector::Hosts { count: 1 });
    let all = WavePlan::of(WaveSelector::All);
    let file = FileEntry {
        digest: Digest::of(content.as_bytes()),
        size_bytes: content.len() as u64,
        executable: false,
    };
    Bundle {
        requires: Default::default(),
        service: "api".parse().unwrap(),
        files: [("api.toml".parse().unwrap(), file)].into(),
        packages: BTreeMap::new(),
        commands: Commands {
            // Those with "service" in their name know how to be restarted.
            restart: content.contains("service").then(|| model::Command {
                run: vec!["restart".into()],
                deadline_ms: Millis::seconds(5),
            }),
            ..Commands::default()
        },
        health: None::<HealthCheck>,
        plan: Plan {
            stages: [
                ("test".parse().unwrap(), stage(vec![all.clone()])),
                ("production".parse().unwrap(), stage(vec![one, all])),
            ]
            .into(),
            irreversible: false,
        },
    }
}

pub(crate) fn enrolment(host: &str, token: &str, key: &SecretKey) -> EnrolRequest {
    EnrolRequest {
        host: host.parse().unwrap(),
        join_token: token.to_owned(),
        public_key: key.public().to_string(),
        peer_address: "127.0.0.1:7610".into(),
        adopted: [("api".parse().unwrap(), Digest::of(b"found on disk"))].into(),
        fence: Generation(0),
    }
}

/// The code of a refusal; anything else is a failure of the test.
pub(crate) fn code(error: &ClientError) -> Code {
    match error {
        ClientError::Refused { refusal, .. } => {
            assert!(!refusal.next.is_empty(), "{refusal:?} says what to do next");
            refusal.code
        }
        other => panic!("a refusal was expected: {other}"),
    }
}

pub(crate) fn status(error: &ClientError) -> u16 {
    match error {
        ClientError::Refused { status, .. } => *status,
        other => panic!("a refusal was expected: {other}"),
    }
}

/// A request as it is, without [`Client`]'s manners.
pub(crate) fn raw(method: Method, url: String) -> reqwest::RequestBuilder {
    wire::install_crypto();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build();
    client.unwrap().request(method, url).timeout(PATIENCE)
}

/// The problem in an answer, once its form was checked.
pub(crate) async fn problem(response: reqwest::Response) -> wire::api::Problem {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let text = response.text().await.unwrap();
    assert_eq!(
        kind.as_ref().and_then(|kind| kind.to_str().ok()),
        Some("application/problem+json"),
        "{status} {text}"
    );
    let problem: wire::api::Problem = serde_json::from_str(&text).unwrap();
    assert_eq!(problem.status, status, "{text}");
    assert_eq!(problem.type_, format!("docs/errors/{}.md", problem.code));
    assert!(
        !problem.detail.is_empty() && !problem.next.is_empty(),
        "{text}"
    );
    problem
}

/// Polls until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
