//! Who may enter the last environment, and with what.

use model::refusal::Code;
use model::{Event, Millis, Refusal, Topology};

use super::world::{World, api, bundle, person};
use crate::Input;

fn declare(world: &mut World, change: impl FnOnce(&mut Topology)) -> Result<Vec<Event>, Refusal> {
    let mut topology = world.state.topology.clone();
    change(&mut topology);
    world.give(Input::SetTopology {
        by: person(),
        topology,
    })
}

/// The test host goes to production, and a production host takes its place.
fn exchange(topology: &mut Topology) {
    let [test, production] = topology.environments.as_mut_slice() else {
        panic!("two environments");
    };
    std::mem::swap(&mut test.hosts[0], &mut production.hosts[0]);
}

fn ordered_to_test(world: &mut World, content: &str) {
    world.propose(content).unwrap();
    for _ in 0..10 {
        world.pass(Millis(1));
        let slot = world.state.slot(&"test-0".parse().unwrap(), &api());
        let order = slot.and_then(|slot| slot.order.as_ref());
        if order.is_some_and(|order| order.digest == bundle(content).digest()) {
            return;
        }
    }
    panic!("not ordered: {:?}", world.story);
}

#[test]
fn a_host_with_an_untested_bundle_cant_be_declared_into_production() {
    let mut world = World::new(1, 2);
    ordered_to_test(&mut world, "new");
    let test = "test-0".parse().unwrap();
    let turned = |topology: &mut Topology| topology.environments.reverse();
    for (change, last) in [(exchange as fn(&mut _), "production"), (turned, "test")] {
        let refusal = declare(&mut world, change).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidTopology);
        let digest = bundle("new").digest().short();
        let said = format!(
            "host test-0 would enter {last} with bundle {digest} of api, which is not good yet"
        );
        assert_eq!(refusal.message, said, "while it is ordered");
    }
    world.confirm(&test).unwrap();
    let refusal = declare(&mut world, exchange).unwrap_err();
    assert_eq!(refusal.code, Code::InvalidTopology, "once it runs");
}

#[test]
fn a_host_may_enter_production_with_what_it_was_born_with_or_what_is_good() {
    let mut world = World::new(1, 2);
    declare(&mut world, exchange).unwrap();
    declare(&mut world, exchange).unwrap();
    world.until_good("one");
    declare(&mut world, exchange).unwrap();
    declare(&mut world, exchange).unwrap();
    // Back from a bundle that failed is as good as never there.
    ordered_to_test(&mut world, "two");
    world.confirm(&"test-0".parse().unwrap()).unwrap();
    assert!(declare(&mut world, exchange).is_err());
    world.roll_back(None).unwrap();
    world.carry_out();
    declare(&mut world, exchange).unwrap();
}
