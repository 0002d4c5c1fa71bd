//! `plimsoll oncall`, `plimsoll page` and `plimsoll slo`.

use std::path::Path;
use std::process::ExitCode;

use http::Method;
use incident::oncall::check::{gaps_ahead, problems};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::ScheduleName;
use model::incident::Setup;
use serde::Serialize;
use wire::Client;
use wire::api::{
    Done, OnCallView, OverrideRequest, RemoveOverrideRequest, SetupRequest, SwapRequest,
    TakeRequest, TestPageRequest,
};

use crate::cli::{Ask, OnCallArgs, OnCallCommand, PageArgs, PageCommand, SloArgs, SloCommand};
use crate::commands::project;
use crate::connect;
use crate::look::Look;
use crate::output::{self, BROKEN, Failure};
use crate::rota;

/// After `apply`: gaps of so many days are told, as the control plane looks for them.
const GAPS_DAYS: u16 = 90;
/// And so many days are shown.
const PREVIEW_DAYS: i64 = 14;

pub(crate) async fn oncall(args: OnCallArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args.what, json, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(what: OnCallCommand, json: bool, ask: &Ask) -> Result<ExitCode, Failure> {
    match what {
        OnCallCommand::Now => {
            let view = view(&connect::client(ask)?, None).await?;
            let lines = rota::now(&view, Timestamp::now(), Look::stdout());
            shown(&view.schedules, lines, json)
        }
        OnCallCommand::Show => {
            let view = view(&connect::client(ask)?, None).await?;
            let lines = rota::declared(&view, Timestamp::now(), Look::stdout());
            shown(&view, lines, json)
        }
        OnCallCommand::Preview {
            schedule,
            days,
            zone,
        } => preview(schedule, days, zone, json, ask).await,
        OnCallCommand::Apply { file, dry_run } => apply(&file, dry_run, json, ask).await,
        OnCallCommand::Take {
            schedule,
            contact,
            until,
        } => {
            let request = TakeRequest {
                schedule,
                contact,
                until,
            };
            tell("/v1/oncall/take", &request, json, ask).await
        }
        OnCallCommand::Swap {
            schedule,
            one,
            other,
        } => {
            let request = SwapRequest {
                schedule,
                one,
                other,
            };
            tell("/v1/oncall/swap", &request, json, ask).await
        }
        OnCallCommand::Override {
            schedule,
            remove: Some(id),
            ..
        } => {
            let request = RemoveOverrideRequest { schedule, id };
            tell("/v1/oncall/override/remove", &request, json, ask).await
        }
        OnCallCommand::Override {
            schedule,
            contact,
            from,
            until,
            remove: None,
        } => {
            let missing = || Failure::misused("--as and --until are needed");
            let request = OverrideRequest {
                schedule,
                contact: contact.ok_or_else(missing)?,
                from: from.unwrap_or_else(Timestamp::now),
                until: until.ok_or_else(missing)?,
            };
            tell("/v1/oncall/override", &request, json, ask).await
        }
    }
}

async fn view(client: &Client, days: Option<u16>) -> Result<OnCallView, Failure> {
    let path = match days {
        Some(days) => format!("/v1/oncall?days={days}"),
        None => "/v1/oncall".to_owned(),
    };
    Ok(client.get(&path).await?)
}

fn shown(value: &impl Serialize, lines: Vec<String>, json: bool) -> Result<ExitCode, Failure> {
    match json {
        true => output::json(value)?,
        false => lines.iter().for_each(|line| println!("{line}")),
    }
    Ok(ExitCode::SUCCESS)
}

async fn preview(
    schedule: Option<ScheduleName>,
    days: u16,
    zone: Option<TimeZone>,
    json: bool,
    ask: &Ask,
) -> Result<ExitCode, Failure> {
    let mut view = view(&connect::client(ask)?, Some(days)).await?;
    if let Some(wanted) = &schedule {
        view.schedules.retain(|it| it.name == *wanted);
        if view.schedules.is_empty() {
            return Err(Failure::broken(format!("there is no schedule {wanted}"))
                .next("`plimsoll oncall show` shows those that there are."));
        }
    }
    let until = Timestamp::MAX;
    let mut lines = rota::gaps(&view, zone.as_ref(), Look::stdout());
    lines.extend(rota::ahead(&view, until, zone.as_ref(), Look::stdout()));
    shown(&view.schedules, lines, json)
}

/// A file for people, or all that is wrong with it; that is shown, or printed for programs.
fn read(file: &Path, json: bool) -> Result<Result<Setup, ExitCode>, Failure> {
    let (name, text) = project::text(file).map_err(|failure| {
        failure.next("Name the file with contacts, schedules and policies: docs/oncall-toml.md.")
    })?;
    let draft = check::people(&text);
    let known = incident::State::default();
    let rules = problems(&known, draft.setup(), Timestamp::now());
    let rules = rules.into_iter().map(|it| (it.place, it.words));
    let problems = match draft.finish(&name, &text, rules) {
        Ok(setup) => return Ok(Ok(setup)),
        Err(problems) => problems,
    };
    if json {
        output::json(&serde_json::json!({ "problems": project::told(&problems) }))?;
        return Ok(Err(ExitCode::from(BROKEN)));
    }
    eprintln!("{}", check::render(&problems, &text, output::err_colour()));
    let count = problems.as_slice().len();
    let s = if count == 1 { "" } else { "s" };
    Err(Failure::broken(format!("{name} has {count} problem{s}")))
}

async fn apply(file: &Path, dry_run: bool, json: bool, ask: &Ask) -> Result<ExitCode, Failure> {
    let setup = match read(file, json)? {
        Ok(setup) => setup,
        Err(code) => return Ok(code),
    };
    let look = Look::stdout();
    if dry_run {
        let found = gaps_ahead(&incident::State::default(), &setup, Timestamp::now());
        let gaps: Vec<(&ScheduleName, _)> = found
            .iter()
            .flat_map(|(name, gaps)| gaps.iter().map(move |gap| (name, (gap.from, gap.until))))
            .collect();
        let mut lines = vec![format!("{} is fine; nothing was declared", file.display())];
        lines.extend(rota::gap_lines(&setup, &gaps, None, look));
        let value = serde_json::json!({ "setup": setup, "declared": false });
        return shown(&value, lines, json);
    }
    let client = connect::client(ask)?;
    let request = SetupRequest { setup };
    let _: Done = client
        .send_json(Method::PUT, "/v1/oncall", &request)
        .await?;
    let view = view(&client, Some(GAPS_DAYS)).await?;
    let now = Timestamp::now();
    let until = now + jiff::SignedDuration::from_hours(24 * PREVIEW_DAYS);
    let mut lines = vec![format!("declared: {}", rota::counted(&view.setup))];
    lines.extend(rota::gaps(&view, None, look));
    lines.extend(rota::ahead(&view, until, None, look));
    shown(&view, lines, json)
}

async fn tell(
    path: &str,
    request: &impl Serialize,
    json: bool,
    ask: &Ask,
) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let done: Done = client.post(path, request).await?;
    let lines = done.detail.lines().map(str::to_owned).collect();
    shown(&done, lines, json)
}

pub(crate) async fn page(args: PageArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let PageCommand::Test { contact } = args.what;
    let request = TestPageRequest { contact };
    let told = tell("/v1/oncall/test", &request, args.json, ask);
    told.await.map_err(|failure| failure.with_json(args.json))
}

pub(crate) fn slo(args: SloArgs) -> Result<ExitCode, Failure> {
    let SloCommand::Rules { file } = args.what;
    let read = read(&file, args.json).map_err(|failure| failure.with_json(args.json))?;
    let setup = match read {
        Ok(setup) => setup,
        Err(code) => return Ok(code),
    };
    let counted = setup.objectives.iter().filter(|it| !it.good.is_empty());
    if counted.count() == 0 {
        eprintln!("no objective of this file names its counters (`good`, `total`)");
    }
    let rules = incident::slo::rules::rules(&setup.objectives);
    match args.json {
        true => output::json(&serde_json::json!({ "rules": rules }))?,
        false => print!("{rules}"),
    }
    Ok(ExitCode::SUCCESS)
}
