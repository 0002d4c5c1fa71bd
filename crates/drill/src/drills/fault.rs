//! What the changes of the reports get wrong.
//!
//! Invariant: each fault is a state of real sockets, locks and versions, the
//! same in every course; only what is known of it beforehand differs.

use anyhow::Result;

use crate::world::{AUTH_RUNTIME, Package, Shape, World};

/// Something that a change does to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The configuration names an authentication service that takes connections
    /// and never answers; the client library has no deadline.
    SilentAuth,
    /// A new package wants the session store that a deployed one holds.
    PackageConflict,
    /// A new package speaks to the authentication service as only its next
    /// version understands. The test environment has that already.
    MissingFeature,
    /// The configuration halves the buffer for sessions; what does not fit is answered with 500.
    TightLimit,
}

/// Sessions of this many bytes fit: all but one in a hundred of customers' requests.
const SESSION_BYTES_BEFORE: u32 = 4096;
/// After the change all but one in twenty.
const SESSION_BYTES_AFTER: u32 = 2048;

/// Keeps sessions the old way; on every host.
const LEGACY_SESSION: Package = Package {
    name: "legacy-session",
    version: "2.3.0",
    uses: "[session_store]\nfolder = \"sessions\"\n",
    requires: &[],
    conflicts: &[],
    provides: &[],
};

/// Its last version leaves the store to its successor.
const LEGACY_SESSION_3: Package = Package {
    version: "3.0.0",
    uses: "",
    ..LEGACY_SESSION
};

/// Is to replace it, and can't live beside a version that keeps sessions.
const SESSION_STORE: Package = Package {
    name: "session-store",
    version: "3.0.0",
    uses: "[session_store]\nfolder = \"sessions\"\n",
    requires: &[],
    conflicts: &[("legacy-session", "<3")],
    provides: &[],
};

/// What production runs.
const AUTH_RUNTIME_1: Package = Package {
    name: AUTH_RUNTIME,
    version: "1.4.0",
    uses: "",
    requires: &[],
    conflicts: &[],
    provides: &[("sso", "1.0.0")],
};

/// What the test environment runs.
const AUTH_RUNTIME_2: Package = Package {
    version: "2.0.0",
    provides: &[("sso", "2.0.0")],
    ..AUTH_RUNTIME_1
};

/// The upgrade.
const WEB: Package = Package {
    name: "web",
    version: "2.0.0",
    uses: "[authentication]\nprotocol = \"token-exchange\"\n",
    requires: &[("sso", "^2")],
    conflicts: &[],
    provides: &[],
};

impl Fault {
    /// The fleet that it happens to.
    pub(super) fn shape(self) -> Shape {
        let shape = Shape::default();
        match self {
            Fault::SilentAuth => shape,
            Fault::PackageConflict => Shape {
                lab: vec![LEGACY_SESSION],
                web: vec![LEGACY_SESSION],
                catalog: vec![LEGACY_SESSION, LEGACY_SESSION_3],
                ..shape
            },
            Fault::MissingFeature => Shape {
                lab: vec![AUTH_RUNTIME_2],
                web: vec![AUTH_RUNTIME_1],
                catalog: vec![AUTH_RUNTIME_1, AUTH_RUNTIME_2],
                ..shape
            },
            Fault::TightLimit => Shape {
                test_hosts: 1,
                zones: vec![("zone-a", 2), ("zone-b", 2)],
                // Half of the customers at once: what is found sooner harms fewer.
                waves: vec!["1 host at 50%", "zone", "each zone"],
                // Longer than it takes to find what the drill is about.
                bake_s: 20,
                requests_min: 1000,
                // So that five points could not pass, however little was shown of harm.
                failure_budget: "2%",
                session_bytes_max: Some(SESSION_BYTES_BEFORE),
                ..shape
            },
        }
    }

    /// What the change brings beside its configuration.
    pub(super) fn packages(self) -> &'static [Package] {
        match self {
            Fault::SilentAuth | Fault::TightLimit => &[],
            Fault::PackageConflict => &[SESSION_STORE],
            Fault::MissingFeature => &[WEB],
        }
    }

    /// Writes the change, ready to be released.
    pub(super) fn write(self, world: &World) -> Result<()> {
        match self {
            Fault::SilentAuth => world.write_config("2", world.blackhole)?,
            Fault::PackageConflict | Fault::MissingFeature => {
                world.write_config("2", world.auth)?
            }
            Fault::TightLimit => {
                world.write_limited("2", world.auth, Some(SESSION_BYTES_AFTER))?;
            }
        }
        world.write_packages(self.packages())
    }

    /// Writes what was there before.
    pub(super) fn unwrite(self, world: &World) -> Result<()> {
        world.write_config("1", world.auth)?;
        world.write_packages(&[])
    }

    /// The true cause, and what a refusal must say to have named it.
    pub(super) fn cause(self, world: &World) -> (&'static str, Vec<String>) {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match self {
            Fault::SilentAuth => (
                "the refusal names the address that does not answer",
                vec![
                    "/auth/production/address".into(),
                    world.blackhole.to_string(),
                ],
            ),
            Fault::PackageConflict => (
                "the refusal names both packages and their versions",
                words(&["session-store", "3.0.0", "legacy-session", "2.3.0"]),
            ),
            Fault::MissingFeature => (
                "the refusal names what is missing, where, and what to upgrade first",
                words(&["sso", "auth-runtime", "1.4.0", "2.0.0"]),
            ),
            Fault::TightLimit => (
                "the verdict names what is worse, and how much",
                words(&[
                    "errors",
                    "requests failed",
                    "on the new bundle",
                    "times as often",
                ]),
            ),
        }
    }
}
