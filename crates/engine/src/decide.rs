//! From an input to events, or to a refusal.

mod capacity;
pub(crate) mod fleet;
mod gates;
mod hosts;
mod looks;
mod people;
mod restart;
pub(crate) mod rollback;
mod sign;
pub(crate) mod tick;
mod traffic;
mod verdicts;

use std::collections::BTreeMap;

use model::refusal::Code;
use model::{
    Actor, Bundle, Checked, Digest, Envelope, EnvelopeSignature, Event, Gate, Generation, HostName,
    Permille, Refusal, ReleaseId, Report, Role, Scope, ServiceName, Statement, TaskResult,
    Timestamp, TokenId, Topology,
};

use crate::incidents::{self, IncidentInput};
use crate::{State, Watch};

pub use people::well_formed;
pub use restart::{Wanted, restart_waits};
pub use rollback::exposure;
pub use tick::{outstanding, waiting};
pub use traffic::ramp_waits;

/// Longest message, reason or name that a person may give, in bytes.
pub const WORDS_BYTES_MAX: usize = 4096;
/// Most reports taken at a time.
pub const REPORTS_MAX: usize = 1000;
/// Most results of tasks taken at a time: a host has a handful of tasks.
pub const RESULTS_MAX: usize = 100;

/// What can come in.
#[derive(Debug, Clone)]
pub enum Input {
    /// The fleet is declared (again).
    SetTopology { by: Actor, topology: Topology },
    /// A bearer token was made; `hash` is all of it that may be known here.
    IssueToken {
        by: Actor,
        token: TokenId,
        name: String,
        role: Role,
        hash: Digest,
    },
    /// A token is void.
    RevokeToken { by: Actor, token: TokenId },
    /// A join token was made.
    IssueJoin {
        by: Actor,
        token: TokenId,
        host: HostName,
        hash: Digest,
        expires_at: Timestamp,
    },
    /// An agent joins.
    Enrol {
        host: HostName,
        join: Digest,
        public_key: String,
        peer_address: String,
        adopted: BTreeMap<ServiceName, Digest>,
        fence: Generation,
    },
    /// Somebody proposes a change. All its blobs are in the store.
    Propose {
        by: Actor,
        bundle: Box<Bundle>,
        base: Option<Digest>,
        message: String,
        /// What the static checks found; nothing in it denies.
        checked: Box<Checked>,
        /// The break-glass to use.
        break_glass: Option<u64>,
    },
    /// Somebody wants the way back.
    Rollback {
        by: Actor,
        service: ServiceName,
        release: Option<ReleaseId>,
        to: Option<Digest>,
        reason: String,
    },
    /// Somebody passes a held wave.
    Continue {
        by: Actor,
        release: ReleaseId,
        reason: String,
    },
    /// No release goes forward.
    Freeze {
        by: Actor,
        scope: Scope,
        reason: String,
        /// It ends by itself then.
        until: Option<Timestamp>,
    },
    /// It may again.
    Thaw {
        by: Actor,
        scope: Scope,
        reason: String,
    },
    /// A quarantined bundle may come again.
    LiftQuarantine {
        by: Actor,
        service: ServiceName,
        digest: Digest,
        reason: String,
    },
    /// A host answers over a fresh connection.
    Confirm {
        host: HostName,
        service: ServiceName,
        generation: Generation,
        digest: Digest,
    },
    /// A host tells what happened.
    Reports {
        host: HostName,
        reports: Vec<Report>,
    },
    /// Somebody other than the author agrees to a high-risk change.
    Approve {
        by: Actor,
        release: ReleaseId,
        /// What was looked at: [`crate::binds`].
        binds: Digest,
        note: String,
    },
    /// The shell signed what [`crate::due::attestations`] wants.
    Attest {
        release: ReleaseId,
        envelope: Envelope,
        statement: Box<Statement>,
    },
    /// Somebody brings a signature over a test's result. The shell found that it holds.
    Countersign {
        by: Actor,
        release: ReleaseId,
        signature: EnvelopeSignature,
    },
    /// A host tells what came of its tasks.
    Results {
        host: HostName,
        results: Vec<TaskResult>,
    },
    /// Somebody asks to go past gates in an emergency.
    AskBreakGlass {
        by: Actor,
        service: ServiceName,
        gates: Vec<Gate>,
        reason: String,
        expires_at: Timestamp,
    },
    /// A second person agrees.
    ConfirmBreakGlass { by: Actor, id: u64 },
    /// Somebody looked at it afterwards.
    ReviewBreakGlass { by: Actor, id: u64, words: String },
    /// Somebody wants hosts restarted.
    Restart { by: Actor, wanted: Wanted },
    /// Somebody wants no more of them restarted.
    StopRestart {
        by: Actor,
        service: ServiceName,
        reason: String,
    },
    /// Somebody takes a host out of the routes.
    Drain {
        by: Actor,
        service: ServiceName,
        host: HostName,
        reason: String,
        /// Also when too few are left.
        force: bool,
    },
    /// Somebody lets it in again.
    Undrain {
        by: Actor,
        service: ServiceName,
        host: HostName,
        reason: String,
    },
    /// Somebody takes all requests from a bundle that is on its way.
    Shift {
        by: Actor,
        service: ServiceName,
        digest: Digest,
        reason: String,
    },
    /// Somebody says how many tenants are let in.
    Ramp {
        by: Actor,
        service: ServiceName,
        open: Permille,
        /// It stays so.
        hold: bool,
        reason: String,
    },
    /// Alerts, incidents, on-call and paging.
    Incident(Box<IncidentInput>),
    /// Time passed, or the watch changed.
    Tick,
}

