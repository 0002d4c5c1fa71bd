//! Which message is tried when: pure.
//!
//! What should be on its way is a level, said again and again ([`Outbox::set`]). A
//! message is tried until its receiver has it, it can never arrive, or it is too
//! old; how that ended is told once, and the message rests until it is no longer
//! wanted. Nothing here outlives the process: after a crash what is still wanted is
//! tried again, under the same key.
//!
//! Messages of one *lane* (one provider) wait for each other, those of different
//! lanes never do: a mail server that hangs holds up no text message.
//!
//! Invariant: at most [`LANE_MAX`] tries of a lane are under way, and a message is
//! tried by one at a time.

use std::collections::BTreeMap;

use model::Millis;

use crate::Outcome;

/// Tries of one lane under way. More than one, so that a slow one doesn't delay the
/// next; few, because providers count connections too.
pub const LANE_MAX: usize = 8;
/// First pause after a try that failed; it doubles.
const PAUSE: Millis = Millis(1_000);
/// Longest pause: a provider that is back is found within a minute.
const PAUSE_MAX: Millis = Millis::seconds(60);
/// After this a message is given up: the next channel, the next person and the next
/// message have long been tried, and a page about yesterday wakes people for nothing.
pub const TRIED_FOR: Millis = Millis::seconds(3600);

/// A message that should be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its key.
    pub key: &'a str,
    /// By whom it is carried.
    pub lane: &'a str,
    /// Lower goes first within a lane.
    pub rank: u8,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The receiver's system has it.
    Sent {
        /// The name that it gave it.
        receipt: Option<String>,
    },
    /// It can never arrive like this.
    Refused {
        /// In words.
        reason: String,
    },
    /// It was tried for [`TRIED_FOR`].
    GivenUp {
        /// What the last try said.
        reason: String,
        /// How many there were.
        tries: u32,
    },
}

/// Messages on their way, in milliseconds of a clock that never goes back.
#[derive(Debug, Default)]
pub struct Outbox {
    rows: BTreeMap<String, Row>,
}

#[derive(Debug)]
struct Row {
    lane: String,
    rank: u8,
    since: u64,
    tries: u32,
    state: State,
    wanted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting { until: u64 },
    Trying,
    Rests,
}

impl Outbox {
    /// Takes what should be on its way now, all of it.
    pub fn set<'a>(&mut self, wanted: impl IntoIterator<Item = Wanted<'a>>, now: u64) {
        for row in self.rows.values_mut() {
            row.wanted = false;
        }
        for Wanted { key, lane, rank } in wanted {
            let row = self.rows.entry(key.to_owned()).or_insert_with(|| Row {
                lane: lane.to_owned(),
                rank,
                since: now,
                tries: 0,
                state: State::Waiting { until: now },
                wanted: true,
            });
            row.wanted = true;
            row.rank = rank;
        }
        // One that is being tried stays until that is over, so that it is not tried twice at once.
        self.rows
            .retain(|_, row| row.wanted || row.state == State::Trying);
    }

    /// Keys of the messages to try now.
    pub fn due(&mut self, now: u64) -> Vec<String> {
        let mut trying = self.trying();
        let mut ready: Vec<(u8, u64, String)> = self
            .rows
            .iter()
            .filter(|(_, row)| matches!(row.state, State::Waiting { until } if until <= now))
            .map(|(key, row)| (row.rank, row.since, key.clone()))
            .collect();
        ready.sort_unstable();
        let mut due = Vec::new();
        for (_, _, key) in ready {
            let Some(row) = self.rows.get_mut(&key) else {
                continue;
            };
            let under_way = trying.entry(row.lane.clone()).or_default();
            if *under_way < LANE_MAX {
                *under_way += 1;
                row.state = State::Trying;
                row.tries += 1;
                due.push(key);
            }
        }
        due
    }

    /// A try is over. How the message ended, if it did and anybody still wants to know.
    pub fn tried(&mut self, key: &str, outcome: Outcome, now: u64) -> Option<Ended> {
        let row = self.rows.get_mut(key)?;
        if row.state != State::Trying {
            return None;
        }
        if !row.wanted {
            self.rows.remove(key);
            return None;
        }
        let ended = match outcome {
            Outcome::Sent { receipt } => Ended::Sent { receipt },
            Outcome::Refused { reason } => Ended::Refused { reason },
            Outcome::Retry { reason, .. } if now.saturating_sub(row.since) >= TRIED_FOR.0 => {
                Ended::GivenUp {
                    reason,
                    tries: row.tries,
                }
            }
            Outcome::Retry { after, .. } => {
                let own = pause(key, row.tries);
                let asked = after.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(0));
                row.state = State::Waiting {
                    until: now + own.0.max(asked),
                };
                return None;
            }
        };
        row.state = State::Rests;
        Some(ended)
    }

    /// When [`Outbox::due`] may have something to say without anything else happening.
    pub fn wake_at(&self) -> Option<u64> {
        let trying = self.trying();
        // A lane that is full has room again by `tried`, and not by time.
        let has_room = |row: &Row| trying.get(&row.lane).is_none_or(|it| *it < LANE_MAX);
        let waits = self.rows.values().filter_map(|row| match row.state {
            State::Waiting { until } if has_room(row) => Some(until),
            State::Waiting { .. } | State::Trying | State::Rests => None,
        });
        waits.min()
    }

    /// Messages that wait or are being tried.
    pub fn under_way(&self) -> usize {
        let rows = self.rows.values();
        rows.filter(|row| row.state != State::Rests).count()
    }

    fn trying(&self) -> BTreeMap<String, usize> {
        let mut lanes = BTreeMap::new();
        for row in self.rows.values().filter(|row| row.state == State::Trying) {
            *lanes.entry(row.lane.clone()).or_default() += 1;
        }
        lanes
    }
}

