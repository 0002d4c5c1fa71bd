//! What hosts said last: heartbeats, exits, gauges.
//!
//! Invariant: one entry for each host and service, whatever is sent; silence is
//! measured from the later of "last heard" and "this process began to listen".

use std::collections::BTreeMap;

use judge::tick::Exposed;
use model::{Digest, Generation, HostName, Millis, ServiceName, Timestamp};

use super::Watch;

/// Gauges by their number in a comparison. Others that an agent sends are not looked at.
pub(super) const GAUGES: [&str; 3] = ["cpu", "memory", "disk"];

/// Two beats that are further apart say nothing of the time between them: the agent was cut off.
const BEATS_APART_MAX: Millis = Millis::seconds(30);

/// Exits count towards a crash loop for one to two spans of this: five minutes at most.
const LATELY: Millis = Millis::seconds(150);

/// One host as last heard.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Timestamp,
    beats: BTreeMap<ServiceName, Beat>,
    exits: BTreeMap<ServiceName, Exits>,
    gauges: [Option<u16>; GAUGES.len()],
    gauges_at: Option<Timestamp>,
    /// Whose gauges they are, if the host says so.
    pub(super) machine: Option<Digest>,
}

/// Unplanned exits between beats, until a judge takes them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exits {
    /// What ran all the time.
    pub(super) running: Digest,
    pub(super) exposed: Exposed,
}

/// The last thing a host said about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// What runs.
    pub running: Digest,
    /// The newest order it has taken.
    pub generation: Generation,
    /// Whether its health check is content.
    pub healthy: Option<bool>,
    /// What the check says when not.
    pub reason: String,
    /// Unplanned exits so far.
    pub exits: Option<u64>,
    /// Exits at the first beat of this generation.
    exits_at_first: Option<u64>,
    /// When it came.
    at: Option<Timestamp>,
    lately: Option<Lately>,
}

/// Counts of exits some time ago: two numbers instead of a list of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lately {
    /// When the present span of [`LATELY`] began.
    since: Timestamp,
    /// Exits then.
    at_since: u64,
    /// Exits when the span before began.
    before: u64,
}

impl Lately {
    fn next(known: Option<Lately>, exits: u64, now: Timestamp) -> Lately {
        let anew = Lately {
            since: now,
            at_since: exits,
            before: exits,
        };
        let Some(known) = known else { return anew };
        let gone = Millis::between(known.since, now);
        if gone < LATELY {
            known
        } else if gone.0 < 2 * LATELY.0 {
            Lately {
                before: known.at_since,
                ..anew
            }
        } else {
            // Nobody knows when in so long a silence it was that the service exited.
            anew
        }
    }
}

impl Beat {
    /// A beat as it came.
    pub fn new(running: Digest, generation: Generation, healthy: Option<bool>) -> Beat {
        Beat {
            running,
            generation,
            healthy,
            reason: String::new(),
            exits: None,
            exits_at_first: None,
            at: None,
            lately: None,
        }
    }

    /// With what the check said, and the count of exits.
    #[must_use]
    pub fn with(self, reason: String, exits: Option<u64>) -> Beat {
        Beat {
            reason,
            exits,
            ..self
        }
    }

    /// Unplanned exits since the host took its newest order.
    pub fn exits_since_order(&self) -> u64 {
        self.exits
            .unwrap_or(0)
            .saturating_sub(self.exits_at_first.unwrap_or(0))
    }

    /// Of these, in the last minutes.
    pub fn exits_lately(&self) -> u64 {
        let before = self.lately.map_or(0, |lately| lately.before);
        let lately = self.exits.unwrap_or(0).saturating_sub(before);
        self.exits_since_order().min(lately)
    }

    /// What happened since `before`, if the same bundle ran under the same order all the time.
    fn exits_since(&self, before: &Beat) -> Option<Exposed> {
        if self.generation != before.generation || self.running != before.running {
            return None;
        }
        let apart = Millis::between(before.at?, self.at?);
        (apart <= BEATS_APART_MAX).then_some(Exposed {
            events: self.exits?.saturating_sub(before.exits?),
            host_ms: apart.0,
        })
    }
}

