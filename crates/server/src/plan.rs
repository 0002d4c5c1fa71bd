//! What each wave of a plan can see, said before anything is released.
//!
//! Invariant: nothing is promised of traffic that was not seen.

use engine::{State, Watch};
use judge::plan::{WaveAdvice, WaveShape, advise};
use judge::{Baseline, Settings};
use model::{EnvironmentName, Millis, Plan, ServiceName, StagePlan, Wave};
use wire::api::{PlanStageView, PlanView, PlanWaveView, TrafficView};

/// From a failed request to the end of the way back, beside what the counts need: the second it is
/// counted in ends, it travels, the verdict is journaled, and routes leave the bundle.
const DELAY_S: f64 = 3.0;

/// Everything that is known of one environment before a release enters it.
#[derive(Debug, Clone)]
pub(crate) struct Ahead {
    environment: EnvironmentName,
    /// Where a release becomes good, and where customers are.
    is_last: bool,
    plan: StagePlan,
    settings: Settings,
    waves: Vec<Wave>,
    traffic: Option<(Baseline, u64)>,
}

/// The plan by which a service was released last, or the default.
pub(crate) fn usual(state: &State, service: &ServiceName) -> Plan {
    let good = state.good(service);
    let good = good.and_then(|digest| state.bundles.get(&digest));
    good.map(|bundle| bundle.plan.clone()).unwrap_or_default()
}

/// What lies ahead of a release with that plan, in the order of the pipeline.
pub(crate) fn ahead(
    state: &State,
    watch: &Watch,
    service: &ServiceName,
    plan: &Plan,
) -> Vec<Ahead> {
    let environments = &state.topology.environments;
    let last = environments.last().map(|last| &last.name);
    let stages = environments.iter().filter_map(|environment| {
        let name = &environment.name;
        let hosts: Vec<_> = state.topology.hosts_of(name, service).collect();
        if hosts.is_empty() {
            return None;
        }
        let stage = plan.stages.get(name).cloned().unwrap_or_default();
        let is_last = Some(name) == last;
        Some(Ahead {
            environment: name.clone(),
            is_last,
            settings: Settings::of(&stage, engine::watch::share(state, name)),
            waves: engine::waves::draw(&stage, &hosts),
            traffic: watch.baseline(name, service),
            plan: stage,
        })
    });
    stages.collect()
}

/// What lies ahead, for people.
pub(crate) fn view(service: ServiceName, ahead: &[Ahead]) -> PlanView {
    PlanView {
        service,
        environments: ahead.iter().map(stage).collect(),
    }
}

fn stage(ahead: &Ahead) -> PlanStageView {
    let shapes: Vec<WaveShape> = ahead.waves.iter().map(|it| shape(ahead, it)).collect();
    let advice = match &ahead.traffic {
        Some((baseline, _)) => advise(&ahead.settings, baseline, &shapes, DELAY_S),
        None => Vec::new(),
    };
    let waves = ahead.waves.iter().enumerate();
    let waves = waves.map(|(n, it)| wave(ahead, it, advice.get(n)));
    let waves: Vec<PlanWaveView> = waves.collect();
    PlanStageView {
        environment: ahead.environment.clone(),
        traffic: ahead
            .traffic
            .as_ref()
            .map(|(baseline, seen_s)| TrafficView {
                requests_per_s: baseline.requests_per_s,
                failing: baseline.failing,
                dispersion: baseline.dispersion,
                seen_s: *seen_s,
            }),
        warnings: warnings(ahead, &waves),
        waves,
    }
}

fn shape(ahead: &Ahead, wave: &Wave) -> WaveShape {
    WaveShape {
        share: share(wave),
        bake_s: seconds(ahead.plan.bake_ms),
        bake_max_s: seconds(ahead.plan.bake_max_ms),
    }
}

fn share(wave: &Wave) -> f64 {
    f64::from(wave.traffic_permille.get()) / 1000.0
}

fn seconds(span: Millis) -> f64 {
    span.duration().as_secs_f64()
}

/// Nobody is left on the old bundle.
fn is_alone(share: f64) -> bool {
    share >= 1.0
}

