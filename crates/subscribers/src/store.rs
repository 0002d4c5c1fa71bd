//! Subscribers and deliveries on SQLite.
//!
//! Invariant: what a method returned `Ok` for is on the disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Millis, Timestamp};
use ring::hmac;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::ticket::{Purpose, Ticket};
use crate::{
    ADDRESS_BYTES_MAX, ASKED_WITHIN, ASKS_MAX, Kind, PENDING_FOR, Refused, SUBSCRIBERS_MAX,
    StoreError, TOLD_FOR, TRIES_MAX,
};

/// The newest form of the file.
const FORMAT: i64 = 1;
const TABLES: &str = "
CREATE TABLE secret (key BLOB NOT NULL) STRICT;
CREATE TABLE subscriber (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    nonce INTEGER NOT NULL,
    kind TEXT NOT NULL,
    address TEXT NOT NULL,
    components TEXT NOT NULL,
    confirmed INTEGER NOT NULL DEFAULT 0,
    asked_at INTEGER NOT NULL,
    asks INTEGER NOT NULL,
    wanted TEXT,
    UNIQUE (kind, address)
) STRICT;
CREATE TABLE news (key TEXT PRIMARY KEY, payload TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    news TEXT NOT NULL REFERENCES news (key) ON DELETE CASCADE,
    subscriber INTEGER NOT NULL REFERENCES subscriber (id) ON DELETE CASCADE,
    tries INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER NOT NULL,
    ended TEXT,
    UNIQUE (news, subscriber)
) STRICT;
CREATE INDEX delivery_waiting ON delivery (next_at) WHERE ended IS NULL;
";
/// A backup or a shell may hold the lock so long.
const BUSY_MAX: Duration = Duration::from_secs(2);
/// A delivery that was handed out and of which nothing was said, because the program
/// ended, is handed out again after this: longer than any try takes.
const HANDED_OUT_FOR: Millis = Millis::seconds(30);
/// First pause after a try that failed; it doubles.
const PAUSE: Millis = Millis::seconds(15);

/// The store.
#[derive(Debug)]
pub struct Subscribers {
    connection: Connection,
    path: PathBuf,
    key: hmac::Key,
}

/// A message to take to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// For [`Subscribers::told`].
    pub id: i64,
    /// How.
    pub kind: Kind,
    /// Where.
    pub address: String,
    /// Which update; with `id` it names the message.
    pub news: String,
    /// As it was given to [`Subscribers::publish`].
    pub payload: String,
    /// For the link that ends it.
    pub unsubscribe: String,
}

/// What came of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The receiver's system has it.
    Sent,
    /// Not now; never before this pause.
    Later(Option<Millis>),
    /// It will never work.
    Never(String),
}

