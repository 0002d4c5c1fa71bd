//! What is promised of the core, measured on a simulated service.
//!
//! Where somebody knows the limit the promises are asserted; what the estimator
//! reaches is printed: `cargo test -p edge tables -- --ignored --nocapture`.

use std::time::Duration;

use super::sim::{Client, Known, MS, Plan, S, SERVICE, Times, run};
use super::stories;
use crate::admission::{Action, Decision, LimitSource, Outcome, Totals, Why};

/// Of eight workers at 20 ms.
const CAPACITY: f64 = 400.0;
const START: Duration = Duration::ZERO;
const KNOWN: [Known; 2] = [Known::Declared, Known::Configured];
const SEEDS: [u64; 3] = [1, 2, 3];

fn everybody(_: &Client) -> bool {
    true
}

fn others(client: &Client) -> bool {
    client.tenant != 0
}

fn steady(known: Known, factor: f64, seed: u64) -> Plan {
    let load = [
        (START, CAPACITY * 0.5),
        (S * 2, CAPACITY * factor),
        (S * 10, 0.0),
    ];
    Plan {
        seed,
        ..Plan::new(known, &load)
    }
}

fn hang(known: Known, workers: usize, retries: bool, seed: u64) -> Plan {
    Plan {
        seed,
        retries,
        hang: Some((1, workers, S * 3, S * 13)),
        ..Plan::new(known, &[(START, CAPACITY * 0.7), (S * 18, 0.0)])
    }
}

fn aggressor(known: Known, seed: u64) -> Plan {
    Plan {
        seed,
        aggressor: CAPACITY * 10.0,
        ..Plan::new(known, &[(START, CAPACITY * 0.3), (S * 8, 0.0)])
    }
}

fn timed(known: Known, times: Times, factor: f64, seed: u64) -> Plan {
    Plan {
        times,
        ..steady(known, factor, seed)
    }
}

/// Refusals at 0.7 x capacity, by reason, and offers.
fn falsely(known: Known, times: Times, runs: u64) -> (Vec<(Why, u64)>, u64) {
    let load = [(START, CAPACITY * 0.7), (S * 40, 0.0)];
    let views: Vec<Totals> = (1..=runs)
        .map(|seed| {
            let plan = Plan {
                seed,
                times,
                ..Plan::new(known, &load)
            };
            run(plan).view().totals
        })
        .collect();
    let refused = Why::ALL.map(|why| (why, views.iter().map(|it| it.refused(why)).sum()));
    let refused = refused.into_iter().filter(|it| it.1 > 0).collect();
    (refused, views.iter().map(|it| it.offered).sum())
}

#[test]
fn overload_leaves_what_lives() {
    for known in KNOWN {
        for (factor, seed) in [(2.0, 1), (2.0, 2), (2.0, 3), (10.0, 1)] {
            let sim = run(steady(known, factor, seed));
            let goodput = sim.goodput(S * 3, S * 10);
            assert!(goodput >= CAPACITY * 0.98, "{known:?} {factor}: {goodput}");
            let p99 = sim.p99(false, S * 3, S * 10);
            assert!(p99 <= SERVICE * 3, "{known:?} {factor}: {p99:?}");
            assert_eq!(sim.dead, 0);
        }
    }
}

#[test]
fn a_hang_of_all_is_over_when_it_is_over() {
    for known in KNOWN {
        for (seed, retries) in [(1, false), (2, true), (3, false)] {
            let sim = run(hang(known, 8, retries, seed));
            let recovered = sim.recovered(S * 13, S * 18);
            assert!(recovered <= SERVICE + MS * 50, "{known:?}: {recovered:?}");
            let refusal = sim.p99(true, S * 4, S * 13);
            assert!(refusal <= MS * 5, "{known:?}: {refusal:?}");
            // What is begun for nobody is what the limit has above the workers.
            let above = match known {
                Known::Declared => 0,
                Known::Configured | Known::Nothing => 3,
            };
            assert!(sim.dead <= above, "{known:?}: {}", sim.dead);
        }
    }
}

