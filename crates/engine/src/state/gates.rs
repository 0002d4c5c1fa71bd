//! What happens between a proposal and production, folded.
//!
//! Invariant: total, like the rest of the fold; an event about a release that
//! is not known changes nothing.

use model::{Event, Timestamp};

use super::fold::of_release;
use super::{BreakGlass, GLASSES_KEPT_MAX, State};

/// Takes in an event about a gate; others change nothing.
pub(super) fn evolve(state: &mut State, event: &Event, at: Timestamp) {
    match event {
        Event::BreakGlassAsked {
            id,
            by,
            service,
            gates,
            reason,
            expires_at,
        } => {
            let glass = BreakGlass {
                id: *id,
                service: service.clone(),
                gates: gates.clone(),
                reason: reason.clone(),
                asked_by: by.clone(),
                confirmed_by: None,
                expires_at: *expires_at,
                used_by: Vec::new(),
                reviewed_by: None,
            };
            state.break_glasses.insert(*id, glass);
            forget_old_glasses(state);
        }
        Event::BreakGlassConfirmed { id, by } => {
            if let Some(glass) = state.break_glasses.get_mut(id) {
                glass.confirmed_by = Some(by.clone());
            }
        }
        Event::BreakGlassReviewed { id, by, .. } => {
            if let Some(glass) = state.break_glasses.get_mut(id) {
                glass.reviewed_by = Some(by.clone());
            }
        }
        Event::MatrixStarted {
            release,
            old_files,
            old_packages,
            ..
        } => {
            for bundle in [old_files, old_packages] {
                state.bundles.insert(bundle.digest(), bundle.clone());
            }
            of_release(state, *release, event, at);
        }
        Event::Attested {
            release, envelope, ..
        } => {
            if let Some(known) = state.releases.get(release) {
                state.attestations.insert(known.digest, envelope.clone());
            }
            of_release(state, *release, event, at);
        }
        Event::Countersigned { release, .. } => {
            of_release(state, *release, event, at);
            if let Some(known) = state.releases.get(release)
                && let Some(envelope) = &known.attestation
            {
                let (digest, envelope) = (known.digest, envelope.clone());
                state.attestations.insert(digest, envelope);
            }
        }
        Event::ReferencesProbed { release, .. }
        | Event::HostileTried { release, .. }
        | Event::RehearsalStarted { release, .. }
        | Event::RehearsalStepped { release, .. }
        | Event::LoadMeasured { release, .. }
        | Event::TaskBroken { release, .. }
        | Event::TestPassed { release, .. }
        | Event::Approved { release, .. }
        | Event::RecheckStarted { release, .. } => of_release(state, *release, event, at),
        // The fold of everything else is this one's caller.
        _ => {}
    }
}

/// Reviewed or never used ones go first; those that wait for a review stay.
fn forget_old_glasses(state: &mut State) {
    let settled = state
        .break_glasses
        .values()
        .filter(|glass| glass.reviewed_by.is_some() || glass.used_by.is_empty());
    let ids: Vec<u64> = settled.map(|glass| glass.id).collect();
    let surplus = ids.len().saturating_sub(GLASSES_KEPT_MAX);
    for id in ids.into_iter().take(surplus) {
        state.break_glasses.remove(&id);
    }
}
