//! Times of questions, by an invented clock.

use proptest::prelude::*;

use super::*;
use crate::probe::Miss;

fn spec(every: u64, within: u64) -> Spec {
    Spec {
        question: Question::Tcp,
        target: "db:5432".into(),
        every: Millis(every),
        within: Millis(within),
    }
}

fn specs(names: &[&str], spec: &Spec) -> BTreeMap<String, Spec> {
    names
        .iter()
        .map(|name| ((*name).to_owned(), spec.clone()))
        .collect()
}

fn first_due(schedule: &mut Schedule) -> (u64, Vec<Ask>) {
    let at = schedule.wake_at().unwrap();
    (at, schedule.due(at))
}

#[test]
fn a_probe_is_asked_on_its_grid() {
    let mut schedule = Schedule::default();
    schedule.set(&specs(&["db"], &spec(10_000, 2_000)), 0);
    let (at, asks) = first_due(&mut schedule);
    assert_eq!(asks.len(), 1);
    assert!(
        schedule.due(at + 20_000).is_empty(),
        "one question at a time"
    );
    let finding = schedule
        .answered(asks[0].number, Ok("fine".into()), at + 5)
        .unwrap();
    assert_eq!(
        (finding.look, finding.took, finding.late_by),
        (Look::Good, Millis(5), Millis(0))
    );
    assert_eq!(schedule.wake_at(), Some(at + 10_000));
    let (next, _) = first_due(&mut schedule);
    assert_eq!(next, at + 10_000);
}

#[test]
fn late_is_unknown_and_told_once() {
    let mut schedule = Schedule::default();
    schedule.set(&specs(&["db"], &spec(10_000, 2_000)), 0);
    let (at, asks) = first_due(&mut schedule);
    let over = at + 2_000 + GRACE.0;
    assert!(schedule.lost(over - 1).is_empty());
    let lost = schedule.lost(over);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].1.look, Look::Unknown);
    assert!(schedule.lost(over + 1).is_empty());
    assert_eq!(
        schedule.answered(asks[0].number, Ok("fine".into()), over + 1),
        None
    );
}

#[test]
fn what_was_not_asked_says_nothing_of_the_target() {
    let mut schedule = Schedule::default();
    schedule.set(&specs(&["db"], &spec(1_000, 500)), 0);
    let looks = [
        (ProbeVerdict::Malformed, Look::Unknown),
        (ProbeVerdict::Refused, Look::Bad(ProbeVerdict::Refused)),
    ];
    for (verdict, look) in looks {
        let (at, asks) = first_due(&mut schedule);
        let words = "no".to_owned();
        let finding = schedule.answered(asks[0].number, Err(Miss { verdict, words }), at);
        assert_eq!(finding.unwrap().look, look);
    }
}

#[test]
fn missed_times_are_not_made_up_for() {
    let mut schedule = Schedule::default();
    schedule.set(&specs(&["db"], &spec(1_000, 500)), 0);
    let at = schedule.wake_at().unwrap();
    // The machine slept for an hour.
    let asks = schedule.due(at + 3_600_300);
    assert_eq!(asks.len(), 1);
    let finding = schedule
        .answered(asks[0].number, Ok(String::new()), at + 3_600_301)
        .unwrap();
    assert_eq!(finding.late_by, Millis(3_600_300));
    assert_eq!(schedule.wake_at(), Some(at + 3_601_000));
}

#[test]
fn what_finds_no_room_is_late_and_says_so() {
    let mut schedule = Schedule::default();
    let names: Vec<String> = (0..=UNDER_WAY_MAX).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    schedule.set(&specs(&names, &spec(1_000, 1_000)), 0);
    let asks = schedule.due(1_000);
    assert_eq!(asks.len(), UNDER_WAY_MAX);
    assert!(schedule.behind(5_000) > Millis(3_000));
    assert!(schedule.due(5_000).is_empty());
    assert!(
        schedule.wake_at().unwrap() > 1_000,
        "it must not spin while there is no room"
    );
    schedule.answered(asks[0].number, Ok(String::new()), 5_000);
    let asks = schedule.due(5_000);
    assert_eq!(asks.len(), 1, "the one that waited longest");
    let finding = schedule
        .answered(asks[0].number, Ok(String::new()), 5_000)
        .unwrap();
    assert!(finding.late_by > Millis(3_000));
}

#[test]
fn a_change_keeps_the_times_of_what_stays() {
    let mut schedule = Schedule::default();
    schedule.set(&specs(&["a", "b"], &spec(10_000, 2_000)), 0);
    let before = schedule.wake_at();
    schedule.set(&specs(&["a", "b", "c"], &spec(10_000, 2_000)), 0);
    let first_two: Vec<u64> = schedule.next.iter().map(|(at, _)| *at).collect();
    assert_eq!(first_two.len(), 3);
    assert!(first_two.contains(&before.unwrap()));
    let asks = schedule.due(10_000);
    schedule.set(&BTreeMap::new(), 10_001);
    assert_eq!(
        schedule.answered(asks[0].number, Ok(String::new()), 10_002),
        None
    );
    assert_eq!((schedule.wake_at(), schedule.under_way()), (None, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Answer(u8),
    Set(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..3_000).prop_map(Step::Pass),
        4 => any::<u8>().prop_map(Step::Answer),
        1 => any::<u8>().prop_map(Step::Set),
    ]
}

proptest! {
    #[test]
    fn each_question_is_told_of_at_most_once(steps in prop::collection::vec(step(), 1..200)) {
        let mut schedule = Schedule::default();
        let mut now = 0;
        let mut open: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(ms) => now += ms,
                Step::Answer(at) if !open.is_empty() => {
                    let number = open.remove(usize::from(at) % open.len());
                    schedule.answered(number, Ok(String::new()), now);
                    prop_assert_eq!(schedule.answered(number, Ok(String::new()), now), None);
                }
                Step::Answer(_) => {}
                Step::Set(bits) => {
                    let names: Vec<String> =
                        (0..8).filter(|bit| bits >> bit & 1 == 1).map(|bit| bit.to_string()).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    schedule.set(&specs(&names, &spec(1_000, 700)), now);
                }
            }
            for (number, _) in schedule.lost(now) {
                prop_assert!(open.contains(&number));
                open.retain(|it| *it != number);
            }
            for ask in schedule.due(now) {
                prop_assert!(!open.contains(&ask.number));
                open.push(ask.number);
            }
            let probes = schedule.probes.len();
            prop_assert!(schedule.under_way() <= probes.min(UNDER_WAY_MAX));
            // Each probe either waits for its time or is under way.
            prop_assert_eq!(schedule.next.len() + schedule.under_way(), probes);
            prop_assert_eq!(schedule.deadlines.len(), schedule.under_way());
            prop_assert!(schedule.wake_at().is_none_or(|at| at > now), "it would spin");
        }
    }
}
