//! The words of the commands that go on running: server, agent, gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use gateway::Concurrency;
use jiff::SignedDuration;
use model::{Digest, EnvironmentName, GatewayName, Permille, ServiceName};

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Journal, blobs, keys and the first operator token live here
    #[arg(long, default_value = "plimsoll-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7600", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Declare the fleet from this project file at start
    #[arg(long, value_name = "FILE")]
    pub(crate) project: Option<PathBuf>,
    /// Certificate chain in PEM; with it the API speaks TLS
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// What messages to people are carried with (mail server, webhooks, telephone)
    #[arg(long, value_name = "FILE")]
    pub(crate) notify: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) status: StatusArgs,
    /// Requests in flight get so long when the server is told to stop
    #[arg(long, default_value = "5s", value_name = "TIME")]
    pub(crate) drain: SignedDuration,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Serve the status page for users there
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) status_page: Option<SocketAddr>,
    /// Write the status page into this folder after each change, for any web server
    #[arg(long, requires = "status_url", value_name = "DIR")]
    pub(crate) status_export: Option<PathBuf>,
    /// Where users find the status page: links in feeds and mails begin with it
    #[arg(long, value_name = "URL")]
    pub(crate) status_url: Option<String>,
    /// Whose status page it is
    #[arg(long, default_value = "Plimsoll", value_name = "NAME")]
    pub(crate) status_name: String,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What to log: error, warn, info, debug, or a filter like `server=debug,info`
    #[arg(
        long,
        env = "PLIMSOLL_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub(crate) log: String,
    /// Log as JSON, one object a line
    #[arg(long)]
    pub(crate) log_json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) what: Option<AgentCommand>,
    /// The agent's configuration
    #[arg(long, default_value = "/etc/plimsoll/agent.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// One-time token; needed the first time only
    #[arg(
        long,
        env = "PLIMSOLL_JOIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) join_token: Option<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Go back to the last good bundle of this host, without the control plane
    Revert {
        /// Really here, by this host alone
        #[arg(long, required = true)]
        local: bool,
        /// The agent's configuration
        #[arg(long, default_value = "/etc/plimsoll/agent.toml", value_name = "FILE")]
        config: PathBuf,
        /// Which service; may be left out if there is one
        #[arg(long)]
        service: Option<ServiceName>,
        /// Another kept bundle instead of the last good one
        #[arg(long, value_name = "DIGEST")]
        to: Option<Digest>,
        /// A way back that was signed in advance and handed over in a file
        #[arg(long, conflicts_with = "to", value_name = "FILE")]
        order: Option<PathBuf>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// What this host runs, and what it is doing
    Status {
        /// The agent's configuration
        #[arg(long, default_value = "/etc/plimsoll/agent.toml", value_name = "FILE")]
        config: PathBuf,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// This gateway's name
    #[arg(long)]
    pub(crate) name: GatewayName,
    /// Whose traffic it carries
    #[arg(long)]
    pub(crate) environment: EnvironmentName,
    /// A service and where to listen for it; may be given more than once
    #[arg(long, required_unless_present = "serve_tls", value_parser = serve, value_name = "SERVICE=ADDRESS")]
    pub(crate) serve: Vec<(ServiceName, SocketAddr)>,
    /// The same with TLS
    #[arg(long, requires_all = ["tls_cert", "tls_key"], value_parser = serve, value_name = "SERVICE=ADDRESS")]
    pub(crate) serve_tls: Vec<(ServiceName, SocketAddr)>,
    /// Certificate chain in PEM; taken anew when it changes, and at SIGHUP
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Hosts with TLS: only certificates that this PEM file vouches for; the system's authorities if absent
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_ca: Option<PathBuf>,
    /// Hosts with TLS: the certificate chain that this gateway shows them, in PEM
    #[arg(long, requires = "upstream_key", value_name = "FILE")]
    pub(crate) upstream_cert: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, requires = "upstream_cert", value_name = "FILE")]
    pub(crate) upstream_key: Option<PathBuf>,
    /// Hosts with TLS: take any certificate, as if anybody could be the host
    #[arg(long, conflicts_with = "upstream_ca")]
    pub(crate) upstream_unverified: bool,
    /// Health, metrics and routes for operators; keep it on loopback
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,
    /// Of requests that come without `traceparent`, the share that is marked to be recorded, like 1%
    #[arg(long, default_value = "0%", value_parser = share, value_name = "SHARE")]
    pub(crate) trace_sampled: Permille,
    /// The last good routing is kept here, to serve on without the control plane
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Say all that is wrong with these settings, files and ports, then end
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Their meaning and reasons: docs/gateway.md.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Requests that each host works on at once, if neither it nor plimsoll.toml says so; `auto` finds out, `off` gives it whatever comes
    #[arg(long, default_value = "auto", value_parser = workers, value_name = "NUMBER")]
    pub(crate) workers: Concurrency,
    /// A request that takes longer is answered with 504, if plimsoll.toml does not say another time
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub(crate) deadline: SignedDuration,
    /// A request's head that takes longer is answered with 408
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub(crate) head_deadline: SignedDuration,
    /// A body that comes more slowly is answered with 408; 0 for none
    #[arg(long, default_value_t = 240, value_name = "BYTES/S")]
    pub(crate) body_rate: u64,
    /// A larger body is answered with 413
    #[arg(long, default_value_t = 10 << 20, value_name = "BYTES")]
    pub(crate) body_max: u64,
    /// A larger head is answered with 431
    #[arg(long, default_value_t = 64 << 10, value_name = "BYTES")]
    pub(crate) head_max: usize,
    /// Clients' connections at once; more are answered with 503
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER")]
    pub(crate) connections: usize,
    /// Requests at once over one HTTP/2 connection
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    pub(crate) streams: u32,
    /// A connection without a request is closed after this long
    #[arg(long, default_value = "75s", value_name = "TIME")]
    pub(crate) idle: SignedDuration,
    /// A protocol that clients may switch to; may be given more than once
    #[arg(long, default_value = "websocket", value_name = "PROTOCOL")]
    pub(crate) upgrade: Vec<String>,
    /// A switched connection that is silent for this long is closed
    #[arg(long, default_value = "5min", value_name = "TIME")]
    pub(crate) upgrade_idle: SignedDuration,
    /// Requests in flight get so long when the gateway is told to stop
    #[arg(long, default_value = "10s", value_name = "TIME")]
    pub(crate) drain: SignedDuration,
}

