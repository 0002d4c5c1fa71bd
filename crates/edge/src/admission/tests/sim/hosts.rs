//! The backends: workers that take what waits, hang, come back or start anew.

use super::{Event, SERVICE, Sim};

impl Sim {
    /// Free workers, stuck ones too, take what waits.
    pub(super) fn work(&mut self, host: usize) {
        loop {
            let free = self.hosts[host]
                .workers
                .iter()
                .position(|it| it.job.is_none());
            let Some(worker) = free else { break };
            let Some(attempt) = self.hosts[host].queue.pop_front() else {
                break;
            };
            self.dead += u64::from(self.attempts[attempt].ended.is_some());
            let time = self.service_time();
            let at = &mut self.hosts[host].workers[worker];
            at.job = Some(attempt);
            at.left = time;
            if !at.frozen {
                self.begin(host, worker);
            }
        }
        self.backlog = self.backlog.max(self.hosts[host].queue.len());
    }

    fn begin(&mut self, host: usize, worker: usize) {
        let at = &mut self.hosts[host].workers[worker];
        at.version += 1;
        let (left, version) = (at.left, at.version);
        let finish = self.now + left;
        self.work.push((self.now, left));
        self.at(
            finish,
            Event::Done {
                host,
                worker,
                version,
            },
        );
    }

    pub(super) fn hang(&mut self) {
        let Some((hosts, workers, ..)) = self.plan.hang else {
            return;
        };
        for host in self.hosts.iter_mut().take(hosts) {
            for worker in host.workers.iter_mut().take(workers) {
                worker.frozen = true;
                worker.version += 1;
                // It has to do all of it again.
                worker.left = SERVICE;
            }
        }
    }

    pub(super) fn heal(&mut self) {
        let Some((hosts, workers, ..)) = self.plan.hang else {
            return;
        };
        for host in 0..hosts {
            for worker in 0..workers {
                self.hosts[host].workers[worker].frozen = false;
                if self.plan.restart {
                    self.hosts[host].workers[worker].job = None;
                } else if self.hosts[host].workers[worker].job.is_some() {
                    self.begin(host, worker);
                }
            }
            if self.plan.restart {
                self.hosts[host].epoch += 1;
                self.hosts[host].queue.clear();
            }
        }
        if self.plan.restart {
            self.announce();
        }
    }
}
