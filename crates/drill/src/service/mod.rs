//! A test API server as the reports describe theirs: a fixed number of
//! blocking threads, a bounded queue, and a call to the authentication
//! service inside every request.
//!
//! Nothing here is told to fail. With a library that has no deadline and an
//! authentication address that stays silent, each request keeps its thread;
//! after as many requests as there are threads, `/healthz` stops too, the queue
//! fills, and clients wait in the kernel's backlog.

pub mod auth_client;
mod config;
mod http;
mod package;
mod queue;

pub use auth_client::Protocol;
pub use config::{AuthAddress, ConfigError, Limits, ServiceConfig};
pub use package::PackageError;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use model::{EnvironmentName, HostName};
use serde::{Deserialize, Serialize};
use serde_json::json;

use auth_client::{AuthClient, AuthFailure};
use http::{NoRequest, Request};
use package::Loaded;
use queue::Queue;

/// The drills' API server: blocking threads that authenticate every request.
///
/// Any path but /healthz and /stats is an API request. It asks the
/// authentication service that [auth.ENVIRONMENT] in the configuration names,
/// and answers 200, or 500 with the reason. Packages with an extension.toml in
/// packages/ beside the configuration, and in the folder of --deployed, are
/// loaded at start, after the address was taken and before requests are.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Example:\n  plimsoll drill-service --config /srv/api/current/api.toml --listen 127.0.0.1:9001 \\\n      --environment production --host prod-a-1 --threads 8\n  plimsoll drill-service --config api.toml --check"
)]
pub struct ServiceArgs {
    /// Configuration file (TOML), read once at start
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,
    /// Where to serve; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDR", required_unless_present = "check")]
    pub listen: Option<SocketAddr>,
    /// Which [auth.ENVIRONMENT] to use
    #[arg(long, value_name = "ENV", required_unless_present = "check")]
    pub environment: Option<EnvironmentName>,
    /// Name shown in every answer
    #[arg(long, value_name = "NAME", required_unless_present = "check")]
    pub host: Option<HostName>,
    /// Serving threads, instead of limits.threads
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroU16>,
    /// Serve /stats here too, on a thread of its own that no request can take
    #[arg(long, value_name = "ADDR")]
    pub stats: Option<SocketAddr>,
    /// Packages of this host, beside those released with the configuration
    #[arg(long, value_name = "PATH")]
    pub deployed: Option<PathBuf>,
    /// Where packages keep what they hold at run time
    #[arg(long, value_name = "PATH")]
    pub run: Option<PathBuf>,
    /// Only check the configuration: exit 0, or 1 with the place of the problem
    #[arg(long)]
    pub check: bool,
}

