//! An open-loop load generator: customers who don't wait for each other.
//!
//! Request `n` is due at `start + n / rate`, whatever became of those before
//! it, and its latency counts from then; a generator that waits for answers
//! would hide the very outage it should measure. Invariant: every request that
//! was due is counted once as sent and ends once as ok or failed.

mod arrival;
mod report;
mod session;

pub use report::{Bin, Failures, LatencyReport, LoadReport, Tally};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use arrival::TenantDraw;
use report::Recorder;

pub use arrival::Spread;
pub use session::{SESSION_HEADER, SessionDraw};

/// Highest rate the schedule keeps apart: two arrivals for each tick of the timer wheel.
const RATE_MAX: u32 = 100_000;
/// A request that leaves later than this after it was due counts as sent late:
/// the timer is exact to a millisecond, so this is the machine being short of CPU.
const LATE_AFTER: Duration = Duration::from_millis(10);
/// Idle connections are kept so long, less than servers usually do.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// Who asks what, and how often.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// What is asked for, by GET; `http` only.
    pub url: String,
    /// Requests for each second.
    pub rate_per_s: u32,
    /// How many customers there are; their keys are `tenant-0000` and so on.
    pub tenants: u32,
    /// How requests spread over customers.
    pub spread: Spread,
    /// Which header carries the customer's key.
    pub tenant_header: String,
    /// Sent with every request (`host`, for instance).
    pub headers: Vec<(String, String)>,
    /// Each request carries a session in `x-session`: most are short, one in
    /// twenty has more than 2 KiB and one in a hundred more than 4 KiB.
    pub sessions: bool,
    /// The same seed gives the same order of customers.
    pub seed: u64,
    /// How long a customer waits for the whole answer, counted from sending.
    pub timeout: Duration,
    /// Requests under way at once; one more fails at once as `generator_full`.
    /// Each may hold a socket, and a process often has 20,000 of them.
    pub in_flight_max: u32,
}

impl LoadConfig {
    /// 100 requests a second of 100 customers, skewed, who wait 5 s.
    pub fn new(url: impl Into<String>) -> LoadConfig {
        LoadConfig {
            url: url.into(),
            rate_per_s: 100,
            tenants: 100,
            spread: Spread::Skewed,
            tenant_header: "x-api-key".to_owned(),
            headers: Vec::new(),
            sessions: false,
            seed: 1,
            timeout: Duration::from_secs(5),
            in_flight_max: 15_000,
        }
    }
}

/// A configuration that can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not an `http` URL with a host.
    #[error("{0:?} is not a URL like http://127.0.0.1:8080/v1/orders")]
    Url(String),
    /// Not a header.
    #[error("{0:?} can't be a header")]
    Header(String),
    /// A number outside its range.
    #[error("{what} must be 1 to {max}")]
    Range {
        /// Which number.
        what: &'static str,
        /// Its upper end.
        max: u32,
    },
}

/// Starts load; see [`LoadHandle`].
#[derive(Debug)]
pub struct Load;

/// Running load. Dropping it ends the schedule; requests under way still end and are counted.
#[derive(Debug)]
pub struct LoadHandle {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    schedule: JoinHandle<()>,
    in_flight_max: u32,
}

#[derive(Debug)]
struct Shared {
    recorder: Mutex<Recorder>,
    in_flight: Arc<Semaphore>,
    client: Client<HttpConnector, Empty<Bytes>>,
    template: Request<Empty<Bytes>>,
    tenant_header: HeaderName,
    timeout: Duration,
}

impl Load {
    /// Begins at once, on the current tokio runtime.
    ///
    /// # Errors
    /// When the configuration can't be sent.
    pub fn start(config: LoadConfig) -> Result<LoadHandle, LoadError> {
        let range = |what, value, max| match value {
            1.. if value <= max => Ok(()),
            _ => Err(LoadError::Range { what, max }),
        };
        range("rate_per_s", config.rate_per_s, RATE_MAX)?;
        range("tenants", config.tenants, arrival::TENANTS_MAX)?;
        range("in_flight_max", config.in_flight_max, 1 << 20)?;
        let shared = Arc::new(Shared {
            recorder: Mutex::new(Recorder::new(
                Instant::now(),
                Timestamp::now(),
                config.tenants,
            )),
            in_flight: Arc::new(Semaphore::new(config.in_flight_max as usize)),
            client: client(config.timeout),
            template: template(&config)?,
            tenant_header: header_name(&config.tenant_header)?,
            timeout: config.timeout,
        });
        let (stop, stopped) = watch::channel(false);
        let draw = TenantDraw::new(config.tenants, config.spread, config.seed);
        let sessions = config.sessions.then(|| SessionDraw::new(config.seed));
        let schedule = tokio::spawn(schedule(
            Arc::clone(&shared),
            config.rate_per_s,
            (draw, sessions),
            stopped,
        ));
        Ok(LoadHandle {
            shared,
            stop,
            schedule,
            in_flight_max: config.in_flight_max,
        })
    }
}

