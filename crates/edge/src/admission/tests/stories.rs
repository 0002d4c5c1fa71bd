//! One rule at a time.

use std::sync::OnceLock;
use std::time::Duration;

use model::Priority;

use crate::Bucket;
use crate::admission::*;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const POOL: PoolKey = PoolKey(1);

fn spec(key: u64, limit: u32) -> BackendSpec {
    BackendSpec {
        key: BackendKey(key),
        pool: POOL,
        declared: None,
        configured: Some(limit),
        epoch: 1,
    }
}

fn service(specs: &[BackendSpec]) -> Admission {
    let mut admission = Admission::new(Settings::default());
    admission.set_backends(specs, Duration::ZERO);
    admission
}

pub(super) fn offer(request: u64, now: Duration) -> Offer {
    static BUCKET: OnceLock<Bucket> = OnceLock::new();
    let bucket = BUCKET.get_or_init(|| Bucket::of(&"api".parse().unwrap(), "acme"));
    Offer {
        request: RequestId(request),
        pool: POOL,
        tenant: Tenant {
            hash: request,
            known: true,
        },
        bucket: *bucket,
        priority: Priority::Normal,
        deadline: now + S,
    }
}

#[track_caller]
fn sent(decision: Decision) -> Sent {
    match decision {
        Decision::Send(sent) => sent,
        other => panic!("{other:?}"),
    }
}

pub(super) fn send(admission: &mut Admission, request: u64, now: Duration) -> Sent {
    sent(admission.offer(offer(request, now), now))
}

/// Backends of ten slots each, with so many requests.
pub(super) fn loaded(backends: u64, in_flight: u64) -> (Admission, Vec<Sent>) {
    let specs: Vec<BackendSpec> = (0..backends).map(|key| spec(key, 10)).collect();
    let mut admission = service(&specs);
    let held = (0..in_flight)
        .map(|n| send(&mut admission, n, MS))
        .collect();
    (admission, held)
}

fn why(decision: Decision) -> Option<Why> {
    match decision {
        Decision::Refused(refused) => Some(refused.why),
        Decision::Send(_) | Decision::Queued { .. } => None,
    }
}

fn actions(admission: &mut Admission) -> Vec<Action> {
    std::iter::from_fn(|| admission.next_action()).collect()
}

/// Some answers of 20 ms, one after the other.
fn warm(admission: &mut Admission, from: Duration) -> Duration {
    let mut now = from;
    for n in 0..20 {
        let sent = send(admission, 1_000_000 + n, now);
        now += MS * 20;
        admission.ended(sent.slot, Outcome::Ok, now);
    }
    now
}

#[test]
fn the_least_loaded_is_chosen_and_equals_in_turn() {
    let mut admission = service(&[spec(1, 4), spec(2, 2), spec(3, 4)]);
    let keys: Vec<u64> = (0..10)
        .map(|n| send(&mut admission, n, MS).backend.0)
        .collect();
    assert_eq!(keys[..3], [1, 2, 3]);
    assert_eq!(keys[3..5], [1, 3]);
    let of = |key| keys.iter().filter(|it| **it == key).count();
    assert_eq!([of(1), of(2), of(3)], [4, 2, 4]);
    let queued = admission.offer(offer(11, MS), MS);
    assert_eq!(queued, Decision::Queued { until: MS * 101 });
}

