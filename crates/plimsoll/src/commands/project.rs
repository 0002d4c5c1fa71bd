//! What needs no control plane: reading and checking the project file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use check::{Problems, Project, ServiceSource};
use clap::CommandFactory;
use model::ServiceName;
use model::gate::CHECK_SET_BYTES_MAX;

use crate::cli::Cli;
use crate::commands::check::folder;
use crate::output::{self, Failure};

/// A project file's name for people, and its text.
pub(crate) fn text(path: &Path) -> Result<(String, String), Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::broken(format!("{}: {error}", path.display()))
            .next("Go to the folder with plimsoll.toml, or name it with --project.")
    })?;
    let name = path.display().to_string();
    match String::from_utf8(bytes) {
        Ok(text) => Ok((name, text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            Err(
                Failure::broken(format!("{name}:{line}: not UTF-8 at byte {valid}"))
                    .next("Save the file as UTF-8."),
            )
        }
    }
}

/// Reads a project file with the schemas that it names.
fn load(path: &Path) -> Result<Result<Project, (Problems, String)>, Failure> {
    let (name, text) = text(path)?;
    let folder = folder(path);
    let project = check::parse(&name, &text)
        .and_then(|project| project.resolve(|file| schema_file(&folder.join(file))));
    Ok(project.map_err(|problems| (problems, text)))
}

/// A schema's bytes; what is too long is cut, and refused for its length.
fn schema_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(CHECK_SET_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A project, complete; shows every problem in its place.
pub(crate) fn read(path: &Path) -> Result<Project, Failure> {
    load(path)?.map_err(|(problems, text)| {
        eprintln!("{}", check::render(&problems, &text, output::err_colour()));
        let count = problems.as_slice().len();
        let s = if count == 1 { "" } else { "s" };
        Failure::broken(format!("{} has {count} problem{s}", path.display()))
    })
}

/// Every problem of a project file, for programs.
pub(crate) fn problems(path: &Path) -> Result<Vec<serde_json::Value>, Failure> {
    let Err((problems, _)) = load(path)? else {
        return Ok(Vec::new());
    };
    Ok(told(&problems))
}

/// Problems of a file, for programs.
pub(crate) fn told(problems: &Problems) -> Vec<serde_json::Value> {
    let told = problems.iter().map(|problem| {
        serde_json::json!({
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "help": problem.help,
        })
    });
    told.collect()
}

/// The service that is meant; without a name there must be only one.
pub(crate) fn choose<'a>(
    services: &'a BTreeMap<ServiceName, ServiceSource>,
    wanted: Option<&ServiceName>,
) -> Result<(&'a ServiceName, &'a ServiceSource), Failure> {
    let names: Vec<&str> = services.keys().map(ServiceName::as_str).collect();
    let names = names.join(", ");
    match wanted {
        Some(name) => services.get_key_value(name).ok_or_else(|| {
            Failure::broken(format!("service {name} is not in the project file"))
                .next(format!("It has: {names}."))
        }),
        None if services.len() == 1 => services
            .iter()
            .next()
            .ok_or_else(|| Failure::broken("no service")),
        None => Err(Failure::broken("which service?").next(format!("Name one of: {names}."))),
    }
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
