//! The words of the judge: verdict, plan, continue.

use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;
use model::{ReleaseId, ServiceName};

use super::release_id;

#[derive(Debug, Args)]
pub(crate) struct VerdictArgs {
    /// A release's number, or a service: then its newest; without either the newest of all
    #[arg(value_name = "RELEASE|SERVICE")]
    pub(crate) what: Option<String>,
    /// Go on showing it until the release is over or fails
    #[arg(long, conflicts_with = "replay")]
    pub(crate) watch: bool,
    /// Stop watching (not the release) after so long
    #[arg(long, default_value = "2h", value_name = "TIME")]
    pub(crate) wait: SignedDuration,
    /// Compute the verdict again from its recorded seconds, and compare
    #[arg(long)]
    pub(crate) replay: bool,
    /// Answer in JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ContinueArgs {
    /// Which release
    #[arg(value_parser = release_id)]
    pub(crate) release: ReleaseId,
    /// Why, for whoever reads the journal
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Which service; may be left out if the project has one
    #[arg(long)]
    pub(crate) service: Option<ServiceName>,
    /// The project file with the plan; without one the plan that is good now
    #[arg(long, value_name = "FILE")]
    pub(crate) project: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}