#[test]
fn a_hung_slot_stays_held_and_its_answer_ends_the_stall() {
    let mut admission = service(&[spec(1, 2)]);
    let now = warm(&mut admission, Duration::ZERO);
    let first = send(&mut admission, 1, now);
    let second = send(&mut admission, 2, now);
    let waits = admission.offer(offer(3, now + MS * 120), now + MS * 120);
    assert!(matches!(waits, Decision::Queued { .. }));
    let stall = admission.wake_at().unwrap();
    assert_eq!(stall, now + MS * 160);
    admission.due(stall);
    assert!(matches!(
        actions(&mut admission)[..],
        [Action::Refuse {
            request: RequestId(3),
            refused: Refused {
                why: Why::Stalled,
                ..
            }
        }]
    ));
    assert_eq!(
        why(admission.offer(offer(4, stall), stall)),
        Some(Why::Stalled)
    );
    let gone = now + S;
    admission.abandoned(first.slot, gone);
    admission.abandoned(second.slot, gone);
    let view = admission.view();
    assert_eq!((view.backends[0].in_flight, view.backends[0].hung), (2, 2));
    assert_eq!(view.backends[0].stalled, Some(stall));
    assert_eq!(
        why(admission.offer(offer(5, gone), gone)),
        Some(Why::Stalled)
    );
    admission.ended(second.slot, Outcome::Ok, now + S * 10);
    send(&mut admission, 6, now + S * 10);
    assert_eq!(admission.view().totals.late, 1);
}

#[test]
fn a_lost_worker_costs_one_of_the_limit_until_it_answers() {
    let mut admission = service(&[spec(1, 3)]);
    let hung = send(&mut admission, 1, MS);
    let mut now = MS * 1001;
    admission.abandoned(hung.slot, now);
    for n in 0..6 {
        assert_eq!(admission.view().backends[0].lost, 0);
        let sent = send(&mut admission, 10 + n, now);
        now += MS * 20;
        admission.ended(sent.slot, Outcome::Ok, now);
    }
    let view = &admission.view().backends[0];
    assert_eq!((view.limit, view.lost, view.in_flight), (2, 1, 0));
    admission.ended(hung.slot, Outcome::Ok, now);
    let view = &admission.view().backends[0];
    assert_eq!((view.limit, view.lost, view.in_flight), (3, 0, 0));
    // Once more says nothing.
    admission.ended(hung.slot, Outcome::Ok, now);
    assert_eq!(admission.view().backends[0].limit, 3);
}

#[test]
fn a_restart_drops_what_hangs() {
    let mut admission = service(&[spec(1, 2)]);
    let slots = [send(&mut admission, 1, MS), send(&mut admission, 2, MS)];
    admission.abandoned(slots[0].slot, MS * 1001);
    assert_eq!(admission.view().backends[0].in_flight, 2);
    let restarted = BackendSpec {
        epoch: 2,
        ..spec(1, 2)
    };
    admission.set_backends(&[restarted], MS * 2000);
    assert_eq!(admission.view().backends[0].in_flight, 1);
    // The other is of the old process too: whatever becomes of it is no answer of the new.
    admission.abandoned(slots[1].slot, MS * 2000);
    admission.ended(slots[0].slot, Outcome::Ok, MS * 2001);
    let view = admission.view();
    assert_eq!((view.backends[0].in_flight, view.backends[0].hung), (0, 0));
    assert_eq!((view.totals.abandoned, view.totals.late), (2, 0));
}

#[test]
fn a_removed_backend_ends_what_it_has() {
    let mut admission = service(&[spec(1, 1), spec(2, 1)]);
    let first = send(&mut admission, 1, MS);
    assert_eq!(first.backend, BackendKey(1));
    admission.set_backends(&[spec(2, 1)], MS * 2);
    assert_eq!(send(&mut admission, 2, MS * 3).backend, BackendKey(2));
    let waits = admission.offer(offer(3, MS * 3), MS * 3);
    assert!(matches!(waits, Decision::Queued { .. }));
    admission.ended(first.slot, Outcome::Ok, MS * 4);
    assert_eq!(actions(&mut admission), []);
    assert_eq!(admission.view().backends.len(), 1);
    admission.set_backends(&[], MS * 5);
    assert!(matches!(
        actions(&mut admission)[..],
        [Action::Refuse {
            refused: Refused {
                why: Why::NoBackend,
                ..
            },
            ..
        }]
    ));
}

