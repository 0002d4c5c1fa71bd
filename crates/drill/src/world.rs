//! A small fleet on this machine: every part of it a real process.
//!
//! Control plane, gateway, one agent, one init system and one API server for
//! each host, an authentication service and an address where nobody answers.
//! Invariant: everything lives below one folder and ends with its [`World`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use model::{GatewayName, Role};
use tokio::process::Command;
use tokio::time::Instant;
use wire::api::{HostView, JoinTokenRequest, TokenAnswer, TokenRequest};
use wire::{Client, Identity};

use crate::process::Process;

pub use package::{Package, Relations};
pub use shape::{AUTH_RUNTIME, Place, Shape};
use shape::{free_ports, places};

mod package;
mod project;
mod shape;

/// The fleet must be up within this time, also on a slow machine.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// Longest folder name: Unix sockets below it must stay under 108 bytes.
const FOLDER_BYTES_MAX: usize = 70;
/// Set for every process here, to the fleet's owner's id: each ends when the one
/// that started it does, also after `kill -9`.
pub const DIE_WITH_PARENT: &str = "PLIMSOLL_DIE_WITH_PARENT";

/// A running fleet.
pub struct World {
    folder: PathBuf,
    program: PathBuf,
    shape: Shape,
    processes: BTreeMap<String, Process>,
    /// Every host, test first.
    pub hosts: Vec<Place>,
    /// The control plane, as its first operator.
    pub client: Client,
    /// Where customers send requests.
    pub gateway: SocketAddr,
    /// Where production's authentication works.
    pub auth: SocketAddr,
    /// Where the test environment's does.
    pub auth_test: SocketAddr,
    /// Where connections are taken and nobody ever answers.
    pub blackhole: SocketAddr,
    control: SocketAddr,
    admin: SocketAddr,
    gateway_token: String,
}

impl World {
    /// Starts everything below `folder` (made, if missing) and waits until a
    /// request through the gateway is answered. `tell` hears of each step.
    ///
    /// # Errors
    /// When a part can't be started or doesn't come up.
    pub async fn start(folder: &Path, shape: Shape, tell: &mut dyn FnMut(&str)) -> Result<World> {
        std::fs::create_dir_all(folder).with_context(|| format!("folder {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        if folder.as_os_str().len() > FOLDER_BYTES_MAX {
            bail!(
                "folder {} has a name of more than {FOLDER_BYTES_MAX} bytes, too long for sockets in it; use a shorter one (--dir)",
                folder.display()
            );
        }
        for name in ["logs", "project/config", "hosts"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let program = match shape.program.clone() {
            Some(program) => program,
            None => std::env::current_exe().context("where is this program?")?,
        };
        let count = shape.test_hosts + shape.zones.iter().map(|(_, count)| count).sum::<usize>();
        let ports = free_ports(2 * count + 6)?;
        let (control, fixed) = (ports[0], &ports[1..6]);
        let hosts = places(&folder, &shape, &ports[6..])?;
        let mut world = World {
            program,
            processes: BTreeMap::new(),
            hosts,
            client: Client::new(&format!("http://{control}"), Identity::Nobody, None)?,
            gateway: fixed[0],
            admin: fixed[1],
            auth: fixed[2],
            auth_test: fixed[3],
            blackhole: fixed[4],
            control,
            gateway_token: String::new(),
            shape,
            folder,
        };
        world.bring_up(tell).await?;
        Ok(world)
    }

    async fn bring_up(&mut self, tell: &mut dyn FnMut(&str)) -> Result<()> {
        tell("authentication services, and an address where nobody answers");
        for (name, address, environment) in [
            ("auth", self.auth, "production"),
            ("auth-test", self.auth_test, "test"),
        ] {
            let api = self.shape.auth_api(environment).to_string();
            let address = address.to_string();
            let args = ["drill-auth", "--listen", &address, "--api", &api];
            self.run(name, &args, &[])?;
        }
        let blackhole = self.blackhole.to_string();
        self.run(
            "blackhole",
            &["drill-auth", "--blackhole", "--listen", &blackhole],
            &[],
        )?;
        self.write_project(&[])?;
        self.write_config("1", self.auth)?;
        tell("control plane");
        self.start_control()?;
        let token = self.first_token().await?;
        let base = format!("http://{}", self.control);
        self.client = Client::new(&base, Identity::Bearer(token), None)?;
        self.until("the control plane answers", async |client| {
            Ok(client.get::<serde_json::Value>("/readyz").await.is_ok())
        })
        .await?;
        tell(&format!(
            "{} hosts: API server and agent each",
            self.hosts.len()
        ));
        for place in self.hosts.clone() {
            self.start_host(&place)?;
            self.join(&place).await?;
        }
        if self.shape.gateway {
            tell("gateway");
            self.gateway_token = self.source_token("gateway").await?;
            self.start_gateway()?;
        }
        self.up().await
    }

    /// A token for whoever counts requests.
    ///
    /// # Errors
    /// When the control plane gives none.
    pub async fn source_token(&self, name: &str) -> Result<String> {
        let request = TokenRequest {
            name: name.into(),
            role: Role::Agent,
        };
        let answer: TokenAnswer = self.client.post("/v1/tokens", &request).await?;
        Ok(answer.token)
    }

    /// Waits until all parts know each other and serve.
    async fn up(&self) -> Result<()> {
        self.until("all hosts have joined", async |client| {
            let hosts: Vec<HostView> = client.get("/v1/hosts").await?;
            Ok(hosts.iter().all(|host| host.enrolled))
        })
        .await?;
        let url = self.url();
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .no_proxy()
            .build()?;
        self.until("each host's server answers", async |_| {
            let asked = self.hosts.iter().map(|place| {
                let answer = http.get(format!("http://{}/stats", place.stats)).send();
                async {
                    answer
                        .await
                        .is_ok_and(|answer| answer.status().is_success())
                }
            });
            Ok(join_all(asked).await.into_iter().all(|answers| answers))
        })
        .await?;
        if !self.shape.gateway {
            return Ok(());
        }
        self.until("a request through the gateway is answered", async |_| {
            let answer = http
                .get(&url)
                .header("x-api-key", "tenant-0000")
                .send()
                .await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()))
        })
        .await
    }

