//! The words of what a change passes: check, push, approve, attest, audit, freeze, break-glass.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp, Zoned, civil};
use model::{Digest, EnvironmentName, Gate, ReleaseId, ServiceName};

use super::release_id;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Which service of plimsoll.toml, or another project file (`….toml`); without it all services
    pub(crate) what: Option<String>,
    /// The project file
    #[arg(long, default_value = "plimsoll.toml", value_name = "FILE")]
    pub(crate) project: PathBuf,
    /// Compare with the project in this folder (a worktree of what is released now), for
    /// guards and policies that look at what was
    #[arg(long, value_name = "DIR", conflicts_with = "against")]
    pub(crate) base: Option<PathBuf>,
    /// Compare with what is good now; asks the control plane
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) against: Option<Against>,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a check on this machine is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Against {
    /// The bundle that is good now
    Good,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Which service of plimsoll.toml; may be left out if there is one
    pub(crate) service: Option<ServiceName>,
    /// Why, for whoever reads the journal
    #[arg(short, long, default_value = "", value_name = "TEXT")]
    pub(crate) message: String,
    /// The project file
    #[arg(long, default_value = "plimsoll.toml", value_name = "FILE")]
    pub(crate) project: PathBuf,
    /// Check and show what would be proposed; propose nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go past gates with a break-glass that two people agreed to
    #[arg(long, value_name = "ID")]
    pub(crate) break_glass: Option<u64>,
    /// Propose and return at once
    #[arg(long)]
    pub(crate) no_follow: bool,
    /// Stop following (not the release) after so long
    #[arg(long, default_value = "2h", value_name = "TIME")]
    pub(crate) wait: SignedDuration,
    /// Answer in JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Which release
    #[arg(value_parser = release_id)]
    pub(crate) release: ReleaseId,
    /// In your words, for the journal
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) note: String,
    /// Don't ask; for scripts
    #[arg(long)]
    pub(crate) yes: bool,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FreezeArgs {
    /// Which service; everything without it
    pub(crate) service: Option<ServiceName>,
    /// Nothing new enters this environment; what is tested before it goes on
    #[arg(long, value_name = "NAME", conflicts_with = "service")]
    pub(crate) environment: Option<EnvironmentName>,
    /// It ends by itself: a span (2h), a time of day (18:00), or a time (2030-01-02T18:00)
    #[arg(long, value_parser = until, value_name = "TIME")]
    pub(crate) until: Option<Timestamp>,
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ThawArgs {
    /// Which service; everything without it
    pub(crate) service: Option<ServiceName>,
    /// This environment
    #[arg(long, value_name = "NAME", conflicts_with = "service")]
    pub(crate) environment: Option<EnvironmentName>,
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AttestArgs {
    #[command(subcommand)]
    pub(crate) what: AttestCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttestCommand {
    /// What was signed of a release: bundle, base, rules, evidence, approvals, until when
    Show {
        /// Which release
        #[arg(value_parser = release_id)]
        release: ReleaseId,
        /// Answer in JSON: envelope, key and evidence, for `attest verify --file`
        #[arg(long)]
        json: bool,
    },
    /// Check signature, bundle, evidence and expiry, with nobody's word but the key's
    Verify {
        /// Which release; asks the control plane
        #[arg(value_parser = release_id, required_unless_present = "file", conflicts_with = "file")]
        release: Option<ReleaseId>,
        /// An envelope on disk, or what `attest show --json` printed; needs no control plane
        #[arg(long, value_name = "FILE", requires = "key")]
        file: Option<PathBuf>,
        /// The control plane's public key, as your hosts pinned it: 64 hex digits
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// It must be about this bundle
        #[arg(long, value_name = "DIGEST")]
        bundle: Option<Digest>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a key for countersigning, or show the public half of the one in FILE
    Key {
        /// Where the secret half is, or will be; only its owner may read it
        file: PathBuf,
    },
    /// Sign a release's test result with a key that the control plane doesn't hold
    Countersign {
        /// Which release
        #[arg(value_parser = release_id)]
        release: ReleaseId,
        /// The secret key, made with `attest key`
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Don't ask; for CI
        #[arg(long)]
        yes: bool,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) what: Option<AuditCommand>,
    /// Of this service alone
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<ServiceName>,
    /// What was proposed since then: a span (30d), a day (2030-01-02), or a time
    #[arg(long, value_parser = since, value_name = "TIME")]
    pub(crate) since: Option<Timestamp>,
    /// Answer in JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk the whole journal and check that nobody went past a gate unseen
    Verify {
        /// The control plane's public key, as your hosts pinned it; without it the one it names itself
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// The head that you noted earlier, `POSITION:HASH`: the journal must still go through it
        #[arg(long, value_parser = head, value_name = "HEAD")]
        head: Option<(u64, Digest)>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BreakGlassArgs {
    #[command(subcommand)]
    pub(crate) what: BreakGlassCommand,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BreakGlassCommand {
    /// Ask to leave gates out; a second person must agree
    Ask {
        /// For which service
        service: ServiceName,
        /// Which: rehearsal, matrix, hostile, references, approval, freeze
        #[arg(long, required = true, value_delimiter = ',', value_parser = gate, value_name = "GATE")]
        gates: Vec<Gate>,
        /// Why it can't wait
        #[arg(long)]
        reason: String,
        /// Void after so long, at most a day
        #[arg(long, default_value = "1h", value_name = "TIME")]
        valid: SignedDuration,
    },
    /// Agree to somebody else's
    Confirm {
        /// Its number
        id: u64,
    },
    /// Say what was found when you looked at it afterwards
    Review {
        /// Its number
        id: u64,
        /// In your words
        #[arg(long, value_name = "TEXT")]
        words: String,
    },
    /// Those that are open, or not looked at yet
    List,
}

fn gate(text: &str) -> Result<Gate, String> {
    let known = || Gate::ALL.iter().map(|gate| gate.as_str());
    Gate::ALL
        .iter()
        .find(|gate| gate.as_str() == text)
        .copied()
        .ok_or_else(|| {
            let known: Vec<&str> = known().collect();
            format!("there is no gate {text:?}; there are {}", known.join(", "))
        })
}

fn head(text: &str) -> Result<(u64, Digest), String> {
    let read = || {
        let (position, hash) = text.split_once(':')?;
        Some((position.parse().ok()?, hash.parse().ok()?))
    };
    read().ok_or_else(|| "write it as `plimsoll audit verify` printed it: 4711:9f3c…".to_owned())
}

pub(super) fn until(text: &str) -> Result<Timestamp, String> {
    moment(text, &Zoned::now(), Direction::Later)
}

fn since(text: &str) -> Result<Timestamp, String> {
    moment(text, &Zoned::now(), Direction::Earlier)
}

/// Where a span, or a time of day, leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Earlier,
    Later,
}

/// A moment as people write it: exact, on the clock of this machine, or as a span from now.
fn moment(text: &str, now: &Zoned, direction: Direction) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let here = |at: civil::DateTime| {
        at.to_zoned(now.time_zone().clone())
            .map(|at| at.timestamp())
            .map_err(|error| error.to_string())
    };
    if let Ok(span) = text.parse::<jiff::Span>() {
        let at = match direction {
            Direction::Earlier => now.checked_sub(span),
            Direction::Later => now.checked_add(span),
        };
        return at
            .map(|at| at.timestamp())
            .map_err(|error| error.to_string());
    }
    if let Ok(at) = text.parse::<civil::DateTime>() {
        return here(at);
    }
    if let Ok(time) = text.parse::<civil::Time>() {
        let today = now.date();
        let passed = time <= now.time();
        let day = match direction {
            Direction::Later if passed => today.tomorrow(),
            Direction::Earlier if !passed => today.yesterday(),
            Direction::Later | Direction::Earlier => Ok(today),
        };
        return here(day.map_err(|error| error.to_string())?.to_datetime(time));
    }
    Err(
        "write a span like 2h, a time of day like 18:00, or a time like 2030-01-02T18:00"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now: Zoned = "2030-03-30T17:00+01:00[Europe/Berlin]".parse().unwrap();
        let later = |text| moment(text, &now, Direction::Later).map(|at| at.to_string());
        assert_eq!(later("2h").unwrap(), "2030-03-30T18:00:00Z");
        assert_eq!(later("18:00").unwrap(), "2030-03-30T17:00:00Z");
        // The next day's clock is an hour ahead.
        assert_eq!(later("08:00").unwrap(), "2030-03-31T06:00:00Z");
        assert_eq!(later("1d").unwrap(), "2030-03-31T15:00:00Z");
        assert_eq!(later("2030-04-01T08:00").unwrap(), "2030-04-01T06:00:00Z");
        assert_eq!(
            later("2030-04-01T08:00:00Z").unwrap(),
            "2030-04-01T08:00:00Z"
        );
        assert!(later("tomorrow").is_err());

        let earlier = |text| moment(text, &now, Direction::Earlier).map(|at| at.to_string());
        assert_eq!(earlier("30d").unwrap(), "2030-02-28T16:00:00Z");
        assert_eq!(earlier("2030-01-02").unwrap(), "2030-01-01T23:00:00Z");
        assert_eq!(earlier("18:00").unwrap(), "2030-03-29T17:00:00Z");
    }

    #[test]
    fn gates_and_heads_are_read_or_refused_with_what_would_do() {
        assert_eq!(gate("references"), Ok(Gate::References));
        assert!(gate("refs").unwrap_err().contains("references"));
        let hash = Digest::of(b"");
        assert_eq!(head(&format!("7:{hash}")), Ok((7, hash)));
        assert!(head("7").is_err());
    }
}
