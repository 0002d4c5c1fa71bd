//! From single findings to what is thought of a target: pure.
//!
//! One bad finding is noise, several in a row are a state. Where the machine that
//! asks may itself be cut off, *anchors* tell: targets that are known to answer and
//! have nothing to do with what is watched. While every anchor fails, what others
//! don't answer says nothing about them. Without anchors targets are believed: when
//! all of them fail at once it is an outage more often than not.
//!
//! Invariant: unknown findings never move an opinion from up to down or back.

use std::collections::BTreeMap;

use model::Timestamp;

use crate::schedule::{Finding, Look};

/// What is thought of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not asked often enough yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// How findings become an opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So many bad findings in a row make it down.
    pub failures: u32,
    /// So many good ones make it up again.
    pub successes: u32,
    /// It tells whether this machine is cut off.
    pub anchor: bool,
}

impl Default for Rules {
    /// Three bad ones, because one is lost packets and two are a restart; two good
    /// ones, so that what flaps stays down.
    fn default() -> Rules {
        Rules {
            failures: 3,
            successes: 2,
            anchor: false,
        }
    }
}

/// An opinion that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which probe.
    pub probe: String,
    /// What is thought now.
    pub state: State,
    /// Since the first finding of the row that changed it.
    pub since: Timestamp,
    /// The newest finding's words.
    pub words: String,
}

/// What is thought of each target.
#[derive(Debug, Clone, Default)]
pub struct Opinions {
    of: BTreeMap<String, Opinion>,
}

#[derive(Debug, Clone)]
struct Opinion {
    rules: Rules,
    state: State,
    /// Newest findings that say the same.
    row: Row,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    says: State,
    length: u32,
    since: Timestamp,
}

impl Opinions {
    /// Thinks of these and no others. Opinions that are there stay, by the new rules from now on.
    pub fn set(&mut self, rules: &BTreeMap<String, Rules>, now: Timestamp) {
        self.of.retain(|name, _| rules.contains_key(name));
        for (name, rules) in rules {
            let nothing_seen = Row {
                says: State::Unknown,
                length: 0,
                since: now,
            };
            let fresh = Opinion {
                rules: *rules,
                state: State::Unknown,
                row: nothing_seen,
            };
            self.of.entry(name.clone()).or_insert(fresh).rules = *rules;
        }
    }

    /// Takes a finding; tells of the opinion if that changes it.
    pub fn look(&mut self, finding: &Finding, at: Timestamp) -> Option<Change> {
        let cut_off = self.is_cut_off();
        let opinion = self.of.get_mut(&finding.probe)?;
        let says = match finding.look {
            Look::Good => State::Up,
            Look::Bad(_) if cut_off && !opinion.rules.anchor => return None,
            Look::Bad(_) => State::Down,
            // Neither for nor against: the row neither grows nor ends.
            Look::Unknown => return None,
        };
        let row = &mut opinion.row;
        if row.says == says {
            row.length = row.length.saturating_add(1);
        } else {
            *row = Row {
                says,
                length: 1,
                since: at,
            };
        }
        let enough = match (opinion.state, says) {
            (State::Down, State::Up) => opinion.rules.successes,
            (_, State::Down) => opinion.rules.failures,
            // Nobody is told that what was never down is up.
            (_, State::Up | State::Unknown) => 1,
        };
        if says == opinion.state || row.length < enough {
            return None;
        }
        opinion.state = says;
        Some(Change {
            probe: finding.probe.clone(),
            state: says,
            since: row.since,
            words: finding.words.clone(),
        })
    }

    /// What is thought of a target.
    pub fn state(&self, probe: &str) -> State {
        self.of.get(probe).map_or(State::Unknown, |it| it.state)
    }

    /// Whether this machine is cut off as far as its anchors tell: there are some,
    /// and the newest finding of each is bad.
    pub fn is_cut_off(&self) -> bool {
        let mut anchors = self.of.values().filter(|it| it.rules.anchor).peekable();
        anchors.peek().is_some() && anchors.all(|anchor| anchor.row.says == State::Down)
    }
}

#[cfg(test)]
mod tests {
    use model::Millis;
    use model::gate::ProbeVerdict;
    use proptest::prelude::*;

