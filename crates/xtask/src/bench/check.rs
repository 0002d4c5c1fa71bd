//! `cargo xtask bench check`: how long static checks take, beside other programs
//! on the same documents, schema and policies.
//!
//! Peers come from PyPI into an environment of their own below `target/`. One
//! that can't be had is said to be missing, and the rest goes on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{cargo, machine};

/// Odd, so that the median is a run that happened.
const RUNS: usize = 5;
/// Pinned: numbers are compared over time.
const PACKAGES: &[&str] = &["check-jsonschema==0.39.0", "cel-python==0.5.0"];
const FILES: &[&str] = &["service.yaml", "service.toml", "service.json"];
/// Policies by `cel-python`, in one process: compiles and evaluates each once
/// over the document, and prints the milliseconds without Python's own start.
const CEL_PYTHON: &str = "\
import json, sys, time, celpy
from celpy import adapter
folder = sys.argv[1]
begin = time.monotonic()
document = adapter.json_to_cel(json.load(open(folder + '/service.json')))
environment = celpy.Environment()
for when in json.load(open(folder + '/policies.json')):
    program = environment.program(environment.compile(when))
    assert not program.evaluate({'new': document, 'old': document}), when
print((time.monotonic() - begin) * 1000)
";

/// Runs the bench of the checks, then the peers on what it wrote.
pub fn check(json: bool) -> anyhow::Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let folder = metadata.target_directory.join("bench-check");
    let output = cargo()
        .args(["bench", "--quiet", "--locked", "--package", "check"])
        .args(["--bench", "assess", "--", "--json", "--write"])
        .arg(&folder)
        .stderr(Stdio::inherit())
        .output()
        .context("could not run cargo bench")?;
    ensure!(
        output.status.success(),
        "the bench failed: {}",
        output.status
    );
    let mut report: Value =
        serde_json::from_slice(&output.stdout).context("the bench did not write JSON")?;
    report["machine"] = json!(machine());
    report["peers"] = peers(folder.as_std_path());
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(out, "{}", machine())?;
    writeln!(out, "goal: {} ms; median (min to max)", report["goal_ms"])?;
    for row in rows(&report["assess"]) {
        let (file, bytes) = (text(&row["file"]), &row["bytes"]);
        let ms = spread_text(&row["ms"]);
        let runs = &report["runs"];
        writeln!(
            out,
            "plimsoll: {file}, {bytes} bytes, schema and policies: {ms}, {runs} runs"
        )?;
    }
    for row in rows(&report["peers"]) {
        match row["missing"].as_str() {
            Some(why) => writeln!(out, "{}: can't be had: {why}", text(&row["peer"]))?,
            None => {
                let (peer, what) = (text(&row["peer"]), text(&row["what"]));
                let ms = spread_text(&row["ms"]);
                writeln!(out, "{peer}: {what}: {ms}, {RUNS} runs")?;
            }
        }
    }
    Ok(())
}

fn peers(folder: &Path) -> Value {
    let mut found = Vec::new();
    match environment(folder) {
        Ok(environment) => {
            for file in FILES {
                let what = format!("{file}, schema alone, with Python's start");
                found.push(row(
                    "check-jsonschema",
                    &what,
                    schema_alone(&environment, folder, file),
                ));
            }
            let what = "service.json, policies alone, without Python's start";
            found.push(row(
                "cel-python",
                what,
                policies_alone(&environment, folder),
            ));
        }
        Err(error) => {
            for peer in ["check-jsonschema", "cel-python"] {
                found.push(json!({"peer": peer, "missing": format!("{error:#}")}));
            }
        }
    }
    for (peer, why) in [
        (
            "conftest",
            "a Go program; Debian and npm don't have it, and PyPI's of that name is another thing",
        ),
        (
            "opa",
            "a Go program; Debian and PyPI don't have it, and npm's of that name is another thing",
        ),
    ] {
        found.push(json!({"peer": peer, "missing": why}));
    }
    Value::Array(found)
}

fn row(peer: &str, what: &str, times: anyhow::Result<Vec<f64>>) -> Value {
    match times {
        Ok(times) => json!({"peer": peer, "what": what, "ms": spread(times)}),
        Err(error) => json!({"peer": peer, "missing": format!("{error:#}")}),
    }
}

/// A Python environment with the peers in it.
fn environment(folder: &Path) -> anyhow::Result<PathBuf> {
    let environment = folder.join("peers");
    let python = environment.join("bin/python");
    if !python.exists() {
        let mut make = Command::new("python3");
        run(make.args(["-m", "venv"]).arg(&environment)).context("python3 -m venv")?;
    }
    let mut install = Command::new(&python);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    run(install.args(PACKAGES)).context("pip install")?;
    Ok(environment.join("bin"))
}

fn schema_alone(bin: &Path, folder: &Path, file: &str) -> anyhow::Result<Vec<f64>> {
    let once = || {
        let mut command = Command::new(bin.join("check-jsonschema"));
        command.arg("--schemafile").arg(folder.join("schema.json"));
        let begin = Instant::now();
        run(command.arg(folder.join(file)))?;
        Ok(begin.elapsed().as_secs_f64() * 1000.0)
    };
    (0..RUNS).map(|_| once()).collect()
}

fn policies_alone(bin: &Path, folder: &Path) -> anyhow::Result<Vec<f64>> {
    let once = || {
        let mut command = Command::new(bin.join("python"));
        let said = run(command.args(["-c", CEL_PYTHON]).arg(folder))?;
        said.trim().parse().context("no number came back")
    };
    (0..RUNS).map(|_| once()).collect()
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default().to_owned();
    ensure!(output.status.success(), "{}: {last}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn spread(mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    json!({"median": times[times.len() / 2], "min": times.first(), "max": times.last()})
}

fn spread_text(spread: &Value) -> String {
    let ms = |name: &str| spread[name].as_f64().unwrap_or_default();
    format!(
        "{:.1} ms ({:.1} to {:.1})",
        ms("median"),
        ms("min"),
        ms("max")
    )
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
