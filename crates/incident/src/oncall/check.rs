//! Everything that is wrong with what was declared, at once.
//!
//! Invariant: a setup without problems names only what it holds, so that a page
//! never finds a contact, a schedule or a zone missing that it was promised.

use std::collections::BTreeSet;

use jiff::civil::Date;
use model::incident::{Contact, Layer, Objective, Override, Policy, Schedule, Setup, Target};
use model::{Millis, ScheduleName, Timestamp};

use super::{Plan, Shift, days_from, gaps, zone};
use crate::state::State;

/// Gaps are looked for so far ahead.
pub const GAPS_DAYS: i64 = 90;
/// Most contacts, schedules, policies, services or components, each: a company of some hundreds.
pub const DECLARED_MAX: usize = 1000;
/// Most channels of a contact.
pub const CHANNELS_MAX: usize = 8;
/// Most layers of a schedule.
pub const LAYERS_MAX: usize = 10;
/// Most contacts of a layer, and targets of a step.
pub const MEMBERS_MAX: usize = 50;
/// Most restrictions of a layer.
pub const RESTRICTIONS_MAX: usize = 8;
/// Most steps of a policy.
pub const STEPS_MAX: usize = 20;
/// Most repetitions of one.
pub const REPEAT_MAX: u32 = 10;
/// The shortest wait of a step or channel: a message needs some seconds to arrive.
pub const WAIT_MIN: Millis = Millis::seconds(10);
/// The longest.
pub const WAIT_MAX: Millis = Millis::seconds(24 * 3600);
/// Longest of all texts, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// The longest rotation.
const EVERY_DAYS_MAX: u16 = 366;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// As `schedule platform, layer 2`.
    pub place: String,
    /// In one line.
    pub words: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.words)
    }
}

/// When nobody will be on call within [`GAPS_DAYS`], by schedule. No problem by itself: some leave their nights open.
pub fn gaps_ahead(state: &State, setup: &Setup, now: Timestamp) -> Vec<(ScheduleName, Vec<Shift>)> {
    let until = days_from(now, GAPS_DAYS);
    let schedules = setup.schedules.iter();
    let found = schedules.filter_map(|(name, schedule)| {
        let overrides = state.schedules.get(name).map(|it| &*it.overrides);
        let plan = Plan::new(schedule, overrides.unwrap_or(&[]))?;
        Some((name.clone(), gaps(&plan, now, until)))
    });
    found.filter(|(_, gaps)| !gaps.is_empty()).collect()
}

/// Everything that is wrong.
pub fn problems(state: &State, setup: &Setup, now: Timestamp) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    for (name, contact) in &setup.contacts {
        found.contact(&format!("contact {name}"), contact);
    }
    for (name, schedule) in &setup.schedules {
        let known = state.schedules.get(name);
        let ahead = known.iter().flat_map(|it| &it.overrides);
        let ahead: Vec<&Override> = ahead.filter(|it| it.until > now).collect();
        found.schedule(&format!("schedule {name}"), setup, schedule, &ahead);
    }
    for (name, policy) in &setup.policies {
        found.policy(&format!("policy {name}"), setup, policy);
    }
    found.services(setup);
    found.page(setup);
    let counts = [
        ("contacts", setup.contacts.len()),
        ("schedules", setup.schedules.len()),
        ("policies", setup.policies.len()),
        ("services", setup.services.len()),
        ("components", setup.components.len()),
        ("objectives", setup.objectives.len()),
        ("labels to group by", setup.group_by.len()),
    ];
    for (what, count) in counts {
        found.unless(count <= DECLARED_MAX, "setup", || {
            format!("{count} {what}, at most {DECLARED_MAX}")
        });
    }
    found.0
}

/// What overlaps among overrides; they must be sorted by their beginning.
pub fn overlaps(place: &str, overrides: &[&Override]) -> Vec<Problem> {
    let pairs = overrides.iter().zip(overrides.iter().skip(1));
    let overlapping = pairs.filter(|(a, b)| a.until > b.from);
    overlapping
        .map(|(a, b)| Problem {
            place: place.to_owned(),
            words: format!(
                "override {} of {} overlaps with override {} of {}",
                a.id, a.contact, b.id, b.contact
            ),
        })
        .collect()
}

