//! Names to addresses, addresses to connections: within the allow-list and the deadline.
//!
//! Invariant: nothing is sent to an address that was not allowed, and a name is
//! not asked for unless an address behind it could be.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use model::Millis;
use model::gate::ProbeVerdict;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::target::Endpoint;

/// Addresses of one name that are tried: what has more is a round robin of equals.
const ADDRESSES_MAX: usize = 8;
/// Head start of each address before the next (RFC 8305, Happy Eyeballs).
const HEAD_START: Duration = Duration::from_millis(250);
/// Threads that may hang in the system's resolver or file system. Neither can be
/// stopped from outside: at this limit further questions wait, and give up in time.
const HANGING_MAX: usize = 16;

static HANGING: std::sync::LazyLock<Arc<Semaphore>> =
    std::sync::LazyLock::new(|| Arc::new(Semaphore::new(HANGING_MAX)));

/// Why a question is not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// What is wrong.
    pub verdict: ProbeVerdict,
    /// In words, without the target.
    pub words: String,
}

/// In words what was found, or why not.
pub type Answer<T = String> = Result<T, Miss>;

pub(super) fn miss<T>(verdict: ProbeVerdict, words: impl Into<String>) -> Answer<T> {
    let words = words.into();
    Err(Miss { verdict, words })
}

/// Where questions may go.
pub trait Reach: std::fmt::Debug + Send + Sync {
    /// Whether some address behind `host` could be allowed.
    fn may(&self, host: &str, port: u16) -> bool;
    /// Whether this address of `host` is.
    fn allows(&self, host: &str, ip: IpAddr, port: u16) -> bool;
    /// The ports for which a list says something; 0 stands for any other.
    fn ports(&self) -> Vec<u16>;
    /// Whether nothing may be asked at all, not even about a file.
    fn is_shut(&self) -> bool;
    /// Why `what` is not asked.
    fn refusal(&self, what: &str) -> String;
}

/// Everywhere: for targets that operators name.
#[derive(Debug, Clone, Copy)]
pub struct Anywhere;

impl Reach for Anywhere {
    fn may(&self, _: &str, _: u16) -> bool {
        true
    }

    fn allows(&self, _: &str, _: IpAddr, _: u16) -> bool {
        true
    }

    fn ports(&self) -> Vec<u16> {
        vec![0]
    }

    fn is_shut(&self) -> bool {
        false
    }

    fn refusal(&self, what: &str) -> String {
        format!("not asked: {what}")
    }
}

/// One probe's limits.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) reach: Arc<dyn Reach>,
    pub(super) until: Instant,
    /// The same, as people know it.
    pub(super) within: Millis,
}

impl Limits {
    /// The addresses of a name, allowed or not; an address is its own.
    async fn resolve(&self, host: &str) -> Answer<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let name = host.to_owned();
        let lookup = self.apart(move || (name.as_str(), 0).to_socket_addrs());
        let found = match lookup.await {
            Some(Ok(found)) => found,
            Some(Err(error)) => return Err(unresolved(host, &error)),
            None => {
                let words = format!("the name {host} was not resolved within {}", self.within);
                return miss(ProbeVerdict::NoAnswer, words);
            }
        };
        let mut addresses = Vec::new();
        for address in found.map(|address| address.ip()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        match addresses.is_empty() {
            true => miss(
                ProbeVerdict::NameUnknown,
                format!("the name {host} has no address"),
            ),
            false => Ok(addresses),
        }
    }

    /// How many addresses a name has.
    pub(super) async fn count(&self, host: &str) -> Answer<usize> {
        let ports = self.reach.ports();
        if !ports.iter().any(|port| self.reach.may(host, *port)) {
            return self.not_allowed(host);
        }
        let found = self.resolve(host).await?;
        let allowed = found.iter().filter(|ip| {
            let mut ports = ports.iter();
            ports.any(|port| self.reach.allows(host, **ip, *port))
        });
        match allowed.count() {
            0 => self.not_allowed(host),
            count => Ok(count),
        }
    }

    /// The first of the endpoint's addresses that takes a connection.
    pub(super) async fn connect(&self, to: &Endpoint) -> Answer<TcpStream> {
        let Endpoint { host, port } = to;
        if !self.reach.may(host, *port) {
            return self.not_allowed(to);
        }
        let mut found = self.resolve(host).await?;
        found.retain(|ip| self.reach.allows(host, *ip, *port));
        if found.is_empty() {
            return self.not_allowed(to);
        }
        found.truncate(ADDRESSES_MAX);
        let mut tries: FuturesUnordered<_> = (0u32..)
            .zip(found.iter().map(|ip| SocketAddr::new(*ip, *port)))
            .map(|(at, address)| async move {
                tokio::time::sleep(HEAD_START.saturating_mul(at)).await;
                TcpStream::connect(address).await
            })
            .collect();
        // Where the name is not the address, it is told which one was tried.
        let place = match found.as_slice() {
            [one] if one.to_string() == *host => String::new(),
            [one] => format!(" at {}", SocketAddr::new(*one, *port)),
            several => format!(" at any of {} addresses", several.len()),
        };
        let mut refusal = None;
        loop {
            match timeout_at(self.until, tries.next()).await {
                Ok(Some(Ok(stream))) => return Ok(stream),
                Ok(Some(Err(error))) => {
                    refusal.get_or_insert_with(|| unconnected(&place, &error));
                }
                Ok(None) => break,
                Err(_) => {
                    let within = self.within;
                    let words = format!(
                        "nobody answers{place} (no reply to the connection within {within})"
                    );
                    return miss(ProbeVerdict::NoAnswer, words);
                }
            }
        }
        Err(refusal.unwrap_or_else(|| Miss {
            verdict: ProbeVerdict::Unreachable,
            words: "no address".into(),
        }))
    }

