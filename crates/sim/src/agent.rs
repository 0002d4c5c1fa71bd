//! A host's shell: gives inputs to the node machine, keeps its state on disk,
//! and does what is due.
//!
//! The order is the shell's law: decide, evolve, *persist*, and only then do.
//! Between any two of these the agent may die.

use std::collections::BTreeMap;

use engine::watch::Beat;
use model::order::Dispatch;
use node::{Action, EffectId, Host, Input, Outcome};

use crate::laws::{Broken, Lawful, law};
use crate::machine::{Flight, failed};
use crate::world::{Call, Chore, Happening, Reply, World};

const POLL_EVERY_MS: u64 = 5_000;
const BEAT_EVERY_MS: u64 = 3_000;
const REPORT_EVERY_MS: u64 = 3_000;
/// The agent sleeps no longer than this, so that a clock that is set doesn't keep it asleep.
const SLEEP_MS_MAX: u64 = 5_000;
/// A call to the control plane gives up after this.
const CALL_MS_MAX: u64 = 3_000;

impl World {
    /// One input through decide, evolve, persist, and to what is due.
    pub(crate) fn give(&mut self, host: usize, input: Input) -> Lawful {
        let now = self.host_clock(host);
        let machine = &mut self.machines[host];
        let Some(agent) = &mut machine.agent else {
            return Ok(());
        };
        // A refusal changes nothing; the node's own tests look at its words.
        let events = node::decide(agent, input, now).unwrap_or_default();
        events.iter().for_each(|event| node::evolve(agent, event));
        let reports = !agent.outbox.is_empty() && agent.outbox != machine.saved.outbox;
        if !events.is_empty() {
            if self.stormy() && self.draws.hosts.chance(self.storm) {
                self.count("agents killed before they wrote");
                self.agent_dies(host)?;
                return Ok(());
            }
            self.persist(host)?;
            if self.stormy() && self.draws.hosts.chance(2 * self.storm) {
                self.count("agents killed after they wrote");
                self.agent_dies(host)?;
                return Ok(());
            }
        }
        if reports {
            self.chore_after(host, 50, Chore::Report);
        }
        self.due(host)
    }

    fn persist(&mut self, host: usize) -> Lawful {
        let machine = &mut self.machines[host];
        let Some(agent) = &machine.agent else {
            return Ok(());
        };
        machine.saved = agent.clone();
        for (service, slot) in &agent.slots {
            let before = machine.fences.insert(service.clone(), slot.fence);
            law(
                before.is_none_or(|before| before <= slot.fence),
                "fence",
                || {
                    format!(
                        "{}: {before:?} came down to {}",
                        machine.place.host, slot.fence
                    )
                },
            )?;
        }
        Ok(())
    }

    /// Begins what is due and not under way, and drops what nobody wants any more.
    fn due(&mut self, host: usize) -> Lawful {
        let now = self.host_clock(host);
        let Some(agent) = &self.machines[host].agent else {
            return Ok(());
        };
        let flights = &self.machines[host].flights;
        let unwanted: Vec<EffectId> = flights
            .keys()
            .filter(|id| !node::is_pending(agent, id))
            .cloned()
            .collect();
        let effects = node::due(agent, now);
        let wake = node::wake_at(agent, now);
        for id in unwanted {
            if let Some(flight) = self.machines[host].flights.remove(&id) {
                self.cancel(host, &id, flight)?;
            }
        }
        for effect in effects {
            if !self.machines[host].flights.contains_key(&effect.id) {
                self.begin(host, effect)?;
            }
        }
        if let Some(at) = wake {
            let span = model::Millis::between(now, at).0.clamp(1, SLEEP_MS_MAX);
            let at = self.now + span;
            if self.machines[host].wake.is_none_or(|wake| wake > at) {
                self.machines[host].wake = Some(at);
                self.chore_after(host, span, Chore::Wake);
            }
        }
        Ok(())
    }

