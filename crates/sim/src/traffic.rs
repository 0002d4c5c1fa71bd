//! Customers, and the gateway that spreads them and counts.
//!
//! Invariant: a second that is over is told until it is acknowledged, and with
//! how long it has been over, so that the control plane's clock is none of the gateway's business.

use std::collections::{BTreeMap, VecDeque};

use engine::Effect;
use engine::watch::Row;
use model::ticks::{CellCounts, TICKS_PER_POST_MAX};
use model::{
    Applied, BundleCounts, Digest, GatewayName, HostName, InFlight, ServiceName, ServiceRoutes,
    TenantName, TickCounts,
};

use crate::fleet::{Temper, name, serving};
use crate::random::Draw;
use crate::world::{Happening, World, instant};

const TENANTS: u64 = 3;
/// Requests in a thousand that fail with a bundle that fails customers.
const ERRORS_PERMILLE: u64 = 400;
/// Of a thousand requests so many take longer, whichever bundle answers.
const SLOW_PERMILLE: u64 = 100;
/// So many are writes.
const WRITES_PERMILLE: u64 = 250;
// Latency buckets of quick requests, of slow ones, and of those that nobody answers.
const QUICK: u8 = 4;
const SLOW: u8 = 8;
const NEVER: u8 = 31;
const STEP_MS: u64 = 1_000;

/// The gateway in front of production.
#[derive(Debug)]
pub(crate) struct Gateway {
    routes: BTreeMap<ServiceName, ServiceRoutes>,
    totals: BTreeMap<(ServiceName, Digest, u64), BundleCounts>,
    /// Seconds that are not acknowledged, with their ends.
    ticks: VecDeque<(u64, TickCounts)>,
    seq: u64,
    pub(crate) epoch: u64,
    /// Requests in each second.
    rate: u64,
    /// Requests in a thousand that fail whichever bundle answers.
    failing_permille: u64,
    /// Nobody calls until then.
    pub(crate) night_until: u64,
    next_tenant: u64,
    next_backend: usize,
}

/// What a gateway posts each second.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) epoch: u64,
    pub(crate) taken_at: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) ticks: Vec<TickCounts>,
    pub(crate) applied: Applied,
}

/// How a host answers in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// As a service does that is all right: a few requests fail.
    Well,
    /// Many fail.
    Badly,
    /// None is answered.
    Never,
}

impl Gateway {
    pub(crate) fn new(draw: &mut Draw) -> Gateway {
        Gateway {
            routes: BTreeMap::new(),
            totals: BTreeMap::new(),
            ticks: VecDeque::new(),
            seq: 0,
            epoch: epoch(0),
            rate: draw.between(60, 240),
            failing_permille: draw.below(8),
            night_until: 0,
            next_tenant: 0,
            next_backend: 0,
        }
    }

    /// A new process, which has counted nothing yet. It keeps its routes on disk.
    pub(crate) fn restart(&mut self, now: u64) {
        self.totals.clear();
        self.ticks.clear();
        self.seq = 0;
        self.epoch = epoch(now);
    }

    /// A second is over.
    fn end_second(&mut self, now: u64, cells: Vec<CellCounts>) {
        self.seq += 1;
        let tick = TickCounts {
            seq: self.seq,
            cells,
            ..TickCounts::default()
        };
        self.ticks.push_back((now, tick));
        // A control plane that is gone for longer has no use for the oldest.
        if self.ticks.len() > TICKS_PER_POST_MAX {
            self.ticks.pop_front();
        }
    }

    fn post(&self, now: u64) -> Post {
        let aged = |(ended, tick): &(u64, TickCounts)| TickCounts {
            age_ms: now - ended,
            ..tick.clone()
        };
        Post {
            epoch: self.epoch,
            taken_at: now,
            rows: self.totals.iter().map(row).collect(),
            ticks: self.ticks.iter().map(aged).collect(),
            applied: self.applied(),
        }
    }

    /// Requests take no time here: who is out of the routes is empty.
    fn applied(&self) -> Applied {
        let drained = self.routes.iter().flat_map(|(service, routes)| {
            routes.drained.iter().map(|it| InFlight {
                service: service.clone(),
                host: it.host.clone(),
                since: it.since,
                requests: 0,
            })
        });
        Applied {
            version: 0,
            drained: drained.collect(),
        }
    }

    pub(crate) fn acknowledged(&mut self, epoch: u64, through: u64) {
        if epoch == self.epoch {
            self.ticks.retain(|(_, tick)| tick.seq > through);
        }
    }
}

/// A run is named by the wall time of its beginning.
fn epoch(now: u64) -> u64 {
    u64::try_from(instant(now, 0).as_millisecond()).unwrap_or_default()
}

impl World {
    /// One second of customers; then the totals are posted and the routes fetched.
    pub(crate) fn traffic(&mut self) {
        self.after(STEP_MS, Happening::Traffic);
        let cells = match self.now >= self.gateway.night_until {
            true => self.serve(),
            false => Vec::new(),
        };
        self.gateway.end_second(self.now, cells);
        if !self.weather.gateway_open(self.now) {
            return;
        }
        let post = self.gateway.post(self.now);
        for arrival in self.weather.carry(self.now, &mut self.draws.network) {
            self.at(arrival, Happening::Posted(post.clone()));
        }
        if self.plane.up && !self.weather.loses(&mut self.draws.network) {
            for effect in engine::due::routes_due(&self.plane.state) {
                if let Effect::Routes {
                    environment,
                    services,
                } = effect
                    && environment == serving()
                {
                    self.gateway.routes = services;
                }
            }
        }
    }

