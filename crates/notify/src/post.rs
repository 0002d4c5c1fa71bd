//! Carries a message over HTTP.
//!
//! Invariant: no redirect is followed, no proxy of the environment is used, and
//! no more of an answer is read than a reason needs.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use model::Timestamp;
use reqwest::{Client, Response, Url};
use thiserror::Error;

use crate::egress::{Egress, NotAllowed};
use crate::{Address, Notice, Outcome, channel};

/// Who doesn't take the connection by then is tried again later.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// As much of an answer as can say what is wrong.
const ANSWER_BYTES_MAX: usize = 4096;
/// Kept for the next message; bursts to one provider need no more.
const IDLE_PER_HOST_MAX: usize = 4;

/// Carries messages over HTTP.
#[derive(Debug, Clone)]
pub struct Poster {
    client: Client,
    egress: Egress,
}

/// The client could not be made.
#[derive(Debug, Error)]
#[error("no HTTP client for messages could be made")]
pub struct PosterError(#[source] reqwest::Error);

/// What one channel wants to have posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// Besides the length.
    pub headers: Vec<(&'static str, String)>,
    /// The media type of `body`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Poster {
    /// `roots` are trusted besides the system's (PEM).
    ///
    /// # Errors
    /// The TLS library could not be set up, or `roots` is no PEM.
    pub fn new(egress: Egress, roots: Option<&[u8]>) -> Result<Poster, PosterError> {
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(crate::TRY_WITHIN)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .user_agent(concat!("plimsoll/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(egress.clone()));
        for root in
            reqwest::Certificate::from_pem_bundle(roots.unwrap_or_default()).map_err(PosterError)?
        {
            builder = builder.add_root_certificate(root);
        }
        let client = builder.build().map_err(PosterError)?;
        Ok(Poster { client, egress })
    }

    /// Tries once.
    pub async fn send(&self, address: &Address, notice: &Notice) -> Outcome {
        let post = match channel::post(address, notice, Timestamp::now()) {
            Ok(post) => post,
            Err(reason) => return Outcome::refused(reason),
        };
        match self.carry(&post).await {
            Ok((status, headers, body)) => channel::read(address, status, &headers, &body),
            Err(outcome) => outcome,
        }
    }

    async fn carry(&self, post: &Post) -> Result<(http::StatusCode, HeaderMap, String), Outcome> {
        let url = self.checked(&post.url)?;
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, post.content_type)
            .body(post.body.clone());
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.map_err(|error| missed(&error))?;
        let status = response.status();
        let headers = response.headers().clone();
        Ok((status, headers, beginning(response).await))
    }

    /// Addresses in URLs are never resolved, so they are looked at here.
    fn checked(&self, url: &str) -> Result<Url, Outcome> {
        let url = Url::parse(url)
            .map_err(|error| Outcome::refused(format!("the address is no URL: {error}")))?;
        if !["http", "https"].contains(&url.scheme()) {
            let other = format!("the address begins with `{}:`, not `https:`", url.scheme());
            return Err(Outcome::refused(other));
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse::<IpAddr>() {
            self.egress
                .check(host, address)
                .map_err(|not_allowed| Outcome::refused(not_allowed.to_string()))?;
        }
        Ok(url)
    }
}

async fn beginning(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < ANSWER_BYTES_MAX {
        // An answer that breaks off has a status all the same.
        let Ok(Some(chunk)) = response.chunk().await else {
            break;
        };
        let room = ANSWER_BYTES_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// Without the URL, which may be a secret.
fn missed(error: &reqwest::Error) -> Outcome {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut innermost = String::new();
    while let Some(cause) = source {
        if let Some(not_allowed) = cause.downcast_ref::<NotAllowed>() {
            return Outcome::refused(not_allowed.to_string());
        }
        innermost = cause.to_string();
        source = cause.source();
    }
    let what = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "no connection",
        () if error.is_builder() => {
            return Outcome::refused("the address or a header is malformed");
        }
        () => "no answer",
    };
    // The outermost error names the URL; the innermost says what the system said.
    match error.source() {
        Some(_) => Outcome::retry(format!("{what}: {innermost}")),
        None => Outcome::retry(what),
    }
}

#[cfg(test)]
mod tests;
