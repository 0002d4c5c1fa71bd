//! One request's head, line by line.
//!
//! Invariant: each line is looked at once, however many pieces the head comes in.

use super::{Flaw, Length};

/// An empty line or two before a request are forgiven (RFC 9112, section 2.2);
/// a client that sends nothing else is not.
const EMPTY_LINES_MAX: usize = 4;

/// What the lines so far have said.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Where the line begins that is not complete.
    line_at: usize,
    /// Up to here it has been searched for its end.
    searched: usize,
    lines: usize,
    empty: usize,
    is_old: bool,
    content_length: Option<u64>,
    is_chunked: bool,
    has_upgrade: bool,
}

impl Head {
    /// Reads on in `bytes`, which begin with the head: where it ends and what
    /// follows it, or `None` if its end is not among them.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        bytes_max: usize,
        lines_max: usize,
    ) -> Result<Option<(usize, Length)>, Flaw> {
        while let Some(found) = bytes[self.searched..].iter().position(|it| *it == b'\n') {
            let end = self.searched + found;
            if end >= bytes_max {
                return Err(Flaw::HeadBytes);
            }
            let line = &bytes[self.line_at..end];
            let line = line.strip_suffix(b"\r").ok_or(Flaw::BareLineFeed)?;
            if line.contains(&b'\r') {
                return Err(Flaw::BareCarriageReturn);
            }
            self.line_at = end + 1;
            self.searched = end + 1;
            match (line, self.lines) {
                ([], 0) => {
                    self.empty += 1;
                    if self.empty > EMPTY_LINES_MAX {
                        return Err(Flaw::RequestLine);
                    }
                }
                ([], _) => return Ok(Some((end + 1, self.length()?))),
                (line, 0) => {
                    self.is_old = is_old_request(line)?;
                    self.lines = 1;
                }
                (line, lines) => {
                    // The request line is none of the headers.
                    if lines > lines_max {
                        return Err(Flaw::HeadLines);
                    }
                    self.header(line)?;
                    self.lines += 1;
                }
            }
        }
        self.searched = bytes.len();
        if bytes.len() > bytes_max {
            return Err(Flaw::HeadBytes);
        }
        Ok(None)
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Flaw> {
        let (name, value) = split(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.content_length.is_some() {
                return Err(Flaw::Length);
            }
            self.content_length = Some(number(value).ok_or(Flaw::Length)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Flaw::Coding);
            }
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.has_upgrade = true;
        }
        Ok(())
    }

    fn length(&self) -> Result<Length, Flaw> {
        match (self.is_chunked, self.content_length) {
            (true, _) if self.is_old => Err(Flaw::CodingInOldVersion),
            (true, Some(_)) => Err(Flaw::BothLengths),
            (true, None) => Ok(Length::Chunked),
            (false, Some(length @ 1..)) => Ok(Length::Fixed(length)),
            (false, Some(0) | None) if self.has_upgrade && !self.is_old => Ok(Length::Upgrade),
            (false, Some(0) | None) => Ok(Length::None),
        }
    }
}

/// Whether a request line is of HTTP/1.0.
fn is_old_request(line: &[u8]) -> Result<bool, Flaw> {
    let mut parts = line.split(|it| *it == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Flaw::RequestLine);
    };
    let is_method = !method.is_empty() && method.iter().all(|it| is_token(*it));
    let is_target = !target.is_empty() && target.iter().all(|it| *it > b' ' && *it != 0x7f);
    match version {
        b"HTTP/1.1" if is_method && is_target => Ok(false),
        b"HTTP/1.0" if is_method && is_target => Ok(true),
        _ => Err(Flaw::RequestLine),
    }
}

/// A header line's name and value without the space around it.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Flaw> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Flaw::Folded);
    }
    let colon = line.iter().position(|it| *it == b':');
    let (name, value) = line.split_at(colon.ok_or(Flaw::HeaderLine)?);
    let value = &value[1..];
    if name.is_empty() || !name.iter().all(|it| is_token(*it)) || !is_text(value) {
        return Err(Flaw::HeaderLine);
    }
    Ok((name, value.trim_ascii()))
}

/// Digits and nothing else, not even a sign.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether this may stand in a value: no control character but the tab. All bytes are looked at,
/// many at a time, which is quicker than to stop at the first wrong one.
fn is_text(value: &[u8]) -> bool {
    let is_right = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    value.iter().fold(true, |all, it| all & is_right(*it))
}

/// RFC 9110, section 5.6.2. A table, because each byte of each name is looked up.
fn is_token(byte: u8) -> bool {
    const TOKENS: [bool; 256] = {
        let mut tokens = [false; 256];
        let marks = b"!#$%&'*+-.^_`|~";
        let mut at = 0;
        while at < marks.len() {
            tokens[marks[at] as usize] = true;
            at += 1;
        }
        let mut byte = 0;
        while byte < 128_u8 {
            tokens[byte as usize] |= byte.is_ascii_alphanumeric();
            byte += 1;
        }
        tokens
    };
    TOKENS[usize::from(byte)]
}
