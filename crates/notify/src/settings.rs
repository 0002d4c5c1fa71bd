//! `notify.toml`: what messages are carried with.
//!
//! Secrets stand in files of their own. What contacts declare names an entry here, so
//! that no secret is ever written to the journal.
//!
//! Invariant: all problems are told at once, each with its line and column.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml_edit::{Document, Item};

use crate::address::Telephone;
use crate::{Address, Couriers, Egress, Mailer, MailerSettings, Poster, Secret, Security};

/// Largest file that is read as a secret.
const SECRET_BYTES_MAX: u64 = 16 << 10;
/// Where PagerDuty takes events, unless an entry says otherwise.
const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Where Twilio takes messages, unless the file says otherwise.
const TWILIO_URL: &str = "https://api.twilio.com";

/// A way to tell somebody, as contacts declare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A mailbox.
    Mail,
    /// A telephone's number, by text message.
    Sms,
    /// A telephone's number, by call.
    Voice,
    /// A topic of the ntfy server.
    Push,
    /// An entry of `[slack]`.
    Chat,
    /// An entry of `[webhook]` or `[pagerduty]`.
    Webhook,
}

/// Something that is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// From 1, in characters; 0 likewise.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What messages are carried with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where people reach this program; links in messages begin with it.
    pub public_url: Option<String>,
    couriers: Couriers,
    ntfy: Option<(Secret, Option<Secret>)>,
    twilio: Option<Telephone>,
    named: BTreeMap<(&'static str, String), Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    public_url: Option<String>,
    allow: Vec<String>,
    roots: Option<PathBuf>,
    smtp: Option<Smtp>,
    ntfy: Option<Ntfy>,
    twilio: Option<Twilio>,
    slack: BTreeMap<String, Slack>,
    webhook: BTreeMap<String, Webhook>,
    pagerduty: BTreeMap<String, PagerDuty>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Smtp {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    security: Security,
    username: Option<String>,
    password_file: Option<PathBuf>,
    from: String,
    roots: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ntfy {
    url: String,
    token_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Twilio {
    account: String,
    token_file: PathBuf,
    from: String,
    url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slack {
    url_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    url: String,
    secret_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PagerDuty {
    routing_key_file: PathBuf,
    url: Option<String>,
}

impl Settings {
    /// Nothing configured: every message is refused, and says why.
    ///
    /// # Errors
    /// The TLS library could not be set up.
    pub fn none() -> Result<Settings, crate::PosterError> {
        let poster = Poster::new(Egress::default(), None)?;
        Ok(Settings {
            public_url: None,
            couriers: Couriers::new(poster, None),
            ntfy: None,
            twilio: None,
            named: BTreeMap::new(),
        })
    }

    /// Reads `text`, whose relative paths are meant from `folder`. Reads the secrets' files too.
    /// Call it within the runtime that will send: a mail server's connections belong to one.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(text: &str, folder: &Path) -> Result<Settings, Vec<Problem>> {
        let document = Document::parse(text.to_owned());
        let document = document.map_err(|error| vec![unreadable(text, &error.into())])?;
        let file: File =
            toml_edit::de::from_str(text).map_err(|error| vec![unreadable(text, &error)])?;
        let mut reader = Reader {
            text,
            document: &document,
            folder,
            problems: Vec::new(),
        };
        let settings = reader.settings(file);
        match settings {
            Some(settings) if reader.problems.is_empty() => Ok(settings),
            Some(_) | None => {
                reader.problems.sort_by_key(|it| (it.line, it.column));
                Err(reader.problems)
            }
        }
    }

    /// What carries messages.
    pub fn couriers(&self) -> &Couriers {
        &self.couriers
    }

    /// Where a contact's channel leads.
    ///
    /// # Errors
    /// In words: nothing of that name or kind is configured.
    pub fn address(&self, way: Way, text: &str) -> Result<Address, String> {
        let telephone = || {
            let account = self.twilio.clone().ok_or("no `[twilio]` is configured")?;
            Ok::<_, String>(Telephone {
                to: text.to_owned(),
                ..account
            })
        };
        Ok(match way {
            Way::Mail => Address::Mail {
                to: text.to_owned(),
            },
            Way::Sms => Address::Sms(telephone()?),
            Way::Voice => Address::Call(telephone()?),
            Way::Push => {
                let (url, token) = self.ntfy.clone().ok_or("no `[ntfy]` is configured")?;
                Address::Ntfy {
                    url,
                    topic: text.to_owned(),
                    token,
                }
            }
            Way::Chat => self.named("slack", text)?,
            Way::Webhook => self
                .named("webhook", text)
                .or_else(|_| self.named("pagerduty", text))
                .map_err(|_| {
                    format!("neither `[webhook.{text}]` nor `[pagerduty.{text}]` is configured")
                })?,
        })
    }

    fn named(&self, table: &'static str, name: &str) -> Result<Address, String> {
        let found = self.named.get(&(table, name.to_owned())).cloned();
        found.ok_or_else(|| format!("no `[{table}.{name}]` is configured"))
    }
}

struct Reader<'a> {
    text: &'a str,
    document: &'a Document<String>,
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn settings(&mut self, file: File) -> Option<Settings> {
        if let Some(url) = &file.public_url {
            self.url(&["public_url"], url);
        }
        let roots = file.roots.and_then(|path| self.bytes(&["roots"], &path));
        let poster = Poster::new(Egress::public_and(file.allow), roots.as_deref());
        let poster = poster
            .map_err(|_| self.problem(&["roots"], "this is no PEM file with certificates"))
            .ok();
        let mailer = file.smtp.and_then(|smtp| self.mailer(smtp));
        let ntfy = file.ntfy.map(|ntfy| {
            self.url(&["ntfy", "url"], &ntfy.url);
            let token = ntfy
                .token_file
                .map(|path| self.secret(&["ntfy", "token_file"], &path));
            (Secret::new(ntfy.url), token)
        });
        let twilio = file.twilio.map(|twilio| {
            let url = twilio.url.unwrap_or_else(|| TWILIO_URL.to_owned());
            self.url(&["twilio", "url"], &url);
            Telephone {
                url,
                token: self.secret(&["twilio", "token_file"], &twilio.token_file),
                account: twilio.account,
                from: twilio.from,
                to: String::new(),
                receipts: None,
            }
        });
        let mut named = BTreeMap::new();
        for (name, slack) in file.slack {
            let key = ["slack", &name, "url_file"];
            let url = self.secret(&key, &slack.url_file);
            self.url(&key, url.expose());
            named.insert(("slack", name), Address::Slack { url });
        }
        for (name, hook) in file.webhook {
            self.url(&["webhook", &name, "url"], &hook.url);
            let secret = self.secret(&["webhook", &name, "secret_file"], &hook.secret_file);
            let url = Secret::new(hook.url);
            named.insert(("webhook", name), Address::Webhook { url, secret });
        }
        for (name, entry) in file.pagerduty {
            let url = entry.url.unwrap_or_else(|| PAGERDUTY_URL.to_owned());
            self.url(&["pagerduty", &name, "url"], &url);
            let key = ["pagerduty", &name, "routing_key_file"];
            let routing_key = self.secret(&key, &entry.routing_key_file);
            let url = Secret::new(url);
            named.insert(("pagerduty", name), Address::PagerDuty { url, routing_key });
        }
        Some(Settings {
            public_url: file
                .public_url
                .map(|url| url.trim_end_matches('/').to_owned()),
            couriers: Couriers::new(poster?, mailer),
            ntfy,
            twilio,
            named,
        })
    }

    fn mailer(&mut self, smtp: Smtp) -> Option<Mailer> {
        let login = match (smtp.username, smtp.password_file) {
            (Some(name), Some(path)) => {
                Some((name, self.secret(&["smtp", "password_file"], &path)))
            }
            (None, None) => None,
            (Some(_), None) => {
                self.problem(
                    &["smtp", "username"],
                    "`password_file` is missing beside it",
                );
                None
            }
            (None, Some(_)) => {
                self.problem(
                    &["smtp", "password_file"],
                    "`username` is missing beside it",
                );
                None
            }
        };
        let roots = smtp
            .roots
            .and_then(|path| self.bytes(&["smtp", "roots"], &path));
        let mailer = Mailer::new(MailerSettings {
            host: smtp.host,
            port: smtp.port,
            security: smtp.security,
            login,
            from: smtp.from,
            roots,
        });
        mailer
            .map_err(|error| {
                let key = match error {
                    crate::MailerError::From(_) => "from",
                    crate::MailerError::LoginInTheClear { .. } => "security",
                    crate::MailerError::Tls(_) => "roots",
                };
                self.problem(&["smtp", key], &error.to_string());
            })
            .ok()
    }

    fn url(&mut self, key: &[&str], text: &str) {
        let good = url::Url::parse(text)
            .is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.host_str().is_some());
        if !good {
            // The text itself may be a secret.
            self.problem(key, "this is no URL: write it as `https://host/path`");
        }
    }

    fn secret(&mut self, key: &[&str], path: &Path) -> Secret {
        let bytes = self.bytes(key, path).unwrap_or_default();
        match String::from_utf8(bytes) {
            Ok(text) => Secret::new(text.trim()),
            Err(_) => {
                self.problem(key, "the file holds no text");
                Secret::new("")
            }
        }
    }

    fn bytes(&mut self, key: &[&str], path: &Path) -> Option<Vec<u8>> {
        let path = self.folder.join(path);
        let size = std::fs::metadata(&path)
            .map(|it| it.len())
            .unwrap_or_default();
        let read = match size > SECRET_BYTES_MAX && key.last() != Some(&"roots") {
            true => Err(format!("{} bytes, at most {SECRET_BYTES_MAX}", size)),
            false => std::fs::read(&path).map_err(|error| error.to_string()),
        };
        match read {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {
                self.problem(key, &format!("{} is empty", path.display()));
                None
            }
            Ok(bytes) => Some(bytes),
            Err(reason) => {
                self.problem(key, &format!("{} can't be read: {reason}", path.display()));
                None
            }
        }
    }

    fn problem(&mut self, key: &[&str], message: &str) {
        let (line, column) = self.place(key);
        self.problems.push(Problem {
            line,
            column,
            message: format!("{}: {message}", key.join(".")),
        });
    }

    /// Of the deepest part of the key that is there.
    fn place(&self, key: &[&str]) -> (usize, usize) {
        let mut item: &Item = self.document.as_item();
        let mut span = None;
        for part in key {
            let Some(next) = item.get(part) else {
                break;
            };
            (item, span) = (next, next.span().or(span));
        }
        span.map_or((0, 0), |span| place(self.text, span.start))
    }
}

fn unreadable(text: &str, error: &toml_edit::de::Error) -> Problem {
    let (line, column) = error.span().map_or((0, 0), |span| place(text, span.start));
    Problem {
        line,
        column,
        message: error.message().to_owned(),
    }
}

fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, folder: &Path) -> Vec<String> {
        let problems = Settings::read(text, folder).unwrap_err();
        problems
            .iter()
            .map(|it| format!("{}:{} {}", it.line, it.column, it.message))
            .collect()
    }

    #[tokio::test]
    async fn a_whole_file() {
        crate::tests_crypto();
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("slack", "https://hooks.slack.com/services/T/B/X\n");
        write("secret", "whsec_cGxpbXNvbGw=\n");
        let settings = Settings::read(
            r#"
public_url = "https://plimsoll.example.com/"
allow = ["mail.internal"]

[smtp]
host = "mail.internal"
security = "none"
from = "Plimsoll <plimsoll@example.com>"

[ntfy]
url = "https://ntfy.example.com"

[slack.ops]
url_file = "slack"

[webhook.audit]
url = "https://audit.example.com/hook"
secret_file = "secret"

[pagerduty.main]
routing_key_file = "secret"

[twilio]
account = "AC1"
token_file = "secret"
from = "+15550100"
"#,
            folder.path(),
        )
        .unwrap();
        assert_eq!(
            settings.public_url.as_deref(),
            Some("https://plimsoll.example.com")
        );
        let channel = |way, text: &str| settings.address(way, text).map(|it| it.channel());
        assert_eq!(channel(Way::Mail, "a@example.com"), Ok("mail"));
        assert_eq!(channel(Way::Sms, "+49301"), Ok("sms"));
        assert_eq!(channel(Way::Voice, "+49301"), Ok("call"));
        assert_eq!(channel(Way::Push, "on-call"), Ok("ntfy"));
        assert_eq!(channel(Way::Chat, "ops"), Ok("slack"));
        assert_eq!(channel(Way::Webhook, "audit"), Ok("webhook"));
        assert_eq!(channel(Way::Webhook, "main"), Ok("pagerduty"));
        assert_eq!(
            channel(Way::Chat, "dev"),
            Err("no `[slack.dev]` is configured".into())
        );
        let Ok(Address::Slack { url }) = settings.address(Way::Chat, "ops") else {
            panic!("it is there");
        };
        assert_eq!(url.expose(), "https://hooks.slack.com/services/T/B/X");
    }

    #[tokio::test]
    async fn all_problems_at_once_with_their_places() {
        crate::tests_crypto();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        let text = "public_url = \"plimsoll\"\n[smtp]\nhost = \"m\"\nusername = \"me\"\nfrom = \"nobody\"\n\n[slack.ops]\nurl_file = \"absent\"\n[ntfy]\nurl = \"https://n\"\ntoken_file = \"empty\"\n";
        let said = said(text, folder.path());
        let begins = [
            "1:14 public_url: this is no URL",
            "4:12 smtp.username: `password_file` is missing",
            "5:8 smtp.from: `nobody` is no mail address",
            "8:12 slack.ops.url_file: ",
            "8:12 slack.ops.url_file: this is no URL",
            "11:14 ntfy.token_file: ",
        ];
        assert_eq!(said.len(), begins.len(), "{said:#?}");
        for (said, begin) in said.iter().zip(begins) {
            assert!(
                said.starts_with(begin),
                "{said} does not begin with {begin}"
            );
        }
    }

    #[test]
    fn what_is_no_toml_or_unknown_is_said_with_its_place() {
        let folder = Path::new("/");
        assert!(said("[smtp\n", folder)[0].starts_with("1:"));
        let unknown = said("[smtp]\nhost = \"m\"\nfrom = \"a@b.c\"\nhots = 1\n", folder);
        assert!(
            unknown[0].starts_with("4:1 unknown field `hots`"),
            "{unknown:?}"
        );
    }
}
