//! On-call, for people and their programs: who it is, what is declared, and who takes over.
//!
//! Invariant: addresses of people are shown to nobody who may only look.

use axum::Json;
use axum::extract::State;
use engine::IncidentInput;
use incident::oncall::commands::Range;
use incident::oncall::{PREVIEW_DAYS_MAX, Plan, shifts};
use model::incident::IncidentEvent;
use model::{Event, Millis, Role, Timestamp};
use serde::Deserialize;
use wire::api::{
    ContactView, Done, OnCallView, OverrideRequest, Problem, RemoveOverrideRequest, ScheduleView,
    SetupRequest, ShiftView, SwapRequest, TakeRequest, TestPageRequest,
};

use super::App;
use super::answer::{Bearer, Body, No, Query, bad_request};
use super::incidents::decide;

/// Days ahead for which shifts are shown when nobody says how many.
const AHEAD_DAYS: u16 = 14;

/// How far ahead somebody looks.
#[derive(Debug, Deserialize)]
pub(crate) struct Ahead {
    days: Option<u16>,
}

/// Who is on call, and what is declared.
#[utoipa::path(get, path = "/v1/oncall", tag = "incidents",
    params(("days" = Option<u16>, Query, description = "Shifts of so many days ahead, at most 400; 14 without it")),
    responses((status = 200, body = OnCallView), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn on_call(
    State(app): State<App>,
    bearer: Bearer,
    Query(ahead): Query<Ahead>,
) -> Result<Json<OnCallView>, No> {
    bearer.may(&app, Role::Author)?;
    let days = ahead.days.unwrap_or(AHEAD_DAYS);
    if i64::from(days) > PREVIEW_DAYS_MAX {
        return Err(bad_request(format!(
            "{days} days ahead; at most {PREVIEW_DAYS_MAX}"
        )));
    }
    let ahead = Millis::seconds(u64::from(days) * 24 * 3600);
    let view = app
        .control
        .read(move |state, _, now| view(&state.incidents, ahead, now));
    Ok(Json(view.await))
}

/// Declares contacts, schedules, policies, components and objectives, all of them.
#[utoipa::path(put, path = "/v1/oncall", tag = "incidents", request_body = SetupRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn declare(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<SetupRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Operator)?;
    let setup = Box::new(request.setup);
    decide(&app, IncidentInput::Declare { by, setup }).await?;
    Ok(Json(Done {
        detail: "declared".into(),
    }))
}

/// Somebody takes over now, until a time or the end of the shift.
#[utoipa::path(post, path = "/v1/oncall/take", tag = "incidents", request_body = TakeRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn take(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<TakeRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Author)?;
    let input = IncidentInput::Take {
        by,
        schedule: request.schedule,
        contact: request.contact,
        until: request.until,
    };
    placed(&app, input).await
}

/// Two shifts change hands.
#[utoipa::path(post, path = "/v1/oncall/swap", tag = "incidents", request_body = SwapRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn swap(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<SwapRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Author)?;
    let input = IncidentInput::Swap {
        by,
        schedule: request.schedule,
        one: request.one,
        other: request.other,
    };
    placed(&app, input).await
}

/// Somebody is on call for a range instead of whoever it is.
#[utoipa::path(post, path = "/v1/oncall/override", tag = "incidents", request_body = OverrideRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn set_override(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<OverrideRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Author)?;
    let input = IncidentInput::Override {
        by,
        schedule: request.schedule,
        contact: request.contact,
        range: Range {
            from: request.from,
            until: request.until,
        },
    };
    placed(&app, input).await
}

/// An override is taken away.
#[utoipa::path(post, path = "/v1/oncall/override/remove", tag = "incidents", request_body = RemoveOverrideRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn remove_override(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<RemoveOverrideRequest>,
) -> Result<Json<Done>, No> {
    let by = bearer.may(&app, Role::Author)?;
    let detail = format!("override {} of {} is gone", request.id, request.schedule);
    let input = IncidentInput::RemoveOverride {
        by,
        schedule: request.schedule,
        id: request.id,
    };
    decide(&app, input).await?;
    Ok(Json(Done { detail }))
}

/// A contact is tested now, on all its channels.
#[utoipa::path(post, path = "/v1/oncall/test", tag = "incidents", request_body = TestPageRequest,
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn test_page(
    State(app): State<App>,
    bearer: Bearer,
    Body(request): Body<TestPageRequest>,
) -> Result<Json<Done>, No> {
    bearer.may(&app, Role::Author)?;
    let contact = request.contact;
    let detail = format!("{contact} is tested on all channels");
    decide(&app, IncidentInput::TestPage { contact }).await?;
    Ok(Json(Done { detail }))
}

/// Says which overrides came of it.
async fn placed(app: &App, input: IncidentInput) -> Result<Json<Done>, No> {
    let events = decide(app, input).await?;
    let lines = events.iter().filter_map(|event| match event {
        Event::Incident(IncidentEvent::OverrideSet {
            schedule, entry, ..
        }) => Some(format!(
            "{} is on call for {schedule} from {} until {} (override {})",
            entry.contact, entry.from, entry.until, entry.id
        )),
        _ => None,
    });
    let detail = lines.collect::<Vec<_>>().join("\n");
    Ok(Json(Done { detail }))
}

fn view(state: &incident::State, ahead: Millis, now: Timestamp) -> OnCallView {
    let schedules = state.setup.schedules.keys().filter_map(|name| {
        let plan = Plan::of(state, name)?;
        let ahead = shifts(&plan, now, ahead.after(now));
        let known = state.schedules.get(name);
        let overrides = known.iter().flat_map(|it| &it.overrides);
        Some(ScheduleView {
            name: name.clone(),
            now: plan.on_call(now).map(|(contact, _)| contact.clone()),
            ahead: ahead
                .into_iter()
                .map(|shift| ShiftView {
                    contact: shift.who.map(|(contact, _)| contact),
                    from: shift.from,
                    until: shift.until,
                })
                .collect(),
            overrides: overrides.filter(|it| it.until > now).cloned().collect(),
        })
    });
    let contacts = state.setup.contacts.iter().map(|(name, contact)| {
        let kinds = contact
            .channels
            .iter()
            .map(|it| it.kind.as_str().to_owned());
        let known = state.contacts.get(name);
        ContactView {
            name: name.clone(),
            channels: kinds.collect(),
            recent: known.map_or(0, |it| it.sent.len() as u64),
        }
    });
    OnCallView {
        schedules: schedules.collect(),
        contacts: contacts.collect(),
        setup: state.setup.clone(),
    }
}
