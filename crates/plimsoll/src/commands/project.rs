//! What needs no control plane: reading and checking the project file.

use std::path::Path;
use std::process::ExitCode;

use check::Project;
use clap::CommandFactory;

use crate::cli::{CheckArgs, Cli};
use crate::output::{self, BROKEN, Failure, Paint, paint};

/// Reads a project file; shows every problem in its place.
pub(crate) fn read(path: &Path) -> Result<Project, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::broken(format!("{}: {error}", path.display()))
            .next("Go to the folder with plimsoll.toml, or name it with --project.")
    })?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Failure::broken(format!("{name}:{line}: not UTF-8 at byte {valid}"))
            .next("Save the file as UTF-8.")
    })?;
    check::parse(&name, &text).map_err(|problems| {
        eprintln!("{}", check::render(&problems, &text, output::err_colour()));
        let count = problems.as_slice().len();
        let s = if count == 1 { "" } else { "s" };
        Failure::broken(format!("{name} has {count} problem{s}"))
    })
}

pub(crate) fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    if args.json {
        return check_json(args);
    }
    let project = read(&args.project)?;
    let hosts: usize = project
        .topology
        .environments
        .iter()
        .map(|e| e.hosts.len())
        .sum();
    println!(
        "{} {}: {} services, {} environments, {hosts} hosts",
        paint(Paint::Green, "ok"),
        args.project.display(),
        project.topology.services.len(),
        project.topology.environments.len(),
    );
    Ok(ExitCode::SUCCESS)
}

fn check_json(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let file = args.project.display().to_string();
    let text = std::fs::read_to_string(&args.project)
        .map_err(|error| Failure::broken(format!("{file}: {error}")).with_json(true))?;
    let problems: Vec<_> = match check::parse(&file, &text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .map(|problem| {
                serde_json::json!({
                    "file": problem.file,
                    "line": problem.line,
                    "column": problem.column,
                    "message": problem.message,
                    "help": problem.help,
                })
            })
            .collect(),
    };
    let code = if problems.is_empty() { 0 } else { BROKEN };
    output::json(&serde_json::json!({ "file": file, "problems": problems }))?;
    Ok(ExitCode::from(code))
}

pub(crate) fn schema() -> Result<ExitCode, Failure> {
    print!("{}", check::SCHEMA);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "plimsoll", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
