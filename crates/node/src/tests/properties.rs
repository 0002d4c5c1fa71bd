//! Whatever happens, in whatever order, over restarts and clocks that are set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::gates::statement;
use super::*;
use crate::{Work, is_pending, wake_at};

/// One thing that can happen.
#[derive(Debug, Clone)]
enum Happens {
    Order {
        generation: u64,
        forward: bool,
        content: usize,
        bare: bool,
        proof: Brought,
    },
    Gated,
    InAdvance {
        generation: u64,
        to: usize,
    },
    /// An outcome for one of the effects that are due, or were.
    Outcome {
        which: usize,
        stale: bool,
        outcome: u8,
    },
    /// Everything works for a while.
    Calm,
    Passes(u16),
    ClockSet(i32),
    Restart,
    Local {
        to: Option<usize>,
    },
    Forged,
    Acknowledged(u64),
}

/// What an order brings: mostly what fits, sometimes what an enemy would send.
#[derive(Debug, Clone)]
enum Brought {
    Nothing,
    Forged,
    Result {
        about: Option<usize>,
        release: u64,
        base: Option<usize>,
        hours: i64,
    },
}

fn brought() -> impl Strategy<Value = Brought> {
    let about = prop::option::weighted(0.3, 0..CONTENTS.len());
    let base = prop::option::of(0..=CONTENTS.len());
    let result = (about, 1..3u64, base, -2..30i64);
    prop_oneof![
        2 => Just(Brought::Nothing),
        1 => Just(Brought::Forged),
        6 => result.prop_map(|(about, release, base, hours)| Brought::Result {
            about, release, base, hours
        }),
    ]
}

/// Generation 0, or one of the bundles.
fn digest_of(at: usize) -> Digest {
    match at {
        0 => origin(),
        at => bundle(CONTENTS[at - 1]).digest(),
    }
}

const CONTENTS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..30u64, any::<bool>(), 0..CONTENTS.len(), any::<bool>(), brought()).prop_map(
            |(generation, forward, content, bare, proof)| Happens::Order {
                generation, forward, content, bare, proof
            }
        ),
        1 => Just(Happens::Gated),
        1 => (0..30u64, 0..=CONTENTS.len()).prop_map(
            |(generation, to)| Happens::InAdvance { generation, to }
        ),
        20 => (any::<usize>(), prop::bool::weighted(0.1), 0..11u8).prop_map(
            |(which, stale, outcome)| Happens::Outcome { which, stale, outcome }
        ),
        2 => Just(Happens::Calm),
        6 => any::<u16>().prop_map(Happens::Passes),
        1 => any::<i32>().prop_map(Happens::ClockSet),
        2 => Just(Happens::Restart),
        1 => prop::option::of(0..=CONTENTS.len()).prop_map(|to| Happens::Local { to }),
        1 => Just(Happens::Forged),
        1 => (0..50u64).prop_map(Happens::Acknowledged),
    ]
}

fn outcome_of(draw: u8) -> Outcome {
    match draw {
        0 | 1 => fails("it failed"),
        2 => Outcome::Refused {
            reason: "stale".into(),
        },
        3 => Outcome::Peers {
            reach: 0,
            cut_off: 1,
        },
        4 => Outcome::Peers {
            reach: 1,
            cut_off: 0,
        },
        5 => Outcome::Astray {
            reason: "changed by hand".into(),
        },
        _ => Outcome::Done,
    }
}

/// A world that checks its laws after each step.
struct Lawful {
    world: World,
    /// Ids that were due at some time.
    seen: Vec<EffectId>,
    /// Digests of orders that were taken.
    allowed: BTreeSet<Digest>,
    /// Digests that were good here at some time.
    good: BTreeSet<Digest>,
    /// Digests that a signed test result was about.
    attested: BTreeSet<Digest>,
}

impl Lawful {
    fn new() -> Lawful {
        Lawful {
            world: World::new(),
            seen: Vec::new(),
            allowed: [origin()].into(),
            good: [origin()].into(),
            attested: BTreeSet::new(),
        }
    }

    fn happens(&mut self, event: &Happens) {
        let (fence, gated) = (self.world.slot().fence, self.world.host.gated);
        match event {
            Happens::Order {
                generation,
                forward,
                content,
                bare,
                proof,
            } => self.order(*generation, *forward, *content, *bare, proof),
            Happens::Gated => self.world.input(Input::Gated),
            Happens::InAdvance { generation, to } => self.in_advance(*generation, *to),
            Happens::Outcome {
                which,
                stale,
                outcome,
            } => self.outcome(*which, *stale, outcome_of(*outcome)),
            Happens::Calm => self.calm(10),
            Happens::Passes(ms) => {
                self.world.now += jiff::SignedDuration::from_millis(i64::from(*ms));
                self.world.input(Input::Tick);
            }
            Happens::ClockSet(seconds) => {
                let set = jiff::SignedDuration::from_secs(i64::from(*seconds / 100));
                self.world.now += set;
                self.world.input(Input::Tick);
            }
            Happens::Restart => self.world.restart(),
            Happens::Local { to } => {
                let to = to.map(digest_of);
                let input = Input::RevertLocal { service: api(), to };
                if let Ok(events) = decide(&self.world.host, input, self.world.now) {
                    self.world.fold(&events);
                }
            }
            Happens::Forged => self.world.input(Input::Forged {
                service: api(),
                generation: Generation(u64::MAX),
                reason: "forged".into(),
            }),
            Happens::Acknowledged(through) => {
                self.world.input(Input::Acknowledged { through: *through });
            }
        }
        assert!(self.world.slot().fence >= fence, "the fence went down");
        assert!(self.world.host.gated || !gated, "a gate was opened");
        self.settled();
        self.laws();
    }

