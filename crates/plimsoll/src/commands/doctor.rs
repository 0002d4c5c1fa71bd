//! `plimsoll doctor`: what is in the way?

use std::process::ExitCode;
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use wire::api::{Done, HostView, StatusView};

use crate::cli::{Ask, JsonArgs};
use crate::connect;
use crate::output::{self, BROKEN, Failure, Paint, paint};

#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    detail: String,
}

pub(crate) async fn doctor(args: JsonArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let mut findings = Vec::new();
    let began = Instant::now();
    let alive = client.get::<Done>("/healthz").await;
    findings.push(Finding {
        what: "connection",
        ok: alive.is_ok(),
        detail: match &alive {
            Ok(_) => format!("{} answers in {} ms", ask.url, began.elapsed().as_millis()),
            Err(error) => error.to_string(),
        },
    });
    if alive.is_ok() {
        let ready = client.get::<Done>("/readyz").await;
        findings.push(Finding {
            what: "readiness",
            ok: ready.is_ok(),
            detail: ready.map_or_else(|error| error.to_string(), |done| done.detail),
        });
        match client.get::<StatusView>("/v1/status").await {
            Ok(status) => {
                findings.push(Finding {
                    what: "token",
                    ok: true,
                    detail: "accepted".into(),
                });
                fleet(&client, &status, &mut findings).await;
            }
            Err(error) => {
                findings.push(Finding {
                    what: "token",
                    ok: false,
                    detail: error.to_string(),
                });
            }
        }
    }
    let ok = findings.iter().all(|finding| finding.ok);
    if args.json {
        output::json(&serde_json::json!({ "ok": ok, "findings": findings }))?;
    } else {
        for finding in &findings {
            let mark = if finding.ok {
                paint(Paint::Green, "ok  ")
            } else {
                paint(Paint::Red, "FAIL")
            };
            println!("{mark} {:<12} {}", finding.what, finding.detail);
        }
    }
    Ok(ExitCode::from(if ok { 0 } else { BROKEN }))
}

async fn fleet(client: &wire::Client, status: &StatusView, findings: &mut Vec<Finding>) {
    let hosts = match client.get::<Vec<HostView>>("/v1/hosts").await {
        Ok(hosts) => hosts,
        Err(error) => {
            return findings.push(Finding {
                what: "hosts",
                ok: false,
                detail: error.to_string(),
            });
        }
    };
    let missing: Vec<&str> = hosts
        .iter()
        .filter(|host| !host.enrolled)
        .map(|host| host.name.as_str())
        .collect();
    findings.push(Finding {
        what: "hosts",
        ok: missing.is_empty() && !hosts.is_empty(),
        detail: if hosts.is_empty() {
            "none are declared: `plimsoll hosts apply plimsoll.toml`".into()
        } else if missing.is_empty() {
            format!("{} declared, all have joined", hosts.len())
        } else {
            format!(
                "not joined: {} (`plimsoll hosts join-token HOST`)",
                missing.join(", ")
            )
        },
    });
    let now = Timestamp::now();
    let silent: Vec<&str> = hosts
        .iter()
        .filter(|host| host.enrolled)
        .filter(|host| {
            host.seen_at
                .is_none_or(|at| model::Millis::between(at, now).0 > 15_000)
        })
        .map(|host| host.name.as_str())
        .collect();
    findings.push(Finding {
        what: "reachable",
        ok: silent.is_empty(),
        detail: if silent.is_empty() {
            format!(
                "{} of {} heard from lately",
                status.hosts_reachable, status.hosts_enrolled
            )
        } else {
            format!(
                "silent: {}; is the agent running there, and its way to {} open?",
                silent.join(", "),
                client.base()
            )
        },
    });
    findings.push(health(&hosts));
}

fn health(hosts: &[HostView]) -> Finding {
    let sick: Vec<String> = hosts
        .iter()
        .flat_map(|host| host.services.iter().map(move |service| (host, service)))
        .filter(|(_, service)| service.healthy == Some(false))
        .map(|(host, service)| format!("{} on {}", service.service, host.name))
        .collect();
    Finding {
        what: "health",
        ok: sick.is_empty(),
        detail: if sick.is_empty() {
            "no service reports ill".into()
        } else {
            sick.join(", ")
        },
    }
}
