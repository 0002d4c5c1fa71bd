//! The state as people and programs see it.

pub(crate) mod traffic;

use std::collections::BTreeMap;

use engine::decide::{outstanding, waiting};
use engine::state::BreakGlass;
use engine::{Release, Rollback, SlotStatus, Stage, State, Status, Watch};
use model::{GateLook, HostName, OrderKind, RollbackCause, Seq, Timestamp, Verdict};
use wire::api::{
    ApprovalView, BreakGlassView, ExposureView, FreezeView, HostServiceView, HostView,
    ReleaseState, ReleaseView, RollbackView, ServiceView, StageView, StatusView, WaveHostView,
    WaveState, WaveView,
};

pub(crate) fn release(
    state: &State,
    watch: &Watch,
    release: &Release,
    now: Timestamp,
    position: Seq,
) -> ReleaseView {
    let gates = engine::gates(state, watch, release, now);
    view(state, watch, release, gates, now, position)
}

fn view(
    state: &State,
    watch: &Watch,
    release: &Release,
    gates: Vec<GateLook>,
    now: Timestamp,
    position: Seq,
) -> ReleaseView {
    let (release_state, rollback) = match &release.status {
        Status::Rolling { .. } if release.shifted.is_some() => (ReleaseState::Held, None),
        Status::Rolling { held: None } => (ReleaseState::Rolling, None),
        Status::Rolling { held: Some(_) } => (ReleaseState::Held, None),
        Status::Good => (ReleaseState::Good, None),
        Status::RollingBack(rollback) => (ReleaseState::RollingBack, Some(rollback)),
        Status::RolledBack(rollback) => (ReleaseState::RolledBack, Some(rollback)),
    };
    let turning = matches!(release.status, Status::RollingBack(_));
    let left = if turning {
        outstanding(state, release)
    } else {
        BTreeMap::new()
    };
    let agreed = release.approvals.iter().map(|approval| ApprovalView {
        by: approval.by.name.clone(),
        at: approval.at,
        note: approval.note.clone(),
    });
    let expected = release.tested.as_ref();
    let expected = expected.and_then(|tested| tested.record.revert_ms());
    ReleaseView {
        id: release.id,
        service: release.service.clone(),
        digest: release.digest,
        base: release.base,
        author: release.author.name.clone(),
        message: release.message.clone(),
        state: release_state,
        proposed_at: release.proposed_at,
        ended_at: release.ended_at,
        stages: release
            .stages
            .iter()
            .map(|entry| stage(state, release, entry))
            .collect(),
        exposure: exposure(state, watch, release),
        waiting: waiting(state, watch, release, now),
        rollback: rollback.map(|rollback| rollback_view(rollback, left)),
        gates,
        risks: release.checked.risks.clone(),
        warnings: release.checked.warnings.clone(),
        approvals: agreed.collect(),
        approvals_needed: engine::approvals_needed(state, release),
        binds: engine::binds(release),
        expected_rollback_ms: expected.map(|took| took.0),
        break_glass: release.break_glass,
        version: position.0,
    }
}

fn rollback_view(rollback: &Rollback, left: BTreeMap<HostName, String>) -> RollbackView {
    let (reason, rule) = why(&rollback.cause);
    RollbackView {
        by: rollback.by.name.clone(),
        reason,
        rule,
        started_at: rollback.started_at,
        took_ms: rollback.took_ms.map(|took| took.0),
        outstanding: left
            .into_iter()
            .map(|(host, why)| (host.to_string(), why))
            .collect(),
    }
}

/// Break-glasses that are open, or were used and not yet looked at.
pub(crate) fn glasses(state: &State, now: Timestamp) -> impl Iterator<Item = &BreakGlass> {
    state.break_glasses.values().filter(move |glass| {
        glass.reviewed_by.is_none() && (glass.expires_at > now || !glass.used_by.is_empty())
    })
}

