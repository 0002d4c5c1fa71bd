//! `plimsoll restart`.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;
use wire::Client;
use wire::api::{Done, RestartRequest, RestartState, RestartView, StopRequest};

use crate::cli::{Ask, RestartArgs};
use crate::connect;
use crate::output::{self, Failure, NOT_YET, REFUSED};

/// A restart is followed for this long; it goes on without anybody who looks.
const FOLLOW_MAX: Duration = Duration::from_secs(3600);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(300);

pub(crate) async fn restart(args: RestartArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let json = args.json;
    if args.stop {
        let request = StopRequest {
            service: args.service,
            reason: args.reason,
        };
        let done: Result<Done, _> = client.post("/v1/restarts/stop", &request).await;
        let done = done.map_err(|error| Failure::from(error).with_json(json))?;
        match json {
            true => output::json(&done)?,
            false => println!("{}", done.detail),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let request = RestartRequest {
        service: args.service,
        environment: args.environment,
        hosts: args.hosts,
        parallel: args.parallel,
        floor_permille: args.floor,
        reason: args.reason,
    };
    let begun: Result<RestartView, _> = client.post("/v1/restarts", &request).await;
    let begun = begun.map_err(|error| Failure::from(error).with_json(json))?;
    if !json {
        println!(
            "restart {} of {} in {}: {} hosts, {} at a time, {} serve meanwhile at least",
            begun.id,
            begun.service,
            begun.environment,
            begun.hosts.len(),
            begun.parallel,
            begun.floor_permille,
        );
    }
    if !args.wait {
        if json {
            output::json(&begun)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    follow(&client, begun, json).await
}

async fn follow(client: &Client, begun: RestartView, json: bool) -> Result<ExitCode, Failure> {
    let path = format!("/v1/restarts/{}", begun.id);
    let until = Instant::now() + FOLLOW_MAX;
    let (mut view, mut shown) = (begun, String::new());
    loop {
        let line = line(&view);
        if !json && line != shown {
            println!("{line}");
            shown = line;
        }
        if view.ended_at.is_some() || Instant::now() >= until {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let looked: Result<RestartView, _> = client.get(&path).await;
        match looked {
            Ok(newer) => view = newer,
            // A control plane that begins anew goes on where it was.
            Err(error @ wire::ClientError::Refused { .. }) => {
                return Err(Failure::from(error).with_json(json));
            }
            Err(error) => tracing::debug!(%error, "no answer"),
        }
    }
    if json {
        output::json(&view)?;
    }
    Ok(match (&view.stopped, view.ended_at) {
        (Some(_), _) => ExitCode::from(REFUSED),
        (None, Some(_)) => ExitCode::SUCCESS,
        (None, None) => ExitCode::from(NOT_YET),
    })
}

/// Where it stands, in one line.
fn line(view: &RestartView) -> String {
    let of = |state| view.hosts.iter().filter(|host| host.state == state).count();
    let names = |state| {
        let hosts = view.hosts.iter().filter(|host| host.state == state);
        let hosts: Vec<&str> = hosts.map(|host| host.host.as_str()).collect();
        hosts.join(", ")
    };
    let mut parts = vec![format!(
        "{} of {} back",
        of(RestartState::Back),
        view.hosts.len()
    )];
    for (state, word) in [
        (RestartState::Draining, "draining"),
        (RestartState::Restarting, "restarting"),
    ] {
        if of(state) > 0 {
            parts.push(format!("{word}: {}", names(state)));
        }
    }
    match (&view.stopped, view.ended_at, &view.waiting) {
        (Some(why), ..) => parts.push(format!("stopped by {why}")),
        (None, Some(ended), _) => {
            let took = model::Millis::between(view.started_at, ended);
            parts.push(format!("done in {took}"));
        }
        (None, None, Some(waiting)) => parts.push(format!("waits for {waiting}")),
        (None, None, None) => {}
    }
    parts.join("; ")
}
