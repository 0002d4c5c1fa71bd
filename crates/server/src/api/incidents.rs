//! Incidents, for people and their programs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use axum::response::{Html, IntoResponse, Response};
use engine::{IncidentInput, Input};
use incident::commands::Ask;
use incident::timeline::{Kind, Timeline};
use incident::{Incident, escalation};
use maud::{DOCTYPE, Markup, html};
use model::incident::{IncidentId, Via};
use model::refusal::Code;
use model::{Actor, Refusal, Role, Seq, Timestamp};
use wire::api::{IncidentView, IncidentWord, OpenIncident, Problem, Seen, TimelineEntry};

use super::App;
use super::answer::{Bearer, Body, No, Path, bad_request};

/// Incidents shown in a list, the newest first.
const LISTED_MAX: usize = 200;
/// Records of the journal that are read at a time for a timeline.
const STEP: usize = 1000;
/// Most records read for one timeline: more is read with `plimsoll journal tail`.
const RECORDS_MAX: usize = 200_000;

/// Incidents, the newest first.
#[utoipa::path(get, path = "/v1/incidents", tag = "incidents",
    responses((status = 200, body = Vec<IncidentView>), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn list(
    State(app): State<App>,
    bearer: Bearer,
) -> Result<Json<Vec<IncidentView>>, No> {
    bearer.may(&app, Role::Viewer)?;
    let views = app.control.read(|state, _, now| {
        let newest = state.incidents.incidents.values().rev().take(LISTED_MAX);
        newest
            .map(|incident| view(&state.incidents, incident, now))
            .collect::<Vec<_>>()
    });
    Ok(Json(views.await))
}

/// One incident with its timeline.
#[utoipa::path(get, path = "/v1/incidents/{id}", tag = "incidents",
    params(("id" = u64, Path, description = "The incident's number")),
    responses((status = 200, body = IncidentView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn show(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
) -> Result<Json<IncidentView>, No> {
    bearer.may(&app, Role::Viewer)?;
    Ok(Json(one(&app, number(&id)?).await?))
}

/// A person opens an incident.
#[utoipa::path(post, path = "/v1/incidents", tag = "incidents", request_body = OpenIncident,
    responses((status = 200, body = IncidentView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn open(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<OpenIncident>,
) -> Result<Json<IncidentView>, No> {
    let by = bearer.may(&app, Role::Author)?;
    let events = decide(
        &app,
        IncidentInput::Open {
            by,
            service: request.service,
            title: request.title,
            severity: request.severity,
        },
    )
    .await?;
    let opened = events.iter().find_map(|event| match event {
        model::Event::Incident(event) => event.incident(),
        _ => None,
    });
    Ok(Json(one(&app, opened.unwrap_or_default()).await?))
}

/// A person says something about an incident: `{"say":"acknowledge"}`, `note`, `resolve` …
#[utoipa::path(post, path = "/v1/incidents/{id}/words", tag = "incidents", request_body = IncidentWord,
    params(("id" = u64, Path, description = "The incident's number")),
    responses((status = 200, body = IncidentView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn say(
    State(app): State<App>,
    bearer: Bearer,
    Path(id): Path<String>,
    Body(word): Body<IncidentWord>,
) -> Result<Json<IncidentView>, No> {
    let by = bearer.may(&app, Role::Author)?;
    let incident = number(&id)?;
    let ask = asked(word);
    decide(&app, IncidentInput::About { by, incident, ask }).await?;
    Ok(Json(one(&app, incident).await?))
}

/// The page behind a link in a message. It changes nothing: mail scanners open links.
#[utoipa::path(get, path = "/ack/{ticket}", tag = "incidents",
    params(("ticket" = String, Path, description = "From the message")),
    responses((status = 200, content_type = "text/html", body = String)))]
pub(crate) async fn ask_back(State(app): State<App>, Path(ticket): Path<String>) -> Response {
    let Some((incident, contact)) = app.tickets.open(&ticket) else {
        return page(StatusCode::NOT_FOUND, unknown_link());
    };
    let found = app.control.read(move |state, _, _| {
        let incident = state.incidents.incidents.get(&incident)?;
        Some((incident.title.clone(), incident.over.is_some()))
    });
    let Some((title, over)) = found.await else {
        return page(StatusCode::NOT_FOUND, unknown_link());
    };
    let body = html! {
        h1 { (title) }
        @if over {
            p { "Incident " (incident) " is over." }
        } @else {
            p { "Incident " (incident) " waits for " (contact) "." }
            form method="post" { button { "Acknowledge" } }
        }
    };
    page(StatusCode::OK, body)
}

/// Acknowledges, by a button, a push message's action, or a key on the telephone.
#[utoipa::path(post, path = "/ack/{ticket}", tag = "incidents",
    params(("ticket" = String, Path, description = "From the message")),
    responses((status = 200, content_type = "text/html", body = String)))]
pub(crate) async fn acknowledge(State(app): State<App>, Path(ticket): Path<String>) -> Response {
    let Some((incident, contact)) = app.tickets.open(&ticket) else {
        return page(StatusCode::NOT_FOUND, unknown_link());
    };
    let by = Actor {
        name: contact.to_string(),
        role: None,
    };
    let ask = Ask::Acknowledge {
        via: Via::Link,
        for_ms: None,
    };
    match decide(&app, IncidentInput::About { by, incident, ask }).await {
        Ok(_) => {
            let words = html! {
                h1 { "Acknowledged" }
                p { "Incident " (incident) " is yours. You are asked again if it is not over in time." }
            };
            page(StatusCode::OK, words)
        }
        Err(No(refusal)) => {
            let words = html! { h1 { (refusal.message) } p { (refusal.next) } };
            page(StatusCode::CONFLICT, words)
        }
    }
}

pub(super) async fn decide(app: &App, input: IncidentInput) -> Result<Vec<model::Event>, No> {
    let decided = app.control.decide(Input::Incident(Box::new(input))).await?;
    Ok(decided.events)
}

fn number(text: &str) -> Result<IncidentId, No> {
    let number = text
        .parse()
        .map_err(|_| bad_request(format!("{text:?} is no incident's number")))?;
    Ok(IncidentId(number))
}

fn asked(word: IncidentWord) -> Ask {
    match word {
        IncidentWord::Acknowledge { for_ms, via } => Ask::Acknowledge { via, for_ms },
        IncidentWord::Confirm { words } => Ask::Confirm { words },
        IncidentWord::Severity { severity, words } => Ask::Severity { severity, words },
        IncidentWord::Duty { duty, contact } => Ask::Duty { duty, contact },
        IncidentWord::Note { words } => Ask::Note { words },
        IncidentWord::Update { status, words } => Ask::Update { status, words },
        IncidentWord::Merge { into } => Ask::Merge { into },
        IncidentWord::Resolve { words } => Ask::Resolve { words },
        IncidentWord::Reopen { words } => Ask::Reopen { words },
    }
}

async fn one(app: &App, id: IncidentId) -> Result<IncidentView, No> {
    let found = app.control.read(move |state, _, now| {
        let incident = state.incidents.incidents.get(&id)?;
        Some(view(&state.incidents, incident, now))
    });
    let view = found.await.ok_or_else(|| {
        No(Refusal::new(
            Code::NotFound,
            format!("there is no incident {id}"),
            "`plimsoll incident list` shows them; old ones are in the journal.",
        ))
    })?;
    let timeline = timeline(app, id).await?;
    Ok(IncidentView { timeline, ..view })
}

/// Read from the journal each time: there is no second record of what happened.
async fn timeline(app: &App, id: IncidentId) -> Result<Vec<TimelineEntry>, No> {
    let mut timeline = Timeline::new(id);
    let mut position = Seq(0);
    for _ in 0..RECORDS_MAX / STEP {
        let records = app.journal.read(position, STEP).await.map_err(|error| {
            No(Refusal::new(
                Code::Overloaded,
                format!("the journal can't be read: {error}"),
                "Look at the control plane's disk and log, then try again.",
            ))
        })?;
        let Some(last) = records.last() else { break };
        position = last.seq;
        for record in &records {
            timeline.take(record.at, &record.event);
        }
    }
    let entries = timeline.entries().into_iter().map(|entry| TimelineEntry {
        at: entry.at,
        note: entry.kind == Kind::Note,
        words: entry.words,
    });
    Ok(entries.collect())
}

fn view(state: &incident::State, incident: &Incident, now: Timestamp) -> IncidentView {
    let over = incident.over.as_ref();
    let held = incident.held.as_ref().filter(|held| now < held.until);
    let causes = incident.causes.iter().map(|(at, cause)| Seen {
        at: *at,
        words: cause.to_string(),
        cause: cause.clone(),
    });
    IncidentView {
        id: incident.id,
        title: incident.title.clone(),
        severity: incident.severity,
        services: incident.services.iter().cloned().collect(),
        by_machine: incident.by_machine,
        detected_at: incident.detected_at,
        confirmed_by: incident.confirmed.as_ref().map(|(by, _)| by.to_string()),
        held_by: held.map(|held| held.by.to_string()),
        held_until: held.map(|held| held.until),
        over_at: over.map(|over| over.at),
        over_by: over.map(|over| over.by.to_string()),
        merged_into: over.and_then(|over| over.merged_into),
        firing: incident.alerts.len() as u64,
        alerts: incident.alerts_total,
        causes: causes.collect(),
        changes: incident.changes.clone(),
        paged: incident.paged.iter().cloned().collect(),
        waiting: escalation::waiting(state, incident, now),
        timeline: Vec::new(),
    }
}

fn unknown_link() -> Markup {
    html! { h1 { "This link opens nothing" } p { "It is cut off, or of another control plane." } }
}

/// A small page that needs nothing from anywhere, and is kept nowhere.
fn page(status: StatusCode, body: Markup) -> Response {
    let style = "body{font:1.2rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem}\
        button{font:inherit;padding:.8rem 2rem;border:0;border-radius:.5rem;background:#0b5;color:#fff}\
        @media(prefers-color-scheme:dark){body{background:#111;color:#eee}}";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta name="robots" content="noindex";
                title { "Plimsoll" }
                style { (maud::PreEscaped(style)) }
            }
            body { (body) }
        }
    };
    let headers = [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        ),
    ];
    (status, headers, Html(page.into_string())).into_response()
}
