//! Who serves whom, as people and programs see it.

use engine::decide::{ramp_waits, restart_waits};
use engine::state::Restart;
use engine::{Effect, Slot, State, Watch, due};
use model::{
    DrainCause, EnvironmentName, HostName, OrderKind, Permille, ServiceName, ServiceRoutes,
    Timestamp,
};
use wire::api::{
    BundleTraffic, GatewayTraffic, HostTraffic, HostTrafficState, RestartHostView, RestartState,
    RestartView, RoutingView, ServiceTraffic,
};

pub(crate) fn restart(
    state: &State,
    watch: &Watch,
    restart: &Restart,
    now: Timestamp,
) -> RestartView {
    let hosts = restart.hosts.iter().map(|host| RestartHostView {
        host: host.clone(),
        state: how_far(state, restart, host),
    });
    let end = restart.end.as_ref();
    let stopped = end.and_then(|end| end.stopped.as_ref());
    RestartView {
        id: restart.id,
        service: restart.service.clone(),
        environment: restart.environment.clone(),
        by: restart.by.name.clone(),
        reason: restart.reason.clone(),
        parallel: restart.parallel,
        floor_permille: restart.floor,
        hosts: hosts.collect(),
        started_at: restart.started_at,
        ended_at: end.map(|end| end.at),
        stopped: stopped.map(|(by, reason)| format!("{by}: {reason}")),
        waiting: restart_waits(state, watch, restart, now),
    }
}

fn how_far(state: &State, restart: &Restart, host: &HostName) -> RestartState {
    let slot = state.slot(host, &restart.service);
    let told = |slot: &Slot| {
        slot.order.as_ref().is_some_and(|order| {
            order.kind == OrderKind::Restart && order.issued_at >= restart.started_at
        })
    };
    match slot {
        _ if restart.done.contains(host) => RestartState::Back,
        Some(slot) if restart.end.is_none() && told(slot) => RestartState::Restarting,
        Some(slot) if restart.end.is_none() && slot.drain.is_some() => RestartState::Draining,
        Some(_) | None => RestartState::Waiting,
    }
}

/// Everything; `version` is that of an environment's routes.
pub(crate) fn traffic(
    state: &State,
    watch: &Watch,
    version: impl Fn(&EnvironmentName) -> u64,
    now: Timestamp,
) -> RoutingView {
    let mut services = Vec::new();
    for effect in due::routes_due(state) {
        let Effect::Routes {
            environment,
            services: routes,
        } = effect
        else {
            continue;
        };
        for (service, routes) in routes {
            let hosts = hosts(state, watch, (&environment, &service), &routes, now);
            if hosts.is_empty() {
                continue;
            }
            let bundles = routes.pools.iter().map(|pool| BundleTraffic {
                digest: pool.digest,
                share_permille: pool.share_permille,
                hosts: u32::try_from(pool.backends.len()).unwrap_or(u32::MAX),
            });
            let gateways = watch.gateways(&environment, now).into_iter();
            let gateways = gateways.map(|it| GatewayTraffic {
                gateway: it.gateway,
                version: it.version,
            });
            let going_on = state.restarting(&service, &environment);
            services.push(ServiceTraffic {
                bundles: bundles.collect(),
                hosts,
                open_permille: routes.open_permille,
                ramp: ramp(state, watch, &service, routes.open_permille, now),
                version: version(&environment),
                gateways: gateways.collect(),
                restart: going_on.map(|it| restart(state, watch, it, now)),
                service,
                environment: environment.clone(),
            });
        }
    }
    RoutingView { services }
}

fn ramp(
    state: &State,
    watch: &Watch,
    service: &ServiceName,
    open: Permille,
    now: Timestamp,
) -> Option<String> {
    let ramp = state
        .traffic
        .ramps
        .get(service)
        .filter(|_| !open.is_all())?;
    let waits = ramp_waits(state, watch, service, now);
    let waits = waits.map_or(String::new(), |waits| {
        format!("; the next step waits for {waits}")
    });
    Some(format!("{}: {}{waits}", ramp.by, ramp.reason))
}

fn hosts(
    state: &State,
    watch: &Watch,
    (environment, service): (&EnvironmentName, &ServiceName),
    routes: &ServiceRoutes,
    now: Timestamp,
) -> Vec<HostTraffic> {
    let declared = state.topology.hosts_of(environment, service);
    declared
        .filter_map(|host| {
            let slot = state.slot(&host.name, service)?;
            let mut backends = routes.pools.iter().flat_map(|pool| &pool.backends);
            let serves = backends.any(|backend| backend.host == host.name);
            let drain = slot.drain.as_ref().filter(|_| !serves);
            let in_flight = drain.and_then(|drain| {
                watch.in_flight(environment, (service, &host.name), drain.since, now)
            });
            let state = match (serves, drain) {
                (true, _) => HostTrafficState::Serving,
                (false, None) => HostTrafficState::Out,
                (false, Some(_)) if in_flight == Some(0) => HostTrafficState::Drained,
                (false, Some(_)) => HostTrafficState::Draining,
            };
            Some(HostTraffic {
                host: host.name.clone(),
                state,
                detail: drain.map(|drain| why(&drain.cause)),
                in_flight,
            })
        })
        .collect()
}

fn why(cause: &DrainCause) -> String {
    match cause {
        DrainCause::Release { release } => format!("release {release}"),
        DrainCause::Restart { restart } => format!("restart {restart}"),
        DrainCause::Person { by, reason } => format!("{by}: {reason}"),
    }
}
