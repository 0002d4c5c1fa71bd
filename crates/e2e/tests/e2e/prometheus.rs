//! A service whose counts come from a Prometheus, the real one.
//!
//! Invariant: without Prometheus this fails and says what to install; it never passes unseen.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use drill::process::Process;
use drill::world::Shape;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::balancer::{self, Balancer, Totals};
use crate::debian;
use crate::fleet::{self, Fleet};
use crate::pushed::{RATE_PER_S, judged};
use crate::random::Random;
use crate::wait::{s, until_so};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_bundle_goes_back_by_what_prometheus_scrapes() -> Result<()> {
    let program = debian::program("prometheus", "prometheus").await?;
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
