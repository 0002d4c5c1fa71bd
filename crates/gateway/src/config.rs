//! How a gateway is run, and why it could not start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{EnvironmentName, GatewayName, Permille, ServiceName};
use tokio::sync::Notify;

use crate::tls::{TlsError, TlsFiles};
use crate::upstream::UpstreamTls;

/// One gateway process.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The control plane's URL.
    pub control: String,
    /// The token that speaks for this gateway.
    pub token: Option<String>,
    /// Only certificates from this PEM file are trusted, if given.
    pub ca: Option<PathBuf>,
    /// This gateway's name: counts are kept under it.
    pub name: GatewayName,
    /// Whose traffic it carries.
    pub environment: EnvironmentName,
    /// Where each service is served, HTTP/1.1 and HTTP/2 without TLS; port 0 picks one.
    pub listeners: BTreeMap<ServiceName, SocketAddr>,
    /// Where each service is served with TLS; port 0 picks one.
    pub tls_listeners: BTreeMap<ServiceName, SocketAddr>,
    /// For the listeners with TLS.
    pub tls: Option<TlsFiles>,
    /// For services whose hosts are spoken to with TLS.
    pub upstream_tls: UpstreamTls,
    /// Told when a person wants files to be looked at now.
    pub reload: Arc<Notify>,
    /// Protocols that HTTP/1.1 clients may switch to; never `h2c`.
    pub upgrades: Vec<String>,
    /// Health, metrics and routes; loopback only, because it asks for no token.
    pub admin: Option<SocketAddr>,
    /// The last good routing is kept here.
    pub state_dir: Option<PathBuf>,
    /// Of requests that come without a trace, so many are said to be worth recording.
    pub trace_sampled: Permille,
    /// Counts are posted this often.
    pub post_every: Duration,
    /// How many requests a host is given at once.
    pub concurrency: Concurrency,
    /// Bounds on requests and connections.
    pub limits: Limits,
}

/// How many requests a host is given at once; what comes beyond waits for a moment or is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Concurrency {
    /// What the host itself says (`x-plimsoll-workers` in its answers), else an estimate.
    #[default]
    Found,
    /// As many as this number of workers can use, unless the host says another one.
    Workers(u32),
    /// Whatever comes, as a plain proxy does: nothing protects a host that hangs.
    Unlimited,
}

impl GatewayConfig {
    /// A gateway without listeners, with the usual bounds.
    pub fn new(control: String, name: GatewayName, environment: EnvironmentName) -> GatewayConfig {
        GatewayConfig {
            control,
            token: None,
            ca: None,
            name,
            environment,
            listeners: BTreeMap::new(),
            tls_listeners: BTreeMap::new(),
            tls: None,
            upstream_tls: UpstreamTls::default(),
            reload: Arc::new(Notify::new()),
            upgrades: vec!["websocket".to_owned()],
            admin: None,
            state_dir: None,
            trace_sampled: Permille::NONE,
            post_every: Duration::from_millis(500),
            concurrency: Concurrency::default(),
            limits: Limits::default(),
        }
    }
}

/// What a gateway bears, and what happens beyond it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the request's head to the answer's last byte. Beyond it: 504, or a
    /// cut connection when the answer has begun.
    pub request_deadline: Duration,
    /// For a connection to a backend to come about. Beyond it: 502.
    pub connect_deadline: Duration,
    /// Of a request's body. Beyond it: 413.
    pub body_bytes_max: u64,
    /// Of a request's head. Beyond it: 431.
    pub header_bytes_max: usize,
    /// Of a request's head. Beyond it: 431.
    pub header_count_max: usize,
    /// Of clients, over all listeners. Beyond it: 503 and the connection is closed.
    pub connections_max: usize,
    /// A client's connection that sends no complete head for this long is
    /// closed. Longer than the minute for which load balancers keep idle connections.
    pub client_idle: Duration,
    /// From a head's first byte to its last. Beyond it: 408.
    pub head_deadline: Duration,
    /// For a TLS handshake. Beyond it the connection is closed.
    pub handshake_deadline: Duration,
    /// Of a request's body, bytes a second; 0 for none. Below it: 408.
    pub body_rate_min: u64,
    /// The rate is looked at over so much time in which the client was waited for.
    pub body_rate_window: Duration,
    /// Requests at once over one HTTP/2 connection. The client waits beyond it.
    pub streams_max: u32,
    /// An HTTP/2 client is asked this often whether it is there.
    pub ping_every: Duration,
    /// And closed if it has not answered by then.
    pub ping_deadline: Duration,
    /// A switched connection over which neither end sends for this long is closed.
    pub tunnel_idle: Duration,
    /// In-flight requests get this long after the signal to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(1),
            body_bytes_max: 10 << 20,
            header_bytes_max: 64 << 10,
            header_count_max: 100,
            connections_max: 10_000,
            client_idle: Duration::from_secs(75),
            head_deadline: Duration::from_secs(10),
            handshake_deadline: Duration::from_secs(5),
            body_rate_min: 240,
            body_rate_window: Duration::from_secs(5),
            streams_max: 100,
            ping_every: Duration::from_secs(20),
            ping_deadline: Duration::from_secs(10),
            tunnel_idle: Duration::from_secs(300),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address can't be listened on.
    #[error(
        "can't listen on {address} for {what}: {source}; is another process using it? (`ss -ltnp`)"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The service, or the admin pages.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// The admin pages show routes and customers' counts to whoever asks.
    #[error("the admin address {0} is not a loopback address; use one like 127.0.0.1:7680")]
    AdminNotLoopback(SocketAddr),
    /// The folder for the last good routing can't be used.
    #[error("state folder {path}: {source}")]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key for clients can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nothing is to be served.
    #[error("no service is to be served; name one with its address, like api=0.0.0.0:8080")]
    NoListener,
    /// One address for two things.
    #[error("the address {address} is used twice, for {other} and for {what}")]
    Twice {
        /// Which.
        address: SocketAddr,
        /// For what.
        what: String,
        /// And for what else.
        other: String,
    },
    /// Behind a switch to HTTP/2 without TLS there would be requests that nobody sees.
    #[error(
        "clients may not switch to h2c: requests behind it would be neither routed nor counted"
    )]
    HiddenRequests,
    /// A limit is too low to serve anything.
    #[error("the limit {name} is too low; the least is {least}")]
    Limit {
        /// Its name in [`Limits`].
        name: &'static str,
        /// In words.
        least: &'static str,
    },
    /// Services are to be served with TLS, and there is nothing to do it with.
    #[error("a service is to be served with TLS, but no certificate and key are given")]
    NoCertificate,
    /// URL or certificate file of the control plane can't be used.
    #[error(transparent)]
    Control(#[from] wire::ClientError),
}