struct Found(Vec<Problem>);

impl Found {
    fn unless(&mut self, fine: bool, place: &str, words: impl FnOnce() -> String) {
        if !fine {
            self.0.push(Problem {
                place: place.to_owned(),
                words: words(),
            });
        }
    }

    fn zone(&mut self, place: &str, name: &str) {
        let short = name.chars().take(60).collect::<String>();
        self.unless(zone::find(name).is_some(), place, || {
            format!("there is no time zone {short:?}; write its IANA name, as Europe/Berlin")
        });
    }

    fn wait(&mut self, place: &str, wait: Millis) {
        self.unless((WAIT_MIN..=WAIT_MAX).contains(&wait), place, || {
            format!("waits {wait}; between {WAIT_MIN} and {WAIT_MAX} make sense")
        });
    }

    fn count(&mut self, place: &str, what: &str, count: usize, max: usize) {
        self.unless(count <= max, place, || {
            format!("{count} {what}, at most {max}")
        });
    }

    fn contact(&mut self, place: &str, contact: &Contact) {
        self.zone(place, &contact.zone);
        self.unless(!contact.channels.is_empty(), place, || {
            "has no channel, so it can't be told anything".to_owned()
        });
        let quiet = contact.channels.iter().any(|channel| !channel.urgent_only);
        self.unless(quiet || contact.channels.is_empty(), place, || {
            "has no channel for what is not urgent".to_owned()
        });
        self.count(place, "channels", contact.channels.len(), CHANNELS_MAX);
        for channel in &contact.channels {
            self.wait(place, channel.wait_ms);
            let fits = (1..=TEXT_BYTES_MAX).contains(&channel.address.len());
            self.unless(fits, place, || {
                format!(
                    "an address of {} has 1 to {TEXT_BYTES_MAX} bytes",
                    channel.kind.as_str()
                )
            });
        }
        self.unless(contact.name.len() <= TEXT_BYTES_MAX, place, || {
            "its name is too long".to_owned()
        });
    }

    fn schedule(&mut self, place: &str, setup: &Setup, it: &Schedule, ahead: &[&Override]) {
        self.unless(!it.zone.is_empty(), place, || "has no time zone".to_owned());
        self.zone(place, &it.zone);
        self.unless(!it.layers.is_empty(), place, || {
            "is empty: it has no layer".to_owned()
        });
        self.count(place, "layers", it.layers.len(), LAYERS_MAX);
        for (index, layer) in it.layers.iter().enumerate() {
            self.layer(&format!("{place}, layer {}", index + 1), setup, layer);
        }
        self.0.extend(overlaps(place, ahead));
        for entry in ahead {
            self.unless(setup.contacts.contains_key(&entry.contact), place, || {
                format!("override {} names {}, who is gone", entry.id, entry.contact)
            });
        }
    }

    fn layer(&mut self, place: &str, setup: &Setup, layer: &Layer) {
        self.unless(!layer.contacts.is_empty(), place, || {
            "is empty: it has no contact".to_owned()
        });
        self.count(place, "contacts", layer.contacts.len(), MEMBERS_MAX);
        self.count(place, "restrictions", layer.only.len(), RESTRICTIONS_MAX);
        let unknown = layer.contacts.iter().collect::<BTreeSet<_>>();
        for contact in unknown {
            self.unless(setup.contacts.contains_key(contact), place, || {
                format!("there is no contact {contact}")
            });
        }
        self.unless(
            (1..=EVERY_DAYS_MAX).contains(&layer.every_days),
            place,
            || {
                format!(
                    "hands over every {} days; 1 to {EVERY_DAYS_MAX}",
                    layer.every_days
                )
            },
        );
        // Far from both ends of time, so that no sum of days leaves it.
        let years = Date::constant(1970, 1, 1)..Date::constant(3000, 1, 1);
        self.unless(years.contains(&layer.starts_on), place, || {
            format!("starts on {}", layer.starts_on)
        });
    }

