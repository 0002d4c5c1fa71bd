//! `plimsoll notify`.

use std::path::Path;
use std::process::ExitCode;

use notify::{Problem, Settings};

use crate::cli::{NotifyArgs, NotifyCommand};
use crate::commands::project;
use crate::output::{self, BROKEN, Failure};

pub(crate) fn notify(args: NotifyArgs) -> Result<ExitCode, Failure> {
    let NotifyCommand::Check { file } = args.what;
    let (name, text) = project::text(&file)
        .map_err(|failure| failure.next("Name the file.").with_json(args.json))?;
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    let problems = match Settings::read(&text, &folder) {
        Ok(_) => Vec::new(),
        Err(problems) => problems,
    };
    if args.json {
        let told = problems.iter().map(|it| {
            serde_json::json!({
                "file": name, "line": it.line, "column": it.column, "message": it.message,
            })
        });
        output::json(&serde_json::json!({ "problems": told.collect::<Vec<_>>() }))?;
        return Ok(match problems.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(BROKEN),
        });
    }
    for Problem {
        line,
        column,
        message,
    } in &problems
    {
        eprintln!("{name}:{line}:{column}: {message}");
    }
    match problems.len() {
        0 => println!("{name} is fine"),
        1 => return Err(Failure::broken(format!("{name} has 1 problem"))),
        count => return Err(Failure::broken(format!("{name} has {count} problems"))),
    }
    Ok(ExitCode::SUCCESS)
}
