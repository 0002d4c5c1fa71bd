//! What the judge promises, measured through its public interface, beside what is possible and
//! beside how others judge.
//!
//! Invariant: the same seed gives the same figures on every machine, but for those of cost.
//!
//! `cargo bench -p judge --bench bar [-- --json] [--quick] [--seed N] [--only PART]`; it ends with 1
//! when a promise is not kept.

mod cost;
mod detect;
mod draw;
mod healthy;
mod latency;
mod oracles;
mod ours;
mod pass;
mod peers;
mod report;
mod threads;
mod world;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use report::{Report, Scale};

type Part = fn(Scale, &mut Report);

const PARTS: [(&str, Part); 6] = [
    // First, while memory is as the system gave it.
    ("cost", |_, report| cost::measure(report)),
    ("detect", detect::measure),
    ("healthy", healthy::measure),
    ("hosts", healthy::hosts),
    ("pass", pass::measure),
    ("latency", latency::measure),
];

const USAGE: &str =
    "usage: [--json] [--quick] [--seed N] [--only cost|detect|healthy|hosts|pass|latency]";

#[derive(Debug)]
struct Asked {
    json: bool,
    scale: Scale,
    only: Option<String>,
}

fn asked() -> Option<Asked> {
    let mut asked = Asked {
        json: false,
        scale: Scale {
            seed: 1,
            quick: false,
        },
        only: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => asked.json = true,
            "--quick" => asked.scale.quick = true,
            "--seed" => asked.scale.seed = arguments.next()?.parse().ok()?,
            "--only" => asked.only = Some(arguments.next()?),
            // Cargo says so to every bench.
            "--bench" => {}
            _ => return None,
        }
    }
    let known = |name: &String| PARTS.iter().any(|(part, _)| part == name);
    asked.only.as_ref().is_none_or(known).then_some(asked)
}

fn main() -> Result<ExitCode, std::io::Error> {
    let mut out = std::io::stdout().lock();
    let Some(asked) = asked() else {
        writeln!(std::io::stderr(), "{USAGE}")?;
        return Ok(ExitCode::from(2));
    };
    let mut report = Report::new(asked.scale);
    let begin = Instant::now();
    for (name, part) in PARTS {
        if asked.only.as_ref().is_none_or(|only| only == name) {
            part(asked.scale, &mut report);
            let so_far = begin.elapsed().as_secs();
            writeln!(std::io::stderr(), "{name}: done after {so_far} s")?;
        }
    }
    let took = begin.elapsed().as_secs_f64().round();
    match asked.json {
        true => {
            let mut json = report.json();
            json["seed"] = asked.scale.seed.into();
            json["quick"] = asked.scale.quick.into();
            json["took_s"] = took.into();
            writeln!(out, "{json}")?;
        }
        false => {
            writeln!(out, "{}", report.text())?;
            let quick = if asked.scale.quick {
                ", an eighth of the runs"
            } else {
                ""
            };
            writeln!(out, "seed {}{quick}, {took} s", asked.scale.seed)?;
        }
    }
    Ok(match report.is_met() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