    /// Lets everything work, and looks at where programs are pointed meanwhile.
    fn calm(&mut self, seconds: i64) {
        let until = self.world.now + jiff::SignedDuration::from_secs(seconds);
        loop {
            while let Some(effect) = self.world.due().into_iter().next() {
                if let Action::Swap { to } = effect.action {
                    self.swapped(to);
                }
                self.world.outcome(effect.id, Outcome::Done);
                self.settled();
            }
            match wake_at(&self.world.host, self.world.now) {
                Some(at) if at <= until => self.world.now = at,
                Some(_) | None => break,
            }
            self.world.input(Input::Tick);
        }
    }

    fn settled(&mut self) {
        if self.world.slot().settled {
            self.good.insert(self.world.slot().running);
        }
    }

    fn swapped(&self, to: Digest) {
        let tested = self.good.contains(&to) || self.attested.contains(&to);
        assert!(
            tested || !self.world.host.gated,
            "untested bytes: swap to {to}"
        );
    }

    fn proof(&mut self, content: usize, brought: &Brought) -> Proof {
        match brought {
            Brought::Nothing => Proof::Absent,
            Brought::Forged => Proof::Invalid {
                reason: "forged".into(),
            },
            Brought::Result {
                about,
                release,
                base,
                hours,
            } => {
                let about = CONTENTS[about.unwrap_or(content)];
                let mut statement = statement(about, base.map(digest_of));
                statement.predicate.release = ReleaseId(*release);
                statement.predicate.expires_at = start() + jiff::SignedDuration::from_hours(*hours);
                self.attested.insert(bundle(about).digest());
                Proof::Holds(statement)
            }
        }
    }

    fn in_advance(&mut self, generation: u64, to: usize) {
        let mut order = order(generation, OrderKind::Rollback, &bundle("one")).order;
        order.digest = digest_of(to);
        let fits = order.generation == self.world.slot().fence;
        let revert = model::order::Revert {
            order,
            approved_by: Vec::new(),
        };
        let input = Input::RevertInAdvance { revert };
        if let Ok(events) = decide(&self.world.host, input, self.world.now) {
            assert!(fits, "a way back outlived its order");
            self.world.fold(&events);
        }
    }

    fn order(
        &mut self,
        generation: u64,
        forward: bool,
        content: usize,
        bare: bool,
        brought: &Brought,
    ) {
        let kind = if forward {
            OrderKind::Forward
        } else {
            OrderKind::Rollback
        };
        let mut dispatch = order(generation, kind, &bundle(CONTENTS[content]));
        if bare {
            dispatch.bundle = None;
        }
        let digest = dispatch.order.digest;
        let gated = self.world.host.gated && forward;
        let above = dispatch.order.generation > self.world.slot().fence;
        let proof = self.proof(content, brought);
        let input = Input::Ordered { dispatch, proof };
        match decide(&self.world.host, input.clone(), self.world.now) {
            Ok(events) => {
                let declined = matches!(events[..], [_, NodeEvent::Reported { .. }]);
                if gated && above && !declined {
                    assert!(fits(&input, self.world.now), "taken up: {input:?}");
                }
                if above {
                    self.allowed.insert(digest);
                }
                self.world.fold(&events);
            }
            Err(refusal) => assert!(!above, "refused above the fence: {refusal}"),
        }
    }

    fn outcome(&mut self, which: usize, stale: bool, outcome: Outcome) {
        let due = self.world.due();
        let id = if stale && !self.seen.is_empty() {
            self.seen[which % self.seen.len()].clone()
        } else if due.is_empty() {
            return;
        } else {
            due[which % due.len()].id.clone()
        };
        let before = self.world.host.clone();
        let pending = is_pending(&before, &id);
        self.world.outcome(id, outcome);
        assert!(
            pending || self.world.host == before,
            "a stale outcome changed something"
        );
    }

