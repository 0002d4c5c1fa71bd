//! An open loop: request `n` is due at a time that no answer changes, and its latency counts from then.
//!
//! Writes one line for each try: `r DUE BEGUN ENDED OUTCOME TENANT LAST`, times in microseconds since the
//! start, the outcome a status, `timeout` or `error`, and `1` for the try after which the client rested.
//! For each order to the hosts it writes `a AT BODY`, and `late N` at the end.
//!
//! Invariant: every request that was due has exactly one line that is the last of it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::slots::GIVES_UP;

/// What a client waits before its second and third try; it knows no better.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];
/// A request that leaves later than this after it was due: the machine is short of processor time.
const LATE_AFTER: Duration = Duration::from_millis(10);

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Where requests go
    #[arg(long)]
    to: SocketAddr,
    /// The hosts that orders go to
    #[arg(long)]
    host: Vec<SocketAddr>,
    /// For so many milliseconds so many requests a second of customers drawn evenly
    #[arg(long, value_name = "MS:RATE", value_parser = pair::<f64>)]
    phase: Vec<(u64, f64)>,
    /// One more customer with so many requests a second, all the time
    #[arg(long, default_value_t = 0.0)]
    aggressor: f64,
    #[arg(long, default_value_t = 199)]
    tenants: u64,
    /// Tries after the first
    #[arg(long, default_value_t = 0)]
    retries: usize,
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An order to all hosts after so many milliseconds
    #[arg(long, value_name = "MS:PATH", value_parser = pair::<String>)]
    at: Vec<(u64, String)>,
}

fn pair<T: std::str::FromStr>(text: &str) -> Result<(u64, T), String> {
    let (ms, rest) = text.split_once(':').ok_or("write it like 1000:400")?;
    let ms = ms.parse().map_err(|_| format!("{ms:?} is no number"))?;
    let rest = rest.parse().map_err(|_| format!("{rest:?} is wrong"))?;
    Ok((ms, rest))
}

/// What all requests share.
struct Clients {
    to: SocketAddr,
    start: Instant,
    timeout: Duration,
    retries: usize,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    lines: mpsc::UnboundedSender<String>,
}

