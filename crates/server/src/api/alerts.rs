//! Alerts from other programs: taken in, written down, and only then answered.
//!
//! Alertmanager's webhook (version 4) and PagerDuty's Events API v2. Senders of the
//! second know no bearer tokens: their `routing_key` is a token of this control plane.
//!
//! Invariant: a sender that can be read is never told to come back later because of
//! how much it sends.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engine::{IncidentInput, Input};
use incident::alerts::{Incoming, LEASE_MAX};
use incident::commands::Ask;
use model::incident::{IncidentId, Via};
use model::{Role, Timestamp};
use serde::Deserialize;
use serde_json::json;
use wire::api::{Done, Problem};

use super::App;
use super::answer::{Bearer, Body, No};
use crate::control::ControlError;

/// Longest `dedup_key` (PagerDuty's own limit).
const DEDUP_BYTES_MAX: usize = 255;
/// Label that tells an event of PagerDuty's kind from others.
const DEDUP: &str = "dedup_key";

/// Writes a batch down; then its leases are renewed.
pub(super) async fn take(app: &App, batch: Vec<Incoming>) -> Result<(), ControlError> {
    let input = IncidentInput::Alerts(batch.clone());
    app.control.decide(Input::Incident(Box::new(input))).await?;
    // Lost, the next repetition renews them.
    app.control
        .observe_with(move |state, watch, now| watch.renew(state, &batch, now));
    Ok(())
}

/// Alertmanager's notification, as far as it is read; other fields come and go with its versions.
#[derive(Debug, Deserialize)]
pub(crate) struct Notification {
    alerts: Vec<Notified>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notified {
    #[serde(default)]
    status: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

/// Takes notifications of an Alertmanager (`webhook_configs`). Each alert's own status counts.
#[utoipa::path(post, path = "/v1/alerts/webhook", tag = "incidents", request_body = Object,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn webhook(
    State(app): State<App>,
    bearer: Bearer,
    Body(notification): Body<Notification>,
) -> Result<Json<Done>, No> {
    bearer.may(&app, Role::Agent)?;
    let now = Timestamp::now();
    let batch = notification.alerts.into_iter().map(|alert| Incoming {
        // What fires says `0001-01-01` as its end: it fires until it is said to be resolved.
        ends_at: match alert.status.as_str() {
            "resolved" => Some(alert.ends_at.unwrap_or(now).min(now)),
            _ => Some(LEASE_MAX.after(now)),
        },
        labels: alert.labels,
        annotations: alert.annotations,
        starts_at: alert.starts_at.map(|at| at.min(now)),
        generator_url: alert.generator_url,
        source: "alertmanager webhook".into(),
    });
    let batch: Vec<Incoming> = batch.collect();
    let count = batch.len();
    take(&app, batch).await?;
    Ok(Json(Done {
        detail: format!("{count} alerts taken"),
    }))
}

/// An event as PagerDuty's senders write it.
#[derive(Debug, Deserialize)]
struct Event {
    routing_key: String,
    event_action: Action,
    #[serde(default)]
    dedup_key: Option<String>,
    #[serde(default)]
    payload: Option<Payload>,
    #[serde(default)]
    client_url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Trigger,
    Acknowledge,
    Resolve,
}

#[derive(Debug, Deserialize)]
struct Payload {
    summary: String,
    source: String,
    severity: String,
    #[serde(default)]
    timestamp: Option<Timestamp>,
    #[serde(default)]
    component: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    class: Option<String>,
}

/// PagerDuty's Events API v2: trigger, acknowledge, resolve. `routing_key` is a token.
#[utoipa::path(post, path = "/v2/enqueue", tag = "incidents", request_body = Object,
    responses((status = 202, body = Object)))]
pub(crate) async fn enqueue(State(app): State<App>, body: Bytes) -> Response {
    let event: Event = match serde_json::from_slice(&body) {
        Ok(event) => event,
        Err(error) => return invalid(&[error.to_string()]),
    };
    let access = app.boards.access();
    let by = match access.bearer(Some(&event.routing_key), Role::Agent) {
        Ok(by) => by,
        Err(refusal) => return invalid(&[format!("routing_key: {}", refusal.message)]),
    };
    let Some(key) = dedup_key(&event) else {
        return invalid(&["dedup_key is missing or too long".into()]);
    };
    let done = match event.event_action {
        Action::Trigger => match triggered(&event, &key) {
            Ok(alert) => take(&app, vec![alert]).await,
            Err(problems) => return invalid(&problems),
        },
        Action::Resolve => resolve(&app, &key).await,
        Action::Acknowledge => acknowledge(&app, &key, by).await,
    };
    match done {
        Ok(()) => {
            let answer =
                json!({"status": "success", "message": "Event processed", "dedup_key": key});
            (StatusCode::ACCEPTED, Json(answer)).into_response()
        }
        // Its senders come back after 429 and 5xx, and give up after 400.
        Err(error) => {
            let answer = json!({"status": "throttle exceeded", "message": error.to_string()});
            (StatusCode::TOO_MANY_REQUESTS, Json(answer)).into_response()
        }
    }
}

