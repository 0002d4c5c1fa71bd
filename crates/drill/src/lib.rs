//! Drills: real processes, real faults, and the service they happen to.
//!
//! The parts a drill is made of: [`service`] is the API server with blocking
//! worker threads that the incident reports describe, [`auth`] what it depends
//! on, [`load`] its customers, and [`supervise`] the init system that restarts
//! it. Invariant: no part has a switch that says "fail"; every fault is a
//! state of real sockets, threads and processes.

pub mod auth;
pub mod drills;
pub mod load;
pub mod outcome;
pub mod process;
pub mod quickstart;
pub mod service;
pub mod supervise;
pub mod world;

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Waits until somebody asks this process to end (SIGTERM or SIGINT).
async fn asked_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// An error with all its causes, for an answer or a log line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whole milliseconds, for JSON.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
