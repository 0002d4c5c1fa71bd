//! Looks at servers, kernel and authentication service while an outage lasts:
//! does it happen by the mechanism that the report tells of?
//!
//! Invariant: it only looks; no lock is tried and no request goes to customers' paths.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Fault;
use crate::auth::AuthStats;
use crate::load::LoadReport;
use crate::outcome::Check;
use crate::world::{Place, World};

/// So many looks, one each fifth of a second: what comes and goes with
/// restarts (which come at most 2 s apart) is seen at its most.
const LOOKS: usize = 15;
/// Between two of them.
const BETWEEN: Duration = Duration::from_millis(200);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// In words, for the timeline.
    pub(super) notes: Vec<String>,
    /// What the outage must be made of.
    pub(super) checks: Vec<Check>,
}

/// Looks for about three seconds. `report`: what customers saw so far.
pub(super) async fn look(
    fault: Fault,
    world: &World,
    hosts: &[Place],
    report: &LoadReport,
) -> Result<Seen> {
    match fault {
        Fault::SilentAuth => Ok(silence(hosts).await),
        Fault::PackageConflict => conflict(world, hosts).await,
        Fault::MissingFeature => missing(world, report).await,
        Fault::TightLimit => Ok(tight(hosts, report).await),
    }
}

async fn silence(hosts: &[Place]) -> Seen {
    let (exits, restarts) = restarts(hosts, "servers hang and restart in a loop");
    let (busy, threads) = threads(hosts).await;
    Seen {
        notes: vec![
            format!("{busy} of {threads} serving threads wait for an answer that never comes"),
            format!("servers hang and are restarted in a loop: {exits} forced restarts so far"),
        ],
        checks: vec![
            restarts,
            Check::new(
                "by the real mechanism: every serving thread is consumed",
                format!("{busy} of {threads} threads waited for ever"),
                threads > 0 && busy == threads,
            ),
        ],
    }
}

