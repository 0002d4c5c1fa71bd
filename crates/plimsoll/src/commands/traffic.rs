//! `plimsoll traffic`.

use std::process::ExitCode;

use model::ServiceName;
use serde::Serialize;
use wire::api::{
    Done, DrainRequest, HostTraffic, HostTrafficState, RampRequest, RoutingView, ServiceTraffic,
    ShiftRequest,
};

use crate::cli::{Ask, TrafficArgs, TrafficCommand};
use crate::connect;
use crate::output::{self, Failure};

pub(crate) async fn traffic(args: TrafficArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    match args.what {
        TrafficCommand::Show { service } => shown(service, json, ask).await,
        TrafficCommand::Drain {
            service,
            host,
            reason,
            force,
        } => {
            let request = DrainRequest {
                service,
                host,
                reason,
                force,
            };
            tell("/v1/traffic/drain", &request, json, ask).await
        }
        TrafficCommand::Undrain {
            service,
            host,
            reason,
        } => {
            let request = DrainRequest {
                service,
                host,
                reason,
                force: false,
            };
            tell("/v1/traffic/undrain", &request, json, ask).await
        }
        TrafficCommand::Shift {
            service,
            away_from,
            reason,
        } => {
            let request = ShiftRequest {
                service,
                away_from,
                reason,
            };
            tell("/v1/traffic/shift", &request, json, ask).await
        }
        TrafficCommand::Ramp {
            service,
            to,
            hold,
            reason,
        } => {
            let request = RampRequest {
                service,
                open_permille: to,
                hold,
                reason,
            };
            tell("/v1/traffic/ramp", &request, json, ask).await
        }
    }
}

async fn shown(service: Option<ServiceName>, json: bool, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let view: Result<RoutingView, _> = client.get("/v1/traffic").await;
    let mut view = view.map_err(|error| Failure::from(error).with_json(json))?;
    if let Some(service) = service {
        view.services.retain(|it| it.service == service);
    }
    match json {
        true => output::json(&view)?,
        false => view.services.iter().for_each(show),
    }
    Ok(ExitCode::SUCCESS)
}

async fn tell(
    path: &str,
    request: &impl Serialize,
    json: bool,
    ask: &Ask,
) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let done: Result<Done, _> = client.post(path, request).await;
    let done = done.map_err(|error| Failure::from(error).with_json(json))?;
    match json {
        true => output::json(&done)?,
        false => println!("{}", done.detail),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(service: &ServiceTraffic) {
    println!("{} in {}", service.service, service.environment);
    for bundle in &service.bundles {
        println!(
            "  {}  {:>6}  {} hosts",
            bundle.digest.short(),
            bundle.share_permille.to_string(),
            bundle.hosts
        );
    }
    if let Some(ramp) = &service.ramp {
        println!(
            "  open to {} of the tenants ({ramp})",
            service.open_permille
        );
    }
    for host in &service.hosts {
        println!("  {}", host_line(host));
    }
    if let Some(restart) = &service.restart {
        let waits = restart.waiting.as_deref().unwrap_or("nothing");
        println!(
            "  restart {} by {}: waits for {waits}",
            restart.id, restart.by
        );
    }
    let applied = service.gateways.iter();
    let applied = applied.filter(|gateway| gateway.version >= service.version);
    println!(
        "  routes {}, applied by {} of {} gateways",
        service.version,
        applied.count(),
        service.gateways.len()
    );
}

fn host_line(host: &HostTraffic) -> String {
    let word = match host.state {
        HostTrafficState::Serving => "serving",
        HostTrafficState::Draining => "draining",
        HostTrafficState::Drained => "drained",
        HostTrafficState::Out => "out",
    };
    let mut line = format!("{:<20} {word}", host.host.as_str());
    if let Some(requests) = host.in_flight.filter(|requests| *requests > 0) {
        line.push_str(&format!(", {requests} requests to end"));
    }
    if let Some(detail) = &host.detail {
        line.push_str(&format!(" ({detail})"));
    }
    line
}
