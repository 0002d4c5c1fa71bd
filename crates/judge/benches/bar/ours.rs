//! The judge under test, through its public interface alone.
//!
//! Invariant: it is asked after every second, as often as it ever will be.

use judge::tick::StratumTick;
use judge::{History, Judge, Settings, Sums, Tick, Word};
use model::Metric;

use crate::draw::Draw;
use crate::oracles::Rule;
use crate::world::{World, history};

/// Nothing but this metric is looked at, with all of alpha.
pub(crate) fn only(metric: Metric) -> Settings {
    Settings {
        weights: vec![(metric, 1.0)],
        ..Settings::default()
    }
}

/// The judge as a rule among others; one stratum, errors only.
#[derive(Debug)]
pub(crate) struct Ours {
    judge: Judge,
    tick: Tick,
    next: u64,
}

impl Ours {
    pub(crate) fn new(settings: &Settings, history: &History) -> Ours {
        let strata = vec![StratumTick::default()];
        Ours {
            judge: Judge::new(settings, history),
            tick: Tick {
                strata,
                ..Tick::default()
            },
            next: 0,
        }
    }
}

impl Rule for Ours {
    fn second(&mut self, sums: &[Sums; 2]) -> bool {
        self.tick.at = self.next;
        self.next += 1;
        let stratum = &mut self.tick.strata[0];
        [stratum.canary, stratum.control] = *sums;
        self.judge.observe(&self.tick);
        is_harm(&self.judge)
    }
}

pub(crate) fn is_harm(judge: &Judge) -> bool {
    matches!(judge.word(), Word::RollBack(_))
}

pub(crate) fn is_pass(judge: &Judge) -> bool {
    judge.word() == Word::Pass
}

/// Lives through one release in this world; after how many seconds the judge says `word`.
pub(crate) fn until(
    settings: &Settings,
    world: &mut impl World,
    draw: &mut Draw,
    cap: u64,
    word: impl Fn(&Judge) -> bool,
) -> Option<u64> {
    let mut judge = Judge::new(settings, &history(world, draw));
    let mut tick = Tick::default();
    (0..cap).find_map(|at| {
        tick.at = at;
        world.second(draw, at, &mut tick);
        judge.observe(&tick);
        word(&judge).then_some(at + 1)
    })
}