    /// What is cut short may have got as far as to be done.
    fn cancel(&mut self, host: usize, id: &EffectId, flight: Flight) -> Lawful {
        let local = matches!(
            flight.action,
            Action::Stage { .. } | Action::Restart { .. } | Action::Prune { .. }
        );
        if local && flight.outcome.is_none() && self.draws.hosts.chance(500) {
            self.count("effects done, outcome lost");
            self.perform(host, &id.service, &flight.action)?;
        }
        Ok(())
    }

    fn begin(&mut self, host: usize, effect: node::Effect) -> Lawful {
        let node::Effect { id, action } = effect;
        let mut outcome = None;
        let span = match &action {
            Action::WayHome => {
                self.call(host, Call::WhoAmI { id: id.clone() });
                outcome = Some(failed("no answer in time"));
                CALL_MS_MAX
            }
            Action::Confirm { digest } => {
                self.call(
                    host,
                    Call::Confirm {
                        id: id.clone(),
                        digest: *digest,
                    },
                );
                outcome = Some(failed("no answer in time"));
                CALL_MS_MAX
            }
            // A rename is done or not done, there is no while; hearing of it takes a moment.
            Action::Swap { .. } => {
                outcome = Some(self.perform(host, &id.service, &action)?);
                self.draws.hosts.between(1, 10)
            }
            Action::Stage { .. }
            | Action::Check { .. }
            | Action::Restart { .. }
            | Action::Look { .. }
            | Action::AskPeers { .. }
            | Action::Prune { .. } => self.span_of(host, &id, &action),
        };
        self.machines[host]
            .flights
            .insert(id.clone(), Flight { action, outcome });
        self.chore_after(host, span, Chore::Ends(id));
        Ok(())
    }

    /// An effect ends by itself: what it did, or that it took too long.
    fn ends(&mut self, host: usize, id: EffectId) -> Lawful {
        let Some(flight) = self.machines[host].flights.remove(&id) else {
            return Ok(());
        };
        let outcome = match flight.outcome {
            Some(outcome) => outcome,
            None => self.perform(host, &id.service, &flight.action)?,
        };
        self.outcome(host, id, outcome)
    }

    fn outcome(&mut self, host: usize, id: EffectId, outcome: Outcome) -> Lawful {
        if id.phase != model::Phase::Watch || outcome != Outcome::Done {
            let name = &self.machines[host].place.host;
            self.note(|| format!("{name}: {} {} → {outcome:?}", id.service, id.phase));
        }
        self.give(host, Input::Outcome { id, outcome })
    }

    pub(crate) fn chore_after(&mut self, host: usize, span: u64, chore: Chore) {
        let life = self.machines[host].life;
        self.after(span, Happening::Agent { host, life, chore });
    }

