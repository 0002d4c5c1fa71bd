//! What each host should run now, told from the journal alone: a model so
//! small that it can be checked by reading it.

use std::collections::BTreeMap;

use model::{Digest, Event, Generation, Order, Timestamp};

use crate::laws::Key;

/// One service on one host.
struct Known {
    /// Where it is at rest, or was before the open order.
    rests: Digest,
    order: Option<Order>,
    open: bool,
}

/// The digest for each slot; none where an order's end is not known.
pub(crate) fn expected(journal: &[(Timestamp, Event)]) -> BTreeMap<Key, Option<Digest>> {
    let mut slots: BTreeMap<Key, Known> = BTreeMap::new();
    let fits = |known: &Known, generation: Generation| {
        known
            .order
            .as_ref()
            .is_some_and(|order| order.generation == generation)
    };
    for (_, event) in journal {
        match event {
            Event::HostEnrolled { host, adopted, .. } => {
                for (service, digest) in adopted {
                    let known = Known {
                        rests: *digest,
                        order: None,
                        open: false,
                    };
                    slots.insert((host.clone(), service.clone()), known);
                }
            }
            Event::HostOrdered { order } => {
                if let Some(known) = slots.get_mut(&(order.host.clone(), order.service.clone())) {
                    (known.order, known.open) = (Some(order.clone()), true);
                }
            }
            Event::HostConfirmed {
                host,
                service,
                generation,
                digest,
            } => {
                let slot = slots.get_mut(&(host.clone(), service.clone()));
                if let Some(known) = slot.filter(|known| fits(known, *generation)) {
                    (known.rests, known.open) = (*digest, false);
                }
            }
            // Whatever the reason: the host is home, and says where that is.
            Event::HostFailed {
                host,
                service,
                generation,
                running,
                ..
            } => {
                let slot = slots.get_mut(&(host.clone(), service.clone()));
                if let Some(known) = slot.filter(|known| fits(known, *generation)) {
                    (known.rests, known.open) = (*running, false);
                }
            }
            _ => {}
        }
    }
    let told = |known: Known| (!known.open).then_some(known.rests);
    slots
        .into_iter()
        .map(|(key, known)| (key, told(known)))
        .collect()
}
