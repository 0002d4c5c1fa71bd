//! Words about incidents, silences and on-call.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::incident::{Duty, Severity, UpdateStatus};
use model::{ContactName, ScheduleName, ServiceName};

use super::gates::until;

#[derive(Debug, Args)]
pub(crate) struct IncidentArgs {
    #[command(subcommand)]
    pub(crate) what: IncidentCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// Incidents that are not over, the newest first
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
    },
    /// One incident: facts, who is told, newest changes, timeline
    Show {
        /// Its number
        id: u64,
        /// Times of this zone, as Europe/Berlin; without it this machine's
        #[arg(long, value_parser = zone)]
        zone: Option<TimeZone>,
    },
    /// Open an incident
    Open {
        /// In one line
        title: String,
        /// Which service
        #[arg(long)]
        service: Option<ServiceName>,
        /// How bad it is: sev1, sev2 (wake somebody), sev3 or sev4
        #[arg(long, default_value = "sev2", value_parser = severity)]
        severity: Severity,
    },
    /// You have it: nobody is asked further
    Ack(AckArgs),
    /// It is one: only people end it now
    Confirm {
        /// Its number
        id: u64,
        /// Why
        #[arg(default_value = "")]
        words: String,
    },
    /// Write something into the timeline
    Note {
        /// Its number
        id: u64,
        /// What
        words: String,
    },
    /// Tell users, on the status page
    Update {
        /// Its number
        id: u64,
        /// investigating, identified, monitoring, resolved or postmortem
        #[arg(value_parser = update_status)]
        status: UpdateStatus,
        /// What they read
        words: String,
    },
    /// Say how bad it is
    Severity {
        /// Its number
        id: u64,
        /// sev1, sev2, sev3 or sev4
        #[arg(value_parser = severity)]
        severity: Severity,
        /// Why
        #[arg(default_value = "")]
        words: String,
    },
    /// Say who does what
    Duty {
        /// Its number
        id: u64,
        /// commander, communications or operations
        #[arg(value_parser = duty)]
        duty: Duty,
        /// Who
        contact: ContactName,
    },
    /// It is part of another one
    Merge {
        /// Its number
        id: u64,
        /// The other one's number
        into: u64,
    },
    /// Say that it is over
    Resolve {
        /// Its number
        id: u64,
        /// What it was
        #[arg(default_value = "")]
        words: String,
    },
    /// It is not over
    Reopen {
        /// Its number
        id: u64,
        /// Why
        #[arg(default_value = "")]
        words: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AckArgs {
    /// The incident's number
    pub(crate) id: u64,
    /// For so long, at most a day; without it as its policy says
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) held_for: Option<SignedDuration>,
}