    pub(crate) fn chore(&mut self, host: usize, life: u64, chore: Chore) -> Lawful {
        let machine = &self.machines[host];
        let Some(agent) = machine.agent.as_ref().filter(|_| machine.life == life) else {
            return Ok(());
        };
        match chore {
            Chore::Wake => {
                // Only the earliest alarm counts; those that it overtook ring for nothing.
                if machine.wake == Some(self.now) {
                    self.machines[host].wake = None;
                    self.give(host, Input::Tick)?;
                }
            }
            Chore::Ends(id) => self.ends(host, id)?,
            Chore::Poll => {
                self.poll(host);
                let jitter = self.draws.hosts.below(1_000);
                self.chore_after(host, POLL_EVERY_MS + jitter, Chore::Poll);
            }
            Chore::Beat => {
                let beats = self.beats(host);
                self.call(host, Call::Beat(beats));
                self.chore_after(host, BEAT_EVERY_MS, Chore::Beat);
            }
            Chore::Report => {
                if !agent.outbox.is_empty() {
                    let reports = agent.outbox.iter().cloned().collect();
                    self.call(host, Call::Reports(reports));
                    self.chore_after(host, REPORT_EVERY_MS, Chore::Report);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn poll(&mut self, host: usize) {
        if self.machines[host].agent.is_some() {
            let tag = self.machines[host].tag.clone();
            self.call(host, Call::Orders { tag });
        }
    }

    fn beats(&self, host: usize) -> BTreeMap<model::ServiceName, Beat> {
        let machine = &self.machines[host];
        let slots = machine.agent.iter().flat_map(|agent| &agent.slots);
        slots
            .map(|(service, slot)| {
                let exits = machine.disks.get(service).map(|disk| disk.exits);
                let beat = Beat::new(slot.running, slot.generation(), slot.healthy);
                (
                    service.clone(),
                    beat.with(slot.unhealthy_reason.clone(), exits),
                )
            })
            .collect()
    }

    /// An answer arrives, if the process that asked is still there.
    pub(crate) fn at_host(&mut self, host: usize, life: u64, reply: Reply) -> Lawful {
        if self.machines[host].agent.is_none() || self.machines[host].life != life {
            return Ok(());
        }
        match reply {
            Reply::Orders { tag, orders } => {
                self.machines[host].tag = tag;
                orders
                    .into_iter()
                    .try_for_each(|order| self.order(host, order))
            }
            Reply::Confirmed {
                id,
                digest,
                refused,
            } => {
                if refused.is_none() {
                    let name = self.machines[host].place.host.clone();
                    self.check_step()?;
                    self.laws.knows(&name, &id.service, id.generation, digest)?;
                }
                let outcome = refused.map_or(Outcome::Done, |reason| Outcome::Refused { reason });
                self.answered(host, id, outcome)
            }
            Reply::YouAre { id } => self.answered(host, id, Outcome::Done),
            Reply::Acknowledged { through } => self.give(host, Input::Acknowledged { through }),
        }
    }

    fn order(&mut self, host: usize, dispatch: Dispatch) -> Lawful {
        let proof = crate::attest::open(dispatch.attestation.as_ref());
        self.give(host, Input::Ordered { dispatch, proof })
    }

    fn answered(&mut self, host: usize, id: EffectId, outcome: Outcome) -> Lawful {
        match self.machines[host].flights.remove(&id) {
            Some(_) => self.outcome(host, id, outcome),
            None => Ok(()),
        }
    }

    /// The agent's process dies; the service's goes on.
    pub(crate) fn agent_dies(&mut self, host: usize) -> Lawful {
        self.agent_down(host, false)
    }

    pub(crate) fn agent_down(&mut self, host: usize, boot: bool) -> Lawful {
        if self.machines[host].agent.take().is_none() {
            return Ok(());
        }
        self.note(|| format!("{}: down, boot {boot}", self.machines[host].place.host));
        let flights = std::mem::take(&mut self.machines[host].flights);
        for (id, flight) in flights {
            self.cancel(host, &id, flight)?;
        }
        let machine = &mut self.machines[host];
        machine.life += 1;
        machine.tag.clear();
        machine.wake = None;
        let life = machine.life;
        let long = self.draws.hosts.chance(100);
        let down = self
            .draws
            .hosts
            .between(200, if long { 90_000 } else { 8_000 });
        self.after(down, Happening::AgentBegins { host, life, boot });
        Ok(())
    }

    /// A new agent reads what the last one wrote.
    pub(crate) fn agent_begins(&mut self, host: usize, life: u64, boot: bool) -> Lawful {
        if self.machines[host].life != life || self.machines[host].agent.is_some() {
            return Ok(());
        }
        if boot {
            let services = self.machines[host].place.services.clone();
            services
                .iter()
                .for_each(|service| self.start_process(host, service));
        }
        let saved = &self.machines[host].saved;
        let read = serde_json::to_vec(saved).and_then(|disk| serde_json::from_slice::<Host>(&disk));
        let read = read.map_err(|error| Broken {
            law: "fold",
            what: format!("a host's state can't be read back: {error}"),
        })?;
        law(read == *saved, "fold", || {
            "a host's state reads back as another".into()
        })?;
        self.machines[host].agent = Some(read);
        self.start_chores(host);
        self.give(host, Input::Started)
    }

    /// What a new agent does by the clock.
    pub(crate) fn start_chores(&mut self, host: usize) {
        for (chore, within) in [
            (Chore::Poll, 1_000),
            (Chore::Beat, BEAT_EVERY_MS),
            (Chore::Report, 1_000),
        ] {
            let first = self.draws.hosts.between(1, within);
            self.chore_after(host, first, chore);
        }
    }
}
