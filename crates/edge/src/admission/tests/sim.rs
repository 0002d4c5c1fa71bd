//! A service in simulated time: open-loop clients that try again, gateways with
//! the admission core, and backends that work on after their clients have left.
//!
//! A backend has workers and an unbounded first-in-first-out queue before them,
//! as a thread pool does. Capacity is `workers / mean service time`. Latencies
//! are from the start of an attempt. A history is a function of its plan.

mod hosts;
mod measures;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use model::Priority;

use crate::Bucket;
use crate::admission::*;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const S: Duration = Duration::from_secs(1);
/// One way between any two of them.
const HOP: Duration = Duration::from_micros(50);
/// After which a client gives up; the gateway's deadline too.
const TIMEOUT: Duration = S;
pub(super) const SERVICE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Times {
    Fixed,
    Exponential,
    /// Nine of ten in 5 ms, one in 155: the same mean.
    Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Known {
    /// The number of workers, said by the backend.
    Declared,
    /// 1.25 x workers + 1.
    Configured,
    Nothing,
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) known: Known,
    pub(super) times: Times,
    pub(super) gateways: u32,
    /// Workers of each backend.
    pub(super) backends: Vec<usize>,
    /// Requests a second from then on; the last ends the run.
    pub(super) load: Vec<(Duration, f64)>,
    pub(super) tenants: u64,
    /// Requests a second of tenant 0 besides.
    pub(super) aggressor: f64,
    /// Up to two more tries, 50 and 100 ms after a failure.
    pub(super) retries: bool,
    /// So many workers of each of the first so many backends do nothing from .. to.
    pub(super) hang: Option<(usize, usize, Duration, Duration)>,
    /// The hang ends by a restart: what the backends have is gone.
    pub(super) restart: bool,
}

impl Plan {
    pub(super) fn new(known: Known, load: &[(Duration, f64)]) -> Plan {
        Plan {
            seed: 1,
            known,
            times: Times::Fixed,
            gateways: 1,
            backends: vec![8],
            load: load.to_vec(),
            tenants: 200,
            aggressor: 0.0,
            retries: false,
            hang: None,
            restart: false,
        }
    }

    fn end(&self) -> Duration {
        self.load.last().map_or(Duration::ZERO, |it| it.0)
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrive {
        aggressor: bool,
    },
    Attempt {
        client: usize,
    },
    Timeout {
        attempt: usize,
    },
    AtHost {
        host: usize,
        epoch: u64,
        attempt: usize,
    },
    Done {
        host: usize,
        worker: usize,
        version: u64,
    },
    Back {
        attempt: usize,
        outcome: Outcome,
    },
    Wake {
        gateway: usize,
    },
    Hang,
    Heal,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) due: Duration,
    pub(super) tenant: u64,
    tries: u32,
    /// When it was answered, or knew that it wouldn't be.
    pub(super) ended: Duration,
    pub(super) ok: bool,
}

#[derive(Debug)]
pub(super) struct Attempt {
    client: usize,
    gateway: usize,
    pub(super) began: Duration,
    pub(super) ended: Option<Duration>,
    pub(super) refused: Option<Why>,
    pub(super) ok: bool,
    slot: Option<Slot>,
}

#[derive(Debug, Default)]
struct Worker {
    job: Option<usize>,
    /// What is left of the job, while it is frozen.
    left: Duration,
    frozen: bool,
    version: u64,
}

#[derive(Debug)]
struct Host {
    workers: Vec<Worker>,
    queue: VecDeque<usize>,
    epoch: u64,
}

pub(super) struct Sim {
    plan: Plan,
    now: Duration,
    order: u64,
    events: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    stored: Vec<Event>,
    gateways: Vec<Admission>,
    wakes: Vec<Duration>,
    hosts: Vec<Host>,
    buckets: Vec<Bucket>,
    random: u64,
    pub(super) clients: Vec<Client>,
    pub(super) attempts: Vec<Attempt>,
    /// When work began, and for how long.
    work: Vec<(Duration, Duration)>,
    /// Work begun for clients that had left.
    pub(super) dead: u64,
    /// The most that waited at a backend, workers' requests not counted.
    pub(super) backlog: usize,
}

const POOL: PoolKey = PoolKey(1);

