//! What is changed in heads that pass through.
//!
//! Invariant: no header that is about one connection reaches the next one, and
//! a request leaves with exactly one `host` and one way to tell its length.

mod trace;

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, Entry, HOST, HeaderMap, HeaderName, HeaderValue,
    TE, TRANSFER_ENCODING,
};
use http::uri::{Authority, PathAndQuery, Scheme as HttpScheme};
use http::{Method, Uri, Version, request};
use model::{Permille, Priority};

use crate::answer::Reason;
use crate::framing::Flaw;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// How many requests a backend works on at once, told by itself in any answer.
const WORKERS: HeaderName = HeaderName::from_static("x-plimsoll-workers");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// RFC 9110, section 7.6.1, and what older clients send in the same sense, beside `Connection`.
/// `Trailer` stays: hyper passes on only those trailers that it announces.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// How the client speaks to this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// A tenant's name is cut to this, as [`model::TenantName`] wants it.
pub(crate) const TENANT_BYTES_MAX: usize = 128;
/// The tenant of requests that name none.
pub(crate) const NO_TENANT: &str = "-";

/// Refuses what can't be passed on unambiguously. Where requests begin and end
/// was seen to by [`crate::framing`], or by the rules of HTTP/2.
pub(crate) fn check(head: &request::Parts) -> Result<(), Reason> {
    if head.method == Method::CONNECT {
        return Err(Reason::NotSupported);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let is_named_once = match (head.uri.authority(), host) {
        _ if second.is_some() => false,
        (Some(target), host) => {
            let target_host = target.as_str();
            // Names and passwords in a target are for proxies that a user has chosen.
            !target_host.contains('@')
                && host.is_none_or(|host| is_same_host(target_host, host, head.uri.scheme_str()))
        }
        (None, Some(host)) => is_host(host),
        (None, None) => head.version < Version::HTTP_11,
    };
    if is_named_once {
        Ok(())
    } else {
        Err(Reason::Malformed(Flaw::Host))
    }
}

/// Nothing that would be a path, a user or a list of hosts. May be empty (RFC 9110, section 7.2).
fn is_host(host: &HeaderValue) -> bool {
    let is_part = |it: &u8| it.is_ascii_alphanumeric() || b"-._~!$&'()*+;=:[]%".contains(it);
    host.as_bytes().iter().all(is_part)
}

fn is_same_host(target: &str, host: &HeaderValue, scheme: Option<&str>) -> bool {
    let port = match scheme {
        Some("https") => ":443",
        _ => ":80",
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let bare = |it: &str| it.strip_suffix(port).unwrap_or(it).to_ascii_lowercase();
    bare(target) == bare(host)
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
    // Most heads have none: one look along their names is cheaper than a search for each.
    let (mut has_connection, mut has_others) = (false, false);
    for name in headers.keys() {
        has_connection |= *name == CONNECTION;
        has_others |= is_hop_by_hop(name);
    }
    if has_connection {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    if has_others {
        let others = headers.keys().filter(|name| is_hop_by_hop(name));
        for name in others.cloned().collect::<Vec<_>>() {
            headers.remove(name);
        }
    }
}

/// Headers that the peer calls its connection's own.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    /// What most peers say, and what names no header.
    const WORDS: [&[u8]; 2] = [b"keep-alive", b"close"];
    let values = headers.get_all(CONNECTION).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !WORDS.iter().any(|word| name.eq_ignore_ascii_case(word)))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // These are about the message, whatever a peer says; without them it means another.
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect()
}

/// Takes out of a request what is about this connection only, but goes on
/// asking for trailers, because they are passed back.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    let wants_trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    strip_hop_by_hop(headers);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// HTTP/2 may cut cookies into several headers, HTTP/1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    let (Some(_), Some(_)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The tenant that the request names in `header`, cut to its longest length.
pub(crate) fn tenant<'a>(headers: &'a HeaderMap, header: Option<&HeaderName>) -> Cow<'a, str> {
    let value = header.and_then(|name| headers.get(name));
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Cow::Borrowed(NO_TENANT);
    };
    let tenant = String::from_utf8_lossy(value.as_bytes());
    let end = tenant.floor_char_boundary(TENANT_BYTES_MAX);
    match tenant {
        Cow::Borrowed(tenant) => Cow::Borrowed(&tenant[..end]),
        Cow::Owned(mut tenant) => {
            tenant.truncate(end);
            Cow::Owned(tenant)
        }
    }
}

/// The priority that the request claims in `header`; nothing if it is none of the words.
pub(crate) fn priority(headers: &HeaderMap, header: Option<&HeaderName>) -> Option<Priority> {
    let value = headers.get(header?)?.as_bytes();
    Priority::ALL
        .into_iter()
        .find(|it| value.eq_ignore_ascii_case(it.word().as_bytes()))
}

