//! `plimsoll push`: pack, check, show, upload, propose, follow.
//!
//! Invariant: nothing is proposed that the control plane's own checks refuse,
//! and with `--dry-run` nothing is proposed at all.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use check::{Change, Project};
use jiff::Timestamp;
use model::refusal::Code;
use model::{Bundle, Digest, Finding, Gate, GateLook, GateState, Refusal, ServiceName, Severity};
use wire::Client;
use wire::api::{
    CheckAnswer, CheckRequest, MissingAnswer, MissingRequest, PlanRequest, PlanView,
    ProposeRequest, StatusView,
};

use crate::checklist;
use crate::cli::{Ask, PushArgs};
use crate::commands::check::{assess, denies, folder};
use crate::commands::pack::{self, Archives, Pack};
use crate::commands::project;
use crate::connect;
use crate::findings;
use crate::look::Look;
use crate::narrate;
use crate::output::{self, Failure, Paint, paint};
use crate::planned;
use crate::words;

pub(crate) async fn push(args: PushArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(args: PushArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let project = project::read(&args.project)?;
    let (service, source) = project::choose(&project.services, args.service.as_ref())?;
    let folder = folder(&args.project);
    let pack = pack::pack(service, source, folder, Archives::Needed)?;
    let client = connect::client(ask)?;
    if args.dry_run {
        return dry_run(&project, pack, &args, &client).await;
    }
    let (base, changes) = changes(&client, service, &pack.bundle).await?;
    if !args.json {
        preview(&pack.bundle, &args, service, Some(&changes));
    }
    upload(&client, &pack.blobs, args.json).await?;
    let request = CheckRequest {
        bundle: pack.bundle.clone(),
    };
    let answer = client.check(&request).await?;
    if let Some(refusal) = refusal(&answer.findings) {
        return Err(Failure::from(refusal).in_sources(pack.sources));
    }
    if !args.json {
        advise(&project, &pack, &answer);
        let plan = foreseen(&client, &pack.bundle).await;
        for line in plan
            .iter()
            .flat_map(|it| planned::all_warnings(it, Look::stdout()))
        {
            println!("{line}");
        }
    }
    let request = ProposeRequest {
        break_glass: args.break_glass,
        bundle: pack.bundle,
        message: args.message.clone(),
        base,
    };
    let release = client
        .propose(&request)
        .await
        .map_err(|error| Failure::from(error).in_sources(pack.sources))?;
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

/// The control plane's no, in one sentence; the findings say the rest.
fn refusal(found: &[Finding]) -> Option<Refusal> {
    let denied: Vec<&Finding> = found
        .iter()
        .filter(|finding| finding.severity == Severity::Deny)
        .collect();
    if denied.is_empty() {
        return None;
    }
    let only_packages = denied
        .iter()
        .all(|finding| finding.gate == Gate::Compatibility);
    let count = findings::count(found);
    let refusal = if only_packages {
        Refusal::new(
            Code::Incompatible,
            format!("the bundle doesn't go with what is deployed: {count}"),
            "Change what the bundle needs, or release what it needs first. No host was touched.",
        )
    } else {
        Refusal::new(
            Code::ChecksFailed,
            format!("the checks say no: {count}"),
            "Mend it and push again; `plimsoll check` looks without a control plane. No host was touched.",
        )
    };
    Some(refusal.with(found.to_vec()))
}

/// Warnings, high-risk options, and rules that are not those of the project.
fn advise(project: &Project, pack: &Pack, answer: &CheckAnswer) {
    let look = Look::stdout();
    let shown: Vec<Finding> = answer
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warn)
        .cloned()
        .collect();
    if !shown.is_empty() {
        print!("{}", findings::render(&shown, &pack.sources, look));
    }
    for line in words::risk_lines(&answer.risks, look) {
        println!("{line}");
    }
    if answer.approvals_needed > 0 && !answer.risks.is_empty() {
        let count = answer.approvals_needed;
        let people = if count == 1 { "person" } else { "people" };
        let words = format!("{count} {people} other than you, before production");
        for line in words::led("to approve", &words, look) {
            println!("{line}");
        }
    }
    if let Some(words) = other_rules(project, pack, answer) {
        for line in words::led("rules", &words, look) {
            println!("{line}");
        }
    }
}

/// The rules of plimsoll.toml, when they are not those that the control plane holds.
fn other_rules(project: &Project, pack: &Pack, answer: &CheckAnswer) -> Option<String> {
    let spec = project.topology.services.get(&pack.bundle.service)?;
    (spec.checks.digest() != answer.check_set).then(|| {
        "plimsoll.toml has other rules than the control plane, whose rules count; an operator applies them with `plimsoll hosts apply`".to_owned()
    })
}

/// What the plan can see, from the service's own traffic. Advice: without it a push goes on.
async fn foreseen(client: &Client, bundle: &Bundle) -> Option<PlanView> {
    let request = PlanRequest {
        service: bundle.service.clone(),
        plan: Some(bundle.plan.clone()),
    };
    client.plan(&request).await.ok()
}

/// What a push would say, without proposing; without a control plane as far as that goes.
async fn dry_run(
    project: &Project,
    pack: Pack,
    args: &PushArgs,
    client: &Client,
) -> Result<ExitCode, Failure> {
    let service = &pack.bundle.service;
    let changes = changes(client, service, &pack.bundle).await;
    let (changes, away) = match changes {
        Ok((_, changes)) => (Some(changes), None),
        Err(error) => (None, Some(error)),
    };
    if !args.json {
        preview(&pack.bundle, args, service, changes.as_deref());
    }
    let answer = match &away {
        Some(_) => None,
        None => {
            upload(client, &pack.blobs, args.json).await?;
            let bundle = pack.bundle.clone();
            Some(client.check(&CheckRequest { bundle }).await?)
        }
    };
    let (found, gates) = match &answer {
        Some(answer) => (answer.findings.clone(), answer.gates.clone()),
        None => offline(project, &pack),
    };
    let plan = match &away {
        Some(_) => None,
        None => foreseen(client, &pack.bundle).await,
    };
    if args.json {
        let words: Option<Vec<String>> =
            changes.map(|changes| changes.iter().map(ToString::to_string).collect());
        output::json(&serde_json::json!({
            "digest": pack.bundle.digest(), "bundle": pack.bundle, "changes": words,
            "findings": found, "gates": gates, "check": answer, "plan": plan,
        }))?;
    } else {
        match &answer {
            Some(answer) if !denies(&found) => advise(project, &pack, answer),
            Some(_) => {}
            None if !found.is_empty() && !denies(&found) => {
                print!(
                    "{}",
                    findings::render(&found, &pack.sources, Look::stdout())
                );
            }
            None => {}
        }
        for line in plan
            .iter()
            .flat_map(|it| planned::short(it, Look::stdout()))
        {
            println!("{line}");
        }
        println!("gates");
        for line in checklist::lines(&gates, Timestamp::now(), Look::stdout()) {
            println!("{line}");
        }
        if let Some(error) = &away {
            println!("checked on this machine alone: {}", error.words());
        }
        println!("nothing was proposed (--dry-run)");
    }
    match refusal(&found) {
        Some(refusal) => Err(Failure::from(refusal).in_sources(pack.sources)),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// What this machine can say by itself, as a checklist.
fn offline(project: &Project, pack: &Pack) -> (Vec<Finding>, Vec<GateLook>) {
    let (assessment, mut found) = assess(project, pack, None);
    found.extend(assessment.into_iter().flat_map(|it| it.findings));
    let gates = Gate::ALL.iter().map(|gate| {
        let of: Vec<Finding> = found
            .iter()
            .filter(|finding| finding.gate == *gate)
            .cloned()
            .collect();
        let (state, detail) = match gate {
            Gate::Checks | Gate::Compatibility if denies(&of) => {
                (GateState::Failed, findings::count(&of))
            }
            Gate::Checks | Gate::Compatibility => {
                let words = findings::count(&of);
                let words = match words.as_str() {
                    "" => "by the rules of plimsoll.toml".to_owned(),
                    words => format!("by the rules of plimsoll.toml, {words}"),
                };
                (GateState::Passed, words)
            }
            Gate::Test
            | Gate::Rehearsal
            | Gate::Matrix
            | Gate::Hostile
            | Gate::References
            | Gate::Approval
            | Gate::Freeze
            | Gate::Attestation => (GateState::Pending, "needs the control plane".to_owned()),
        };
        GateLook {
            gate: *gate,
            state,
            detail,
            began_at: None,
            ended_at: None,
        }
    });
    let gates = gates.collect();
    (found, gates)
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
        println!("  what it changes is not known without the control plane");
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
    blobs: &BTreeMap<Digest, Bytes>,
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
