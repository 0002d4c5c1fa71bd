//! Who wants to be told of incidents, and which of them were.
//!
//! Addresses belong to people who may want them deleted, so they are not in the
//! journal, which forgets nothing, but in a file of their own. What is told to
//! whom is a row for each update and subscriber, written in one transaction, so
//! that after a crash nobody is left out, and nobody is told twice but by a
//! repeat of the same message under the same key.
//!
//! Links in mails carry a *ticket*: which subscriber, for what, and a MAC over
//! both. A ticket for one purpose opens no other, and nothing of it is stored.
//!
//! Invariant: nothing is sent to an address, but one question, before its owner
//! has said yes.

mod store;
mod ticket;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use model::Millis;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use store::{Counts, Delivery, Subscribers, Told};
pub use ticket::{Purpose, Ticket};

/// Most subscribers; at a hundred thousand mails a mailing service does it better.
pub const SUBSCRIBERS_MAX: u32 = 100_000;
/// Longest address, in bytes (RFC 5321 allows 254 for a mailbox; URLs are longer).
pub const ADDRESS_BYTES_MAX: usize = 1024;
/// An address is asked so often within [`ASKED_WITHIN`], whoever asks for it: this
/// must not be a way to fill somebody's mailbox.
pub const ASKS_MAX: u32 = 3;
/// See [`ASKS_MAX`].
pub const ASKED_WITHIN: Millis = Millis::seconds(24 * 3600);
/// A question that nobody answered is forgotten, with its address.
pub const PENDING_FOR: Millis = Millis::seconds(3 * 24 * 3600);
/// Told updates are kept so long, to see what became of them.
pub const TOLD_FOR: Millis = Millis::seconds(7 * 24 * 3600);
/// A delivery is tried so often before it is given up.
pub const TRIES_MAX: u32 = 8;

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// By mail.
    Mail,
    /// By a POST.
    Webhook,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Kind::Mail => "mail",
            Kind::Webhook => "webhook",
        }
    }
}

/// The store could not be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite said so.
    #[error("{path}: could not {doing}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// The file belongs to a newer version.
    #[error("{path} has format {found}; this program knows {known}: use a newer one")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// A row does not read as it was written.
    #[error("{path}: {what} can't be read")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Which row.
        what: String,
    },
    /// The system has no randomness for a key.
    #[error("no randomness for a key")]
    NoRandomness(#[source] getrandom::Error),
}

/// Why somebody could not subscribe. Whether an address is known already is never told.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// Neither a mailbox nor a URL.
    #[error("this is not an address")]
    NotAnAddress,
    /// There are as many as there may be.
    #[error("no more subscribers are taken at the moment")]
    Full,
}
