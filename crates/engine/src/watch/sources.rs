//! Sources of ticks, their runs, and where on our clock their seconds lie.
//!
//! Invariant: each second of a run is taken once, however often it is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{EnvironmentName, Millis, ServiceName, Timestamp};

/// Sources in all environments at most; beyond it the one that was silent longest is forgotten.
pub(super) const SOURCES_MAX: usize = 256;
/// Services of one source that are waited for at most.
const SERVICES_MAX: usize = 1024;
/// Runs of one program at once: one that serves, one that takes over, and one more that still
/// ends its last requests. Of more the one that was silent longest is given up.
const RUNS_MAX: usize = 3;
/// A run unheard of for this long is given up once another begins: it had ended its requests
/// and posted its last counts long before.
const RUN_GONE: Millis = Millis::seconds(300);
/// Runs given up that are remembered: posts are late by seconds, and nothing restarts more often in these.
const ENDED_MAX: usize = 8;
/// A source unheard of for this long is not waited for.
const WAITED_FOR: Millis = Millis::seconds(5);
/// A tick tells of so many seconds at most: a source that asks less often is one of which little is known.
const COVERS_MAX: i64 = 60;
/// Posts are late by fractions of a second, now more, now less; a second is not moved for it.
const JITTER_S: u64 = 1;

/// Runs of a program that counts, told apart and not ordered, because its clock can be set back.
///
/// While one process takes over from another under the same name both count, each its own
/// requests, so both are kept, each with its state. A run that was given up is never taken
/// again: what is known of it was forgotten, and would be counted twice.
#[derive(Debug, Clone)]
pub(super) struct Runs<T> {
    live: Vec<Live<T>>,
    /// Oldest first.
    ended: VecDeque<u64>,
}

#[derive(Debug, Clone)]
struct Live<T> {
    epoch_ms: u64,
    heard: Timestamp,
    state: T,
}

/// What a run is, when something comes from it.
#[derive(Debug)]
pub(super) struct Entered<'a, T> {
    pub(super) state: &'a mut T,
    /// It was not known before.
    pub(super) is_new: bool,
    /// Runs that are given up now.
    pub(super) ended: Vec<u64>,
}

impl<T> Default for Runs<T> {
    fn default() -> Runs<T> {
        Runs {
            live: Vec::new(),
            ended: VecDeque::new(),
        }
    }
}

impl<T> Runs<T> {
    /// Something comes from a run; `None` if it was given up.
    pub(super) fn enter(
        &mut self,
        epoch_ms: u64,
        now: Timestamp,
        new: impl FnOnce() -> T,
    ) -> Option<Entered<'_, T>> {
        if self.ended.contains(&epoch_ms) {
            return None;
        }
        let mut ended = Vec::new();
        let known = self.live.iter().position(|it| it.epoch_ms == epoch_ms);
        let at = known.unwrap_or_else(|| {
            ended = self.make_room(now);
            self.live.push(Live {
                epoch_ms,
                heard: now,
                state: new(),
            });
            self.live.len() - 1
        });
        let live = &mut self.live[at];
        live.heard = live.heard.max(now);
        Some(Entered {
            state: &mut live.state,
            is_new: known.is_none(),
            ended,
        })
    }

    /// Gives up who is gone, and of too many the one that was silent longest.
    fn make_room(&mut self, now: Timestamp) -> Vec<u64> {
        let gone = |it: &mut Live<T>| Millis::between(it.heard, now) >= RUN_GONE;
        let mut ended: Vec<u64> = self
            .live
            .extract_if(.., gone)
            .map(|it| it.epoch_ms)
            .collect();
        if self.live.len() >= RUNS_MAX
            && let Some(at) = (0..self.live.len()).min_by_key(|at| self.live[*at].heard)
        {
            ended.push(self.live.remove(at).epoch_ms);
        }
        self.ended.extend(&ended);
        let excess = self.ended.len().saturating_sub(ENDED_MAX);
        self.ended.drain(..excess);
        ended
    }

    /// Each run's state, and when it was last heard of.
    fn iter(&self) -> impl Iterator<Item = (&T, Timestamp)> {
        self.live.iter().map(|it| (&it.state, it.heard))
    }
}

/// Seconds of one run of a source.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    /// The newest tick, and the second that it was.
    newest: Option<(u64, i64)>,
    /// Services that it told of.
    pub(super) services: BTreeSet<ServiceName>,
}

/// A tick's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) second: i64,
    /// So many seconds up to that one are in it.
    pub(super) covers: u64,
}

impl Source {
    /// Up to this `seq` everything is known.
    pub(super) fn through(&self) -> Option<u64> {
        self.newest.map(|(seq, _)| seq)
    }

    /// Where a tick lies that is not known yet: the whole second of our clock that
    /// it overlaps most, unless it follows on the one before within [`JITTER_S`].
    pub(super) fn place(&mut self, seq: u64, age_ms: u64, now: Timestamp) -> Option<Placed> {
        if self.through().is_some_and(|through| seq <= through) {
            return None;
        }
        let now_ms = now.as_millisecond();
        let end_ms = now_ms.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
        let told = end_ms.saturating_sub(500).div_euclid(1000);
        let placed = match self.newest {
            None => Placed {
                second: told,
                covers: 1,
            },
            Some((before, at)) => {
                let step = i64::try_from(seq - before).unwrap_or(i64::MAX);
                let next = at.saturating_add(step);
                let second = if next.abs_diff(told) <= JITTER_S {
                    next
                } else {
                    told
                };
                let covers = match step {
                    1 => second.saturating_sub(at).clamp(1, COVERS_MAX),
                    _ => 1,
                };
                Placed {
                    second,
                    covers: covers.unsigned_abs(),
                }
            }
        };
        let newest_possible = now_ms.div_euclid(1000);
        let second = placed.second.min(newest_possible);
        self.newest = Some((seq, second));
        Some(Placed { second, ..placed })
    }

    pub(super) fn carries(&mut self, service: &ServiceName) {
        if self.services.len() < SERVICES_MAX && !self.services.contains(service) {
            self.services.insert(service.clone());
        }
    }
}

/// All sources.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources(BTreeMap<(EnvironmentName, String), Runs<Source>>);

impl Sources {
    /// A source's run; `None` if it was given up.
    pub(super) fn get(
        &mut self,
        environment: &EnvironmentName,
        name: &str,
        epoch_ms: u64,
        now: Timestamp,
    ) -> Option<&mut Source> {
        let key = (environment.clone(), name.to_owned());
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&key) {
            let heard = |runs: &Runs<Source>| runs.iter().map(|(_, heard)| heard).max();
            let oldest = self.0.iter().min_by_key(|(_, runs)| heard(runs));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        let runs = self.0.entry(key).or_default();
        let entered = runs.enter(epoch_ms, now, Source::default)?;
        Some(entered.state)
    }

    /// The newest second before which every run that is waited for has told everything;
    /// `None` when there is none to wait for.
    pub(super) fn watermark(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        now: Timestamp,
    ) -> Option<i64> {
        let here = self.0.iter().filter(|((at, _), _)| at == environment);
        here.flat_map(|(_, runs)| runs.iter())
            .filter(|(it, _)| it.services.contains(service))
            .filter(|(_, heard)| Millis::between(*heard, now) < WAITED_FOR)
            .map(|(it, _)| it.newest.map_or(i64::MIN, |(_, at)| at.saturating_sub(1)))
            .min()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
