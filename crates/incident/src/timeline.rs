//! What happened during an incident, told from the journal.
//!
//! Nobody writes it and nobody edits it: facts are events, and what people add
//! are notes, which are events too. The changes that touched its services
//! shortly before it began belong to it as facts beside others.
//!
//! Invariant: a line for each event, in the order of the journal's times; the
//! same journal gives the same lines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::tz::TimeZone;
use model::incident::{Fingerprint, IncidentEvent, IncidentId};
use model::{DrainCause, Event, Millis, ReleaseId, RestartId, Scope, ServiceName, Timestamp};

/// Changes so long before the beginning belong to it.
pub const BEFORE: Millis = Millis::seconds(3600);
/// Events that may turn out to belong to it and are remembered meanwhile, the newest.
const RECENT_MAX: usize = 2000;
/// Most lines of one timeline: what is longer is read in the journal.
pub const ENTRIES_MAX: usize = 5000;

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The journal.
    Fact,
    /// A person, in their words.
    Note,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, by the journal's clock.
    pub at: Timestamp,
    /// Who says so.
    pub kind: Kind,
    /// What.
    pub words: String,
}

impl Entry {
    /// The line with its time in a zone, as `2026-01-12 13:00:00 CET`.
    pub fn line(&self, zone: &TimeZone) -> String {
        let at = self.at.to_zoned(zone.clone());
        let mark = match self.kind {
            Kind::Fact => "",
            Kind::Note => "note: ",
        };
        format!(
            "{}  {mark}{}",
            at.strftime("%Y-%m-%d %H:%M:%S %Z"),
            self.words
        )
    }
}

/// A timeline in the making: give it the journal from an hour before the incident on.
#[derive(Debug)]
pub struct Timeline {
    incident: IncidentId,
    services: BTreeSet<ServiceName>,
    alerts: BTreeSet<Fingerprint>,
    /// Which service a release is of.
    releases: BTreeMap<ReleaseId, ServiceName>,
    /// And a restart.
    restarts: BTreeMap<RestartId, ServiceName>,
    recent: VecDeque<(Timestamp, About, String)>,
    open: bool,
    began: bool,
    entries: Vec<Entry>,
}

/// What an event is about, besides incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Service(ServiceName),
    Alert(Fingerprint),
    /// Everything.
    All,
}

impl Timeline {
    /// Nothing was read yet.
    pub fn new(incident: IncidentId) -> Timeline {
        Timeline {
            incident,
            services: BTreeSet::new(),
            alerts: BTreeSet::new(),
            releases: BTreeMap::new(),
            restarts: BTreeMap::new(),
            recent: VecDeque::new(),
            open: false,
            began: false,
            entries: Vec::new(),
        }
    }

    /// Takes in the journal's next event.
    pub fn take(&mut self, at: Timestamp, event: &Event) {
        if let Event::ReleaseProposed {
            release, service, ..
        } = event
        {
            self.releases.insert(*release, service.clone());
        }
        if let Event::RestartStarted {
            restart, service, ..
        } = event
        {
            self.restarts.insert(*restart, service.clone());
        }
        if let Event::Incident(event) = event
            && event.incident() == Some(self.incident)
        {
            self.own(at, event);
        } else if let Some(about) = self.about(event) {
            let words = event.to_string();
            match self.open && self.concerns(&about) {
                true => self.add(at, Kind::Fact, words),
                false => self.remember(at, about, words),
            }
        }
    }

    /// The lines, the oldest first.
    pub fn entries(mut self) -> Vec<Entry> {
        self.entries.sort_by_key(|entry| entry.at);
        self.entries
    }

    fn own(&mut self, at: Timestamp, event: &IncidentEvent) {
        if let IncidentEvent::Opened {
            service, alerts, ..
        }
        | IncidentEvent::Joined {
            service, alerts, ..
        } = event
        {
            self.services.extend(service.clone());
            self.alerts.extend(alerts.iter().copied());
            self.began |= matches!(event, IncidentEvent::Opened { .. });
            self.open = self.began;
            self.recall(at);
        }
        let kind = match event {
            IncidentEvent::Noted { .. } => Kind::Note,
            _ => Kind::Fact,
        };
        let text = event.to_string();
        let prefix = format!("incident {}: ", self.incident);
        self.add(at, kind, text.trim_start_matches(&prefix).to_owned());
        match event {
            IncidentEvent::Resolved { .. } | IncidentEvent::Merged { .. } => self.open = false,
            IncidentEvent::Reopened { .. } => self.open = true,
            _ => {}
        }
    }

