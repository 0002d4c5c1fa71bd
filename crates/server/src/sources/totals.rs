//! From running totals to what happened since the last look.
//!
//! Invariant: no request is told twice; and what happened while nobody looked,
//! or on a host that changed its bundle meanwhile, is nobody's.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{CellCounts, Digest, HostName, ServiceName};

use super::answer::{Key, Total};

/// A series that was not seen for so many looks begins anew: what it counted meanwhile may be older
/// than the release that is judged. One or two lost scrapes are bridged.
const LOOKS_BRIDGED: u32 = 3;

/// Totals as they were last seen.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    bridged: Duration,
    last: BTreeMap<Key, Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    requests: u64,
    failed: u64,
    /// What the host ran, for series that don't name the bundle.
    running: Option<Digest>,
    at: Duration,
}

impl Totals {
    /// Nothing seen yet; it is looked every so often.
    pub(super) fn new(every: Duration) -> Totals {
        Totals {
            bridged: every * LOOKS_BRIDGED + every / 2,
            last: BTreeMap::new(),
        }
    }

    /// Totals as seen `now` (since any fixed moment): the memory to go on with, and what happened since the last look.
    pub(super) fn step(
        &self,
        service: &ServiceName,
        seen: BTreeMap<Key, Total>,
        running: &BTreeMap<HostName, Digest>,
        now: Duration,
    ) -> (Totals, Vec<CellCounts>) {
        let mut next = self.clone();
        next.last
            .retain(|_, last| now.saturating_sub(last.at) <= self.bridged);
        let mut cells = Vec::new();
        for (key, total) in seen {
            // Without all requests nothing can be said of failures.
            let Some(requests) = total.requests else {
                continue;
            };
            let here = Last {
                requests,
                // No request failed yet: then many programs have no such series.
                failed: total.failed.unwrap_or(0),
                running: match (key.bundle, &key.host) {
                    (None, Some(host)) => running.get(host).copied(),
                    _ => None,
                },
                at: now,
            };
            let before = next.last.insert(key.clone(), here);
            let Some((requests, failed)) = before.and_then(|before| since(&key, before, here))
            else {
                continue;
            };
            if requests > 0 {
                cells.push(CellCounts {
                    service: service.clone(),
                    digest: key.bundle,
                    host: key.host,
                    class: key.class,
                    requests,
                    failed: failed.min(requests),
                    latency: Vec::new(),
                });
            }
        }
        (next, cells)
    }
}

/// Requests and failures between two looks, if it can be said whose they are.
fn since(key: &Key, before: Last, here: Last) -> Option<(u64, u64)> {
    if before.running != here.running {
        return None;
    }
    if here.requests >= before.requests {
        // A total of failures that falls alone belongs to a series that went away.
        let failed = here.failed.saturating_sub(before.failed);
        return Some((here.requests - before.requests, failed));
    }
    // One program began anew, so all that it counts is news. A sum over many falls when one of
    // them goes; what the others counted is long told.
    key.host.is_some().then_some((here.requests, here.failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    struct Looks {
        totals: Totals,
        running: BTreeMap<HostName, Digest>,
        now: Duration,
    }

    impl Looks {
        fn new() -> Looks {
            Looks {
                totals: Totals::new(EVERY),
                running: [("web-1".parse().unwrap(), Digest::of(b"old"))].into(),
                now: Duration::ZERO,
            }
        }

        /// What one look brings: requests and failures of each series, in order.
        fn look(&mut self, seen: &[(&Key, u64, Option<u64>)]) -> Vec<(u64, u64)> {
            self.now += EVERY;
            let seen = seen.iter().map(|(key, requests, failed)| {
                let total = Total {
                    requests: Some(*requests),
                    failed: *failed,
                };
                ((*key).clone(), total)
            });
            let service = "api".parse().unwrap();
            let seen = seen.collect();
            let (next, cells) = self.totals.step(&service, seen, &self.running, self.now);
            self.totals = next;
            let counts = cells.iter().map(|cell| (cell.requests, cell.failed));
            counts.collect()
        }
    }

    fn bundle() -> Key {
        Key {
            bundle: Some(Digest::of(b"old")),
            host: None,
            class: String::new(),
        }
    }

    fn host() -> Key {
        Key {
            bundle: None,
            host: Some("web-1".parse().unwrap()),
            class: String::new(),
        }
    }

    #[test]
    fn what_was_before_the_first_look_is_the_past() {
        let (mut looks, key) = (Looks::new(), bundle());
        assert_eq!(looks.look(&[(&key, 1_000_000, Some(10_000))]), []);
        assert_eq!(looks.look(&[(&key, 1_000_100, Some(10_001))]), [(100, 1)]);
        assert_eq!(looks.look(&[(&key, 1_000_100, Some(10_001))]), []);
    }

    #[test]
    fn failures_count_from_the_first_even_if_their_series_is_young() {
        let (mut looks, key) = (Looks::new(), bundle());
        assert_eq!(looks.look(&[(&key, 50, None)]), []);
        assert_eq!(looks.look(&[(&key, 100, None)]), [(50, 0)]);
        assert_eq!(looks.look(&[(&key, 150, Some(7))]), [(50, 7)]);
        // More failures than requests can't be.
        assert_eq!(looks.look(&[(&key, 160, Some(27))]), [(10, 10)]);
        // A series of failures that goes away takes nothing back.
        assert_eq!(looks.look(&[(&key, 170, None)]), [(10, 0)]);
    }

    #[test]
    fn a_program_that_begins_anew_tells_all_and_a_sum_that_falls_tells_nothing() {
        let (mut looks, one, sum) = (Looks::new(), host(), bundle());
        looks.look(&[(&one, 900, Some(9)), (&sum, 9_000, Some(90))]);
        let seen = looks.look(&[(&one, 30, Some(3)), (&sum, 8_100, Some(81))]);
        assert_eq!(seen, [(30, 3)]);
        let seen = looks.look(&[(&one, 40, Some(3)), (&sum, 8_200, Some(82))]);
        assert_eq!(seen, [(10, 0), (100, 1)]);
    }

    #[test]
    fn a_lost_scrape_is_bridged_and_a_long_gap_is_nobodys() {
        let (mut looks, key) = (Looks::new(), bundle());
        looks.look(&[(&key, 100, None)]);
        assert_eq!(looks.look(&[]), []);
        assert_eq!(looks.look(&[(&key, 160, None)]), [(60, 0)]);
        looks.now += EVERY * LOOKS_BRIDGED;
        assert_eq!(looks.look(&[(&key, 9_000, Some(8_000))]), []);
        assert_eq!(looks.look(&[(&key, 9_010, Some(8_000))]), [(10, 0)]);
    }

    #[test]
    fn a_host_that_changed_its_bundle_between_two_looks_tells_nothing() {
        let (mut looks, key) = (Looks::new(), host());
        looks.look(&[(&key, 100, None)]);
        assert_eq!(looks.look(&[(&key, 110, Some(1))]), [(10, 1)]);
        let web = "web-1".parse().unwrap();
        looks.running.insert(web, Digest::of(b"new"));
        // Some of these were the old bundle's.
        assert_eq!(looks.look(&[(&key, 150, Some(30))]), []);
        assert_eq!(looks.look(&[(&key, 160, Some(40))]), [(10, 10)]);
    }
}
