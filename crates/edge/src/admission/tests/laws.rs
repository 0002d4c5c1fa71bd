//! What holds after any sequence of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Priority;
use proptest::prelude::*;

use crate::Bucket;
use crate::admission::*;

#[derive(Debug, Clone)]
enum Step {
    Offer {
        tenant: u64,
        known: bool,
        pool: u64,
        priority: u8,
        left_ms: u64,
    },
    End {
        nth: usize,
        outcome: u8,
    },
    Retry {
        nth: usize,
        idempotent: bool,
    },
    Abandon {
        nth: usize,
    },
    Cancel {
        nth: usize,
    },
    Backends {
        mask: u8,
        epoch: u64,
        limits: [u8; 4],
    },
    Declare {
        key: u64,
        limit: Option<u32>,
    },
    Time {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0_u64..6, any::<bool>(), 0_u64..3, 0_u8..3, prop_oneof![Just(0_u64), 10_u64..3000])
            .prop_map(|(tenant, known, pool, priority, left_ms)| Step::Offer {
                tenant, known, pool, priority, left_ms,
            }),
        8 => (any::<usize>(), 0_u8..8).prop_map(|(nth, outcome)| Step::End { nth, outcome }),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(nth, idempotent)| Step::Retry { nth, idempotent }),
        2 => any::<usize>().prop_map(|nth| Step::Abandon { nth }),
        1 => any::<usize>().prop_map(|nth| Step::Cancel { nth }),
        1 => (0_u8..16, 0_u64..3, any::<[u8; 4]>())
            .prop_map(|(mask, epoch, limits)| Step::Backends { mask, epoch, limits }),
        1 => (0_u64..4, prop::option::of(0_u32..5))
            .prop_map(|(key, limit)| Step::Declare { key, limit }),
        4 => prop_oneof![0_u64..30, 0_u64..400, 0_u64..9000].prop_map(|ms| Step::Time { ms }),
    ]
}

fn outcome(number: u8) -> Outcome {
    match number {
        0 => Outcome::Failed,
        1 => Outcome::ConnectFailed,
        2 => Outcome::Closed,
        3 => Outcome::Unsent,
        _ => Outcome::Ok,
    }
}

