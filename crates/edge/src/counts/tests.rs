//! Nothing is lost, nothing twice, whatever the control plane acknowledges.

use model::Digest;
use proptest::prelude::*;

use super::*;

fn service() -> ServiceName {
    "api".parse().unwrap()
}

fn label(name: &str) -> Arc<Label> {
    Arc::new(Label {
        service: service(),
        digest: Digest::of(name.as_bytes()),
    })
}

/// What a control plane knows that keeps the last totals of each row.
type Known = BTreeMap<(Arc<Label>, Arc<str>), BundleCounts>;

fn acknowledge(known: &mut Known, batch: Batch) {
    for row in batch.rows {
        known.insert((row.label, row.tenant), row.counts);
    }
}

fn sum(known: &Known) -> BundleCounts {
    known
        .values()
        .fold(BundleCounts::default(), |sum, counts| sum.plus(*counts))
}

#[derive(Debug, Clone)]
enum Step {
    Settle(u8, u8, Outcome),
    Refuse,
    Post { rows_max: usize, arrives: bool },
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Served),
        1 => Just(Outcome::Failed),
        1 => Just(Outcome::Gone),
    ];
    prop_oneof![
        8 => (0_u8..3, 0_u8..20, outcome).prop_map(|(b, t, o)| Step::Settle(b, t, o)),
        1 => Just(Step::Refuse),
        3 => (1_usize..6, any::<bool>())
            .prop_map(|(rows_max, arrives)| Step::Post { rows_max, arrives }),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    #[test]
    fn totals_are_conserved_and_arrive(
        steps in proptest::collection::vec(step(), 0..300),
        tenants_max in 1_usize..30,
    ) {
        let mut counts = Counts {
            bounds: Bounds { tenants_per_bundle: tenants_max, rows: 40 },
            ..Counts::default()
        };
        let mut known = Known::new();
        let (mut offered, mut gone, mut refused, mut failed) = (0, 0, 0, 0);
        for step in steps {
            match step {
                Step::Settle(bundle, tenant, outcome) => {
                    offered += 1;
                    gone += u64::from(outcome == Outcome::Gone);
                    failed += u64::from(outcome == Outcome::Failed);
                    counts.settle(&label(&bundle.to_string()), &tenant.to_string(), outcome);
                }
                Step::Refuse => {
                    offered += 1;
                    refused += 1;
                    counts.refuse(&service(), "no-host");
                }
                Step::Post { rows_max, arrives } => {
                    let batch = counts.take_changed(rows_max);
                    prop_assert!(batch.rows.len() <= rows_max);
                    match arrives {
                        true => acknowledge(&mut known, batch),
                        false => counts.put_back(batch),
                    }
                }
                Step::Forget => {
                    known.clear();
                    counts.change_all();
                }
            }
        }
        while counts.changed_len() > 0 {
            let batch = counts.take_changed(7);
            acknowledge(&mut known, batch);
        }
        let tally = counts.tallies().fold(Tally::default(), |sum, (_, tally)| Tally {
            served: sum.served + tally.served,
            failed: sum.failed + tally.failed,
            gone: sum.gone + tally.gone,
        });
        prop_assert_eq!((tally.gone, tally.failed), (gone, failed));
        prop_assert_eq!(counts.refusals().map(|(_, _, n)| n).sum::<u64>(), refused);
        prop_assert_eq!(tally.served + tally.failed + tally.gone + refused, offered);
        let arrived = sum(&known);
        prop_assert_eq!(arrived.requests, tally.served + tally.failed);
        prop_assert_eq!(arrived.failed, tally.failed);
        // One row for all others each, beyond the bounds.
        prop_assert!(counts.rows_len() <= 40 + 3);
    }
}

#[test]
fn only_changed_rows_are_taken() {
    let mut counts = Counts::default();
    let bundle = label("a");
    for tenant in ["x", "y", "x"] {
        counts.settle(&bundle, tenant, Outcome::Served);
    }
    let batch = counts.take_changed(10);
    let names: Vec<&str> = batch.rows.iter().map(|row| &*row.tenant).collect();
    assert_eq!(names, ["x", "y"]);
    assert_eq!(counts.changed_len(), 0);
    // A change while the batch is on its way is news again, once, acknowledged or not.
    counts.settle(&bundle, "y", Outcome::Failed);
    counts.put_back(batch);
    assert_eq!(counts.changed_len(), 2);
    let batch = counts.take_changed(10);
    let y = batch.rows.iter().find(|row| &*row.tenant == "y").unwrap();
    assert_eq!((y.counts.requests, y.counts.failed), (2, 1));
}

#[test]
fn tenants_beyond_the_bound_are_counted_as_one_and_it_says_so() {
    let mut counts = Counts {
        bounds: Bounds {
            tenants_per_bundle: 2,
            rows: 100,
        },
        ..Counts::default()
    };
    for tenant in ["a", "b", "c", "d", "a"] {
        counts.settle(&label("x"), tenant, Outcome::Served);
    }
    assert_eq!(counts.overflowed(), 2);
    let batch = counts.take_changed(10);
    let rows: Vec<(&str, u64)> = batch
        .rows
        .iter()
        .map(|row| (&*row.tenant, row.counts.requests))
        .collect();
    assert_eq!(rows, [("a", 2), ("b", 1), (OTHER_TENANTS, 2)]);
}
