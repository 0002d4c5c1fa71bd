//! The HTTP client that CLI, agents, gateways and drills use.
//!
//! Invariant: every call has a deadline; [`Client::fresh`] gives one that
//! shares no connection and no resolved name with any other.

mod calls;
mod silences;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use serde::Serialize;
use serde::de::DeserializeOwned;

use model::refusal::Code;
use model::{Digest, HostName, Refusal};

use crate::api;
use crate::sign::SecretKey;

/// How long a connection may take to come about.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long an ordinary call may take, connection included.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the static checks of a change may take: the control plane gives up before.
pub const CHECKED_WITHIN: Duration = Duration::from_secs(60);
/// How long a blob of the largest size may take.
pub const BLOB_WITHIN: Duration = Duration::from_secs(600);
/// Largest answer that is read into memory (an order carries a whole manifest).
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who a client speaks for.
#[derive(Clone, Default)]
pub enum Identity {
    /// Nobody.
    #[default]
    Nobody,
    /// The bearer of a token.
    Bearer(String),
    /// A host, by its own key.
    Host(HostName, Box<SecretKey>),
}

/// What can go wrong with a call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The control plane said no.
    #[error("{refusal}")]
    Refused {
        /// Its words.
        refusal: Refusal,
        /// HTTP status.
        status: u16,
    },
    /// Nobody answered in time, or at all.
    #[error("no answer from {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// The chain of causes in words.
        reason: String,
    },
    /// An answer that isn't the one expected.
    #[error("unexpected answer from {url}: {reason}")]
    Protocol {
        /// Where.
        url: String,
        /// What was odd.
        reason: String,
    },
    /// The client can't be made: bad URL or certificate file.
    #[error("{0}")]
    Setup(String),
}

/// What a conditional GET brought.
#[derive(Debug)]
pub enum Fetched<T> {
    /// Nothing new since the given tag.
    Unchanged,
    /// News, with its tag.
    New(T, String),
}

/// Talks to one control plane as one identity.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    identity: Identity,
    ca: Option<PathBuf>,
}

