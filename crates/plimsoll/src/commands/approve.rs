//! `plimsoll approve`: shows what somebody agrees to, asks, and sends exactly that.
//!
//! Invariant: what is sent binds to what was shown. If anything of it is
//! another by then, the control plane refuses.

use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use model::refusal::Code;
use model::{Bundle, Digest, EnvironmentName, GateState, Millis, Refusal};
use wire::Client;
use wire::api::{ApproveRequest, ReleaseView};
use wire::client::Fetched;

use crate::checklist;
use crate::cli::{ApproveArgs, Ask};
use crate::connect;
use crate::look::Look;
use crate::output::{self, Failure, Paint, paint};
use crate::words::{self, led, led_whole};

pub(crate) async fn approve(args: ApproveArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(args: ApproveArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let release = release(&client, args.release).await?;
    let binds = ready(&release)?;
    if !args.json {
        let bundle: Bundle = client
            .get(&format!("/v1/bundles/{}", release.digest))
            .await?;
        for line in shown(&release, &bundle, Timestamp::now(), Look::stdout()) {
            println!("{line}");
        }
    }
    if !args.yes && !agreed(&format!("approve release {}?", release.id))? {
        println!("nothing was approved");
        return Ok(ExitCode::SUCCESS);
    }
    let request = ApproveRequest {
        release: release.id,
        binds,
        note: args.note,
    };
    let release = client.approve(&request).await?;
    if args.json {
        output::json(&release)?;
        return Ok(ExitCode::SUCCESS);
    }
    let given = release.approvals.len();
    println!(
        "{} release {} has {given} of {} approvals",
        paint(Paint::Green, "approved:"),
        release.id,
        release.approvals_needed
    );
    Ok(ExitCode::SUCCESS)
}

/// One release as it is now.
pub(crate) async fn release(client: &Client, id: model::ReleaseId) -> Result<ReleaseView, Failure> {
    match client.release(id, "", Duration::ZERO).await? {
        Fetched::New(release, _) => Ok(release),
        Fetched::Unchanged => Err(Failure::broken(
            "the control plane answered 304 to an unconditional request",
        )),
    }
}

/// What an approval binds to; refused while there is nothing to bind to.
fn ready(release: &ReleaseView) -> Result<Digest, Refusal> {
    if let Some(binds) = release.binds {
        return Ok(binds);
    }
    let id = release.id;
    let refused = |message, next: String| Refusal::new(Code::NoApprovalNeeded, message, next);
    if release.approvals_needed == 0 {
        return Err(refused(
            format!("release {id} needs no approval: it touches no high-risk option"),
            format!("`plimsoll releases show {id}` tells what it waits for."),
        ));
    }
    let open = release
        .gates
        .iter()
        .find(|gate| matches!(gate.state, GateState::Running | GateState::Failed));
    let stands = open.map_or_else(
        || release.state.to_string(),
        |gate| format!("{} is {}", gate.gate, gate.state),
    );
    Err(refused(
        format!(
            "release {id} can't be approved yet: an approval binds to the test's evidence, and {stands}"
        ),
        format!(
            "Follow it with `plimsoll releases show {id} --follow`; it says when it waits for you."
        ),
    ))
}

/// Everything that is agreed to.
fn shown(release: &ReleaseView, bundle: &Bundle, now: Timestamp, look: Look) -> Vec<String> {
    let mut lines = vec![format!(
        "release {} of {}",
        look.paint(Paint::Bold, &release.id.to_string()),
        look.paint(Paint::Bold, release.service.as_str())
    )];
    lines.extend(led("author", &release.author, look));
    lines.extend(led("message", &release.message, look));
    lines.extend(led_whole("bundle", release.digest));
    let base = release
        .base
        .map_or_else(|| "nothing".to_owned(), |base| base.to_string());
    lines.extend(led_whole("replaces", base));
    lines.extend(words::risk_lines(&release.risks, look));
    for (index, warning) in release.warnings.iter().enumerate() {
        let lead = if index == 0 { "warned of" } else { "" };
        lines.extend(led(lead, &warning.to_string(), look));
    }
    lines.extend(checklist::lines(&release.gates, now, look));
    if let Some(back) = release.expected_rollback_ms {
        let back = format!(
            "{}, as rehearsed; you agree to it too, whenever it is needed",
            Millis(back)
        );
        lines.extend(led("way back", &back, look));
    }
    // In the order in which the release passes them, as far as that is known yet.
    let stages = &bundle.plan.stages;
    let passed = |name: &EnvironmentName| {
        let mut stages = release.stages.iter();
        stages.any(|stage| stage.environment == *name)
    };
    let (first, later): (Vec<_>, Vec<_>) = stages.iter().partition(|(name, _)| passed(name));
    for (environment, stage) in first.into_iter().chain(later) {
        let s = if stage.waves.len() == 1 { "" } else { "s" };
        let plan = format!(
            "{} wave{s}, at least {} and {} requests each, failure budget {}",
            stage.waves.len(),
            stage.bake_ms,
            stage.requests_min,
            stage.failure_budget_permille
        );
        lines.extend(led(environment.as_str(), &plan, look));
    }
    for approval in &release.approvals {
        let at = words::moment(approval.at, now);
        lines.extend(led(
            "approved",
            &format!("by {} at {at}", approval.by),
            look,
        ));
    }
    lines
}

/// Asks on a terminal; elsewhere nobody can have looked, so `--yes` must say so.
pub(crate) fn agreed(what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::misused("nobody is here to be asked")
            .next("Look at it with `plimsoll releases show`, then use --yes."));
    }
    print!("\n{what} type yes: ");
    std::io::stdout().flush().map_err(Failure::caused)?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Failure::caused)?;
    Ok(answer.trim() == "yes")
}
