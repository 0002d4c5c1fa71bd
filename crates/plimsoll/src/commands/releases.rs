//! `plimsoll releases`.

use std::process::ExitCode;

use model::{Millis, ReleaseId};
use wire::api::{Done, LiftRequest, ReleaseView};

use crate::cli::{Ask, ReleasesArgs, ReleasesCommand};
use crate::commands::approve;
use crate::connect;
use crate::judged;
use crate::look::Look;
use crate::narrate;
use crate::output::{self, Failure, print_table, table};
use crate::words::{self, state_word};

pub(crate) async fn releases(args: ReleasesArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    match args.what {
        None => {
            let releases = client.releases(args.service.as_ref()).await?;
            if args.json {
                output::json(&releases)?;
            } else {
                list(&releases);
            }
        }
        Some(ReleasesCommand::Show { id, follow: true }) => {
            let wait = std::time::Duration::from_secs(24 * 3600);
            return narrate::follow(&client, ReleaseId(id), wait, args.json).await;
        }
        Some(ReleasesCommand::Show { id, follow: false }) => {
            let release = approve::release(&client, ReleaseId(id)).await?;
            if args.json {
                output::json(&release)?;
            } else {
                let look = Look::stdout();
                for line in words::release_lines(&release, look) {
                    println!("{line}");
                }
                let verdict = judged::of(&client, release.id).await;
                for line in words::judge_lines(verdict.as_ref(), look) {
                    println!("{line}");
                }
            }
        }
        Some(ReleasesCommand::Lift {
            service,
            digest,
            reason,
        }) => {
            let request = LiftRequest {
                service,
                digest,
                reason,
            };
            let done: Done = client.post("/v1/quarantine/lift", &request).await?;
            if args.json {
                output::json(&done)?;
            } else {
                println!("{}", done.detail);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(releases: &[ReleaseView]) {
    if releases.is_empty() {
        println!("no releases yet; begin with `plimsoll push`");
        return;
    }
    let mut table = table(&[
        "ID", "SERVICE", "BUNDLE", "STATE", "AGE", "TOOK", "HOSTS", "FAILED", "MESSAGE",
    ]);
    for release in releases {
        let took = release.ended_at.map_or_else(
            || "-".to_owned(),
            |at| Millis::between(release.proposed_at, at).to_string(),
        );
        table.add_row([
            release.id.to_string(),
            release.service.to_string(),
            release.digest.short(),
            state_word(release.state),
            Millis::between(release.proposed_at, jiff::Timestamp::now()).to_string(),
            took,
            format!(
                "{}/{}",
                release.exposure.hosts, release.exposure.hosts_total
            ),
            format!("{}/{}", release.exposure.failed, release.exposure.requests),
            release.message.clone(),
        ]);
    }
    print_table(&table);
}
