//! What people get wrong: each time an exit code, a message that names the
//! culprit, and nothing half done.

use std::os::unix::fs::symlink;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use model::bundle::BUNDLE_BYTES_MAX;

use crate::plane::{PROJECT, Plane, ends};
use crate::program;
use crate::wait::s;

/// Two mistakes at once.
const TWO_PROBLEMS: &str = r#"[service.api]
fils = "config"

[[environment]]
name = "test"

[[environment.host]]
name = "test-1"
zone = 7
address = "127.0.0.1:9001"
"#;

#[tokio::test]
async fn a_project_file_with_mistakes_is_refused_with_every_place() -> Result<()> {
    let plane = Plane::start().await?;
    let before = plane.position().await?;
    std::fs::write(plane.file("two.toml"), TWO_PROBLEMS)?;
    let places = [
        "two.toml:2:1:",
        "fils",
        "two.toml:9:8:",
        "zone",
        "2 problems",
    ];
    for args in [
        &["check", "two.toml"][..],
        &["push", "api", "--project", "two.toml"],
        &["hosts", "apply", "two.toml"],
    ] {
        let said = plane.plimsoll(args).await?;
        ensure!(said.code != 0, "{said:#?}");
        said.says(&places)?;
    }
    let said = plane.plimsoll(&["check", "two.toml", "--json"]).await?;
    let problems = said.json()?;
    let problems = problems["problems"].as_array().context("problems")?;
    ensure!(
        problems.len() == 2 && problems[0]["line"] == 2 && problems[1]["column"] == 8,
        "{problems:?}"
    );

    let twice = PROJECT.replace("web-1", "test-1");
    std::fs::write(plane.file("twice.toml"), twice)?;
    let said = plane.plimsoll(&["hosts", "apply", "twice.toml"]).await?;
    ensure!(said.code != 0, "{said:#?}");
    said.says(&["twice.toml:16:8:", "\"test-1\" is declared twice", "line 8"])?;

    let said = plane
        .plimsoll(&["push", "api", "--project", "absent.toml"])
        .await?
        .exits(1)?;
    said.says(&["absent.toml", "No such file", "--project"])?;
    let said = plane.plimsoll(&["push", "web"]).await?.exits(1)?;
    said.says(&["service web", "api"])?;
    std::fs::write(plane.file("latin.toml"), b"# caf\xe9\n")?;
    let said = plane.plimsoll(&["check", "latin.toml"]).await?.exits(1)?;
    said.says(&["latin.toml:1", "UTF-8"])?;
    ensure!(plane.position().await? == before, "something was half done");
    plane.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_bundle_that_cannot_be_packed_is_refused_with_every_culprit() -> Result<()> {
    let plane = Plane::start().await?;
    let before = plane.position().await?;
    let config = plane.file("config");
    symlink("../plimsoll.toml", config.join("upward"))?;
    symlink("/etc/hostname", config.join("absolute"))?;
    let _socket = std::os::unix::net::UnixListener::bind(config.join("socket"))?;
    let said = plane.plimsoll(&["push", "api"]).await?.exits(1)?;
    said.says(&[
        "3 problems",
        "config/upward is a symbolic link",
        "config/absolute is a symbolic link",
        "config/socket is neither file nor folder",
    ])?;
    for name in ["upward", "absolute", "socket"] {
        std::fs::remove_file(config.join(name))?;
    }

    let giant = std::fs::File::create(config.join("giant"))?;
    giant.set_len(BUNDLE_BYTES_MAX + 1)?;
    let mut push = plane.command(&["push", "api"])?;
    let said = ends(&mut push, s(20)).await?.exits(1)?;
    said.says(&["config", &BUNDLE_BYTES_MAX.to_string()])?;
    std::fs::remove_file(config.join("giant"))?;

    // A folder where a file is wanted, and a file where a folder is.
    let said = plane
        .plimsoll(&["push", "api", "--project", "config"])
        .await?
        .exits(1)?;
    said.says(&["config", "directory"])?;
    let astray = PROJECT.replace("\"config\"", "\"config/service.toml\"");
    std::fs::write(plane.file("astray.toml"), astray)?;
    let said = plane
        .plimsoll(&["push", "api", "--project", "astray.toml"])
        .await?
        .exits(1)?;
    said.says(&["config/service.toml", "Not a directory"])?;
    ensure!(plane.position().await? == before, "something was half done");
    plane.stop().await;
    Ok(())
}

#[tokio::test]
async fn whoever_may_not_is_told_so() -> Result<()> {
    let plane = Plane::start().await?;
    let made = plane
        .plimsoll(&["hosts", "token", "vera", "--role", "viewer"])
        .await?
        .exits(0)?;
    let viewer = made.out.trim().to_owned();
    let before = plane.position().await?;
    let stranger = format!("pls_{}", "0".repeat(64));
    for (token, words) in [
        (&stranger, "(unauthenticated)"),
        (&String::from("nonsense"), "(unauthenticated)"),
        (&viewer, "(wrong-role)"),
    ] {
        for args in [
            &["freeze", "--reason", "because"][..],
            &["rollback", "api"],
            &["hosts", "token", "mallory", "--role", "operator"],
            &["push", "api"],
            &["hosts", "apply", "plimsoll.toml"],
        ] {
            let mut command = plane.command(args)?;
            command
                .env_remove("PLIMSOLL_TOKEN_FILE")
                .env("PLIMSOLL_TOKEN", token);
            let said = program::run(&mut command).await?.exits(3)?;
            said.says(&[words, "next:"])?;
        }
    }
    let mut command = plane.command(&["status"])?;
    command.env("PLIMSOLL_TOKEN_FILE", "/absent/token");
    program::run(&mut command)
        .await?
        .exits(1)?
        .says(&["/absent/token", "operator.token"])?;
    let said = plane.plimsoll(&["approve", "1"]).await?.exits(3)?;
    said.says(&["(unknown-release)", "next:"])?;
    let said = plane
        .plimsoll(&["approve", "1", "--json"])
        .await?
        .exits(3)?;
    ensure!(said.json()?["exit_code"] == 3, "{said:#?}");
    ensure!(plane.position().await? == before, "something was half done");
    plane.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_control_plane_that_is_not_there_is_exit_code_six() -> Result<()> {
    let plane = Plane::start().await?;
    let folder = plane.folder().to_owned();
    for args in [
        &["status"][..],
        &["push", "api"],
        &["rollback", "api"],
        &["freeze", "--reason", "x"],
        &["hosts"],
        &["releases"],
        &["journal", "tail"],
    ] {
        let mut command = program::command(&folder)?;
        // Nobody can listen on port 1 without being asked to.
        command.args(args).env("PLIMSOLL_URL", "http://127.0.0.1:1");
        let said = ends(&mut command, s(20)).await?.exits(6)?;
        said.says(&["127.0.0.1:1", "doctor"])?;
    }
    let mut command = program::command(&folder)?;
    command.args(["status", "--url", "nonsense"]);
    ends(&mut command, s(20))
        .await?
        .exits(1)?
        .says(&["nonsense", "http://"])?;
    plane.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_in_use_is_named() -> Result<()> {
    let plane = Plane::start().await?;
    let before = plane.position().await?;
    let address = plane.address().to_owned();
    let mut server = plane.command(&["server", "--data", "other", "--listen", &address])?;
    ends(&mut server, s(20))
        .await?
        .exits(1)?
        .says(&[&address, "in use"])?;
    let mut server = plane.command(&["server", "--data", "data", "--listen", "127.0.0.1:0"])?;
    ends(&mut server, s(20))
        .await?
        .exits(1)?
        .says(&["data", "in use by pid"])?;

    let token = plane
        .plimsoll(&["hosts", "token", "edge", "--role", "agent"])
        .await?
        .exits(0)?;
    let serve = format!("api={address}");
    let mut gateway = plane.command(&[
        "gateway",
        "--name",
        "edge",
        "--environment",
        "production",
        "--serve",
        &serve,
        "--state",
        "gateway",
    ])?;
    gateway
        .env_remove("PLIMSOLL_TOKEN_FILE")
        .env("PLIMSOLL_TOKEN", token.out.trim());
    ends(&mut gateway, s(20))
        .await?
        .exits(1)?
        .says(&[&address, "in use"])?;
    ensure!(
        plane.position().await? == before + 1,
        "more happened than one token"
    );
    plane.stop().await;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_may_not_join_says_why() -> Result<()> {
    let plane = Plane::start().await?;
    for name in ["one", "two"] {
        std::fs::create_dir(plane.file(&format!("live-{name}")))?;
        let config = format!(
            "control = \"{}\"\nhost = \"web-1\"\nstate_dir = \"{}\"\n\n[services.api]\nlive = \"{}\"\n",
            plane.url,
            plane.file(&format!("state-{name}")).display(),
            plane.file(&format!("live-{name}")).display(),
        );
        std::fs::write(plane.file(&format!("{name}.toml")), config)?;
    }
    let mut agent = plane.command(&["agent", "--config", "one.toml"])?;
    ends(&mut agent, s(20))
        .await?
        .exits(1)?
        .says(&["join", "token"])?;
    let token = plane
        .plimsoll(&["hosts", "join-token", "web-1"])
        .await?
        .exits(0)?;
    let token = token.out.trim();

    let mut first = plane.command(&["agent", "--config", "one.toml", "--join-token", token])?;
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    crate::wait::until_so("the first agent has joined", s(20), async || {
        let hosts = plane
            .plimsoll(&["hosts", "--json"])
            .await?
            .exits(0)?
            .json()?;
        let hosts = hosts.as_array().context("hosts")?;
        Ok(hosts
            .iter()
            .any(|host| host["name"] == "web-1" && host["enrolled"] == true))
    })
    .await?;
    let before = plane.position().await?;
    let mut second = plane.command(&["agent", "--config", "two.toml", "--join-token", token])?;
    ends(&mut second, s(20))
        .await?
        .exits(1)?
        .says(&["joining was refused", "token"])?;
    let mut twin = plane.command(&["agent", "--config", "one.toml"])?;
    ends(&mut twin, s(20))
        .await?
        .exits(1)?
        .says(&["state-one", "in use by pid"])?;
    ensure!(plane.position().await? == before, "something was half done");
    ensure!(first.try_wait()?.is_none(), "the first agent is gone");
    first.kill().await?;

    for args in [
        &["agent", "--config", "none.toml"][..],
        &["agent", "status", "--config", "none.toml"],
    ] {
        let mut command = plane.command(args)?;
        ends(&mut command, s(20))
            .await?
            .exits(1)?
            .says(&["none.toml", "No such file"])?;
    }
    plane.stop().await;
    Ok(())
}

#[tokio::test]
async fn help_completions_and_unknown_names() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let said = async |args: &[&str]| {
        let mut command = program::command(folder.path())?;
        program::run(command.args(args)).await
    };
    said(&["drill", "sinking"]).await?.exits(1)?.says(&[
        "sinking",
        "api-infrastructure",
        "web-01",
    ])?;
    said(&["drill", "web-01", "--unguarded", "--waves-only"])
        .await?
        .exits(2)?
        .says(&["--waves-only"])?;
    said(&["drill"])
        .await?
        .exits(0)?
        .says(&["api-infrastructure"])?;
    said(&["sail"]).await?.exits(2)?.says(&["sail", "Usage"])?;
    let top = said(&["--help"]).await?.exits(0)?.says(&["Exit codes"])?;
    let commands = subcommands(&top.out);
    ensure!(commands.len() >= 15, "{commands:?}");
    for command in commands {
        let help = said(&[&command, "--help"]).await?.exits(0)?;
        let first = help.out.lines().next().unwrap_or_default();
        ensure!(
            first.len() > 10 && !first.starts_with("Usage"),
            "{command}: {help:#?}"
        );
        for inner in subcommands(&help.out) {
            let help = said(&[&command, &inner, "--help"]).await?.exits(0)?;
            let first = help.out.lines().next().unwrap_or_default();
            ensure!(
                first.len() > 10 && !first.starts_with("Usage"),
                "{command} {inner}: {help:#?}"
            );
        }
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&["completions", shell]).await?.exits(0)?;
        ensure!(
            script.out.len() > 1000 && script.out.contains("rollback"),
            "{shell}"
        );
    }
    let schema = said(&["schema"]).await?.exits(0)?;
    serde_json::from_str::<serde_json::Value>(&schema.out).context("schema")?;
    Ok(())
}

/// The names under `Commands:` of a help text.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            // Names are indented by two; what is deeper is wrapped text.
            let name = line
                .strip_prefix("  ")
                .filter(|line| !line.starts_with(' '))?;
            name.split_whitespace().next().map(str::to_owned)
        });
    names.filter(|name| name != "help").collect()
}
