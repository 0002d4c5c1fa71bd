//! `plimsoll plan`: what each wave can see before it is begun, from the service's own traffic.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use model::{Plan, ServiceName};
use wire::api::PlanRequest;

use crate::cli::{Ask, PlanArgs};
use crate::commands::project;
use crate::connect;
use crate::look::Look;
use crate::output::{self, Failure, Paint, paint};
use crate::planned;

/// The project file of the folder that one is in.
const HERE: &str = "plimsoll.toml";

pub(crate) async fn plan(args: PlanArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(args: PlanArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let (service, plan, of) = chosen(&args)?;
    let view = client.plan(&PlanRequest { service, plan }).await?;
    if args.json {
        output::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}: {of}", paint(Paint::Bold, view.service.as_str()));
    println!();
    for line in planned::lines(&view, Look::stdout()) {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whose plan, which (none: the good bundle's), and what it is called.
fn chosen(args: &PlanArgs) -> Result<(ServiceName, Option<Plan>, String), Failure> {
    let good = |service: &ServiceName| {
        let of = "the plan of the good bundle".to_owned();
        (service.clone(), None, of)
    };
    let file: PathBuf = match (&args.project, &args.service) {
        (Some(path), _) => path.clone(),
        (None, Some(service)) if !Path::new(HERE).exists() => return Ok(good(service)),
        (None, _) => HERE.into(),
    };
    let project = project::read(&file)?;
    if let (None, Some(service)) = (&args.project, &args.service)
        && !project.services.contains_key(service)
    {
        return Ok(good(service));
    }
    let (service, source) = project::choose(&project.services, args.service.as_ref())?;
    let of = format!("the plan of {}", file.display());
    Ok((service.clone(), Some(source.plan.clone()), of))
}
