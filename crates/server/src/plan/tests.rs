//! What a plan is warned of, from traffic as it was seen.

use super::*;

fn ahead(requests_per_s: Option<f64>, waves: &[u16]) -> Ahead {
    let plan = StagePlan::default();
    let mut latency = vec![0.0; model::ticks::LATENCY_BUCKETS];
    latency[8] = 1.0;
    let baseline = |requests_per_s| Baseline {
        requests_per_s,
        failing: 0.01,
        dispersion: 1.0,
        latency,
    };
    Ahead {
        environment: "production".parse().unwrap(),
        is_last: true,
        settings: Settings::of(&plan, 0.9),
        plan,
        waves: waves
            .iter()
            .map(|permille| Wave {
                hosts: vec!["web-1".parse().unwrap()],
                traffic_permille: model::Permille::new(*permille).unwrap(),
            })
            .collect(),
        traffic: requests_per_s.map(baseline).map(|it| (it, 600)),
    }
}

fn seen(ahead: Ahead) -> PlanStageView {
    let view = super::view("api".parse().unwrap(), &[ahead]);
    view.environments.into_iter().next().unwrap()
}

fn wave_view(doubling_s: Option<f64>, outage_s: Option<f64>, pass_s: Option<f64>) -> PlanWaveView {
    PlanWaveView {
        hosts: 1,
        share: 0.05,
        bake_s: 60.0,
        doubling_s,
        point_s: None,
        slower_s: None,
        outage_s,
        pass_s,
        harm_outage: 0.0,
        harm_doubling: None,
        words: words(doubling_s, outage_s),
    }
}

#[test]
fn nothing_is_promised_without_traffic() {
    let view = seen(ahead(None, &[50, 1000]));
    assert_eq!(view.traffic, None);
    assert_eq!(
        view.warnings,
        ["no traffic was seen in production: no wave passes before it had 100 requests"]
    );
    for wave in &view.waves {
        assert_eq!(
            (wave.doubling_s, wave.outage_s, wave.pass_s),
            (None, None, None)
        );
        assert_eq!(
            wave.words,
            "no traffic was seen: nobody knows what it shows"
        );
    }
    let mut silent = ahead(None, &[50]);
    silent.plan.requests_min = 0;
    let words = seen(silent.clone()).warnings;
    assert_eq!(
        words,
        ["no traffic was seen in production: health checks alone will decide"]
    );
    silent.is_last = false;
    assert_eq!(seen(silent).warnings, Vec::<String>::new());
}

#[test]
fn with_traffic_each_wave_says_what_it_shows() {
    let view = seen(ahead(Some(1000.0), &[50, 1000]));
    let traffic = view.traffic.unwrap();
    assert_eq!((traffic.requests_per_s, traffic.seen_s), (1000.0, 600));
    let [first, last] = view.waves.as_slice() else {
        panic!("{:?}", view.waves);
    };
    let (doubling, outage) = (first.doubling_s.unwrap(), first.outage_s.unwrap());
    // 2 200 requests show a doubling of 1 %, and the canary has 50 each second.
    assert!((20.0..120.0).contains(&doubling), "{doubling}");
    assert!(outage < 5.0, "{outage}");
    let said = format!(
        "a doubling shows in {} at this share, an outage in {}",
        spell(doubling),
        spell(outage)
    );
    assert_eq!(first.words, said);
    assert!(last.words.contains("no old bundle"), "{}", last.words);
    assert_eq!(
        view.warnings,
        [
            "wave 2 leaves no old bundle to compare with: only what the fleet as a whole suffers is seen"
        ]
    );
}

#[test]
fn a_wave_that_cannot_show_a_doubling_in_time_is_warned_of() {
    let view = seen(ahead(Some(0.1), &[50]));
    let about: Vec<_> = view
        .warnings
        .iter()
        .filter(|it| it.starts_with("wave 1: twice as many failures"))
        .collect();
    assert_eq!(about.len(), 1, "{:?}", view.warnings);

    let ahead = ahead(Some(1.0), &[50]);
    let never = wave_view(None, Some(2.0), None);
    assert_eq!(
        warnings(&ahead, &[never]),
        [
            "wave 1: twice as many failures don't show before people are asked (30 min); give it more traffic, or a longer bake_max"
        ]
    );
    let before = wave_view(Some(0.0), Some(2.0), None);
    assert_eq!(
        warnings(&ahead, std::slice::from_ref(&before)),
        Vec::<String>::new()
    );
    assert_eq!(
        before.words,
        "a doubling has shown before, an outage in 2 s"
    );
}

#[test]
fn a_wave_that_passes_before_it_can_see_an_outage_is_warned_of() {
    let mut ahead = ahead(Some(1.0), &[50]);
    let wave = |outage_s, pass_s| wave_view(Some(600.0), outage_s, pass_s);
    // It needs evidence to pass, and that comes later than an outage would show.
    let found = warnings(&ahead, &[wave(Some(90.0), Some(300.0))]);
    assert_eq!(found, Vec::<String>::new());
    let found = warnings(&ahead, &[wave(Some(90.0), Some(10.0))]);
    let early = "wave 1: it may pass after 60 s, before counts show an outage (90 s); bake longer";
    assert_eq!(found, [early]);
    ahead.plan.requests_min = 0;
    let found = warnings(&ahead, &[wave(Some(90.0), Some(300.0))]);
    assert_eq!(found, [early]);
    let found = warnings(&ahead, &[wave(None, None)]);
    assert_eq!(
        found,
        ["wave 1: it may pass after 60 s, and counts never show an outage"]
    );
}

#[test]
fn spans_are_said_as_people_say_them() {
    let said = [0.2, 7.0, 99.0, 101.0, 420.0, 7200.0, 400_000.0].map(spell);
    assert_eq!(
        said,
        ["1 s", "7 s", "99 s", "2 min", "7 min", "2 h", "5 days"]
    );
}
