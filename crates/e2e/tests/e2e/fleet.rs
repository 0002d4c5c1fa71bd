//! A small fleet for one test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drill::load::{Load, LoadConfig, LoadHandle, Spread};
use drill::world::{Place, Shape, World};
use model::{ReleaseId, Role};
use tokio::sync::{Mutex, Semaphore};
use wire::ClientError;
use wire::api::{JournalRecord, ReleaseState, ReleaseView, TokenAnswer, TokenRequest};
use wire::client::Fetched;

use crate::program::{self, Said};
use crate::wait::{s, until, until_so};

/// Fleets at once: each is about twenty processes under load, on what may be two cores.
static TURNS: Semaphore = Semaphore::const_new(2);
/// A fleet looks for free ports, then takes them; two that look at once could find the same.
static STARTING: Mutex<()> = Mutex::const_new(());

/// A turn to have a fleet, and the right to start one now.
pub(crate) async fn turn() -> Result<tokio::sync::SemaphorePermit<'static>> {
    TURNS.acquire().await.context("turns never end")
}

/// The right to look for ports.
pub(crate) async fn starting() -> tokio::sync::MutexGuard<'static, ()> {
    STARTING.lock().await
}

/// One host for tests, `zones` of production, short bakes.
pub(crate) fn shape(zones: &[(&'static str, usize)]) -> Result<Shape> {
    Ok(Shape {
        test_hosts: 1,
        zones: zones.to_vec(),
        waves: vec!["1 host at 10%", "zone", "each zone"],
        bake_s: 1,
        requests_min: 3,
        program: Some(program::path()?),
        ..Shape::default()
    })
}

/// Hosts whose sessions are limited, released as somebody would who trusts in
/// counts. Five points is far from what fails here, so that a last wave, with nothing to
/// compare with, passes in seconds also where few hosts look unequal by chance and a
/// multiple of the evidence is asked for. What fails one in twenty gains nothing from it.
pub(crate) fn counted(hosts: usize, waves: &[&'static str]) -> Result<Shape> {
    Ok(Shape {
        waves: waves.to_vec(),
        bake_s: 10,
        requests_min: 500,
        failure_budget: "5%",
        session_bytes_max: Some(HEALTHY_SESSION),
        ..shape(&[("zone-a", hosts)])?
    })
}

/// A limit that one session in a hundred exceeds.
pub(crate) const HEALTHY_SESSION: u32 = 4096;
/// One that five in a hundred do.
pub(crate) const TIGHT_SESSION: u32 = 2048;
/// One that every fourth does.
pub(crate) const TINY_SESSION: u32 = 1024;

/// A running fleet, and every configuration that was written for it.
pub(crate) struct Fleet {
    /// The fleet.
    pub(crate) world: World,
    /// Contents of `service.toml` by version.
    pub(crate) configs: BTreeMap<String, String>,
}

/// Brings a fleet up, runs `test` on it and takes it down. Its folder is kept when the test fails.
pub(crate) async fn with(
    shape: Shape,
    before: impl FnOnce(&std::path::Path) -> Result<()>,
    test: impl AsyncFnOnce(&mut Fleet) -> Result<()>,
) -> Result<()> {
    wire::install_crypto();
    let _turn = turn().await?;
    let folder = tempfile::Builder::new().prefix("pe-").tempdir_in("/tmp")?;
    before(folder.path())?;
    let world = {
        let _starting = starting().await;
        World::start(folder.path(), shape, &mut |_| {}).await
    };
    let outcome = match world {
        Ok(world) => {
            let mut fleet = Fleet {
                world,
                configs: BTreeMap::new(),
            };
            let born = std::fs::read_to_string(fleet.config_path())?;
            fleet.configs.insert("1".into(), born);
            let outcome = test(&mut fleet).await;
            fleet.world.stop().await;
            outcome
        }
        Err(error) => Err(error),
    };
    if outcome.is_err() || std::env::var_os("PLIMSOLL_E2E_KEEP").is_some() {
        println!("the fleet's folder is kept: {}", folder.keep().display());
    }
    outcome
}

impl Fleet {
    fn config_path(&self) -> PathBuf {
        self.world.folder().join("project/config/service.toml")
    }

    /// Writes the configuration that the next push releases.
    pub(crate) fn write(&mut self, version: &str, auth: SocketAddr, extra: &str) -> Result<()> {
        let test = self.world.auth;
        let text = format!(
            "version = \"{version}\"\nwork_ms = 5\n{extra}\n[auth.test]\naddress = \"{test}\"\n\n[auth.production]\naddress = \"{auth}\"\n"
        );
        std::fs::write(self.config_path(), &text)?;
        self.configs.insert(version.into(), text);
        Ok(())
    }

    /// A change that works.
    pub(crate) fn write_good(&mut self, version: &str) -> Result<()> {
        self.write(version, self.world.auth, "")
    }

    /// A change that works in the test environment and hangs in production.
    pub(crate) fn write_bad(&mut self, version: &str) -> Result<()> {
        self.write(version, self.world.blackhole, "")
    }

    /// One that production's health check sees through at once.
    pub(crate) fn write_ill(&mut self, version: &str) -> Result<()> {
        self.write(version, self.world.blackhole, "health_deep = true")
    }

    /// A change of how long sessions may be, and nothing else.
    pub(crate) fn write_limit(&mut self, version: &str, session_bytes_max: u32) -> Result<()> {
        let limit = format!("session_bytes_max = {session_bytes_max}");
        self.write(version, self.world.auth, &limit)
    }

    /// Adds to the project file and declares the fleet anew.
    pub(crate) async fn declare(&self, change: impl FnOnce(&str) -> String) -> Result<()> {
        let path = self.world.folder().join("project/plimsoll.toml");
        let project = std::fs::read_to_string(&path)?;
        std::fs::write(&path, change(&project))?;
        self.plimsoll(&["hosts", "apply"]).await?.exits(0)?;
        Ok(())
    }

    /// Runs the program as the operator.
    pub(crate) async fn plimsoll(&self, args: &[&str]) -> Result<Said> {
        program::run(&mut self.world.command(args)).await
    }

    /// A token of this name and role.
    pub(crate) async fn person(&self, name: &str, role: Role) -> Result<String> {
        let request = TokenRequest {
            name: name.into(),
            role,
        };
        let answer: TokenAnswer = self.world.client.post("/v1/tokens", &request).await?;
        Ok(answer.token)
    }

    /// Runs the program as the bearer of a token.
    pub(crate) async fn plimsoll_as(&self, token: &str, args: &[&str]) -> Result<Said> {
        let mut command = self.world.command(args);
        command.env_remove("PLIMSOLL_TOKEN_FILE");
        program::run(command.env("PLIMSOLL_TOKEN", token)).await
    }

    /// Where services authenticate is high risk from now on: an operator's rule.
    pub(crate) async fn demand_approval(&self) -> Result<()> {
        let rule = "\n[[service.api.checks.risk]]\nfile = \"service.toml\"\nat = \"/auth\"\nwhy = \"a wrong address stops every request\"\n";
        self.declare(|project| project.to_owned() + rule).await
    }

    /// Starts the control plane on a journal that it must not believe; what it says.
    pub(crate) async fn control_refuses_to_start(&self) -> Result<String> {
        let data = self.world.folder().join("data").display().to_string();
        let args = ["server", "--data", &data, "--listen", "127.0.0.1:0"];
        let mut command = self.world.command(&args);
        let run = tokio::time::timeout(s(30), program::run(&mut command));
        let said = run.await.context("the control plane runs")??;
        ensure!(said.code != 0, "{said:#?}");
        Ok(said.out + &said.err)
    }

    /// Proposes what was written, and doesn't wait.
    pub(crate) async fn push(&self, message: &str) -> Result<ReleaseView> {
        let said = self
            .plimsoll(&["push", "api", "--no-follow", "--json", "-m", message])
            .await?;
        Ok(serde_json::from_value(said.exits(0)?.json()?)?)
    }

    /// A good change all the way.
    pub(crate) async fn push_good(&mut self, version: &str) -> Result<ReleaseView> {
        self.write_good(version)?;
        let release = self.push(version).await?;
        let release = self.over(release.id).await?;
        ensure!(release.state == ReleaseState::Good, "{release:#?}");
        Ok(release)
    }

    /// A release as it is now; `None` while the control plane doesn't answer.
    pub(crate) async fn release(&self, id: ReleaseId) -> Result<Option<ReleaseView>> {
        match self.world.client.release(id, "", Duration::ZERO).await {
            Ok(Fetched::New(release, _)) => Ok(Some(release)),
            Ok(Fetched::Unchanged) | Err(ClientError::Unreachable { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until a release is good or rolled back. In one of a hundred runs few hosts look
    /// unequal by chance, and the judge asks for evidence of a minute or two.
    pub(crate) async fn over(&self, id: ReleaseId) -> Result<ReleaseView> {
        let mut last = None;
        let over = until("the release is over", s(240), async || {
            let Some(now) = self.release(id).await? else {
                return Ok(None);
            };
            last = Some(now.clone());
            Ok(match now.state {
                ReleaseState::Good | ReleaseState::RolledBack => Some(now),
                ReleaseState::Rolling | ReleaseState::Held | ReleaseState::RollingBack => None,
            })
        });
        over.await.with_context(|| format!("last seen: {last:#?}"))
    }

    /// The whole journal.
    pub(crate) async fn journal(&self) -> Result<Vec<JournalRecord>> {
        let mut records: Vec<JournalRecord> = Vec::new();
        loop {
            let after = records.last().map_or(0, |record| record.seq);
            let path = format!("/v1/journal?after={after}&limit=1000");
            let more: Vec<JournalRecord> = self.world.client.get(&path).await?;
            if more.is_empty() {
                return Ok(records);
            }
            records.extend(more);
        }
    }

    /// Kills the control plane and starts it again.
    pub(crate) async fn start_control(&mut self) -> Result<()> {
        self.world.start_control()?;
        let client = &self.world.client;
        until_so("the control plane answers again", s(30), async || {
            Ok(client.get::<serde_json::Value>("/readyz").await.is_ok())
        })
        .await
    }

    /// Hosts where customers are served.
    pub(crate) fn production(&self) -> Vec<Place> {
        self.world.production().cloned().collect()
    }

    /// Waits until some production host has this version's tree live.
    pub(crate) async fn first_with(&self, version: &str) -> Result<Place> {
        let wanted = self.configs.get(version).context("never written")?;
        until("a production host has the new tree", s(60), async || {
            let mut hosts = self.world.production();
            let found = hosts.find(|place| live(place).is_ok_and(|text| text == *wanted));
            Ok(found.cloned())
        })
        .await
    }

    /// Waits until these hosts have this version's bytes live and serve it.
    pub(crate) async fn all_serve(
        &self,
        hosts: &[Place],
        version: &str,
        within: Duration,
    ) -> Result<()> {
        let wanted = self.configs.get(version).context("never written")?;
        for place in hosts {
            let what = format!("{} has and serves version {version}", place.name);
            until_so(&what, within, async || {
                let there = live(place).is_ok_and(|text| text == *wanted);
                Ok(there && served(place).await.as_deref() == Some(version))
            })
            .await?;
        }
        Ok(())
    }

    /// Customers: 100 requests a second of 100 tenants.
    pub(crate) fn customers(&self) -> Result<LoadHandle> {
        let config = LoadConfig {
            spread: Spread::Uniform,
            timeout: Duration::from_secs(4),
            ..LoadConfig::new(self.world.url())
        };
        Ok(Load::start(config)?)
    }

    /// Customers with sessions, so many requests a second of 1000 tenants.
    pub(crate) fn customers_with_sessions(&self, rate_per_s: u32, seed: u64) -> Result<LoadHandle> {
        let config = LoadConfig {
            rate_per_s,
            tenants: 1000,
            spread: Spread::Uniform,
            sessions: true,
            seed,
            timeout: Duration::from_secs(4),
            ..LoadConfig::new(self.world.url())
        };
        Ok(Load::start(config)?)
    }

    /// One customer's request: what it was answered with.
    pub(crate) async fn ask(&self) -> Option<u16> {
        let request = http()
            .get(self.world.url())
            .header("x-api-key", "tenant-0001");
        let answer = request.timeout(s(3)).send().await;
        Some(answer.ok()?.status().as_u16())
    }
}

/// What is live on a host.
pub(crate) fn live(place: &Place) -> std::io::Result<String> {
    std::fs::read_to_string(place.folder.join("live/service.toml"))
}

/// Which version a host's server runs; `None` while none answers.
pub(crate) async fn served(place: &Place) -> Option<String> {
    let request = http().get(format!("http://{}/stats", place.stats));
    let answer = request.timeout(s(1)).send().await.ok()?;
    let stats: serde_json::Value = answer.json().await.ok()?;
    Some(stats.get("version")?.as_str()?.to_owned())
}

/// How often a host's server was started.
pub(crate) fn starts(place: &Place) -> Result<u64> {
    Ok(drill::supervise::read_state(&place.folder.join("init"))?.starts)
}

/// One client for all; it keeps no connection, because each test has a runtime of its own.
fn http() -> &'static reqwest::Client {
    static HTTP: OnceLock<reqwest::Client> = OnceLock::new();
    HTTP.get_or_init(|| {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let client = builder.pool_max_idle_per_host(0).build();
        client.unwrap_or_else(|error| panic!("an HTTP client: {error}"))
    })
}
