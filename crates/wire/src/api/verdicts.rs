//! What the judge says, and what a plan can see before it is begun.

use model::{EnvironmentName, Explanation, Plan, Rule, ServiceName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/releases/ID/verdict`: as it stands, or as it was when the release ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictView {
    /// Which release.
    pub release: u64,
    /// Whose.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// Where it is, or was last; absent before its first environment.
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
    /// The wave, from 1; 0 before the first.
    pub wave: u32,
    /// Of how many.
    pub waves: u32,
    /// It is judged now; else this is the last word of the journal.
    pub live: bool,
    /// `pass`, `fail`, `insufficient`.
    pub verdict: String,
    /// Which rule failed it.
    #[schema(value_type = Option<String>)]
    pub rule: Option<Rule>,
    /// In one sentence: why it failed, or what is still needed.
    pub reason: String,
    /// What it rests on; absent when nothing was counted.
    #[schema(value_type = Option<Object>)]
    pub explanation: Option<Explanation>,
}

/// `POST /v1/releases/ID/continue`: a person passes a held wave.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContinueRequest {
    /// Why.
    pub reason: String,
}

/// `POST /v1/plan`: what a plan can see, from the service's own traffic.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// Whose traffic.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// The plan; absent: the good bundle's.
    #[schema(value_type = Option<Object>)]
    #[serde(default)]
    pub plan: Option<Plan>,
}

/// What a plan can see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// Whose.
    #[schema(value_type = String)]
    pub service: ServiceName,
    /// In the order of the pipeline.
    pub environments: Vec<PlanStageView>,
}

/// One environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanStageView {
    /// Which.
    #[schema(value_type = String)]
    pub environment: EnvironmentName,
    /// Its traffic as seen lately; absent when none was seen.
    pub traffic: Option<TrafficView>,
    /// Wave by wave.
    pub waves: Vec<PlanWaveView>,
    /// What the plan can't do.
    pub warnings: Vec<String>,
}

/// A service's usual traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrafficView {
    /// Requests each second.
    pub requests_per_s: f64,
    /// Share that fails, 0 to 1.
    pub failing: f64,
    /// How much more hosts differ than chance would have them; 1 is chance.
    pub dispersion: f64,
    /// Seen over so many seconds.
    pub seen_s: u64,
}

/// One wave. Spans are in seconds and absent when it never shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanWaveView {
    /// Hosts it adds.
    pub hosts: u32,
    /// The new bundle's share of the traffic, 0 to 1.
    pub share: f64,
    /// It bakes at least so long.
    pub bake_s: f64,
    /// Twice as many failures show after.
    pub doubling_s: Option<f64>,
    /// One point more failures.
    pub point_s: Option<f64>,
    /// A fifth slower.
    pub slower_s: Option<f64>,
    /// Everything fails.
    pub outage_s: Option<f64>,
    /// A healthy bundle passes.
    pub pass_s: Option<f64>,
    /// Failed requests before an outage is rolled back.
    pub harm_outage: f64,
    /// Additional failed requests before a doubling is.
    pub harm_doubling: Option<f64>,
    /// In words: "a doubling shows in 7 min at this share".
    pub words: String,
}
