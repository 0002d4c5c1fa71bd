//! `[service.NAME.plan.ENVIRONMENT]`: how a bundle travels.

use model::{Millis, Plan, StagePlan, WavePlan, WaveSelector};

use super::fleet::Fleet;
use super::grammar::{self, Flaw, written};
use super::judge;
use super::reader::Reader;
use super::tree::{Node, Value};
use super::unknown;

/// A host that takes longer than this to apply, look or confirm is broken, not slow.
pub(super) const DEADLINE_MAX: Millis = Millis::seconds(3600);
/// The shortest deadline; zero would fail everything.
pub(super) const DEADLINE_MIN: Millis = Millis(1);
/// Longer than a week is no bake but a forgotten release.
const BAKE_MAX: Millis = Millis::seconds(7 * 24 * 3600);
/// More requests than any wave waits for.
const REQUESTS_MAX: u64 = 1_000_000_000;
/// More hosts than are ever changed at once.
const PARALLEL_MAX: u64 = 10_000;
/// More waves than anybody plans.
const WAVES_MAX: usize = 1000;

const KEYS: [&str; 9] = [
    "waves",
    "bake",
    "bake_max",
    "requests_min",
    "failure_budget",
    "parallel",
    "confirm_within",
    "floor",
    "judge",
];

/// A stage for every environment: what is written over the defaults.
pub(super) fn read(node: Option<&Node>, fleet: &Fleet, reader: &mut Reader<'_>) -> Plan {
    let mut plan = Plan::default();
    let last = fleet.names.len().saturating_sub(1);
    for (position, name) in fleet.names.iter().enumerate() {
        if let Ok(name) = name.parse() {
            plan.stages.insert(name, default_stage(position == last));
        }
    }
    let fields = node.and_then(|node| reader.fields(node, "plan"));
    for field in fields.unwrap_or_default() {
        let names: Vec<&str> = fleet.names.iter().map(String::as_str).collect();
        let position = names.iter().position(|name| *name == field.name);
        if position.is_none() && !fleet.unnamed {
            let flaw = unknown("environment", &field.name, &names);
            reader.report(field.name_span.clone(), flaw);
        }
        let default = default_stage(position == Some(last));
        let stage = stage(&field.node, default, reader);
        if let (Some(_), Some(stage), Ok(name)) = (position, stage, field.name.parse()) {
            plan.stages.insert(name, stage);
        }
    }
    plan
}

/// Careful where it counts: the last environment goes wave by wave, those
/// before it all at once, because nobody depends on them and few requests come.
fn default_stage(last: bool) -> StagePlan {
    let careful = StagePlan::default();
    if last {
        return careful;
    }
    StagePlan {
        waves: vec![WavePlan::of(WaveSelector::All)],
        bake_ms: Millis::seconds(10),
        requests_min: 0,
        ..careful
    }
}

fn stage(node: &Node, mut stage: StagePlan, reader: &mut Reader<'_>) -> Option<StagePlan> {
    let table = reader.table(node, "plan", &KEYS)?;
    // A value that can't be read leaves the default: its problem is noted, and the others still show.
    let read = table.get("waves").and_then(|node| waves(node, reader));
    stage.waves = read.unwrap_or(stage.waves);
    let (any, deadline) = (Millis(0)..=BAKE_MAX, DEADLINE_MIN..=DEADLINE_MAX);
    let mut duration = |key: &str, allowed, default| {
        let node = table.get(key);
        let read = node.and_then(|node| reader.duration(node, key, allowed));
        read.unwrap_or(default)
    };
    stage.bake_ms = duration("bake", any.clone(), stage.bake_ms);
    stage.bake_max_ms = duration("bake_max", any, stage.bake_max_ms);
    stage.confirm_within_ms = duration("confirm_within", deadline, stage.confirm_within_ms);
    if let Some(node) = table.get("requests_min") {
        let read = reader.count(node, "requests_min", 0..=REQUESTS_MAX);
        stage.requests_min = read.unwrap_or(stage.requests_min);
    }
    if let Some(node) = table.get("failure_budget") {
        let read = reader.share(node, "failure_budget");
        stage.failure_budget_permille = read.unwrap_or(stage.failure_budget_permille);
    }
    if let Some(node) = table.get("parallel") {
        let read = reader.count(node, "parallel", 1..=PARALLEL_MAX);
        let read = read.and_then(|parallel| u32::try_from(parallel).ok());
        stage.parallel = read.unwrap_or(stage.parallel);
    }
    if let Some(node) = table.get("floor") {
        let read = reader.share(node, "floor");
        stage.floor_permille = read.or(stage.floor_permille);
    }
    if let Some(node) = table.get("judge") {
        stage.judge = judge::read(node, reader).unwrap_or(stage.judge);
    }
    judge::check(table, &stage, reader);
    if stage.bake_max_ms < stage.bake_ms {
        let given = table.get("bake_max").or_else(|| table.get("bake"));
        let span = given.map_or(table.span.clone(), |node| node.span.clone());
        let (bake, most) = (written(stage.bake_ms), written(stage.bake_max_ms));
        let flaw = Flaw::new(format!(
            "`bake` ({bake}) is longer than `bake_max` ({most})"
        ));
        let help =
            "a wave is held after `bake_max` (\"30m\" if absent), so it can't be the shorter one";
        reader.report(span, flaw.help(help));
    }
    Some(stage)
}

fn waves(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<WavePlan>> {
    let items = reader.list(node, "waves")?;
    if items.is_empty() || items.len() > WAVES_MAX {
        let flaw = Flaw::new(format!(
            "a plan has 1 to {WAVES_MAX} waves, not {}",
            items.len()
        ));
        reader.report(
            node.span.clone(),
            flaw.help("for a single wave write `waves = [\"all\"]`"),
        );
        return None;
    }
    let mut waves: Vec<WavePlan> = Vec::new();
    let mut everything_at = None;
    for (index, item) in items.iter().enumerate() {
        let Some(wave) = wave(item, reader) else {
            continue;
        };
        if let Some(at) = everything_at {
            let flaw = Flaw::new(format!(
                "no host is left for this wave: wave {at} takes all"
            ));
            reader.report(
                item.span.clone(),
                flaw.help("leave it out, or put it earlier"),
            );
            break;
        }
        if matches!(wave.hosts, WaveSelector::All | WaveSelector::EachZone) {
            everything_at = Some(index + 1);
        }
        waves.push(wave);
    }
    Some(waves)
}

fn wave(node: &Node, reader: &mut Reader<'_>) -> Option<WavePlan> {
    if matches!(node.value, Value::Text(_)) {
        return reader.text(node, "wave", grammar::wave);
    }
    if !matches!(node.value, Value::Table(_)) {
        reader.wrong_type(node, "wave", "a string like \"1 host\" or a table");
        return None;
    }
    let table = reader.table(node, "wave", &["hosts", "traffic"])?;
    let hosts = reader
        .required(table, "this wave", "hosts", "\"1 host\"")
        .and_then(|node| reader.text(node, "hosts", grammar::wave_hosts));
    let traffic_permille = match table.get("traffic") {
        Some(node) => Some(reader.share(node, "traffic")?),
        None => None,
    };
    Some(WavePlan {
        hosts: hosts?,
        traffic_permille,
    })
}
