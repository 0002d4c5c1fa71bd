//! The network between hosts, control plane and gateway.

use std::collections::BTreeMap;

use model::ZoneName;

use crate::fleet::Fleet;
use crate::random::Draw;

/// Who can't talk to whom until when, and how badly the rest is carried.
#[derive(Debug)]
pub(crate) struct Weather {
    zones: Vec<ZoneName>,
    cut_hosts: BTreeMap<usize, u64>,
    cut_zones: BTreeMap<ZoneName, u64>,
    cut_all: u64,
    cut_gateway: u64,
    loss_permille: u64,
    twice_permille: u64,
    slow_permille: u64,
}

/// What became of the copies of one message: when each arrives. Empty: it is lost.
pub(crate) type Carried = Vec<u64>;

impl Weather {
    pub(crate) fn new(fleet: &Fleet, storm: u64, draw: &mut Draw) -> Weather {
        let mut up_to = |most: u64| {
            if storm == 0 {
                0
            } else {
                draw.below(most * storm)
            }
        };
        Weather {
            zones: fleet
                .places
                .iter()
                .map(|place| place.zone.clone())
                .collect(),
            cut_hosts: BTreeMap::new(),
            cut_zones: BTreeMap::new(),
            cut_all: 0,
            cut_gateway: 0,
            loss_permille: up_to(30),
            twice_permille: up_to(25),
            slow_permille: up_to(25),
        }
    }

    /// No more faults.
    pub(crate) fn clear(&mut self) {
        self.cut_hosts.clear();
        self.cut_zones.clear();
        (self.cut_all, self.cut_gateway) = (0, 0);
        (self.loss_permille, self.twice_permille, self.slow_permille) = (0, 0, 0);
    }

    pub(crate) fn cut_host(&mut self, host: usize, until: u64) {
        self.cut_hosts.insert(host, until);
    }

    pub(crate) fn cut_zone(&mut self, zone: ZoneName, until: u64) {
        self.cut_zones.insert(zone, until);
    }

    pub(crate) fn cut_plane(&mut self, until: u64) {
        self.cut_all = self.cut_all.max(until);
    }

    pub(crate) fn cut_gateway(&mut self, until: u64) {
        self.cut_gateway = self.cut_gateway.max(until);
    }

    /// Whether a host and the control plane can talk.
    pub(crate) fn open(&self, host: usize, now: u64) -> bool {
        now >= self.cut_all && self.alone(host, now) && self.zone_open(host, now)
    }

    pub(crate) fn gateway_open(&self, now: u64) -> bool {
        now >= self.cut_all && now >= self.cut_gateway
    }

    /// Whether two hosts can talk: a zone that is cut off still has itself.
    pub(crate) fn peers_open(&self, one: usize, other: usize, now: u64) -> bool {
        let together = self.zones.get(one) == self.zones.get(other);
        let across = self.zone_open(one, now) && self.zone_open(other, now);
        self.alone(one, now) && self.alone(other, now) && (together || across)
    }

    fn alone(&self, host: usize, now: u64) -> bool {
        self.cut_hosts.get(&host).is_none_or(|until| now >= *until)
    }

    fn zone_open(&self, host: usize, now: u64) -> bool {
        let until = self
            .zones
            .get(host)
            .and_then(|zone| self.cut_zones.get(zone));
        until.is_none_or(|until| now >= *until)
    }

    /// Whether one more message is lost on the way.
    pub(crate) fn loses(&self, draw: &mut Draw) -> bool {
        draw.chance(self.loss_permille)
    }

    /// When the copies of a message that is sent now arrive.
    pub(crate) fn carry(&self, now: u64, draw: &mut Draw) -> Carried {
        if self.loses(draw) {
            return Vec::new();
        }
        let copies = if draw.chance(self.twice_permille) {
            2
        } else {
            1
        };
        (0..copies)
            .map(|_| {
                let slow = draw.chance(self.slow_permille);
                now + if slow {
                    draw.between(500, 15_000)
                } else {
                    draw.between(1, 60)
                }
            })
            .collect()
    }
}
