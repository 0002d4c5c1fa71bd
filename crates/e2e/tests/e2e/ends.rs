//! Programs that are told to end, and what they must not leave behind.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tokio::process::Child;

use crate::fleet::{starting, turn};
use crate::plane::Plane;
use crate::program::{self, mark, marked, run, signal};
use crate::wait::{s, until_so};

/// Told with SIGTERM, a program ends within this time.
const END_WITHIN_S: u64 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_program_ends_in_order_when_told() -> Result<()> {
    let plane = Plane::start().await?;
    let name = format!("each-{}", std::process::id());
    let folder = plane.folder().to_owned();
    let live = folder.join("live");
    std::fs::create_dir(&live)?;
    let service = "version = \"1\"\n[auth.test]\naddress = \"127.0.0.1:9\"\n";
    std::fs::write(folder.join("service.toml"), service)?;
    let config = format!(
        "control = \"{}\"\nhost = \"web-1\"\nstate_dir = \"{}\"\n\n[services.api]\nlive = \"{}\"\n",
        plane.url,
        folder.join("state").display(),
        live.display()
    );
    std::fs::write(folder.join("agent.toml"), config)?;
    let join = plane
        .plimsoll(&["hosts", "join-token", "web-1"])
        .await?
        .exits(0)?;
    let token = plane
        .plimsoll(&["hosts", "token", "edge", "--role", "agent"])
        .await?
        .exits(0)?;
    let (join, token) = (join.out.trim(), token.out.trim());
    let program = program::path()?.canonicalize()?.display().to_string();
    let inner = [
        "drill-service",
        "--config",
        "service.toml",
        "--listen",
        "127.0.0.1:0",
        "--environment",
        "test",
        "--host",
        "web-1",
    ];
    let supervise = [
        &[
            "supervise",
            "--name",
            "api",
            "--dir",
            "init",
            "--",
            program.as_str(),
        ][..],
        &inner[..],
    ]
    .concat();
    // What to start, and how many processes that makes.
    let programs: [(&[&str], usize); 6] = [
        (&["server", "--data", "data2", "--listen", "127.0.0.1:0"], 1),
        (
            &["agent", "--config", "agent.toml", "--join-token", join],
            1,
        ),
        (
            &[
                "gateway",
                "--name",
                "edge",
                "--environment",
                "production",
                "--serve",
                "api=127.0.0.1:0",
                "--state",
                "gateway",
                "--token",
                token,
            ],
            1,
        ),
        (&inner, 1),
        (&["drill-auth", "--listen", "127.0.0.1:0"], 1),
        (&supervise, 2),
    ];
    for (args, processes) in programs {
        let said = || format!("{}\n{}", args.join(" "), log(&folder, args[0]));
        let mut child = begin(&plane, args, &name)?;
        until_so("it runs", s(20), async || {
            Ok(marked(&name).len() >= processes && ready(&folder, args[0]))
        })
        .await
        .with_context(said)?;
        end(&mut child).await.with_context(said)?;
        nothing_left(&name).await.with_context(said)?;
    }
    plane.stop().await;
    Ok(())
}

fn begin(plane: &Plane, args: &[&str], name: &str) -> Result<Child> {
    let mut command = plane.command(args)?;
    if args[0] == "gateway" {
        command.env_remove("PLIMSOLL_TOKEN_FILE");
    }
    mark(&mut command, name);
    let log = std::fs::File::create(plane.file(&format!("{}.log", args[0])))?;
    Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
}

fn log(folder: &Path, program: &str) -> String {
    std::fs::read_to_string(folder.join(format!("{program}.log"))).unwrap_or_default()
}

/// Each program says something once it has set itself up, signal handlers included.
fn ready(folder: &Path, program: &str) -> bool {
    !log(folder, program).trim().is_empty()
}

