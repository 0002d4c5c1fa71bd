//! What is to be done, derived from state alone.
//!
//! Invariant: after a crash the state on disk gives the same answer, so there
//! is no list of things under way that could be lost.

use std::collections::BTreeMap;

use jiff::Timestamp;

use model::{Command, Commands, Digest, Phase};

use crate::host::{
    Armed, ArmedStep, Asking, Back, BackStep, Host, Pending, PrepareStep, Slot, Work,
};
use crate::message::{Action, Context, Effect, EffectId};

/// What a pending try is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Stage,
    Check,
    WayHome,
    Swap,
    Restart,
    Look,
    Confirm,
    AskPeers,
    Prune,
}

/// Everything that is to be done now. What is under way stays in this list
/// until its outcome comes in; a shell knows by the id what it has started.
pub fn due(host: &Host, now: Timestamp) -> Vec<Effect> {
    let slots = host.slots.values();
    slots
        .flat_map(|slot| {
            let tries = slot.doing().into_iter();
            let ripe = tries.filter(|(_, _, pending)| pending.timer.over(now));
            ripe.filter_map(|(doing, phase, pending)| slot.effect(doing, phase, pending))
        })
        .collect()
}

/// Whether an effect is still wanted; one that isn't must be cancelled.
pub fn is_pending(host: &Host, id: &EffectId) -> bool {
    host.slots
        .get(&id.service)
        .is_some_and(|slot| slot.find(id).is_some())
}

/// The next instant after `now` at which [`due`] grows or [`crate::Input::Tick`] has something to say.
pub fn wake_at(host: &Host, now: Timestamp) -> Option<Timestamp> {
    let slots = host.slots.values();
    slots
        .flat_map(|slot| {
            let tries = slot.doing().into_iter();
            let timers = tries.map(|(_, _, pending)| pending.timer);
            let deadline = match &slot.work {
                Work::Armed(Armed {
                    deadline,
                    asking: Asking::No,
                    ..
                }) => Some(*deadline),
                Work::Armed(_) | Work::Watch(_) | Work::Prepare(_) | Work::Back(_) => None,
            };
            timers.chain(deadline)
        })
        .filter(|timer| !timer.over(now))
        .map(|timer| timer.ends())
        .min()
}

impl Slot {
    /// All that is pending, ripe or not.
    pub(crate) fn doing(&self) -> Vec<(Doing, Phase, Pending)> {
        let mut list = Vec::with_capacity(3);
        let looks = |list: &mut Vec<_>, digest, phase| {
            if self.health_of(digest).is_some() {
                list.push((Doing::Look, phase, self.looks.next));
            }
        };
        match &self.work {
            Work::Watch(watch) => {
                looks(&mut list, self.running, Phase::Watch);
                list.extend(
                    watch
                        .confirm
                        .map(|c| (Doing::Confirm, Phase::Confirm, c.next)),
                );
                list.extend(watch.prune.map(|next| (Doing::Prune, Phase::Watch, next)));
            }
            Work::Prepare(prepare) => {
                let doing = match prepare.step {
                    PrepareStep::Stage => Doing::Stage,
                    PrepareStep::Check => Doing::Check,
                    PrepareStep::WayHome => Doing::WayHome,
                };
                list.push((doing, prepare.step.phase(), prepare.act));
                if prepare.resume.is_none() {
                    looks(&mut list, self.running, Phase::Watch);
                }
            }
            Work::Armed(armed) => {
                match armed.step {
                    ArmedStep::Swap => list.push((Doing::Swap, Phase::Swap, armed.act)),
                    ArmedStep::Restart => list.push((Doing::Restart, Phase::Restart, armed.act)),
                    ArmedStep::Health => looks(&mut list, self.subject(), Phase::Health),
                    ArmedStep::Confirm => {
                        list.push((Doing::Confirm, Phase::Confirm, armed.act));
                        looks(&mut list, self.subject(), Phase::Health);
                    }
                }
                if let Asking::Peers { next } | Asking::Holding { next, .. } = armed.asking {
                    list.push((Doing::AskPeers, Phase::Confirm, next));
                }
            }
            Work::Back(back) => match back.step {
                BackStep::Stage => list.push((Doing::Stage, Phase::Stage, back.act)),
                BackStep::Swap => list.push((Doing::Swap, Phase::Swap, back.act)),
                BackStep::Restart => list.push((Doing::Restart, Phase::Restart, back.act)),
                BackStep::Health => looks(&mut list, back.target, Phase::Health),
            },
        }
        list
    }

