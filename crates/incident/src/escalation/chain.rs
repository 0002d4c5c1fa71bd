//! A contact's channels, one after the other, until one shows that it arrived.
//!
//! Invariant: a channel is begun at a time that follows from what is journaled,
//! so a message that is due stays due until its outcome is known.

use model::incident::{Channel, Notice, Outcome, Urgency};
use model::{ContactName, Timestamp};

use super::id_of;
use crate::state::{Incident, Level, Page, State};

/// A message that should be on its way.
#[derive(Debug, Clone)]
pub(crate) struct Row<'a> {
    pub(crate) notice: Notice,
    pub(crate) contact: &'a ContactName,
    pub(crate) channel: &'a Channel,
    pub(crate) urgency: Urgency,
}

/// A contact's channels for this urgency, with their names in notices.
pub(crate) fn channels<'a>(
    state: &'a State,
    contact: &ContactName,
    urgency: Urgency,
) -> impl Iterator<Item = (String, &'a Channel)> {
    let known = state.setup.contacts.get(contact);
    let channels = known
        .into_iter()
        .flat_map(|it| it.channels.iter().enumerate());
    let fit = channels.filter(move |(_, it)| urgency == Urgency::High || !it.urgent_only);
    fit.map(|(place, it)| (format!("{place}{}", it.kind.as_str()), it))
}

/// Where a contact is in their channels.
struct Chain<'a> {
    /// Begun, and nothing is known of them.
    open: Vec<Row<'a>>,
    /// When the next one is begun, if it is not yet.
    next_at: Option<Timestamp>,
}

fn chain<'a>(
    state: &'a State,
    incident: &'a Incident,
    page: &'a Page,
    level: &'a Level,
    contact: &'a ContactName,
    now: Timestamp,
) -> Chain<'a> {
    let mut open = Vec::new();
    let mut starts = level.at;
    for (name, channel) in channels(state, contact, page.urgency) {
        if starts > now {
            let next_at = Some(starts);
            return Chain { open, next_at };
        }
        let notice = Notice::Page {
            incident: incident.id,
            policy: page.policy.clone(),
            generation: page.generation,
            level: level.level,
            channel: name,
        };
        let told = incident.told.get(&id_of(&notice, contact));
        // What was begun stays begun: an outcome that comes late moves nothing back.
        let waited = channel.wait_ms.after(starts);
        starts = match told.map(|told| (told.at, &told.outcome)) {
            // A provider that hangs is as bad as one that gives no receipt.
            None => {
                open.push(Row {
                    notice,
                    contact,
                    channel,
                    urgency: page.urgency,
                });
                waited
            }
            Some((at, Outcome::Sent)) if at <= waited => channel.wait_ms.after(at),
            Some((_, Outcome::Sent)) => waited,
            Some((at, Outcome::Failed { .. } | Outcome::DeadLetter { .. })) => at.min(waited),
            Some((_, Outcome::Delivered)) => break,
        };
    }
    Chain {
        open,
        next_at: None,
    }
}

fn chains<'a>(
    state: &'a State,
    incident: &'a Incident,
    now: Timestamp,
) -> impl Iterator<Item = Chain<'a>> {
    let pages = incident.pages.iter().filter(|page| !page.stale);
    pages.flat_map(move |page| {
        page.levels.iter().flat_map(move |level| {
            let contacts = level.recipients.iter();
            contacts.map(move |contact| chain(state, incident, page, level, contact, now))
        })
    })
}

/// Messages about an incident that nobody has.
pub(crate) fn rows<'a>(state: &'a State, incident: &'a Incident, now: Timestamp) -> Vec<Row<'a>> {
    chains(state, incident, now)
        .flat_map(|it| it.open)
        .collect()
}

/// When more channels are begun.
pub(crate) fn changes_at(state: &State, incident: &Incident, now: Timestamp) -> Vec<Timestamp> {
    chains(state, incident, now)
        .filter_map(|it| it.next_at)
        .collect()
}
