//! Work that a host does without changing anything: probes, trials, load.
//!
//! Tasks are levels like orders: a host does what is on its list, tells the
//! result until it is acknowledged, and stops when a task leaves the list.
//! Invariant: no task changes what runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::gate::{LoadPlan, Probe, Reference, Trial};
use crate::{Bundle, EnvironmentName, HostName, Millis, ReleaseId, ServiceName, ZoneName};

/// Something for one host to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Names it for ever: release, kind, round.
    pub id: String,
    /// Who.
    pub host: HostName,
    /// On whose behalf.
    pub release: ReleaseId,
    /// Of which service.
    pub service: ServiceName,
    /// Where the host stands, for texts.
    pub environment: EnvironmentName,
    /// Its zone.
    pub zone: ZoneName,
    /// Where the service listens on this host.
    pub address: String,
    /// All of it must be over by then; what is not done by then is told as such.
    pub within_ms: Millis,
    /// What.
    pub kind: TaskKind,
}

/// What is to be done.
#[expect(
    clippy::large_enum_variant,
    reason = "a host has a handful of tasks, never many"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum TaskKind {
    /// Ask each reference once, read-only.
    Probe {
        /// With their numbers in the release's list.
        #[serde(deserialize_with = "numbered")]
        references: BTreeMap<u32, Reference>,
        /// Where probes may go.
        egress: Option<Vec<String>>,
    },
    /// Give broken variants of the documents to the bundle's own check, in copies of its tree.
    Hostile {
        /// The bundle, whose tree is on this host.
        bundle: Bundle,
        /// Which documents.
        documents: Vec<crate::BundlePath>,
        /// Schemas by path pattern: they say what must not be missing.
        schemas: BTreeMap<String, String>,
    },
    /// Send requests for as long as this is on the list.
    Load {
        /// Which, and how many.
        plan: LoadPlan,
    },
}

/// What came of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Which.
    pub id: String,
    /// On whose behalf.
    pub release: ReleaseId,
    /// What.
    pub outcome: TaskOutcome,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum TaskOutcome {
    /// What each reference said.
    Probed {
        /// One for each reference of the task.
        probes: Vec<Probe>,
    },
    /// What the check did with each variant.
    Tried {
        /// In the order in which they were tried.
        trials: Vec<Trial>,
    },
    /// The load has ended.
    Loaded {
        /// Requests sent.
        requests: u64,
        /// Of these, failed.
        failed: u64,
    },
    /// The host could not do it.
    Broken {
        /// Why.
        reason: String,
    },
}

/// Reads numbers that are keys. In JSON they are texts, and serde can't read
/// them as numbers in an enum with its tag inside.
fn numbered<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, Reference>, D::Error> {
    let entries = BTreeMap::<String, Reference>::deserialize(from)?;
    let numbered = entries.into_iter().map(|(number, reference)| {
        let number = number.parse().map_err(serde::de::Error::custom)?;
        Ok((number, reference))
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ReferenceKind;

    #[test]
    fn a_probe_comes_back_from_json() {
        let reference = Reference {
            file: "service.toml".parse().unwrap(),
            at: "/auth/address".into(),
            line: 1,
            kind: ReferenceKind::Tcp,
            target: "auth:9101".into(),
            from: Vec::new(),
            status: None,
            deadline_ms: Millis::seconds(3),
        };
        let kind = TaskKind::Probe {
            references: [(10, reference)].into(),
            egress: None,
        };
        let json = serde_json::to_string(&kind).unwrap();
        assert!(json.contains(r#""references":{"10":"#), "{json}");
        assert_eq!(serde_json::from_str::<TaskKind>(&json).unwrap(), kind);
        let odd = json.replace("\"10\"", "\"ten\"");
        assert!(serde_json::from_str::<TaskKind>(&odd).is_err());
    }
}
