//! What is frozen: by people, by the calendar, by conditions.
//!
//! Invariant: nothing on a way back asks here.

use model::{EnvironmentName, Gate, Scope, ServiceName, Timestamp};
use release::Release;

use crate::decide::fleet;
use crate::gates::waived;
use crate::state::scope_key;
use crate::{SlotStatus, State, Watch};

/// Something that is frozen at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezeNow {
    /// What.
    pub scope: Scope,
    /// Who, or what.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, when a person did it.
    pub since: Option<Timestamp>,
    /// It ends by itself then.
    pub until: Option<Timestamp>,
    /// Made by the calendar or a condition.
    pub automatic: bool,
}

impl FreezeNow {
    fn words(&self) -> String {
        let until = self
            .until
            .map_or(String::new(), |until| format!(" until {until:.0}"));
        format!(
            "releases of {} are frozen by {}{until}: {}",
            self.scope, self.by, self.reason
        )
    }
}

/// Everything that is frozen now: by people, by the calendar, by conditions.
pub fn freezes(state: &State, watch: &Watch, now: Timestamp) -> Vec<FreezeNow> {
    let people = state.freezes.values().filter(|freeze| freeze.holds(now));
    let people = people.map(|freeze| FreezeNow {
        scope: freeze.scope.clone(),
        by: freeze.by.to_string(),
        reason: freeze.reason.clone(),
        since: Some(freeze.since),
        until: freeze.until,
        automatic: false,
    });
    let windows = state.topology.freezes.iter().filter_map(|window| {
        let until = check::calendar::window_at(window, now)?;
        Some(FreezeNow {
            scope: window.scope.clone(),
            by: "the calendar".into(),
            reason: window.reason.clone(),
            since: None,
            until: Some(until),
            automatic: true,
        })
    });
    people
        .chain(windows)
        .chain(conditions(state, watch, now))
        .collect()
}

/// While a host of the last environment can't find its way back, or the error
/// budget is spent, nothing new makes it worse.
fn conditions(state: &State, watch: &Watch, now: Timestamp) -> Vec<FreezeNow> {
    let Some(last) = state.topology.environments.last() else {
        return Vec::new();
    };
    let mut list = Vec::new();
    for (service, spec) in &state.topology.services {
        let lost = state.topology.hosts_of(&last.name, service).find(|host| {
            let slot = state.slot(&host.name, service);
            slot.is_some_and(|slot| matches!(slot.status, SlotStatus::RevertFailing { .. }))
        });
        let spent = || {
            let budget = spec.error_budget.as_ref()?;
            watch.budget_spent(&last.name, service, budget, now)
        };
        let reason = match lost {
            Some(host) => Some(format!("{} does not come back", host.name)),
            None => spent(),
        };
        list.extend(reason.map(|reason| FreezeNow {
            scope: Scope::Service(service.clone()),
            by: "plimsoll".into(),
            reason,
            since: None,
            until: None,
            automatic: true,
        }));
    }
    list
}

/// Why nothing of a service goes forward in (or into) an environment now.
pub(crate) fn frozen(
    state: &State,
    watch: &Watch,
    service: &ServiceName,
    environment: Option<&EnvironmentName>,
    now: Timestamp,
) -> Option<String> {
    let covers = |scope: &Scope| match scope {
        Scope::Everything => true,
        Scope::Service(name) => name == service,
        Scope::Environment(name) => Some(name) == environment,
    };
    let list = freezes(state, watch, now);
    let freeze = list.iter().find(|freeze| covers(&freeze.scope))?;
    Some(freeze.words())
}

/// Why nothing of a service goes forward in (or into) an environment while all of its
/// requests there fail more than they may, whichever bundle answers.
fn fleet_fails(
    watch: &Watch,
    service: &ServiceName,
    environment: &EnvironmentName,
) -> Option<String> {
    let since = watch.fleet_fails_since(environment, service)?;
    let words = fleet::words(environment, service, since);
    Some(format!("{words}: nothing goes forward"))
}

/// What holds a release, which may have broken the glass.
pub(crate) fn frozen_for(
    state: &State,
    watch: &Watch,
    release: &Release,
    environment: &EnvironmentName,
    now: Timestamp,
) -> Option<String> {
    if waived(state, release, now).contains(&Gate::Freeze) {
        return None;
    }
    let service = &release.service;
    frozen(state, watch, service, Some(environment), now)
        .or_else(|| fleet_fails(watch, service, environment))
}

/// A person's freeze of exactly this.
pub(crate) fn frozen_by_person(state: &State, scope: &Scope, now: Timestamp) -> bool {
    let freeze = state.freezes.get(&scope_key(scope));
    freeze.is_some_and(|freeze| freeze.holds(now))
}