pub(crate) fn break_glass(glass: &BreakGlass) -> BreakGlassView {
    BreakGlassView {
        id: glass.id,
        service: glass.service.clone(),
        gates: glass.gates.clone(),
        reason: glass.reason.clone(),
        asked_by: glass.asked_by.name.clone(),
        confirmed_by: glass.confirmed_by.as_ref().map(|by| by.name.clone()),
        expires_at: glass.expires_at,
        used_by: glass.used_by.clone(),
        reviewed_by: glass.reviewed_by.as_ref().map(|by| by.name.clone()),
    }
}

fn why(cause: &RollbackCause) -> (String, Option<String>) {
    match cause {
        RollbackCause::Person { reason } if reason.is_empty() => ("no reason given".into(), None),
        RollbackCause::Person { reason } => (reason.clone(), None),
        RollbackCause::Verdict {
            verdict: Verdict::Fail { rule, reason, .. },
        } => (reason.clone(), Some(rule.to_string())),
        RollbackCause::Verdict {
            verdict: Verdict::Pass { .. } | Verdict::Insufficient { .. },
        } => ("judged".into(), None),
    }
}

fn stage(state: &State, release: &Release, stage: &Stage) -> StageView {
    let plan = state
        .bundles
        .get(&release.digest)
        .and_then(|bundle| bundle.plan.stages.get(&stage.environment).cloned())
        .unwrap_or_default();
    let waves = stage.waves.iter().enumerate().map(|(index, wave)| {
        let newest = index + 1 == stage.begun;
        let wave_state = if index < stage.passed {
            WaveState::Passed
        } else if newest && stage.failed {
            WaveState::Failed
        } else if newest && stage.baking_since.is_some() {
            WaveState::Baking
        } else if newest {
            WaveState::Applying
        } else {
            WaveState::Pending
        };
        WaveView {
            state: wave_state,
            hosts: wave
                .hosts
                .iter()
                .map(|host| wave_host(state, release, host))
                .collect(),
            traffic_permille: wave.traffic_permille.get(),
            baking_since: stage.baking_since.filter(|_| newest),
            bake_ms: plan.bake_ms.0,
        }
    });
    StageView {
        environment: stage.environment.clone(),
        waves: waves.collect(),
    }
}

fn wave_host(state: &State, release: &Release, host: &HostName) -> WaveHostView {
    let slot = state.slot(host, &release.service);
    let order = slot
        .and_then(|slot| slot.order.as_ref())
        .filter(|order| order.release == release.id);
    let word = match (slot.map(|slot| &slot.status), order.map(|order| order.kind)) {
        (_, None) | (None, _) => "pending",
        (Some(SlotStatus::Confirmed { .. }), Some(OrderKind::Forward | OrderKind::Restart)) => {
            "confirmed"
        }
        (Some(SlotStatus::Confirmed { .. }), Some(OrderKind::Rollback)) => "reverted",
        (Some(SlotStatus::Failed { .. }), Some(OrderKind::Forward | OrderKind::Restart)) => {
            "failed"
        }
        (Some(_), Some(OrderKind::Forward)) => "ordered",
        (Some(_), Some(OrderKind::Rollback)) => "reverting",
        (Some(_), Some(OrderKind::Restart)) => "restarting",
    };
    WaveHostView {
        host: host.clone(),
        state: word.into(),
    }
}

fn exposure(state: &State, watch: &Watch, release: &Release) -> ExposureView {
    let live = engine::decide::exposure(state, watch, release);
    // What the journal recorded when the release ended counts after a restart, when the watch is new.
    let recorded = release.exposure;
    let seen = if live.requests.requests >= recorded.requests.requests {
        live
    } else {
        recorded
    };
    let hosts_total = state.topology.environments.last().map_or(0, |environment| {
        state
            .topology
            .hosts_of(&environment.name, &release.service)
            .count()
    });
    ExposureView {
        hosts: live.hosts.max(recorded.hosts),
        hosts_total: u32::try_from(hosts_total).unwrap_or(u32::MAX),
        requests: seen.requests.requests,
        failed: seen.requests.failed,
        tenants: seen.tenants,
        tenants_hit: seen.tenants_hit,
        tenants_exact: !seen.tenants_folded && !seen.left_out,
        requests_exact: !seen.left_out,
    }
}