    pub(crate) fn posted(&mut self, post: Post) {
        if !self.plane.up {
            return;
        }
        self.truth.told(post.taken_at);
        let gateway: GatewayName = name("gate");
        let now = self.plane_clock();
        let watch = &mut self.plane.watch;
        watch.applied(&gateway, post.epoch, &serving(), post.applied, now);
        watch.count(&gateway, &serving(), post.epoch, post.rows, now);
        let taken = watch.ticks(gateway.as_str(), &serving(), post.epoch, post.ticks, now);
        if !self.weather.gateway_open(self.now) {
            return;
        }
        for arrival in self.weather.carry(self.now, &mut self.draws.network) {
            let (epoch, through) = (post.epoch, taken.through);
            self.at(arrival, Happening::Acknowledged { epoch, through });
        }
    }

    fn serve(&mut self) -> Vec<CellCounts> {
        let mut cells = Vec::new();
        let routes = std::mem::take(&mut self.gateway.routes);
        for (service, routes) in &routes {
            for pool in &routes.pools {
                let share = self.gateway.rate * u64::from(pool.share_permille.get());
                let requests = self.rounded(share, 1000);
                let backends = pool.backends.len();
                if backends == 0 {
                    continue;
                }
                let first = self.gateway.next_backend;
                self.gateway.next_backend += 1;
                for (at, backend) in pool.backends.iter().enumerate() {
                    let turn = ((at + first) % backends) as u64;
                    let more = u64::from(turn < requests % backends as u64);
                    let requests = requests / backends as u64 + more;
                    cells.extend(self.host_serves(service, pool.digest, &backend.host, requests));
                }
                self.truth.asked(service, pool.digest, self.now, requests);
            }
        }
        self.gateway.routes = routes;
        cells
    }

    /// One host's requests of a second, by class of endpoint.
    fn host_serves(
        &mut self,
        service: &ServiceName,
        digest: Digest,
        host: &HostName,
        requests: u64,
    ) -> Vec<CellCounts> {
        let answers = self.answers(host, service);
        if requests > 0 && answers == Answers::Never {
            self.truth.hurt(service, digest);
        }
        let mut classes = ["read", "write"].map(|class| CellCounts {
            service: service.clone(),
            digest: Some(digest),
            host: Some(host.clone()),
            class: class.into(),
            requests: 0,
            failed: 0,
            latency: Vec::new(),
        });
        let mut buckets = [BTreeMap::<u8, u64>::new(), BTreeMap::new()];
        for _ in 0..requests {
            let draw = &mut self.draws.traffic;
            let class = usize::from(draw.chance(WRITES_PERMILLE));
            let (fails, bucket) = match answers {
                Answers::Never => (true, NEVER),
                Answers::Well | Answers::Badly => {
                    let failing = match answers {
                        Answers::Badly => ERRORS_PERMILLE,
                        Answers::Well | Answers::Never => self.gateway.failing_permille,
                    };
                    let slow = draw.chance(SLOW_PERMILLE);
                    (draw.chance(failing), if slow { SLOW } else { QUICK })
                }
            };
            classes[class].requests += 1;
            classes[class].failed += u64::from(fails);
            *buckets[class].entry(bucket).or_default() += 1;
            self.tally_request(service, digest, fails);
        }
        let cells = classes.into_iter().zip(buckets).map(|(cell, buckets)| {
            let latency = buckets.into_iter().collect();
            CellCounts { latency, ..cell }
        });
        cells.filter(|cell| cell.requests > 0).collect()
    }

    /// `share / whole`, with the rest left to chance.
    fn rounded(&mut self, share: u64, whole: u64) -> u64 {
        share / whole + u64::from(self.draws.traffic.below(whole) < share % whole)
    }

    fn answers(&self, host: &HostName, service: &ServiceName) -> Answers {
        let at = self.machines.iter().position(|it| it.place.host == *host);
        let Some(at) = at else { return Answers::Never };
        let disk = self.machines[at].disks.get(service);
        let Some(process) = disk.and_then(|disk| disk.process) else {
            return Answers::Never;
        };
        match self.temper(at, process.digest) {
            Temper::Errors => Answers::Badly,
            _ if self.works(at, service) => Answers::Well,
            _ => Answers::Never,
        }
    }

    fn tally_request(&mut self, service: &ServiceName, digest: Digest, fails: bool) {
        let tenant = self.gateway.next_tenant % TENANTS;
        self.gateway.next_tenant += 1;
        let key = (service.clone(), digest, tenant);
        let total = self.gateway.totals.entry(key).or_default();
        total.requests += 1;
        total.failed += u64::from(fails);
    }
}

fn row(((service, digest, tenant), counts): (&(ServiceName, Digest, u64), &BundleCounts)) -> Row {
    Row {
        service: service.clone(),
        digest: *digest,
        tenant: TenantName(format!("customer-{tenant}")),
        counts: *counts,
    }
}
