//! A real Prometheus pages by a real mail server, and pages survive `kill -9`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as Listener};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use drill::process::Process;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::debian;
use crate::plane::Plane;
use crate::program::{self, Said};
use crate::wait::{s, until_so};

/// How often the control plane is killed.
const KILLS: usize = 12;

/// aiosmtpd: takes mail and keeps it in a maildir.
struct MailServer {
    process: Process,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl MailServer {
    async fn start() -> Result<MailServer> {
        let packages = [
            ("python3-aiosmtpd", "aiosmtpd"),
            ("python3-public", "public"),
            ("python3-attr", "attr"),
        ];
        let modules = debian::python(&packages).await?;
        let folder = tempfile::Builder::new().prefix("pm-").tempdir_in("/tmp")?;
        let address = free()?;
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", modules)
            .args(["-m", "aiosmtpd", "-n", "-l", &address.to_string()])
            .args(["-c", "aiosmtpd.handlers.Mailbox"])
            .arg(folder.path().join("mail"));
        let process = Process::start(&mut command, &folder.path().join("log"))?;
        let server = MailServer {
            process,
            address,
            folder,
        };
        until_so("the mail server listens", s(30), async || {
            Ok(tokio::net::TcpStream::connect(address).await.is_ok())
        })
        .await
        .with_context(|| {
            std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default()
        })?;
        Ok(server)
    }

    fn mails(&self) -> Vec<String> {
        let new = self.folder.path().join("mail/new");
        let files = std::fs::read_dir(new).into_iter().flatten().flatten();
        files
            .filter_map(|file| std::fs::read_to_string(file.path()).ok())
            .collect()
    }

    fn settings(&self) -> String {
        format!(
            "public_url = \"http://plimsoll.test\"\n[smtp]\nhost = \"{}\"\nport = {}\nsecurity = \"none\"\nfrom = \"Plimsoll <plimsoll@example.com>\"\n",
            self.address.ip(),
            self.address.port()
        )
    }
}

fn free() -> Result<SocketAddr> {
    Ok(Listener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A control plane's API by HTTP.
struct Api {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Api {
    fn of(plane: &Plane) -> Result<Api> {
        wire::install_crypto();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        Ok(Api {
            http: http.timeout(s(20)).build()?,
            url: plane.url.clone(),
            token: std::fs::read_to_string(plane.file("data/operator.token"))?,
        })
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Result<Value> {
        let request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn declare_ada(&self) -> Result<()> {
        let setup = json!({
            "contacts": {"ada": {"name": "Ada", "channels": [
                {"kind": "mail", "address": "ada@example.com", "wait_ms": 60_000}]}},
            "policies": {"all": {"steps": [{"targets": [{"contact": "ada"}], "wait_ms": 300_000}]}},
            "default_policy": "all",
        });
        let put = reqwest::Method::PUT;
        self.send(put, "/v1/oncall", &json!({ "setup": setup }))
            .await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_pages_by_mail_and_amtool_silences() -> Result<()> {
    let prometheus = debian::program("prometheus", "prometheus").await?;
    let amtool = debian::program("prometheus-alertmanager", "amtool").await?;
    let mail = MailServer::start().await?;
    let plane = Plane::start_with(Some(&mail.settings())).await?;
    let api = Api::of(&plane)?;
    api.declare_ada().await?;
    let machine = json!({"name": "prometheus", "role": "agent"});
    let token = api
        .send(reqwest::Method::POST, "/v1/tokens", &machine)
        .await?;
    let token = token["token"].as_str().context("a token")?;
    let rules = plane.file("rules.yml");
    write_rule(&rules, "vector(1)")?;
    let running = start_prometheus(&prometheus, &plane, token)?;

    until_so("the page is a mail", s(90), async || {
        Ok(!mail.mails().is_empty())
    })
    .await?;
    let page = mail.mails().remove(0);
    println!("{page}");
    for part in [
        "To: ada@example.com",
        "Subject: [SEV2] api: everything is on fire",
        "Message-ID: <page.1.all.1.0.0mail.ada@example.com>",
        "Acknowledge: http://plimsoll.test/ack/1.ada.",
    ] {
        ensure!(page.contains(part), "{part:?} is missing in\n{page}");
    }

    let web = plane.file("web.yml");
    let config = format!("authorization:\n  credentials: \"{}\"\n", api.token.trim());
    std::fs::write(&web, config)?;
    let tool = async |args: &[&str]| -> Result<String> {
        let mut command = Command::new(&amtool);
        command
            .args(args)
            .arg(format!("--alertmanager.url={}/am", plane.url))
            .arg(format!("--http.config.file={}", web.display()))
            .current_dir(plane.folder())
            .stdin(Stdio::null());
        let said: Said = program::run(&mut command).await?;
        ensure!(said.code == 0, "amtool {args:?}: {} {}", said.out, said.err);
        Ok(said.out)
    };
    ensure!(
        tool(&["alert", "query"]).await?.contains("Always"),
        "amtool sees the alert"
    );
    let id = tool(&[
        "silence",
        "add",
        "alertname=Always",
        "--comment=we know",
        "--author=ada",
    ])
    .await?;
    ensure!(
        tool(&["silence", "query"]).await?.contains("we know"),
        "amtool sees the silence"
    );
    ensure!(
        !tool(&["alert", "query"]).await?.contains("Always"),
        "silenced alerts are left out"
    );
    ensure!(
        tool(&["alert", "query", "--silenced"])
            .await?
            .contains("Always"),
        "and shown when asked for"
    );
    tool(&["silence", "expire", id.trim()]).await?;
    ensure!(
        tool(&["config", "routes"]).await?.contains("plimsoll"),
        "amtool reads the configuration"
    );
    tool(&["alert", "add", "Manual", "service=api", "severity=info"]).await?;
    ensure!(
        tool(&["alert", "query", "-o", "extended"])
            .await?
            .contains("Manual"),
        "amtool adds alerts"
    );

    // The rule no longer holds: Prometheus says so, and the incident is calm.
    write_rule(&rules, "vector(1) > 2")?;
    let reload = running.id().context("Prometheus runs")?;
    program::hang_up(reload)?;
    until_so("it is resolved", s(90), async || {
        let incident = api
            .send(reqwest::Method::GET, "/v1/incidents/1", &Value::Null)
            .await?;
        Ok(incident["firing"] == 0)
    })
    .await?;
    running.end().await;
    ensure!(
        mail.mails().len() == 1,
        "one page for one incident: {}",
        mail.mails().len()
    );
    plane.stop().await;
    mail.process.end().await;
    Ok(())
}

fn write_rule(path: &Path, expression: &str) -> Result<()> {
    let text = format!(
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Always\n    expr: {expression}\n    labels: {{ severity: page, service: api }}\n    annotations: {{ summary: everything is on fire }}\n"
    );
    std::fs::write(path, text).context("rules")
}

fn start_prometheus(program: &Path, plane: &Plane, token: &str) -> Result<Process> {
    let config = plane.file("prometheus.yml");
    let text = format!(
        "global: {{ evaluation_interval: 1s }}\nrule_files: [rules.yml]\nalerting:\n  alertmanagers:\n  - path_prefix: /am\n    authorization: {{ credentials: \"{token}\" }}\n    static_configs: [{{ targets: [\"{}\"] }}]\n",
        plane.address()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            plane.file("tsdb").display()
        ))
        .arg(format!("--web.listen-address={}", free()?));
    Process::start(&mut command, &plane.file("prometheus.log"))
}

/// Each alert is written down before it is answered; where in between the page and
/// the note that it was sent the process dies is chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_is_lost_by_kill_9_and_repeats_are_known_by_their_key() -> Result<()> {
    let mail = MailServer::start().await?;
    let mut plane = Plane::start_with(Some(&mail.settings())).await?;
    let api = Api::of(&plane)?;
    api.declare_ada().await?;
    for n in 1..=KILLS {
        // Groups of their own, without a service: each is an incident.
        let alert = json!([{"labels": {"alertname": format!("Alert{n}"), "severity": "critical"},
            "endsAt": "2126-01-01T00:00:00Z"}]);
        api.send(reqwest::Method::POST, "/am/api/v2/alerts", &alert)
            .await?;
        // From before the page to after its note.
        tokio::time::sleep(std::time::Duration::from_millis(40 * n as u64)).await;
        plane.crash_and_start().await?;
    }
    let mut seen = std::collections::BTreeMap::new();
    // A contact is sent ten pages in ten minutes; what is more is one message about all.
    let wanted = 10;
    until_so("every page arrived", s(120), async || {
        seen.clear();
        for mail in mail.mails() {
            let key = mail
                .lines()
                .find_map(|line| line.strip_prefix("X-Plimsoll-Key: "));
            *seen.entry(key.unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        let pages = seen.keys().filter(|key| key.starts_with("page.")).count();
        let digests = seen.keys().filter(|key| key.starts_with("digest.")).count();
        Ok(pages >= wanted && digests >= 1)
    })
    .await
    .with_context(|| format!("{seen:?}"))?;
    let repeats: usize = seen.values().map(|count| count - 1).sum();
    println!("{KILLS} kills, {} messages, {repeats} repeats", seen.len());
    plane.stop().await;
    mail.process.end().await;
    Ok(())
}
