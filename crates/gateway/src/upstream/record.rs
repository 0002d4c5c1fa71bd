//! A request's head, noted in case it has to go out once more.
//!
//! hyper takes the request and gives it back only if it sent nothing of it. A clone of the
//! head costs an allocation for each header that was made here and work for each that
//! was not, and almost none is ever needed. So names and values are written one behind the other
//! into a buffer that stays with the connection, and read back only if they are.
//!
//! Invariant: what is read back is the head that was noted.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use model::Retry;

use crate::body::Upload;

/// A buffer that grew beyond this for one large head is not kept for the next.
const KEPT_BYTES_MAX: usize = 4 << 10;
/// Lengths are written in so many bytes.
const LEN: usize = size_of::<u32>();

/// The head of one request without a body, or nothing.
#[derive(Debug, Default)]
pub(super) struct Record {
    line: Option<(Method, Uri)>,
    /// Names and values in turn, each behind its length.
    headers: Vec<u8>,
}

impl Record {
    /// Notes the request, if its class lets it go twice. Bodies are passed on as they come and
    /// not kept, so one with a body can't.
    pub(super) fn note(&mut self, request: &Request<Upload>, retry: Retry) {
        self.forget();
        let is_idempotent = matches!(
            *request.method(),
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::TRACE
                | Method::PUT
                | Method::DELETE
        );
        let may = match retry {
            Retry::Never => false,
            Retry::Idempotent => is_idempotent,
            Retry::Always => true,
        };
        if !may || !request.body().is_empty() {
            return;
        }
        for (name, value) in request.headers() {
            for text in [name.as_str().as_bytes(), value.as_bytes()] {
                // A head is far smaller; one that were not is not noted.
                let Ok(len) = u32::try_from(text.len()) else {
                    return;
                };
                self.headers.extend_from_slice(&len.to_le_bytes());
                self.headers.extend_from_slice(text);
            }
        }
        self.line = Some((request.method().clone(), request.uri().clone()));
    }

    /// It was answered. The target is let go, because it is a part of its client's buffer.
    pub(super) fn forget(&mut self) {
        self.line = None;
        self.headers.clear();
        if self.headers.capacity() > KEPT_BYTES_MAX {
            self.headers = Vec::new();
        }
    }

    /// The request that was noted.
    pub(super) fn again(&self) -> Option<Box<Request<Upload>>> {
        let (method, uri) = self.line.as_ref()?;
        let mut headers = HeaderMap::new();
        let mut left = self.headers.as_slice();
        while !left.is_empty() {
            let name = HeaderName::from_bytes(take(&mut left)?).ok()?;
            headers.append(name, HeaderValue::from_bytes(take(&mut left)?).ok()?);
        }
        let mut request = Box::new(Request::new(Upload::default()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        Some(request)
    }
}

/// The next name or value.
fn take<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = left.split_first_chunk::<LEN>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (text, rest) = rest.split_at_checked(len)?;
    *left = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method) -> Request<Upload> {
        let long = "x".repeat(KEPT_BYTES_MAX);
        Request::builder()
            .method(method)
            .uri("/a?b=c")
            .header("host", "api.example")
            .header("x-empty", "")
            .header("accept", "text/html")
            .header("accept", "text/plain")
            .header("x-bytes", HeaderValue::from_bytes(b"\xff\xfe\t ").unwrap())
            .header("x-long", long)
            .body(Upload::default())
            .unwrap()
    }

    #[test]
    fn what_goes_out_again_is_what_went_out() {
        let mut record = Record::default();
        let request = request(Method::GET);
        record.note(&request, Retry::Idempotent);
        let again = record.again().unwrap();
        assert_eq!(again.method(), request.method());
        assert_eq!(again.uri(), request.uri());
        assert_eq!(again.headers(), request.headers());
        record.forget();
        assert!(record.again().is_none());
        assert!(record.headers.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn who_may_not_go_twice_is_not_noted() {
        let mut record = Record::default();
        for (method, retry, may) in [
            (Method::GET, Retry::Never, false),
            (Method::PUT, Retry::Idempotent, true),
            (Method::POST, Retry::Idempotent, false),
            (Method::POST, Retry::Always, true),
        ] {
            // One that was noted before is not taken for this one.
            record.note(&request(Method::GET), Retry::Always);
            record.note(&request(method), retry);
            assert_eq!(record.again().is_some(), may);
        }
    }
}