#[test]
fn the_failing_one_is_ejected_and_never_the_last_half() {
    let mut admission = service(&[spec(1, 9), spec(2, 9), spec(3, 9)]);
    let mut failed = 0;
    for n in 0..60 {
        let sent = send(&mut admission, n, MS * 10);
        let bad = sent.backend != BackendKey(3);
        failed += u32::from(bad);
        let outcome = if bad { Outcome::Failed } else { Outcome::Ok };
        admission.ended(sent.slot, outcome, MS * 11);
    }
    let ejected: Vec<Option<Duration>> = admission
        .view()
        .backends
        .iter()
        .map(|it| it.ejected_until)
        .collect();
    assert_eq!(ejected, [Some(MS * 5011), None, None]);
    assert!(failed >= 5 + 20, "{failed}");
    assert_eq!(admission.wake_at(), Some(MS * 5011));
    admission.due(MS * 5011);
    assert_eq!(admission.view().backends[0].ejected_until, None);
}

#[test]
fn a_retry_goes_elsewhere_once_and_not_while_others_wait() {
    let mut admission = service(&[spec(1, 1), spec(2, 1)]);
    let now = warm(&mut admission, Duration::ZERO);
    let first = send(&mut admission, 1, now);
    // A request that was sent and may have had an effect.
    assert_eq!(
        admission.retry(first.slot, Outcome::Closed, false, now),
        None
    );
    let first = send(&mut admission, 2, now);
    let second = admission.retry(first.slot, Outcome::ConnectFailed, false, now);
    let second = second.unwrap();
    assert_ne!(second.backend, first.backend);
    assert_eq!(
        admission.retry(second.slot, Outcome::ConnectFailed, false, now),
        None
    );
    let first = send(&mut admission, 3, now);
    let other = send(&mut admission, 4, now);
    assert!(matches!(
        admission.offer(offer(5, now), now),
        Decision::Queued { .. }
    ));
    assert_eq!(
        admission.retry(first.slot, Outcome::ConnectFailed, true, now),
        None
    );
    assert!(matches!(actions(&mut admission)[..], [Action::Send { .. }]));
    admission.ended(other.slot, Outcome::Ok, now);
    let totals = admission.view().totals;
    assert_eq!((totals.sent, totals.retried, totals.failed), (25, 1, 3));
}

#[test]
fn the_ramp_is_for_cold_caches_only() {
    let restarted = BackendSpec {
        epoch: 2,
        ..spec(1, 1)
    };
    for (cold, percent) in [(false, 100), (true, 25)] {
        let mut admission = service(&[spec(1, 1)]);
        let now = warm(&mut admission, Duration::ZERO);
        let hung = send(&mut admission, 1, now);
        admission.due(now + MS * 160);
        assert!(admission.view().pools[0].stalled);
        admission.abandoned(hung.slot, now + S);
        let healed = now + S * 10;
        if cold {
            admission.set_backends(&[restarted], healed);
            let sent = send(&mut admission, 2, healed);
            admission.ended(sent.slot, Outcome::Ok, healed + MS);
        } else {
            admission.ended(hung.slot, Outcome::Ok, healed);
        }
        assert_eq!(admission.view().pools[0].open_percent, percent);
    }
}

#[test]
fn a_declared_limit_comes_first_and_changes_at_once() {
    let mut admission = service(&[spec(1, 1)]);
    send(&mut admission, 1, MS);
    let waits = admission.offer(offer(2, MS), MS);
    assert!(matches!(waits, Decision::Queued { .. }));
    admission.declared(BackendKey(1), Some(2), MS * 2);
    assert!(matches!(actions(&mut admission)[..], [Action::Send { .. }]));
    assert_eq!(admission.view().backends[0].source, LimitSource::Declared);
}

