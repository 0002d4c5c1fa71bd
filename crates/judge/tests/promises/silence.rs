//! No path from silence to a word.
//!
//! Invariant: each row of the table says what is told and the judge waits at every second of it.

use judge::tick::{EventTick, Exposed, GaugeSample, StratumTick};
use judge::{History, Judge, Settings, Side, Tick, Word};
use model::Metric;

use crate::world::{is_harm, stratum, sums, tick};

const SECONDS: u64 = 1200;

type Row = (&'static str, fn(u64) -> Option<Tick>);

fn latencies(at: u64, canary: u64, control: u64) -> Tick {
    let of = |n: u64| if n > 0 { vec![(7, n)] } else { Vec::new() };
    tick(
        at,
        vec![StratumTick {
            canary_latency: of(canary),
            control_latency: of(control),
            ..StratumTick::default()
        }],
    )
}

fn events(at: u64, canary: Exposed, control: Exposed) -> Tick {
    let metrics = [Metric::Crashes, Metric::Heartbeats, Metric::Custom];
    let events = metrics.map(|metric| EventTick {
        metric,
        canary,
        control,
    });
    Tick {
        events: events.to_vec(),
        ..tick(at, Vec::new())
    }
}

fn gauges(at: u64, sides: &[Side]) -> Tick {
    let sample = |side: &Side| GaugeSample {
        gauge: 0,
        group: u8::from(*side == Side::Canary),
        side: *side,
        permille: 400,
    };
    Tick {
        gauges: sides.iter().map(sample).collect(),
        ..tick(at, Vec::new())
    }
}

const HOSTS: Exposed = Exposed {
    events: 0,
    host_ms: 10_000,
};
const NO_HOSTS: Exposed = Exposed {
    events: 0,
    host_ms: 0,
};

const TABLE: &[Row] = &[
    ("nothing at all", |_| None),
    ("empty seconds", |at| Some(tick(at, Vec::new()))),
    ("a stratum without requests", |at| {
        Some(tick(at, vec![stratum(0, sums(0, 0), sums(0, 0))]))
    }),
    ("control only, healthy", |at| {
        Some(tick(at, vec![stratum(0, sums(0, 0), sums(0, 900))]))
    }),
    ("control only, failing", |at| {
        Some(tick(at, vec![stratum(0, sums(0, 0), sums(900, 900))]))
    }),
    ("one empty second in five minutes", |at| {
        (at % 300 == 0).then(|| tick(at, Vec::new()))
    }),
    ("latency only", |at| Some(latencies(at, 50, 900))),
    ("latency of the canary only", |at| {
        Some(latencies(at, 50, 0))
    }),
    ("latency of the control only", |at| {
        Some(latencies(at, 0, 900))
    }),
    ("no events", |at| Some(events(at, HOSTS, HOSTS))),
    ("no events, no canary host", |at| {
        Some(events(at, NO_HOSTS, HOSTS))
    }),
    ("no events, no control host", |at| {
        Some(events(at, HOSTS, NO_HOSTS))
    }),
    ("gauges only", |at| {
        Some(gauges(at, &[Side::Canary, Side::Control]))
    }),
    ("gauges of the canary only", |at| {
        Some(gauges(at, &[Side::Canary]))
    }),
    ("gauges of the control only", |at| {
        Some(gauges(at, &[Side::Control]))
    }),
];

fn histories() -> Vec<History> {
    let mut known = History::default();
    for at in 0..600 {
        known.observe(&tick(at, vec![stratum(0, sums(0, 0), sums(1, 900))]));
    }
    vec![History::default(), known]
}

fn settings() -> [Settings; 2] {
    let budget = Settings {
        pass_points: 0.01,
        ..Settings::default()
    };
    [Settings::default(), budget]
}

#[test]
fn no_kind_of_silence_passes_or_fails() {
    for (what, row) in TABLE {
        for history in histories() {
            for settings in settings() {
                let mut judge = Judge::new(&settings, &history);
                for at in 0..SECONDS {
                    if at % 200 == 0 {
                        judge.begin_wave();
                    }
                    if let Some(tick) = row(at) {
                        judge.observe(&tick);
                    }
                    assert_eq!(judge.word(), Word::Wait, "{what}, second {at}");
                }
            }
        }
    }
}

#[test]
fn a_canary_without_control_shows_no_harm() {
    for failing in [0, 50] {
        let mut judge = Judge::new(&Settings::default(), &histories()[1]);
        for at in 0..SECONDS {
            judge.observe(&tick(at, vec![stratum(0, sums(failing, 50), sums(0, 0))]));
            let harmful = matches!(judge.word(), Word::RollBack(_));
            assert!(!harmful, "second {at}");
            assert!(failing == 0 || judge.word() == Word::Wait, "second {at}");
        }
    }
}

#[test]
fn a_canary_without_control_passes_under_the_failure_budget_and_not_above() {
    let settings = Settings {
        pass_points: 0.01,
        ..Settings::default()
    };
    let last = |failing: fn(u64) -> u64| {
        let mut judge = Judge::new(&settings, &histories()[1]);
        for at in 0..SECONDS {
            judge.observe(&tick(
                at,
                vec![stratum(0, sums(failing(at), 50), sums(0, 0))],
            ));
        }
        judge.word()
    };
    assert_eq!(last(|_| 0), Word::Pass);
    assert_eq!(last(|at| u64::from(at % 10 == 0)), Word::Pass);
    assert_eq!(last(|_| 1), Word::Wait);
    assert_eq!(last(|_| 50), Word::Wait);
}

/// The old bundle's share is what it was: a service that always fails as much as the budget gets
/// through its last wave, and one that fails twice the margin does not.
#[test]
fn without_control_the_old_share_is_what_it_was() {
    let settings = Settings {
        pass_points: 0.01,
        ..Settings::default()
    };
    let mut history = History::default();
    (0..600).for_each(|at| history.observe(&tick(at, vec![stratum(0, sums(0, 0), sums(1, 100))])));
    let last = |failing: u64| {
        let mut judge = Judge::new(&settings, &history);
        (0..SECONDS).for_each(|at| {
            judge.observe(&tick(at, vec![stratum(0, sums(failing, 100), sums(0, 0))]));
        });
        judge.word()
    };
    assert_eq!(last(1), Word::Pass);
    assert_eq!(last(4), Word::Wait);
}

#[test]
fn what_was_shown_does_not_outlast_silence() {
    let healthy = |at| tick(at, vec![stratum(0, sums(0, 50), sums(1, 950))]);
    let shown = || {
        let mut judge = Judge::new(&Settings::default(), &histories()[1]);
        (0..600).for_each(|at| judge.observe(&healthy(at)));
        assert_eq!(judge.word(), Word::Pass);
        judge
    };
    // The canary falls silent.
    let mut judge = shown();
    judge.observe(&tick(600, vec![stratum(0, sums(0, 0), sums(1, 950))]));
    assert_eq!(judge.word(), Word::Wait);
    assert_eq!(judge.standing().silent, 1);
    // Nothing more is told, and then again.
    let mut judge = shown();
    judge.observe(&healthy(700));
    assert_eq!(judge.word(), Word::Wait);
    assert_eq!(judge.standing().missing, 100);
    // A new wave has no requests yet.
    let mut judge = shown();
    judge.begin_wave();
    judge.observe(&tick(600, Vec::new()));
    assert_eq!(judge.word(), Word::Wait);
}

#[test]
fn gaps_neither_hide_harm_nor_make_it() {
    for failing in [1, 20] {
        let mut judge = Judge::new(&Settings::default(), &histories()[1]);
        let mut is_found = false;
        for at in (0..SECONDS).filter(|at| at % 60 < 5) {
            let canary = sums(if at % 60 == 0 { failing } else { failing - 1 }, 50);
            let control = sums(if at % 60 == 0 { 19 } else { 0 }, 950);
            judge.observe(&tick(at, vec![stratum(0, canary, control)]));
            is_found |= is_harm(judge.word());
        }
        assert_eq!(is_found, failing == 20);
    }
}
