//! What effects do on a host's disk and to the service's process.

use model::{Digest, ServiceName};
use node::{Action, EffectId, Outcome};

use crate::fleet::Temper;
use crate::laws::{Lawful, law};
use crate::machine::{Process, failed};
use crate::world::{Happening, World};

impl World {
    /// How long an effect takes when nothing stops it.
    pub(crate) fn span_of(&mut self, host: usize, id: &EffectId, action: &Action) -> u64 {
        let hung = self.hangs(host, &id.service);
        let draw = &mut self.draws.hosts;
        let (usual, deadline, hangs) = match action {
            Action::Stage { .. } => (draw.between(20, 400), 0, None),
            Action::Check { command, context } => {
                let hangs = (context.tree, Temper::CheckHangs);
                (draw.between(20, 200), command.deadline_ms.0, Some(hangs))
            }
            Action::Restart { command, context } => {
                let hangs = (context.tree, Temper::RestartHangs);
                (draw.between(50, 900), command.deadline_ms.0, Some(hangs))
            }
            Action::Look { check, .. } if hung => (check.deadline_ms.0, 0, None),
            Action::Look { .. } => (draw.between(2, 40), 0, None),
            Action::AskPeers { .. } => (draw.between(20, 2_000), 0, None),
            Action::Prune { .. } => (draw.between(1, 50), 0, None),
            Action::WayHome | Action::Swap { .. } | Action::Confirm { .. } => (1, 0, None),
        };
        match hangs {
            Some((tree, temper)) if self.temper(host, tree) == temper => deadline,
            _ => usual,
        }
    }

    fn hangs(&self, host: usize, service: &ServiceName) -> bool {
        let disk = self.machines[host].disks.get(service);
        disk.and_then(|disk| disk.process)
            .is_some_and(|process| process.hangs)
    }

    /// Does it, and says what came of it.
    pub(crate) fn perform(
        &mut self,
        host: usize,
        service: &ServiceName,
        action: &Action,
    ) -> Lawful<Outcome> {
        self.stirred = true;
        Ok(match action {
            Action::Stage { digest, bundle } => {
                self.stage(host, service, *digest, bundle.is_some())
            }
            Action::Check { context, .. } => match self.temper(host, context.tree) {
                Temper::CheckFails => failed("the check says no"),
                Temper::CheckHangs => failed("killed at its deadline"),
                _ if self.disk(host, service).whole(context.tree) => Outcome::Done,
                _ => failed("no such tree"),
            },
            Action::Swap { to } => self.disk(host, service).swap(*to),
            Action::Restart { command, context } => {
                self.restart(host, service, &command.run, context.tree)?
            }
            Action::Look { .. } => match self.works(host, service) {
                true => Outcome::Done,
                false => failed("no answer"),
            },
            Action::AskPeers { peers } => {
                let (mut reach, mut cut_off) = (0, 0);
                for name in peers.keys() {
                    match self.ask_peer(host, name) {
                        Some(true) => reach += 1,
                        Some(false) => cut_off += 1,
                        None => {}
                    }
                }
                self.count("peers asked");
                Outcome::Peers { reach, cut_off }
            }
            Action::Prune { keep } => {
                self.disk(host, service).prune(keep)?;
                Outcome::Done
            }
            Action::WayHome | Action::Confirm { .. } => failed("no answer in time"),
        })
    }

    pub(crate) fn disk(&mut self, host: usize, service: &ServiceName) -> &mut crate::machine::Disk {
        self.machines[host]
            .disks
            .get_mut(service)
            .unwrap_or_else(|| unreachable!("a host has a disk for each of its services"))
    }

    /// Bytes that are missing or damaged are fetched; generation 0 is nowhere to be had.
    fn stage(
        &mut self,
        host: usize,
        service: &ServiceName,
        tree: Digest,
        manifest: bool,
    ) -> Outcome {
        let reachable = self.plane.up && self.weather.open(host, self.now);
        let lost = self.weather.loses(&mut self.draws.network);
        let rots = self.stormy() && self.draws.hosts.chance(60 * self.storm);
        let disk = self.disk(host, service);
        if rots && tree != disk.live && tree != disk.origin && disk.whole(tree) {
            disk.trees.insert(tree, false);
            self.count("trees damaged");
        }
        let disk = self.disk(host, service);
        if disk.whole(tree) {
            return Outcome::Done;
        }
        if !manifest && !disk.trees.contains_key(&tree) {
            return failed("no manifest");
        }
        if !reachable || lost || tree == disk.origin {
            return failed("its bytes can't be fetched");
        }
        if disk.trees.insert(tree, true) == Some(false) {
            self.count("damaged trees mended");
        }
        Outcome::Done
    }

