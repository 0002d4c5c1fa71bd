//! The control plane's shell: what it does with calls, and when it dies.

use engine::Input;
use model::{Event, HostName, Refusal, Timestamp};

use crate::fleet::serving;
use crate::laws::Lawful;
use crate::world::{Call, Happening, Reply, World, instant};

/// The engine looks at the clock this often while a release is on its way.
const TURN_MS: u64 = 250;

/// What came of an input: nothing at all if the process died over it.
pub(crate) type Answer = Option<Result<Vec<Event>, Refusal>>;

impl World {
    /// An input on its way through decide, append and fold, with everything
    /// that can happen in between.
    pub(crate) fn plane_takes(&mut self, input: Input) -> Lawful<Answer> {
        if !self.plane.up {
            return Ok(None);
        }
        // Dies before it wrote: nobody knows that there was an input.
        if self.stormy() && self.draws.plane.chance(self.storm) {
            self.plane_dies();
            return Ok(None);
        }
        let result = self.plane_decides(input);
        // Dies after it wrote: the fact stands, the answer is lost.
        if result.as_ref().is_ok_and(|events| !events.is_empty())
            && self.stormy()
            && self.draws.plane.chance(2 * self.storm)
        {
            self.count("answers lost after the append");
            self.plane_dies();
            return Ok(None);
        }
        Ok(Some(result))
    }

    fn plane_decides(&mut self, input: Input) -> Result<Vec<Event>, Refusal> {
        let now = self.plane_clock();
        let mut events = self.plane.give(input, now)?;
        self.published(&events);
        // The shell ends each turn with a look at the clock and at the counts.
        self.plane.watch.close(&self.plane.state, now);
        if engine::wake_at(&self.plane.state, &self.plane.watch, now).is_some() {
            let more = self.plane.give(Input::Tick, now)?;
            self.published(&more);
            events.extend(more);
        }
        self.sign(now)?;
        Ok(events)
    }

    /// The shell signs test results that are to be signed.
    fn sign(&mut self, now: Timestamp) -> Result<(), Refusal> {
        for (release, statement) in engine::due::attestations(&self.plane.state) {
            let envelope = crate::attest::seal(&statement);
            let statement = Box::new(statement);
            let signed = self.plane.give(
                Input::Attest {
                    release,
                    envelope,
                    statement,
                },
                now,
            )?;
            self.published(&signed);
        }
        Ok(())
    }

    /// Tells the trace and the hosts concerned.
    fn published(&mut self, events: &[Event]) {
        for event in events {
            self.note(|| format!("journal: {event}"));
            match event {
                Event::HostOrdered { order } => self.hint(&order.host),
                Event::ReleaseGood { .. } => self.count("releases good"),
                Event::RollbackCompleted { .. } => self.count("releases rolled back"),
                Event::RollbackStarted { by, .. } if by.role.is_none() => {
                    self.count("rollbacks by verdict");
                }
                Event::RollbackStarted { .. } => self.count("rollbacks by people"),
                Event::WaveStarted { environment, .. } if *environment == serving() => {
                    self.count("waves begun in production");
                }
                Event::WaveHeld { release, .. } => {
                    self.count("waves held");
                    self.held(*release);
                }
                Event::WaveContinued { .. } => self.count("waves continued by people"),
                Event::HostHeld { .. } => self.count("hosts holding"),
                Event::HostFailed { reason, .. } if reason.starts_with("went back") => {
                    self.count("self-reverts");
                }
                Event::HostFailed { .. } => self.count("orders declined"),
                Event::HostRevertFailing { .. } => self.count("reverts failing at first"),
                _ => {}
            }
        }
    }

    fn hint(&mut self, host: &HostName) {
        let Some(at) = self.machines.iter().position(|it| it.place.host == *host) else {
            return;
        };
        if self.weather.open(at, self.now) {
            for arrival in self.weather.carry(self.now, &mut self.draws.network) {
                self.at(arrival, Happening::Hint { host: at });
            }
        }
    }

