//! `plimsoll status`.

use std::process::ExitCode;

use wire::api::StatusView;

use crate::cli::{Ask, JsonArgs};
use crate::connect;
use crate::output::{self, Failure, Paint, paint};
use crate::words;

pub(crate) async fn status(args: JsonArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let status: StatusView = client.get("/v1/status").await?;
    if args.json {
        output::json(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let reachable = format!(
        "{} of {} hosts reachable",
        status.hosts_reachable, status.hosts_enrolled
    );
    let colour = if status.hosts_reachable < status.hosts_enrolled {
        Paint::Yellow
    } else {
        Paint::Green
    };
    println!(
        "{}, journal at {}",
        paint(colour, reachable),
        status.position
    );
    for freeze in &status.freezes {
        let word = paint(Paint::Yellow, "frozen:");
        let since = freeze
            .since
            .map_or(String::new(), |since| format!(" since {since:.0}"));
        println!(
            "{word} {} by {}{since}: {}",
            freeze.scope, freeze.by, freeze.reason
        );
    }
    if status.services.is_empty() {
        println!("no services are declared; begin with `plimsoll hosts apply plimsoll.toml`");
    }
    for service in &status.services {
        let good = service
            .good
            .map_or_else(|| "none yet".to_owned(), |digest| digest.short());
        println!();
        println!(
            "{}  good bundle: {good}",
            paint(Paint::Bold, service.name.as_str())
        );
        if let Some(release) = &service.active {
            for line in words::release_lines(release) {
                println!("  {line}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
