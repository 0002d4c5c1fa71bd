//! Everything from which a verdict follows again, bit for bit.

use serde::{Deserialize, Serialize};

use crate::history::History;
use crate::judge::{Judge, Settings, Standing};
use crate::tick::Tick;

/// A comparison as it was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked.
    pub settings: Settings,
    /// What was known before.
    pub history: History,
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
        let mut judge = Judge::new(&self.settings, &self.history);
        let mut waves = self.waves.iter().copied().peekable();
        for (n, tick) in self.ticks.iter().enumerate() {
            while waves.next_if(|at| *at <= n).is_some() {
                judge.begin_wave();
            }
            judge.observe(tick);
        }
        for _ in waves {
            judge.begin_wave();
        }
        judge.standing()
    }
}