#[test]
fn half_of_the_workers_do_half_of_the_work() {
    for known in KNOWN {
        for seed in SEEDS {
            let sim = run(hang(known, 4, false, seed));
            let goodput = sim.goodput(S * 4, S * 13);
            assert!(goodput >= CAPACITY / 2.0 * 0.97, "{known:?}: {goodput}");
            let after = sim.served(S * 13 + MS * 100, S * 18, everybody);
            assert!(after >= 0.999, "{known:?}: {after}");
            let backend = &sim.view().backends[0];
            assert_eq!((backend.lost, backend.hung), (0, 0));
        }
    }
}

#[test]
fn one_who_asks_for_all_leaves_the_others_theirs() {
    for known in KNOWN {
        for seed in SEEDS {
            let sim = run(aggressor(known, seed));
            let served = sim.served(S, S * 8, others);
            assert!(served >= 0.99, "{known:?}: {served}");
            let goodput = sim.goodput(S, S * 8);
            assert!(goodput >= CAPACITY * 0.98, "{known:?}: {goodput}");
        }
    }
}

#[test]
fn uneven_times_are_no_overload() {
    for known in KNOWN {
        // A run's share wanders: what is refused comes in a burst or not at all.
        let (refused, offered) = falsely(known, Times::Exponential, 5);
        let all: u64 = refused.iter().map(|it| it.1).sum();
        assert!(all * 1000 <= offered, "{known:?}: {refused:?} of {offered}");
        for seed in SEEDS {
            let used = run(timed(known, Times::Exponential, 2.0, seed)).used(S * 3, S * 10);
            assert!(used >= 0.98, "{known:?}: {used}");
        }
        // Six times the variance: a tenth of a second is no longer enough for all.
        let sim = run(timed(known, Times::Mixed, 0.7, 1));
        let served = sim.served(S * 2, S * 10, everybody);
        assert!(served >= 0.99, "{known:?}: {served}");
    }
}

#[test]
fn a_hung_backend_leaves_its_part_to_the_others() {
    for known in KNOWN {
        let plan = Plan {
            backends: vec![8, 8, 4],
            hang: Some((1, 8, S * 3, S * 9)),
            ..Plan::new(known, &[(START, CAPACITY * 1.2), (S * 12, 0.0)])
        };
        let sim = run(plan);
        // Only what it had when it hung is lost, and none when it comes back.
        assert!(sim.served(S, S * 3, everybody) >= 0.99);
        assert!(sim.served(S * 3, S * 9, everybody) >= 0.98, "{known:?}");
        assert_eq!(sim.recovered(S * 9, S * 12), Duration::ZERO, "{known:?}");
    }
}

#[test]
fn a_restart_ends_a_hang_and_lets_tenants_in_by_quarters() {
    for known in KNOWN {
        let plan = Plan {
            restart: true,
            ..hang(known, 8, true, 1)
        };
        let plan = Plan {
            load: vec![(START, CAPACITY * 0.7), (S * 28, 0.0)],
            ..plan
        };
        let sim = run(plan);
        assert_eq!(sim.dead, 0);
        let early = sim.served(S * 13 + MS * 200, S * 15, everybody);
        assert!((0.15..0.45).contains(&early), "{known:?}: {early}");
        let late = sim.served(S * 24, S * 28, everybody);
        assert!(late >= 0.999, "{known:?}: {late}");
        let view = sim.view();
        assert_eq!(
            (view.pools[0].open_percent, view.backends[0].hung),
            (100, 0)
        );
    }
}