impl Subscribers {
    /// Opens the file, and makes it if there is none.
    ///
    /// # Errors
    /// The file can't be opened, or is of a newer version.
    pub fn open(path: &Path) -> Result<Subscribers, StoreError> {
        let failed = |doing| move |source| error(path, doing, source);
        let mut connection = Connection::open(path).map_err(failed("open it"))?;
        connection
            .busy_timeout(BUSY_MAX)
            .and_then(|()| connection.pragma_update(None, "journal_mode", "wal"))
            .and_then(|()| connection.pragma_update(None, "synchronous", "full"))
            .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
            // Who leaves is not to be found in free pages either.
            .and_then(|()| connection.pragma_update(None, "secure_delete", true))
            .map_err(failed("set it up"))?;
        let found: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed("read its format"))?;
        if found > FORMAT {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known: FORMAT,
            });
        }
        if found == 0 {
            let mut fresh = [0; 32];
            getrandom::fill(&mut fresh).map_err(StoreError::NoRandomness)?;
            let transaction = connection.transaction().map_err(failed("begin"))?;
            transaction
                .execute_batch(TABLES)
                .and_then(|()| {
                    transaction.execute("INSERT INTO secret (key) VALUES (?1)", params![fresh])
                })
                .and_then(|_| transaction.pragma_update(None, "user_version", FORMAT))
                .and_then(|()| transaction.commit())
                .map_err(failed("make its tables"))?;
        }
        let key: Vec<u8> = connection
            .query_row("SELECT key FROM secret", [], |row| row.get(0))
            .map_err(failed("read its key"))?;
        Ok(Subscribers {
            connection,
            path: path.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }

    /// Somebody asks for news of these components (none: of all). The ticket goes to
    /// the address, and only there; without one nothing is to be sent now. Whoever
    /// asks sees the same either way.
    ///
    /// # Errors
    /// The outer error is the store's, the inner one for who asks.
    pub fn ask(
        &mut self,
        kind: Kind,
        address: &str,
        components: &[String],
        now: Timestamp,
    ) -> Result<Result<Option<String>, Refused>, StoreError> {
        let Some(address) = read_address(kind, address) else {
            return Ok(Err(Refused::NotAnAddress));
        };
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(StoreError::NoRandomness)?;
        let nonce = i64::from_be_bytes(nonce);
        let wanted = serde_json::to_string(components).unwrap_or_default();
        let at = now.as_millisecond();
        let path = self.path.clone();
        let work = |transaction: &rusqlite::Transaction<'_>| {
            let known: Option<(i64, i64, i64, u32)> = transaction
                .query_row(
                    "SELECT id, nonce, asked_at, asks FROM subscriber WHERE kind = ?1 AND address = ?2",
                    params![kind.as_str(), address],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
                )
                .optional()?;
            let Some((id, nonce, asked_at, asks)) = known else {
                let count: u32 =
                    transaction
                        .query_row("SELECT count(*) FROM subscriber", [], |row| row.get(0))?;
                if count >= SUBSCRIBERS_MAX {
                    return Ok(Err(Refused::Full));
                }
                transaction.execute(
                    "INSERT INTO subscriber (nonce, kind, address, components, wanted, asked_at, asks)
                     VALUES (?1, ?2, ?3, ?4, ?4, ?5, 1)",
                    params![nonce, kind.as_str(), address, wanted, at],
                )?;
                let subscriber = transaction.last_insert_rowid();
                return Ok(Ok(Some(Ticket { subscriber, nonce })));
            };
            let recent = at.saturating_sub(asked_at) < span(ASKED_WITHIN);
            if recent && asks >= ASKS_MAX {
                return Ok(Ok(None));
            }
            let (asked_at, asks) = if recent {
                (asked_at, asks + 1)
            } else {
                (at, 1)
            };
            // What a subscriber gets changes only when the owner of the address says yes.
            transaction.execute(
                "UPDATE subscriber SET asked_at = ?2, asks = ?3, wanted = ?4 WHERE id = ?1",
                params![id, asked_at, asks, wanted],
            )?;
            Ok(Ok(Some(Ticket {
                subscriber: id,
                nonce,
            })))
        };
        let asked = self
            .transact(work)
            .map_err(|source| error(&path, "note a subscription", source))?;
        Ok(asked.map(|ticket| ticket.map(|it| it.sealed(Purpose::Confirm, &self.key))))
    }

    /// The owner of the address says yes. `false`: the ticket opens nothing (any more).
    ///
    /// # Errors
    /// The store's.
    pub fn confirm(&mut self, ticket: &str) -> Result<bool, StoreError> {
        let Some(ticket) = Ticket::open(ticket, Purpose::Confirm, &self.key) else {
            return Ok(false);
        };
        let changed = self.connection.execute(
            "UPDATE subscriber SET confirmed = 1, components = coalesce(wanted, components), wanted = NULL
             WHERE id = ?1 AND nonce = ?2",
            params![ticket.subscriber, ticket.nonce],
        );
        changed
            .map(|rows| rows > 0)
            .map_err(|source| error(&self.path, "note a confirmation", source))
    }

    /// Somebody wants no more; nothing is left of them. Doing it twice is as good as once.
    /// `false`: nobody sealed this ticket.
    ///
    /// # Errors
    /// The store's.
    pub fn unsubscribe(&mut self, ticket: &str) -> Result<bool, StoreError> {
        let Some(ticket) = Ticket::open(ticket, Purpose::Unsubscribe, &self.key) else {
            return Ok(false);
        };
        let deleted = self.connection.execute(
            "DELETE FROM subscriber WHERE id = ?1 AND nonce = ?2",
            params![ticket.subscriber, ticket.nonce],
        );
        deleted
            .map(|_| true)
            .map_err(|source| error(&self.path, "forget a subscriber", source))
    }

    /// Notes that confirmed subscribers of these components (none: whoever there is)
    /// are to be told. The same key again changes nothing. How many are to be told.
    ///
    /// # Errors
    /// The store's.
    pub fn publish(
        &mut self,
        key: &str,
        components: &[String],
        payload: &str,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let at = now.as_millisecond();
        let about = serde_json::to_string(components).unwrap_or_default();
        let path = self.path.clone();
        let work = |transaction: &rusqlite::Transaction<'_>| {
            let fresh = transaction.execute(
                "INSERT OR IGNORE INTO news (key, payload, at) VALUES (?1, ?2, ?3)",
                params![key, payload, at],
            )?;
            if fresh == 0 {
                return Ok(0);
            }
            transaction.execute(
                "INSERT INTO delivery (news, subscriber, next_at)
                 SELECT ?1, id, ?2 FROM subscriber
                 WHERE confirmed = 1 AND (
                     ?3 = '[]' OR components = '[]' OR EXISTS (
                         SELECT 1 FROM json_each(components) AS wanted
                         JOIN json_each(?3) AS touched ON wanted.value = touched.value))",
                params![key, at, about],
            )
        };
        self.transact(work)
            .map_err(|source| error(&path, "note an update", source))
    }

    /// Hands out up to `most` messages whose time has come, the oldest update first.
    ///
    /// # Errors
    /// The store's, or a row can't be read.
    pub fn due(&mut self, most: u32, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        let at = now.as_millisecond();
        let path = self.path.clone();
        let work = |transaction: &rusqlite::Transaction<'_>| {
            let mut rows = transaction.prepare_cached(
                "SELECT delivery.id, kind, address, news, payload, subscriber.id, nonce
                 FROM delivery
                 JOIN subscriber ON subscriber.id = subscriber
                 JOIN news ON news.key = news
                 WHERE ended IS NULL AND next_at <= ?1
                 ORDER BY next_at, delivery.id LIMIT ?2",
            )?;
            let found = rows.query_map(params![at, most], |row| {
                let kind: String = row.get(1)?;
                let ticket = Ticket {
                    subscriber: row.get(5)?,
                    nonce: row.get(6)?,
                };
                Ok((
                    Delivery {
                        id: row.get(0)?,
                        kind: if kind == Kind::Webhook.as_str() {
                            Kind::Webhook
                        } else {
                            Kind::Mail
                        },
                        address: row.get(2)?,
                        news: row.get(3)?,
                        payload: row.get(4)?,
                        unsubscribe: String::new(),
                    },
                    ticket,
                ))
            })?;
            let found: Vec<(Delivery, Ticket)> = found.collect::<Result<_, _>>()?;
            let mut hand_out =
                transaction.prepare_cached("UPDATE delivery SET next_at = ?2 WHERE id = ?1")?;
            for (delivery, _) in &found {
                hand_out.execute(params![delivery.id, at + span(HANDED_OUT_FOR)])?;
            }
            Ok(found)
        };
        let found = self
            .transact(work)
            .map_err(|source| error(&path, "read what is to be sent", source))?;
        let sealed = found.into_iter().map(|(delivery, ticket)| Delivery {
            unsubscribe: ticket.sealed(Purpose::Unsubscribe, &self.key),
            ..delivery
        });
        Ok(sealed.collect())
    }

    /// Notes what came of a delivery.
    ///
    /// # Errors
    /// The store's.
    pub fn told(&mut self, id: i64, told: &Told, now: Timestamp) -> Result<(), StoreError> {
        let at = now.as_millisecond();
        let path = self.path.clone();
        let work = |transaction: &rusqlite::Transaction<'_>| {
            let tries: Option<u32> = transaction
                .query_row("SELECT tries FROM delivery WHERE id = ?1", [id], |row| {
                    row.get(0)
                })
                .optional()?;
            // Who left in the meantime has no row.
            let Some(tries) = tries.map(|tries| tries + 1) else {
                return Ok(());
            };
            let (ended, next_at) = match told {
                Told::Sent => (Some("sent".to_owned()), at),
                Told::Never(reason) => (Some(reason.clone()), at),
                Told::Later(_) if tries >= TRIES_MAX => (Some("given up".to_owned()), at),
                Told::Later(pause) => {
                    let own = Millis(PAUSE.0 << tries.min(TRIES_MAX).saturating_sub(1));
                    (None, at + span(pause.unwrap_or(own).max(own)))
                }
            };
            transaction.execute(
                "UPDATE delivery SET tries = ?2, ended = ?3, next_at = ?4 WHERE id = ?1",
                params![id, tries, ended, next_at],
            )?;
            Ok(())
        };
        self.transact(work)
            .map_err(|source| error(&path, "note a delivery", source))
    }

    /// Forgets questions that nobody answered, and updates that were told long ago.
    ///
    /// # Errors
    /// The store's.
    pub fn tidy(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let at = now.as_millisecond();
        let path = self.path.clone();
        let work = |transaction: &rusqlite::Transaction<'_>| {
            transaction.execute(
                "DELETE FROM subscriber WHERE confirmed = 0 AND asked_at < ?1",
                [at - span(PENDING_FOR)],
            )?;
            transaction.execute("DELETE FROM news WHERE at < ?1", [at - span(TOLD_FOR)])
        };
        self.transact(work)
            .map(drop)
            .map_err(|source| error(&path, "tidy up", source))
    }

    /// When the next delivery is due; `None`: none waits.
    ///
    /// # Errors
    /// The store's.
    pub fn wake_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<i64> = self
            .connection
            .query_row(
                "SELECT min(next_at) FROM delivery WHERE ended IS NULL",
                [],
                |row| row.get(0),
            )
            .map_err(|source| error(&self.path, "read what is to be sent", source))?;
        Ok(next.and_then(|at| Timestamp::from_millisecond(at).ok()))
    }

    /// Confirmed subscribers, questions that wait for an answer, deliveries that wait, and those that were given up.
    ///
    /// # Errors
    /// The store's.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let one = |sql: &str| {
            self.connection
                .query_row(sql, [], |row| row.get::<_, u32>(0))
                .map_err(|source| error(&self.path, "count", source))
        };
        Ok(Counts {
            confirmed: one("SELECT count(*) FROM subscriber WHERE confirmed = 1")?,
            pending: one("SELECT count(*) FROM subscriber WHERE confirmed = 0")?,
            waiting: one("SELECT count(*) FROM delivery WHERE ended IS NULL")?,
            failed: one(
                "SELECT count(*) FROM delivery WHERE ended IS NOT NULL AND ended <> 'sent'",
            )?,
        })
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Subscribers that said yes.
    pub confirmed: u32,
    /// Addresses that were asked.
    pub pending: u32,
    /// Messages on their way.
    pub waiting: u32,
    /// Messages of the last days that never arrived.
    pub failed: u32,
}