impl Seen {
    fn new(at: Timestamp) -> Seen {
        Seen {
            at,
            beats: BTreeMap::new(),
            exits: BTreeMap::new(),
            gauges: [None; GAUGES.len()],
            gauges_at: None,
            machine: None,
        }
    }

    fn add_exits(&mut self, service: &ServiceName, running: Digest, news: Exposed) {
        match self.exits.get_mut(service) {
            Some(known) if known.running == running => {
                known.exposed.events = known.exposed.events.saturating_add(news.events);
                known.exposed.host_ms = known.exposed.host_ms.saturating_add(news.host_ms);
            }
            // What the bundle before did in the last second goes with it.
            Some(_) | None => {
                let exits = Exits {
                    running,
                    exposed: news,
                };
                self.exits.insert(service.clone(), exits);
            }
        }
    }

    /// Exits since they were last taken.
    pub(super) fn take_exits(&mut self, service: &ServiceName) -> Option<Exits> {
        self.exits.remove(service)
    }

    /// Gauges by number, if they came in this time (its end not included, so that none is taken twice).
    pub(super) fn gauges_in(
        &self,
        [since, until]: [Timestamp; 2],
    ) -> impl Iterator<Item = (u8, u16)> + use<'_> {
        let news = self.gauges_at.is_some_and(|at| since <= at && at < until);
        (0..)
            .zip(self.gauges)
            .filter_map(move |(gauge, permille)| Some((gauge, permille.filter(|_| news)?)))
    }
}

impl Watch {
    /// A host was heard of, in whatever way.
    pub fn heard(&mut self, host: &HostName, now: Timestamp) {
        let seen = self
            .hosts
            .entry(host.clone())
            .or_insert_with(|| Seen::new(now));
        seen.at = seen.at.max(now);
    }

    /// A host's heartbeat.
    pub fn beat(&mut self, host: &HostName, beats: BTreeMap<ServiceName, Beat>, now: Timestamp) {
        self.heard(host, now);
        let Some(seen) = self.hosts.get_mut(host) else {
            return;
        };
        for (service, mut beat) in beats {
            beat.at = Some(now);
            let before = seen.beats.get(&service);
            let news = before.and_then(|before| beat.exits_since(before));
            let lately = before.and_then(|before| before.lately);
            let exits = beat.exits.or(before.and_then(|before| before.exits));
            beat.lately = exits.map(|exits| Lately::next(lately, exits, now));
            beat.exits_at_first = match before.filter(|before| before.generation == beat.generation)
            {
                Some(before) => before.exits_at_first.or(beat.exits),
                None => beat.exits,
            };
            if let Some(news) = news {
                seen.add_exits(&service, beat.running, news);
            }
            seen.beats.insert(service, beat);
        }
    }

    /// How full a host is, in thousandths, by gauge; `machine` is the same for hosts that share one.
    pub fn gauges(
        &mut self,
        host: &HostName,
        gauges: BTreeMap<String, u16>,
        machine: Option<Digest>,
        now: Timestamp,
    ) {
        self.heard(host, now);
        let Some(seen) = self.hosts.get_mut(host) else {
            return;
        };
        let level = |name: &str| gauges.get(name).map(|permille| (*permille).min(1000));
        seen.gauges = GAUGES.map(level);
        seen.gauges_at = Some(now);
        seen.machine = machine;
    }

    /// When a host was last heard of.
    pub fn seen_at(&self, host: &HostName) -> Option<Timestamp> {
        self.hosts.get(host).map(|seen| seen.at)
    }

    /// How long a host has been silent, as far as this process can tell.
    pub fn silent_for(&self, host: &HostName, now: Timestamp) -> Millis {
        let heard = self
            .seen_at(host)
            .map_or(self.since, |at| at.max(self.since));
        Millis::between(heard, now)
    }

    /// The last thing a host said about a service.
    pub fn last_beat(&self, host: &HostName, service: &ServiceName) -> Option<&Beat> {
        self.hosts.get(host)?.beats.get(service)
    }
}
