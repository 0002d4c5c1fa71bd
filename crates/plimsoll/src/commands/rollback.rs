//! `plimsoll rollback`.

use std::process::ExitCode;

use wire::api::{RollbackAnswer, RollbackRequest};

use crate::cli::{Ask, RollbackArgs};
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
