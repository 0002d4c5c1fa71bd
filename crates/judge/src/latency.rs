//! Latency by stochastic order on logarithmic buckets.
//!
//! Invariant: a second with one silent side is no evidence.
