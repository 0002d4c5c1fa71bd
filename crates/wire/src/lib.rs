//! What travels between the parts: request and answer types, signed orders,
//! the HTTP client, and the packing of bundles.
//!
//! Invariant: nothing here waits without a deadline, and nothing that came
//! over the wire is believed before its signature or digest was checked.

pub mod api;
pub mod backoff;
pub mod client;
pub mod facts;
pub mod pack;
pub mod sign;

pub use client::{Client, ClientError, Identity};
pub use model::Envelope;
pub use sign::{Open, PublicKey, SecretKey};

/// Makes ring the process's TLS provider. Call it once, first thing in `main`; more often does no harm.
pub fn install_crypto() {
    // An Err only says that a provider was installed before, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
