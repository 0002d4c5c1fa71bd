//! The "authentication client library" that the service and its monitoring share.
//!
//! With a deadline the whole call ends by it. Without one it is the library of
//! the `api-infrastructure` report: neither connecting nor reading ever gives
//! up, so a peer that stays silent keeps the calling thread for good.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Longest answer that is read; the authentication service sends some 150 bytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// How the authentication service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The key is shown, and is good or not. Every version of the service speaks it.
    #[default]
    Session,
    /// The key is changed for a token. Spoken from version 2 of the service on.
    TokenExchange,
}

impl Protocol {
    /// Method and path of its one question.
    fn question(self) -> &'static str {
        match self {
            Protocol::Session => "GET /authenticate",
            Protocol::TokenExchange => "POST /v2/token",
        }
    }
}

/// Asks one authentication service.
#[derive(Debug, Clone, Copy)]
pub struct AuthClient {
    address: SocketAddr,
    protocol: Protocol,
    deadline: Option<Duration>,
}

/// Why a request could not be authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthFailure {
    /// No answer by the deadline.
    #[error("authentication service {address} did not answer within {deadline_ms} ms")]
    Late {
        /// Who was asked.
        address: SocketAddr,
        /// How long was waited.
        deadline_ms: u64,
    },
    /// The connection did not come about, or broke.
    #[error("authentication service {address} can't be reached")]
    Unreachable {
        /// Who was asked.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It answered, but not with 200.
    #[error("authentication service {address} answered {question} with status {status}")]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// What.
        question: &'static str,
        /// Its answer.
        status: u16,
    },
    /// It answered with something else than HTTP.
    #[error("authentication service {address} does not speak HTTP")]
    Garbled {
        /// Who was asked.
        address: SocketAddr,
    },
}

impl AuthClient {
    /// A library that gives up after `deadline`, or never.
    pub fn new(address: SocketAddr, protocol: Protocol, deadline: Option<Duration>) -> AuthClient {
        AuthClient {
            address,
            protocol,
            deadline,
        }
    }

    /// Asks whether the bearer of `key` may come in. Blocks the calling thread.
    ///
    /// # Errors
    /// When the answer is not yes, or none came by the deadline.
    pub fn authenticate(&self, key: &str) -> Result<(), AuthFailure> {
        let until = self.deadline.map(|deadline| Instant::now() + deadline);
        let answer =
            self.call(key, until)
                .map_err(|error| match (error.kind(), self.deadline) {
                    // A blocking socket reports its own time limit as either of the two.
                    (
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut,
                        Some(deadline),
                    ) => AuthFailure::Late {
                        address: self.address,
                        deadline_ms: crate::millis(deadline),
                    },
                    _ => AuthFailure::Unreachable {
                        address: self.address,
                        source: error,
                    },
                })?;
        match status(&answer) {
            Some(200) => Ok(()),
            Some(status) => Err(AuthFailure::Refused {
                address: self.address,
                question: self.protocol.question(),
                status,
            }),
            None => Err(AuthFailure::Garbled {
                address: self.address,
            }),
        }
    }

    fn call(&self, key: &str, until: Option<Instant>) -> std::io::Result<Vec<u8>> {
        let mut stream = self.connect(until)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(left(until)?)?;
        let request = format!(
            "{} HTTP/1.1\r\nhost: {}\r\nx-api-key: {key}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            self.protocol.question(),
            self.address
        );
        stream.write_all(request.as_bytes())?;
        // To the end, so that the server closes first and keeps the TIME_WAIT:
        // otherwise a busy service runs out of local ports.
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        loop {
            stream.set_read_timeout(left(until)?)?;
            match stream.read(&mut piece)? {
                0 => return Ok(answer),
                size => answer.extend_from_slice(&piece[..size]),
            }
            if answer.len() > ANSWER_BYTES_MAX {
                return Ok(answer);
            }
        }
    }

    fn connect(&self, until: Option<Instant>) -> std::io::Result<TcpStream> {
        loop {
            let connected = match left(until)? {
                Some(left) => TcpStream::connect_timeout(&self.address, left),
                None => TcpStream::connect(self.address),
            };
            match connected {
                // The kernel gives up after two minutes of silence. A library
                // without a deadline takes that as a reason to try again.
                Err(error) if until.is_none() && error.kind() == std::io::ErrorKind::TimedOut => {}
                done => return done,
            }
        }
    }
}

/// What is left until then; none when there is no deadline, an error when it has passed.
fn left(until: Option<Instant>) -> std::io::Result<Option<Duration>> {
    let Some(until) = until else { return Ok(None) };
    let left = until.saturating_duration_since(Instant::now());
    // A zero time limit means "none" to the system, the opposite of what is wanted.
    if left.is_zero() {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    Ok(Some(left))
}

/// The status of an HTTP/1 answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (version, rest) = line.split_once(' ')?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    rest.split(' ').next()?.parse().ok()
}
