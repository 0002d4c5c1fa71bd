//! A service whose counts come from a Prometheus, the real one.
//!
//! Invariant: without Prometheus this fails and says what to install; it never passes unseen.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::routing::get;
use drill::process::Process;
use drill::world::Shape;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::balancer::{self, Balancer, Totals};
use crate::fleet::{self, Fleet};
use crate::pushed::{RATE_PER_S, judged};
use crate::random::Random;
use crate::wait::{s, until_so};

/// A slow mirror has sent the package by then.
const PACKAGE_WITHIN_S: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_bundle_goes_back_by_what_prometheus_scrapes() -> Result<()> {
    let program = program().await?;
    let shape = Shape {
        gateway: false,
        ..fleet::counted(3, &["1 host", "all"])?
    };
    let seed = Random::seeded("prometheus").between(0, u64::MAX);
    let test = async |fleet: &mut Fleet| {
        let balancer = Balancer::start(fleet.production(), RATE_PER_S, seed)?;
        let exporter = export(balancer.totals()).await?;
        let (prometheus, url) = scrape(&program, fleet.world.folder(), exporter).await?;
        let source = format!(
            "\n[service.api.prometheus]\nurl = \"{url}\"\nevery = \"1s\"\nrequests = 'sum by (host) (http_requests_total{{job=\"api\"}})'\nfailed = 'sum by (host) (http_requests_total{{job=\"api\", status=~\"5..\"}})'\n"
        );
        fleet
            .declare(|project| project.to_owned() + &source)
            .await?;
        let judged = judged(fleet).await;
        prometheus.end().await;
        judged
    };
    fleet::with(shape, |_| Ok(()), test).await
}

/// The balancer's counters as Prometheus reads them; where they are.
async fn export(totals: Arc<Mutex<Totals>>) -> Result<SocketAddr> {
    let router = Router::new().route(
        "/metrics",
        get(async move || {
            let mut text = String::from("# TYPE http_requests_total counter\n");
            for (host, counted) in balancer::now(&totals) {
                let good = counted.requests - counted.failed;
                for (status, count) in [("200", good), ("500", counted.failed)] {
                    let _ = writeln!(
                        text,
                        "http_requests_total{{host=\"{host}\",status=\"{status}\"}} {count}"
                    );
                }
            }
            text
        }),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Starts Prometheus on that exporter; where it answers.
async fn scrape(program: &Path, folder: &Path, exporter: SocketAddr) -> Result<(Process, String)> {
    let config = folder.join("prometheus.yml");
    std::fs::write(
        &config,
        format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: api\n    static_configs: [{{ targets: [\"{exporter}\"] }}]\n"
        ),
    )?;
    let address = Listener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("prometheus").display()
        ))
        .arg(format!("--web.listen-address={address}"));
    let log = folder.join("logs/prometheus.log");
    let process = Process::start(&mut command, &log)?;
    let url = format!("http://{address}");
    let up = format!("{url}/api/v1/query?query=http_requests_total");
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let http = http.timeout(s(2)).build()?;
    until_so("Prometheus has scraped", s(60), async || {
        let Ok(answer) = http.get(&up).send().await else {
            return Ok(false);
        };
        let said = answer.text().await.unwrap_or_default();
        Ok(said.contains("\"host\""))
    })
    .await
    .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
    Ok((process, url))
}

/// The program: installed, or unpacked beside the build from Debian's package.
async fn program() -> Result<PathBuf> {
    const NAME: &str = "prometheus";
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut installed = std::env::split_paths(&paths).map(|folder| folder.join(NAME));
    if let Some(program) = installed.find(|program| program.is_file()) {
        return Ok(program);
    }
    let built = crate::program::path()?;
    let folder = built.parent().context("target folder")?.join("debian");
    let program = folder.join("usr/bin").join(NAME);
    if !program.is_file() {
        let missing =
            "this test needs Prometheus: `apt-get install prometheus`, or put it into PATH";
        tokio::time::timeout(s(PACKAGE_WITHIN_S), unpack(NAME, &folder))
            .await
            .context(missing)?
            .context(missing)?;
    }
    ensure!(program.is_file(), "{} is missing", program.display());
    Ok(program)
}

/// Downloads a Debian package and unpacks it; nothing is installed.
async fn unpack(package: &str, folder: &Path) -> Result<()> {
    // Past what the test harness keeps to itself: a download is never silent.
    writeln!(
        std::io::stderr(),
        "downloading the Debian package {package} into {}",
        folder.display()
    )?;
    std::fs::create_dir_all(folder)?;
    let fresh = tempfile::tempdir_in(folder)?;
    if run("apt-get", &["download", package], fresh.path())
        .await
        .is_err()
    {
        run("apt-get", &["update"], fresh.path()).await?;
        run("apt-get", &["download", package], fresh.path()).await?;
    }
    let mut files = std::fs::read_dir(fresh.path())?;
    let file = files.next().context("no package came")??.path();
    let (file, to) = (file.display().to_string(), folder.display().to_string());
    run("dpkg-deb", &["-x", &file, &to], fresh.path()).await
}

async fn run(program: &str, args: &[&str], folder: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).kill_on_drop(true);
    let said = crate::program::run(&mut command).await;
    let said = said.with_context(|| format!("can't start {program}"))?;
    match said.code {
        0 => Ok(()),
        _ => bail!("{program} {}: {}", args.join(" "), said.err),
    }
}
