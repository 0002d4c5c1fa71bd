//! Which messages should be on their way.
//!
//! Invariant: a level, not an edge. The same state at the same time gives the
//! same messages with the same ids; a message leaves when its outcome is
//! journaled, its incident is acknowledged, or nobody needs it any more.

use std::collections::BTreeMap;

use model::incident::{Channel, IncidentId, Notice, Urgency};
use model::{ContactName, Millis, Timestamp};

use super::chain::{Row, channels, rows};
use super::{hushed, id_of, weekly, words};
use crate::state::{ContactState, State};

/// A contact is sent at most so many pages within [`RATE_WITHIN`]: who reads more reads none. The rest is put together
/// in one message that says how many there are.
pub const RATE_MAX: usize = 10;
/// See [`RATE_MAX`]; also the time between two such messages.
pub const RATE_WITHIN: Millis = Millis::seconds(600);
/// That an incident is over is worth telling for so long.
pub(crate) const OVER_WITHIN: Millis = Millis::seconds(3600);

/// A message to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Stable over every replay: the idempotency key.
    pub id: String,
    /// What it is, for [`model::incident::IncidentEvent::Notified`].
    pub notice: Notice,
    /// To whom.
    pub contact: ContactName,
    /// By which way.
    pub channel: Channel,
    /// Whether it may wake them.
    pub urgency: Urgency,
    /// In one line.
    pub subject: String,
    /// In a few.
    pub body: String,
}

/// Every message that should be on its way, in the order of their importance for each contact.
pub fn due(state: &State, now: Timestamp) -> Vec<Message> {
    let now = state.time(now);
    let mut by_contact: BTreeMap<&ContactName, Vec<Row<'_>>> = BTreeMap::new();
    for incident in state.open() {
        if incident.held.is_none() && !hushed(state, incident, now) {
            for row in rows(state, incident, now) {
                by_contact.entry(row.contact).or_default().push(row);
            }
        }
    }
    let mut messages = Vec::new();
    for (contact, mut rows) in by_contact {
        rows.sort_by(|a, b| (b.urgency, &a.notice).cmp(&(a.urgency, &b.notice)));
        let known = state.contacts.get(contact);
        let room = RATE_MAX.saturating_sub(known.map_or(0, |it| it.recent(now).count()));
        let held_back = rows.split_off(room.min(rows.len()));
        messages.extend(rows.into_iter().map(|row| words::page(state, row, now)));
        messages.extend(digest(state, contact, &held_back, now));
    }
    messages.extend(over(state, now));
    messages.extend(weekly::messages(state, now));
    messages
}

impl ContactState {
    /// When pages were sent within [`RATE_WITHIN`].
    pub(crate) fn recent(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let sent = self.sent.iter().copied();
        sent.filter(move |at| RATE_WITHIN.after(*at) > now)
    }
}

fn digest(
    state: &State,
    contact: &ContactName,
    held_back: &[Row<'_>],
    now: Timestamp,
) -> Option<Message> {
    let worst = held_back.iter().map(|row| row.urgency).max()?;
    let known = state.contacts.get(contact);
    let last = known.and_then(|it| it.digest_at);
    if last.is_some_and(|at| RATE_WITHIN.after(at) > now) {
        return None;
    }
    let number = known.map_or(0, |it| it.digests) + 1;
    let (name, channel) = channels(state, contact, worst).next()?;
    let ids = held_back.iter().filter_map(|row| row.notice.incident());
    let ids: std::collections::BTreeSet<IncidentId> = ids.collect();
    let notice = Notice::Digest {
        number,
        channel: name,
    };
    let (subject, body) = words::digest(state, ids.into_iter());
    Some(Message {
        id: id_of(&notice, contact),
        notice,
        contact: contact.clone(),
        channel: channel.clone(),
        urgency: worst,
        subject,
        body,
    })
}

/// That it is over, to whoever was asked.
fn over(state: &State, now: Timestamp) -> Vec<Message> {
    let mut messages = Vec::new();
    for incident in state.incidents.values() {
        let Some(over) = incident.over.as_ref() else {
            continue;
        };
        if over.merged_into.is_some() || OVER_WITHIN.after(over.at) <= now {
            continue;
        }
        for contact in &incident.paged {
            let Some((name, channel)) = channels(state, contact, Urgency::Low).next() else {
                continue;
            };
            let notice = Notice::Over {
                incident: incident.id,
                reopened: incident.reopened,
                channel: name,
            };
            let id = id_of(&notice, contact);
            if incident.told.contains_key(&id) {
                continue;
            }
            let (subject, body) = words::over(state, incident, over, contact);
            messages.push(Message {
                id,
                notice,
                contact: contact.clone(),
                channel: channel.clone(),
                urgency: Urgency::Low,
                subject,
                body,
            });
        }
    }
    messages
}
