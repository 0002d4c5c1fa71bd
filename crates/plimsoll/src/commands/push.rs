//! `plimsoll push`: pack, show, upload, propose, follow.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use check::ServiceSource;
use model::{Bundle, Digest, ServiceName};
use wire::Client;
use wire::api::{MissingAnswer, MissingRequest, ProposeRequest, StatusView};

use crate::cli::{Ask, PushArgs};
use crate::commands::project;
use crate::connect;
use crate::narrate;
use crate::output::{self, Failure, Paint, paint};
use crate::words;

pub(crate) async fn push(args: PushArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(args: PushArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let project = project::read(&args.project)?;
    let (service, source) = choose(&project.services, args.service.as_ref())?;
    let folder = args.project.parent().unwrap_or(Path::new("."));
    let (bundle, blobs) = pack(service, source, folder)?;
    let digest = bundle.digest();
    if args.dry_run {
        if args.json {
            output::json(&serde_json::json!({ "digest": digest, "bundle": bundle }))?;
        } else {
            preview(&bundle, &args, service);
            println!("nothing was proposed (--dry-run)");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let client = connect::client(ask)?;
    let base = base(&client, service).await?;
    if !args.json {
        preview(&bundle, &args, service);
    }
    upload(&client, blobs, args.json).await?;
    let request = ProposeRequest {
        bundle,
        message: args.message.clone(),
        base,
    };
    let release = client.propose(&request).await?;
    if args.no_follow {
        if args.json {
            output::json(&release)?;
        } else {
            println!(
                "release {} is on its way; watch it with `plimsoll releases show {} --follow`",
                release.id, release.id
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wait = Duration::try_from(args.wait).unwrap_or(Duration::ZERO);
    narrate::follow(&client, release.id, wait, args.json).await
}

fn choose<'a>(
    services: &'a BTreeMap<ServiceName, ServiceSource>,
    wanted: Option<&ServiceName>,
) -> Result<(&'a ServiceName, &'a ServiceSource), Failure> {
    let names: Vec<&str> = services.keys().map(ServiceName::as_str).collect();
    let names = names.join(", ");
    match wanted {
        Some(name) => services.get_key_value(name).ok_or_else(|| {
            Failure::broken(format!("service {name} is not in the project file"))
                .next(format!("It has: {names}."))
        }),
        None if services.len() == 1 => services
            .iter()
            .next()
            .ok_or_else(|| Failure::broken("no service")),
        None => Err(Failure::broken("which service?").next(format!("Name one of: {names}."))),
    }
}

/// Reads files and archives. All problems at once.
fn pack(
    service: &ServiceName,
    source: &ServiceSource,
    folder: &Path,
) -> Result<(Bundle, BTreeMap<Digest, Bytes>), Failure> {
    let mut problems = Vec::new();
    let mut packed = wire::pack::Packed::default();
    if let Some(files) = &source.files {
        match wire::pack::folder(&folder.join(files)) {
            Ok(found) => packed = found,
            Err(found) => problems.extend(found),
        }
    }
    let mut packages = BTreeMap::new();
    for (name, package) in &source.packages {
        match wire::pack::package(&folder.join(&package.archive), &package.version) {
            Ok((entry, bytes)) => {
                packed.blobs.insert(entry.digest, bytes);
                packages.insert(name.clone(), entry);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let bundle = Bundle {
        service: service.clone(),
        files: packed.files,
        packages,
        commands: source.commands.clone(),
        health: source.health.clone(),
        plan: source.plan.clone(),
    };
    let words: Vec<String> = problems
        .iter()
        .map(ToString::to_string)
        .chain(bundle.problems())
        .collect();
    if words.is_empty() {
        return Ok((bundle, packed.blobs));
    }
    let count = words.len();
    let s = if count == 1 { "" } else { "s" };
    Err(Failure::broken(format!(
        "the bundle has {count} problem{s}:\n  {}",
        words.join("\n  ")
    )))
}

/// What is good now, so that a push that was prepared against something else is noticed.
async fn base(client: &Client, service: &ServiceName) -> Result<Option<Digest>, Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    Ok(status
        .services
        .into_iter()
        .find(|view| view.name == *service)
        .and_then(|view| view.good))
}

fn preview(bundle: &Bundle, args: &PushArgs, service: &ServiceName) {
    let message = if args.message.is_empty() {
        "no message"
    } else {
        &args.message
    };
    println!(
        "{} {}  {}",
        paint(Paint::Bold, service.as_str()),
        bundle.digest().short(),
        paint(Paint::Dim, message)
    );
    let count =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    println!(
        "  {}, {}, {} bytes",
        count(bundle.files.len(), "file"),
        count(bundle.packages.len(), "package"),
        bundle.size_bytes()
    );
}

async fn upload(
    client: &Client,
    blobs: BTreeMap<Digest, Bytes>,
    quiet: bool,
) -> Result<(), Failure> {
    let request = MissingRequest {
        digests: blobs.keys().copied().collect(),
    };
    let answer: MissingAnswer = client.post("/v1/blobs/missing", &request).await?;
    let total: u64 = answer
        .missing
        .iter()
        .filter_map(|digest| blobs.get(digest))
        .map(|bytes| bytes.len() as u64)
        .sum();
    let bar = if quiet {
        indicatif::ProgressBar::hidden()
    } else {
        words::upload_bar(total)
    };
    for digest in answer.missing {
        if let Some(bytes) = blobs.get(&digest) {
            client.put_blob(digest, bytes.clone()).await?;
            bar.inc(bytes.len() as u64);
        }
    }
    bar.finish_and_clear();
    Ok(())
}
