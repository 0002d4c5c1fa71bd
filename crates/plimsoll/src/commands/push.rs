//! `plimsoll push`: pack, show, upload, propose, follow.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use check::{Change, ServiceSource};
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
    let client = connect::client(ask)?;
    if args.dry_run {
        // Without a control plane there is nothing to compare with; the rest is shown all the same.
        let changes = changes(&client, service, &bundle).await.ok();
        if args.json {
            let words: Option<Vec<String>> =
                changes.map(|(_, changes)| changes.iter().map(ToString::to_string).collect());
            let dry = serde_json::json!({ "digest": digest, "bundle": bundle, "changes": words });
            output::json(&dry)?;
        } else {
            preview(
                &bundle,
                &args,
                service,
                changes.as_ref().map(|(_, changes)| changes.as_slice()),
            );
            println!("nothing was proposed (--dry-run)");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (base, changes) = changes(&client, service, &bundle).await?;
    if !args.json {
        preview(&bundle, &args, service, Some(&changes));
    }
    upload(&client, blobs, args.json).await?;
    let request = ProposeRequest {
        break_glass: None,
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
        let declared = model::PackageFacts {
            version: package.version.clone(),
            ..Default::default()
        };
        match wire::pack::package(&folder.join(&package.archive), name, declared) {
            Ok((entry, bytes)) => {
                packed.blobs.insert(entry.digest, bytes);
                packages.insert(name.clone(), entry);
            }
            Err(found) => problems.extend(found),
        }
    }
    let bundle = Bundle {
        requires: Default::default(),
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

/// What is good now, so that a push that was prepared against something else
/// is noticed, and what the new bundle changes in it.
async fn changes(
    client: &Client,
    service: &ServiceName,
    bundle: &Bundle,
) -> Result<(Option<Digest>, Vec<Change>), Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    let view = status
        .services
        .into_iter()
        .find(|view| view.name == *service);
    let good = view.and_then(|view| view.good);
    let base: Option<Bundle> = match good {
        Some(digest) => Some(client.get(&format!("/v1/bundles/{digest}")).await?),
        None => None,
    };
    Ok((good, check::diff(base.as_ref(), bundle)))
}

/// Changes shown; the rest is counted.
const CHANGES_SHOWN_MAX: usize = 20;

/// Names and sizes, never contents: configuration may hold secrets.
fn preview(bundle: &Bundle, args: &PushArgs, service: &ServiceName, changes: Option<&[Change]>) {
    let message = if args.message.is_empty() {
        "no message"
    } else {
        &args.message
    };
    let name = paint(Paint::Bold, service.as_str());
    println!(
        "{name} {}  {}",
        bundle.digest().short(),
        paint(Paint::Dim, message)
    );
    let Some(changes) = changes else {
        println!("  what it changes is not known: the control plane does not answer");
        return;
    };
    if changes.is_empty() {
        println!("  it changes nothing in what is good now");
    }
    for change in changes.iter().take(CHANGES_SHOWN_MAX) {
        println!("  {change}");
    }
    if changes.len() > CHANGES_SHOWN_MAX {
        println!("  and {} more", changes.len() - CHANGES_SHOWN_MAX);
    }
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
