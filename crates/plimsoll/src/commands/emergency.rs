//! `plimsoll freeze`, `thaw` and `break-glass`: stopping everything, and going on all the same.

use std::process::ExitCode;

use jiff::Timestamp;
use model::Millis;
use wire::api::{
    BreakGlassRequest, BreakGlassView, Done, FreezeRequest, ReviewRequest, StatusView,
};

use crate::cli::{Ask, BreakGlassArgs, BreakGlassCommand, FreezeArgs, ThawArgs};
use crate::connect;
use crate::output::{self, Failure};
use crate::words;

pub(crate) async fn freeze(args: FreezeArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let request = FreezeRequest {
        service: args.service,
        environment: args.environment,
        until: args.until,
        reason: args.reason,
    };
    frost("/v1/freezes", request, args.json, ask).await
}

pub(crate) async fn thaw(args: ThawArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let request = FreezeRequest {
        service: args.service,
        environment: args.environment,
        until: None,
        reason: args.reason,
    };
    frost("/v1/thaws", request, args.json, ask).await
}

async fn frost(
    path: &str,
    request: FreezeRequest,
    json: bool,
    ask: &Ask,
) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let done: Done = client
        .post(path, &request)
        .await
        .map_err(|error| Failure::from(error).with_json(json))?;
    if json {
        output::json(&done)?;
    } else {
        println!("{}", done.detail);
        if let Some(until) = request.until {
            println!(
                "it ends by itself at {}",
                words::moment(until, Timestamp::now())
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn break_glass(args: BreakGlassArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    glass(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn glass(args: BreakGlassArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let (view, next) = match args.what {
        BreakGlassCommand::Ask {
            service,
            gates,
            reason,
            valid,
        } => {
            let request = BreakGlassRequest {
                service,
                gates,
                reason,
                valid_s: u64::try_from(valid.as_secs()).unwrap_or(0),
            };
            let view = client.ask_break_glass(&request).await?;
            let next = format!(
                "somebody else agrees with `plimsoll break-glass confirm {}`",
                view.id
            );
            (view, next)
        }
        BreakGlassCommand::Confirm { id } => {
            let view = client.confirm_break_glass(id).await?;
            let next = format!(
                "use it with `plimsoll push {} --break-glass {id}`; it is looked at afterwards with `plimsoll break-glass review {id}`",
                view.service
            );
            (view, next)
        }
        BreakGlassCommand::Review { id, words } => {
            let view = client
                .review_break_glass(id, &ReviewRequest { words })
                .await?;
            (view, String::new())
        }
        BreakGlassCommand::List => {
            let status: StatusView = client.get("/v1/status").await?;
            return list(&status.break_glass, args.json);
        }
    };
    if args.json {
        output::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in words::break_glass_lines(&view, Timestamp::now()) {
        println!("{line}");
    }
    if !next.is_empty() {
        println!("{next}");
    }
    Ok(ExitCode::SUCCESS)
}

fn list(views: &[BreakGlassView], json: bool) -> Result<ExitCode, Failure> {
    if json {
        output::json(&views)?;
    } else if views.is_empty() {
        println!("no break-glass is open, and all were looked at");
    } else {
        for view in views {
            for line in words::break_glass_lines(view, Timestamp::now()) {
                println!("{line}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a break-glass can still be used, or by whom it waits.
pub(crate) fn standing(view: &BreakGlassView, now: Timestamp) -> String {
    let left = Millis::between(now, view.expires_at);
    match (&view.confirmed_by, &view.reviewed_by) {
        (_, Some(by)) => format!("looked at by {by}"),
        (Some(by), None) if left.0 > 0 => format!("agreed by {by}, for {left} more"),
        (Some(by), None) => format!("agreed by {by}, over, nobody has looked at it yet"),
        (None, None) if left.0 > 0 => format!("waits for a second person, for {left} more"),
        (None, None) => "never agreed to, over".to_owned(),
    }
}