#[test]
fn two_gateways_share_what_is_known() {
    for known in KNOWN {
        let two = |plan| Plan {
            gateways: 2,
            ..plan
        };
        let sim = run(two(steady(known, 2.0, 1)));
        assert!(sim.goodput(S * 3, S * 10) >= CAPACITY * 0.98);
        assert!(sim.backlog <= 4, "{}", sim.backlog);
        let sim = run(two(hang(known, 8, false, 1)));
        assert!(sim.recovered(S * 13, S * 18) <= SERVICE + MS * 50);
        assert!(sim.dead <= 4, "{}", sim.dead);
    }
}

#[test]
fn an_estimate_is_found_and_ends_no_worse_than_this() {
    let sim = run(steady(Known::Nothing, 2.0, 1));
    assert_eq!(sim.view().backends[0].source, LimitSource::Estimated);
    let goodput = sim.goodput(S * 5, S * 10);
    assert!(goodput >= CAPACITY * 0.9, "{goodput}");
    let sim = run(hang(Known::Nothing, 8, false, 1));
    assert!(
        sim.recovered(S * 13, S * 18) <= S,
        "{:?}",
        sim.recovered(S * 13, S * 18)
    );
}

#[test]
fn a_history_is_a_function_of_its_plan() {
    let ends = || {
        let sim = run(hang(Known::Nothing, 4, true, 7));
        let ends: Vec<Duration> = sim.clients.iter().map(|it| it.ended).collect();
        (ends, sim.view())
    };
    assert_eq!(ends(), ends());
}

#[test]
#[ignore = "prints what is reached, with what is known and with nothing"]
fn tables() {
    let known = [Known::Declared, Known::Configured, Known::Nothing];
    println!("(a) overload          goodput/capacity  p99 ok  p99 refused  limit");
    for known in known {
        for factor in [2.0, 10.0] {
            for seed in SEEDS {
                let load = [
                    (START, CAPACITY * 0.5),
                    (S * 2, CAPACITY * factor),
                    (S * 40, 0.0),
                ];
                let plan = Plan {
                    seed,
                    ..Plan::new(known, &load)
                };
                let sim = run(plan);
                println!(
                    "{known:?} {factor}x seed {seed}: {:.3} {:?} {:?} {}",
                    sim.goodput(S * 5, S * 40) / CAPACITY,
                    sim.p99(false, S * 5, S * 40),
                    sim.p99(true, S * 5, S * 40),
                    sim.view().backends[0].limit,
                );
            }
        }
    }
    println!(
        "(b) all hang 10 s     last not served after heal, of 5 s; p99 refused; dead; backlog"
    );
    for known in known {
        for (seed, retries) in [(1, false), (2, false), (3, false), (1, true), (2, true)] {
            let sim = run(hang(known, 8, retries, seed));
            println!(
                "{known:?} retries {retries} seed {seed}: {:?} {:.4} {:?} {} {}",
                sim.recovered(S * 13, S * 18),
                1.0 - sim.served(S * 13, S * 18, everybody),
                sim.p99(true, S * 4, S * 13),
                sim.dead,
                sim.backlog,
            );
        }
    }
    println!("(c) half hang         goodput/what lives, p99 ok, served after");
    for known in known {
        for seed in SEEDS {
            let sim = run(hang(known, 4, false, seed));
            println!(
                "{known:?} seed {seed}: {:.3} {:?} {:.4}",
                sim.goodput(S * 4, S * 13) / (CAPACITY / 2.0),
                sim.p99(false, S * 4, S * 13),
                sim.served(S * 13 + MS * 100, S * 18, everybody),
            );
        }
    }
    println!("(d) one at 10x        others served, total/capacity");
    for known in known {
        for seed in SEEDS {
            let sim = run(aggressor(known, seed));
            println!(
                "{known:?} seed {seed}: {:.4} {:.3}",
                sim.served(S, S * 8, others),
                sim.goodput(S, S * 8) / CAPACITY,
            );
        }
    }
    println!("(e) uneven times      refused at 0.7x in 20 runs of 40 s, by reason");
    for known in known {
        for times in [Times::Exponential, Times::Mixed] {
            let (refused, offered) = falsely(known, times, 20);
            let all: u64 = refused.iter().map(|it| it.1).sum();
            println!(
                "{known:?} {times:?}: {:.5} {refused:?}",
                all as f64 / offered as f64
            );
        }
    }
    println!("(e) uneven times      refused at 0.7x, workers' time used at 2x and 10x");
    for known in known {
        for times in [Times::Exponential, Times::Mixed] {
            for seed in SEEDS {
                let calm = [(START, CAPACITY * 0.7), (S * 40, 0.0)];
                let plan = Plan {
                    seed,
                    times,
                    ..Plan::new(known, &calm)
                };
                let at = |factor| run(timed(known, times, factor, seed)).used(S * 3, S * 10);
                println!(
                    "{known:?} {times:?} seed {seed}: {:.5} {:.3} {:.3}",
                    1.0 - run(plan).served(S, S * 40, everybody),
                    at(2.0),
                    at(10.0),
                );
            }
        }
    }
    println!(
        "(f) two gateways      2x: goodput/capacity, p99 ok, backlog; all hang: last not served, dead"
    );
    for known in known {
        let two = |plan| {
            run(Plan {
                gateways: 2,
                ..plan
            })
        };
        let busy = two(steady(known, 2.0, 1));
        let hung = two(hang(known, 8, false, 1));
        println!(
            "{known:?}: {:.3} {:?} {}; {:?} {}",
            busy.goodput(S * 3, S * 10) / CAPACITY,
            busy.p99(false, S * 3, S * 10),
            busy.backlog,
            hung.recovered(S * 13, S * 18),
            hung.dead,
        );
    }
    println!("(g) workers           2x: goodput/capacity, p99 ok, limit");
    for known in known {
        for workers in [1_u32, 4, 32, 128] {
            let capacity = f64::from(workers) * 50.0;
            let load = [
                (START, capacity * 0.5),
                (S * 4, capacity * 2.0),
                (S * 24, 0.0),
            ];
            let sim = run(Plan {
                backends: vec![workers as usize],
                ..Plan::new(known, &load)
            });
            println!(
                "{known:?} {workers}: {:.3} {:?} {}",
                sim.goodput(S * 6, S * 24) / capacity,
                sim.p99(false, S * 6, S * 24),
                sim.view().backends[0].limit,
            );
        }
    }
}

