//! `plimsoll rollback`, `approve`, `freeze`, `thaw`.

use std::process::ExitCode;

use model::Refusal;
use model::refusal::Code;
use wire::api::{Done, FreezeRequest, RollbackAnswer, RollbackRequest};

use crate::cli::{ApproveArgs, Ask, FreezeArgs, RollbackArgs};
use crate::connect;
use crate::narrate;
use crate::output::{self, Failure, ROLLED_BACK};

/// A rollback is followed for this long; hosts that take longer are named.
const FOLLOW_MAX: std::time::Duration = std::time::Duration::from_secs(600);

pub(crate) async fn rollback(args: RollbackArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let request = RollbackRequest {
        service: args.service,
        release: args.release,
        to: args.to,
        reason: args.reason,
    };
    let answer: RollbackAnswer = client
        .post("/v1/rollbacks", &request)
        .await
        .map_err(|error| Failure::from(error).with_json(args.json))?;
    if args.json {
        output::json(&answer)?;
    } else {
        println!("{}", answer.detail);
    }
    let Some(id) = answer
        .release
        .filter(|_| !args.no_follow && answer.hosts > 0)
    else {
        return Ok(ExitCode::SUCCESS);
    };
    // To be back is what was asked for here.
    let code = narrate::follow(&client, id, FOLLOW_MAX, args.json).await?;
    let back = code == ExitCode::from(ROLLED_BACK);
    Ok(if back { ExitCode::SUCCESS } else { code })
}

pub(crate) fn approve(args: &ApproveArgs) -> Result<ExitCode, Failure> {
    let refusal = Refusal::new(
        Code::NotOffered,
        format!(
            "release {} needs no approval: this version has no high-risk options to approve yet",
            args.release
        ),
        "Waves and verdicts decide; stop the release with `plimsoll rollback SERVICE` or `plimsoll freeze`.",
    );
    Err(Failure::from(refusal).with_json(args.json))
}

pub(crate) async fn freeze(args: FreezeArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    frost("/v1/freezes", args, ask).await
}

pub(crate) async fn thaw(args: FreezeArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    frost("/v1/thaws", args, ask).await
}

async fn frost(path: &str, args: FreezeArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let request = FreezeRequest {
        environment: None,
        until: None,
        service: args.service,
        reason: args.reason,
    };
    let done: Done = client
        .post(path, &request)
        .await
        .map_err(|error| Failure::from(error).with_json(args.json))?;
    if args.json {
        output::json(&done)?;
    } else {
        println!("{}", done.detail);
    }
    Ok(ExitCode::SUCCESS)
}
