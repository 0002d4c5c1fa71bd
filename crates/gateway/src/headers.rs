//! What is changed in heads that pass through.
//!
//! Invariant: no header that is about one connection reaches the next one, and
//! a request leaves with exactly one `host` and one way to tell its length.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Uri, Version, request};

use crate::answer::Reason;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// RFC 9110, section 7.6.1, and what older clients send in the same sense.
/// `Trailer` goes too, because trailers are not passed on.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// A tenant's name is cut to this, as [`model::TenantName`] wants it.
pub(crate) const TENANT_BYTES_MAX: usize = 128;
/// The tenant of requests that name none.
pub(crate) const NO_TENANT: &str = "-";

/// Refuses what can't be passed on unambiguously. hyper has already refused
/// differing or malformed lengths, and dropped a content length that came
/// with a transfer coding.
pub(crate) fn check(head: &request::Parts) -> Result<(), Reason> {
    if head.method == Method::CONNECT {
        return Err(Reason::NotSupported);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Reason::BadRequest),
        (None, None) if head.version == Version::HTTP_11 => return Err(Reason::BadRequest),
        (_, None) => {}
    }
    // "gzip, chunked" would be passed on as if it had not been gzipped.
    if has_coding_but_chunked(&head.headers) {
        return Err(Reason::NotSupported);
    }
    Ok(())
}

/// Whether the body has another transfer coding than plain `chunked`.
pub(crate) fn has_coding_but_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(only), None) => !plain(only),
        (Some(_), Some(_)) => true,
    }
}

/// Takes out what is about this connection only.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
            // These are about the message, whatever a peer says; without them it means another.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The tenant that the request names in `header`, cut to its longest length.
pub(crate) fn tenant(headers: &HeaderMap, header: Option<&HeaderName>) -> String {
    let value = header.and_then(|name| headers.get(name));
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return NO_TENANT.to_owned();
    };
    let mut tenant = String::from_utf8_lossy(value.as_bytes()).into_owned();
    if tenant.len() > TENANT_BYTES_MAX {
        let cut = (0..=TENANT_BYTES_MAX).rev();
        tenant.truncate(
            cut.into_iter()
                .find(|at| tenant.is_char_boundary(*at))
                .unwrap_or(0),
        );
    }
    tenant
}

/// Makes the request's head the one that the backend gets. Call it once
/// [`strip_hop_by_hop`] is done, so that `Connection` can't name what is added here.
pub(crate) fn prepare(head: &mut request::Parts, client: IpAddr, backend: &str, ids: &RequestIds) {
    // An absolute target overrides the host header (RFC 9112, section 3.2.2).
    let target = head.uri.authority().map(|authority| authority.as_str());
    let target = target.and_then(|host| HeaderValue::from_str(host).ok());
    if let Some(host) = target {
        head.headers.insert(HOST, host);
    }
    head.uri = origin_form(&head.uri);
    head.version = Version::HTTP_11;
    // The gateway itself tells the client to go on, as soon as the backend's connection takes the body.
    head.headers.remove(EXPECT);

    let host = head.headers.get(HOST).cloned();
    let headers = &mut head.headers;
    append_client(headers, client);
    // Kept if present: this gateway speaks plain HTTP, so whatever ended TLS stands before it and knows better.
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    match host {
        Some(host) if !headers.contains_key(FORWARDED_HOST) => {
            headers.insert(FORWARDED_HOST, host);
        }
        Some(_) => {}
        None => {
            // HTTP/1.0 may come without one, HTTP/1.1 may not go without.
            if let Ok(host) = HeaderValue::from_str(backend) {
                headers.insert(HOST, host);
            }
        }
    }
    if !headers.contains_key(REQUEST_ID) {
        headers.insert(REQUEST_ID, ids.next());
    }
}

fn origin_form(uri: &Uri) -> Uri {
    if uri.authority().is_none() {
        return uri.clone();
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().unwrap_or_default()
}

fn append_client(headers: &mut HeaderMap, client: IpAddr) {
    // A client over IPv4 looks like ::ffff:192.0.2.1 to a listener for both.
    let mut chain = client.to_canonical().to_string().into_bytes();
    if headers.contains_key(FORWARDED_FOR) {
        let mut before: Vec<u8> = Vec::new();
        for value in headers.get_all(FORWARDED_FOR) {
            before.extend_from_slice(value.as_bytes());
            before.extend_from_slice(b", ");
        }
        before.append(&mut chain);
        chain = before;
    }
    if let Ok(value) = HeaderValue::from_bytes(&chain) {
        headers.insert(FORWARDED_FOR, value);
    }
}

/// Gives each request an id: a counter, mixed by two keys that the process drew
/// at random. Unique in the fleet for all practical purposes, and no secret.
#[derive(Debug, Default)]
pub(crate) struct RequestIds {
    keys: [RandomState; 2],
    count: AtomicU64,
}

impl RequestIds {
    fn next(&self) -> HeaderValue {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let [a, b] = [&self.keys[0], &self.keys[1]].map(|key| key.hash_one(n));
        HeaderValue::from_str(&format!("{a:016x}{b:016x}"))
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

#[cfg(test)]
mod tests;