impl Client {
    /// A client for the control plane at `base` (`http://…` or `https://…`).
    /// With `ca`, only certificates from that PEM file are trusted.
    ///
    /// # Errors
    /// When the URL or the certificate file can't be used.
    pub fn new(base: &str, identity: Identity, ca: Option<PathBuf>) -> Result<Client, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        let parsed = base.parse::<http::Uri>().ok();
        let scheme = parsed.as_ref().and_then(http::Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) {
            return Err(ClientError::Setup(format!(
                "{base:?} is not a URL like http://127.0.0.1:7600"
            )));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &ca {
            let unusable = |reason: String| {
                ClientError::Setup(format!("CA file {}: {reason}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| unusable(error.to_string()))?;
            builder = builder.tls_certs_only(certificates);
        } else if scheme == Some("http") {
            // Without this the system's certificates are loaded, some milliseconds for nothing.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| ClientError::Setup(chain(&error)))?;
        Ok(Client {
            http,
            base,
            identity,
            ca,
        })
    }

    /// The same control plane and identity over connections of its own.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn fresh(&self) -> Result<Client, ClientError> {
        Client::new(&self.base, self.identity.clone(), self.ca.clone())
    }

    /// The same control plane as somebody else.
    #[must_use]
    pub fn as_identity(&self, identity: Identity) -> Client {
        Client {
            identity,
            ..self.clone()
        }
    }

    /// Where the control plane is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A signed or authorised request, for callers that read the body themselves.
    pub fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .timeout(within);
        match &self.identity {
            Identity::Nobody => {}
            Identity::Bearer(token) => request = request.bearer_auth(token),
            Identity::Host(host, key) => {
                let at_ms = jiff::Timestamp::now().as_millisecond();
                let value = key.authorize(host.as_str(), method.as_str(), path, at_ms, &body);
                request = request.header(AUTHORIZATION, value);
            }
        }
        if body.is_empty() {
            request
        } else {
            request.body(body)
        }
    }

    /// Sends and reads the whole answer; refusals become [`ClientError::Refused`].
    async fn send(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, ClientError> {
        let answer = self.exchange(path, request, ANSWER_BYTES_MAX).await?;
        if answer.status.is_success() || answer.status == http::StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        Err(refused(&answer.url, answer.status, &answer.body))
    }

    /// Sends and reads the whole answer, whatever its status.
    async fn exchange(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
        bytes_max: usize,
    ) -> Result<Answer, ClientError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |error: &reqwest::Error| ClientError::Unreachable {
            url: url.clone(),
            reason: chain(error),
        };
        let response = request.send().await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let etag = response
            .headers()
            .get(ETAG)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let body = read_bounded(response, bytes_max)
            .await
            .map_err(|error| match error {
                BodyError::Broken(error) => unreachable(&error),
                BodyError::TooLarge => ClientError::Protocol {
                    url: url.clone(),
                    reason: format!("more than {bytes_max} bytes"),
                },
            })?;
        Ok(Answer {
            status,
            etag,
            body,
            url,
        })
    }

    /// GET from a server that need not be a control plane: status and body as they come.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] without an answer `within` that time, [`ClientError::Protocol`]
    /// for one of more than `bytes_max` bytes.
    pub async fn get_raw(
        &self,
        path: &str,
        within: Duration,
        bytes_max: usize,
    ) -> Result<(http::StatusCode, Bytes), ClientError> {
        let request = self.request(Method::GET, path, Bytes::new(), within);
        let answer = self.exchange(path, request, bytes_max).await?;
        Ok((answer.status, answer.body))
    }

    /// GET that reads JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path, Bytes::new(), ANSWER_WITHIN);
        self.send(path, request).await?.json()
    }

    /// GET that may wait up to `wait` for something other than `etag`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_newer<T: DeserializeOwned>(
        &self,
        path: &str,
        etag: &str,
        wait: Duration,
    ) -> Result<Fetched<T>, ClientError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}wait_ms={}", wait.as_millis());
        let mut request = self.request(Method::GET, &path, Bytes::new(), wait + ANSWER_WITHIN);
        if !etag.is_empty() {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let answer = self.send(&path, request).await?;
        if answer.status == http::StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        let etag = answer.etag.clone();
        Ok(Fetched::New(answer.json()?, etag))
    }

    /// POST (or PUT) of JSON that reads JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn send_json<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.send_within(method, path, body, ANSWER_WITHIN).await
    }

    async fn send_within<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        within: Duration,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ClientError::Setup(format!("request can't be written: {error}")))?;
        let request = self
            .request(method, path, body.into(), within)
            .header(CONTENT_TYPE, "application/json");
        self.send(path, request).await?.json()
    }

    /// POST of JSON that reads JSON.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.send_json(Method::POST, path, body).await
    }

    /// Uploads a blob; a repeat does nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn put_blob(&self, digest: Digest, bytes: Bytes) -> Result<(), ClientError> {
        let path = format!("/v1/blobs/{digest}");
        // Length is always sent, for an empty blob too, or the server can't tell it from a missing one.
        let request = self
            .request(Method::PUT, &path, bytes.clone(), BLOB_WITHIN)
            .header(http::header::CONTENT_LENGTH, bytes.len());
        self.send(&path, request).await.map(drop)
    }

    /// Part of a blob from `offset` on, as a stream. Fails unless the answer is that part.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn blob_from(
        &self,
        digest: Digest,
        offset: u64,
    ) -> Result<reqwest::Response, ClientError> {
        let path = format!("/v1/blobs/{digest}");
        let mut request = self.request(Method::GET, &path, Bytes::new(), BLOB_WITHIN);
        let mut wanted = http::StatusCode::OK;
        if offset > 0 {
            request = request.header(http::header::RANGE, format!("bytes={offset}-"));
            wanted = http::StatusCode::PARTIAL_CONTENT;
        }
        self.open(&path, request, wanted).await
    }

    /// An answer whose body the caller reads; any other status than `wanted` is an error.
    async fn open(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
        wanted: http::StatusCode,
    ) -> Result<reqwest::Response, ClientError> {
        let url = format!("{}{path}", self.base);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Err(ClientError::Unreachable {
                    url,
                    reason: chain(&error),
                });
            }
        };
        let status = response.status();
        if status == wanted {
            return Ok(response);
        }
        let body = read_bounded(response, ANSWER_BYTES_MAX)
            .await
            .unwrap_or_default();
        Err(refused(&url, status, &body))
    }

    /// The SSE stream that hints at new orders for `host`. Its end or silence is no error: the reconcile loop goes on.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hints(&self, host: &HostName) -> Result<reqwest::Response, ClientError> {
        /// A stream is renewed after this long, so that agents spread over control planes again.
        const STREAM_MAX: Duration = Duration::from_secs(3600);
        let path = format!("/v1/agents/{host}/events");
        let request = self.request(Method::GET, &path, Bytes::new(), STREAM_MAX);
        self.open(&path, request, http::StatusCode::OK).await
    }
}

struct Answer {
    status: http::StatusCode,
    etag: String,
    body: Bytes,
    url: String,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Protocol {
            url: self.url.clone(),
            reason: format!("not the JSON expected: {error}"),
        })
    }
}

#[derive(Debug)]
enum BodyError {
    Broken(reqwest::Error),
    TooLarge,
}

async fn read_bounded(
    mut response: reqwest::Response,
    bytes_max: usize,
) -> Result<Bytes, BodyError> {
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn refused(url: &str, status: http::StatusCode, body: &[u8]) -> ClientError {
    let problem: Option<api::Problem> = serde_json::from_slice(body).ok();
    let code = problem
        .as_ref()
        .and_then(|problem| serde_json::from_value::<Code>(problem.code.clone().into()).ok());
    match (problem, code) {
        (Some(problem), Some(code)) => ClientError::Refused {
            refusal: Refusal::new(code, problem.detail, problem.next).with(problem.findings),
            status: status.as_u16(),
        },
        _ => ClientError::Protocol {
            url: url.to_owned(),
            reason: format!(
                "status {status}: {}",
                String::from_utf8_lossy(&body[..body.len().min(200)])
            ),
        },
    }
}

/// An error and its causes in one line; reqwest's own words stop at "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        source = cause.source();
    }
    words
}
