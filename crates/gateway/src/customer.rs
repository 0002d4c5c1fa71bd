//! Who a connection's requests are of, worked out once.
//!
//! Most connections belong to one customer. What follows from its name (a place on the
//! scale of shares, a turn in queues) is kept with the connection until another one asks.
//!
//! Invariant: what is kept is what would be worked out anew.

use std::sync::{Arc, Mutex, PoisonError};

use edge::Bucket;
use edge::admission::Tenant;
use model::ServiceName;

use crate::desk;

/// A tenant, as one service sees it.
#[derive(Debug)]
pub(crate) struct Customer {
    pub(crate) name: String,
    /// Its place on the service's scale.
    pub(crate) bucket: Bucket,
    /// In which queue it waits.
    pub(crate) turn: Tenant,
}

impl Customer {
    fn new(service: &ServiceName, name: &str) -> Customer {
        Customer {
            name: name.to_owned(),
            bucket: Bucket::of(service, name),
            turn: desk::tenant(name),
        }
    }
}

/// The customer of a connection's last request.
#[derive(Debug, Default)]
pub(crate) struct Last(Mutex<Option<Arc<Customer>>>);

impl Last {
    /// The customer of that name. One connection is of one service, and keeps this to itself.
    pub(crate) fn customer(&self, service: &ServiceName, name: &str) -> Arc<Customer> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = last.as_ref().filter(|it| it.name == name) {
            return known.clone();
        }
        let new = Arc::new(Customer::new(service, name));
        *last = Some(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_own_place_whoever_came_before() {
        let service: ServiceName = "api".parse().unwrap();
        let last = Last::default();
        for name in ["acme", "acme", "globex", "-", "acme"] {
            let customer = last.customer(&service, name);
            assert_eq!(customer.name, name);
            assert_eq!(customer.bucket, Bucket::of(&service, name));
            assert_eq!(customer.turn, desk::tenant(name));
        }
        let (first, second) = (last.customer(&service, "a"), last.customer(&service, "a"));
        assert!(Arc::ptr_eq(&first, &second));
    }
}
