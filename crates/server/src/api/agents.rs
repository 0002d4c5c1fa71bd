//! What agents ask and tell.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::response::sse::{self, KeepAlive, Sse};
use engine::Input;
use engine::watch::Beat;
use futures_util::Stream;
use model::{TaskOutcome, Timestamp};
use wire::api::{
    ConfirmRequest, Done, EnrolAnswer, EnrolRequest, Heartbeat, OrdersAnswer, Problem,
    ReportsAnswer, ReportsRequest, ResultsRequest, WhoAmI,
};
use wire::sign::token_hash;

use super::App;
use super::answer::{Body, No, Path, Query, Signed, bad_request};
use super::poll::{self, Wait};
use crate::boards::HostOrders;
use crate::limits::STREAM_BEAT;
use crate::trust;

/// Words that an agent gives are cut to this length before they are kept.
const REASON_BYTES_MAX: usize = 6 * 1024;
/// The same for each probe and trial: a verdict, a target and an error's words.
const DETAIL_BYTES_MAX: usize = 512;

/// A host's agent joins, with a one-time token, and brings its own public key.
#[utoipa::path(post, path = "/v1/agents/enrol", tag = "agents", request_body = EnrolRequest,
    responses((status = 201, body = EnrolAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn enrol(
    State(app): State<App>,
    Body(request): Body<EnrolRequest>,
) -> Result<(StatusCode, Json<EnrolAnswer>), No> {
    wire::PublicKey::parse(&request.public_key).map_err(bad_request)?;
    let EnrolRequest {
        host,
        join_token,
        public_key,
        peer_address,
        adopted,
        fence,
    } = request;
    let join = token_hash(&join_token);
    let (heard, asked) = (host.clone(), host.clone());
    let input = Input::Enrol {
        host,
        join,
        public_key,
        peer_address,
        adopted,
        fence,
    };
    app.control.decide(input).await?;
    app.control
        .observe(move |watch, now| watch.heard(&heard, now));
    let gated = app
        .control
        .read(move |state, _, _| trust::gated(state, &asked));
    Ok((
        StatusCode::CREATED,
        Json(EnrolAnswer {
            control_key: app.control_key.clone(),
            gated: gated.await,
        }),
    ))
}

/// The way home: who the signature proved the caller to be.
#[utoipa::path(get, path = "/v1/agents/{host}/whoami", tag = "agents",
    params(("host" = String, Path, description = "The agent's host")),
    responses((status = 200, body = WhoAmI), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn whoami(Path(host): Path<String>, signed: Signed) -> Result<Json<WhoAmI>, No> {
    signed.only(&host)?;
    Ok(Json(WhoAmI {
        host: signed.host,
        at: Timestamp::now(),
    }))
}

/// The newest order for each service, the way back from each, and what is to be probed or tried, all signed. With `If-None-Match` and `wait_ms` it answers as soon as there is another.
#[utoipa::path(get, path = "/v1/agents/{host}/orders", tag = "agents",
    params(("host" = String, Path, description = "The agent's host"), Wait),
    responses((status = 200, body = OrdersAnswer), (status = 304), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn orders(
    State(app): State<App>,
    Path(host): Path<String>,
    headers: HeaderMap,
    Query(wait): Query<Wait>,
    signed: Signed,
) -> Result<Response, No> {
    signed.only(&host)?;
    let mut board = app.boards.orders(&signed.host);
    poll::for_news(&app, &mut board, &headers, &wait, |orders| {
        orders.tag.clone()
    })
    .await;
    let HostOrders { tag, answer } = board.borrow().clone();
    Ok(poll::answer(&headers, &tag, &*answer))
}

/// A stream of hints: `orders` whenever there are others than before. What they are is fetched.
#[utoipa::path(get, path = "/v1/agents/{host}/events", tag = "agents",
    params(("host" = String, Path, description = "The agent's host")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn events(
    State(app): State<App>,
    Path(host): Path<String>,
    signed: Signed,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, No> {
    signed.only(&host)?;
    let host = signed.host;
    let board = app.boards.orders(&host);
    let stream =
        futures_util::stream::unfold((board, true, app), move |(mut board, first, app)| {
            let host = host.clone();
            async move {
                let mut stop = app.stop.clone();
                let beat = Duration::from_secs(5);
                loop {
                    tokio::select! {
                        // The first hint comes at once: whatever happened before the stream, the agent looks.
                        () = std::future::ready(()), if first => break,
                        changed = board.changed() => {
                            if changed.is_err() { return None; }
                            break;
                        }
                        _ = stop.wait_for(|stop| *stop) => return None,
                        // An open stream is a sign of life.
                        () = tokio::time::sleep(beat) => {}
                    }
                }
                let tag = board.borrow_and_update().tag.clone();
                tracing::debug!(%host, tag, "hint");
                let hint = sse::Event::default().event("orders").data(tag);
                Some((Ok(hint), (board, false, app)))
            }
        });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(STREAM_BEAT)))
}

/// A host answers over a fresh connection: it runs what it was told and is healthy.
#[utoipa::path(post, path = "/v1/agents/{host}/confirm", tag = "agents", request_body = ConfirmRequest,
    params(("host" = String, Path, description = "The agent's host")),
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn confirm(
    State(app): State<App>,
    Path(host): Path<String>,
    signed: Signed,
) -> Result<Json<Done>, No> {
    signed.only(&host)?;
    let ConfirmRequest {
        service,
        generation,
        digest,
    } = signed.json()?;
    let host = signed.host;
    app.control
        .decide(Input::Confirm {
            host,
            service,
            generation,
            digest,
        })
        .await?;
    Ok(Json(Done {
        detail: format!("generation {generation} is confirmed"),
    }))
}

/// What happened on a host; repeats are welcome.
#[utoipa::path(post, path = "/v1/agents/{host}/reports", tag = "agents", request_body = ReportsRequest,
    params(("host" = String, Path, description = "The agent's host")),
    responses((status = 200, body = ReportsAnswer), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn reports(
    State(app): State<App>,
    Path(host): Path<String>,
    signed: Signed,
) -> Result<Json<ReportsAnswer>, No> {
    signed.only(&host)?;
    let ReportsRequest { mut reports } = signed.json()?;
    for report in &mut reports {
        shorten(&mut report.kind);
    }
    let through = reports
        .iter()
        .map(|report| report.number)
        .max()
        .unwrap_or(0);
    app.control
        .decide(Input::Reports {
            host: signed.host,
            reports,
        })
        .await?;
    Ok(Json(ReportsAnswer { through }))
}

/// What came of tasks; repeats are welcome. What the host was not asked for changes nothing.
#[utoipa::path(post, path = "/v1/agents/{host}/results", tag = "agents", request_body = ResultsRequest,
    params(("host" = String, Path, description = "The agent's host")),
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn results(
    State(app): State<App>,
    Path(host): Path<String>,
    signed: Signed,
) -> Result<Json<Done>, No> {
    signed.only(&host)?;
    let ResultsRequest { mut results } = signed.json()?;
    for result in &mut results {
        shorten_outcome(&mut result.outcome);
    }
    app.control
        .decide(Input::Results {
            host: signed.host,
            results,
        })
        .await?;
    Ok(Json(Done {
        detail: "noted".into(),
    }))
}

/// As with reports; these come by the hundred, so each has less room.
fn shorten_outcome(outcome: &mut TaskOutcome) {
    match outcome {
        TaskOutcome::Probed { probes } => {
            for probe in probes {
                cut(&mut probe.detail, DETAIL_BYTES_MAX);
            }
        }
        TaskOutcome::Tried { trials } => {
            for trial in trials {
                cut(&mut trial.variant, DETAIL_BYTES_MAX);
                cut(&mut trial.detail, DETAIL_BYTES_MAX);
            }
        }
        TaskOutcome::Loaded { .. } => {}
        TaskOutcome::Broken { reason } => cut(reason, REASON_BYTES_MAX),
    }
}

fn cut(words: &mut String, bytes_max: usize) {
    words.truncate(words.floor_char_boundary(bytes_max));
}

/// A host's words go into the journal; their length is the journal's concern, not the host's.
fn shorten(kind: &mut model::ReportKind) {
    use model::ReportKind::{Declined, Health, Holding, RevertFailing, Reverted};
    match kind {
        Declined { reason, .. }
        | Reverted { reason, .. }
        | RevertFailing { reason, .. }
        | Health { reason, .. } => cut(reason, REASON_BYTES_MAX),
        Holding { .. } => {}
    }
}

/// How things are on a host. Not journaled.
#[utoipa::path(post, path = "/v1/agents/{host}/heartbeat", tag = "agents", request_body = Heartbeat,
    params(("host" = String, Path, description = "The agent's host")),
    responses((status = 200, body = Done), (status = "4XX", content_type = "application/problem+json", body = Problem)))]
pub(crate) async fn heartbeat(
    State(app): State<App>,
    Path(host): Path<String>,
    signed: Signed,
) -> Result<Json<Done>, No> {
    signed.only(&host)?;
    let Heartbeat {
        services,
        gauges,
        machine,
    } = signed.json()?;
    let beats: BTreeMap<_, _> = services
        .into_iter()
        .map(|mut beat| {
            cut(&mut beat.reason, REASON_BYTES_MAX);
            let told = Beat::new(beat.running, beat.generation, beat.healthy);
            (beat.service, told.with(beat.reason, beat.exits))
        })
        .collect();
    let host = signed.host;
    app.control.observe(move |watch, now| {
        watch.beat(&host, beats, now);
        watch.gauges(&host, gauges, machine, now);
    });
    Ok(Json(Done {
        detail: "heard".into(),
    }))
}
