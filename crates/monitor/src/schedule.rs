//! When which probe is asked, and when it is given up: without a clock, a thread or a socket.
//!
//! A probe has one question under way at most. Its times are a grid, set off by a
//! hash of its name so that many probes don't start together; a time that was
//! missed is not made up for.
//!
//! Invariant: a question that was begun is told of exactly once: by its answer, or
//! as unknown when its deadline and a grace for the machine have passed.

use std::collections::{BTreeMap, BTreeSet};

use model::Millis;
use model::gate::ProbeVerdict;

use crate::probe::{Answer, Question};

/// Questions under way in all: more targets than anybody watches from one place, all
/// hanging, and some dozen megabytes. A probe that finds no room waits, and its
/// lateness is told.
pub const UNDER_WAY_MAX: usize = 4096;
/// A question that should have ended by itself is taken for lost so much after its
/// deadline: what is later than that says something about this machine, not the target.
pub const GRACE: Millis = Millis(500);
/// Shortest time between two questions of a probe.
pub const EVERY_MIN: Millis = Millis(500);

/// What is asked, of whom, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The question.
    pub question: Question,
    /// As [`crate::probe::target`] reads it.
    pub target: String,
    /// Time from one question to the next, [`EVERY_MIN`] at least.
    pub every: Millis,
    /// It is given up after this long; never longer than `every`.
    pub within: Millis,
}

/// How a target looked once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As it should.
    Good,
    /// Not as it should: the target's doing, as far as can be seen from here.
    Bad(ProbeVerdict),
    /// Nothing can be said of the target: the question itself went wrong.
    Unknown,
}

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which probe.
    pub probe: String,
    /// How its target looked.
    pub look: Look,
    /// In words.
    pub words: String,
    /// From the question to the answer.
    pub took: Millis,
    /// How long after its time it was asked.
    pub late_by: Millis,
}

/// A question to ask now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Given back with the answer.
    pub number: u64,
    /// What and of whom.
    pub spec: Spec,
}

/// Probes and their times, in milliseconds of a clock that never goes back.
#[derive(Debug, Default)]
pub struct Schedule {
    probes: BTreeMap<String, Probe>,
    /// When the next question of a probe is due, for those with none under way.
    next: BTreeSet<(u64, String)>,
    under_way: BTreeMap<u64, Flight>,
    /// When a question under way is given up.
    deadlines: BTreeSet<(u64, u64)>,
    number: u64,
}

#[derive(Debug)]
struct Probe {
    spec: Spec,
    /// The time of the grid that comes next.
    due: u64,
}

#[derive(Debug)]
struct Flight {
    probe: String,
    began: u64,
    late_by: Millis,
    deadline: u64,
}

impl Schedule {
    /// Takes these probes and no others. One that stays as it was keeps its times;
    /// questions of others that are under way are not told of.
    pub fn set(&mut self, specs: &BTreeMap<String, Spec>, now: u64) {
        self.probes
            .retain(|name, probe| specs.get(name) == Some(&probe.spec));
        let probes = &self.probes;
        self.next.retain(|(_, name)| probes.contains_key(name));
        let gone: Vec<u64> = self
            .under_way
            .iter()
            .filter(|(_, flight)| !probes.contains_key(&flight.probe))
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.end(number);
        }
        for (name, spec) in specs {
            if self.probes.contains_key(name) {
                continue;
            }
            let spec = Spec {
                every: spec.every.max(EVERY_MIN),
                within: spec.within.min(spec.every.max(EVERY_MIN)),
                ..spec.clone()
            };
            let due = now + offset(name) % spec.every.0;
            self.next.insert((due, name.clone()));
            self.probes.insert(name.clone(), Probe { spec, due });
        }
    }

    /// The questions whose time has come, as far as there is room.
    pub fn due(&mut self, now: u64) -> Vec<Ask> {
        let mut asks = Vec::new();
        while self.under_way.len() < UNDER_WAY_MAX {
            let Some((at, name)) = self.next.first().cloned().filter(|(at, _)| *at <= now) else {
                break;
            };
            self.next.remove(&(at, name.clone()));
            let Some(probe) = self.probes.get_mut(&name) else {
                continue;
            };
            self.number += 1;
            let deadline = now + probe.spec.within.0 + GRACE.0;
            self.deadlines.insert((deadline, self.number));
            asks.push(Ask {
                number: self.number,
                spec: probe.spec.clone(),
            });
            // The next place of the grid after now, however many were missed.
            let every = probe.spec.every.0;
            probe.due = at + every * ((now - at) / every + 1);
            let flight = Flight {
                probe: name,
                began: now,
                late_by: Millis(now - at),
                deadline,
            };
            self.under_way.insert(self.number, flight);
        }
        asks
    }

    /// An answer came. `None`: it is told of already, or its probe is gone.
    pub fn answered(&mut self, number: u64, answer: Answer, now: u64) -> Option<Finding> {
        let (look, words) = match answer {
            Ok(words) => (Look::Good, words),
            Err(miss) => {
                let look = match miss.verdict {
                    // Nothing was asked.
                    ProbeVerdict::NotAllowed | ProbeVerdict::Malformed | ProbeVerdict::NotAsked => {
                        Look::Unknown
                    }
                    verdict => Look::Bad(verdict),
                };
                (look, miss.words)
            }
        };
        self.told(number, look, words, now)
    }

    /// Questions that went wrong on this machine: their deadline passed, and nobody said so.
    pub fn lost(&mut self, now: u64) -> Vec<(u64, Finding)> {
        let overdue = self.deadlines.range(..=(now, u64::MAX));
        let overdue: Vec<u64> = overdue.map(|(_, number)| *number).collect();
        let words = "the question was not over by its deadline, which is this machine's fault";
        overdue
            .into_iter()
            .filter_map(|number| {
                let finding = self.told(number, Look::Unknown, words.into(), now)?;
                Some((number, finding))
            })
            .collect()
    }

    /// When to call [`Schedule::due`] or [`Schedule::lost`] next.
    pub fn wake_at(&self) -> Option<u64> {
        let room = self.under_way.len() < UNDER_WAY_MAX;
        let next = self.next.first().filter(|_| room).map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        next.into_iter().chain(deadline).min()
    }

    /// How late the next question is that waits for room or for this machine.
    pub fn behind(&self, now: u64) -> Millis {
        let next = self.next.first().map_or(now, |(at, _)| *at);
        Millis(now.saturating_sub(next))
    }

    /// Questions under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    fn told(&mut self, number: u64, look: Look, words: String, now: u64) -> Option<Finding> {
        let flight = self.end(number)?;
        if let Some(probe) = self.probes.get(&flight.probe) {
            // Its next time may have come while this question was under way.
            self.next.insert((probe.due, flight.probe.clone()));
        }
        Some(Finding {
            probe: flight.probe,
            look,
            words,
            took: Millis(now.saturating_sub(flight.began)),
            late_by: flight.late_by,
        })
    }

    fn end(&mut self, number: u64) -> Option<Flight> {
        let flight = self.under_way.remove(&number)?;
        self.deadlines.remove(&(flight.deadline, number));
        Some(flight)
    }
}

/// FNV-1a, 64 bit: the same in every process, so that a restart moves no probe.
fn offset(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