#[derive(Debug, Args)]
pub(crate) struct ShortAckArgs {
    #[command(flatten)]
    pub(crate) ack: AckArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SilenceArgs {
    #[command(subcommand)]
    pub(crate) what: SilenceCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SilenceCommand {
    /// Alerts that all of these fit page nobody for a while
    Add {
        /// As service=api, host!=web-1, alertname=~"Disk.*"
        #[arg(required = true, value_name = "MATCHER")]
        matchers: Vec<String>,
        /// For so long
        #[arg(long = "for", value_name = "TIME", default_value = "2h")]
        lasts: SignedDuration,
        /// Why
        #[arg(long)]
        comment: String,
        /// In whose name
        #[arg(long, env = "USER", default_value = "plimsoll")]
        by: String,
    },
    /// Silences that are not over
    List {
        /// Also those that are over
        #[arg(long)]
        all: bool,
    },
    /// End a silence; it stays to be seen
    Expire {
        /// Its id
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct OnCallArgs {
    #[command(subcommand)]
    pub(crate) what: OnCallCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OnCallCommand {
    /// Who is on call now
    Now,
    /// What is declared: schedules, policies, contacts (without their addresses)
    Show,
    /// Who is on call in the days ahead
    Preview {
        /// Only this schedule
        schedule: Option<ScheduleName>,
        /// So many days
        #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..=400))]
        days: u16,
        /// Times of this zone; without it each schedule's own
        #[arg(long, value_parser = zone)]
        zone: Option<TimeZone>,
    },
    /// Declare contacts, schedules, policies and all else in the file
    Apply {
        /// The file for people (docs/oncall-toml.md)
        file: PathBuf,
        /// Check the file and show its gaps; needs no control plane
        #[arg(long)]
        dry_run: bool,
    },
    /// Take over now, until a time or the end of the shift
    Take {
        /// Which schedule
        schedule: ScheduleName,
        /// Who takes over
        #[arg(long = "as", value_name = "CONTACT")]
        contact: ContactName,
        /// Until when
        #[arg(long, value_parser = until, value_name = "TIME")]
        until: Option<Timestamp>,
    },
    /// Two shifts change hands
    Swap {
        /// Which schedule
        schedule: ScheduleName,
        /// A time in one of them
        #[arg(value_parser = until, value_name = "TIME")]
        one: Timestamp,
        /// A time in the other
        #[arg(value_parser = until, value_name = "OTHER_TIME")]
        other: Timestamp,
    },
    /// Somebody is on call for a range, whoever the layers say
    Override {
        /// Which schedule
        schedule: ScheduleName,
        /// Who
        #[arg(
            long = "as",
            value_name = "CONTACT",
            required_unless_present = "remove"
        )]
        contact: Option<ContactName>,
        /// From [default: now]
        #[arg(long, value_parser = until, value_name = "TIME")]
        from: Option<Timestamp>,
        /// Until
        #[arg(long, value_parser = until, value_name = "TIME", required_unless_present = "remove")]
        until: Option<Timestamp>,
        /// Take away the override with this number
        #[arg(long, value_name = "NUMBER", conflicts_with_all = ["contact", "from", "until"])]
        remove: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SloArgs {
    #[command(subcommand)]
    pub(crate) what: SloCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SloCommand {
    /// The objectives of a file as rules for Prometheus
    Rules {
        /// The file for people (docs/oncall-toml.md)
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    #[command(subcommand)]
    pub(crate) what: PageCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PageCommand {
    /// Test a contact now, on all channels
    Test {
        /// Who
        contact: ContactName,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NotifyArgs {
    #[command(subcommand)]
    pub(crate) what: NotifyCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotifyCommand {
    /// Say all that is wrong with a file for `plimsoll server --notify`; sends nothing
    Check {
        /// The file
        #[arg(default_value = "notify.toml")]
        file: PathBuf,
    },
}

fn zone(text: &str) -> Result<TimeZone, String> {
    incident::oncall::zone::find(text).ok_or_else(|| {
        format!("there is no time zone {text:?}; write its IANA name, as Europe/Berlin")
    })
}

fn severity(text: &str) -> Result<Severity, String> {
    Severity::from_words(text).ok_or_else(|| format!("{text:?} is none of sev1, sev2, sev3, sev4"))
}

fn update_status(text: &str) -> Result<UpdateStatus, String> {
    word(
        text,
        "investigating, identified, monitoring, resolved, postmortem",
    )
}

fn duty(text: &str) -> Result<Duty, String> {
    word(text, "commander, communications, operations")
}

/// A word as the API writes it.
fn word<T: serde::de::DeserializeOwned>(text: &str, known: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|_| format!("{text:?} is none of {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_or_refused_with_those_that_would_do() {
        assert_eq!(severity("SEV1"), Ok(Severity::Sev1));
        assert!(severity("bad").unwrap_err().contains("sev4"));
        assert_eq!(update_status("identified"), Ok(UpdateStatus::Identified));
        assert!(update_status("fixed").unwrap_err().contains("monitoring"));
        assert_eq!(duty("commander"), Ok(Duty::Commander));
        assert!(duty("boss").unwrap_err().contains("operations"));
        assert!(zone("Europe/Berlin").is_ok());
        assert!(zone("Berlin").unwrap_err().contains("IANA"));
    }
}