    use super::*;

    const BAD: Look = Look::Bad(ProbeVerdict::NoAnswer);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn opinions(anchors: &[&str], others: &[&str]) -> Opinions {
        let mut opinions = Opinions::default();
        let rules = |anchor| Rules {
            anchor,
            ..Rules::default()
        };
        let all = anchors
            .iter()
            .map(|name| ((*name).to_owned(), rules(true)))
            .chain(others.iter().map(|name| ((*name).to_owned(), rules(false))));
        opinions.set(&all.collect(), at(0));
        opinions
    }

    fn finding(probe: &str, look: Look) -> Finding {
        Finding {
            probe: probe.into(),
            look,
            words: "words".into(),
            took: Millis(1),
            late_by: Millis(0),
        }
    }

    /// The changes that a row of looks makes, one each second.
    fn changes(opinions: &mut Opinions, probe: &str, looks: &[Look]) -> Vec<(i64, State, i64)> {
        let begin = at(0).as_second();
        (0..)
            .zip(looks)
            .filter_map(|(second, look)| {
                let change = opinions.look(&finding(probe, *look), at(second))?;
                Some((second, change.state, change.since.as_second() - begin))
            })
            .collect()
    }

    #[test]
    fn one_failure_is_noise_and_three_are_an_outage() {
        let mut opinions = opinions(&[], &["api"]);
        let looks = [
            Look::Good,
            BAD,
            Look::Good,
            BAD,
            BAD,
            BAD,
            BAD,
            Look::Good,
            Look::Good,
        ];
        let said = changes(&mut opinions, "api", &looks);
        assert_eq!(
            said,
            [(0, State::Up, 0), (5, State::Down, 3), (8, State::Up, 7)]
        );
    }

    #[test]
    fn unknown_is_not_down() {
        let mut opinions = opinions(&[], &["api"]);
        let looks = [
            BAD,
            Look::Unknown,
            Look::Unknown,
            Look::Unknown,
            BAD,
            Look::Unknown,
            BAD,
        ];
        let said = changes(&mut opinions, "api", &looks);
        assert_eq!(said, [(6, State::Down, 0)]);
    }

    #[test]
    fn nobody_is_blamed_while_the_anchors_fail() {
        let mut opinions = opinions(&["gate", "dns"], &["api"]);
        assert!(!opinions.is_cut_off(), "nothing is known yet");
        opinions.look(&finding("gate", BAD), at(0));
        assert!(!opinions.is_cut_off(), "one anchor may fail by itself");
        opinions.look(&finding("dns", BAD), at(0));
        assert!(opinions.is_cut_off());
        assert!(changes(&mut opinions, "api", &[BAD, BAD, BAD, BAD]).is_empty());
        opinions.look(&finding("dns", Look::Good), at(9));
        assert_eq!(changes(&mut opinions, "api", &[BAD, BAD, BAD]).len(), 1);
    }

    #[test]
    fn a_change_of_rules_forgets_nobody() {
        let mut opinions = opinions(&[], &["api", "web"]);
        changes(&mut opinions, "api", &[BAD, BAD, BAD]);
        opinions.set(
            &BTreeMap::from([("api".to_owned(), Rules::default())]),
            at(9),
        );
        assert_eq!(opinions.state("api"), State::Down);
        assert_eq!(opinions.state("web"), State::Unknown);
    }

    proptest! {
        #[test]
        fn states_alternate_and_need_their_rows(looks in prop::collection::vec(0u8..3, 1..200)) {
            let mut opinions = opinions(&[], &["api"]);
            let looks: Vec<Look> = looks
                .iter()
                .map(|look| [Look::Good, BAD, Look::Unknown][usize::from(*look)])
                .collect();
            let mut before = State::Unknown;
            for (second, state, since) in changes(&mut opinions, "api", &looks) {
                prop_assert_ne!(state, before);
                prop_assert!(since <= second);
                let row = &looks[since as usize..=second as usize];
                let wanted = if state == State::Up { Look::Good } else { BAD };
                prop_assert!(row.iter().all(|look| [wanted, Look::Unknown].contains(look)));
                before = state;
            }
        }
    }
}