    /// The old process goes first, as supervisors do it.
    fn restart(
        &mut self,
        host: usize,
        service: &ServiceName,
        command: &[String],
        tree: Digest,
    ) -> Lawful<Outcome> {
        let temper = self.temper(host, tree);
        let disk = self.disk(host, service);
        let live = disk.live;
        law(live == tree, "restart", || {
            format!(
                "{service} is restarted for {} with {} live",
                tree.short(),
                live.short()
            )
        })?;
        if command.iter().any(|word| word == "reload") && disk.process.is_none() {
            return Ok(failed("there is nothing to reload"));
        }
        disk.process = None;
        if self.stormy() && self.draws.hosts.chance(15 * self.storm) {
            self.count("restarts failing for once");
            return Ok(failed("a moment's trouble"));
        }
        match temper {
            Temper::RestartFails => return Ok(failed("exit status 1")),
            Temper::RestartHangs => return Ok(failed("killed at its deadline")),
            _ => self.start_process(host, service),
        }
        Ok(match self.disk(host, service).process {
            Some(_) => Outcome::Done,
            None => failed("nothing to run"),
        })
    }

    /// What is live begins to run, if it can run at all.
    pub(crate) fn start_process(&mut self, host: usize, service: &ServiceName) {
        let live = self.disk(host, service).live;
        let temper = self.temper(host, live);
        let disk = self.disk(host, service);
        disk.started += 1;
        let number = disk.started;
        let dead = matches!(temper, Temper::RestartFails | Temper::RestartHangs);
        let runs = disk.whole(live) && !disk.nothing(live) && !dead;
        disk.process = runs.then_some(Process {
            digest: live,
            number,
            hangs: false,
        });
        self.stirred = true;
        let span = match temper {
            Temper::CrashLoops => self.draws.hosts.between(1_000, 3_000),
            Temper::HangsLater(span) => span,
            _ => return,
        };
        if runs {
            self.after(
                span,
                Happening::Process {
                    host,
                    service: service.clone(),
                    number,
                },
            );
        }
    }

    /// A process comes to what is wrong with it.
    pub(crate) fn process_turns(&mut self, host: usize, service: &ServiceName, number: u64) {
        let process = self.disk(host, service).process;
        let Some(process) = process.filter(|process| process.number == number) else {
            return;
        };
        match self.temper(host, process.digest) {
            Temper::CrashLoops => self.exits(host, service),
            Temper::HangsLater(_) => {
                self.count("services hung");
                self.disk(host, service).process = Some(Process {
                    hangs: true,
                    ..process
                });
            }
            _ => {}
        }
    }

    /// The process exits unplanned; its supervisor starts it again.
    pub(crate) fn exits(&mut self, host: usize, service: &ServiceName) {
        let disk = self.disk(host, service);
        if disk.process.take().is_none() {
            return;
        }
        disk.exits += 1;
        let number = disk.started;
        self.stirred = true;
        self.count("services exited");
        let pause = self.draws.hosts.between(100, 700);
        self.after(
            pause,
            Happening::Respawn {
                host,
                service: service.clone(),
                number,
            },
        );
    }

    pub(crate) fn respawn(&mut self, host: usize, service: &ServiceName, number: u64) {
        if self.disk(host, service).started == number {
            self.start_process(host, service);
        }
    }

    /// Whether the service answers a health check.
    pub(crate) fn works(&self, host: usize, service: &ServiceName) -> bool {
        let disk = self.machines[host].disks.get(service);
        let process = disk.and_then(|disk| disk.process);
        process.is_some_and(|process| {
            !process.hangs && self.temper(host, process.digest) != Temper::HealthFails
        })
    }

    /// Whether a peer says that it reaches the control plane; nothing if it says nothing.
    fn ask_peer(&mut self, host: usize, name: &model::HostName) -> Option<bool> {
        let peer = self
            .machines
            .iter()
            .position(|machine| machine.place.host == *name)?;
        let there = self.machines[peer].agent.is_some();
        let lost = self.weather.loses(&mut self.draws.network);
        if !there || lost || !self.weather.peers_open(host, peer, self.now) {
            return None;
        }
        let lost = self.weather.loses(&mut self.draws.network);
        Some(self.plane.up && self.weather.open(peer, self.now) && !lost)
    }
}