/// The sender's key; a trigger without one gets one of its own from what it says.
fn dedup_key(event: &Event) -> Option<String> {
    let given = event.dedup_key.clone().filter(|key| !key.is_empty());
    let key = given.or_else(|| {
        let payload = event.payload.as_ref()?;
        let text = format!("{}\n{}", payload.source, payload.summary);
        (event.event_action == Action::Trigger)
            .then(|| blake3::hash(text.as_bytes()).to_hex()[..32].to_owned())
    })?;
    (key.len() <= DEDUP_BYTES_MAX).then_some(key)
}

fn triggered(event: &Event, key: &str) -> Result<Incoming, Vec<String>> {
    let payload = event.payload.as_ref();
    let payload = payload.ok_or_else(|| vec!["payload is missing".to_owned()])?;
    let mut problems = Vec::new();
    for (name, value) in [("summary", &payload.summary), ("source", &payload.source)] {
        if value.trim().is_empty() {
            problems.push(format!("payload.{name} is empty"));
        }
    }
    let severities = ["critical", "error", "warning", "info"];
    if !severities.contains(&payload.severity.as_str()) {
        problems.push(format!(
            "payload.severity is none of {}",
            severities.join(", ")
        ));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let now = Timestamp::now();
    let mut labels = BTreeMap::from([
        (
            "alertname".to_owned(),
            payload.class.clone().unwrap_or_else(|| "Event".to_owned()),
        ),
        (DEDUP.to_owned(), key.to_owned()),
        ("severity".to_owned(), payload.severity.clone()),
        ("source".to_owned(), payload.source.clone()),
    ]);
    let service = payload.component.iter().map(|it| ("service", it));
    let group = payload.group.iter().map(|it| ("group", it));
    for (name, value) in service.chain(group) {
        labels.insert(name.to_owned(), value.clone());
    }
    Ok(Incoming {
        labels,
        annotations: [("summary".to_owned(), payload.summary.clone())].into(),
        starts_at: payload.timestamp.map(|at| at.min(now)),
        // Nobody repeats it: it fires until it is resolved.
        ends_at: Some(LEASE_MAX.after(now)),
        generator_url: event.client_url.clone().unwrap_or_default(),
        source: "pagerduty".into(),
    })
}

/// What fires under this key ends now. Under a key that nobody knows nothing does.
async fn resolve(app: &App, key: &str) -> Result<(), ControlError> {
    let wanted = key.to_owned();
    let batch = app.control.read(move |state, _, now| {
        let firing = state.incidents.firing();
        let ours = firing.filter(|(_, it)| it.alert.labels.get(DEDUP) == Some(&wanted));
        let ended = ours.map(|(_, it)| Incoming {
            labels: it.alert.labels.clone().into(),
            starts_at: Some(it.alert.starts_at.min(now)),
            ends_at: Some(now),
            source: it.alert.source.clone(),
            ..Incoming::default()
        });
        ended.collect::<Vec<_>>()
    });
    take(app, batch.await).await
}

async fn acknowledge(app: &App, key: &str, by: model::Actor) -> Result<(), ControlError> {
    let wanted = key.to_owned();
    let found = app.control.read(move |state, _, _| {
        let mut firing = state.incidents.firing();
        let ours = firing.find(|(_, it)| it.alert.labels.get(DEDUP) == Some(&wanted));
        ours.and_then(|(_, it)| it.incident)
    });
    let Some(incident): Option<IncidentId> = found.await else {
        return Ok(());
    };
    let ask = Ask::Acknowledge {
        via: Via::Api,
        for_ms: None,
    };
    let about = IncidentInput::About { by, incident, ask };
    match app.control.decide(Input::Incident(Box::new(about))).await {
        // It was over in the meantime.
        Ok(_) | Err(ControlError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn invalid(problems: &[String]) -> Response {
    let answer = json!({"status": "invalid event", "message": "Event object is invalid", "errors": problems});
    (StatusCode::BAD_REQUEST, Json(answer)).into_response()
}
