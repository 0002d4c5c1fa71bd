//! Takes one message to one receiver, once, and says what came of it.
//!
//! Who is told what, when again, and by which way instead, is decided elsewhere;
//! here is only the try. Each channel's request and its reading of the answer are
//! plain functions (`channel::*`); two shells carry them: [`post`] (HTTP) and
//! [`mail`] (SMTP).
//!
//! Invariant: every try ends by its deadline with an [`Outcome`], and a repeat
//! carries the same key, so that a receiver can tell it from news.

pub mod address;
pub mod channel;
pub mod egress;
pub mod mail;
pub mod notice;
pub mod outbox;
pub mod outcome;
pub mod post;
pub mod settings;

use std::time::Duration;

pub use address::{Address, Secret};
pub use egress::Egress;
pub use mail::{Mailer, MailerError, MailerSettings, Security};
pub use notice::{Happening, Notice, Urgency};
pub use outbox::{Ended, Outbox, Wanted};
pub use outcome::Outcome;
pub use post::{Poster, PosterError};
pub use settings::{Problem, Settings, Way};

/// A try takes no longer than this. Providers answer within a second or two; who
/// is slower than ten must not keep a page from its next channel.
pub const TRY_WITHIN: Duration = Duration::from_secs(10);

/// Everything that can carry a message.
#[derive(Debug, Clone)]
pub struct Couriers {
    poster: Poster,
    mailer: Option<Mailer>,
}

impl Couriers {
    /// Mail needs a server of the user's; without one it is refused, and says so.
    pub fn new(poster: Poster, mailer: Option<Mailer>) -> Couriers {
        Couriers { poster, mailer }
    }

    /// Whether mail goes anywhere at all.
    pub fn carries_mail(&self) -> bool {
        self.mailer.is_some()
    }

    /// Tries once to take `notice` to `address`; never longer than `within`, which
    /// is [`TRY_WITHIN`] at most.
    pub async fn send(&self, address: &Address, notice: &Notice, within: Duration) -> Outcome {
        let within = within.min(TRY_WITHIN);
        let sent = async {
            match (address, &self.mailer) {
                (Address::Mail { to }, Some(mailer)) => mailer.send(to, notice).await,
                (Address::Mail { .. }, None) => {
                    Outcome::refused("no mail server is configured (see `[smtp]` in notify.toml)")
                }
                (address, _) => self.poster.send(address, notice).await,
            }
        };
        // Without an answer nobody knows whether it arrived: it is sent again under the same key.
        tokio::time::timeout(within, sent)
            .await
            .unwrap_or_else(|_| Outcome::retry(format!("no answer within {within:?}")))
    }
}

/// Makes ring the provider of TLS, as the program's `main` does.
#[cfg(test)]
fn tests_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
