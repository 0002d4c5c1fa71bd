//! When everything fails, whichever bundle answers: who is to blame.
//!
//! A new bundle can hurt the old one's requests too (a shared database, a queue), and
//! then a comparison of the two shows nothing. What went on shortly before is the first
//! suspect (the temporal correlation of Gandalf, Li et al., NSDI 2020).
//!
//! Invariant: one release at most is undone for each time that the fleet fails.

use model::verdict::Evidence;
use model::{EnvironmentName, Millis, Rule, ServiceName, Timestamp, Verdict};
use release::{Release, Status};

use crate::watch::Judged;
use crate::{State, Watch};

/// A wave that began longer before the fleet began to fail is not blamed for it: hosts
/// confirm within a minute or so, and load shows what it shows in a few more.
const BLAMED_WITHIN: Millis = Millis::seconds(300);

/// What is said of a release that the fleet's failure is blamed on.
pub(super) fn blamed(
    state: &State,
    watch: &Watch,
    release: &Release,
    judged: &Judged,
) -> Option<Verdict> {
    let environment = &release.stage()?.environment;
    let failing = state.topology.services.keys().filter_map(|service| {
        let since = watch.fleet_fails_since(environment, service)?;
        Some((service, since))
    });
    let (service, since) = failing
        .into_iter()
        .find(|(_, since)| suspect(state, environment, *since).is_some_and(|it| it == release))?;
    let began = Millis::between(release.stage()?.wave_began_at, since);
    let evidence = judged.explanation.as_ref().map(|known| Evidence {
        canary: known.canary,
        control: known.control,
    });
    Some(Verdict::Fail {
        rule: Rule::Fleet,
        reason: format!(
            "{}, on the old bundle as well; that began {began} after the wave did",
            words(environment, service, since)
        ),
        evidence: evidence.unwrap_or_default(),
    })
}

/// The release that went on last before it began; nobody, once one was undone for it.
fn suspect<'a>(
    state: &'a State,
    environment: &EnvironmentName,
    since: Timestamp,
) -> Option<&'a Release> {
    let undone = |release: &Release| match &release.status {
        Status::RollingBack(rollback) | Status::RolledBack(rollback) => {
            rollback.started_at >= since && rollback.blames(Rule::Fleet)
        }
        Status::Rolling { .. } | Status::Good => false,
    };
    if state.releases.values().any(undone) {
        return None;
    }
    let rolling = state.releases.values().filter(|release| {
        let began = release.stage().filter(|stage| stage.begun > 0);
        let before = began.is_some_and(|stage| {
            stage.environment == *environment
                && stage.wave_began_at <= since
                && Millis::between(stage.wave_began_at, since) <= BLAMED_WITHIN
        });
        before && matches!(release.status, Status::Rolling { .. })
    });
    rolling.max_by_key(|release| {
        let began = release.stage().map(|stage| stage.wave_began_at);
        (began, release.id)
    })
}

/// That a service fails as a whole, in words.
pub(crate) fn words(
    environment: &EnvironmentName,
    service: &ServiceName,
    since: Timestamp,
) -> String {
    let at = since.strftime("%H:%M:%S");
    format!("{service} fails as a whole in {environment} since {at}")
}
