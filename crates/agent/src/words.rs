//! What commands, health texts and their environment are filled with.

use model::{HostName, ServiceName};
use node::Context;

use crate::command::Surroundings;
use crate::store::Store;

/// The host's own words for one command or look.
pub(crate) fn surroundings(
    store: &Store,
    host: &HostName,
    service: &ServiceName,
    context: &Context,
) -> Surroundings {
    let place = context.place.as_ref();
    let of = |word: Option<String>| word.unwrap_or_default();
    Surroundings {
        words: [
            ("host", host.to_string()),
            ("service", service.to_string()),
            ("zone", of(place.map(|p| p.zone.to_string()))),
            ("environment", of(place.map(|p| p.environment.to_string()))),
            ("address", of(place.map(|p| p.address.clone()))),
            ("tree", store.tree(context.tree).display().to_string()),
            ("digest", context.tree.to_string()),
        ]
        .into(),
    }
}
