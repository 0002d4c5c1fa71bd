//! `plimsoll agent`.

use std::path::Path;
use std::process::ExitCode;

use agent::{AgentConfig, AgentError, ServiceStatus};
use model::{Digest, ServiceName};

use crate::cli::{AgentArgs, AgentCommand, Ask};
use crate::commands::serve::{start_logs, stop_signal};
use crate::output::{self, Failure, Paint, paint};

pub(crate) async fn agent(args: AgentArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    match args.what {
        None => run(args, ask).await,
        Some(AgentCommand::Revert {
            local: _,
            config,
            service,
            to,
            order,
            json,
        }) => revert(&config, service, to, order.as_deref(), json).await,
        Some(AgentCommand::Status { config, json }) => {
            let config = AgentConfig::read(&config).map_err(Failure::caused)?;
            let status = agent::status(&config.state_dir)
                .await
                .map_err(Failure::caused)?;
            if json {
                output::json(&status)?;
                return Ok(ExitCode::SUCCESS);
            }
            let alive = if status.alive {
                "the agent runs"
            } else {
                "no agent runs; this is what is on disk"
            };
            let control = if status.control_reachable {
                "reachable"
            } else {
                "not heard from"
            };
            println!(
                "{}: {alive}, control plane {control}, {} reports unsent",
                status.host, status.unsent_reports
            );
            if status.gated {
                println!("  takes nothing that is not attested");
            }
            for service in &status.services {
                show(service);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Goes back here, by this host alone.
async fn revert(
    config: &Path,
    service: Option<ServiceName>,
    to: Option<Digest>,
    order: Option<&Path>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let config = AgentConfig::read(config).map_err(Failure::caused)?;
    let service = match (service, config.services.keys().next()) {
        (Some(service), _) => service,
        (None, Some(only)) if config.services.len() == 1 => only.clone(),
        (None, _) => {
            let names: Vec<&str> = config.services.keys().map(ServiceName::as_str).collect();
            return Err(Failure::broken("which service?")
                .next(format!("Name one with --service: {}.", names.join(", "))));
        }
    };
    let order = order.map(agent::signed_order);
    let order = order.transpose().map_err(Failure::caused)?;
    let back = agent::revert_local(&config, &service, to, order).await;
    let back = back.map_err(|error| {
        let failure = match error {
            AgentError::Refused(refusal) => Failure::from(refusal),
            error => Failure::caused(error).next(
                "`plimsoll agent status` shows what this host runs and which bundles it kept.",
            ),
        };
        failure.with_json(json)
    })?;
    if json {
        output::json(&back)?;
    } else {
        println!(
            "{}, {}",
            paint(Paint::Green, "this host is back"),
            back.word
        );
        show(&back.status);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(service: &ServiceStatus) {
    let health = match service.healthy {
        Some(true) => paint(Paint::Green, "healthy"),
        Some(false) => paint(Paint::Red, "unhealthy"),
        None => "health unknown".to_owned(),
    };
    println!(
        "  {} runs {}, generation {}, {health}: {}",
        service.service,
        service.running.short(),
        service.generation,
        service.detail
    );
    let kept: Vec<String> = service.kept.iter().map(Digest::short).collect();
    println!(
        "    goes back to {}; kept: {}",
        service.good.short(),
        kept.join(", ")
    );
}

async fn run(args: AgentArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    start_logs(&args.log)?;
    let mut config = AgentConfig::read(&args.config).map_err(Failure::caused)?;
    if args.join_token.is_some() {
        config.join_token = args.join_token;
    }
    config.ca = ask.ca().or(config.ca);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let mut stop = stop_signal()?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        let _ = stop.wait_for(|stop| *stop).await;
        token.cancel();
    });
    agent::run(config, shutdown)
        .await
        .map_err(Failure::caused)?;
    Ok(ExitCode::SUCCESS)
}
