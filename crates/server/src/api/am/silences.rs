//! Silences, as Alertmanager's clients set, list and end them.
//!
//! Invariant: a silence is ended, never deleted.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{IncidentInput, Input};
use model::incident::{Matcher, Operator, Silence};
use model::refusal::Code;
use model::{Role, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Bearer, No, error, form_pairs, refused};
use crate::control::ControlError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedSilence {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<PostedMatcher>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    created_by: String,
    #[serde(default)]
    comment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedMatcher {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

/// Sets a silence, or changes one.
pub(super) async fn set(
    State(app): State<App>,
    bearer: Bearer,
    body: Bytes,
) -> Result<Response, No> {
    let by = bearer.may(&app, Role::Author)?;
    let posted: PostedSilence = match serde_json::from_slice(&body) {
        Ok(posted) => posted,
        Err(reason) => {
            let words = format!("parsing silence body failed: {reason}");
            return Ok(error(StatusCode::BAD_REQUEST, 400, words));
        }
    };
    if posted.matchers.is_empty() {
        let words = "matchers in body should have at least 1 items";
        return Ok(error(StatusCode::UNPROCESSABLE_ENTITY, 612, words));
    }
    let matchers = posted.matchers.into_iter().map(|it| Matcher {
        name: it.name,
        value: it.value,
        operator: match (it.is_regex, it.is_equal) {
            (false, true) => Operator::Equal,
            (false, false) => Operator::NotEqual,
            (true, true) => Operator::Regex,
            (true, false) => Operator::NotRegex,
        },
    });
    let now = Timestamp::now();
    let given = posted.id.filter(|id| !id.is_empty());
    let known = match given.clone() {
        Some(id) => {
            let read = app
                .control
                .read(move |state, _, _| state.incidents.silences.contains_key(&id));
            read.await
        }
        None => true,
    };
    if !known {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    let silence = Silence {
        id: match given {
            Some(id) => id,
            None => uuid()?,
        },
        matchers: matchers.collect(),
        starts_at: posted.starts_at.max(now),
        ends_at: posted.ends_at,
        created_by: posted.created_by,
        comment: posted.comment,
    };
    let id = silence.id.clone();
    let input = Input::Incident(Box::new(IncidentInput::Silence { by, silence }));
    Ok(match app.control.decide(input).await {
        Ok(_) => Json(json!({"silenceID": id})).into_response(),
        Err(failed) => refused(failed),
    })
}

/// Version 4 of RFC 9562.
fn uuid() -> Result<String, No> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        No(model::Refusal::new(
            Code::Overloaded,
            format!("no randomness from the system: {error}"),
            "Try again in a moment.",
        ))
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    Ok(format!("{a}-{b}-{c}-{d}-{e}"))
}

fn silence_json(silence: &Silence, now: Timestamp) -> Value {
    let state = if now >= silence.ends_at {
        "expired"
    } else if now < silence.starts_at {
        "pending"
    } else {
        "active"
    };
    let matchers = silence.matchers.iter().map(|it| {
        json!({
            "name": it.name,
            "value": it.value,
            "isRegex": matches!(it.operator, Operator::Regex | Operator::NotRegex),
            "isEqual": matches!(it.operator, Operator::Equal | Operator::Regex),
        })
    });
    json!({
        "id": silence.id,
        "status": {"state": state},
        "updatedAt": silence.starts_at,
        "matchers": matchers.collect::<Vec<_>>(),
        "startsAt": silence.starts_at,
        "endsAt": silence.ends_at,
        "createdBy": silence.created_by,
        "comment": silence.comment,
    })
}

/// Silences, also those that ended.
pub(super) async fn list(
    State(app): State<App>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Response, No> {
    bearer.may(&app, Role::Viewer)?;
    let pairs = form_pairs(query.as_deref().unwrap_or_default());
    let wanted: BTreeSet<String> = pairs
        .into_iter()
        .filter(|(name, _)| name == "filter")
        .map(|(_, text)| text.replace(['"', ' '], ""))
        .collect();
    let silences = app.control.read(move |state, _, now| {
        let silences = state.incidents.silences.values();
        // Alertmanager compares a filter with a silence's own matchers.
        let has = |silence: &&Silence| {
            let own: BTreeSet<String> = silence
                .matchers
                .iter()
                .map(|it| {
                    format!(
                        "{}{}{}",
                        it.name,
                        it.operator.as_str(),
                        it.value.replace(['"', ' '], "")
                    )
                })
                .collect();
            wanted.is_subset(&own)
        };
        let shown = silences.filter(has).map(|it| silence_json(it, now));
        shown.collect::<Vec<_>>()
    });
    Ok(Json(silences.await).into_response())
}

fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| match dashes.contains(&at) {
                true => byte == b'-',
                false => byte.is_ascii_hexdigit(),
            })
}

fn no_uuid(id: &str) -> Response {
    let words = format!("silenceID in path must be of type uuid: {id:?}");
    error(StatusCode::UNPROCESSABLE_ENTITY, 601, words)
}

/// One silence.
pub(super) async fn show(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Response, No> {
    bearer.may(&app, Role::Viewer)?;
    if !is_uuid(&id) {
        return Ok(no_uuid(&id));
    }
    let found = app.control.read(move |state, _, now| {
        let silence = state.incidents.silences.get(&id)?;
        Some(silence_json(silence, now))
    });
    Ok(match found.await {
        Some(silence) => Json(silence).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

/// Ends a silence; it stays to be seen.
pub(super) async fn expire(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Response, No> {
    let by = bearer.may(&app, Role::Author)?;
    if !is_uuid(&id) {
        return Ok(no_uuid(&id));
    }
    let input = Input::Incident(Box::new(IncidentInput::Expire { by, id }));
    Ok(match app.control.decide(input).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(ControlError::Refused(refusal)) if refusal.code == Code::NotFound => {
            StatusCode::NOT_FOUND.into_response()
        }
        Err(failed) => refused(failed),
    })
}