    fn laws(&mut self) {
        let world = &self.world;
        for effect in world.due() {
            if let Action::Swap { to } = &effect.action {
                assert!(
                    self.allowed.contains(to) || world.slot().kept.contains(to),
                    "swap to {to}"
                );
                self.swapped(*to);
            }
            if let Action::Prune { keep } = &effect.action {
                assert!(keep.contains(&world.slot().good) && keep.contains(&world.slot().running));
            }
            self.seen.push(effect.id);
        }
        // A rollback with a higher generation to what was ever good here needs nothing else.
        for good in &self.good {
            assert!(taken_back(world, *good, Proof::Absent), "refused {good}");
        }
        // To other bytes a gated host goes back with a test result of any age, and else not.
        let never = bundle("never seen before").digest();
        let mut result = statement("never seen before", Some(never));
        result.predicate.release = ReleaseId(77);
        result.predicate.expires_at = start() - jiff::SignedDuration::from_hours(1);
        assert!(taken_back(world, never, Proof::Holds(result)));
        assert_eq!(taken_back(world, never, Proof::Absent), !world.host.gated);
        assert!(wake_at(&world.host, world.now).is_none_or(|at| at > world.now));
        assert!(world.host.outbox.len() <= crate::OUTBOX_MAX);
    }
}

/// Whether an order's test result is about its bundle and release, and counts still.
fn fits(input: &Input, now: Timestamp) -> bool {
    let Input::Ordered {
        dispatch,
        proof: Proof::Holds(statement),
    } = input
    else {
        return false;
    };
    statement.is_about(&api(), dispatch.order.digest)
        && statement.predicate.release == dispatch.order.release
        && now <= statement.predicate.expires_at
}

/// Whether a host in this state takes up a rollback to `target`; if not, nothing but the fence moved.
fn taken_back(world: &World, target: Digest, proof: Proof) -> bool {
    let next = world.host.fence().next();
    let mut dispatch = order(next.0, OrderKind::Rollback, &bundle("one"));
    (dispatch.order.digest, dispatch.bundle) = (target, None);
    let mut host = world.host.clone();
    let events = decide(&host, Input::Ordered { dispatch, proof }, world.now).unwrap();
    events.iter().for_each(|event| evolve(&mut host, event));
    let slot = &host.slots[&api()];
    assert_eq!(slot.fence, next);
    let taken = match &slot.work {
        Work::Back(back) => back.target == target && slot.generation() == next,
        Work::Watch(watch) => {
            watch.confirm.is_some() && slot.running == target && slot.generation() == next
        }
        Work::Prepare(_) | Work::Armed(_) => false,
    };
    let mut fenced = world.slot().clone();
    fenced.fence = next;
    assert!(
        taken || *slot == fenced,
        "declined, and yet something changed"
    );
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn laws_hold_whatever_happens(script in prop::collection::vec(happens(), 1..80)) {
        let mut lawful = Lawful::new();
        for event in &script {
            lawful.happens(event);
        }
    }

    #[test]
    fn once_faults_stop_the_host_settles(script in prop::collection::vec(happens(), 1..60)) {
        let mut lawful = Lawful::new();
        for event in &script {
            lawful.happens(event);
        }
        let world = &mut lawful.world;
        world.run(700, all_good);
        let slot = world.slot();
        prop_assert!(slot.is_at_rest(), "{:?}", slot.work);
        prop_assert!(slot.settled);
        prop_assert!(slot.running == slot.good || world.confirmed.contains(&slot.running), "{slot:?}");
        // Pruning leaves nothing behind that the machine still speaks of.
        prop_assert!(slot.known.keys().all(|digest| slot.keep().contains(digest)));
    }

    #[test]
    fn what_was_under_way_untested_never_runs_on_a_gated_host(
        script in prop::collection::vec(happens(), 1..60),
    ) {
        let mut lawful = Lawful::new();
        for event in &script {
            match event.clone() {
                Happens::Order { generation, forward, content, bare, .. } => {
                    lawful.order(generation, forward, content, bare, &Brought::Nothing);
                }
                Happens::Gated => {}
                event => lawful.happens(&event),
            }
        }
        lawful.happens(&Happens::Gated);
        prop_assert!(lawful.attested.is_empty());
        lawful.calm(700);
        prop_assert!(lawful.good.contains(&lawful.world.slot().running));
    }

    #[test]
    fn going_home_needs_no_control_plane(script in prop::collection::vec(happens(), 1..60)) {
        let mut lawful = Lawful::new();
        for event in &script {
            lawful.happens(event);
        }
        let world = &mut lawful.world;
        let good = world.slot().good;
        world.input(Input::RevertLocal { service: api(), to: None });
        world.run(120, |action| match action {
            Action::Confirm { .. } | Action::WayHome | Action::AskPeers { .. } => fails("gone"),
            _ => Outcome::Done,
        });
        prop_assert_eq!(world.slot().running, good);
        prop_assert!(world.slot().settled && world.slot().held_local);
    }

    #[test]
    fn what_is_on_disk_is_the_whole_state(script in prop::collection::vec(happens(), 1..40)) {
        let mut lawful = Lawful::new();
        for event in &script {
            lawful.happens(event);
            let disk = serde_json::to_string(&lawful.world.host).unwrap();
            let back: Host = serde_json::from_str(&disk).unwrap();
            prop_assert_eq!(&back, &lawful.world.host);
        }
    }
}