    /// Work that blocks its thread and can't be stopped, only given up: `None` at the deadline.
    pub(super) async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Option<std::io::Result<T>> {
        let permit = timeout_at(self.until, HANGING.clone().acquire_owned()).await;
        let permit = permit.ok()?.ok()?;
        let done = tokio::task::spawn_blocking(move || {
            // Given back when the thread is free again, not when somebody stops waiting.
            let _permit = permit;
            work()
        });
        let done = timeout_at(self.until, done).await.ok()?;
        Some(done.unwrap_or_else(|error| Err(std::io::Error::other(error))))
    }

    fn not_allowed<T>(&self, what: impl std::fmt::Display) -> Answer<T> {
        miss(
            ProbeVerdict::NotAllowed,
            self.reach.refusal(&what.to_string()),
        )
    }

    /// The host allows no probes at all.
    pub(super) fn shut<T>(&self) -> Answer<T> {
        self.not_allowed("it")
    }
}

/// Whether the peer hung up: politely, or by dropping what was still under way.
pub(super) fn is_hung_up(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// The resolver's errors are told apart by their texts: the standard library
/// gives no codes, and the texts are those of an untranslated C library.
fn unresolved(host: &str, error: &std::io::Error) -> Miss {
    let text = error.to_string();
    let text = text.trim_start_matches("failed to lookup address information: ");
    let unknown = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
        "nodename nor servname provided, or not known",
    ];
    let (verdict, words) = if unknown.contains(&text) {
        let words = format!("the name {host} does not exist");
        (ProbeVerdict::NameUnknown, words)
    } else {
        let words = format!("the name {host} can't be resolved on this host: {text}");
        (ProbeVerdict::Unreachable, words)
    };
    Miss { verdict, words }
}

fn unconnected(place: &str, error: &std::io::Error) -> Miss {
    use std::io::ErrorKind;
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    if own
        .iter()
        .any(|own| error.raw_os_error() == Some(own.raw_os_error()))
    {
        return Miss {
            verdict: ProbeVerdict::NotAsked,
            words: format!("not asked: this machine has no room for a connection: {error}"),
        };
    }
    let (verdict, words) = match error.kind() {
        ErrorKind::ConnectionRefused => (
            ProbeVerdict::Refused,
            format!("connection refused: nothing listens there{place}"),
        ),
        ErrorKind::TimedOut => (
            ProbeVerdict::NoAnswer,
            format!("nobody answers{place} (the system gave the connection up)"),
        ),
        ErrorKind::PermissionDenied => (
            ProbeVerdict::Unreachable,
            format!("this host's own network rules forbid the connection{place}"),
        ),
        _ => (
            ProbeVerdict::Unreachable,
            format!("no way there{place}: {error}"),
        ),
    };
    Miss { verdict, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_resolver_says() {
        let error = |text: &str| {
            let text = format!("failed to lookup address information: {text}");
            unresolved("a.internl", &std::io::Error::other(text))
        };
        let miss = error("Name or service not known");
        assert_eq!(miss.verdict, ProbeVerdict::NameUnknown);
        assert_eq!(miss.words, "the name a.internl does not exist");
        let miss = error("Temporary failure in name resolution");
        assert_eq!(miss.verdict, ProbeVerdict::Unreachable);
        assert!(miss.words.contains("Temporary failure"), "{}", miss.words);
    }

    #[test]
    fn a_machine_without_sockets_blames_itself() {
        let full = std::io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        assert_eq!(unconnected("", &full).verdict, ProbeVerdict::NotAsked);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(unconnected("", &refused).verdict, ProbeVerdict::Refused);
    }

    #[tokio::test]
    async fn what_hangs_is_given_up_and_does_not_pile_up() {
        let limits = |ms| Limits {
            reach: Arc::new(Anywhere),
            until: Instant::now() + Duration::from_millis(ms),
            within: Millis(ms),
        };
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        for _ in 0..HANGING_MAX {
            let held = held.clone();
            let short = limits(20);
            let hangs = short.apart(move || {
                let _ = held.lock().map(|held| held.recv());
                Ok(())
            });
            assert!(hangs.await.is_none());
        }
        assert!(limits(20).apart(|| Ok(())).await.is_none(), "all hang");
        drop(release);
        let free = limits(20_000).apart(|| Ok(7)).await;
        assert_eq!(free.unwrap().unwrap(), 7);
    }
}
