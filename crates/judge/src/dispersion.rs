//! How much more hosts (or tenants) differ than chance would have them: phi.
//!
//! Requests of one host share its fate, so many requests on few hosts say less than
//! as many independent ones. Evidence is divided by phi, the quasi-likelihood's
//! scaling, measured on the old bundle's groups during the comparison and before it.
//!
//! Invariant: phi is at least 1, so it only ever lowers evidence; with fewer than two
//! groups, or without failures, it is 1.

use serde::{Deserialize, Serialize};

use crate::num::erfc;
use crate::tick::{GROUPS_MAX, GroupTick, Side, Sums};

/// Windows before the release begin at this many seconds and double.
const WINDOW_TICKS: u32 = 10;
/// Lengths of windows: the longest is 10 * 2^9 s, well over an hour.
const LEVELS: usize = 10;
/// A window's mean forgets what is older than so many windows.
const WINDOWS_REMEMBERED: u32 = 64;
/// Groups with less than this share of the average group's requests are looked at
/// together: one failure among three requests says nothing about a host.
const SMALL_GROUP: f64 = 0.25;
/// The estimate is multiplied with this beside the quantiles' ratio, because hosts' shares
/// are not normally distributed; found by simulating unequal hosts and bursts.
const MARGIN: f64 = 1.25;
/// The quantiles' ratio is kept from five groups on (at an alpha of 0.001). For fewer, Student's distribution
/// allows for hosts that differ a thousandfold, and nothing would ever be found.
const KAPPA_MAX: f64 = 6.0;

/// Counts by group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Groups {
    sums: [Sums; GROUPS_MAX],
    /// One more than the highest number that was told.
    used: usize,
}

impl Groups {
    pub(crate) fn new() -> Groups {
        Groups {
            sums: [Sums::default(); GROUPS_MAX],
            used: 0,
        }
    }

    pub(crate) fn observe(&mut self, ticks: &[GroupTick], side: Side) {
        for tick in ticks.iter().filter(|tick| tick.side == side) {
            let group = usize::from(tick.group);
            if let Some(sums) = self.sums.get_mut(group) {
                sums.add(tick.sums);
                self.used = self.used.max(group + 1);
            }
        }
    }

    /// The groups' counts, in order.
    pub(crate) fn sums(&self) -> &[Sums] {
        &self.sums[..self.used]
    }
}

/// An estimate of phi, and from how many groups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pearson {
    #[serde(with = "crate::num::exact")]
    pub(crate) phi: f64,
    /// At least two.
    groups: u32,
}

/// An estimate from windows before the comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Before {
    pub(crate) seen: Pearson,
    windows: u32,
}

/// Pearson's statistic over its degrees of freedom.
fn pearson(groups: impl Iterator<Item = Sums> + Clone) -> Option<Pearson> {
    let (mut n, mut e, mut count) = (0.0, 0.0, 0.0);
    for sums in groups.clone().filter(|sums| sums.n > 0) {
        n += sums.n as f64;
        e += sums.e as f64;
        count += 1.0;
    }
    if count < 2.0 || e == 0.0 || e >= n {
        return None;
    }
    let share = e / n;
    let small = SMALL_GROUP * n / count;
    let (mut phi, mut used) = (0.0, 0_u32);
    let mut rest = (0.0, 0.0);
    let mut add = |n: f64, e: f64| {
        let expected = n * share;
        phi += (e - expected) * (e - expected) / expected;
        used += 1;
    };
    for sums in groups.filter(|sums| sums.n > 0) {
        let (n, e) = (sums.n as f64, sums.e as f64);
        if n < small {
            rest = (rest.0 + n, rest.1 + e);
        } else {
            add(n, e);
        }
    }
    if rest.0 >= small {
        add(rest.0, rest.1);
    }
    (used >= 2).then(|| Pearson {
        phi: phi / f64::from(used - 1),
        groups: used,
    })
}

/// Dispersion over windows of growing length, while nothing is released.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Level {
    /// The window that is being filled: group and its counts.
    window: Vec<(u8, Sums)>,
    /// Seconds in it.
    ticks: u32,
    /// Mean over the windows that are full, and the last one's number of groups.
    seen: Option<Pearson>,
    /// How many are full.
    windows: u32,
}