#[test]
fn retry_after_spreads_those_who_were_turned_away() {
    let mut admission = service(&[spec(1, 2)]);
    let now = warm(&mut admission, Duration::ZERO);
    send(&mut admission, 1, now);
    send(&mut admission, 2, now);
    let now = now + MS * 200;
    let mut seconds = std::collections::BTreeMap::new();
    for n in 10..2010 {
        match admission.offer(offer(n, now), now) {
            Decision::Refused(refused) => {
                *seconds.entry(refused.retry_after.as_secs()).or_insert(0) += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seconds.first_key_value().map(|it| *it.0), Some(1));
    assert_eq!(seconds.last_key_value().map(|it| *it.0), Some(60));
    assert!(seconds.values().all(|count| *count < 200), "{seconds:?}");
}

#[test]
fn who_left_leaves_the_queue() {
    let mut admission = service(&[spec(1, 1)]);
    let first = send(&mut admission, 1, MS);
    admission.offer(offer(2, MS), MS);
    assert!(admission.cancelled(RequestId(2), MS * 2));
    assert!(!admission.cancelled(RequestId(2), MS * 2));
    admission.ended(first.slot, Outcome::Ok, MS * 3);
    assert_eq!(actions(&mut admission), []);
    assert_eq!(admission.wake_at().filter(|at| *at <= MS * 110), None);
}

#[test]
fn timeouts_count_against_a_backend_and_leaving_clients_do_not() {
    for (after, ejected) in [(S, true), (MS * 500, false)] {
        let mut admission = service(&[spec(1, 9), spec(2, 9)]);
        let sent: Vec<Sent> = (0..12).map(|n| send(&mut admission, n, MS)).collect();
        for sent in &sent {
            if sent.backend == BackendKey(1) {
                admission.abandoned(sent.slot, MS + after);
            } else {
                admission.ended(sent.slot, Outcome::Ok, MS * 3);
            }
        }
        let view = admission.view();
        assert_eq!(view.backends[0].ejected_until.is_some(), ejected);
        assert_eq!(view.backends[1].ejected_until, None);
    }
}

#[test]
fn a_tenant_has_no_more_than_half_of_the_slots_while_another_waits() {
    let mut admission = service(&[spec(1, 4)]);
    let of = |request: u64, tenant: u64| Offer {
        tenant: Tenant {
            hash: tenant,
            known: true,
        },
        ..offer(request, MS)
    };
    // Alone it may have all.
    let held: Vec<Sent> = (0..4)
        .map(|n| sent(admission.offer(of(n, 1), MS)))
        .collect();
    for n in [4, 5, 6] {
        admission.offer(of(n, 1), MS);
    }
    admission.offer(of(7, 2), MS);
    admission.offer(of(8, 2), MS);
    let mut order = Vec::new();
    for sent in &held {
        admission.ended(sent.slot, Outcome::Ok, MS * 2);
        for action in actions(&mut admission) {
            if let Action::Send { request, .. } = action {
                order.push(request.0);
            }
        }
    }
    // Three of its four are there still, then two, then the other waits no more.
    assert_eq!(order, [7, 8, 4, 5]);
}

#[test]
fn a_backend_that_had_nothing_to_do_is_not_stalled_by_its_next_request() {
    let mut admission = service(&[spec(1, 2)]);
    let now = warm(&mut admission, Duration::ZERO);
    let hung = send(&mut admission, 1, now);
    admission.abandoned(hung.slot, now + S);
    // Full with this one, and silent for a minute, because nobody has asked.
    let now = now + S * 60;
    let second = send(&mut admission, 2, now);
    let waits = admission.offer(offer(3, now), now);
    assert!(matches!(waits, Decision::Queued { .. }));
    assert!(!admission.view().pools[0].stalled);
    admission.ended(second.slot, Outcome::Ok, now + MS * 20);
    assert!(matches!(actions(&mut admission)[..], [Action::Send { .. }]));
}

#[test]
fn a_removed_backend_is_no_longer_stalled() {
    let mut admission = service(&[spec(1, 2)]);
    let now = warm(&mut admission, Duration::ZERO);
    let hung = send(&mut admission, 1, now);
    send(&mut admission, 2, now);
    admission.abandoned(hung.slot, now + MS * 10);
    admission.due(now + S);
    assert!(admission.view().backends[0].stalled.is_some());
    admission.set_backends(&[], now + S);
    let backend = &admission.view().backends[0];
    assert!(backend.removed && backend.stalled.is_none());
    assert_eq!((backend.in_flight, backend.hung), (1, 0));
}