/// What can stop the service from running.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A package can't be loaded.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// An argument that serving needs is missing.
    #[error("--{0} is needed to serve")]
    Missing(&'static str),
    /// The address can't be taken.
    #[error("can't listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system refused something else: a thread, a signal handler, the output.
    #[error("the service can't run")]
    System(#[from] std::io::Error),
}

/// Runs `drill-service` until SIGTERM or SIGINT; messages go to `out`.
///
/// After it returns the process must exit: threads that wait for ever can't be ended otherwise.
///
/// # Errors
/// When the configuration or the address can't be used.
pub async fn run(args: ServiceArgs, out: &mut (dyn Write + Send)) -> Result<(), ServiceError> {
    let config = ServiceConfig::read(&args.config, args.environment.as_ref())?;
    let packages = package::find(&args.config, args.deployed.as_deref())?;
    if args.check {
        packages.protocol()?;
        writeln!(
            out,
            "{}: ok, version {}",
            args.config.display(),
            config.version
        )?;
        return Ok(());
    }
    let place = Place {
        environment: args
            .environment
            .ok_or(ServiceError::Missing("environment"))?,
        host: args.host.ok_or(ServiceError::Missing("host"))?,
        config_path: args.config,
        threads: args.threads,
    };
    let listener = bind(args.listen.ok_or(ServiceError::Missing("listen"))?)?;
    let drain = Duration::from_millis(u64::from(config.limits.drain_ms.get()));
    // Whoever comes meanwhile waits in the kernel's backlog.
    let packages = packages.load(args.run.as_deref())?;
    let service = Service::start(config, place, packages, listener)?;
    writeln!(out, "listening on {}", service.address())?;
    if let Some(address) = args.stats {
        let listener = bind(address)?;
        writeln!(out, "stats on {}", listener.local_addr()?)?;
        let shared = Arc::clone(&service.shared);
        spawn("stats", move || serve_stats(&shared, &listener))?;
    }
    out.flush()?;
    crate::asked_to_end().await?;
    // Blocks this thread, which has nothing else to do.
    service.stop(drain);
    Ok(())
}

fn bind(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    TcpListener::bind(address).map_err(|source| ServiceError::Listen { address, source })
}

/// Where one service stands.
#[derive(Debug, Clone)]
pub struct Place {
    /// Chooses the authentication address.
    pub environment: EnvironmentName,
    /// Shown in answers.
    pub host: HostName,
    /// For error messages.
    pub config_path: PathBuf,
    /// Instead of the configured number.
    pub threads: Option<NonZeroU16>,
}

/// What `/stats` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Who speaks.
    pub host: String,
    /// The configuration's version.
    pub version: String,
    /// Name and version of each package that is loaded.
    pub packages: Vec<String>,
    /// Serving threads.
    pub threads: usize,
    /// Those that hold a connection now.
    pub threads_busy: usize,
    /// Accepted connections that wait for a thread.
    pub queued: usize,
    /// Connections accepted since start.
    pub accepted: u64,
    /// API requests answered with 200.
    pub served: u64,
    /// API requests answered with 500.
    pub failed: u64,
    /// Of these, those whose session did not fit its buffer.
    pub sessions_too_long: u64,
    /// Time since start.
    pub uptime_ms: u64,
}

/// A running server.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    config: ServiceConfig,
    packages: Loaded,
    host: HostName,
    auth: AuthClient,
    queue: Queue<TcpStream>,
    threads: usize,
    request_within: Duration,
    stopping: AtomicBool,
    busy: AtomicUsize,
    accepted: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
    sessions_too_long: AtomicU64,
    started: Instant,
}