/// The same for a list: the checklists of what is over are left to be asked for one by one.
pub(crate) fn release_in_list(
    state: &State,
    watch: &Watch,
    listed: &Release,
    now: Timestamp,
    position: Seq,
) -> ReleaseView {
    if listed.is_active() {
        return release(state, watch, listed, now, position);
    }
    view(state, watch, listed, Vec::new(), now, position)
}

pub(crate) fn status(state: &State, watch: &Watch, now: Timestamp, position: Seq) -> StatusView {
    let services = state.topology.services.keys().map(|name| {
        let active = state.services.get(name).and_then(|service| service.active);
        let active = active.and_then(|id| state.releases.get(&id));
        ServiceView {
            name: name.clone(),
            good: state.good(name),
            active: active.map(|active| release(state, watch, active, now, position)),
        }
    });
    let reachable = state
        .hosts
        .keys()
        .filter(|host| watch.silent_for(host, now) < engine::watch::SILENT_AFTER);
    let reachable = reachable
        .filter(|host| watch.seen_at(host).is_some())
        .count();
    let freezes = engine::freezes(state, watch, now).into_iter();
    let freezes = freezes.map(|freeze| FreezeView {
        scope: freeze.scope.to_string(),
        by: freeze.by,
        reason: freeze.reason,
        since: freeze.since,
        until: freeze.until,
        automatic: freeze.automatic,
    });
    StatusView {
        version: env!("CARGO_PKG_VERSION").into(),
        position: position.0,
        services: services.collect(),
        freezes: freezes.collect(),
        break_glass: glasses(state, now).map(break_glass).collect(),
        sources: Vec::new(),
        hosts_enrolled: u32::try_from(state.hosts.len()).unwrap_or(u32::MAX),
        hosts_reachable: u32::try_from(reachable).unwrap_or(u32::MAX),
    }
}

pub(crate) fn hosts(state: &State, watch: &Watch) -> Vec<HostView> {
    let environments = state.topology.environments.iter();
    let hosts = environments.flat_map(|environment| {
        environment
            .hosts
            .iter()
            .map(move |host| (environment, host))
    });
    hosts
        .map(|(environment, host)| HostView {
            name: host.name.clone(),
            environment: environment.name.clone(),
            zone: host.zone.clone(),
            enrolled: state.hosts.contains_key(&host.name),
            seen_at: watch.seen_at(&host.name),
            services: host
                .services
                .iter()
                .map(|(service, address)| host_service(state, watch, &host.name, service, address))
                .collect(),
        })
        .collect()
}

fn host_service(
    state: &State,
    watch: &Watch,
    host: &HostName,
    service: &model::ServiceName,
    address: &str,
) -> HostServiceView {
    let slot = state.slot(host, service);
    let beat = watch.last_beat(host, service);
    let generation = slot
        .and_then(|slot| slot.order.as_ref())
        .map(|order| order.generation);
    let (word, detail) = match slot.map(|slot| &slot.status) {
        None => ("not joined", None),
        Some(SlotStatus::Idle) => ("idle", None),
        Some(SlotStatus::Ordered { .. }) => ("ordered", None),
        Some(SlotStatus::Holding { .. }) => ("holding", None),
        Some(SlotStatus::Confirmed { .. }) => ("confirmed", None),
        Some(SlotStatus::Failed { phase, reason }) => {
            ("failed", Some(format!("{phase}: {reason}")))
        }
        Some(SlotStatus::RevertFailing { phase, reason }) => {
            ("reverting", Some(format!("{phase} fails: {reason}")))
        }
    };
    let unhealthy = slot.and_then(|slot| slot.unhealthy.clone());
    let said = beat
        .filter(|beat| beat.healthy == Some(false))
        .map(|beat| beat.reason.clone());
    HostServiceView {
        service: service.clone(),
        address: address.to_owned(),
        running: beat
            .map(|beat| beat.running)
            .or(slot.map(|slot| slot.running)),
        good: slot.and_then(|slot| slot.homes.last().copied()),
        generation: generation.unwrap_or_default(),
        state: word.into(),
        healthy: beat.and_then(|beat| beat.healthy),
        detail: detail.or(unhealthy).or(said),
    }
}
