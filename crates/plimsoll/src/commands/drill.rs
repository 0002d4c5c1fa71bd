//! `plimsoll quickstart`, `plimsoll drill`, and the programs they start.

use std::process::ExitCode;

use drill::auth::AuthArgs;
use drill::service::ServiceArgs;
use drill::supervise::SuperviseArgs;

use drill::drills::{self, Mode};

use crate::cli::{DrillArgs, QuickstartArgs};
use crate::commands::serve::stop_signal;
use crate::output::{self, BROKEN, Failure, Paint, paint};

pub(crate) async fn service(args: ServiceArgs) -> Result<ExitCode, Failure> {
    drill::service::run(args, &mut std::io::stdout())
        .await
        .map_err(Failure::caused)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn auth(args: AuthArgs) -> Result<ExitCode, Failure> {
    drill::auth::run(args, &mut std::io::stdout())
        .await
        .map_err(Failure::caused)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn supervise(args: SuperviseArgs) -> Result<ExitCode, Failure> {
    drill::supervise::run(args, &mut std::io::stdout())
        .await
        .map_err(Failure::caused)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn quickstart(args: QuickstartArgs) -> Result<ExitCode, Failure> {
    let mut stop = stop_signal()?;
    let json = args.json;
    let mut tell = |line: &str| {
        if !json {
            println!("{}", paint(Paint::Bold, line));
        }
    };
    if !json {
        println!("Plimsoll quickstart in {}\n", args.dir.display());
    }
    // Ctrl-C at any moment drops the fleet, and every process of it ends.
    let started = tokio::select! {
        started = drill::quickstart::run(&args.dir, json, &mut tell) => started,
        _ = stop.wait_for(|stop| *stop) => return Err(Failure::broken("stopped before the summary")),
    };
    let quickstart = started.map_err(failure)?;
    let summary = quickstart.summary.clone();
    if json {
        output::json(&summary)?;
    } else {
        println!("\n{}", summary.table());
    }
    if !args.once {
        println!("{}", what_next(&quickstart.world));
        let _ = stop.wait_for(|stop| *stop).await;
        println!("stopping");
    }
    quickstart.stop().await;
    Ok(ExitCode::from(if summary.passed { 0 } else { BROKEN }))
}

fn what_next(world: &drill::world::World) -> String {
    let folder = world.folder().display();
    let program = std::env::current_exe()
        .map_or_else(|_| "plimsoll".into(), |path| path.display().to_string());
    format!(
        "Everything goes on running. In another terminal:

  export PLIMSOLL_URL={} PLIMSOLL_TOKEN_FILE={}
  alias plimsoll={program}
  plimsoll status
  plimsoll releases
  plimsoll hosts
  plimsoll journal tail --follow
  cd {folder}/project && $EDITOR config/service.toml && plimsoll push -m 'my change'
  plimsoll rollback api
  curl -i -H 'x-api-key: tenant-0001' {}

Ctrl-C ends it all.",
        world.control_url(),
        world.token_file().display(),
        world.url(),
    )
}

pub(crate) async fn drill(args: DrillArgs) -> Result<ExitCode, Failure> {
    let Some(name) = &args.name else {
        for drill in &drills::ALL {
            println!("{:<20} {}", drill.name, drill.summary);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(drill) = drills::find(name) else {
        let names: Vec<&str> = drills::ALL.iter().map(|drill| drill.name).collect();
        return Err(Failure::broken(format!("there is no drill {name}"))
            .next(format!("There are: {}.", names.join(", ")))
            .with_json(args.json));
    };
    let mode = match (args.unguarded, args.waves_only) {
        (true, _) => Mode::Unguarded,
        (false, true) => Mode::WavesOnly,
        (false, false) => Mode::Guarded,
    };
    let mut stop = stop_signal()?;
    let folder = tempfile::Builder::new()
        .prefix("plimsoll-drill-")
        .tempdir()
        .map_err(Failure::caused)?;
    let quiet = args.json;
    let mut tell = |line: &str| {
        if !quiet {
            eprintln!("{line}");
        }
    };
    let outcome = tokio::select! {
        outcome = drill.run(folder.path(), mode, args.unprotected, &mut tell) => outcome,
        _ = stop.wait_for(|stop| *stop) => return Err(Failure::broken("stopped before the outcome")),
    };
    if args.keep || outcome.is_err() {
        eprintln!(
            "configuration, journal and logs are kept in {}",
            folder.keep().display()
        );
    }
    let outcome = outcome.map_err(failure)?;
    if args.json {
        output::json(&outcome)?;
    } else {
        println!("{}", outcome.table(drill.recorded));
    }
    Ok(ExitCode::from(if outcome.passed { 0 } else { BROKEN }))
}

/// An error with its causes.
fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::broken(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn help_names_every_drill() {
        let mut cli = crate::cli::Cli::command();
        let help = cli
            .find_subcommand_mut("drill")
            .map(clap::Command::render_long_help);
        let help = help.map(|help| help.to_string()).unwrap_or_default();
        for drill in &drill::drills::ALL {
            assert!(help.contains(drill.name), "{help}");
        }
    }
}