/// One mailbox or one URL, in the form in which two are compared.
fn read_address(kind: Kind, address: &str) -> Option<String> {
    let address = address.trim();
    let bad = |letter: char| letter.is_control() || letter.is_whitespace();
    if address.len() > ADDRESS_BYTES_MAX || address.contains(bad) {
        return None;
    }
    match kind {
        Kind::Mail => {
            let (name, domain) = address.rsplit_once('@')?;
            let plain = |text: &str, more: &str| {
                !text.is_empty()
                    && text
                        .chars()
                        .all(|letter| letter.is_alphanumeric() || more.contains(letter))
            };
            // The unquoted form of RFC 5321: what people have, and nothing that a relay could read as several.
            let fits = plain(name, "!#$%&'*+-/=?^_`{|}~.")
                && plain(domain, "-.")
                && domain.contains('.')
                && !domain.starts_with(['.', '-'])
                && !domain.ends_with(['.', '-'])
                && !domain.contains("..");
            fits.then(|| format!("{name}@{}", domain.to_lowercase()))
        }
        Kind::Webhook => {
            let rest = address
                .strip_prefix("https://")
                .or(address.strip_prefix("http://"))?;
            let host = rest.split(['/', '?', '#']).next()?;
            (!host.is_empty() && !host.contains('@')).then(|| address.to_owned())
        }
    }
}

fn span(span: Millis) -> i64 {
    i64::try_from(span.0).unwrap_or(i64::MAX)
}

fn error(path: &Path, doing: &'static str, source: rusqlite::Error) -> StoreError {
    StoreError::Sqlite {
        path: path.to_owned(),
        doing,
        source,
    }
}
