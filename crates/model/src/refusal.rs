//! An expected no: a code, words for people, and what to do next.

use serde::{Deserialize, Serialize};

use crate::gate::Finding;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)+) => {
        /// Why something was refused. Each code has a page in `docs/errors/`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $name,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            /// As written on the wire and in documentation.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $code,)+
                }
            }
        }
    };
}

codes! {
    /// The service is not in the topology.
    UnknownService = "unknown-service";
    /// The host is not in the topology, or not enrolled.
    UnknownHost = "unknown-host";
    /// No release with that number.
    UnknownRelease = "unknown-release";
    /// The bundle breaks a law of its form.
    InvalidBundle = "invalid-bundle";
    /// The topology breaks a law of its form.
    InvalidTopology = "invalid-topology";
    /// A blob that the bundle names was not uploaded.
    MissingBlob = "missing-blob";
    /// Another release of the service is on its way.
    ReleaseInProgress = "release-in-progress";
    /// The bundle is what runs and is good already.
    AlreadyGood = "already-good";
    /// The bundle was rolled back before; a person must lift that first.
    Quarantined = "quarantined";
    /// The release was prepared against another state of the fleet.
    BaseMoved = "base-moved";
    /// Releases are frozen.
    Frozen = "frozen";
    /// There are no hosts for the service in the pipeline.
    NoHosts = "no-hosts";
    /// The rollback's target was never good.
    TargetNeverGood = "target-never-good";
    /// A report or confirmation for an order that a newer one replaced.
    StaleGeneration = "stale-generation";
    /// No token, or not a valid one.
    Unauthenticated = "unauthenticated";
    /// The token's role may not do this.
    WrongRole = "wrong-role";
    /// The join token is unknown, used up, expired or for another host.
    BadJoinToken = "bad-join-token";
    /// A signature doesn't fit its bytes and key.
    BadSignature = "bad-signature";
    /// The request can't be read.
    BadRequest = "bad-request";
    /// Bytes that don't fit their digest or announced length.
    BadBlob = "bad-blob";
    /// More than a limit allows.
    TooLarge = "too-large";
    /// Too much at once; try again later.
    Overloaded = "overloaded";
    /// Nothing there.
    NotFound = "not-found";
    /// Known, but not offered in this version.
    NotOffered = "not-offered";
    /// There is nothing to thaw or lift.
    NothingToLift = "nothing-to-lift";
    /// Schema, policies, guards or the rule about secrets say no.
    ChecksFailed = "checks-failed";
    /// What is deployed doesn't go with the change.
    Incompatible = "incompatible";
    /// The rules of a service can't be used.
    InvalidChecks = "invalid-checks";
    /// The release waits for no approval (yet, or any more).
    NoApprovalNeeded = "no-approval-needed";
    /// No wave of the release is held: there is nothing to continue.
    NotHeld = "not-held";
    /// The author can't approve the own change, nor one person twice.
    OwnApproval = "own-approval";
    /// What was to be approved has changed.
    ApprovalMoved = "approval-moved";
    /// The signed test result is missing, forged, expired, or for another bundle or base.
    NotAttested = "not-attested";
    /// A way back in advance belongs to an order that a newer one replaced.
    RevertMoved = "revert-moved";
    /// There is no break-glass to confirm, use or review.
    NoBreakGlass = "no-break-glass";
    /// A break-glass needs a second person.
    SecondPerson = "second-person";
    /// Something in the declared contacts, schedules, policies or objectives makes no sense.
    InvalidSetup = "invalid-setup";
    /// The incident is over, or is not, or can't be part of that.
    IncidentOver = "incident-over";
    /// Too few hosts would be left to serve.
    BelowFloor = "below-floor";
    /// The service is being restarted there already.
    RestartUnderWay = "restart-under-way";
    /// It was restarted too often of late.
    RestartStorm = "restart-storm";
    /// Nobody knows how to restart what runs there.
    NotRestartable = "not-restartable";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// An expected no. Not an error: nothing is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Stable, for programs.
    pub code: Code,
    /// What happened, for people.
    pub message: String,
    /// What to do next.
    pub next: String,
    /// Each thing that was found, when it is a check that says no.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Refusal {
    /// A refusal with its words.
    pub fn new(code: Code, message: impl Into<String>, next: impl Into<String>) -> Refusal {
        Refusal {
            code,
            message: message.into(),
            next: next.into(),
            findings: Vec::new(),
        }
    }

    /// The same, with what was found.
    #[must_use]
    pub fn with(self, findings: Vec<Finding>) -> Refusal {
        Refusal { findings, ..self }
    }
}
