//! Everything from which a verdict follows again, bit for bit.

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::judge::{Judge, Settings, Standing, Word};
use crate::tick::Tick;

/// A comparison as it was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked.
    pub settings: Settings,
    /// What was known before.
    pub history: History,
    /// When the first of them was, in Unix seconds; absent in what older versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<i64>,
    /// Every second.
    pub ticks: Vec<Tick>,
    /// Where waves began: before the tick of this index.
    pub waves: Vec<usize>,
    /// Names of strata, by number.
    pub strata: Vec<String>,
    /// Names of groups of hosts, by number.
    pub hosts: Vec<String>,
}

impl Record {
    /// The same comparison once more.
    pub fn replay(&self) -> Standing {
        self.run(|_, _| {}).standing()
    }

    /// With which second harm was shown first, as [`Tick::at`] counts them.
    pub fn shown(&self) -> Option<u64> {
        let mut shown = None;
        self.run(|tick, judge| {
            let harm = || matches!(judge.standing().word, Word::RollBack(_));
            if shown.is_none() && harm() {
                shown = Some(tick.at);
            }
        });
        shown
    }

    /// The first second in which the new bundle had requests, counted alike.
    pub fn served(&self) -> Option<u64> {
        let serves = |tick: &&Tick| tick.strata.iter().any(|stratum| stratum.canary.n > 0);
        self.ticks.iter().find(serves).map(|tick| tick.at)
    }

    /// Every second once more; `after` looks at the judge after each.
    fn run(&self, mut after: impl FnMut(&Tick, &Judge)) -> Judge {
        let mut judge = Judge::new(&self.settings, &self.history);
        let mut waves = self.waves.iter().copied().peekable();
        for (n, tick) in self.ticks.iter().enumerate() {
            while waves.next_if(|at| *at <= n).is_some() {
                judge.begin_wave();
            }
            judge.observe(tick);
            after(tick, &judge);
        }
        for _ in waves {
            judge.begin_wave();
        }
        judge
    }
}
