//! `action-without-owner` and `action-without-due`.
//!
//! Invariant: an action that is done needs neither.

use super::{Code, Finding};
use crate::actions::Field;
use crate::reading::Reading;

pub(super) fn find(reading: &Reading) -> Vec<Finding> {
    let mut found = Vec::new();
    for action in reading.actions.iter().filter(|action| !action.done) {
        if action.owner == Field::Empty {
            let message = "this action has no owner, where others or the form have one".to_owned();
            let repair = "name one person or team";
            found.push(Finding::new(
                Code::ActionWithoutOwner,
                action.place,
                message,
                repair,
            ));
        }
        if action.due == Field::Empty {
            let message = "this action has no date, where others or the form have one".to_owned();
            let repair = "say until when, or that it is done";
            found.push(Finding::new(
                Code::ActionWithoutDue,
                action.place,
                message,
                repair,
            ));
        }
    }
    found
}