/// The core, and what its user knows.
struct World {
    admission: Admission,
    now: Duration,
    next: u64,
    /// Slots that were not told to have ended.
    held: Vec<(Slot, RequestId)>,
    abandoned: BTreeSet<Slot>,
    waiting: BTreeMap<RequestId, Duration>,
    refused: u64,
    sent: u64,
    cancelled: u64,
    log: Vec<String>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            admission: Admission::new(Settings::default()),
            now: Duration::ZERO,
            next: 0,
            held: Vec::new(),
            abandoned: BTreeSet::new(),
            waiting: BTreeMap::new(),
            refused: 0,
            sent: 0,
            cancelled: 0,
            log: Vec::new(),
        };
        world.step(&Step::Backends {
            mask: 15,
            epoch: 0,
            limits: [1, 2, 3, 0],
        });
        world
    }

    fn nth(&self, nth: usize) -> Option<usize> {
        (!self.held.is_empty()).then(|| nth % self.held.len())
    }

    fn was_sent(&mut self, request: RequestId, sent: Sent) {
        let view = self.admission.view();
        let backend = view
            .backends
            .iter()
            .find(|it| it.key == sent.backend)
            .unwrap();
        assert!(!backend.removed && backend.stalled.is_none(), "{backend:?}");
        assert!(backend.ejected_until.is_none(), "{backend:?}");
        self.held.push((sent.slot, request));
    }

    /// Full before means nothing may have come on top of it.
    fn slots_are_within_limits(&self, before: &View) {
        for after in self.admission.view().backends {
            let was = before.backends.iter().find(|it| it.key == after.key);
            let was = was.map_or(0, |it| it.in_flight);
            assert!(
                after.in_flight <= after.limit || after.in_flight <= was,
                "{after:?}, {was} before"
            );
        }
    }

    fn step(&mut self, step: &Step) {
        let before = self.admission.view();
        let now = self.now;
        match step {
            Step::Offer {
                tenant,
                known,
                pool,
                priority,
                left_ms,
            } => {
                self.offer(*tenant, *known, *pool, *priority, *left_ms);
            }
            Step::End {
                nth,
                outcome: number,
            } => {
                if let Some(at) = self.nth(*nth) {
                    let (slot, _) = self.held.swap_remove(at);
                    self.admission.ended(slot, outcome(*number), now);
                }
            }
            Step::Retry { nth, idempotent } => {
                if let Some(at) = self.nth(*nth) {
                    let (slot, request) = self.held.swap_remove(at);
                    let again = self
                        .admission
                        .retry(slot, Outcome::Closed, *idempotent, now);
                    assert!(again.is_none() || *idempotent);
                    assert!(again.is_none() || !self.abandoned.contains(&slot));
                    if let Some(sent) = again {
                        self.was_sent(request, sent);
                    }
                }
            }
            Step::Abandon { nth } => {
                if let Some(at) = self.nth(*nth) {
                    self.abandoned.insert(self.held[at].0);
                    self.admission.abandoned(self.held[at].0, now);
                }
            }
            Step::Cancel { nth } => {
                let len = self.waiting.len();
                if let Some(request) = self.waiting.keys().nth(nth % len.max(1)).copied() {
                    // It may have been refused at this very moment, which its user will hear.
                    if self.admission.cancelled(request, now) {
                        self.waiting.remove(&request);
                        self.cancelled += 1;
                    }
                }
            }
            Step::Backends {
                mask,
                epoch,
                limits,
            } => self.set_backends(*mask, *epoch, limits),
            Step::Declare { key, limit } => {
                self.admission.declared(BackendKey(*key), *limit, now);
            }
            Step::Time { ms } => {
                // As a shell does: each alarm at its time.
                let until = now + Duration::from_millis(*ms);
                let mut turns = 0;
                while let Some(at) = self.admission.wake_at().filter(|at| *at <= until) {
                    self.now = self.now.max(at);
                    self.admission.due(self.now);
                    self.hear();
                    turns += 1;
                    assert!(turns < 1000, "an alarm that isn't heard");
                }
                self.now = until;
            }
        }
        self.hear();
        self.slots_are_within_limits(&before);
        self.laws();
    }

    fn offer(&mut self, tenant: u64, known: bool, pool: u64, priority: u8, left_ms: u64) {
        self.next += 1;
        let request = RequestId(self.next);
        let service = "api".parse().unwrap();
        let offer = Offer {
            request,
            pool: PoolKey(pool),
            tenant: Tenant {
                hash: tenant,
                known,
            },
            bucket: Bucket::of(&service, &tenant.to_string()),
            priority: match priority {
                0 => Priority::Critical,
                1 => Priority::Normal,
                _ => Priority::Background,
            },
            deadline: self.now + Duration::from_millis(left_ms),
        };
        let decision = self.admission.offer(offer, self.now);
        self.log.push(format!("{decision:?}"));
        match decision {
            Decision::Send(sent) => {
                self.sent += 1;
                self.was_sent(request, sent);
            }
            Decision::Queued { until } => {
                self.waiting.insert(request, until);
            }
            Decision::Refused(refused) => {
                assert!((1..=60).contains(&refused.retry_after.as_secs()));
                self.refused += 1;
            }
        }
    }

    fn set_backends(&mut self, mask: u8, epoch: u64, limits: &[u8; 4]) {
        let specs: Vec<BackendSpec> = (0_u64..4)
            .filter(|n| mask & (1 << n) != 0)
            .zip(limits)
            .map(|(key, limit)| BackendSpec {
                key: BackendKey(key),
                pool: PoolKey(u64::from(key == 3)),
                declared: None,
                configured: (*limit % 8 > 0).then_some(u32::from(*limit % 8)),
                epoch,
            })
            .collect();
        self.admission.set_backends(&specs, self.now);
    }

    fn hear(&mut self) {
        while let Some(action) = self.admission.next_action() {
            self.log.push(format!("{action:?}"));
            match action {
                Action::Send { request, sent } => {
                    let until = self.waiting.remove(&request).expect("it waited");
                    assert!(self.now < until, "sent after its time");
                    self.sent += 1;
                    // It was sent in the middle of the call; later things in it may
                    // have changed the backend, so only the slot is noted.
                    self.held.push((sent.slot, request));
                }
                Action::Refuse { request, .. } => {
                    self.waiting.remove(&request).expect("it waited");
                    self.refused += 1;
                }
            }
        }
    }

    fn laws(&self) {
        let view = self.admission.view();
        let totals = view.totals;
        let waiting: usize = view.pools.iter().map(|it| it.waiting).sum();
        assert_eq!(waiting, self.waiting.len());
        let refused: u64 = Why::ALL.iter().map(|why| totals.refused(*why)).sum();
        assert_eq!(refused, self.refused);
        assert_eq!(totals.sent, self.sent);
        assert_eq!(totals.offered, self.next);
        assert_eq!(
            totals.offered,
            totals.sent + refused + totals.cancelled + waiting as u64
        );
        let active = self
            .held
            .iter()
            .filter(|(slot, _)| !self.abandoned.contains(slot));
        assert_eq!(
            totals.sent,
            totals.ok + totals.failed + totals.unsent + totals.abandoned + active.count() as u64
        );
        for pool in &view.pools {
            let members = || {
                view.backends
                    .iter()
                    .filter(|it| it.pool == pool.key && !it.removed)
            };
            let ejected = members().filter(|it| it.ejected_until.is_some()).count();
            assert!(ejected * 2 <= members().count());
            assert!(pool.waiting <= QUEUE_MAX);
            if pool.waiting > 0 {
                assert!(!pool.stalled);
                let open = members().find(|it| {
                    it.in_flight < it.limit && it.stalled.is_none() && it.ejected_until.is_none()
                });
                assert_eq!(open, None, "somebody waits for it");
            }
        }
        for backend in &view.backends {
            assert!(backend.hung <= backend.in_flight as usize && backend.limit >= 1);
            assert!(backend.stalled.is_none() || backend.in_flight >= backend.limit);
        }
        // Nobody waits beyond its time if alarms are heard.
        assert!(self.waiting.values().all(|until| self.now <= *until));
        assert!(self.waiting.is_empty() || self.admission.wake_at().is_some());
    }
}

