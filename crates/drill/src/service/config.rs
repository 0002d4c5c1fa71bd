//! The test service's configuration file: what a bad release gets wrong.
//!
//! Invariant: a configuration that was read is well formed; that its addresses
//! answer is another question, and not one the service asks at start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{EnvironmentName, Millis};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Longest work for one request: no client waits for longer.
const WORK_MAX: Millis = Millis::seconds(60);
/// Largest configuration file that is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The whole file.
///
/// ```toml
/// version = "2024-02-04"
/// work_ms = 5
/// library_deadline_ms = 500
/// session_bytes_max = 4096
///
/// [auth.test]
/// address = "127.0.0.1:9101"
///
/// [auth.production]
/// address = "127.0.0.1:9102"
///
/// [limits]
/// threads = 8
/// queue = 64
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Shown in every answer; never empty.
    #[serde(deserialize_with = "not_empty")]
    pub version: String,
    /// How long each API request keeps its thread after authentication; at most a minute.
    #[serde(default, deserialize_with = "not_for_ever")]
    pub work_ms: Millis,
    /// How long the authentication library waits. Absent, it waits for ever:
    /// the flaw that a wrong address turns into an outage.
    #[serde(default)]
    pub library_deadline_ms: Option<NonZeroU64>,
    /// Whether `/healthz` asks the authentication service too.
    #[serde(default)]
    pub health_deep: bool,
    /// Size of the buffer into which a request's session is read. A longer one
    /// is answered with 500: nobody has thought of it. Absent, there is no buffer.
    #[serde(default)]
    pub session_bytes_max: Option<NonZeroU32>,
    /// The authentication service of each environment.
    pub auth: BTreeMap<EnvironmentName, AuthAddress>,
    /// Threads, queue and times.
    #[serde(default)]
    pub limits: Limits,
}

/// Where one environment's authentication service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthAddress {
    /// `IP:port`. No names: the resolver of the C library can't be given a
    /// deadline, so with a name even the corrected library could wait too long.
    pub address: SocketAddr,
}

/// What the server allows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Serving threads; each serves one request at a time.
    pub threads: NonZeroU16,
    /// Accepted connections that may wait for a thread. When it is full no
    /// more are accepted, and the kernel's backlog fills.
    pub queue: NonZeroU16,
    /// How long a connection may take to bring its request. Short, because it
    /// holds a thread meanwhile.
    pub request_within_ms: NonZeroU32,
    /// How long requests under way may take to end once the process is told to stop.
    pub drain_ms: NonZeroU32,
}

/// Eight threads, as a small classic server has.
const THREADS: NonZeroU16 = NonZeroU16::new(8).unwrap();
/// Eight waiting requests for each thread: half a second of work at 60 ms each.
const QUEUE: NonZeroU16 = NonZeroU16::new(64).unwrap();
/// Any client on the same network has sent its request by then.
const REQUEST_WITHIN_MS: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// Less than the second that the supervisor leaves at a planned restart.
const DRAIN_MS: NonZeroU32 = NonZeroU32::new(500).unwrap();

impl Default for Limits {
    fn default() -> Self {
        Limits {
            threads: THREADS,
            queue: QUEUE,
            request_within_ms: REQUEST_WITHIN_MS,
            drain_ms: DRAIN_MS,
        }
    }
}

/// A configuration that can't be used, with the place in the file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: can't be read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file says something that the service doesn't understand.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file is for other environments.
    #[error("{}: there is no [auth.{environment}], only {known}", path.display())]
    NoEnvironment {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        environment: EnvironmentName,
        /// What is there.
        known: String,
    },
}

impl ServiceConfig {
    /// Reads and checks the file at `path`, for `environment` when one is given.
    ///
    /// # Errors
    /// When it can't be read, isn't well formed, or lacks the environment.
    pub fn read(
        path: &Path,
        environment: Option<&EnvironmentName>,
    ) -> Result<ServiceConfig, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > CONFIG_BYTES_MAX {
            let reason = format!("{size} bytes; at most {CONFIG_BYTES_MAX}");
            return Err(unreadable(std::io::Error::other(reason)));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let config = ServiceConfig::parse(&text, path)?;
        if let Some(environment) = environment {
            config.auth_of(environment, path)?;
        }
        Ok(config)
    }

