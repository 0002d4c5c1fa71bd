//! `plimsoll journal`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use model::Seq;
use wire::api::JournalRecord;

use crate::cli::{Ask, JournalArgs, JournalCommand};
use crate::connect;
use crate::output::{self, Failure, Paint, paint};

/// Records asked for at a time.
const STEP: usize = 200;
/// Shown of the past when nothing else was asked for.
const TAIL: u64 = 20;

pub(crate) async fn journal(args: JournalArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    match args.what {
        JournalCommand::Tail {
            follow,
            after,
            json,
        } => tail(ask, follow, after, json).await,
        JournalCommand::Verify { data, json } => verify(&data, json),
        JournalCommand::Export { data, after } => export(&data, after),
    }
}

async fn tail(
    ask: &Ask,
    follow: bool,
    after: Option<u64>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let mut after = match after {
        Some(after) => after,
        None => {
            let status: wire::api::StatusView = client.get("/v1/status").await?;
            status.position.saturating_sub(TAIL)
        }
    };
    loop {
        let wait_ms = if follow { 8_000 } else { 0 };
        let path = format!("/v1/journal?after={after}&limit={STEP}&wait_ms={wait_ms}");
        let records: Vec<JournalRecord> = client.get(&path).await?;
        if records.is_empty() && !follow {
            return Ok(ExitCode::SUCCESS);
        }
        for record in records {
            after = record.seq;
            if json {
                output::json(&record)?;
            } else {
                let at = record.at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string();
                let seq = record.seq;
                println!("{} {seq:>6}  {}", paint(Paint::Dim, at), record.event);
            }
        }
    }
}

fn verify(data: &Path, json: bool) -> Result<ExitCode, Failure> {
    let path = data.join("journal.db");
    let verified = journal::verify_file(&path).map_err(|error| {
        let broken = matches!(error, journal::VerifyError::Damaged { .. });
        let failure = Failure::caused(error);
        let failure = if broken {
            failure.next("Keep the file as it is, compare with your last export, and find out who could write to it.")
        } else {
            failure
        };
        failure.with_json(json)
    })?;
    if json {
        output::json(&serde_json::json!({ "events": verified.events, "head": verified.head }))?;
    } else {
        println!(
            "{} {} events, head {}",
            paint(Paint::Green, "the chain holds:"),
            verified.events,
            verified.head
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn export(data: &Path, after: u64) -> Result<ExitCode, Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let exported = journal::export_file(&data.join("journal.db"), Seq(after), &mut out)
        .map_err(Failure::caused)?;
    out.flush().map_err(Failure::caused)?;
    drop(out);
    eprintln!(
        "{} events, up to position {}",
        exported.events, exported.last
    );
    Ok(ExitCode::SUCCESS)
}
