//! The command line's words.

mod gates;
mod judge;
mod people;
mod report;
mod shells;
mod traffic;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use model::{Digest, HostName, ReleaseId, Role, ServiceName};

pub(crate) use gates::{
    Against, ApproveArgs, AttestArgs, AttestCommand, AuditArgs, AuditCommand, BreakGlassArgs,
    BreakGlassCommand, CheckArgs, FreezeArgs, PushArgs, ThawArgs,
};
pub(crate) use judge::{ContinueArgs, PlanArgs, VerdictArgs};
pub(crate) use people::{
    AckArgs, IncidentArgs, IncidentCommand, NotifyArgs, NotifyCommand, OnCallArgs, OnCallCommand,
    PageArgs, PageCommand, ShortAckArgs, SilenceArgs, SilenceCommand, SloArgs, SloCommand,
};
pub(crate) use report::{ReportArgs, ReportCheckArgs, ReportCommand};
pub(crate) use shells::{AgentArgs, AgentCommand, GatewayArgs, LogArgs, ServerArgs, StatusArgs};
pub(crate) use traffic::{RestartArgs, TrafficArgs, TrafficCommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for push: the change is good; for verdict: no harm is shown
  1  something broke
  2  the command line is wrong
  3  refused: the answer says why and what to do next
  4  the change was rolled back; for verdict: harm is shown
  5  the change is still on its way, and --wait is over
  6  the control plane does not answer

Where the control plane is: --url or PLIMSOLL_URL. Who you are: --token-file,
PLIMSOLL_TOKEN_FILE or PLIMSOLL_TOKEN.";

/// Keeps API infrastructure up through its own changes.
#[derive(Debug, Parser)]
#[command(name = "plimsoll", version, about, after_help = EXIT_CODES, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) ask: Ask,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the control plane is, and who asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Ask {
    /// The control plane
    #[arg(
        long,
        global = true,
        env = "PLIMSOLL_URL",
        default_value = "http://127.0.0.1:7600",
        value_name = "URL",
        help_heading = "Control plane"
    )]
    pub(crate) url: String,
    /// File with your token
    #[arg(
        long,
        global = true,
        env = "PLIMSOLL_TOKEN_FILE",
        value_parser = path,
        value_name = "FILE",
        help_heading = "Control plane"
    )]
    token_file: Option<PathBuf>,
    /// Your token itself; better in the environment than on the command line, where others see it
    #[arg(
        long,
        global = true,
        env = "PLIMSOLL_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Control plane"
    )]
    pub(crate) token: Option<String>,
    /// Trust only the certificates in this PEM file
    #[arg(
        long,
        global = true,
        env = "PLIMSOLL_CA",
        value_parser = path,
        value_name = "FILE",
        help_heading = "Control plane"
    )]
    ca: Option<PathBuf>,
}

/// Takes an empty text too: a variable that is set and empty means "not set".
fn path(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(text.into())
}

