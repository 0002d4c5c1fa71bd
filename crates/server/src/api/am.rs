//! Alertmanager's API v2 under `/am`, for Prometheus and `amtool`.
//!
//! What real clients expect was tried with Prometheus 2.42 and amtool 0.25: exactly
//! 200 for alerts, arrays that are never null, every field that amtool reads there.
//!
//! Invariant: alerts that can be read are in the journal before they are answered,
//! also when others of the same batch can't be read.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use incident::AlertState;
use incident::alerts::matchers::{self, Matchers};
use incident::alerts::{self, Incoming, Leases, Standing, standing};
use model::incident::{Fingerprint, Matcher, Operator};
use model::{Role, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

mod silences;

use super::alerts::take;
use super::answer::Bearer;
use super::{App, No};
use crate::control::ControlError;

/// The version that is spoken; amtool warns if its own differs in major or minor.
const VERSION: &str = "0.25.0";
/// The one receiver: who is told is declared elsewhere.
const RECEIVER: &str = "plimsoll";
/// Enough of a configuration for `amtool config routes`.
const CONFIG: &str = "route:\n  receiver: plimsoll\nreceivers:\n- name: plimsoll\n";

/// The routes. They are Alertmanager's, and documented with it.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/am/api/v2/alerts", get(get_alerts).post(post_alerts))
        .route("/am/api/v2/alerts/groups", get(get_groups))
        .route(
            "/am/api/v2/silences",
            get(silences::list).post(silences::set),
        )
        .route(
            "/am/api/v2/silence/{id}",
            get(silences::show).delete(silences::expire),
        )
        .route("/am/api/v2/receivers", get(get_receivers))
        .route("/am/api/v2/status", get(get_status))
        .route("/am/-/healthy", get(ok))
        .route("/am/-/ready", get(ok))
}

/// An error as Alertmanager writes it.
fn error(status: StatusCode, code: u16, message: impl Into<String>) -> Response {
    let body = json!({"code": code, "message": message.into()});
    (status, Json(body)).into_response()
}

/// A validation error, which is a bare string there.
fn invalid(message: impl Into<String>) -> Response {
    (StatusCode::BAD_REQUEST, Json(message.into())).into_response()
}