pub(super) fn run(plan: Plan) -> Sim {
    let service = "api".parse().unwrap();
    let buckets = (0..plan.tenants).map(|n| Bucket::of(&service, &n.to_string()));
    let settings = Settings {
        gateways: plan.gateways,
        ..Settings::default()
    };
    let host = |workers: &usize| Host {
        workers: (0..*workers).map(|_| Worker::default()).collect(),
        queue: VecDeque::new(),
        epoch: 1,
    };
    let mut sim = Sim {
        now: Duration::ZERO,
        order: 0,
        events: BinaryHeap::new(),
        stored: Vec::new(),
        gateways: (0..plan.gateways)
            .map(|_| Admission::new(settings))
            .collect(),
        wakes: vec![Duration::MAX; plan.gateways as usize],
        hosts: plan.backends.iter().map(host).collect(),
        buckets: buckets.collect(),
        random: plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        clients: Vec::new(),
        attempts: Vec::new(),
        work: Vec::new(),
        dead: 0,
        backlog: 0,
        plan,
    };
    sim.announce();
    sim.at(Duration::ZERO, Event::Arrive { aggressor: false });
    if sim.plan.aggressor > 0.0 {
        sim.at(Duration::ZERO, Event::Arrive { aggressor: true });
    }
    if let Some((_, _, from, to)) = sim.plan.hang {
        sim.at(from, Event::Hang);
        sim.at(to, Event::Heal);
    }
    // What was begun is ended, but the backends' hangs are over by then.
    let end = sim.plan.end() + TIMEOUT * 4;
    while let Some(Reverse((at, _, place))) = sim.events.pop() {
        if at > end {
            break;
        }
        sim.now = at;
        sim.happen(sim.stored[place]);
    }
    sim
}

impl Sim {
    fn at(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.events
            .push(Reverse((at, self.order, self.stored.len())));
        self.stored.push(event);
    }