impl Service {
    /// Starts the threads; from here on `listener` is served.
    ///
    /// # Errors
    /// When the configuration lacks the environment or threads can't be started.
    fn start(
        config: ServiceConfig,
        place: Place,
        packages: Loaded,
        listener: TcpListener,
    ) -> Result<Service, ServiceError> {
        let auth = config.auth_of(&place.environment, &place.config_path)?;
        let threads = place.threads.unwrap_or(config.limits.threads).get();
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            auth: AuthClient::new(auth, packages.protocol, config.library_deadline()),
            packages,
            queue: Queue::new(usize::from(config.limits.queue.get())),
            threads: usize::from(threads),
            request_within: Duration::from_millis(u64::from(config.limits.request_within_ms.get())),
            host: place.host,
            config,
            stopping: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            served: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            sessions_too_long: AtomicU64::new(0),
            started: Instant::now(),
        });
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            spawn(&format!("serve-{number}"), move || work(&shared))?;
        }
        let acceptor = Arc::clone(&shared);
        spawn("accept", move || accept(&acceptor, &listener))?;
        Ok(Service { shared, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts right now; works with all threads taken.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Stops accepting and waits up to `drain` for what is queued and under way.
    /// Threads that still wait then are left to the end of the process.
    pub fn stop(self, drain: Duration) {
        let until = Instant::now() + drain;
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.queue.close();
        // Wakes the accepting thread, which then closes the listener.
        drop(TcpStream::connect_timeout(&self.address, drain));
        while Instant::now() < until {
            if self.shared.busy.load(Ordering::SeqCst) == 0 && self.shared.queue.len() == 0 {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Shared {
    fn stats(&self) -> Stats {
        Stats {
            host: self.host.to_string(),
            version: self.config.version.clone(),
            packages: self.packages.names.clone(),
            threads: self.threads,
            threads_busy: self.busy.load(Ordering::SeqCst),
            queued: self.queue.len(),
            accepted: self.accepted.load(Ordering::Relaxed),
            served: self.served.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            sessions_too_long: self.sessions_too_long.load(Ordering::Relaxed),
            uptime_ms: crate::millis(self.started.elapsed()),
        }
    }

    /// One API request: read the session, authenticate, work, answer.
    fn api(&self, request: &Request) -> (u16, serde_json::Value) {
        let buffer = self.config.session_bytes_max;
        if let Some(buffer) = buffer.map(|bytes| bytes.get() as usize)
            && request.session_bytes > buffer
        {
            self.sessions_too_long.fetch_add(1, Ordering::Relaxed);
            let body = json!({
                "error": "internal error",
                "reason": format!(
                    "a session of {} bytes does not fit a buffer of {buffer}",
                    request.session_bytes
                ),
                "host": self.host,
                "version": self.config.version,
            });
            return (500, body);
        }
        match self.auth.authenticate(&request.key) {
            Ok(()) => {
                thread::sleep(Duration::from_millis(self.config.work_ms.0));
                let body = json!({
                    "host": self.host,
                    "version": self.config.version,
                    "method": request.method,
                    "path": request.path,
                });
                (200, body)
            }
            Err(failure) => (500, self.failure(&failure)),
        }
    }

    fn health(&self) -> (u16, serde_json::Value) {
        if self.config.health_deep
            && let Err(failure) = self.auth.authenticate("health")
        {
            return (503, self.failure(&failure));
        }
        let body = json!({ "status": "pass", "host": self.host, "version": self.config.version });
        (200, body)
    }

    fn failure(&self, failure: &AuthFailure) -> serde_json::Value {
        json!({
            "error": "not authenticated",
            "reason": crate::chain(failure),
            "host": self.host,
            "version": self.config.version,
        })
    }
}

/// Accepts only what the queue has room for, as classic servers do: the rest
/// waits in the kernel, where nobody can tell it from slowness.
fn accept(shared: &Shared, listener: &TcpListener) {
    while shared.queue.wait_for_room() {
        match listener.accept() {
            Ok(_) if shared.stopping.load(Ordering::SeqCst) => return,
            Ok((stream, _)) => {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                shared.queue.push(stream);
            }
            Err(error) => {
                // Out of file descriptors, mostly: they come back as requests end.
                tracing::warn!(%error, "can't accept");
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// One serving thread: one connection at a time, one request each.
fn work(shared: &Shared) {
    while let Some(mut stream) = shared.queue.pop() {
        shared.busy.fetch_add(1, Ordering::SeqCst);
        // A client that went away meanwhile is its own loss, not the thread's.
        if let Err(error) = serve(shared, &mut stream) {
            tracing::debug!(%error, "answer not delivered");
        }
        drop(stream);
        shared.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(shared: &Shared, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let request = match http::read(stream, shared.request_within) {
        Ok(request) => request,
        Err(NoRequest::Gone) => return Ok(()),
        Err(NoRequest::Bad(status, reason)) => {
            return http::answer(stream, status, &json!({ "error": reason }));
        }
    };
    let (status, body) = match request.path.as_str() {
        "/healthz" => shared.health(),
        "/stats" => (200, json!(shared.stats())),
        _ => {
            let (status, body) = shared.api(&request);
            let count = if status == 200 {
                &shared.served
            } else {
                &shared.failed
            };
            count.fetch_add(1, Ordering::Relaxed);
            (status, body)
        }
    };
    http::answer(stream, status, &body)
}

/// Answers everything with the counts, one connection after the other.
fn serve_stats(shared: &Shared, listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        if http::read(&mut stream, shared.request_within).is_ok()
            && let Err(error) = http::answer(&mut stream, 200, &json!(shared.stats()))
        {
            tracing::debug!(%error, "counts not delivered");
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(body)?;
    Ok(())
}
