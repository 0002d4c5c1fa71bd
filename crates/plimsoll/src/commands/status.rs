//! `plimsoll status`.

use std::process::ExitCode;

use jiff::Timestamp;
use model::GateState;
use wire::api::StatusView;

use crate::cli::{Ask, JsonArgs};
use crate::connect;
use crate::judged;
use crate::look::Look;
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
    let now = Timestamp::now();
    for freeze in &status.freezes {
        let word = paint(Paint::Yellow, "frozen:");
        println!("{word} {}", words::freeze_line(freeze, now));
    }
    for view in &status.break_glass {
        for line in words::break_glass_lines(view, now) {
            println!("{line}");
        }
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
            let mut release = release.clone();
            // At a glance what is not demanded is not in the way; `releases show` has it.
            release.gates.retain(|gate| gate.state != GateState::Off);
            let look = Look::stdout().less(2);
            let verdict = judged::of(&client, release.id).await;
            let judge = words::judge_lines(verdict.as_ref(), look);
            for line in words::release_lines(&release, look)
                .into_iter()
                .chain(judge)
            {
                println!("  {line}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
