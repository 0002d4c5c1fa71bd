//! Where HTTP/1 requests begin and end, read strictly: a machine that hyper's
//! parser is checked against, because hyper forgives what a backend may read
//! differently, and drops the evidence (it takes out a `Content-Length` that
//! came beside a `Transfer-Encoding`, and ends lines at a bare line feed).
//!
//! It is pure: bytes go in as they come, cut anywhere; what comes out is how
//! many of them may be passed on. RFC 9112, sections 2 to 7.
//!
//! Invariant: no byte of a head is let through before the whole head was found
//! to mean one thing only, and of a body nothing beyond the line that is wrong.

mod chunks;
mod head;

use chunks::Chunks;
use head::Head;

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A line that ends with a line feed alone.
    BareLineFeed,
    /// A carriage return that ends no line.
    BareCarriageReturn,
    /// A header that goes on in the next line.
    Folded,
    /// Not `METHOD target HTTP/1.1`.
    RequestLine,
    /// Not `name: value`, or with characters that may not be there.
    HeaderLine,
    /// `Content-Length` and `Transfer-Encoding` at once.
    BothLengths,
    /// Several lengths, or none that is a number.
    Length,
    /// A transfer coding other than `chunked`, or more than one.
    Coding,
    /// A transfer coding in HTTP/1.0.
    CodingInOldVersion,
    /// Not chunks.
    Chunk,
    /// More bytes in the head than allowed.
    HeadBytes,
    /// More header lines than allowed.
    HeadLines,
    /// No host, several, one that is none, or another than in the target; seen
    /// by [`crate::headers::check`].
    Host,
    /// The head was not complete in time; seen by the clock, not by this machine.
    HeadSlow,
}

impl Flaw {
    /// For the one who sent it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Flaw::BareLineFeed => "a line ends without a carriage return",
            Flaw::BareCarriageReturn => "a carriage return stands inside a line",
            Flaw::Folded => "a header goes on in the next line",
            Flaw::RequestLine => "the request line is not METHOD TARGET HTTP/1.1",
            Flaw::HeaderLine => "a header line is not NAME: VALUE",
            Flaw::BothLengths => "content-length and transfer-encoding contradict each other",
            Flaw::Length => "the content-length is not one number",
            Flaw::Coding => "the transfer-encoding is not chunked",
            Flaw::CodingInOldVersion => "HTTP/1.0 has no transfer-encoding",
            Flaw::Chunk => "the chunks of the body are malformed",
            Flaw::HeadBytes => "the request's head is too large",
            Flaw::HeadLines => "the request has too many headers",
            Flaw::Host => "the request does not name one host",
            Flaw::HeadSlow => "the request's head did not arrive in time",
        }
    }
}

/// What a scan found in the bytes given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The first `pass` bytes may go on; the rest belongs to a head that is not
    /// complete, and is to be given again with more behind it.
    Partial {
        /// How many.
        pass: usize,
    },
    /// The request ends after `pass` bytes.
    End {
        /// How many.
        pass: usize,
    },
    /// A head ends after `pass` bytes that asks for another protocol: what
    /// follows is HTTP only if the answer says so.
    Upgrade {
        /// How many.
        pass: usize,
    },
    /// The bytes behind the first `pass` are wrong.
    Wrong {
        /// How many.
        pass: usize,
        /// How.
        flaw: Flaw,
        /// Whether the head had been let through already.
        in_body: bool,
    },
}

#[derive(Debug)]
enum State {
    Head(Head),
    Fixed(u64),
    Chunked(Chunks),
}

/// How a head says that its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    None,
    Upgrade,
    Fixed(u64),
    Chunked,
}

/// Follows one connection's requests.
#[derive(Debug)]
pub(crate) struct Framer {
    state: State,
    head_bytes_max: usize,
    head_lines_max: usize,
}

impl Framer {
    pub(crate) fn new(head_bytes_max: usize, head_lines_max: usize) -> Framer {
        Framer {
            state: State::Head(Head::default()),
            head_bytes_max,
            head_lines_max,
        }
    }

    /// Reads on in `bytes`, which begin where the last scan's `pass` ended, up
    /// to the end of one request.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Found {
        let mut pass = 0;
        if let State::Head(head) = &mut self.state {
            let length = match head.read(bytes, self.head_bytes_max, self.head_lines_max) {
                Ok(None) => return Found::Partial { pass: 0 },
                Ok(Some((end, length))) => {
                    pass = end;
                    length
                }
                Err(flaw) => {
                    return Found::Wrong {
                        pass: 0,
                        flaw,
                        in_body: false,
                    };
                }
            };
            match length {
                Length::None | Length::Fixed(0) => return self.end(pass),
                Length::Upgrade => {
                    self.state = State::Head(Head::default());
                    return Found::Upgrade { pass };
                }
                Length::Fixed(left) => self.state = State::Fixed(left),
                Length::Chunked => {
                    self.state = State::Chunked(Chunks::new(self.head_bytes_max));
                }
            }
        }
        let body = &bytes[pass..];
        match &mut self.state {
            State::Head(_) => Found::Partial { pass },
            State::Fixed(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(body.len());
                *left -= here as u64;
                pass += here;
                if *left == 0 {
                    return self.end(pass);
                }
                Found::Partial { pass }
            }
            State::Chunked(chunks) => match chunks.read(body) {
                Ok((taken, true)) => self.end(pass + taken),
                Ok((taken, false)) => Found::Partial { pass: pass + taken },
                Err((taken, flaw)) => Found::Wrong {
                    pass: pass + taken,
                    flaw,
                    in_body: true,
                },
            },
        }
    }

    fn end(&mut self, pass: usize) -> Found {
        self.state = State::Head(Head::default());
        Found::End { pass }
    }
}

#[cfg(test)]
mod tests;
