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
    // One service for all needs no column: most fleets fit 80 characters then.
    let names: std::collections::BTreeSet<_> = hosts
        .iter()
        .flat_map(|host| host.services.iter().map(|entry| &entry.service))
        .collect();
    let several = names.len() > 1;
    let mut header = vec!["HOST", "WHERE", "RUNS", "GEN", "STATE", "SEEN"];
    if several {
        header.insert(2, "SERVICE");
    }
    let mut table = table(&header);
    for host in hosts {
        for service in &host.services {
            let health = match service.healthy {
                Some(true) => paint(Paint::Green, ", healthy"),
                Some(false) => paint(Paint::Red, ", unhealthy"),
                None => String::new(),
            };
            let seen = host.seen_at.map_or_else(
                || "never".to_owned(),
                |at| Millis::between(at, Timestamp::now()).to_string(),
            );
            let detail = service
                .detail
                .as_ref()
                .map_or_else(String::new, |detail| format!(" ({detail})"));
            let running = service
                .running
                .map_or_else(|| "-".to_owned(), |digest| digest.short());
            let mut row = vec![
                host.name.to_string(),
                format!("{}/{}", host.environment, host.zone),
                running,
                service.generation.to_string(),
                format!("{}{health}{detail}", service.state),
                seen,
            ];
            if several {
                row.insert(2, service.service.to_string());
            }
            table.add_row(row);
        }
    }
    print_table(&table);
}