    /// Starts (or starts again) the control plane.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_control(&mut self) -> Result<()> {
        let (data, listen) = (self.path("data"), self.control.to_string());
        let project = self.path("project/plimsoll.toml");
        let args = [
            "server",
            "--data",
            &data,
            "--listen",
            &listen,
            "--project",
            &project,
        ];
        self.run("control", &args, &[])
    }

    /// Starts (or starts again) the gateway.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_gateway(&mut self) -> Result<()> {
        let serve = format!("api={}", self.gateway);
        let (state, url) = (self.path("gateway"), format!("http://{}", self.control));
        let (token, admin) = (self.gateway_token.clone(), self.admin.to_string());
        let name: GatewayName = "edge".parse()?;
        let args = [
            "gateway",
            "--name",
            name.as_str(),
            "--environment",
            "production",
            "--serve",
            &serve,
            "--admin",
            &admin,
            "--state",
            &state,
            "--deadline",
            "2s",
            "--workers",
            if self.shape.protected { "auto" } else { "off" },
            "--log",
            "warn",
        ];
        self.run(
            "gateway",
            &args,
            &[("PLIMSOLL_URL", &url), ("PLIMSOLL_TOKEN", &token)],
        )
    }

    /// Starts a host's API server under its init system, on the tree it was born with.
    fn start_host(&mut self, place: &Place) -> Result<()> {
        let live = place.folder.join("live");
        std::fs::create_dir_all(&live)?;
        std::fs::copy(
            self.folder.join("project/config/service.toml"),
            live.join("service.toml"),
        )?;
        self.deploy(place)?;
        let (deployed, run) = (
            text(&place.folder.join("deployed")),
            text(&place.folder.join("run")),
        );
        let (state, config) = (
            text(&place.folder.join("init")),
            text(&live.join("service.toml")),
        );
        let (host, address) = (place.name.to_string(), place.address.to_string());
        let stats = place.stats.to_string();
        let program = text(&self.program);
        let watch = format!("http://{address}/healthz");
        let mut args = vec!["supervise", "--name", &host, "--dir", &state];
        if self.shape.watchdog {
            args.extend(["--watchdog-url", &watch]);
        }
        args.extend([
            "--",
            &program,
            "drill-service",
            "--config",
            &config,
            "--listen",
            &address,
            "--environment",
            place.environment,
            "--host",
            &host,
            "--stats",
            &stats,
            "--deployed",
            &deployed,
            "--run",
            &run,
        ]);
        self.run(&format!("init-{host}"), &args, &[])
    }

    async fn join(&mut self, place: &Place) -> Result<()> {
        let config = format!(
            "control = \"http://{}\"\nhost = \"{}\"\nstate_dir = \"{}\"\n\n[services.api]\nlive = \"{}\"\n",
            self.control,
            place.name,
            place.folder.join("agent").display(),
            place.folder.join("live").display(),
        );
        std::fs::write(place.folder.join("agent.toml"), config)?;
        let request = JoinTokenRequest {
            host: place.name.clone(),
            valid_s: 600,
        };
        let answer: TokenAnswer = self.client.post("/v1/join-tokens", &request).await?;
        self.agent(place, &answer.token)
    }

    /// Starts again the agent of a host that has joined before.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_agent(&mut self, place: &Place) -> Result<()> {
        self.agent(place, "")
    }

    fn agent(&mut self, place: &Place, join_token: &str) -> Result<()> {
        let config = text(&place.folder.join("agent.toml"));
        let environment = [("PLIMSOLL_JOIN_TOKEN", join_token)];
        let environment: &[_] = if join_token.is_empty() {
            &[]
        } else {
            &environment
        };
        self.run(
            &format!("agent-{}", place.name),
            &["agent", "--config", &config],
            environment,
        )
    }

    fn run(&mut self, name: &str, args: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(&self.program);
        // Nothing of the caller's own control plane may leak in.
        for variable in [
            "PLIMSOLL_URL",
            "PLIMSOLL_TOKEN",
            "PLIMSOLL_TOKEN_FILE",
            "PLIMSOLL_CA",
            "PLIMSOLL_LOG",
        ] {
            command.env_remove(variable);
        }
        command
            .args(args)
            .envs(environment.iter().copied())
            .env(DIE_WITH_PARENT, std::process::id().to_string());
        let log = self.folder.join(format!("logs/{name}.log"));
        let process = Process::start(&mut command, &log)?;
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    /// `kill -9` of one part: `control`, `gateway`, `agent-HOST`, `init-HOST`.
    ///
    /// # Errors
    /// When there is no such part, or the system refuses.
    pub async fn crash(&mut self, name: &str) -> Result<()> {
        let process = self
            .processes
            .remove(name)
            .with_context(|| format!("no part {name}"))?;
        process.crash().await
    }

    async fn first_token(&self) -> Result<String> {
        let file = self.folder.join("data/operator.token");
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            match std::fs::read_to_string(&file) {
                Ok(token) if !token.is_empty() => return Ok(token),
                _ if Instant::now() > deadline => {
                    bail!("the control plane did not start{}", self.hint("control"))
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Waits until `condition` holds.
    async fn until(
        &self,
        what: &str,
        condition: impl AsyncFn(&Client) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + UP_WITHIN;
        while !condition(&self.client).await? {
            if Instant::now() > deadline {
                bail!(
                    "after {} s it is still not so that {what}{}",
                    UP_WITHIN.as_secs(),
                    self.hint("control")
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn hint(&self, name: &str) -> String {
        format!(
            "; the logs are in {} ({name}.log)",
            self.folder.join("logs").display()
        )
    }

    /// Where the gateway tells operators how it is.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// What customers ask for.
    pub fn url(&self) -> String {
        format!("http://{}/v1/orders", self.gateway)
    }

    /// Where the control plane answers.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// The folder that everything is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The operator's token.
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("data/operator.token")
    }

    /// Hosts where customers are served.
    pub fn production(&self) -> impl Iterator<Item = &Place> {
        self.hosts
            .iter()
            .filter(|place| place.environment == "production")
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.join(name))
    }

    /// Runs the program as its user would, as the first operator.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(self.folder.join("project"))
            .env("PLIMSOLL_URL", self.control_url())
            .env("PLIMSOLL_TOKEN_FILE", self.token_file())
            .env_remove("PLIMSOLL_TOKEN")
            .env(DIE_WITH_PARENT, std::process::id().to_string())
            .kill_on_drop(true);
        command
    }

    /// `plimsoll push`, followed to its end.
    ///
    /// # Errors
    /// When the program can't be run.
    pub async fn push(&self, message: &str) -> Result<Output> {
        let mut command = self.command(&["push", "api", "--json", "-m", message]);
        command.output().await.context("plimsoll push")
    }

    /// Ends every process, customers' side first.
    pub async fn stop(mut self) {
        let processes = std::mem::take(&mut self.processes);
        let (gateway, rest): (Vec<_>, Vec<_>) = processes
            .into_iter()
            .partition(|(name, _)| name == "gateway");
        join_all(gateway.into_iter().map(|(_, process)| process.end())).await;
        join_all(rest.into_iter().map(|(_, process)| process.end())).await;
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