impl Curve {
    pub(crate) fn observe(&mut self, ticks: &[GroupTick]) {
        if self.levels.is_empty() && !ticks.is_empty() {
            self.levels.push(Level::default());
        }
        let Some(first) = self.levels.first_mut() else {
            return;
        };
        for tick in ticks.iter().filter(|tick| tick.side == Side::Control) {
            first.add(tick.group, tick.sums);
        }
        first.ticks += 1;
        for at in 0..LEVELS {
            let Some(level) = self.levels.get_mut(at) else {
                return;
            };
            if level.ticks < WINDOW_TICKS << at {
                return;
            }
            let full = level.close();
            if at + 1 < LEVELS {
                if self.levels.len() == at + 1 {
                    self.levels.push(Level::default());
                }
                let longer = &mut self.levels[at + 1];
                longer.ticks += WINDOW_TICKS << at;
                for (group, sums) in full {
                    longer.add(group, sums);
                }
            }
        }
    }

    /// Over a window of at least this length, or the longest that was seen.
    pub(crate) fn over(&self, seconds: u64) -> Option<Before> {
        let mut over = None;
        for (at, level) in self.levels.iter().enumerate() {
            if let Some(seen) = level.seen {
                let windows = level.windows;
                over = Some(Before { seen, windows });
            }
            if u64::from(WINDOW_TICKS << at) >= seconds {
                break;
            }
        }
        over
    }
}

impl Level {
    fn add(&mut self, group: u8, sums: Sums) {
        match self.window.binary_search_by_key(&group, |known| known.0) {
            Ok(at) => self.window[at].1.add(sums),
            Err(at) if usize::from(group) < GROUPS_MAX => self.window.insert(at, (group, sums)),
            Err(_) => {}
        }
    }

    fn close(&mut self) -> Vec<(u8, Sums)> {
        self.ticks = 0;
        let full = std::mem::take(&mut self.window);
        if let Some(seen) = pearson(full.iter().map(|group| group.1)) {
            self.windows = (self.windows + 1).min(WINDOWS_REMEMBERED);
            let mean = self.seen.map_or(0.0, |before| before.phi);
            self.seen = Some(Pearson {
                phi: mean + (seen.phi - mean) / f64::from(self.windows),
                groups: seen.groups,
            });
        }
        full
    }
}

/// What evidence is divided by: the larger of what is seen now and what was seen before,
/// made safe for the number of groups; 1 as long as chance alone explains it. `z` is the
/// normal distribution's quantile for alpha.
pub(crate) fn guard(now: &Groups, before: Option<Before>, z: f64) -> f64 {
    let now = pearson(now.sums().iter().copied());
    let now = now.map_or(1.0, |seen| safe(seen, 1, z));
    let before = before.map_or(1.0, |it| safe(it.seen, it.windows, z));
    now.max(before)
}

/// One estimate, the mean over so many windows, with the margin for what it may be off.
fn safe(seen: Pearson, windows: u32, z: f64) -> f64 {
    let freedom = seen.groups - 1;
    if seen.phi <= by_chance(freedom) {
        return 1.0;
    }
    let quantiles = student(freedom * windows, z) / z;
    (seen.phi * MARGIN * (quantiles * quantiles).min(KAPPA_MAX)).max(1.0)
}

/// What chance alone may make of the statistic over its degrees of freedom: two of its standard
/// deviations. With few groups that is too little: the statistic's tail is long, it is looked at
/// each second, and the correction is so large that two alike hosts would hold a release for
/// good. There it is the quantile of one in a thousand (Wilson and Hilferty 1931).
fn by_chance(freedom: u32) -> f64 {
    const FEW: u32 = 8;
    const ONE_IN_A_THOUSAND: f64 = 3.09;
    let freedom = f64::from(freedom);
    if freedom < f64::from(FEW) {
        let spread = 2.0 / (9.0 * freedom);
        let root = 1.0 - spread + ONE_IN_A_THOUSAND * spread.sqrt();
        return root * root * root;
    }
    1.0 + 2.0 * (2.0 / freedom).sqrt()
}

