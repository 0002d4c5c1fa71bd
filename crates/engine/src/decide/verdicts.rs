//! What is written down of a wave: passed, failed, held, or continued by a person.
//!
//! Invariant: whatever is said of a wave is said with the counts that it rests on, as
//! far as there are any.

use model::refusal::Code;
use model::{Actor, EnvironmentName, Event, Explanation, Refusal, ReleaseId, Timestamp, Verdict};
use release::{Release, Status};

use super::{bounded, rollback, tick};
use crate::{State, Watch};

/// The newest wave: where it is, and its number.
fn newest(release: &Release) -> Option<(EnvironmentName, u32)> {
    let stage = release.stage()?;
    let wave = u32::try_from(stage.begun.checked_sub(1)?).ok()?;
    Some((stage.environment.clone(), wave))
}

fn explanation(
    state: &State,
    watch: &Watch,
    release: &Release,
    now: Timestamp,
) -> Option<Box<Explanation>> {
    let (explanation, _) = watch.sealed(state, release, now)?;
    Some(Box::new(explanation))
}

/// A verdict about the newest wave; nothing when no wave has begun.
pub(super) fn judged(
    state: &State,
    watch: &Watch,
    release: &Release,
    verdict: Verdict,
    undecided: bool,
    now: Timestamp,
) -> Vec<Event> {
    let Some((environment, wave)) = newest(release) else {
        return Vec::new();
    };
    let explanation = explanation(state, watch, release, now).map(|known| {
        Box::new(Explanation {
            undecided,
            ..*known
        })
    });
    vec![Event::WaveJudged {
        release: release.id,
        environment,
        wave,
        verdict,
        exposure: rollback::exposure(state, watch, release),
        explanation,
    }]
}

/// People are asked, because the wave can't be judged in time.
pub(super) fn held(
    state: &State,
    watch: &Watch,
    release: &Release,
    needs: &str,
    now: Timestamp,
) -> Vec<Event> {
    let explanation = explanation(state, watch, release, now);
    let bound = explanation.as_deref().and_then(bound).unwrap_or_default();
    asks(release, format!("{needs}{bound}"), explanation)
}

fn asks(release: &Release, needs: String, explanation: Option<Box<Explanation>>) -> Vec<Event> {
    let stage = release.stage().into_iter();
    stage
        .map(|stage| Event::WaveHeld {
            release: release.id,
            environment: stage.environment.clone(),
            wave: newest(release).map_or(0, |(_, wave)| wave),
            needs: needs.clone(),
            explanation: explanation.clone(),
        })
        .collect()
}

/// How bad it can be, as far as counts say.
fn bound(explanation: &Explanation) -> Option<String> {
    let ratio = explanation.ratio?;
    let times = |permille: u64| format!("{}.{}", permille / 1000, permille % 1000 / 100);
    Some(match ratio.high {
        // Rounded up: a bound that is shown is one that holds.
        Some(high) => format!(
            "; so far it fails at most {} times as often as the old bundle",
            times(high.saturating_add(99))
        ),
        None => "; so far nothing bounds how much more often it fails than the old bundle".into(),
    })
}

/// People are asked, because it does harm and no machine may send it back.
pub(super) fn stopped(
    state: &State,
    watch: &Watch,
    release: &Release,
    verdict: Verdict,
    now: Timestamp,
) -> Vec<Event> {
    let reason = match &verdict {
        Verdict::Fail { rule, reason, .. } => format!("{rule}: {reason}"),
        Verdict::Pass { .. } | Verdict::Insufficient { .. } => String::new(),
    };
    let mut events = judged(state, watch, release, verdict, false, now);
    let id = release.id;
    let needs = match release.stage().and_then(|stage| stage.open_wave()) {
        Some(_) => format!(
            "a person's word, because its plan calls it irreversible ({reason}): `plimsoll continue {id}` or `plimsoll rollback`"
        ),
        None => format!(
            "a person who sends it back, because its plan calls it irreversible ({reason}): `plimsoll rollback`"
        ),
    };
    events.extend(asks(
        release,
        needs,
        explanation(state, watch, release, now),
    ));
    events
}

/// A person passes a held wave.
pub(super) fn carry_on(
    state: &State,
    watch: &Watch,
    by: Actor,
    release: ReleaseId,
    reason: String,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    bounded("reason", &reason)?;
    let Some(release) = state.releases.get(&release) else {
        return Err(Refusal::new(
            Code::UnknownRelease,
            format!("there is no release {release}"),
            "Look it up with `plimsoll releases`.",
        ));
    };
    if release.shifted.is_some() && matches!(release.status, Status::Rolling { .. }) {
        return Ok(vec![Event::TrafficReturned {
            release: release.id,
            by,
            reason,
        }]);
    }
    let held = match &release.status {
        Status::Rolling { held } => held.is_some(),
        Status::Good | Status::RollingBack(_) | Status::RolledBack(_) => false,
    };
    let open = release.stage().and_then(|stage| stage.open_wave());
    let (true, Some(_), Some((environment, wave))) = (held, open, newest(release)) else {
        let why = tick::waiting(state, watch, release, now)
            .unwrap_or_else(|| "it is over or goes on by itself".into());
        return Err(Refusal::new(
            Code::NotHeld,
            format!("no wave of release {} is held: {why}", release.id),
            match held {
                true => "Only a way back is left: `plimsoll rollback`.",
                false => "Nothing has to be done; `plimsoll status` shows what it waits for.",
            },
        ));
    };
    // Who wrote a change of high risk is not the one to say that it may go on unjudged.
    if !release.checked.risks.is_empty() && by.name == release.author.name {
        return Err(Refusal::new(
            Code::OwnApproval,
            format!(
                "{} proposed release {}, which is of high risk",
                by.name, release.id
            ),
            "Ask somebody else to look at it and to continue it.",
        ));
    }
    Ok(vec![Event::WaveContinued {
        release: release.id,
        environment,
        wave,
        by,
        reason,
        exposure: rollback::exposure(state, watch, release),
        explanation: explanation(state, watch, release, now),
    }])
}
