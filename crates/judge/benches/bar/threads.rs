//! Many runs on all cores.
//!
//! Invariant: results come back in the order of the runs, whatever finished first.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `one` for each number below `runs`.
pub(crate) fn each<T: Send>(runs: usize, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::with_capacity(runs));
    std::thread::scope(|scope| {
        for _ in 0..cores.min(runs) {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        return;
                    }
                    let result = one(run as u64);
                    if let Ok(mut found) = found.lock() {
                        found.push((run, result));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(run, _)| *run);
    found.into_iter().map(|(_, result)| result).collect()
}
