//! `cargo xtask bench judge`: what the judge promises, beside what is possible and how others judge.
//!
//! Invariant: it fails when one promise is not kept.

use std::io::Write;
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{cargo, load, machine};

/// Runs the judge's bench and says on what machine, and how busy that was.
pub fn judge(json: bool, quick: bool, seed: Option<u64>, only: Option<&str>) -> anyhow::Result<()> {
    let mut bench = cargo();
    bench.args(["bench", "--quiet", "--locked", "--package", "judge"]);
    bench.args(["--bench", "bar", "--"]);
    bench.args(json.then_some("--json"));
    bench.args(quick.then_some("--quick"));
    if let Some(seed) = seed {
        bench.arg("--seed").arg(seed.to_string());
    }
    if let Some(only) = only {
        bench.args(["--only", only]);
    }
    let before = load();
    let output = bench
        .stderr(Stdio::inherit())
        .output()
        .context("could not run cargo bench")?;
    let load = format!("load {before} before, {} after", load());
    let mut out = std::io::stdout().lock();
    if json {
        let mut report: Value = serde_json::from_slice(&output.stdout)
            .context("the judge's bench did not write JSON")?;
        report["machine"] = json!(machine());
        report["load"] = json!(load);
        writeln!(out, "{report}")?;
    } else {
        out.write_all(&output.stdout)?;
        writeln!(out, "{}; {load}", machine())?;
    }
    ensure!(
        output.status.success(),
        "the judge's bench did not reach the bar: {}",
        output.status
    );
    Ok(())
}