    /// Even in 0..1.
    fn draw(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> Duration {
        let drawn = -(1.0 - self.draw()).ln() * mean;
        Duration::from_secs_f64(drawn)
    }

    fn service_time(&mut self) -> Duration {
        let times = self.plan.times;
        match times {
            Times::Fixed => SERVICE,
            Times::Exponential => self.exponential(SERVICE.as_secs_f64()),
            Times::Mixed if self.draw() < 0.9 => MS * 5,
            Times::Mixed => MS * 155,
        }
    }

    fn announce(&mut self) {
        let specs: Vec<BackendSpec> = self
            .hosts
            .iter()
            .enumerate()
            .map(|(n, host)| {
                let workers = u32::try_from(host.workers.len()).unwrap();
                BackendSpec {
                    key: BackendKey(n as u64),
                    pool: POOL,
                    declared: (self.plan.known == Known::Declared).then_some(workers),
                    configured: (self.plan.known == Known::Configured)
                        .then_some(limit_for_workers(workers)),
                    epoch: host.epoch,
                }
            })
            .collect();
        for gateway in 0..self.gateways.len() {
            self.gateways[gateway].set_backends(&specs, self.now);
            self.hear(gateway);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { aggressor } => self.arrive(aggressor),
            Event::Attempt { client } => self.attempt(client),
            Event::Timeout { attempt } => self.timeout(attempt),
            Event::AtHost {
                host,
                epoch,
                attempt,
            } => {
                if self.hosts[host].epoch == epoch {
                    self.hosts[host].queue.push_back(attempt);
                    self.work(host);
                } else {
                    let outcome = Outcome::Closed;
                    self.at(self.now + HOP, Event::Back { attempt, outcome });
                }
            }
            Event::Done {
                host,
                worker,
                version,
            } => {
                let worker = &mut self.hosts[host].workers[worker];
                if worker.version == version {
                    let attempt = worker.job.take().unwrap();
                    let outcome = Outcome::Ok;
                    self.at(self.now + HOP, Event::Back { attempt, outcome });
                    self.work(host);
                }
            }
            Event::Back { attempt, outcome } => self.back(attempt, outcome),
            Event::Wake { gateway } => {
                if self.wakes[gateway] == self.now {
                    self.wakes[gateway] = Duration::MAX;
                    self.gateways[gateway].due(self.now);
                    self.hear(gateway);
                }
            }
            Event::Hang => self.hang(),
            Event::Heal => self.heal(),
        }
    }

    fn arrive(&mut self, aggressor: bool) {
        let load = self.plan.load.iter().rev().find(|it| it.0 <= self.now);
        let rate = match aggressor {
            true => self.plan.aggressor,
            false => load.map_or(0.0, |it| it.1),
        };
        if self.now >= self.plan.end() {
            return;
        }
        let tenant = match aggressor {
            true => 0,
            false => 1 + (self.draw() * (self.plan.tenants - 1) as f64) as u64,
        };
        self.clients.push(Client {
            due: self.now,
            tenant,
            tries: 0,
            ended: Duration::MAX,
            ok: false,
        });
        let client = self.clients.len() - 1;
        self.attempt(client);
        let gap = self.exponential(1.0 / rate);
        self.at(self.now + gap, Event::Arrive { aggressor });
    }

    fn attempt(&mut self, client: usize) {
        let gateway = client % self.gateways.len();
        let attempt = self.attempts.len();
        let deadline = self.now + TIMEOUT;
        self.attempts.push(Attempt {
            client,
            gateway,
            began: self.now,
            ended: None,
            refused: None,
            ok: false,
            slot: None,
        });
        self.clients[client].tries += 1;
        let tenant = self.clients[client].tenant;
        let offer = Offer {
            request: RequestId(attempt as u64),
            pool: POOL,
            tenant: Tenant {
                hash: tenant.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                known: true,
            },
            bucket: self.buckets[usize::try_from(tenant).unwrap()],
            priority: Priority::Normal,
            deadline,
        };
        match self.gateways[gateway].offer(offer, self.now) {
            Decision::Send(sent) => self.sent(attempt, sent),
            Decision::Queued { .. } => {}
            Decision::Refused(refused) => self.refused(attempt, refused.why),
        }
        if self.attempts[attempt].ended.is_none() {
            self.at(deadline, Event::Timeout { attempt });
        }
        self.hear(gateway);
    }

    fn sent(&mut self, attempt: usize, sent: Sent) {
        self.attempts[attempt].slot = Some(sent.slot);
        let host = usize::try_from(sent.backend.0).unwrap();
        let epoch = self.hosts[host].epoch;
        self.at(
            self.now + HOP,
            Event::AtHost {
                host,
                epoch,
                attempt,
            },
        );
    }

    fn refused(&mut self, attempt: usize, why: Why) {
        self.attempts[attempt].refused = Some(why);
        self.fail(attempt);
    }

    fn fail(&mut self, attempt: usize) {
        let began = &mut self.attempts[attempt];
        began.ended = Some(self.now);
        let client = began.client;
        let tries = self.clients[client].tries;
        self.clients[client].ended = self.now;
        if self.plan.retries && tries < 3 {
            self.at(self.now + MS * 50 * tries, Event::Attempt { client });
        }
    }

    fn timeout(&mut self, attempt: usize) {
        let Attempt {
            gateway,
            ended,
            slot,
            ..
        } = self.attempts[attempt];
        if ended.is_some() {
            return;
        }
        match slot {
            Some(slot) => self.gateways[gateway].abandoned(slot, self.now),
            None => {
                let request = RequestId(attempt as u64);
                assert!(self.gateways[gateway].cancelled(request, self.now));
            }
        }
        self.fail(attempt);
        self.hear(gateway);
    }

    fn back(&mut self, attempt: usize, outcome: Outcome) {
        let Attempt {
            gateway,
            ended,
            slot,
            client,
            ..
        } = self.attempts[attempt];
        self.gateways[gateway].ended(slot.unwrap(), outcome, self.now);
        if ended.is_none() {
            if outcome == Outcome::Ok {
                self.attempts[attempt].ended = Some(self.now);
                self.attempts[attempt].ok = true;
                self.clients[client].ended = self.now;
                self.clients[client].ok = true;
            } else {
                self.fail(attempt);
            }
        }
        self.hear(gateway);
    }

    fn hear(&mut self, gateway: usize) {
        while let Some(action) = self.gateways[gateway].next_action() {
            match action {
                Action::Send { request, sent } => {
                    self.sent(usize::try_from(request.0).unwrap(), sent);
                }
                Action::Refuse { request, refused } => {
                    self.refused(usize::try_from(request.0).unwrap(), refused.why);
                }
            }
        }
        if let Some(at) = self.gateways[gateway].wake_at()
            && at < self.wakes[gateway]
        {
            let at = at.max(self.now);
            self.wakes[gateway] = at;
            self.at(at, Event::Wake { gateway });
        }
    }
}
