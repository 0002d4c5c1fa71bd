//! Each contact is tested once a week: a channel that nobody tried since spring is no channel.
//!
//! Invariant: a test begins within an hour after its time or not at all, so
//! that a control plane that was down for a night tests nobody at four.

use std::collections::BTreeMap;

use model::incident::{Contact, Day, IncidentEvent, Notice, Outcome, TestPages, Urgency};
use model::refusal::Code;
use model::{ContactName, Millis, Refusal, Timestamp};

use super::chain::channels;
use super::due::Message;
use super::id_of;
use crate::commands::contact_known;
use crate::oncall::zone;
use crate::state::{ContactState, State};

/// A test begins so late at most, and its messages are worth sending for so long.
const WITHIN: Millis = Millis::seconds(3600);
/// Somebody is tested again so long after a test at the earliest: a newer one ends the messages of the older.
const AGAIN_AFTER: Millis = Millis::seconds(60);

/// How tests of a contact went, of those that are remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestRate {
    /// Tests whose time is over.
    pub tests: u32,
    /// Of these, tests in which at least one channel showed that the message arrived.
    pub reached: u32,
    /// By channel (`0sms`): how often it showed that, of how many tests.
    pub channels: BTreeMap<String, (u32, u32)>,
}

/// How tests of a contact went.
pub fn test_rate(contact: &ContactState, now: Timestamp) -> TestRate {
    let mut rate = TestRate::default();
    let over = contact.tests.iter().filter(|it| WITHIN.after(it.at) <= now);
    for test in over {
        let arrived = |outcome: &Outcome| *outcome == Outcome::Delivered;
        rate.tests += 1;
        rate.reached += u32::from(test.told.values().any(|told| arrived(&told.outcome)));
        for (id, told) in &test.told {
            let name = id.split([':', '@']).nth(2).unwrap_or_default();
            let entry = rate.channels.entry(name.to_owned()).or_default();
            entry.0 += u32::from(arrived(&told.outcome));
            entry.1 += 1;
        }
    }
    rate
}

/// Tests whose time has come.
pub(crate) fn begun(state: &State, now: Timestamp) -> Vec<IncidentEvent> {
    if state.setup.tests.off {
        return Vec::new();
    }
    let contacts = state.setup.contacts.iter();
    let due = contacts.filter_map(|(name, contact)| {
        let slot = slots(&state.setup.tests, contact, now)?
            .into_iter()
            .rfind(|slot| *slot <= now)?;
        let last = state.contacts.get(name).and_then(|it| it.tests.last());
        let missed = WITHIN.after(slot) <= now;
        let done = last.is_some_and(|last| last.at >= slot);
        (!missed && !done).then(|| IncidentEvent::TestPaged {
            contact: name.clone(),
            number: last.map_or(0, |last| last.number) + 1,
        })
    });
    due.collect()
}

/// A person has a contact tested now, beside the weekly tests.
///
/// # Errors
/// When there is no such contact, or it was tested a moment ago.
pub fn test_now(
    state: &State,
    contact: ContactName,
    now: Timestamp,
) -> Result<Vec<IncidentEvent>, Refusal> {
    let contact = contact_known(state, contact)?;
    let last = state.contacts.get(&contact).and_then(|it| it.tests.last());
    if last.is_some_and(|last| state.time(now) < AGAIN_AFTER.after(last.at)) {
        let words = format!("{contact} was tested less than {AGAIN_AFTER} ago");
        let next = "See what arrived, then try again.";
        return Err(Refusal::new(Code::BadRequest, words, next));
    }
    let number = last.map_or(0, |last| last.number) + 1;
    Ok(vec![IncidentEvent::TestPaged { contact, number }])
}

/// When the next test of a contact begins.
pub(crate) fn next_slot(state: &State, contact: &Contact, now: Timestamp) -> Option<Timestamp> {
    let tests = &state.setup.tests;
    let wanted = !tests.off;
    let mut slots = slots(tests, contact, now).filter(|_| wanted)?.into_iter();
    slots.find(|slot| *slot > now)
}

/// When the messages of a contact's newest test end.
pub(crate) fn rows_end_at(contact: &ContactState) -> Option<Timestamp> {
    contact.tests.last().map(|test| WITHIN.after(test.at))
}

/// Times of tests around now, by the zone where the contact lives.
fn slots(tests: &TestPages, contact: &Contact, now: Timestamp) -> Option<Vec<Timestamp>> {
    let zone = zone::find(&contact.zone)?;
    let today = zone.to_datetime(now).date();
    let days = (-8..=8).filter_map(|day| today.checked_add(jiff::Span::new().days(day)).ok());
    let wanted = days.filter(|day| Day::from(day.weekday()) == tests.day);
    let slots = wanted.map(|day| zone::instant(&zone, day, tests.time));
    Some(slots.collect())
}

/// Messages of tests that are under way.
pub(super) fn messages(state: &State, now: Timestamp) -> Vec<Message> {
    let mut messages = Vec::new();
    for (name, contact) in &state.contacts {
        let Some(test) = contact.tests.last() else {
            continue;
        };
        if WITHIN.after(test.at) <= now {
            continue;
        }
        for (label, channel) in channels(state, name, Urgency::High) {
            let notice = Notice::Test {
                number: test.number,
                channel: label,
            };
            let id = id_of(&notice, name);
            if !test.told.contains_key(&id) {
                messages.push(message(id, notice, name, channel));
            }
        }
    }
    messages
}

fn message(
    id: String,
    notice: Notice,
    contact: &ContactName,
    channel: &model::incident::Channel,
) -> Message {
    Message {
        id,
        notice,
        contact: contact.clone(),
        channel: channel.clone(),
        urgency: Urgency::Low,
        subject: "[test] This is a test".to_owned(),
        body: "Nothing is wrong. It shows that pages reach you by this channel.".to_owned(),
    }
}