#[test]
#[ignore = "prints what a request costs; a figure of this machine"]
fn price() {
    const REQUESTS: u32 = 1_000_000;
    for (backends, in_flight) in [(1, 5), (3, 20), (100, 500)] {
        let (mut admission, mut held) = stories::loaded(backends, in_flight);
        let began = std::time::Instant::now();
        for n in 0..REQUESTS {
            let now = S + MS / 10 * n;
            let place = n as usize % held.len();
            admission.ended(held[place].slot, Outcome::Ok, now);
            held[place] = stories::send(&mut admission, 10_000 + u64::from(n), now);
        }
        let each = began.elapsed() / REQUESTS;
        println!("{backends} backends, {in_flight} in flight: {each:?} for offer and end");
    }
    // Ten offers for each answer: most are refused, or push others out.
    let (mut admission, mut held) = stories::loaded(1, 10);
    let began = std::time::Instant::now();
    for n in 0..REQUESTS {
        let now = S + MS / 4 * n;
        if n % 10 == 0
            && let Some(sent) = held.pop()
        {
            admission.ended(sent.slot, Outcome::Ok, now);
        }
        let offer = stories::offer(10_000 + u64::from(n), now);
        if let Decision::Send(sent) = admission.offer(offer, now) {
            held.push(sent);
        }
        while let Some(action) = admission.next_action() {
            if let Action::Send { sent, .. } = action {
                held.push(sent);
            }
        }
    }
    println!(
        "ten times overload: {:?} for an offer",
        began.elapsed() / REQUESTS
    );
    println!("{:?}", admission.view().totals);
}
