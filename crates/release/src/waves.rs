//! Draws up the waves of one environment.

use std::collections::BTreeMap;

use model::{Host, HostName, Permille, StagePlan, Wave, WaveSelector, ZoneName};

/// The waves of `plan` over `hosts` (in the topology's order). Every host is in
/// exactly one wave; waves that would add nobody are left out.
pub fn draw(plan: &StagePlan, hosts: &[&Host]) -> Vec<Wave> {
    let mut drawing = Drawing::new(hosts);
    for wave in &plan.waves {
        match wave.hosts {
            WaveSelector::Hosts { count } => {
                let hosts = drawing.zone_then_any(count as usize);
                drawing.wave(hosts, wave.traffic_permille);
            }
            WaveSelector::ShareOfZone { permille } => {
                let hosts = drawing.up_to_share_of_zone(permille);
                drawing.wave(hosts, wave.traffic_permille);
            }
            WaveSelector::Share { permille } => {
                let wanted = permille.share_of(hosts.len() as u64) as usize;
                let more = wanted.saturating_sub(drawing.taken);
                let hosts = drawing.zone_then_any(more);
                drawing.wave(hosts, wave.traffic_permille);
            }
            WaveSelector::Zone => {
                let hosts = drawing.up_to_share_of_zone(Permille::ALL);
                drawing.wave(hosts, wave.traffic_permille);
            }
            WaveSelector::EachZone => {
                for zone in drawing.zones_left() {
                    let hosts = drawing.left.remove(&zone).unwrap_or_default();
                    drawing.wave(hosts, wave.traffic_permille);
                }
            }
            WaveSelector::All => {
                let hosts = drawing.zone_then_any(usize::MAX);
                drawing.wave(hosts, wave.traffic_permille);
            }
        }
    }
    // Nobody is left behind, whatever the plan forgot.
    let rest = drawing.zone_then_any(usize::MAX);
    drawing.wave(rest, None);
    drawing.waves
}

struct Drawing {
    /// Zones in the order of their first host.
    zones: Vec<ZoneName>,
    sizes: BTreeMap<ZoneName, usize>,
    left: BTreeMap<ZoneName, Vec<HostName>>,
    total: usize,
    taken: usize,
    waves: Vec<Wave>,
}

impl Drawing {
    fn new(hosts: &[&Host]) -> Drawing {
        let mut zones: Vec<ZoneName> = Vec::new();
        let mut left: BTreeMap<ZoneName, Vec<HostName>> = BTreeMap::new();
        for host in hosts {
            if !zones.contains(&host.zone) {
                zones.push(host.zone.clone());
            }
            left.entry(host.zone.clone())
                .or_default()
                .push(host.name.clone());
        }
        let sizes = left
            .iter()
            .map(|(zone, hosts)| (zone.clone(), hosts.len()))
            .collect();
        Drawing {
            zones,
            sizes,
            left,
            total: hosts.len(),
            taken: 0,
            waves: Vec::new(),
        }
    }

    /// Zones that still have hosts, in their order.
    fn zones_left(&self) -> Vec<ZoneName> {
        let has_hosts =
            |zone: &&ZoneName| self.left.get(*zone).is_some_and(|left| !left.is_empty());
        self.zones.iter().filter(has_hosts).cloned().collect()
    }

    /// `count` hosts, zone by zone.
    fn zone_then_any(&mut self, count: usize) -> Vec<HostName> {
        let mut hosts = Vec::new();
        for zone in self.zones_left() {
            if let Some(left) = self.left.get_mut(&zone) {
                let more = count.saturating_sub(hosts.len()).min(left.len());
                hosts.extend(left.drain(..more));
            }
        }
        hosts
    }

    /// Hosts of the first zone until `share` of it is taken.
    fn up_to_share_of_zone(&mut self, share: Permille) -> Vec<HostName> {
        let Some(zone) = self.zones.first() else {
            return Vec::new();
        };
        let size = self.sizes.get(zone).copied().unwrap_or_default();
        let wanted = share.share_of(size as u64) as usize;
        let Some(left) = self.left.get_mut(zone) else {
            return Vec::new();
        };
        let more = wanted.saturating_sub(size - left.len()).min(left.len());
        left.drain(..more).collect()
    }

    fn wave(&mut self, hosts: Vec<HostName>, traffic: Option<Permille>) {
        if hosts.is_empty() {
            return;
        }
        self.taken += hosts.len();
        let by_hosts = Permille::of(self.taken as u64, self.total as u64);
        let before = self
            .waves
            .last()
            .map_or(Permille::NONE, |wave| wave.traffic_permille);
        // Shares only grow, or a tenant that met the new bundle would change back;
        // and with no host left on the old one there is nowhere else to go.
        let traffic = match traffic {
            Some(share) if self.taken < self.total => share,
            Some(_) | None => by_hosts,
        };
        self.waves.push(Wave {
            hosts,
            traffic_permille: traffic.max(before),
        });
    }
}