    pub(crate) fn plane_turn(&mut self) -> Lawful {
        self.after(TURN_MS, Happening::PlaneTurn);
        let now = self.plane_clock();
        if self.plane.up {
            self.plane.watch.close(&self.plane.state, now);
        }
        if self.plane.up && engine::wake_at(&self.plane.state, &self.plane.watch, now).is_some() {
            let events = self.plane.give(Input::Tick, now).unwrap_or_default();
            self.published(&events);
            // Ticks and signatures are never refused.
            let _ = self.sign(now);
            if !events.is_empty() && self.stormy() && self.draws.plane.chance(2 * self.storm) {
                self.plane_dies();
            }
        }
        Ok(())
    }

    pub(crate) fn plane_dies(&mut self) {
        if !self.plane.up {
            return;
        }
        self.plane.up = false;
        self.count("control plane crashes");
        self.note(|| "the control plane dies".into());
        let long = self.draws.plane.chance(150);
        let down = self
            .draws
            .plane
            .between(200, if long { 70_000 } else { 6_000 });
        self.after(down, Happening::PlaneBegins);
    }

    pub(crate) fn plane_begins(&mut self) -> Lawful {
        if self.plane.up {
            return Ok(());
        }
        let cut = self.draws.plane.index(self.plane.journal.len() + 1);
        let wall = instant(self.now, self.plane.offset_ms);
        self.note(|| "the control plane begins anew".into());
        self.plane.begin(cut, wall)
    }

    /// A call leaves a host.
    pub(crate) fn call(&mut self, host: usize, call: Call) {
        let life = self.machines[host].life;
        if !self.weather.open(host, self.now) {
            self.count("messages cut off");
            return;
        }
        let copies = self.weather.carry(self.now, &mut self.draws.network);
        self.tally(&copies);
        for arrival in copies {
            let call = call.clone();
            self.at(arrival, Happening::AtPlane { host, life, call });
        }
    }

    fn reply(&mut self, host: usize, life: u64, reply: Reply) {
        if !self.weather.open(host, self.now) {
            self.count("messages cut off");
            return;
        }
        let copies = self.weather.carry(self.now, &mut self.draws.network);
        self.tally(&copies);
        for arrival in copies {
            let reply = reply.clone();
            self.at(arrival, Happening::AtHost { host, life, reply });
        }
    }

    fn tally(&mut self, copies: &[u64]) {
        match copies {
            [] => self.count("messages lost"),
            [one] if *one > self.now + 400 => self.count("messages late"),
            [_] => {}
            _ => self.count("messages doubled"),
        }
    }

    /// A call arrives; the caller may be dead by now.
    pub(crate) fn at_plane(&mut self, host: usize, life: u64, call: Call) -> Lawful {
        if !self.plane.up {
            return Ok(());
        }
        let name = self.machines[host].place.host.clone();
        let now = self.plane_clock();
        self.plane.watch.heard(&name, now);
        self.truth.heard(&name, self.plane.life);
        let reply = match call {
            Call::Orders { tag } => {
                let newest = engine::due::orders_tag(&self.plane.state, &name);
                if newest == tag {
                    return Ok(());
                }
                let orders = engine::due::dispatches(&self.plane.state, &name);
                Reply::Orders {
                    tag: newest,
                    orders,
                }
            }
            Call::Confirm { id, digest } => {
                let input = Input::Confirm {
                    host: name,
                    service: id.service.clone(),
                    generation: id.generation,
                    digest,
                };
                let refused = match self.plane_takes(input)? {
                    None => return Ok(()),
                    Some(Ok(_)) => None,
                    Some(Err(refusal)) => Some(refusal.to_string()),
                };
                if refused.is_some() {
                    self.count("confirmations refused");
                }
                Reply::Confirmed {
                    id,
                    digest,
                    refused,
                }
            }
            Call::Reports(reports) => {
                let through = reports
                    .iter()
                    .map(|report| report.number)
                    .max()
                    .unwrap_or(0);
                match self.plane_takes(Input::Reports {
                    host: name,
                    reports,
                })? {
                    Some(Ok(_)) => Reply::Acknowledged { through },
                    Some(Err(_)) | None => return Ok(()),
                }
            }
            Call::Beat(beats) => {
                self.plane.watch.beat(&name, beats, now);
                return Ok(());
            }
            Call::WhoAmI { id } => Reply::YouAre { id },
        };
        self.reply(host, life, reply);
        Ok(())
    }
}