    fn parse(text: &str, path: &Path) -> Result<ServiceConfig, ConfigError> {
        toml_edit::de::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            let (line, column) = position(text, offset);
            ConfigError::Invalid {
                path: path.to_owned(),
                line,
                column,
                message: error.message().trim().replace('\n', "; "),
            }
        })
    }

    /// The authentication service of `environment`; `path` is for the error's words.
    pub(crate) fn auth_of(
        &self,
        environment: &EnvironmentName,
        path: &Path,
    ) -> Result<SocketAddr, ConfigError> {
        let found = self.auth.get(environment).map(|auth| auth.address);
        found.ok_or_else(|| ConfigError::NoEnvironment {
            path: path.to_owned(),
            environment: environment.clone(),
            known: if self.auth.is_empty() {
                "an empty [auth]".to_owned()
            } else {
                let names: Vec<&str> = self.auth.keys().map(EnvironmentName::as_str).collect();
                names.join(", ")
            },
        })
    }

    /// How long the authentication library waits, if it doesn't wait for ever.
    pub fn library_deadline(&self) -> Option<Duration> {
        self.library_deadline_ms
            .map(|deadline| Duration::from_millis(deadline.get()))
    }
}

fn not_empty<'de, D: Deserializer<'de>>(text: D) -> Result<String, D::Error> {
    let text = String::deserialize(text)?;
    match text.trim() {
        "" => Err(D::Error::custom("must not be empty")),
        _ => Ok(text),
    }
}

fn not_for_ever<'de, D: Deserializer<'de>>(span: D) -> Result<Millis, D::Error> {
    let span = Millis::deserialize(span)?;
    match span <= WORK_MAX {
        true => Ok(span),
        false => Err(D::Error::custom(format!("at most {}", WORK_MAX.0))),
    }
}

/// Line and column of a byte offset, both from 1; columns in characters, as editors count.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServiceConfig, String> {
        ServiceConfig::parse(text, Path::new("api.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_short_file_gets_defaults() {
        let config = parse("version = \"1\"\n[auth.test]\naddress = \"127.0.0.1:9\"\n").unwrap();
        assert_eq!(config.library_deadline(), None);
        assert_eq!(config.limits, Limits::default());
        let missing = config.auth_of(&"production".parse().unwrap(), Path::new("api.toml"));
        assert_eq!(
            missing.unwrap_err().to_string(),
            "api.toml: there is no [auth.production], only test"
        );
    }

    #[test]
    fn what_no_service_could_mean_is_refused() {
        let auth = "[auth.test]\naddress = \"127.0.0.1:9\"\n";
        for (head, words) in [
            ("version = \" \"\n", "api.toml:1:11: must not be empty"),
            (
                "version = \"1\"\nwork_ms = 60001\n",
                "api.toml:2:11: at most 60000",
            ),
        ] {
            let error = parse(&format!("{head}{auth}")).unwrap_err();
            assert_eq!(error, words);
        }
        assert!(parse(&format!("version = \"1\"\nwork_ms = 60000\n{auth}")).is_ok());
    }

    #[test]
    fn problems_name_their_place() {
        let head = "version = \"1\"\n[auth.test]\n";
        for (text, place) in [
            ("address = \"localhost\"\n", "api.toml:3:11: "),
            ("adress = \"127.0.0.1:9\"\n", "api.toml:3:1: "),
            (
                "address = \"127.0.0.1:9\"\n[limits]\nthreads = 0\n",
                "api.toml:5:11: ",
            ),
            ("address = \n", "api.toml:3:"),
        ] {
            let error = parse(&format!("{head}{text}")).unwrap_err();
            assert!(error.starts_with(place), "{error}");
        }
    }
}
