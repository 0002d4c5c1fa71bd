//! The words of incident reports.

use std::path::PathBuf;

use ::report::Zone;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(subcommand)]
    pub(crate) command: ReportCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// Look for contradictions in reports, whoever wrote them
    #[command(
        after_help = "Examples:\n  plimsoll report check postmortem.md\n  plimsoll report check reports/*.md --json | jq .findings\n  curl -s https://wiki.example/incident-42 | plimsoll report check - --zone UTC\n\nEnds with 0 when nothing is found, with 3 when something is. What each finding means: docs/report.md."
    )]
    Check(ReportCheckArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReportCheckArgs {
    /// Markdown, HTML or plain text; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The zone of times in reports that name none: UTC, UTC+01:00, PT, WAT
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub(crate) zone: Option<Zone>,
    /// Answer in JSON, one object for each file
    #[arg(long)]
    pub(crate) json: bool,
}

fn zone(text: &str) -> Result<Zone, String> {
    Zone::named(text)
        .ok_or_else(|| "not a time zone; write it like UTC, UTC+01:00 or PT".to_owned())
}