pub(crate) async fn run(args: LoadArgs) -> std::io::Result<()> {
    let (lines, mut written) = mpsc::unbounded_channel();
    let clients = Arc::new(Clients {
        to: args.to,
        start: Instant::now(),
        timeout: Duration::from_millis(args.timeout_ms),
        retries: args.retries,
        idle: Mutex::default(),
        lines: lines.clone(),
    });
    for (ms, path) in args.at {
        for host in &args.host {
            tokio::spawn(order(clients.clone(), *host, ms, path.clone()));
        }
    }
    let whole_ms: u64 = args.phase.iter().map(|it| it.0).sum();
    let mut schedules = vec![tokio::spawn(schedule(
        clients.clone(),
        args.phase,
        Who {
            seed: args.seed,
            tenants: args.tenants,
        },
    ))];
    if args.aggressor > 0.0 {
        let all = vec![(whole_ms, args.aggressor)];
        schedules.push(tokio::spawn(schedule(
            clients.clone(),
            all,
            Who {
                seed: 0,
                tenants: 0,
            },
        )));
    }
    let mut late = 0;
    for schedule in schedules {
        late += schedule.await.unwrap_or(0);
    }
    // Kept until here, so that measuring is not disturbed by writing.
    drop((clients, lines));
    let mut kept = Vec::new();
    while let Some(line) = written.recv().await {
        kept.push(line);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in kept {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "late {late}")?;
    out.flush()
}

/// Customers are drawn from 1 to `tenants`; 0 is the aggressor.
struct Who {
    seed: u64,
    tenants: u64,
}

impl Who {
    fn next(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        match self.tenants {
            0 => 0,
            tenants => 1 + (self.seed >> 33) % tenants,
        }
    }
}

/// Sends what is due and never waits for an answer; how many left late.
async fn schedule(clients: Arc<Clients>, phases: Vec<(u64, f64)>, mut who: Who) -> u64 {
    let (mut late, mut begin) = (0, clients.start);
    for (ms, rate) in phases {
        let span = Duration::from_millis(ms);
        let count = (span.as_secs_f64() * rate).floor() as u64;
        for number in 0..count {
            // From the number, not from the last time: errors of timers don't add up.
            let due = begin + Duration::from_secs_f64(number as f64 / rate);
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            late += u64::from(due.elapsed() > LATE_AFTER);
            tokio::spawn(clients.clone().customer(due, who.next()));
        }
        begin += span;
        tokio::time::sleep_until(begin.into()).await;
    }
    late
}

impl Clients {
    /// One request and its further tries.
    async fn customer(self: Arc<Clients>, due: Instant, tenant: u64) {
        for number in 0..=self.retries {
            let begun = Instant::now();
            let asked = tokio::time::timeout(self.timeout, self.ask(tenant)).await;
            let outcome = match asked {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(_)) => "error".to_owned(),
                Err(_) => "timeout".to_owned(),
            };
            let is_last = outcome.starts_with('2') || number == self.retries;
            let at = |moment: Instant| moment.saturating_duration_since(self.start).as_micros();
            let (due, begun, ended) = (at(due), at(begun), at(Instant::now()));
            let last = u8::from(is_last);
            let _ = self
                .lines
                .send(format!("r {due} {begun} {ended} {outcome} {tenant} {last}"));
            if is_last {
                return;
            }
            tokio::time::sleep(RETRY_AFTER[number.min(RETRY_AFTER.len() - 1)]).await;
        }
    }

    async fn ask(&self, tenant: u64) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
        let gives_up = SystemTime::now().duration_since(UNIX_EPOCH)? + self.timeout;
        let request = || {
            Request::get("/")
                .header("host", "bench")
                .header("x-tenant", format!("tenant-{tenant:04}"))
                .header(GIVES_UP, gives_up.as_micros().to_string())
                .body(Empty::new())
        };
        let idle = || {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.pop()
        };
        while let Some(mut kept) = idle() {
            if !kept.is_ready() {
                continue;
            }
            match kept.try_send_request(request()?).await {
                Ok(response) => return self.whole(response, kept).await,
                Err(mut failed) => {
                    // If it was not sent, the connection was closed a moment ago; the next, then.
                    if failed.take_message().is_none() {
                        return Err(failed.into_error().into());
                    }
                }
            }
        }
        let stream = TcpStream::connect(self.to).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request()?).await?;
        self.whole(response, sender).await
    }

    /// Reads the answer to its end and keeps the connection.
    async fn whole(
        &self,
        response: http::Response<hyper::body::Incoming>,
        mut sender: SendRequest<Empty<Bytes>>,
    ) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
        let status = response.status().as_u16();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        if sender.ready().await.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(sender);
        }
        Ok(status)
    }
}

/// Gives a host an order in time; over a connection of its own, so that a host that hangs hears it too.
async fn order(clients: Arc<Clients>, host: SocketAddr, ms: u64, path: String) {
    tokio::time::sleep_until((clients.start + Duration::from_millis(ms)).into()).await;
    let ask = async {
        let stream = TcpStream::connect(host).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::get(&path)
            .header("host", "bench")
            .body(Empty::<Bytes>::new())?;
        let body = sender
            .send_request(request)
            .await?
            .into_body()
            .collect()
            .await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(body.to_bytes())
    };
    let line = match tokio::time::timeout(clients.timeout, ask).await {
        Ok(Ok(body)) => format!("a {} {}", ms, String::from_utf8_lossy(&body)),
        Ok(Err(error)) => format!("failed {ms} {error}"),
        Err(_) => format!("failed {ms} no answer"),
    };
    let _ = clients.lines.send(line);
}
