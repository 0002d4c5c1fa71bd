//! `plimsoll verdict` and `plimsoll continue`: what the judge says, and a person's word instead.
//!
//! Invariant: a replay says "the same" only of a record whose digest is the verdict's.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use model::{Explanation, ReleaseId, ServiceName};
use wire::api::{ContinueRequest, ReleaseView, VerdictView};
use wire::{Client, ClientError};

use crate::cli::{Ask, ContinueArgs, VerdictArgs};
use crate::connect;
use crate::judged;
use crate::look::Look;
use crate::output::{self, BROKEN, Failure, NOT_YET, Paint, ROLLED_BACK, paint};
use crate::replay;

/// Evidence changes with each second that is closed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A control plane that is away for less than this is waited for.
const AWAY_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn verdict(args: VerdictArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(args: VerdictArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let id = which(&client, args.what.as_deref()).await?;
    if args.watch {
        return watch(&client, id, &args).await;
    }
    let view = client.verdict(id).await?;
    if args.replay {
        return again(&client, &view, args.json).await;
    }
    if args.json {
        output::json(&view)?;
    } else {
        for line in judged::lines(&view, Look::stdout()) {
            println!("{line}");
        }
    }
    Ok(code(&view))
}

fn code(view: &VerdictView) -> ExitCode {
    if view.verdict == "fail" {
        ExitCode::from(ROLLED_BACK)
    } else {
        ExitCode::SUCCESS
    }
}

/// The release that is meant.
async fn which(client: &Client, what: Option<&str>) -> Result<ReleaseId, Failure> {
    if let Some(id) = what.and_then(|what| what.parse().ok()) {
        return Ok(ReleaseId(id));
    }
    let service: Option<ServiceName> = match what {
        Some(name) => Some(name.parse().map_err(|_| {
            Failure::misused(format!(
                "{name:?} is neither a release's number nor a service"
            ))
        })?),
        None => None,
    };
    let releases: Vec<ReleaseView> = client.releases(service.as_ref()).await?;
    // Newest first, as the control plane lists them.
    let newest = releases.into_iter().next().ok_or_else(|| {
        let of = service.map_or_else(String::new, |service| format!(" of {service}"));
        Failure::broken(format!("there is no release{of} yet")).next("Begin with `plimsoll push`.")
    })?;
    Ok(newest.id)
}

/// Shows it again and again, on terminals in its place, until the release is over.
async fn watch(client: &Client, id: ReleaseId, args: &VerdictArgs) -> Result<ExitCode, Failure> {
    let began = Instant::now();
    let wait = Duration::try_from(args.wait).unwrap_or(Duration::ZERO);
    let mut screen = Screen::default();
    let mut told: Option<VerdictView> = None;
    let mut away_since: Option<Instant> = None;
    loop {
        match client.verdict(id).await {
            Ok(view) => {
                away_since = None;
                if told.as_ref() != Some(&view) {
                    screen.show(&view, args.json)?;
                }
                if !view.live || view.verdict == "fail" {
                    return Ok(code(&view));
                }
                told = Some(view);
            }
            Err(error @ ClientError::Unreachable { .. }) => {
                if away_since.get_or_insert_with(Instant::now).elapsed() > AWAY_MAX {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        if began.elapsed() >= wait {
            return Ok(ExitCode::from(NOT_YET));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What stands on the screen already.
#[derive(Default)]
struct Screen {
    lines: usize,
}

impl Screen {
    fn show(&mut self, view: &VerdictView, json: bool) -> Result<(), Failure> {
        if json {
            return output::json(view);
        }
        let look = Look::stdout();
        if !std::io::stdout().is_terminal() {
            // A pipe can't be redrawn; one line says what moved.
            if let Some(line) = judged::line(view) {
                println!("{line}");
            }
            return Ok(());
        }
        let lines = judged::lines(view, look);
        if self.lines > 0 {
            // Up to where it began, and away with what stood there.
            print!("\x1b[{}A\x1b[J", self.lines);
        }
        for line in &lines {
            println!("{line}");
        }
        self.lines = lines.len();
        Ok(())
    }
}

/// Computes a verdict again from its record, and says whether it is the same.
async fn again(client: &Client, view: &VerdictView, json: bool) -> Result<ExitCode, Failure> {
    let (id, explanation) = (view.release, view.explanation.as_ref());
    let recorded = explanation.and_then(|it| Some((it, it.record?)));
    let Some((explanation, digest)) = recorded else {
        let (why, next) = match (view.live, explanation) {
            (_, None) => ("nothing was counted", "There is nothing to compute."),
            (true, Some(_)) => (
                "its wave is not decided yet",
                "Seconds are recorded with a verdict; ask again when one is given.",
            ),
            (false, Some(_)) => (
                "it has no record",
                "What takes more than four hours is judged without one; else the control plane's log says why.",
            ),
        };
        let message = format!("the verdict on release {id} can't be computed again: {why}");
        return Err(Failure::broken(message).next(next));
    };
    let bytes = replay::fetch(client, digest).await?;
    let record = replay::read(digest, &bytes)?;
    let differs = replay::differences(explanation, &record);
    if json {
        output::json(&serde_json::json!({
            "release": id, "record": digest, "seconds": record.ticks.len(),
            "same": differs.is_empty(), "differences": differs,
            "times": replay::times(&record),
        }))?;
    } else {
        tell(view, explanation, &record, &differs);
    }
    Ok(match differs.as_slice() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::from(BROKEN),
    })
}

fn tell(
    view: &VerdictView,
    explanation: &Explanation,
    record: &judge::Record,
    differs: &[replay::Difference],
) {
    println!(
        "release {}: {} seconds of {} strata and {} hosts computed again",
        view.release,
        record.ticks.len(),
        record.strata.len(),
        record.hosts.len()
    );
    println!("{}", judged::evidence(explanation));
    if let Some(line) = shown(&replay::times(record)) {
        println!("{line}");
    }
    if differs.is_empty() {
        println!("{}", paint(Paint::Green, "the same, bit for bit"));
    }
    for it in differs {
        println!(
            "{} {}: the journal has {}, computed again it is {}",
            paint(Paint::Red, "differs"),
            it.what,
            it.journal,
            it.replayed
        );
    }
}

/// When harm was shown, if it was.
fn shown(times: &replay::Times) -> Option<String> {
    let shown = times.shown.as_ref()?;
    let second = shown.at + 1;
    let since = times.served.as_ref().map(|served| shown.at + 1 - served.at);
    let since = since.map_or_else(String::new, |since| {
        format!(", {since} s after the first request to the new bundle")
    });
    let over = shown.over.map_or_else(String::new, |over| {
        format!(" (over at {})", over.strftime("%H:%M:%S UTC"))
    });
    Some(format!("harm was shown with second {second}{over}{since}"))
}

pub(crate) async fn carry_on(args: ContinueArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let request = ContinueRequest {
        reason: args.reason,
    };
    let release = client
        .carry_on(args.release, &request)
        .await
        .map_err(|error| Failure::from(error).with_json(args.json))?;
    if args.json {
        output::json(&release)?;
    } else {
        println!(
            "{} release {} goes on; watch it with `plimsoll releases show {} --follow`",
            paint(Paint::Green, "continued:"),
            release.id,
            release.id
        );
    }
    Ok(ExitCode::SUCCESS)
}
