//! `plimsoll server` and `plimsoll gateway`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use gateway::{GatewayConfig, Limits, TlsFiles, UpstreamTls};
use server::{ServerConfig, StatusPage};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::cli::{Ask, GatewayArgs, LogArgs, ServerArgs, StatusArgs};
use crate::commands::project;
use crate::connect;
use crate::output::Failure;

/// Logs go to standard error; standard output is for answers.
pub(crate) fn start_logs(args: &LogArgs) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| Failure::broken(format!("--log {:?}: {error}", args.log)))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if args.log_json {
        builder.json().init();
    } else {
        builder
            .with_ansi(crate::output::err_colour())
            .with_target(false)
            .init();
    }
    Ok(())
}

/// Turns true at the first SIGTERM or SIGINT.
pub(crate) fn stop_signal() -> Result<watch::Receiver<bool>, Failure> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::caused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::caused)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("told to stop; draining");
        sender.send_replace(true);
        // Kept, because a dropped sender would look like an error to late subscribers.
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}

pub(crate) async fn server(args: ServerArgs) -> Result<ExitCode, Failure> {
    start_logs(&args.log)?;
    let topology = match &args.project {
        Some(path) => Some(project::read(path)?.topology),
        None => None,
    };
    let notify = match &args.notify {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::broken(format!("{} can't be read: {error}", path.display()))
            })?;
            let folder = path.parent().map(Path::to_owned).unwrap_or_default();
            Some((text, folder))
        }
        None => None,
    };
    let tls = args.tls_cert.zip(args.tls_key);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let config = ServerConfig {
        data: args.data,
        listen: args.listen,
        tls,
        topology,
        drain: Duration::try_from(args.drain).unwrap_or_default(),
        notify,
        status: status_page(args.status),
    };
    let stop = stop_signal()?;
    let started = |started: server::Started| {
        // One line on standard output, so that scripts can wait for it and learn the port.
        println!("listening on {scheme}://{}", started.address);
        println!("operator token in {}", started.token_file.display());
        if let Some(address) = started.status {
            println!("status page on {scheme}://{address}");
        }
    };
    server::run(config, stop, started)
        .await
        .map_err(Failure::caused)?;
    Ok(ExitCode::SUCCESS)
}

/// `None` if it is neither served nor written.
fn status_page(args: StatusArgs) -> Option<StatusPage> {
    let is_wanted = args.status_page.is_some() || args.status_export.is_some();
    is_wanted.then_some(StatusPage {
        listen: args.status_page,
        export: args.status_export,
        url: args.status_url,
        name: args.status_name,
    })
}

pub(crate) async fn gateway(args: GatewayArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    start_logs(&args.log)?;
    let (is_check, config) = (args.check, gateway_config(args, ask)?);
    if is_check {
        return check_gateway(&config);
    }
    let started = |started: gateway::Started| {
        for (service, address) in &started.services {
            println!("serving {service} on http://{address}");
        }
        for (service, address) in &started.tls {
            println!("serving {service} on https://{address}");
        }
        if let Some(address) = started.admin {
            println!("operators on http://{address}");
        }
    };
    let reload = config.reload.clone();
    let mut hang_up = signal(SignalKind::hangup()).map_err(Failure::caused)?;
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            tracing::info!("told to look at the certificate");
            reload.notify_one();
        }
    });
    gateway::run(config, stop_signal()?, started)
        .await
        .map_err(Failure::caused)?;
    Ok(ExitCode::SUCCESS)
}

fn gateway_config(args: GatewayArgs, ask: &Ask) -> Result<GatewayConfig, Failure> {
    let span = |span| Duration::try_from(span).unwrap_or_default();
    let mut config = GatewayConfig::new(ask.url.clone(), args.name, args.environment);
    config.token = connect::token(ask)?;
    config.ca = ask.ca();
    config.listeners = args.serve.into_iter().collect();
    config.tls_listeners = args.serve_tls.into_iter().collect();
    config.tls = args
        .tls_cert
        .zip(args.tls_key)
        .map(|(certificates, key)| TlsFiles { certificates, key });
    config.upstream_tls = UpstreamTls {
        ca: args.upstream_ca,
        client: args
            .upstream_cert
            .zip(args.upstream_key)
            .map(|(certificates, key)| TlsFiles { certificates, key }),
        is_unverified: args.upstream_unverified,
    };
    config.trace_sampled = args.trace_sampled;
    config.admin = args.admin;
    config.state_dir = args.state;
    config.concurrency = args.limits.workers;
    config.upgrades = args.limits.upgrade;
    config.limits = Limits {
        request_deadline: span(args.limits.deadline),
        head_deadline: span(args.limits.head_deadline),
        body_rate_min: args.limits.body_rate,
        body_bytes_max: args.limits.body_max,
        header_bytes_max: args.limits.head_max,
        connections_max: args.limits.connections,
        streams_max: args.limits.streams,
        client_idle: span(args.limits.idle),
        tunnel_idle: span(args.limits.upgrade_idle),
        drain: span(args.limits.drain),
        ..Limits::default()
    };
    Ok(config)
}

/// Each problem is a line on standard error.
fn check_gateway(config: &GatewayConfig) -> Result<ExitCode, Failure> {
    let problems = gateway::check(config);
    if problems.is_empty() {
        println!("nothing is wrong with it");
        return Ok(ExitCode::SUCCESS);
    }
    let lines: Vec<String> = problems
        .into_iter()
        .map(|problem| Failure::caused(problem).words().to_owned())
        .collect();
    Err(Failure::broken(lines.join("\n")))
}