/// SIGTERM: exit code 0, soon.
async fn end(child: &mut Child) -> Result<()> {
    signal(child.id().context("it ended by itself")?, Signal::TERM)?;
    let ended = tokio::time::timeout(s(END_WITHIN_S), child.wait()).await;
    let status = ended.context("it goes on after SIGTERM")??;
    ensure!(status.success(), "{status}");
    Ok(())
}

async fn nothing_left(name: &str) -> Result<()> {
    let gone = until_so("no process is left", s(8), async || {
        Ok(marked(name).is_empty())
    })
    .await;
    gone.with_context(|| format!("{:#?}", marked(name)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_shows_its_changes_and_leaves_nothing() -> Result<()> {
    let _turn = turn().await?;
    let folder = tempfile::Builder::new().prefix("pe-").tempdir_in("/tmp")?;
    let name = format!("once-{}", std::process::id());
    let mut command = program::command(folder.path())?;
    command.args(["quickstart", "--once", "--json", "--dir", "q"]);
    mark(&mut command, &name);
    let starting = starting().await;
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    up(&name).await?;
    drop(starting);
    let output = tokio::time::timeout(s(180), child.wait_with_output()).await;
    let said = program::Said::from(&output.context("quickstart takes more than three minutes")??)
        .exits(0)?;
    let summary = said.json()?;
    ensure!(summary["passed"] == true, "{summary:#}");
    let changes = summary["changes"].as_array().context("changes")?;
    let ended: Vec<_> = changes
        .iter()
        .map(|change| change["ended"].as_str())
        .collect();
    let back = Some("rolled back");
    ensure!(ended == [Some("good"), back, back], "{summary:#}");
    let hosts: Vec<_> = changes.iter().map(|it| it["hosts"].as_str()).collect();
    let met = [Some("8 of 8"), Some("0 of 8"), Some("1 of 8")];
    ensure!(hosts == met, "{summary:#}");
    println!("quickstart: {summary}");
    nothing_left(&name).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_killed_quickstart_lives_on() -> Result<()> {
    let _turn = turn().await?;
    for (how, by) in [("kill", Signal::KILL), ("term", Signal::TERM)] {
        let folder = tempfile::Builder::new().prefix("pe-").tempdir_in("/tmp")?;
        let name = format!("{how}-{}", std::process::id());
        let mut command = program::command(folder.path())?;
        command.args(["quickstart", "--dir", "q"]);
        mark(&mut command, &name);
        let log = std::fs::File::create(folder.path().join("log"))?;
        let starting = starting().await;
        let mut child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        up(&name).await?;
        drop(starting);
        ensure!(marked(&name).len() > 20, "{:#?}", marked(&name));
        signal(child.id().context("it ended by itself")?, by)?;
        tokio::time::timeout(s(END_WITHIN_S), child.wait())
            .await
            .context("it goes on")??;
        nothing_left(&name).await.context(how)?;
    }
    Ok(())
}

/// Waits until a marked fleet's gateway, its last part, has been started.
pub(crate) async fn up(name: &str) -> Result<()> {
    until_so("the fleet is up", s(60), async || {
        let processes = marked(name);
        Ok(processes
            .iter()
            .any(|process| process.args.get(1).is_some_and(|arg| arg == "gateway")))
    })
    .await
    .with_context(|| format!("{:#?}", marked(name)))
}

/// A program with a fleet of its own, run to its end.
pub(crate) async fn with_fleet(args: &[&str]) -> Result<program::Said> {
    let _turn = turn().await?;
    let folder = tempfile::tempdir()?;
    let name = format!("{}-{}", args.join("-"), std::process::id());
    let mut command = program::command(folder.path())?;
    mark(&mut command, &name);
    let starting = starting().await;
    let ended = run(command.args(args));
    tokio::pin!(ended);
    tokio::select! {
        said = &mut ended => return said,
        started = up(&name) => started?,
    }
    drop(starting);
    let said = tokio::time::timeout(s(240), ended)
        .await
        .context("takes more than four minutes")??;
    nothing_left(&name).await?;
    Ok(said)
}