fn refused(control: ControlError) -> Response {
    match control {
        ControlError::Refused(refusal) => invalid(refusal.message),
        other => No::from(other).into_response(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: Option<Timestamp>,
    #[serde(default)]
    ends_at: Option<Timestamp>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

/// Takes alerts.
async fn post_alerts(
    State(app): State<App>,
    bearer: Bearer,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, No> {
    // Prometheus has a token for machines; a person with `amtool` has one of their own.
    bearer
        .may(&app, Role::Agent)
        .or_else(|_| bearer.may(&app, Role::Author))?;
    let media = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media = media.unwrap_or_default();
    if !media.to_ascii_lowercase().starts_with("application/json") {
        let words =
            format!("unsupported media type {media:?}, only [application/json] are allowed");
        return Ok(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, 415, words));
    }
    let posted: Vec<Posted> = match serde_json::from_slice(&body) {
        Ok(posted) => posted,
        Err(reason) => {
            let words = format!("parsing alerts body failed: {reason}");
            return Ok(error(StatusCode::BAD_REQUEST, 400, words));
        }
    };
    if let Some(at) = posted.iter().position(|it| it.labels.is_none()) {
        let words = format!("{at}.labels in body is required");
        return Ok(error(StatusCode::UNPROCESSABLE_ENTITY, 602, words));
    }
    let batch: Vec<Incoming> = posted
        .into_iter()
        .map(|it| Incoming {
            labels: it.labels.unwrap_or_default(),
            annotations: it.annotations,
            starts_at: it.starts_at.filter(|at| at.as_second() > 0),
            // Go's zero time stands for none.
            ends_at: it.ends_at.filter(|at| at.as_second() > 0),
            generator_url: it.generator_url,
            source: "alertmanager".into(),
        })
        .collect();
    // What can't be an alert can't be one in any state, so the control loop need not be asked.
    let (nothing, nobody) = (incident::State::default(), Leases::default());
    let unreadable = alerts::intake(&nothing, &nobody, &batch, Timestamp::now()).invalid;
    if let Err(failed) = take(&app, batch).await {
        return Ok(refused(failed));
    }
    let words: Vec<String> = unreadable.iter().map(|(_, why)| why.to_string()).collect();
    Ok(match words.is_empty() {
        true => StatusCode::OK.into_response(),
        false => invalid(words.join("; ")),
    })
}

/// What a request for alerts or silences leaves out.
#[derive(Debug)]
struct Filter {
    /// None: every alert.
    matchers: Option<Matchers>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    unprocessed: bool,
    /// Nobody but the one receiver is ever asked for with success.
    receiver: bool,
}

impl Filter {
    fn read(query: Option<&str>) -> Result<Filter, String> {
        let mut wanted = Vec::new();
        let mut flags = BTreeMap::new();
        let mut receiver = true;
        let pairs = form_pairs(query.unwrap_or_default());
        for (name, value) in pairs {
            match name.as_str() {
                "filter" => {
                    wanted.push(matchers::parse(&value)?);
                }
                "receiver" => receiver = names_us(&value),
                "active" | "silenced" | "inhibited" | "unprocessed" => {
                    flags.insert(name, value == "true");
                }
                _ => {}
            }
        }
        let flag = |name: &str| flags.get(name).copied().unwrap_or(true);
        Ok(Filter {
            matchers: (!wanted.is_empty()).then(|| Matchers::of(&wanted)),
            active: flag("active"),
            silenced: flag("silenced"),
            inhibited: flag("inhibited"),
            unprocessed: flag("unprocessed"),
            receiver,
        })
    }

    fn lets(&self, shown: &Shown) -> bool {
        let state = match shown.state {
            "active" => self.active,
            "unprocessed" => self.unprocessed,
            _ => true,
        };
        let silenced = shown.silenced_by.is_empty() || self.silenced;
        let inhibited = shown.inhibited_by.is_empty() || self.inhibited;
        self.receiver && state && silenced && inhibited
    }
}

/// An anchored expression for the receiver's name.
fn names_us(expression: &str) -> bool {
    let asked = Matcher {
        name: "receiver".into(),
        operator: Operator::Regex,
        value: expression.to_owned(),
    };
    let ours = [("receiver".to_owned(), RECEIVER.to_owned())];
    model::incident::Labels::new(ours).is_ok_and(|labels| Matchers::of(&[asked]).hold(&labels))
}

fn form_pairs(query: &str) -> Vec<(String, String)> {
    serde_urlencoded::from_str(query).unwrap_or_default()
}

/// An alert as it is shown.
struct Shown {
    state: &'static str,
    silenced_by: Vec<String>,
    inhibited_by: Vec<String>,
    labels: Value,
    group: String,
    json: Value,
}

fn shown(
    state: &incident::State,
    leases: &Leases,
    id: Fingerprint,
    alert: &AlertState,
    now: Timestamp,
) -> Shown {
    // An alert that is part of an incident may be silenced since.
    let silencing = state.silencing(alert, now);
    let silenced_by: Vec<String> = silencing.iter().map(|it| it.id.clone()).collect();
    let stands = standing(state, id, now);
    let inhibited_by: Vec<String> = match &stands {
        Some(Standing::Inhibited(incident)) => vec![format!("incident-{incident}")],
        _ => Vec::new(),
    };
    let quiet = !silenced_by.is_empty() || !inhibited_by.is_empty();
    let word = match stands {
        _ if quiet => "suppressed",
        Some(Standing::Unassigned) => "unprocessed",
        Some(_) | None => "active",
    };
    let labels: BTreeMap<&str, &str> = alert.alert.labels.iter().collect();
    let labels = json!(labels);
    let json = json!({
        "annotations": alert.alert.annotations,
        "startsAt": alert.alert.starts_at,
        "updatedAt": alert.fired_at,
        "endsAt": leases.until(id, alert),
        "fingerprint": id,
        "generatorURL": alert.alert.generator_url,
        "labels": labels,
        "receivers": [{"name": RECEIVER}],
        "status": {
            "state": word,
            "silencedBy": silenced_by,
            "inhibitedBy": inhibited_by,
            "mutedBy": [],
        },
    });
    Shown {
        state: word,
        silenced_by,
        inhibited_by,
        labels,
        group: alert.group.clone(),
        json,
    }
}

async fn firing(app: &App, filter: Filter) -> Vec<Shown> {
    let read = app.control.read(move |state, watch, now| {
        let known = &state.incidents;
        let firing = known.firing();
        let wanted = firing.filter(|(_, alert)| {
            let matchers = filter.matchers.as_ref();
            matchers.is_none_or(|it| it.hold(&alert.alert.labels))
        });
        wanted
            .map(|(id, alert)| shown(known, watch.leases(), id, alert, now))
            .filter(|shown| filter.lets(shown))
            .collect()
    });
    read.await
}

/// Alerts that fire.
async fn get_alerts(
    State(app): State<App>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Response, No> {
    bearer.may(&app, Role::Viewer)?;
    let filter = match Filter::read(query.as_deref()) {
        Ok(filter) => filter,
        Err(why) => return Ok(error(StatusCode::BAD_REQUEST, 400, why)),
    };
    let alerts = firing(&app, filter).await;
    let alerts: Vec<Value> = alerts.into_iter().map(|shown| shown.json).collect();
    Ok(Json(alerts).into_response())
}

/// The same by group.
async fn get_groups(
    State(app): State<App>,
    bearer: Bearer,
    RawQuery(query): RawQuery,
) -> Result<Response, No> {
    bearer.may(&app, Role::Viewer)?;
    let filter = match Filter::read(query.as_deref()) {
        Ok(filter) => filter,
        Err(why) => return Ok(error(StatusCode::BAD_REQUEST, 400, why)),
    };
    let declared = app
        .control
        .read(|state, _, _| state.incidents.setup.group_by.clone());
    let mut declared = declared.await;
    if declared.is_empty() {
        declared = vec!["service".into(), "alertname".into()];
    }
    let mut groups: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for shown in firing(&app, filter).await {
        let named = declared.iter().filter_map(|name| {
            let value = shown.labels.get(name)?.clone();
            Some((name.clone(), value))
        });
        let labels: BTreeMap<String, Value> = named.collect();
        let group = groups
            .entry(shown.group)
            .or_insert_with(|| (json!(labels), Vec::new()));
        group.1.push(shown.json);
    }
    let groups = groups.into_values().map(|(labels, alerts)| {
        json!({"labels": labels, "receiver": {"name": RECEIVER}, "alerts": alerts})
    });
    Ok(Json(groups.collect::<Vec<_>>()).into_response())
}

/// The one receiver.
async fn get_receivers(State(app): State<App>, bearer: Bearer) -> Result<Response, No> {
    bearer.may(&app, Role::Viewer)?;
    Ok(Json(json!([{"name": RECEIVER}])).into_response())
}

/// What amtool shows of an Alertmanager.
async fn get_status(State(app): State<App>, bearer: Bearer) -> Result<Response, No> {
    bearer.may(&app, Role::Viewer)?;
    let since = app.control.read(|_, watch, _| watch.since()).await;
    let answer = json!({
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {
            "version": VERSION,
            "revision": env!("CARGO_PKG_VERSION"),
            "branch": "plimsoll",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "uptime": since,
        "config": {"original": CONFIG},
    });
    Ok(Json(answer).into_response())
}

/// What load balancers and Prometheus' own checks ask.
async fn ok() -> &'static str {
    "OK"
}
