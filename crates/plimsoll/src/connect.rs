//! From the command line's options to a client.

use wire::{Client, Identity};

use crate::cli::Ask;
use crate::output::Failure;

/// A client for the control plane, with the caller's token.
pub(crate) fn client(ask: &Ask) -> Result<Client, Failure> {
    let token = match (&ask.token, &ask.token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => Some(std::fs::read_to_string(path).map_err(|error| {
            Failure::broken(format!("token file {}: {error}", path.display()))
                .next("The control plane writes the first operator token to DATA/operator.token.")
        })?),
        (None, None) => None,
    };
    let identity = match token.as_deref().map(str::trim) {
        Some(token) if !token.is_empty() => Identity::Bearer(token.to_owned()),
        _ => Identity::Nobody,
    };
    Ok(Client::new(&ask.url, identity, ask.ca.clone())?)
}