/// Doubles, and is drawn by the key from the upper half, so that a provider that is
/// back is not asked by all at once.
fn pause(key: &str, tries: u32) -> Millis {
    let whole = PAUSE.0 << tries.saturating_sub(1).min(10);
    let whole = whole.min(PAUSE_MAX.0);
    let hash = key.bytes().fold(u64::from(tries), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Millis(whole / 2 + hash % (whole / 2 + 1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mail(key: &str) -> Wanted<'_> {
        Wanted {
            key,
            lane: "mail",
            rank: 0,
        }
    }

    fn later() -> Outcome {
        Outcome::retry("busy")
    }

    fn sent() -> Outcome {
        Outcome::Sent { receipt: None }
    }

    #[test]
    fn what_is_sent_is_told_once_and_not_sent_again() {
        let mut outbox = Outbox::default();
        outbox.set([mail("a")], 0);
        assert_eq!(outbox.due(0), ["a"]);
        assert!(outbox.due(0).is_empty(), "one try at a time");
        assert_eq!(
            outbox.tried("a", sent(), 5),
            Some(Ended::Sent { receipt: None })
        );
        // Until the outcome is written down it is still wanted.
        outbox.set([mail("a")], 6);
        assert!(outbox.due(1_000_000).is_empty());
        assert_eq!(
            (outbox.tried("a", sent(), 7), outbox.wake_at()),
            (None, None)
        );
        outbox.set([], 8);
        assert!(outbox.rows.is_empty());
    }

    #[test]
    fn pauses_grow_and_obey_the_receiver() {
        let mut outbox = Outbox::default();
        outbox.set([mail("a")], 0);
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(outbox.due(now), ["a"]);
            assert_eq!(outbox.tried("a", later(), now), None);
            let next = outbox.wake_at().unwrap();
            pauses.push(next - now);
            now = next;
        }
        for (pause, whole) in pauses.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
            assert!((whole * 500..=whole * 1_000).contains(pause), "{pauses:?}");
        }
        outbox.due(now);
        let after = Some(Duration::from_secs(200));
        let reason = "slow down".into();
        outbox.tried("a", Outcome::Retry { reason, after }, now);
        assert_eq!(outbox.wake_at(), Some(now + 200_000));
    }

    #[test]
    fn what_is_too_old_is_given_up_with_its_reason() {
        let mut outbox = Outbox::default();
        outbox.set([mail("a")], 0);
        outbox.due(0);
        outbox.tried("a", later(), 0);
        outbox.due(TRIED_FOR.0);
        let ended = outbox.tried("a", later(), TRIED_FOR.0);
        assert_eq!(
            ended,
            Some(Ended::GivenUp {
                reason: "busy".into(),
                tries: 2
            })
        );
        assert!(outbox.due(u64::MAX).is_empty());
    }

    #[test]
    fn a_lane_that_hangs_holds_up_no_other() {
        let mut outbox = Outbox::default();
        let keys: Vec<String> = (0..100).map(|n| format!("m{n:03}")).collect();
        let sms = Wanted {
            key: "sms",
            lane: "sms",
            rank: 0,
        };
        let urgent = Wanted {
            key: "urgent",
            lane: "mail",
            rank: 0,
        };
        let slow = |key| Wanted {
            key,
            lane: "mail",
            rank: 1,
        };
        outbox.set(keys.iter().map(|key| slow(key)), 0);
        assert_eq!(outbox.due(0).len(), LANE_MAX);
        outbox.set(keys.iter().map(|key| slow(key)).chain([sms, urgent]), 1);
        assert_eq!(outbox.due(1), ["sms"]);
        assert_eq!(
            outbox.wake_at(),
            None,
            "it must not spin while the lane is full"
        );
        // As soon as there is room, what matters goes first.
        outbox.tried("m000", sent(), 2);
        assert_eq!(outbox.due(2), ["urgent"]);
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_tried_again() {
        let mut outbox = Outbox::default();
        outbox.set([mail("a"), mail("b")], 0);
        outbox.due(0);
        outbox.tried("b", later(), 0);
        outbox.set([], 1);
        assert_eq!(outbox.tried("a", sent(), 2), None);
        assert!(outbox.due(1_000_000).is_empty());
        assert_eq!(outbox.under_way(), 0);
    }

    #[test]
    fn wanted_again_while_it_is_tried_is_one_message() {
        let mut outbox = Outbox::default();
        outbox.set([mail("a")], 0);
        outbox.due(0);
        outbox.set([], 1);
        outbox.set([mail("a")], 2);
        assert!(outbox.due(2).is_empty());
        assert_eq!(
            outbox.tried("a", sent(), 3),
            Some(Ended::Sent { receipt: None })
        );
    }
}