/// What follows from `input`.
///
/// # Errors
/// A refusal, with what to do next. Ticks and reports of enrolled hosts are never refused.
pub fn decide(
    state: &State,
    watch: &Watch,
    input: Input,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    match input {
        Input::SetTopology { by, topology } => people::set_topology(state, by, topology),
        Input::IssueToken {
            by,
            token,
            name,
            role,
            hash,
        } => people::issue(by, token, name, role, hash),
        Input::RevokeToken { by, token } => people::revoke(state, by, token),
        Input::IssueJoin { .. } => issue_join(state, input),
        Input::Enrol {
            host,
            join,
            public_key,
            peer_address,
            adopted,
            fence,
        } => hosts::enrol(
            state,
            host,
            join,
            public_key,
            peer_address,
            adopted,
            fence,
            now,
        ),
        Input::Propose {
            by,
            bundle,
            base,
            message,
            checked,
            break_glass,
        } => {
            let change = people::Change {
                bundle: *bundle,
                base,
                message,
                checked: *checked,
                break_glass,
            };
            people::propose(state, watch, by, change, now)
        }
        Input::Rollback {
            by,
            service,
            release,
            to,
            reason,
        } => rollback::by_person(state, watch, by, service, release, to, reason, now),
        Input::Continue {
            by,
            release,
            reason,
        } => verdicts::carry_on(state, watch, by, release, reason, now),
        Input::Freeze {
            by,
            scope,
            reason,
            until,
        } => people::freeze(state, by, scope, reason, until, now),
        Input::Thaw { by, scope, reason } => people::thaw(state, by, scope, reason, now),
        Input::LiftQuarantine {
            by,
            service,
            digest,
            reason,
        } => people::lift(state, by, service, digest, reason),
        Input::Confirm {
            host,
            service,
            generation,
            digest,
        } => hosts::confirm(state, host, service, generation, digest),
        Input::Reports { host, reports } => hosts::reports(state, &host, reports),
        Input::Approve {
            by,
            release,
            binds,
            note,
        } => gates::approve(state, by, release, binds, note),
        Input::Attest {
            release,
            envelope,
            statement,
        } => Ok(gates::attest(state, release, envelope, &statement)),
        Input::Countersign {
            by,
            release,
            signature,
        } => sign::countersign(state, by, release, signature),
        Input::Results { host, results } => gates::results(state, &host, results),
        Input::AskBreakGlass {
            by,
            service,
            gates: left_out,
            reason,
            expires_at,
        } => gates::ask_break_glass(state, by, service, left_out, reason, expires_at),
        Input::ConfirmBreakGlass { by, id } => gates::confirm_break_glass(state, by, id, now),
        Input::ReviewBreakGlass { by, id, words } => {
            gates::review_break_glass(state, by, id, words)
        }
        Input::Restart { .. }
        | Input::StopRestart { .. }
        | Input::Drain { .. }
        | Input::Undrain { .. }
        | Input::Shift { .. }
        | Input::Ramp { .. } => about_traffic(state, watch, input, now),
        Input::Incident(input) => incidents::decide(state, watch, *input, now),
        Input::Tick => Ok(ticked(state, watch, now)),
    }
}

fn ticked(state: &State, watch: &Watch, now: Timestamp) -> Vec<Event> {
    let mut events = tick::tick(state, watch, now);
    events.extend(incidents::tick(state, watch, now));
    events
}

fn issue_join(state: &State, input: Input) -> Result<Vec<Event>, Refusal> {
    let Input::IssueJoin {
        by,
        token,
        host,
        hash,
        expires_at,
    } = input
    else {
        return Ok(Vec::new());
    };
    if state.topology.host(&host).is_none() {
        return Err(unknown_host(&host));
    }
    Ok(vec![Event::JoinTokenIssued {
        by,
        token,
        host,
        hash,
        expires_at,
    }])
}

fn about_traffic(
    state: &State,
    watch: &Watch,
    input: Input,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    match input {
        Input::Restart { by, wanted } => restart::start(state, watch, by, wanted, now),
        Input::StopRestart {
            by,
            service,
            reason,
        } => restart::stop(state, by, &service, reason),
        Input::Drain {
            by,
            service,
            host,
            reason,
            force,
        } => traffic::drain(state, watch, by, (service, host), reason, force, now),
        Input::Undrain {
            by,
            service,
            host,
            reason,
        } => traffic::undrain(state, by, (service, host), reason),
        Input::Shift {
            by,
            service,
            digest,
            reason,
        } => traffic::shift(state, by, service, digest, reason),
        Input::Ramp {
            by,
            service,
            open,
            hold,
            reason,
        } => traffic::ramp(state, by, service, open, hold, reason),
        // The others are the caller's.
        _ => Ok(Vec::new()),
    }
}

fn bounded(what: &str, words: &str) -> Result<(), Refusal> {
    if words.len() <= WORDS_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        Code::TooLarge,
        format!(
            "the {what} has {} bytes; at most {WORDS_BYTES_MAX}",
            words.len()
        ),
        "Say it shorter and link to the rest.",
    ))
}

fn unknown_host(host: &HostName) -> Refusal {
    Refusal::new(
        Code::UnknownHost,
        format!("host {host} is not in the topology"),
        "Add it to plimsoll.toml and send that with `plimsoll hosts apply`.",
    )
}

fn unknown_service(state: &State, service: &ServiceName) -> Refusal {
    let known: Vec<&str> = state
        .topology
        .services
        .keys()
        .map(ServiceName::as_str)
        .collect();
    let known = if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    };
    Refusal::new(
        Code::UnknownService,
        format!("service {service} is not in the topology (known: {known})"),
        "Correct the name, or add the service to plimsoll.toml and send that with `plimsoll hosts apply`.",
    )
}
