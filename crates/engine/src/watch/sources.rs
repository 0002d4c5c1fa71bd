//! Sources of ticks, their runs, and where on our clock their seconds lie.
//!
//! Invariant: each second of a run is taken once, however often it is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{EnvironmentName, Millis, ServiceName, Timestamp};

/// Sources in all environments at most; beyond it the one that was silent longest is forgotten.
pub(super) const SOURCES_MAX: usize = 256;
/// Services of one source that are waited for at most.
const SERVICES_MAX: usize = 1024;
/// Earlier runs that are remembered: posts are late by seconds, and nothing restarts more often in these.
const ENDED_MAX: usize = 8;
/// A source unheard of for this long is not waited for.
const WAITED_FOR: Millis = Millis::seconds(5);
/// A tick tells of so many seconds at most: a source that asks less often is one of which little is known.
const COVERS_MAX: i64 = 60;
/// Posts are late by fractions of a second, now more, now less; a second is not moved for it.
const JITTER_S: u64 = 1;

/// Runs of a program that counts, told apart and not ordered, because its clock can be set back.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    epoch_ms: Option<u64>,
    /// Oldest first.
    ended: VecDeque<u64>,
}

/// Which run something comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// The one that is known.
    Same,
    /// One that ended: it was long on its way, and says nothing new.
    Ended,
    /// A new one, which ends the one before.
    New {
        /// There was none before.
        first: bool,
    },
}

impl Runs {
    pub(super) fn enter(&mut self, epoch_ms: u64) -> Run {
        if self.ended.contains(&epoch_ms) {
            return Run::Ended;
        }
        match self.epoch_ms.replace(epoch_ms) {
            Some(known) if known == epoch_ms => Run::Same,
            Some(known) => {
                self.ended.push_back(known);
                if self.ended.len() > ENDED_MAX {
                    self.ended.pop_front();
                }
                Run::New { first: false }
            }
            None => Run::New { first: true },
        }
    }
}

/// One source.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) runs: Runs,
    heard: Timestamp,
    /// The newest tick of this run, and the second that it was.
    newest: Option<(u64, i64)>,
    /// Services that it told of in this run.
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
    fn new(now: Timestamp) -> Source {
        Source {
            runs: Runs::default(),
            heard: now,
            newest: None,
            services: BTreeSet::new(),
        }
    }

    /// Enters a run; `false` if it has ended.
    pub(super) fn enter(&mut self, epoch_ms: u64, now: Timestamp) -> bool {
        match self.runs.enter(epoch_ms) {
            Run::Ended => return false,
            Run::Same => {}
            Run::New { .. } => {
                self.newest = None;
                self.services.clear();
            }
        }
        self.heard = self.heard.max(now);
        true
    }

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
pub(super) struct Sources(BTreeMap<(EnvironmentName, String), Source>);

impl Sources {
    pub(super) fn get(
        &mut self,
        environment: &EnvironmentName,
        name: &str,
        now: Timestamp,
    ) -> &mut Source {
        let key = (environment.clone(), name.to_owned());
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, source)| source.heard);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.entry(key).or_insert_with(|| Source::new(now))
    }

    /// The newest second before which every source that is waited for has told everything;
    /// `None` when there is none to wait for.
    pub(super) fn watermark(
        &self,
        environment: &EnvironmentName,
        service: &ServiceName,
        now: Timestamp,
    ) -> Option<i64> {
        let here = self.0.iter().filter(|((at, _), _)| at == environment);
        here.filter(|(_, it)| it.services.contains(service))
            .filter(|(_, it)| Millis::between(it.heard, now) < WAITED_FOR)
            .map(|(_, it)| it.newest.map_or(i64::MIN, |(_, at)| at.saturating_sub(1)))
            .min()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
