//! What happened in one second, counted where requests pass.
//!
//! A *tick* is one second of one source (a gateway, a program that pushes its
//! counts, a Prometheus query). Sources send each tick once they are through with it and
//! repeat it until it is acknowledged; a receiver drops what it has by `seq`.

use serde::{Deserialize, Serialize};

use crate::{Digest, HostName, ServiceName};

/// Buckets of a latency histogram; the last one is "slower than all others, or never".
pub const LATENCY_BUCKETS: usize = 32;
/// The first bucket ends here, in microseconds.
const UNIT_US: u64 = 512;
/// Groups into which tenants are hashed, to see how unequal they are.
pub const CLIENT_GROUPS: u8 = 32;
/// Ticks in one post at most.
pub const TICKS_PER_POST_MAX: usize = 120;
/// Cells in one tick at most: 1000 hosts with four classes of endpoints. What is beyond is counted without its host.
pub const CELLS_MAX: usize = 4_096;
/// Longest name of a class of endpoints or of an event, in bytes.
pub const CLASS_BYTES_MAX: usize = 32;

/// The bucket of a latency: two for each doubling (`[2^k, 1.5 * 2^k)` and the
/// rest), from 512 µs up to 17 s, and one below and above.
pub fn latency_bucket(micros: u64) -> u8 {
    let halves = micros / (UNIT_US / 2);
    let Some(octave) = halves.checked_ilog2().filter(|octave| *octave > 0) else {
        return 0;
    };
    let upper = (halves >> (octave - 1)) & 1;
    let bucket = 1 + 2 * u64::from(octave - 1) + upper;
    u8::try_from(bucket.min(LATENCY_BUCKETS as u64 - 1)).unwrap_or(u8::MAX)
}

/// Where a bucket begins, in microseconds.
pub fn latency_from_us(bucket: u8) -> u64 {
    match bucket.checked_sub(1) {
        None => 0,
        Some(rest) => {
            let octave = u64::from(rest / 2);
            let from = UNIT_US << octave.min(40);
            from + u64::from(rest % 2) * (from / 2)
        }
    }
}

/// One second of one source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TickCounts {
    /// Counts up with each second of this run of the source.
    pub seq: u64,
    /// The second ended so long before the post was sent, by the source's monotonic clock.
    pub age_ms: u64,
    /// Requests, by bundle, host and class of endpoint.
    #[serde(default)]
    pub cells: Vec<CellCounts>,
    /// The same requests by bundle and group of tenants.
    #[serde(default)]
    pub clients: Vec<ClientCounts>,
    /// Other things that happened on hosts: panics, lines in an error log.
    #[serde(default)]
    pub events: Vec<EventCounts>,
}

/// Requests that ended in one second, first attempts only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellCounts {
    /// Which service.
    pub service: ServiceName,
    /// Which bundle; absent when the source knows only the host: what the host runs.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Which host; absent when the source knows only the bundle.
    #[serde(default)]
    pub host: Option<HostName>,
    /// The class of endpoint; `""` when there is one only.
    #[serde(default)]
    pub class: String,
    /// How many ended.
    pub requests: u64,
    /// Of these: connect failures, timeouts, broken answers and 5xx.
    #[serde(default)]
    pub failed: u64,
    /// How long they took: pairs of [`latency_bucket`] and count. Timeouts and
    /// hangs are in the last bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<(u8, u64)>,
}

/// Requests of one group of tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCounts {
    /// Which service.
    pub service: ServiceName,
    /// Which bundle.
    pub digest: Digest,
    /// Below [`CLIENT_GROUPS`].
    pub group: u8,
    /// How many ended.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
}

/// Things that happened on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventCounts {
    /// Which service.
    pub service: ServiceName,
    /// On which host.
    pub host: HostName,
    /// What: `panic`, `error-log`; at most [`CLASS_BYTES_MAX`] bytes.
    pub kind: String,
    /// How often.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_and_their_beginnings_agree() {
        for bucket in 0..u8::try_from(LATENCY_BUCKETS).unwrap() {
            let from = latency_from_us(bucket);
            assert_eq!(latency_bucket(from), bucket, "{from}");
            if from > 0 {
                assert_eq!(latency_bucket(from - 1), bucket - 1, "{from}");
            }
        }
        assert_eq!(latency_bucket(u64::MAX), 31);
        assert_eq!(latency_from_us(31) / 1_000_000, 16);
    }
}
