//! What happens to connections, counted for operators.
//!
//! Invariant: these are this process's own; nothing is decided by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A number that many tasks change.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One more until it is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<Count>);

impl Open {
    pub(crate) fn new(count: &Arc<Count>) -> Open {
        count.add();
        Open(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    /// Connections over which HTTP/2 is spoken now.
    pub(crate) http2: Arc<Count>,
    /// Connections that carry another protocol now.
    pub(crate) tunnels: Arc<Count>,
    /// Answered with 101.
    pub(crate) upgrades: Count,
    /// HTTP/2 connections cut because they took back too many requests.
    pub(crate) resets_cut: Count,
    /// TLS handshakes that came to nothing.
    pub(crate) handshakes_failed: Count,
    /// Certificates and keys taken anew.
    pub(crate) tls_reloads: Count,
    /// New ones that could not be used.
    pub(crate) tls_reloads_failed: Count,
}

impl Tallies {
    pub(crate) fn register(&self, registry: &mut Registry) {
        for (name, help, count) in [
            (
                "upgrades",
                "Requests answered with a switch of protocols",
                &self.upgrades,
            ),
            (
                "http2_connections_cut",
                "HTTP/2 connections closed because they took back too many requests",
                &self.resets_cut,
            ),
            (
                "tls_handshakes_failed",
                "TLS handshakes that came to nothing",
                &self.handshakes_failed,
            ),
            ("tls_reloads", "Certificates taken anew", &self.tls_reloads),
            (
                "tls_reloads_failed",
                "New certificates or keys that could not be used",
                &self.tls_reloads_failed,
            ),
        ] {
            let counter: Counter = Counter::default();
            counter.inc_by(count.get());
            registry.register(name, help, counter);
        }
        for (name, help, count) in [
            (
                "http2_connections",
                "Clients' connections over HTTP/2",
                &self.http2,
            ),
            (
                "tunnels",
                "Clients' connections that carry another protocol",
                &self.tunnels,
            ),
        ] {
            let gauge: Gauge = Gauge::default();
            gauge.set(i64::try_from(count.get()).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
    }
}
