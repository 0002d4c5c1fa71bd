//! Carries a message by SMTP.
//!
//! The server is the team's own relay: it queues, signs (DKIM) and retries towards
//! the world. What it answers decides: 2xx is sent, 4xx is tried again, 5xx is not.
//!
//! Invariant: no login goes over a connection without TLS, and nothing in a message
//! becomes a header line or a receiver of its own.

use std::time::Duration;

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error as SmtpError, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Notice, Outcome, Secret, Urgency};

/// Each command of the dialogue; several fit into a try.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);
/// Connections kept open: a relay on the same network takes hundreds of messages a
/// second over this many, and its own limit per client is seldom lower.
const CONNECTIONS_MAX: u32 = 4;
/// A relay closes an idle connection after minutes; before that we do.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The login was refused: a fault of the configuration, which can be mended while messages wait.
const LOGIN_REFUSED: [&str; 4] = ["530", "534", "535", "538"];

/// How a connection to the relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS after the greeting (RFC 3207), demanded. Port 587.
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314). Port 465.
    Tls,
    /// None: for a relay on this machine. Port 25.
    None,
}

/// The relay.
#[derive(Debug, Clone)]
pub struct MailerSettings {
    /// Its name, which its certificate must have.
    pub host: String,
    /// Its port; by default that of `security`.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub security: Security,
    /// Name and password.
    pub login: Option<(String, Secret)>,
    /// Who writes: `Plimsoll <plimsoll@example.com>`.
    pub from: String,
    /// Certificates trusted besides the system's (PEM).
    pub roots: Option<Vec<u8>>,
}

/// The settings can't be used.
#[derive(Debug, Error)]
pub enum MailerError {
    /// The sender's address is malformed.
    #[error("`{0}` is no mail address: write it as `Plimsoll <plimsoll@example.com>`")]
    From(String),
    /// A login without TLS.
    #[error("a login would go to {host} in the clear: set security to `starttls` or `tls`")]
    LoginInTheClear {
        /// The relay.
        host: String,
    },
    /// The certificates can't be read, or TLS can't be set up.
    #[error("TLS for the mail server can't be set up")]
    Tls(#[source] SmtpError),
}

/// Carries messages by SMTP.
#[derive(Debug, Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Connects with the first message. Call it within the runtime that will send: its
    /// connections belong to that one.
    ///
    /// # Errors
    /// The settings can't be used.
    pub fn new(settings: MailerSettings) -> Result<Mailer, MailerError> {
        let from: Mailbox = settings
            .from
            .parse()
            .map_err(|_| MailerError::From(settings.from.clone()))?;
        if settings.security == Security::None && settings.login.is_some() {
            let host = settings.host;
            return Err(MailerError::LoginInTheClear { host });
        }
        let tls = |host: &str| {
            let mut builder = TlsParameters::builder(host.to_owned());
            if let Some(pem) = &settings.roots {
                builder = builder.add_root_certificate(Certificate::from_pem(pem)?);
            }
            builder.build()
        };
        let (tls, usual_port) = match settings.security {
            Security::Starttls => (
                Tls::Required(tls(&settings.host).map_err(MailerError::Tls)?),
                587,
            ),
            Security::Tls => (
                Tls::Wrapper(tls(&settings.host).map_err(MailerError::Tls)?),
                465,
            ),
            Security::None => (Tls::None, 25),
        };
        let pool = PoolConfig::new()
            .max_size(CONNECTIONS_MAX)
            .idle_timeout(IDLE_MAX);
        // `builder_dangerous` only means that TLS is up to the caller: it was set above.
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port.unwrap_or(usual_port))
            .tls(tls)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()))
            .timeout(Some(COMMAND_WITHIN))
            .pool_config(pool);
        if let Some((name, password)) = settings.login {
            builder = builder.credentials(Credentials::new(name, password.expose().to_owned()));
        }
        let transport = builder.build();
        Ok(Mailer { transport, from })
    }

    /// Tries once.
    pub async fn send(&self, to: &str, notice: &Notice) -> Outcome {
        let message = match message(&self.from, to, notice) {
            Ok(message) => message,
            Err(reason) => return Outcome::refused(reason),
        };
        match self.transport.send(message).await {
            Ok(response) => Outcome::Sent {
                receipt: response.first_line().map(str::to_owned),
            },
            Err(error) => missed(&error),
        }
    }
}

/// The mail itself.
///
/// # Errors
/// In words: the receiver's address is malformed, or a header can't be made.
fn message(from: &Mailbox, to: &str, notice: &Notice) -> Result<Message, String> {
    let to: Mailbox = to
        .parse()
        .map_err(|error| format!("`{to}` is no mail address: {error}"))?;
    let domain = from.email.domain();
    let thread = format!("<{}@{domain}>", notice.thread);
    let mut builder = Message::builder()
        .from(from.clone())
        .to(to)
        .subject(notice.headline())
        // A repeat has the same id, so that mailboxes can tell.
        .message_id(Some(format!("<{}@{domain}>", notice.key)))
        .references(thread.clone())
        .in_reply_to(thread)
        .date_now()
        // RFC 3834: no out-of-office answers to this.
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header("X-Plimsoll-Key", &notice.key));
    if notice.urgency == Urgency::High {
        builder = builder.raw_header(header("Importance", "high"));
    }
    if let Some(url) = &notice.unsubscribe {
        // RFC 2369 and RFC 8058.
        builder = builder
            .raw_header(header("List-Unsubscribe", &format!("<{url}>")))
            .raw_header(header(
                "List-Unsubscribe-Post",
                "List-Unsubscribe=One-Click",
            ));
    }
    let plain = SinglePart::builder()
        .header(ContentType::TEXT_PLAIN)
        .body(text(notice));
    let built = match &notice.html {
        Some(html) => builder.multipart(
            MultiPart::alternative().singlepart(plain).singlepart(
                SinglePart::builder()
                    .header(ContentType::TEXT_HTML)
                    .body(html.clone()),
            ),
        ),
        None => builder.singlepart(plain),
    };
    built.map_err(|error| format!("the mail can't be written: {error}"))
}

/// The text with what can be done about it.
fn text(notice: &Notice) -> String {
    let mut text = notice.text.trim_end().to_owned();
    let links = [
        ("Acknowledge", &notice.acknowledge),
        ("More", &notice.link),
        ("Unsubscribe", &notice.unsubscribe),
    ];
    let links: Vec<String> = links
        .into_iter()
        .filter_map(|(label, url)| Some(format!("{label}: {}", url.as_ref()?)))
        .collect();
    if !links.is_empty() {
        text.push_str("\n\n");
        text.push_str(&links.join("\n"));
    }
    text.push('\n');
    text
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    // A line break in a value would begin a header of its own.
    let one_line: String = value
        .chars()
        .filter(|letter| !letter.is_control())
        .collect();
    HeaderValue::new(HeaderName::new_from_ascii_str(name), one_line)
}

fn missed(error: &SmtpError) -> Outcome {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    let code = error.status().map(|code| code.to_string());
    let login = code.is_some_and(|code| LOGIN_REFUSED.contains(&code.as_str()));
    match error.is_permanent() && !login {
        true => Outcome::refused(words),
        false => Outcome::retry(words),
    }
}

#[cfg(test)]
mod tests;
