//! The words of Plimsoll: ids, units, bundles, plans, orders, events and refusals.
//!
//! Every other crate speaks in these types. They carry data and the small laws
//! that make them what they are (a name is well formed, a digest is 32 bytes,
//! a canonical encoding is the same everywhere), and no behaviour of the
//! system: deciding is the machines' work.
//!
//! Invariant: a value that was built or deserialised here is well formed, so
//! no later code checks names, paths or digests again.

pub mod attest;
pub mod bundle;
pub mod canonical;
pub mod counts;
pub mod digest;
pub mod event;
pub mod gate;
pub mod id;
pub mod incident;
pub mod judged;
pub mod order;
pub mod refusal;
pub mod route;
pub mod serving;
pub mod task;
mod tell;
pub mod ticks;
pub mod topology;
pub mod traffic;
pub mod units;
pub mod verdict;

pub use attest::{Envelope, EnvelopeSignature, Statement};
pub use bundle::{
    Bundle, BundlePath, Command, Commands, FileEntry, HealthCheck, HealthProbe, JudgePlan,
    PackageEntry, Plan, StagePlan, Undecided, WavePlan, WaveSelector,
};
pub use counts::{BundleCounts, Exposure};
pub use digest::Digest;
pub use event::{Actor, Event, RollbackCause, Scope, Wave};
pub use gate::{CheckSet, Checked, Finding, Gate, GateLook, GateState, Severity};
pub use id::{
    ClassName, ComponentName, ContactName, EnvironmentName, GatewayName, HostName, InvalidName,
    PackageName, PolicyName, ReleaseId, Role, ScheduleName, ServiceName, TenantName, TokenId,
    ZoneName,
};
pub use judged::{Explanation, Metric};
pub use order::{Order, OrderKind, Phase, Report, ReportKind};
pub use refusal::Refusal;
pub use route::{Applied, Backend, Drained, InFlight, Pool, RouteTable, ServiceRoutes};
pub use serving::{Priority, Retry, Serving, Workers};
pub use task::{Task, TaskKind, TaskOutcome, TaskResult};
pub use ticks::{CellCounts, ClientCounts, EventCounts, TickCounts};
pub use topology::{
    CatalogEntry, EndpointClass, Environment, ErrorBudget, FreezeWindow, Host, HostClass,
    PackageFacts, PrometheusSource, ServiceSpec, Topology,
};
pub use traffic::{DrainCause, RestartId};
pub use units::{Generation, Millis, Permille, Seq};
pub use verdict::{Rule, Verdict};

pub use jiff::Timestamp;