    /// What `id` is about, if it is still wanted.
    pub(crate) fn find(&self, id: &EffectId) -> Option<Doing> {
        // The try's number is unique, so the generation, which is for people and the wire, decides nothing.
        self.doing()
            .into_iter()
            .find(|(_, phase, pending)| *phase == id.phase && pending.attempt == id.attempt)
            .map(|(doing, _, _)| doing)
    }

    fn effect(&self, doing: Doing, phase: Phase, pending: Pending) -> Option<Effect> {
        let id = EffectId {
            service: self.service.clone(),
            generation: self.generation(),
            phase,
            attempt: pending.attempt,
        };
        let action = match &self.work {
            Work::Back(back) => self.back_action(doing, back)?,
            Work::Watch(_) | Work::Prepare(_) => self.action(doing, self.running)?,
            Work::Armed(_) => self.action(doing, self.subject())?,
        };
        Some(Effect { id, action })
    }

    fn context(&self, tree: Digest) -> Context {
        Context {
            tree,
            place: self.place.clone(),
        }
    }

    fn look(&self, digest: Digest) -> Option<Action> {
        Some(Action::Look {
            check: self.health_of(digest)?.clone(),
            context: self.context(digest),
        })
    }

    /// Forward and at rest; `live` is what the health check is about.
    fn action(&self, doing: Doing, live: Digest) -> Option<Action> {
        let dispatch = self.dispatch.as_ref();
        Some(match doing {
            Doing::Stage => Action::Stage {
                digest: self.ordered()?,
                bundle: dispatch?.bundle.clone().map(Box::new),
            },
            Doing::Check => {
                let bundle = dispatch?.bundle.as_ref();
                let command = bundle.map_or_else(
                    || self.recipe(self.ordered()?)?.commands.check.clone(),
                    |bundle| bundle.commands.check.clone(),
                )?;
                Action::Check {
                    command,
                    context: self.context(self.ordered()?),
                }
            }
            Doing::WayHome => Action::WayHome,
            Doing::Swap => Action::Swap {
                to: self.ordered()?,
            },
            Doing::Restart => {
                let gentle = matches!(&self.work, Work::Armed(armed) if armed.gentle);
                self.restart(self.good, self.ordered()?, gentle)?
            }
            Doing::Look => self.look(live)?,
            Doing::Confirm => Action::Confirm { digest: live },
            Doing::AskPeers => Action::AskPeers {
                peers: self.peers(),
            },
            Doing::Prune => Action::Prune { keep: self.keep() },
        })
    }

    fn back_action(&self, doing: Doing, back: &Back) -> Option<Action> {
        match doing {
            Doing::Stage => {
                let dispatch = self.dispatch.as_ref();
                let fitting = dispatch.filter(|d| d.order.digest == back.target);
                let bundle = fitting.and_then(|d| d.bundle.clone()).map(Box::new);
                Some(Action::Stage {
                    digest: back.target,
                    bundle,
                })
            }
            Doing::Swap => Some(Action::Swap { to: back.target }),
            Doing::Restart => self.restart(back.from, back.target, back.gentle),
            Doing::Look => self.look(back.target),
            Doing::Check | Doing::WayHome | Doing::Confirm | Doing::AskPeers | Doing::Prune => None,
        }
    }

    /// The command that makes the service take `to` after `from`; with both, a
    /// change of packages restarts and any other reloads.
    fn apply_command(&self, from: Digest, to: Digest, gentle: bool) -> Option<(&Command, Digest)> {
        let recipe = self.recipe(to)?;
        let none = BTreeMap::new();
        let before = self.recipe(from).map_or(&none, |recipe| &recipe.packages);
        let same = gentle && recipe.packages == *before;
        let Commands {
            reload, restart, ..
        } = &recipe.commands;
        let command = if same {
            reload.as_ref().or(restart.as_ref())
        } else {
            restart.as_ref().or(reload.as_ref())
        };
        command.map(|command| (command, to))
    }

    pub(crate) fn restart(&self, from: Digest, to: Digest, gentle: bool) -> Option<Action> {
        let gentle = gentle && !self.is_nothing(from) && !self.is_nothing(to);
        let (command, tree) = self.apply_command(from, to, gentle)?;
        Some(Action::Restart {
            command: command.clone(),
            context: self.context(tree),
        })
    }

    /// Other agents than this host's own.
    pub(crate) fn peers(&self) -> std::collections::BTreeMap<model::HostName, String> {
        let Some(dispatch) = &self.dispatch else {
            return Default::default();
        };
        let mut peers = dispatch.peers.clone();
        peers.remove(&dispatch.order.host);
        peers
    }
}