/// Where Student's distribution has as much above it as the normal distribution has above `z`:
/// the first terms of the expansion in the degrees of freedom (Abramowitz & Stegun 26.7.5).
fn student(freedom: u32, z: f64) -> f64 {
    let n = f64::from(freedom);
    let z2 = z * z;
    let terms = [
        (z2 + 1.0) / 4.0,
        ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0,
        (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0,
        ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92_160.0,
    ];
    z + z * terms
        .into_iter()
        .rev()
        .fold(0.0, |sum, term| (sum + term) / n)
}

/// Where the normal distribution has `alpha` above it.
pub(crate) fn normal(alpha: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    // Down to the tenth digit.
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if 0.5 * erfc(middle * std::f64::consts::FRAC_1_SQRT_2) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For alpha = 0.001.
    const Z: f64 = 3.0902;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let near = |found: f64, want: f64| assert!((found / want - 1.0).abs() < 0.01, "{found}");
        near(normal(0.001), 3.0902);
        near(normal(0.000_1), 3.7190);
        let student = |freedom, alpha| student(freedom, normal(alpha));
        near(student(4, 0.001), 7.173);
        near(student(6, 0.001), 5.208);
        near(student(13, 0.001), 3.852);
        near(student(30, 0.001), 3.385);
        near(student(63, 0.05), 1.6694);
        near(student(12, 0.000_1), 5.2633);
    }

    fn groups(of: &[(u64, u64)]) -> Groups {
        let mut groups = Groups::new();
        let ticks = of.iter().zip(0..).map(|((e, n), group)| GroupTick {
            group,
            side: Side::Control,
            sums: Sums { n: *n, e: *e },
        });
        groups.observe(&ticks.collect::<Vec<_>>(), Side::Control);
        groups
    }

    #[test]
    fn equal_groups_scale_nothing_and_unequal_ones_do() {
        let even = groups(&[(9, 1000), (11, 1000), (10, 1000), (8, 1000), (12, 1000)]);
        assert_eq!(guard(&even, None, Z), 1.0);
        let uneven = groups(&[(2, 1000), (30, 1000), (5, 1000), (3, 1000), (10, 1000)]);
        assert!(guard(&uneven, None, Z) > 15.0);
        // What was seen before a release counts as much.
        let before = Before {
            seen: Pearson {
                phi: 6.0,
                groups: 5,
            },
            windows: 10,
        };
        assert!(guard(&even, Some(before), Z) > 6.0);
        assert!(guard(&Groups::new(), Some(before), Z) > 6.0);
    }

    #[test]
    fn two_alike_hosts_do_not_look_unequal_by_chance() {
        // A difference that one of a hundred such pairs has, looked at again and again.
        assert_eq!(guard(&groups(&[(10, 1000), (24, 1000)]), None, Z), 1.0);
        assert!(guard(&groups(&[(10, 1000), (60, 1000)]), None, Z) > 100.0);
        let near = |found: f64, want: f64| assert!((found / want - 1.0).abs() < 0.05, "{found}");
        // The chi-squared distribution's quantiles of 0.999, over their degrees of freedom.
        near(by_chance(1), 10.83);
        near(by_chance(4), 18.47 / 4.0);
        near(by_chance(7), 24.32 / 7.0);
    }

    #[test]
    fn one_failure_of_a_tiny_group_is_no_dispersion() {
        let tiny = groups(&[
            (10, 1000),
            (10, 1000),
            (1, 3),
            (9, 1000),
            (11, 1000),
            (0, 2),
        ]);
        assert_eq!(guard(&tiny, None, Z), 1.0);
        assert_eq!(guard(&groups(&[(10, 1000)]), None, Z), 1.0);
        assert_eq!(guard(&groups(&[(0, 1000), (0, 900)]), None, Z), 1.0);
    }

    #[test]
    fn the_curve_grows_with_the_window_when_hosts_differ_for_good() {
        let mut curve = Curve::default();
        for _ in 0..1300 {
            let tick = |group: u8| GroupTick {
                group,
                side: Side::Control,
                sums: Sums {
                    n: 100,
                    e: 1 + u64::from(group % 2),
                },
            };
            curve.observe(&(0..10).map(tick).collect::<Vec<_>>());
        }
        let phi = |seconds| curve.over(seconds).unwrap().seen.phi;
        assert!(phi(1000) > 50.0 * phi(10), "{curve:?}");
        assert!(phi(10) > 1.0);
        // Longer than what was seen: the longest that was.
        assert_eq!(phi(100_000), phi(1280));
        assert_eq!(Curve::default().over(10), None);
    }
}
