//! `plimsoll incident` and `plimsoll ack`.

use std::process::ExitCode;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::Millis;
use model::incident::{IncidentId, Via};
use wire::api::{IncidentView, IncidentWord, OpenIncident};

use crate::cli::{AckArgs, Ask, IncidentArgs, IncidentCommand, ShortAckArgs};
use crate::connect;
use crate::incidents;
use crate::look::Look;
use crate::output::{self, Failure};

pub(crate) async fn ack(args: ShortAckArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let incident = IncidentArgs {
        what: IncidentCommand::Ack(args.ack),
        json: args.json,
    };
    self::incident(incident, ask).await
}

pub(crate) async fn incident(args: IncidentArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args.what, json, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(what: IncidentCommand, json: bool, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let (id, word) = match what {
        IncidentCommand::List { all } => {
            let mut views: Vec<IncidentView> = client.get("/v1/incidents").await?;
            let known = views.len();
            views.retain(|it| all || it.over_at.is_none());
            return list(&views, known, json);
        }
        IncidentCommand::Show { id, zone } => {
            let view: IncidentView = client.get(&format!("/v1/incidents/{id}")).await?;
            return show(&view, zone, json);
        }
        IncidentCommand::Open {
            title,
            service,
            severity,
        } => {
            let request = OpenIncident {
                title,
                service,
                severity,
            };
            let view: IncidentView = client.post("/v1/incidents", &request).await?;
            return told(&view, json);
        }
        IncidentCommand::Ack(args) => (args.id, acknowledge(&args)?),
        IncidentCommand::Confirm { id, words } => (id, IncidentWord::Confirm { words }),
        IncidentCommand::Note { id, words } => (id, IncidentWord::Note { words }),
        IncidentCommand::Update { id, status, words } => {
            (id, IncidentWord::Update { status, words })
        }
        IncidentCommand::Severity {
            id,
            severity,
            words,
        } => (id, IncidentWord::Severity { severity, words }),
        IncidentCommand::Duty { id, duty, contact } => (id, IncidentWord::Duty { duty, contact }),
        IncidentCommand::Merge { id, into } => {
            let into = IncidentId(into);
            (id, IncidentWord::Merge { into })
        }
        IncidentCommand::Resolve { id, words } => (id, IncidentWord::Resolve { words }),
        IncidentCommand::Reopen { id, words } => (id, IncidentWord::Reopen { words }),
    };
    let path = format!("/v1/incidents/{id}/words");
    let view: IncidentView = client.post(&path, &word).await?;
    told(&view, json)
}

fn acknowledge(args: &AckArgs) -> Result<IncidentWord, Failure> {
    let for_ms = args.held_for.map(|span| {
        let ms = u64::try_from(span.as_millis()).ok().filter(|ms| *ms > 0);
        ms.map(Millis)
            .ok_or_else(|| Failure::misused("--for must be longer than nothing"))
    });
    Ok(IncidentWord::Acknowledge {
        for_ms: for_ms.transpose()?,
        via: Via::Cli,
    })
}

fn list(views: &[IncidentView], known: usize, json: bool) -> Result<ExitCode, Failure> {
    if json {
        output::json(&views)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (look, now) = (Look::stdout(), Timestamp::now());
    for line in views
        .iter()
        .flat_map(|view| incidents::brief(view, now, look))
    {
        println!("{line}");
    }
    let over = known - views.len();
    match (views.is_empty(), over) {
        (true, 0) => println!("no incidents"),
        (true, _) => println!("no open incidents; {over} are over (--all shows them)"),
        (false, _) => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn show(view: &IncidentView, zone: Option<TimeZone>, json: bool) -> Result<ExitCode, Failure> {
    if json {
        output::json(view)?;
    } else {
        let zone = zone.unwrap_or_else(TimeZone::system);
        for line in incidents::whole(view, &zone, Look::stdout()) {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where it stands after a word.
fn told(view: &IncidentView, json: bool) -> Result<ExitCode, Failure> {
    if json {
        output::json(view)?;
    } else {
        for line in incidents::brief(view, Timestamp::now(), Look::stdout()) {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}
