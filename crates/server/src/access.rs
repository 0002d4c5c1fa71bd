//! Who may do what: tokens and host keys, as the journal knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::State;
use engine::state::Token;
use model::refusal::Code;
use model::{Actor, Digest, HostName, Refusal, Role, Timestamp, TokenId};
use wire::PublicKey;
use wire::sign::{AgentClaim, REQUEST_SKEW_MS_MAX, token_hash};

/// A copy of what authentication needs, made anew when any of it changes.
#[derive(Debug, Default)]
pub(crate) struct Access {
    tokens: BTreeMap<Digest, Token>,
    hosts: BTreeMap<HostName, PublicKey>,
}

/// The public half of a token: short enough to read, long enough to be unique.
pub(crate) fn token_id(hash: Digest) -> TokenId {
    let mut text = hash.to_string();
    text.truncate(16);
    TokenId(text)
}

impl Access {
    pub(crate) fn of(state: &State) -> Arc<Access> {
        let hosts = state.hosts.iter().filter_map(|(name, host)| {
            Some((name.clone(), PublicKey::parse(&host.public_key).ok()?))
        });
        Arc::new(Access {
            tokens: state.tokens.clone(),
            hosts: hosts.collect(),
        })
    }

    /// Who bears this token, if it covers `needed`.
    pub(crate) fn bearer(&self, token: Option<&str>, needed: Role) -> Result<Actor, Refusal> {
        let known = token.and_then(|token| self.tokens.get(&token_hash(token)));
        let Some(known) = known else {
            return Err(Refusal::new(
                Code::Unauthenticated,
                if token.is_some() {
                    "the token is not valid"
                } else {
                    "the request has no token"
                },
                "Set PLIMSOLL_TOKEN (or --token-file) to a token of this control plane; the first one is in DATA/operator.token.",
            ));
        };
        if !known.role.covers(needed) {
            return Err(Refusal::new(
                Code::WrongRole,
                format!(
                    "this needs the role {needed}; {} has {}",
                    known.name, known.role
                ),
                "Ask an operator to do it, or for a token with that role: `plimsoll hosts token NAME --role …`.",
            ));
        }
        Ok(Actor {
            name: known.name.clone(),
            role: Some(known.role),
        })
    }

    /// The host whose key signed this request.
    pub(crate) fn host(
        &self,
        header: Option<&str>,
        method: &str,
        path: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<HostName, Refusal> {
        let Some(claim) = header.and_then(AgentClaim::parse) else {
            return Err(Refusal::new(
                Code::Unauthenticated,
                "the request is not signed by a host",
                "Agents sign with the key they made when they joined; join with `plimsoll agent --join-token …`.",
            ));
        };
        let skew_ms = now.as_millisecond().saturating_sub(claim.at_ms);
        if skew_ms.abs() > REQUEST_SKEW_MS_MAX {
            return Err(Refusal::new(
                Code::Unauthenticated,
                format!(
                    "the request was signed {} s away from the control plane's clock",
                    skew_ms / 1000
                ),
                "Set both clocks right (NTP).",
            ));
        }
        let host = claim.host.parse::<HostName>().ok();
        let known = host.and_then(|host| Some((self.hosts.get(&host)?, host)));
        let Some((key, host)) = known else {
            return Err(Refusal::new(
                Code::UnknownHost,
                "the request is signed by a host that has not joined".to_owned(),
                "Join it with `plimsoll hosts join-token HOST`, then `plimsoll agent --join-token …`.",
            ));
        };
        match key.check_request(&claim, method, path, body) {
            Ok(()) => Ok(host),
            Err(error) => Err(Refusal::new(
                Code::BadSignature,
                format!("host {host}: {error}"),
                "The agent's key changed: join the host again with a new join token.",
            )),
        }
    }
}
