//! From the command line's options to a client.

use wire::{Client, Identity};

use crate::cli::Ask;
use crate::output::Failure;

/// The caller's token, from wherever it was given.
pub(crate) fn token(ask: &Ask) -> Result<Option<String>, Failure> {
    let token = match (&ask.token, ask.token_file()) {
        (Some(token), _) if !token.is_empty() => token.clone(),
        (_, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            Failure::broken(format!("token file {}: {error}", path.display()))
                .next("The control plane writes the first operator token to DATA/operator.token.")
        })?,
        (_, None) => return Ok(None),
    };
    Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
}

/// A client for the control plane, with the caller's token.
pub(crate) fn client(ask: &Ask) -> Result<Client, Failure> {
    let identity = token(ask)?.map_or(Identity::Nobody, Identity::Bearer);
    Ok(Client::new(&ask.url, identity, ask.ca())?)
}
