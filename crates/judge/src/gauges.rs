//! Gauges that run full: CPU, memory, disk.
//!
//! Invariant: a gauge that was not sampled on both sides is no evidence.
