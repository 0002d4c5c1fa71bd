//! What a link in a mail proves.
//!
//! `subscriber.nonce`, a purpose and a MAC (HMAC-SHA256, RFC 2104) over all three.
//! The nonce is random for each subscription, so that a ticket dies with it and an
//! id that is used again opens nothing.
//!
//! Invariant: a ticket for one purpose is no ticket for another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// Bytes of an id and a nonce before the MAC.
const BODY_BYTES: usize = 16;
/// Half of SHA-256's output: 128 bits are not guessed, and links stay short (RFC 2104, 5).
const MAC_BYTES: usize = 16;

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Saying yes.
    Confirm,
    /// Not wanting any more.
    Unsubscribe,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Purpose::Confirm => b"confirm",
            Purpose::Unsubscribe => b"unsubscribe",
        }
    }
}

/// Which subscription a link is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) subscriber: i64,
    pub(crate) nonce: i64,
}

impl Ticket {
    /// As a link carries it.
    pub(crate) fn sealed(self, purpose: Purpose, key: &hmac::Key) -> String {
        let mut bytes = self.body().to_vec();
        bytes.extend_from_slice(&mac(key, purpose, &self.body()).as_ref()[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None`: nobody sealed this for that purpose.
    pub(crate) fn open(text: &str, purpose: Purpose, key: &hmac::Key) -> Option<Ticket> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        if bytes.len() != BODY_BYTES + MAC_BYTES {
            return None;
        }
        let (body, sealed) = bytes.split_at(BODY_BYTES);
        let right = mac(key, purpose, body);
        // In constant time: how much of a guess is right must not be measurable.
        let differing = right.as_ref()[..MAC_BYTES]
            .iter()
            .zip(sealed)
            .fold(0, |differing, (right, given)| differing | (right ^ given));
        if differing != 0 {
            return None;
        }
        let (subscriber, nonce) = body.split_at(8);
        Some(Ticket {
            subscriber: i64::from_be_bytes(subscriber.try_into().ok()?),
            nonce: i64::from_be_bytes(nonce.try_into().ok()?),
        })
    }

    fn body(self) -> [u8; BODY_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[..8].copy_from_slice(&self.subscriber.to_be_bytes());
        body[8..].copy_from_slice(&self.nonce.to_be_bytes());
        body
    }
}

fn mac(key: &hmac::Key, purpose: Purpose, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(purpose.label());
    context.update(&[0]);
    context.update(body);
    context.sign()
}
