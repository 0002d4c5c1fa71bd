//! How a gateway is run, and why it could not start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use model::{EnvironmentName, GatewayName, ServiceName};

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
    /// Where each service is served; port 0 picks one.
    pub listeners: BTreeMap<ServiceName, SocketAddr>,
    /// Health, metrics and routes; loopback only, because it asks for no token.
    pub admin: Option<SocketAddr>,
    /// The last good routing is kept here.
    pub state_dir: Option<PathBuf>,
    /// Counts are posted this often.
    pub post_every: Duration,
    /// Bounds on requests and connections.
    pub limits: Limits,
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
            admin: None,
            state_dir: None,
            post_every: Duration::from_millis(500),
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
    /// URL or certificate file of the control plane can't be used.
    #[error(transparent)]
    Control(#[from] wire::ClientError),
}