/// The body's announced length; hyper has checked that there is one at most.
pub(crate) fn announced(headers: &HeaderMap) -> u64 {
    let value = headers.get(CONTENT_LENGTH);
    value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// How many workers a backend says it has; that is for the gateway alone.
pub(crate) fn take_workers(headers: &mut HeaderMap) -> Option<u32> {
    let value = headers.remove(WORKERS)?;
    let workers: u32 = value.to_str().ok()?.trim().parse().ok()?;
    (workers > 0).then_some(workers)
}

/// Makes the request's head the one that the backend gets. Call it once
/// [`strip_request`] is done, so that `Connection` can't name what is added here.
pub(crate) fn prepare(
    head: &mut request::Parts,
    client: &Client,
    scheme: Scheme,
    backend: &str,
    ids: &RequestIds,
) {
    join_cookies(&mut head.headers);
    // An absolute target overrides the host header (RFC 9112, section 3.2.2).
    let target = head.uri.authority().map(|authority| authority.as_str());
    let target = target.and_then(|host| HeaderValue::from_str(host).ok());
    if let Some(host) = target {
        head.headers.insert(HOST, host);
    }
    if head.uri.authority().is_some() {
        head.uri = origin_form(&head.uri);
    }
    head.version = Version::HTTP_11;
    // The gateway itself tells the client to go on, as soon as the backend's connection takes the body.
    head.headers.remove(EXPECT);

    let headers = &mut head.headers;
    append_client(headers, client);
    match (scheme, headers.entry(FORWARDED_PROTO)) {
        (Scheme::Https, Entry::Occupied(mut entry)) => {
            entry.insert(HeaderValue::from_static("https"));
        }
        (Scheme::Https, Entry::Vacant(entry)) => {
            entry.insert(HeaderValue::from_static("https"));
        }
        // Kept if present: whatever ended TLS before this gateway knows better.
        (Scheme::Http, Entry::Occupied(_)) => {}
        (Scheme::Http, Entry::Vacant(entry)) => {
            entry.insert(HeaderValue::from_static("http"));
        }
    }
    match headers.get(HOST).cloned() {
        Some(host) => {
            headers.entry(FORWARDED_HOST).or_insert(host);
        }
        None => {
            // HTTP/1.0 may come without one, HTTP/1.1 may not go without.
            if let Ok(host) = HeaderValue::from_str(backend) {
                headers.insert(HOST, host);
            }
        }
    }
    headers.entry(REQUEST_ID).or_insert_with(|| ids.next());
    trace::carry(headers, || ids.begin_trace());
}

/// Makes a head that is [`prepare`]d for HTTP/1.1 one of HTTP/2: the host becomes part of the
/// target (RFC 9113, section 8.3.1).
pub(crate) fn for_http2(head: &mut request::Parts, is_secured: bool) {
    head.headers.remove(CONNECTION);
    let authority = head.headers.get(HOST);
    let authority = authority.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let Some(authority) = authority else {
        // Empty, or with signs that no authority has: it goes on as the header that it was.
        return;
    };
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.authority = Some(authority);
    parts.scheme = Some(match is_secured {
        true => HttpScheme::HTTPS,
        false => HttpScheme::HTTP,
    });
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
        head.version = Version::HTTP_2;
        head.headers.remove(HOST);
    }
}

/// A target that names its host, without it.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    path.parse().unwrap_or_default()
}

/// A client's address as backends get it: the same for all requests of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Client(HeaderValue);

impl Client {
    pub(crate) fn new(address: IpAddr) -> Client {
        // A client over IPv4 looks like ::ffff:192.0.2.1 to a listener for both.
        let text = address.to_canonical().to_string();
        // Digits, points and colons are always a header.
        let value = HeaderValue::try_from(text);
        Client(value.unwrap_or(HeaderValue::from_static("unknown")))
    }
}

fn append_client(headers: &mut HeaderMap, client: &Client) {
    if let Entry::Vacant(entry) = headers.entry(FORWARDED_FOR) {
        entry.insert(client.0.clone());
        return;
    }
    let mut chain: Vec<u8> = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(client.0.as_bytes());
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
    /// Of the traces that begin here, so many are to be recorded.
    sampled: Permille,
}

impl RequestIds {
    pub(crate) fn new(sampled: Permille) -> RequestIds {
        RequestIds {
            sampled,
            ..RequestIds::default()
        }
    }

    fn draw(&self) -> [u64; 2] {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        [&self.keys[0], &self.keys[1]].map(|key| key.hash_one(n))
    }

    /// A trace's number, the one of what stands before its first span, and whether it is to be recorded.
    fn begin_trace(&self) -> (u128, u64, bool) {
        let [high, low] = self.draw();
        // Two numbers that know nothing of one another make a third that looks like neither.
        let parent = high ^ low.rotate_left(32);
        let is_sampled = low % 1000 < u64::from(self.sampled.get());
        (u128::from(high) << 64 | u128::from(low), parent, is_sampled)
    }

    fn next(&self) -> HeaderValue {
        let [a, b] = self.draw();
        let mut text = [0; 32];
        hex(u128::from(a) << 64 | u128::from(b), &mut text);
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    }
}

/// Writes the last digits of a number, as many as there is room for.
fn hex(number: u128, into: &mut [u8]) {
    let mut left = number;
    for place in into.iter_mut().rev() {
        *place = b"0123456789abcdef"[(left & 15) as usize];
        left >>= 4;
    }
}

#[cfg(test)]
mod tests;