impl Ask {
    /// The token's file, if there is one.
    pub(crate) fn token_file(&self) -> Option<&PathBuf> {
        self.token_file
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty())
    }

    /// The trusted certificates' file, if there is one.
    pub(crate) fn ca(&self) -> Option<PathBuf> {
        self.ca.clone().filter(|path| !path.as_os_str().is_empty())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: a small fleet on this machine, a good change, a bad one
    #[command(
        after_help = "Examples:\n  plimsoll quickstart              stays up, with commands to try\n  plimsoll quickstart --once       ends after the summary"
    )]
    Quickstart(QuickstartArgs),
    /// Propose a change and follow it past every gate to every host, or back
    #[command(
        after_help = "Examples:\n  plimsoll push api -m 'shorter timeout'\n  plimsoll push api --dry-run\n  plimsoll push api --no-follow --json\n  plimsoll push api --break-glass 3 -m 'outage: back to the old address'"
    )]
    Push(PushArgs),
    /// What is released, what is on its way, what is frozen
    #[command(
        after_help = "Examples:\n  plimsoll status\n  plimsoll status --json | jq '.services[].active.waiting'"
    )]
    Status(JsonArgs),
    /// List releases, look at one, or let a quarantined bundle come again
    #[command(
        after_help = "Examples:\n  plimsoll releases\n  plimsoll releases show 12\n  plimsoll releases lift api DIGEST --reason 'the database was down, not the bundle'"
    )]
    Releases(ReleasesArgs),
    /// List hosts; declare the fleet; make join tokens and people's tokens
    #[command(
        after_help = "Examples:\n  plimsoll hosts\n  plimsoll hosts apply plimsoll.toml\n  plimsoll hosts join-token web-01\n  plimsoll hosts token ada --role author"
    )]
    Hosts(HostsArgs),
    /// Go back. Never refused but for a target that was never good
    #[command(
        after_help = "Examples:\n  plimsoll rollback api\n  plimsoll rollback api --release 12 --reason 'orders fail'\n  plimsoll rollback api --to DIGEST"
    )]
    Rollback(RollbackArgs),
    /// What the judge says of a release: counts, evidence, who is to blame, what is still needed
    #[command(
        after_help = "Examples:\n  plimsoll verdict                 the newest release\n  plimsoll verdict api --watch\n  plimsoll verdict 12 --json | jq .explanation.ratio\n  plimsoll verdict 12 --replay     computes it again from its recorded seconds\n\nEnds with 4 when the verdict is harm."
    )]
    Verdict(VerdictArgs),
    /// Pass a held wave that the judge can't decide
    #[command(
        after_help = "Examples:\n  plimsoll verdict 12\n  plimsoll continue 12 --reason 'night traffic; looked at the logs of web-01'"
    )]
    Continue(ContinueArgs),
    /// How long each wave must bake to show a regression, from the service's own traffic
    #[command(
        after_help = "Examples:\n  plimsoll plan                    the plan of ./plimsoll.toml\n  plimsoll plan --service api      without a project: the plan that is good now\n  plimsoll plan --project other.toml --json"
    )]
    Plan(PlanArgs),
    /// Approve a high-risk change of somebody else
    #[command(
        after_help = "Examples:\n  plimsoll approve 7\n  plimsoll approve 7 --note 'address checked with the auth team' --yes"
    )]
    Approve(ApproveArgs),
    /// The signed fact that a release passed its test: show it, check it
    #[command(
        after_help = "Examples:\n  plimsoll attest show 7\n  plimsoll attest verify 7 --key \"$(cat control.key)\"\n  plimsoll attest show 7 --json > 7.json\n  plimsoll attest verify --file 7.json --key HEX --bundle DIGEST"
    )]
    Attest(AttestArgs),
    /// Every high-risk option ever changed: by whom, approved by whom, what became of it
    #[command(
        after_help = "Examples:\n  plimsoll audit\n  plimsoll audit --service api --since 30d\n  plimsoll audit verify --key HEX --head 4711:9f3c…"
    )]
    Audit(AuditArgs),
    /// Restart a service's hosts: drained first, spread out, health-checked, as many at a time as capacity allows
    #[command(
        after_help = "Examples:\n  plimsoll restart api --reason 'leaks memory' --wait\n  plimsoll restart api --host web-01 --host web-02 --reason 'new kernel'\n  plimsoll restart api --parallel 1 --floor 90% --reason 'careful'\n  plimsoll restart api --stop --reason 'not the cause'\n\nEnds with 3 when it was refused, or stopped before all hosts were back."
    )]
    Restart(RestartArgs),
    /// Who serves whom: look, drain a host, shift requests away from a bundle, open by quarters
    #[command(
        after_help = "Examples:\n  plimsoll traffic show api\n  plimsoll traffic drain api web-03 --reason 'bad memory'\n  plimsoll traffic undrain api web-03\n  plimsoll traffic shift api --away-from DIGEST --reason 'orders look odd'\n  plimsoll traffic ramp api --to 25 --reason 'the database is back, and cold'"
    )]
    Traffic(TrafficArgs),
    /// Stop releases of a service, of an environment, or all; rollbacks go on working
    #[command(
        after_help = "Examples:\n  plimsoll freeze --reason 'fair day' --until 20:00\n  plimsoll freeze api --reason 'database move'\n  plimsoll freeze --environment production --until 2h --reason 'switch update'"
    )]
    Freeze(FreezeArgs),
    /// End a freeze
    #[command(
        after_help = "Examples:\n  plimsoll thaw --reason 'the fair is over'\n  plimsoll thaw api --reason 'the database has moved'\n  plimsoll thaw --environment production --reason 'switches are back'"
    )]
    Thaw(ThawArgs),
    /// Go past gates in an emergency: two people, one service, for a short time
    #[command(
        after_help = "Examples:\n  plimsoll break-glass ask api --gates freeze,approval --reason 'outage: wrong address'\n  plimsoll break-glass confirm 3          (somebody else)\n  plimsoll push api --break-glass 3 -m 'back to the old address'\n  plimsoll break-glass review 3 --words 'right call; the freeze should not have covered api'"
    )]
    BreakGlass(BreakGlassArgs),
    /// Incidents: look, take, talk, end
    #[command(
        after_help = "Examples:\n  plimsoll incident list\n  plimsoll incident show 7 --zone Europe/Berlin\n  plimsoll incident open 'orders fail' --service api --severity sev1\n  plimsoll incident ack 7 --for 1h\n  plimsoll incident update 7 identified 'A setting was wrong; we are going back.'\n  plimsoll incident resolve 7 'went back to release 11'"
    )]
    Incident(IncidentArgs),
    /// Short for `incident ack`
    #[command(after_help = "Examples:\n  plimsoll ack 7\n  plimsoll ack 7 --for 1h")]
    Ack(ShortAckArgs),
    /// Keep alerts quiet for a while
    #[command(
        after_help = "Examples:\n  plimsoll silence add service=api 'alertname=~\"Disk.*\"' --for 2h --comment 'disks are exchanged'\n  plimsoll silence list\n  plimsoll silence expire 3f0c…"
    )]
    Silence(SilenceArgs),
    /// Who is on call: look, declare, take over
    #[command(
        after_help = "Examples:\n  plimsoll oncall now\n  plimsoll oncall apply oncall.toml\n  plimsoll oncall preview platform --days 90\n  plimsoll oncall take platform --as ada --until 18:00\n  plimsoll oncall swap platform 2026-05-04T12:00 2026-05-11T12:00\n  plimsoll oncall override platform --as ben --from 2026-05-01T09:00 --until 2026-05-02T09:00\n  plimsoll oncall override platform --remove 3"
    )]
    Oncall(OnCallArgs),
    /// See that pages reach somebody
    #[command(after_help = "Example:\n  plimsoll page test ada")]
    Page(PageArgs),
    /// What is promised of services
    #[command(
        after_help = "Example:\n  plimsoll slo rules oncall.toml > /etc/prometheus/rules/plimsoll.yml"
    )]
    Slo(SloArgs),
    /// How people are reached: mail, push, telephone
    #[command(after_help = "Example:\n  plimsoll notify check notify.toml")]
    Notify(NotifyArgs),
    /// Read, export and verify the journal
    #[command(
        after_help = "Examples:\n  plimsoll journal tail --follow\n  plimsoll journal verify --data /var/lib/plimsoll\n  plimsoll journal export --data /var/lib/plimsoll > events.jsonl"
    )]
    Journal(JournalArgs),
    /// Run an incident report: a real outage, and what contains it
    #[command(
        after_help = "Examples:\n  plimsoll drill\n  plimsoll drill web-01\n  plimsoll drill web-01 --waves-only\n  plimsoll drill api-infrastructure --waves-only --unprotected\n  plimsoll drill api-infrastructure --unguarded --json\n\nDrills: api-infrastructure, hairlinegenius-api, ninaz-hairline-api, web-01, subtle."
    )]
    Drill(DrillArgs),
    /// Run the control plane
    #[command(
        after_help = "Examples:\n  plimsoll server --data /var/lib/plimsoll --project plimsoll.toml\n  plimsoll server --data DIR --listen 0.0.0.0:7600 --tls-cert cert.pem --tls-key key.pem"
    )]
    Server(ServerArgs),
    /// Run the agent of a host, or tell it to go back without the control plane
    #[command(
        after_help = "Examples:\n  plimsoll agent --config /etc/plimsoll/agent.toml --join-token pls_…\n  plimsoll agent revert --local --config /etc/plimsoll/agent.toml\n  plimsoll agent status --config /etc/plimsoll/agent.toml"
    )]
    Agent(AgentArgs),
    /// Run a gateway: a reverse proxy that routes and counts by bundle and tenant
    #[command(
        after_help = "Examples:\n  plimsoll gateway --name edge-1 --environment production --serve api=0.0.0.0:8080\n  plimsoll gateway --name edge-1 --environment production --serve-tls api=0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem\n  plimsoll gateway --name edge-1 --environment production --serve api=0.0.0.0:8080 --upstream-ca hosts-ca.pem\n\nWith --check: says all that is wrong with these options, and ends. A second gateway with the same options takes\nover from the first without a lost request: start it, then send the first SIGTERM."
    )]
    Gateway(Box<GatewayArgs>),
    /// Check a project and its files as they would be packed; needs no control plane
    #[command(
        after_help = "Examples:\n  plimsoll check\n  plimsoll check api --json\n  plimsoll check --base ../released       a git worktree of what is released\n  plimsoll check api --against good       asks the control plane what is good\n\nIn .git/hooks/pre-commit:\n  exec plimsoll check"
    )]
    Check(CheckArgs),
    /// Incident reports: find where they contradict themselves
    #[command(after_help = "Example:\n  plimsoll report check postmortem.md")]
    Report(ReportArgs),
    /// Print the JSON Schema of plimsoll.toml, for editors
    #[command(after_help = "Example:\n  plimsoll schema > plimsoll.schema.json")]
    Schema,
    /// Look for what is in the way: connection, token, clock, hosts
    Doctor(JsonArgs),
    /// Print completions for your shell
    #[command(
        after_help = "Example:\n  plimsoll completions bash > /etc/bash_completion.d/plimsoll"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// The API server of drills: blocking threads, bounded queue
    #[command(hide = true)]
    DrillService(drill::service::ServiceArgs),
    /// The authentication service of drills
    #[command(hide = true)]
    DrillAuth(drill::auth::AuthArgs),
    /// The init system of drills: keeps one program running
    #[command(hide = true)]
    Supervise(drill::supervise::SuperviseArgs),
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QuickstartArgs {
    /// Folder to work in; made when missing, must be empty or a former quickstart's
    #[arg(long, default_value = "plimsoll-quickstart", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// End after the summary
    #[arg(long)]
    pub(crate) once: bool,
    /// Print the summary in JSON (with --once)
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// Which; without it the drills are listed
    pub(crate) name: Option<String>,
    /// All gates and waves off: the outage must happen as it was recorded
    #[arg(long)]
    pub(crate) unguarded: bool,
    /// All gates off, waves and judge on: the outage must stay small
    #[arg(long, conflicts_with = "unguarded")]
    pub(crate) waves_only: bool,
    /// The gateway's overload control off too: it gives hosts whatever comes
    #[arg(long, conflicts_with = "unguarded")]
    pub(crate) unprotected: bool,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep the folder with configuration, journal and logs, and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReleasesArgs {
    #[command(subcommand)]
    pub(crate) what: Option<ReleasesCommand>,
    /// Of this service alone
    #[arg(long)]
    pub(crate) service: Option<ServiceName>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReleasesCommand {
    /// One release with its waves
    Show {
        /// Its number
        id: u64,
        /// Go on showing it until it is over
        #[arg(long)]
        follow: bool,
    },
    /// Let a rolled-back bundle be proposed again
    Lift {
        /// Of which service
        service: ServiceName,
        /// Which bundle, 64 hex digits
        digest: Digest,
        /// Why it was not the bundle's fault
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct HostsArgs {
    #[command(subcommand)]
    pub(crate) what: Option<HostsCommand>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostsCommand {
    /// Declare environments, hosts and services from a project file
    Apply {
        /// The project file
        #[arg(default_value = "plimsoll.toml")]
        project: PathBuf,
    },
    /// Make a one-time token with which a host's agent may join
    JoinToken {
        /// Which host
        host: HostName,
        /// Void after so long
        #[arg(long, default_value = "1h", value_name = "TIME")]
        valid: jiff::SignedDuration,
    },
    /// Make a token for a person, a pipeline or a gateway
    Token {
        /// Whose; shown as author and actor
        name: String,
        /// viewer, author, approver, operator, or agent (for gateways)
        #[arg(long)]
        role: Role,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// Which service
    pub(crate) service: ServiceName,
    /// Undo this release; without it the one on its way, else the newest good one
    #[arg(long, value_parser = release_id)]
    pub(crate) release: Option<ReleaseId>,
    /// Go to this bundle, one that was good; without it each host's own last good
    #[arg(long, value_name = "DIGEST")]
    pub(crate) to: Option<Digest>,
    /// Why
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Return at once instead of following
    #[arg(long)]
    pub(crate) no_follow: bool,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn release_id(text: &str) -> Result<ReleaseId, std::num::ParseIntError> {
    text.parse().map(ReleaseId)
}

#[derive(Debug, Args)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    pub(crate) what: JournalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// What happened, from the control plane
    Tail {
        /// Go on as things happen
        #[arg(short, long)]
        follow: bool,
        /// Begin after this position; without it the newest 20 are shown
        #[arg(long, value_name = "POSITION")]
        after: Option<u64>,
        /// Answer in JSON, one record a line
        #[arg(long)]
        json: bool,
    },
    /// Check the hash chain of a journal on this machine's disk; the server may run meanwhile
    Verify {
        /// The control plane's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a journal on this machine's disk as JSON lines in CloudEvents form
    Export {
        /// The control plane's data folder
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Begin after this position
        #[arg(long, default_value_t = 0, value_name = "POSITION")]
        after: u64,
    },
}
