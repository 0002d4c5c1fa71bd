//! Seconds that programs push which are no gateway of ours.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use model::refusal::Code;
use model::{GatewayName, Refusal, Role, ServiceName, TickCounts};
use wire::api::{Problem, TicksAnswer, TicksRequest};

use super::App;
use super::answer::{Bearer, Body, No, Path, bad_request};
use crate::ticks;

/// Takes in what a source counted, second by second; a repeat changes nothing.
#[utoipa::path(post, path = "/v1/sources/{source}/ticks", tag = "sources", request_body = TicksRequest,
    params(("source" = String, Path, description = "The source's name: lower case, digits and dashes")),
    responses((status = 200, body = TicksAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn push(
    State(app): State<App>,
    bearer: Bearer,
    Path(source): Path<String>,
    Body(request): Body<TicksRequest>,
) -> Result<Json<TicksAnswer>, No> {
    bearer.may(&app, Role::Agent)?;
    // The same law as for gateways. The prefix keeps a source from speaking in a gateway's name.
    let source = source.parse::<GatewayName>().map_err(bad_request)?;
    let source = format!("push:{source}");
    let TicksRequest {
        environment,
        epoch_ms,
        ticks,
    } = request;
    if app.boards.routes(&environment).is_none() {
        return Err(No(Refusal::new(
            Code::NotFound,
            format!("environment {environment} is not in the topology"),
            "Correct what the source posts, or plimsoll.toml.",
        )));
    }
    let mut problems = ticks::problems(&ticks);
    problems.extend(unknown_services(&app, &ticks).await);
    refuse(&problems)?;
    let (reply, answer) = tokio::sync::oneshot::channel();
    let taken = app.control.observe(move |watch, now| {
        let taken = watch.ticks(&source, &environment, epoch_ms, ticks, now);
        let _ = reply.send(TicksAnswer {
            through: taken.through,
            late: taken.late,
        });
    });
    match (taken, answer.await) {
        (true, Ok(answer)) => Ok(Json(answer)),
        // Not taken: the source keeps its seconds and sends them again.
        _ => Err(busy()),
    }
}

/// A program that pushes counts for nothing should hear of it.
async fn unknown_services(app: &App, ticks: &[TickCounts]) -> Option<String> {
    let mut named: BTreeSet<ServiceName> = BTreeSet::new();
    for tick in ticks {
        named.extend(tick.cells.iter().map(|cell| cell.service.clone()));
        named.extend(tick.clients.iter().map(|client| client.service.clone()));
        named.extend(tick.events.iter().map(|event| event.service.clone()));
    }
    let unknown = app.control.read(move |state, _, _| {
        named.retain(|service| !state.topology.services.contains_key(service));
        named
    });
    let names: Vec<String> = unknown.await.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| format!("not in the topology: {}", names.join(", ")))
}

/// One answer for all problems.
pub(super) fn refuse(problems: &[String]) -> Result<(), No> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(bad_request(problems.join("; ")))
}

pub(super) fn busy() -> No {
    No(Refusal::new(
        Code::Overloaded,
        "the control plane is busy",
        "Post again with the next tick.",
    ))
}