fn wave(ahead: &Ahead, wave: &Wave, advice: Option<&WaveAdvice>) -> PlanWaveView {
    // JSON has no infinity: what is never reached is absent.
    let span = |of: fn(&WaveAdvice) -> Option<f64>| {
        advice.and_then(of).filter(|seconds| seconds.is_finite())
    };
    let (doubling_s, outage_s) = (span(|it| it.doubling_s), span(|it| it.outage_s));
    let share = share(wave);
    let words = match advice {
        None => "no traffic was seen: nobody knows what it shows".into(),
        Some(_) if is_alone(share) => {
            let outage = outage_s.map(|seconds| format!(": an outage shows in {}", spell(seconds)));
            format!(
                "no old bundle is left to compare with; the fleet as a whole is watched{}",
                outage.unwrap_or_default()
            )
        }
        Some(_) => words(doubling_s, outage_s),
    };
    let harm = advice.map_or(0.0, |it| it.harm_outage);
    PlanWaveView {
        hosts: u32::try_from(wave.hosts.len()).unwrap_or(u32::MAX),
        share,
        bake_s: seconds(ahead.plan.bake_ms),
        doubling_s,
        point_s: span(|it| it.point_s),
        slower_s: span(|it| it.slower_s),
        outage_s,
        pass_s: span(|it| it.pass_s),
        harm_outage: if harm.is_finite() { harm } else { 0.0 },
        harm_doubling: span(|it| it.harm_doubling),
        words,
    }
}

fn words(doubling_s: Option<f64>, outage_s: Option<f64>) -> String {
    let doubling = match doubling_s {
        // What earlier waves have shown by the end of their bakes.
        Some(seconds) if seconds <= 0.0 => "a doubling has shown before".into(),
        Some(seconds) => format!("a doubling shows in {} at this share", spell(seconds)),
        None => "a doubling does not show at this share".into(),
    };
    match outage_s {
        Some(seconds) => format!("{doubling}, an outage in {}", spell(seconds)),
        None => format!("{doubling}, an outage neither"),
    }
}

/// What the plan can't do. An environment before the last one that asks for no requests leaves
/// passing to health checks, and is not warned about.
fn warnings(ahead: &Ahead, waves: &[PlanWaveView]) -> Vec<String> {
    let requests_min = ahead.plan.requests_min;
    if requests_min == 0 && !ahead.is_last {
        return Vec::new();
    }
    if ahead.traffic.is_none() {
        let then = match requests_min {
            0 => "health checks alone will decide".to_owned(),
            least => format!("no wave passes before it had {least} requests"),
        };
        return vec![format!(
            "no traffic was seen in {}: {then}",
            ahead.environment
        )];
    }
    let mut found = Vec::new();
    for (n, wave) in waves.iter().enumerate() {
        let name = format!("wave {}", n + 1);
        if is_alone(wave.share) {
            found.push(format!(
                "{name} leaves no old bundle to compare with: only what the fleet as a whole suffers is seen"
            ));
            continue;
        }
        found.extend(doubling_hidden(ahead, wave).map(|words| format!("{name}: {words}")));
        found.extend(outage_hidden(ahead, wave).map(|words| format!("{name}: {words}")));
    }
    found
}

fn doubling_hidden(ahead: &Ahead, wave: &PlanWaveView) -> Option<String> {
    let held = spell(seconds(ahead.plan.bake_max_ms));
    wave.doubling_s.is_none().then(|| {
        format!(
            "twice as many failures don't show before people are asked ({held}); give it more traffic, or a longer bake_max"
        )
    })
}

fn outage_hidden(ahead: &Ahead, wave: &PlanWaveView) -> Option<String> {
    // Health checks pass it after the bake; else the counts must allow it too.
    let passes_s = match (ahead.plan.requests_min, wave.pass_s) {
        (0, _) => wave.bake_s,
        (_, Some(pass_s)) => pass_s.max(wave.bake_s),
        (_, None) => return None,
    };
    let passes = spell(passes_s);
    match wave.outage_s {
        None => Some(format!(
            "it may pass after {passes}, and counts never show an outage"
        )),
        Some(needed) if needed > passes_s => Some(format!(
            "it may pass after {passes}, before counts show an outage ({}); bake longer",
            spell(needed)
        )),
        Some(_) => None,
    }
}

/// A span as people say it.
fn spell(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 100.0 => (s, "s"),
        s if s < 100.0 * 60.0 => (s / 60.0, "min"),
        s if s < 48.0 * 3600.0 => (s / 3600.0, "h"),
        s => (s / 86_400.0, "days"),
    };
    format!("{:.0} {unit}", value.ceil())
}

#[cfg(test)]
mod tests;