impl LoadHandle {
    /// What has happened so far. Requests under way are sent but neither ok nor failed.
    pub fn snapshot(&self) -> LoadReport {
        self.shared.recorder().report()
    }

    /// Ends the schedule, waits for the requests under way (at most their
    /// timeout) and reports: then sent = ok + failed.
    pub async fn stop(mut self) -> LoadReport {
        self.stop.send_replace(true);
        // It can only have ended, or panicked: either way no more is sent.
        if let Err(error) = (&mut self.schedule).await {
            tracing::error!(%error, "load schedule ended badly");
        }
        // All permits are back when nothing is under way.
        drop(self.shared.in_flight.acquire_many(self.in_flight_max).await);
        self.snapshot()
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Shared {
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        // Nothing in the recorder panics half way through a change.
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what is due, sleeps until the next, and never waits for an answer.
async fn schedule(
    shared: Arc<Shared>,
    rate_per_s: u32,
    (mut draw, mut sessions): (TenantDraw, Option<SessionDraw>),
    mut stopped: watch::Receiver<bool>,
) {
    let start = shared.recorder().started();
    let mut number: u64 = 0;
    loop {
        // From the number, not from the last time: errors of timers don't add up.
        let due = start + due_after(number, rate_per_s);
        if due > Instant::now() {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep_until(due.into()) => {}
            }
        } else if *stopped.borrow() {
            return;
        }
        number += 1;
        let tenant = draw.next();
        let session = sessions.as_mut().map(SessionDraw::draw);
        let late = due.elapsed() > LATE_AFTER;
        shared.recorder().sent(due, tenant, late);
        let Ok(permit) = Arc::clone(&shared.in_flight).try_acquire_owned() else {
            shared
                .recorder()
                .done(due, tenant, Err(Failure::GeneratorFull));
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let outcome = ask(&shared, tenant, session).await;
            shared.recorder().done(due, tenant, outcome);
            drop(permit);
        });
    }
}

/// When request `number` is due, exact for years.
fn due_after(number: u64, rate_per_s: u32) -> Duration {
    let rate = u64::from(rate_per_s);
    let nanos = (number % rate) * 1_000_000_000 / rate;
    Duration::from_secs(number / rate) + Duration::from_nanos(nanos)
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Timeout,
    Connect,
    ServerError,
    Other,
    GeneratorFull,
}

async fn ask(shared: &Shared, tenant: u32, session: Option<HeaderValue>) -> Result<(), Failure> {
    let mut request = shared.template.clone();
    let key = HeaderValue::try_from(arrival::tenant_key(tenant)).map_err(|_| Failure::Other)?;
    request.headers_mut().insert(&shared.tenant_header, key);
    if let Some(session) = session {
        request.headers_mut().insert(SESSION_HEADER, session);
    }
    let whole = async {
        let sent = shared.client.request(request).await;
        let response = sent.map_err(|error| match error.is_connect() {
            true => Failure::Connect,
            false => Failure::Other,
        })?;
        let status = response.status();
        let mut body = response.into_body();
        // An answer that breaks off is none.
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| Failure::Other)?;
        }
        match status {
            status if status.is_server_error() => Err(Failure::ServerError),
            status if status.is_client_error() => Err(Failure::Other),
            _ => Ok(()),
        }
    };
    tokio::time::timeout(shared.timeout, whole)
        .await
        .unwrap_or(Err(Failure::Timeout))
}

fn client(timeout: Duration) -> Client<HttpConnector, Empty<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timeout));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(connector)
}

fn template(config: &LoadConfig) -> Result<Request<Empty<Bytes>>, LoadError> {
    let wrong = || LoadError::Url(config.url.clone());
    let uri: Uri = config.url.parse().map_err(|_| wrong())?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(wrong());
    }
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    for (name, value) in &config.headers {
        let text = HeaderValue::from_str(value).map_err(|_| LoadError::Header(value.clone()))?;
        request.headers_mut().insert(header_name(name)?, text);
    }
    Ok(request)
}

fn header_name(name: &str) -> Result<HeaderName, LoadError> {
    HeaderName::try_from(name).map_err(|_| LoadError::Header(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_does_not_drift() {
        assert_eq!(due_after(0, 300), Duration::ZERO);
        assert_eq!(due_after(300, 300), Duration::from_secs(1));
        assert_eq!(due_after(1, 300), Duration::from_nanos(3_333_333));
        let year = 365 * 24 * 3600;
        assert_eq!(due_after(300 * year, 300), Duration::from_secs(year));
    }
}