async fn conflict(world: &World, hosts: &[Place]) -> Result<Seen> {
    let mut queued = vec![0; hosts.len()];
    for _ in 0..LOOKS {
        for (place, most) in hosts.iter().zip(&mut queued) {
            *most = (*most).max(backlog(place.address)?);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let (exits, restarts) = restarts(hosts, "servers crash and restart in a loop");
    let said = "session-store 3.0.0 can't have the session store";
    let mut blocked = 0;
    for place in hosts {
        let log = world.folder().join(format!("logs/init-{}.log", place.name));
        let log =
            std::fs::read_to_string(&log).with_context(|| format!("log {}", log.display()))?;
        let last = log.lines().rfind(|line| line.contains(said));
        let held = last.is_some_and(|line| line.contains("legacy-session 2.3.0 holds it"));
        blocked += usize::from(held);
    }
    let (waiting, servers) = (queued.iter().sum::<u64>(), hosts.len());
    let all_queued = queued.iter().filter(|queued| **queued > 0).count();
    Ok(Seen {
        notes: vec![
            format!(
                "servers end at start and are restarted in a loop: {exits} unplanned exits so far"
            ),
            format!(
                "meanwhile up to {waiting} connections wait in the kernel for servers to accept them"
            ),
        ],
        checks: vec![
            restarts,
            Check::new(
                "by the real mechanism: the deployed package holds the new one's store",
                format!("{blocked} of {servers} servers ended on the lock of legacy-session 2.3.0"),
                blocked == servers,
            ),
            Check::new(
                "traffic queues",
                format!(
                    "up to {waiting} connections waited to be accepted, at {all_queued} of {servers} servers"
                ),
                all_queued == servers,
            ),
        ],
    })
}

async fn missing(world: &World, report: &LoadReport) -> Result<Seen> {
    let url = format!("http://{}/stats", world.auth);
    let stats: AuthStats = tokio::time::timeout(Duration::from_secs(2), async {
        reqwest::get(url).await?.json().await
    })
    .await
    .context("the authentication service's counts")??;
    let (failed, by_500) = (report.total.failed, report.failures.server_error);
    let enough = |part: u64| failed > 0 && part * 100 >= failed * 95;
    Ok(Seen {
        notes: vec![format!(
            "the authentication service knows no such question: {} times 404",
            stats.unknown
        )],
        checks: vec![
            Check::new(
                "requests are answered, with status 500",
                format!("{by_500} of {failed} that failed"),
                enough(by_500),
            ),
            Check::new(
                "by the real mechanism: the deployed version lacks what the upgrade asks for",
                format!("{} questions answered with 404", stats.unknown),
                enough(stats.unknown) && stats.tokens == 0,
            ),
        ],
    })
}

async fn tight(hosts: &[Place], report: &LoadReport) -> Seen {
    let (failed, by_500) = (report.total.failed, report.failures.server_error);
    let mut too_long = 0;
    for place in hosts {
        too_long += stat(place, "sessions_too_long").await.unwrap_or(0);
    }
    // Requests under way are counted by one side first.
    let near = |a: u64, b: u64| a.abs_diff(b) * 20 <= a.max(b);
    Seen {
        notes: vec![format!(
            "{too_long} sessions did not fit their buffer so far; everything else is served"
        )],
        checks: vec![
            Check::new(
                "requests are answered, with status 500",
                format!("{by_500} of {failed} that failed"),
                failed > 0 && near(by_500, failed),
            ),
            Check::new(
                "by the real mechanism: sessions do not fit the buffer",
                format!("{too_long} at the servers since they were restarted"),
                too_long > 0 && too_long <= by_500,
            ),
        ],
    }
}

/// A server's own numbers, if it answers.
async fn stats(place: &Place) -> Option<serde_json::Value> {
    let url = format!("http://{}/stats", place.stats);
    let asked = async {
        reqwest::get(url)
            .await
            .ok()?
            .json::<serde_json::Value>()
            .await
            .ok()
    };
    let stats = tokio::time::timeout(Duration::from_secs(1), asked).await;
    stats.ok()?
}

/// One of them.
async fn stat(place: &Place, name: &str) -> Option<u64> {
    stats(place).await?.get(name)?.as_u64()
}

/// How many serving threads all servers have, and how many of them were taken
/// at once: the most of several looks, because a server that was just
/// restarted loses its threads one by one.
async fn threads(hosts: &[Place]) -> (u64, u64) {
    let mut most = vec![(0, 0); hosts.len()];
    for _ in 0..LOOKS {
        for (place, most) in hosts.iter().zip(&mut most) {
            let stats = stats(place).await;
            let read = |name: &str| stats.as_ref().and_then(|stats| stats.get(name)?.as_u64());
            if let (Some(busy), Some(threads)) = (read("threads_busy"), read("threads")) {
                *most = (most.0.max(busy), threads);
            }
        }
        tokio::time::sleep(BETWEEN).await;
    }
    most.into_iter()
        .fold((0, 0), |(busy, all), (b, a)| (busy + b, all + a))
}

/// Exits that nobody asked for, as the hosts' init systems count them, and the
/// check that each server had one.
fn restarts(hosts: &[Place], what: &str) -> (u64, Check) {
    let states: Vec<_> = hosts
        .iter()
        .filter_map(|place| crate::supervise::read_state(&place.folder.join("init")).ok())
        .collect();
    let (starts, exits) = states.iter().fold((0, 0), |(starts, exits), state| {
        (starts + state.starts, exits + state.exits_unplanned)
    });
    let all = states.len() == hosts.len() && states.iter().all(|state| state.exits_unplanned > 0);
    let servers = hosts.len();
    let seen = format!("{exits} unplanned exits of {servers} servers, {starts} starts");
    (exits, Check::new(what, seen, all))
}

/// Connections to `address` that the kernel has completed and nobody has accepted.
fn backlog(address: SocketAddr) -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").context("the kernel's sockets")?;
    Ok(queued(&table, address))
}

/// The same, in the kernel's own table (`proc(5)`): for a listening socket
/// the second half of the fifth field.
fn queued(table: &str, address: SocketAddr) -> u64 {
    const LISTEN: &str = "0A";
    let found = table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state, queues) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let (ip, port) = local.split_once(':')?;
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.swap_bytes());
        let port = u16::from_str_radix(port, 16).ok()?;
        let (_, waiting) = queues.split_once(':')?;
        let here = state == LISTEN && SocketAddr::from((ip, port)) == address;
        here.then(|| u64::from_str_radix(waiting, 16).ok())?
    });
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_who_waits() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(backlog(address).unwrap(), 0);
        let _clients: Vec<_> = (0..3)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        assert_eq!(backlog(address).unwrap(), 3);
        let _ = listener.accept().unwrap();
        assert_eq!(backlog(address).unwrap(), 2);
        assert_eq!(queued("nonsense\n  0: x\n", address), 0);
    }
}
