//! Events with the time in which they could have happened: crashes, missing
//! heartbeats, what a source counts.
//!
//! Invariant: time without a host on either side is no evidence.
