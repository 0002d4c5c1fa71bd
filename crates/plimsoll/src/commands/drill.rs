//! `plimsoll quickstart`, `plimsoll drill`, and the programs they start.

use std::process::ExitCode;

use drill::auth::AuthArgs;
use drill::service::ServiceArgs;
use drill::supervise::SuperviseArgs;

use crate::cli::{DrillArgs, QuickstartArgs};
use crate::output::Failure;

pub(crate) async fn service(args: ServiceArgs) -> Result<ExitCode, Failure> {
    drill::service::run(args, &mut std::io::stdout())
        .await
        .map_err(Failure::broken)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn auth(args: AuthArgs) -> Result<ExitCode, Failure> {
    drill::auth::run(args, &mut std::io::stdout())
        .await
        .map_err(Failure::broken)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn supervise(args: SuperviseArgs) -> Result<ExitCode, Failure> {
    drill::supervise::run(args, &mut std::io::stdout())
        .await
        .map_err(Failure::broken)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn quickstart(args: QuickstartArgs) -> Result<ExitCode, Failure> {
    let _ = args;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn drill(args: DrillArgs) -> Result<ExitCode, Failure> {
    let _ = args;
    Ok(ExitCode::SUCCESS)
}
