//! Customers, and the gateway that spreads them and counts.

use std::collections::BTreeMap;

use engine::Effect;
use engine::watch::Row;
use model::{BundleCounts, Digest, GatewayName, ServiceName, ServiceRoutes, TenantName};

use crate::fleet::{Temper, name, serving};
use crate::random::Draw;
use crate::world::{Happening, World, instant};

const TENANTS: u64 = 3;
/// Requests in a thousand that fail with a bundle that fails customers.
const ERRORS_PERMILLE: u64 = 400;
const STEP_MS: u64 = 1_000;

/// The gateway in front of production.
#[derive(Debug)]
pub(crate) struct Gateway {
    routes: BTreeMap<ServiceName, ServiceRoutes>,
    totals: BTreeMap<(ServiceName, Digest, u64), BundleCounts>,
    pub(crate) epoch: u64,
    /// Requests in each second.
    rate: u64,
    /// Nobody calls until then.
    pub(crate) night_until: u64,
    next_tenant: u64,
}

impl Gateway {
    pub(crate) fn new(draw: &mut Draw) -> Gateway {
        Gateway {
            routes: BTreeMap::new(),
            totals: BTreeMap::new(),
            epoch: epoch(0),
            rate: draw.between(30, 120),
            night_until: 0,
            next_tenant: 0,
        }
    }

    /// A new process, which has counted nothing yet. It keeps its routes on disk.
    pub(crate) fn restart(&mut self, now: u64) {
        self.totals.clear();
        self.epoch = epoch(now);
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
        if self.now >= self.gateway.night_until {
            self.serve();
        }
        if !self.weather.gateway_open(self.now) {
            return;
        }
        let rows: Vec<Row> = self.gateway.totals.iter().map(row).collect();
        let (epoch, taken_at) = (self.gateway.epoch, self.now);
        for arrival in self.weather.carry(self.now, &mut self.draws.network) {
            let rows = rows.clone();
            self.at(
                arrival,
                Happening::Posted {
                    epoch,
                    taken_at,
                    rows,
                },
            );
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

    pub(crate) fn posted(&mut self, epoch: u64, taken_at: u64, rows: Vec<Row>) {
        if self.plane.up {
            self.truth.told(taken_at);
            let gateway: GatewayName = name("gate");
            let now = self.plane_clock();
            self.plane
                .watch
                .count(&gateway, &serving(), epoch, rows, now);
        }
    }

    fn serve(&mut self) {
        let routes = std::mem::take(&mut self.gateway.routes);
        for (service, routes) in &routes {
            for pool in &routes.pools {
                let share = self.gateway.rate * u64::from(pool.share_permille.get());
                let requests = self.rounded(share, 1000);
                for at in 0..requests {
                    let turn = usize::try_from(at).unwrap_or(0) % pool.backends.len().max(1);
                    let Some(backend) = pool.backends.get(turn) else {
                        break;
                    };
                    let host = self
                        .machines
                        .iter()
                        .position(|it| it.place.host == backend.host);
                    let fails = host.is_none_or(|host| self.fails(host, service));
                    self.tally_request(service, pool.digest, fails);
                }
                self.truth.asked(service, pool.digest, self.now, requests);
            }
        }
        self.gateway.routes = routes;
    }

    /// `share / whole`, with the rest left to chance.
    fn rounded(&mut self, share: u64, whole: u64) -> u64 {
        share / whole + u64::from(self.draws.traffic.below(whole) < share % whole)
    }

    fn fails(&mut self, host: usize, service: &ServiceName) -> bool {
        let process = self.machines[host]
            .disks
            .get(service)
            .and_then(|disk| disk.process);
        let Some(process) = process else { return true };
        match self.temper(host, process.digest) {
            Temper::Errors => self.draws.traffic.chance(ERRORS_PERMILLE),
            _ => !self.works(host, service),
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