    fn add(&mut self, at: Timestamp, kind: Kind, words: String) {
        if self.entries.len() < ENTRIES_MAX {
            self.entries.push(Entry { at, kind, words });
        }
    }

    fn concerns(&self, about: &About) -> bool {
        match about {
            About::Service(service) => self.services.contains(service),
            About::Alert(fingerprint) => self.alerts.contains(fingerprint),
            About::All => true,
        }
    }

    fn remember(&mut self, at: Timestamp, about: About, words: String) {
        self.recent.push_back((at, about, words));
        let old = |it: &(Timestamp, About, String)| BEFORE.after(it.0) <= at;
        while self.recent.len() > RECENT_MAX || self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
    }

    /// What turned out to belong to it.
    fn recall(&mut self, at: Timestamp) {
        let recent = std::mem::take(&mut self.recent);
        for (then, about, words) in recent {
            match self.concerns(&about) {
                true if BEFORE.after(then) > at => self.add(then, Kind::Fact, words),
                true => {}
                false => self.recent.push_back((then, about, words)),
            }
        }
    }

    fn of(&self, release: &ReleaseId) -> Option<About> {
        self.releases.get(release).cloned().map(About::Service)
    }

    /// What an event is about, if people look for it in a timeline.
    fn about(&self, event: &Event) -> Option<About> {
        match event {
            Event::StageStarted { release, .. }
            | Event::WaveStarted { release, .. }
            | Event::WaveJudged { release, .. }
            | Event::WaveHeld { release, .. }
            | Event::WaveContinued { release, .. }
            | Event::ReleaseGood { release, .. }
            | Event::TrafficReturned { release, .. }
            | Event::RollbackCompleted { release, .. } => self.of(release),
            Event::RestartStopped { restart, .. } | Event::RestartEnded { restart, .. } => {
                self.restarts.get(restart).cloned().map(About::Service)
            }
            Event::ReleaseProposed { service, .. }
            | Event::RollbackStarted { service, .. }
            | Event::DigestQuarantined { service, .. }
            | Event::QuarantineLifted { service, .. }
            | Event::HostFailed { service, .. }
            | Event::HostRevertFailing { service, .. }
            | Event::HostHeld { service, .. }
            | Event::HostHealthChanged { service, .. }
            | Event::RestartStarted { service, .. }
            | Event::TrafficShifted { service, .. }
            | Event::RampSet { service, .. }
            | Event::HostUndrained { service, .. }
            | Event::HostDrained {
                service,
                cause: DrainCause::Person { .. },
                ..
            }
            | Event::BreakGlassAsked { service, .. } => Some(About::Service(service.clone())),
            Event::Frozen { scope, .. } | Event::Thawed { scope, .. } => Some(match scope {
                Scope::Service(service) => About::Service(service.clone()),
                Scope::Everything | Scope::Environment(_) => About::All,
            }),
            Event::Incident(IncidentEvent::AlertFired { alert, .. }) => {
                Some(About::Alert(alert.labels.fingerprint()))
            }
            Event::Incident(IncidentEvent::AlertResolved { fingerprint, .. }) => {
                Some(About::Alert(*fingerprint))
            }
            Event::Incident(_)
            | Event::TopologySet { .. }
            | Event::TokenIssued { .. }
            | Event::TokenRevoked { .. }
            | Event::JoinTokenIssued { .. }
            | Event::HostEnrolled { .. }
            | Event::ReferencesProbed { .. }
            | Event::HostileTried { .. }
            | Event::RehearsalStarted { .. }
            | Event::RehearsalStepped { .. }
            | Event::MatrixStarted { .. }
            | Event::LoadMeasured { .. }
            | Event::TaskBroken { .. }
            | Event::TestPassed { .. }
            | Event::Approved { .. }
            | Event::Attested { .. }
            | Event::Countersigned { .. }
            | Event::RecheckStarted { .. }
            | Event::BreakGlassConfirmed { .. }
            | Event::BreakGlassReviewed { .. }
            | Event::HostDrained { .. }
            | Event::HostOrdered { .. }
            | Event::HostConfirmed { .. } => None,
        }
    }
}