    fn policy(&mut self, place: &str, setup: &Setup, policy: &Policy) {
        self.unless(!policy.steps.is_empty(), place, || "has no step".to_owned());
        self.count(place, "steps", policy.steps.len(), STEPS_MAX);
        self.unless(policy.repeat <= REPEAT_MAX, place, || {
            format!("repeats {} times, at most {REPEAT_MAX}", policy.repeat)
        });
        if let Some(wait) = policy.acknowledged_for_ms {
            self.wait(place, wait);
        }
        for (index, step) in policy.steps.iter().enumerate() {
            let place = format!("{place}, step {}", index + 1);
            self.wait(&place, step.wait_ms);
            self.unless(!step.targets.is_empty(), &place, || {
                "asks nobody".to_owned()
            });
            self.count(&place, "targets", step.targets.len(), MEMBERS_MAX);
            for target in &step.targets {
                let (known, words) = match target {
                    Target::Contact(it) => {
                        (setup.contacts.contains_key(it), format!("contact {it}"))
                    }
                    Target::Schedule(it) => {
                        (setup.schedules.contains_key(it), format!("schedule {it}"))
                    }
                };
                self.unless(known, &place, || format!("there is no {words}"));
            }
        }
    }

    fn services(&mut self, setup: &Setup) {
        let known = |it: &model::PolicyName| setup.policies.contains_key(it);
        if let Some(policy) = &setup.default_policy {
            self.unless(known(policy), "setup", || {
                format!("there is no policy {policy}")
            });
        }
        for (name, care) in &setup.services {
            let place = format!("service {name}");
            if let Some(policy) = &care.policy {
                self.unless(known(policy), &place, || {
                    format!("there is no policy {policy}")
                });
            }
            self.count(&place, "dependencies", care.depends_on.len(), MEMBERS_MAX);
            self.unless(!care.depends_on.contains(name), &place, || {
                "depends on itself".to_owned()
            });
        }
    }

    fn page(&mut self, setup: &Setup) {
        let mut seen = BTreeSet::new();
        for component in &setup.components {
            let place = format!("component {}", component.id);
            self.unless(seen.insert(&component.id), &place, || {
                "is there twice".to_owned()
            });
            self.count(&place, "services", component.services.len(), MEMBERS_MAX);
            let texts = [component.name.len(), component.description.len()];
            let fits = texts.iter().all(|bytes| *bytes <= TEXT_BYTES_MAX);
            self.unless(fits && !component.name.is_empty(), &place, || {
                format!("its name has 1 to {TEXT_BYTES_MAX} bytes")
            });
        }
        let mut seen = BTreeSet::new();
        for objective in &setup.objectives {
            let place = format!("objective {}", objective.name);
            self.unless(seen.insert(&objective.name), &place, || {
                "is there twice".to_owned()
            });
            self.objective(&place, objective);
        }
    }

    fn objective(&mut self, place: &str, it: &Objective) {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = it.name.starts_with(|c: char| c.is_ascii_lowercase());
        let named = begins && it.name.len() <= 63 && it.name.chars().all(fine);
        self.unless(named, place, || {
            "its name is a-z, 0-9 and _, and begins with a letter".to_owned()
        });
        self.unless((500_000..1_000_000).contains(&it.target_ppm), place, || {
            format!("promises {} of a million; 500000 to 999999", it.target_ppm)
        });
        self.unless((1..=90).contains(&it.window_days), place, || {
            format!("looks at {} days; 1 to 90", it.window_days)
        });
        let both = it.good.is_empty() == it.total.is_empty();
        self.unless(both, place, || {
            "has one of `good` and `total` alone".to_owned()
        });
        let fits = it.good.len().max(it.total.len()) <= TEXT_BYTES_MAX;
        let lines = [&it.good, &it.total]
            .iter()
            .all(|text| !text.contains(['\n', '\r']));
        self.unless(fits && lines, place, || "a selector is one line".to_owned());
    }
}