proptest! {
    #[test]
    fn the_laws_hold(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        let mut again = World::new();
        for step in &steps {
            world.step(step);
            again.step(step);
        }
        prop_assert_eq!(&world.log, &again.log);
        // And in the end nothing is left behind.
        while let Some((slot, _)) = world.held.pop() {
            world.admission.ended(slot, Outcome::Unsent, world.now);
            world.hear();
        }
        let view = world.admission.view();
        prop_assert!(view.backends.iter().all(|it| it.in_flight == 0 && !it.removed));
        prop_assert!(world.waiting.is_empty());
        let mut pools = world.admission.pools.values();
        prop_assert!(pools.all(|it| it.held_by_tenants() == 0 && it.in_flight == 0));
    }

    /// Whatever the others do: with its request waiting as each slot gets free,
    /// a tenant has its turn before any other has had two.
    #[test]
    fn no_tenant_is_starved(others in prop::collection::vec(1_u64..8, 1..60), limit in 1_u32..6) {
        let mut world = World::new();
        world.set_backends(1, 0, &[limit.to_le_bytes()[0], 0, 0, 0]);
        world.hear();
        for _ in 0..limit {
            world.offer(9, true, 0, 1, 2000);
        }
        for tenant in &others {
            world.offer(*tenant, true, 0, 1, 2000);
        }
        world.offer(0, true, 0, 1, 2000);
        let asked = RequestId(world.next);
        world.hear();
        let flows: BTreeSet<u64> = others.iter().copied().collect();
        for turn in 0..=flows.len() {
            if !world.waiting.contains_key(&asked) {
                break;
            }
            prop_assert!(turn < flows.len() + 1);
            let (slot, _) = world.held.remove(0);
            world.admission.ended(slot, Outcome::Ok, world.now);
            world.hear();
        }
        prop_assert!(world.held.iter().any(|(_, request)| *request == asked));
    }
}
