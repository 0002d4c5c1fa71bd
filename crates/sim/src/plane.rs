//! The control plane: the real engine over a journal in memory.

use engine::{Input, State, Watch, decide, evolve};
use model::{Event, Refusal, Timestamp};

use crate::laws::{Lawful, law};

/// One control plane and its journal, which outlives it.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) state: State,
    pub(crate) watch: Watch,
    pub(crate) journal: Vec<(Timestamp, Event)>,
    pub(crate) up: bool,
    /// Counts its processes.
    pub(crate) life: u64,
    /// How far its clock is from the true time.
    pub(crate) offset_ms: i64,
    newest: Timestamp,
}

impl Plane {
    pub(crate) fn new(now: Timestamp) -> Plane {
        Plane {
            state: State::default(),
            watch: Watch::new(now),
            journal: Vec::new(),
            up: true,
            life: 1,
            offset_ms: 0,
            newest: now,
        }
    }

    /// Wall time that never goes back within one process, as the shell keeps it.
    pub(crate) fn clock(&mut self, wall: Timestamp) -> Timestamp {
        self.newest = self.newest.max(wall);
        self.newest
    }

    /// Decides, appends, folds.
    pub(crate) fn give(&mut self, input: Input, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        let events = decide(&self.state, &self.watch, input, now)?;
        for event in &events {
            evolve(&mut self.state, event, now);
            self.journal.push((now, event.clone()));
        }
        Ok(events)
    }

    /// A new process: the state comes from a snapshot at `cut` and the tail after it.
    pub(crate) fn begin(&mut self, cut: usize, wall: Timestamp) -> Lawful {
        let folded = self.through_snapshot(cut)?;
        law(folded == self.state, "fold", || {
            format!("a snapshot at {cut} and its tail give another state")
        })?;
        self.state = folded;
        self.newest = wall;
        self.watch = Watch::new(wall);
        self.up = true;
        self.life += 1;
        Ok(())
    }

    /// The state is the fold of the journal, with and without a snapshot.
    pub(crate) fn check_fold(&self, cut: usize) -> Lawful {
        let replayed = fold(State::default(), &self.journal);
        law(replayed == self.state, "fold", || {
            "the journal folds to another state".into()
        })?;
        let folded = self.through_snapshot(cut)?;
        law(folded == self.state, "fold", || {
            format!("a snapshot at {cut} and its tail give another state")
        })
    }

    fn through_snapshot(&self, cut: usize) -> Lawful<State> {
        let cut = cut.min(self.journal.len());
        let state = fold(State::default(), &self.journal[..cut]);
        let read = serde_json::to_vec(&state)
            .and_then(|bytes| serde_json::from_slice::<State>(&bytes))
            .map_err(|error| crate::laws::Broken {
                law: "fold",
                what: format!("a snapshot can't be read back: {error}"),
            })?;
        Ok(fold(read, &self.journal[cut..]))
    }

    /// At this moment the way back is open to a person, and leads every host off what is left.
    pub(crate) fn check_way_back(&self, now: Timestamp) -> Lawful {
        for service in self.state.topology.services.keys() {
            let known = self.state.services.get(service);
            let goods = known
                .into_iter()
                .flat_map(|it| it.goods.iter().map(|good| good.digest));
            let targets: Vec<_> = std::iter::once(None).chain(goods.map(Some)).collect();
            for to in targets {
                let input = Input::Rollback {
                    by: crate::people::person(),
                    service: service.clone(),
                    release: None,
                    to,
                    reason: "what if".into(),
                };
                let events = decide(&self.state, &self.watch, input, now);
                let events = events.map_err(|refusal| crate::laws::Broken {
                    law: "way back",
                    what: format!("a rollback of {service} to {to:?} is refused: {refusal}"),
                })?;
                // Without anything under way or ever good there is nothing to undo, and that is an answer too.
                let something = known.is_some_and(|it| it.active.is_some() || !it.goods.is_empty());
                law(!something || !events.is_empty(), "way back", || {
                    format!("a rollback of {service} to {to:?} is accepted and does nothing")
                })?;
                let mut state = self.state.clone();
                events
                    .iter()
                    .for_each(|event| evolve(&mut state, event, now));
                let left = known.and_then(|known| known.active);
                for (host, slot) in state.slots(service) {
                    let still = left.is_some_and(|id| slot.forward_of(id).is_some());
                    law(!still, "way back", || {
                        format!("{host} would be left on {left:?} by a rollback of {service}")
                    })?;
                }
            }
        }
        Ok(())
    }
}

fn fold(mut state: State, journal: &[(Timestamp, Event)]) -> State {
    for (at, event) in journal {
        evolve(&mut state, event, *at);
    }
    state
}