/// `1%`, `0.5%`: steps of a tenth.
fn share(text: &str) -> Result<Permille, String> {
    let wrong = || format!("{text:?} is no share like 1% or 0.5%");
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
        return Err(wrong());
    }
    let whole: u16 = whole.parse().map_err(|_| wrong())?;
    let tenth: u16 = tenth.parse().map_err(|_| wrong())?;
    let permille = whole.checked_mul(10).and_then(|it| it.checked_add(tenth));
    permille.and_then(Permille::new).ok_or_else(wrong)
}

fn workers(text: &str) -> Result<Concurrency, String> {
    match text {
        "auto" => Ok(Concurrency::Found),
        "off" => Ok(Concurrency::Unlimited),
        number => match number.parse() {
            Ok(0) | Err(_) => Err(format!(
                "{text:?} is neither a number from 1 nor auto nor off"
            )),
            Ok(workers) => Ok(Concurrency::Workers(workers)),
        },
    }
}

fn serve(text: &str) -> Result<(ServiceName, SocketAddr), String> {
    let (service, address) = text
        .split_once('=')
        .ok_or_else(|| "write it like api=127.0.0.1:8080".to_owned())?;
    let service = service
        .parse()
        .map_err(|error: model::InvalidName| error.to_string())?;
    let address = address
        .parse()
        .map_err(|_| format!("{address:?} is no address like 127.0.0.1:8080"))?;
    Ok((service, address))
}
