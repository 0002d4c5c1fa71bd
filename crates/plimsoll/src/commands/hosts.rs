//! `plimsoll hosts`.

use std::process::ExitCode;

use jiff::Timestamp;
use model::Millis;
use wire::api::{Done, HostView, JoinTokenRequest, TokenAnswer, TokenRequest};

use crate::cli::{Ask, HostsArgs, HostsCommand};
use crate::commands::project;
use crate::connect;
use crate::output::{self, Failure, Paint, paint, print_table, table};

pub(crate) async fn hosts(args: HostsArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let json = args.json;
    match args.what {
        None => {
            let hosts: Vec<HostView> = client.get("/v1/hosts").await?;
            if json {
                output::json(&hosts)?;
            } else {
                show(&hosts);
            }
        }
        Some(HostsCommand::Apply { project }) => {
            let project = project::read(&project)?;
            let done: Done = client.set_topology(&project.topology).await?;
            say(json, &done, &done.detail)?;
        }
        Some(HostsCommand::JoinToken { host, valid }) => {
            let valid_s = u64::try_from(valid.as_secs()).unwrap_or(0);
            let request = JoinTokenRequest {
                host: host.clone(),
                valid_s,
            };
            let answer: TokenAnswer = client.post("/v1/join-tokens", &request).await?;
            say(json, &answer, &answer.token)?;
            if !json {
                eprintln!("one use, for {host}, within {}", Millis::seconds(valid_s));
            }
        }
        Some(HostsCommand::Token { name, role }) => {
            let request = TokenRequest {
                name: name.clone(),
                role,
            };
            let answer: TokenAnswer = client.post("/v1/tokens", &request).await?;
            say(json, &answer, &answer.token)?;
            if !json {
                eprintln!("for {name}, role {role}; it is not shown again");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say<T: serde::Serialize>(json: bool, value: &T, words: &str) -> Result<(), Failure> {
    if json {
        return output::json(value);
    }
    println!("{words}");
    Ok(())
}

fn show(hosts: &[HostView]) {
    if hosts.is_empty() {
        println!("no hosts are declared; begin with `plimsoll hosts apply plimsoll.toml`");
        return;
    }
    let mut table = table(&[
        "HOST",
        "ENVIRONMENT",
        "ZONE",
        "SERVICE",
        "RUNS",
        "GEN",
        "STATE",
        "HEALTH",
        "SEEN",
    ]);
    for host in hosts {
        for service in &host.services {
            let health = match service.healthy {
                Some(true) => paint(Paint::Green, "healthy"),
                Some(false) => paint(Paint::Red, "unhealthy"),
                None => "-".to_owned(),
            };
            let seen = host.seen_at.map_or_else(
                || "never".to_owned(),
                |at| format!("{} ago", Millis::between(at, Timestamp::now())),
            );
            let state = match &service.detail {
                Some(detail) => format!("{} ({detail})", service.state),
                None => service.state.clone(),
            };
            let running = service
                .running
                .map_or_else(|| "-".to_owned(), |digest| digest.short());
            table.add_row([
                host.name.to_string(),
                host.environment.to_string(),
                host.zone.to_string(),
                service.service.to_string(),
                running,
                service.generation.to_string(),
                state,
                health,
                seen,
            ]);
        }
    }
    print_table(&table);
}
