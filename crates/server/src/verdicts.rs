//! What the judge says of a release: now, or last in the journal.
//!
//! Invariant: what is over is told as the journal has it, so it outlives this process.

use engine::{Release, State, Status, Watch};
use journal::{Journal, ReadError};
use model::{Event, Explanation, ReleaseId, RollbackCause, Rule, Seq, Timestamp, Verdict};
use wire::api::VerdictView;

/// Records read at a time on the way back through the journal.
const STEP: u64 = 1_000;
/// Records looked at in all. A verdict lies close before its release's end: between them are one
/// order and one answer for each host. Beyond it the answer comes without an explanation.
const LOOKED_AT_MAX: u64 = 100_000;

/// A release's verdict as far as the state knows it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) view: VerdictView,
    /// Nothing of the release is in the journal before.
    proposed_at: Timestamp,
    /// Nothing of it is there after; absent while it is on its way.
    ended_at: Option<Timestamp>,
}

/// As it stands at this moment.
pub(crate) fn known(state: &State, watch: &Watch, release: &Release, now: Timestamp) -> Known {
    let stage = release.stage();
    let rolling = matches!(release.status, Status::Rolling { .. });
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut view = VerdictView {
        release: release.id.0,
        service: release.service.clone(),
        environment: stage.map(|stage| stage.environment.clone()),
        wave: stage.map_or(0, |stage| count(stage.begun)),
        waves: stage.map_or(0, |stage| count(stage.waves.len())),
        live: rolling && stage.is_some(),
        verdict: String::new(),
        rule: None,
        reason: String::new(),
        explanation: None,
    };
    if view.live {
        let judged = watch.judged(state, release, now);
        say(&mut view, &judged.verdict);
        view.explanation = judged.explanation;
    } else {
        ended(&mut view, &release.status);
    }
    Known {
        view,
        proposed_at: release.proposed_at,
        ended_at: release.ended_at,
    }
}

/// With the journal's last word, if it is not judged at this moment.
///
/// # Errors
/// When the journal can't be read.
pub(crate) async fn complete(known: Known, journal: &Journal) -> Result<VerdictView, ReadError> {
    let Known {
        mut view,
        proposed_at,
        ended_at,
    } = known;
    if view.live || view.environment.is_none() {
        return Ok(view);
    }
    let end = match ended_at {
        Some(at) => last_until(journal, at).await?,
        None => journal.position(),
    };
    let id = ReleaseId(view.release);
    if let Some(word) = last_word(journal, id, proposed_at, end).await? {
        tell(&mut view, word);
    }
    Ok(view)
}

/// Without the journal: from what the release became.
fn ended(view: &mut VerdictView, status: &Status) {
    match status {
        Status::Rolling { .. } => {
            view.verdict = "insufficient".into();
            view.reason = "it has not entered an environment yet".into();
        }
        Status::Good => view.verdict = "pass".into(),
        Status::RollingBack(rollback) | Status::RolledBack(rollback) => match &rollback.cause {
            RollbackCause::Verdict { verdict } => say(view, verdict),
            RollbackCause::Person { reason } => {
                view.verdict = "insufficient".into();
                let by = &rollback.by.name;
                view.reason = format!("{by} took it back before it was decided: {reason}");
            }
        },
    }
}

fn say(view: &mut VerdictView, verdict: &Verdict) {
    let (word, rule, reason): (_, Option<Rule>, &str) = match verdict {
        Verdict::Pass { .. } => ("pass", None, ""),
        Verdict::Fail { rule, reason, .. } => ("fail", Some(*rule), reason),
        Verdict::Insufficient { needs } => ("insufficient", None, needs),
    };
    view.verdict = word.into();
    view.rule = rule;
    view.reason = reason.into();
}

/// A verdict's event in the journal.
struct Word {
    environment: model::EnvironmentName,
    wave: u32,
    verdict: Verdict,
    /// In place of the verdict's own words.
    reason: Option<String>,
    explanation: Option<Box<Explanation>>,
}

fn tell(view: &mut VerdictView, word: Word) {
    if view.environment.as_ref() != Some(&word.environment) {
        // It went on to another environment and was never judged there.
        return;
    }
    say(view, &word.verdict);
    view.wave = word.wave.saturating_add(1);
    view.reason = word
        .reason
        .unwrap_or_else(|| std::mem::take(&mut view.reason));
    view.explanation = word.explanation.map(|explanation| *explanation);
}

fn word(event: Event, id: ReleaseId) -> Option<Word> {
    let by_person = || Verdict::Pass {
        evidence: Default::default(),
    };
    match event {
        Event::WaveJudged {
            release,
            environment,
            wave,
            verdict,
            explanation,
            ..
        } if release == id => Some(Word {
            environment,
            wave,
            verdict,
            reason: None,
            explanation,
        }),
        Event::WaveHeld {
            release,
            environment,
            wave,
            needs,
            explanation,
        } if release == id => Some(Word {
            environment,
            wave,
            verdict: Verdict::Insufficient { needs },
            reason: None,
            explanation,
        }),
        Event::WaveContinued {
            release,
            environment,
            wave,
            by,
            reason,
            explanation,
            ..
        } if release == id => Some(Word {
            environment,
            wave,
            verdict: by_person(),
            reason: Some(format!("{by} passed it: {reason}")),
            explanation,
        }),
        _ => None,
    }
}

/// The last verdict on a release at or before `end`.
async fn last_word(
    journal: &Journal,
    id: ReleaseId,
    since: Timestamp,
    end: Seq,
) -> Result<Option<Word>, ReadError> {
    let mut end = end.0;
    let floor = end.saturating_sub(LOOKED_AT_MAX);
    while end > floor {
        let start = end.saturating_sub(STEP).max(floor);
        // Oldest first, and fewer than asked for when they are large: read on until the end.
        let (mut after, mut newest, mut oldest) = (start, None, None);
        while after < end {
            let limit = usize::try_from(end - after).unwrap_or(usize::MAX);
            let records = journal.read(Seq(after), limit).await?;
            let Some(last) = records.last() else {
                break;
            };
            after = last.seq.0;
            oldest = oldest.or(records.first().map(|record| record.at));
            let mut words = records
                .into_iter()
                .filter_map(|record| word(record.event, id));
            newest = words.next_back().or(newest);
        }
        if newest.is_some() || oldest.is_none_or(|oldest| oldest < since) {
            return Ok(newest);
        }
        end = start;
    }
    Ok(None)
}

/// The last position whose time is not after `at`. Time in the journal never goes back.
async fn last_until(journal: &Journal, at: Timestamp) -> Result<Seq, ReadError> {
    let (mut not_after, mut after) = (0, journal.position().0 + 1);
    while after - not_after > 1 {
        let middle = not_after + (after - not_after) / 2;
        let record = journal.read(Seq(middle - 1), 1).await?;
        match record.first() {
            Some(record) if record.at <= at => not_after = middle,
            _ => after = middle,
        }
    }
    Ok(Seq(not_after))
}