/// However the plan begins, a single host goes first.
pub fn one_first(waves: &mut Vec<Wave>) {
    let Some(first) = waves.first_mut().filter(|wave| wave.hosts.len() > 1) else {
        return;
    };
    let traffic_permille = first.traffic_permille;
    let canary = Wave {
        hosts: vec![first.hosts.remove(0)],
        traffic_permille: CANARY_SHARE.min(traffic_permille),
    };
    waves.insert(0, canary);
}

/// What a single host gets when no plan says how much.
const CANARY_SHARE: Permille = match Permille::new(10) {
    Some(share) => share,
    None => Permille::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use model::WavePlan;
    use proptest::prelude::*;

    fn fleet(zones: &[(&str, usize)]) -> Vec<Host> {
        let host = |zone: &str, n: usize| Host {
            class: None,
            name: format!("{zone}-{n}").parse().unwrap(),
            zone: zone.parse().unwrap(),
            services: BTreeMap::new(),
        };
        zones
            .iter()
            .flat_map(|(zone, count)| (1..=*count).map(move |n| host(zone, n)))
            .collect()
    }

    fn sizes(waves: &[WavePlan], zones: &[(&str, usize)]) -> Vec<(usize, u16)> {
        let hosts = fleet(zones);
        let plan = StagePlan {
            waves: waves.to_vec(),
            ..StagePlan::default()
        };
        draw(&plan, &hosts.iter().collect::<Vec<_>>())
            .iter()
            .map(|wave| (wave.hosts.len(), wave.traffic_permille.get()))
            .collect()
    }

    #[test]
    fn the_default_plan_on_three_zones() {
        let plan = StagePlan::default().waves;
        assert_eq!(
            sizes(&plan, &[("a", 40), ("b", 20), ("c", 20)]),
            [(1, 12), (1, 25), (38, 500), (20, 750), (20, 1000)]
        );
        assert_eq!(
            sizes(&plan, &[("a", 3), ("b", 3), ("c", 2)]),
            [(1, 125), (2, 375), (3, 750), (2, 1000)]
        );
        assert_eq!(sizes(&plan, &[("a", 1)]), [(1, 1000)]);
        assert_eq!(sizes(&plan, &[]), []);
    }

    #[test]
    fn traffic_is_as_asked_until_nobody_else_is_left() {
        let one = |hosts, traffic| WavePlan {
            hosts,
            traffic_permille: Permille::new(traffic),
        };
        let plan = [
            one(WaveSelector::Hosts { count: 1 }, 10),
            one(WaveSelector::All, 500),
        ];
        assert_eq!(sizes(&plan, &[("a", 4)]), [(1, 10), (3, 1000)]);
    }

    fn selector() -> impl Strategy<Value = WaveSelector> {
        let share = (0_u16..=1000).prop_map(|value| Permille::new(value).unwrap());
        prop_oneof![
            (0_u32..20).prop_map(|count| WaveSelector::Hosts { count }),
            share
                .clone()
                .prop_map(|permille| WaveSelector::ShareOfZone { permille }),
            share.prop_map(|permille| WaveSelector::Share { permille }),
            Just(WaveSelector::Zone),
            Just(WaveSelector::EachZone),
            Just(WaveSelector::All),
        ]
    }

    proptest! {
        #[test]
        fn every_host_once_and_shares_grow(
            selectors in proptest::collection::vec((selector(), proptest::option::of(0_u16..=1000)), 0..8),
            counts in proptest::collection::vec(0_usize..9, 0..5),
        ) {
            let zones: Vec<_> = ["a", "b", "c", "d", "e"].into_iter().zip(counts).collect();
            let hosts = fleet(&zones);
            let waves = selectors.into_iter().map(|(hosts, traffic)| WavePlan {
                hosts,
                traffic_permille: traffic.and_then(Permille::new),
            });
            let plan = StagePlan { waves: waves.collect(), ..StagePlan::default() };
            let drawn = draw(&plan, &hosts.iter().collect::<Vec<_>>());
            let mut names: Vec<_> = drawn.iter().flat_map(|wave| wave.hosts.clone()).collect();
            prop_assert!(drawn.iter().all(|wave| !wave.hosts.is_empty()));
            prop_assert!(drawn.is_sorted_by_key(|wave| wave.traffic_permille));
            names.sort();
            let mut all: Vec<_> = hosts.iter().map(|host| host.name.clone()).collect();
            all.sort();
            prop_assert_eq!(names, all);
        }
    }
}
