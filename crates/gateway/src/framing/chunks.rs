//! A chunked body, byte by byte where it matters. RFC 9112, section 7.1.
//!
//! Invariant: a size has digits only, and every line ends with both its bytes.

use super::{Flaw, head};

/// Of a size with its extensions. Nothing that we know of sends any.
const SIZE_LINE_MAX: usize = 256;
/// 16 digits are all of 64 bits.
const DIGITS_MAX: usize = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Digits of the size.
    Size {
        digits: usize,
    },
    /// Behind the size's semicolon.
    Extension {
        len: usize,
    },
    /// The line feed that ends the size's line.
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// Lines behind the last chunk.
    Trailer,
}

#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    left: u64,
    /// The trailer's line that is not complete.
    line: Vec<u8>,
    trailer_left: usize,
}

impl Chunks {
    /// Trailers are bounded like heads.
    pub(super) fn new(trailer_max: usize) -> Chunks {
        Chunks {
            at: At::Size { digits: 0 },
            left: 0,
            line: Vec::new(),
            trailer_left: trailer_max,
        }
    }

    /// How many bytes belong to the body, and whether it ends with them; or how
    /// many were right before the flaw.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(usize, bool), (usize, Flaw)> {
        let mut taken = 0;
        while let Some(byte) = bytes.get(taken) {
            if self.at == At::Data {
                let rest = bytes.len() - taken;
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest);
                self.left -= here as u64;
                taken += here;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            let ended = self.step(*byte).map_err(|flaw| (taken, flaw))?;
            taken += 1;
            if ended {
                return Ok((taken, true));
            }
        }
        Ok((taken, false))
    }

    fn step(&mut self, byte: u8) -> Result<bool, Flaw> {
        self.at = match (self.at, byte) {
            (At::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == DIGITS_MAX {
                    return Err(Flaw::Chunk);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                At::Size { digits: digits + 1 }
            }
            (At::Size { digits: 1.. }, b'\r') | (At::Extension { .. }, b'\r') => At::SizeEnd,
            (At::Size { digits: 1.. }, b';') => At::Extension { len: 1 },
            (At::Extension { len }, b'\t' | b' '..=b'~') if len < SIZE_LINE_MAX => {
                At::Extension { len: len + 1 }
            }
            (At::SizeEnd, b'\n') if self.left == 0 => At::Trailer,
            (At::SizeEnd, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0 },
            (At::Trailer, byte) => return self.trailer(byte),
            (
                At::Size { .. }
                | At::Extension { .. }
                | At::SizeEnd
                | At::Data
                | At::DataCr
                | At::DataLf,
                _,
            ) => return Err(Flaw::Chunk),
        };
        Ok(false)
    }

    /// Whether the body ends with this byte.
    fn trailer(&mut self, byte: u8) -> Result<bool, Flaw> {
        self.trailer_left = self.trailer_left.checked_sub(1).ok_or(Flaw::HeadBytes)?;
        if byte != b'\n' {
            self.line.push(byte);
            return Ok(false);
        }
        let line = self.line.strip_suffix(b"\r").ok_or(Flaw::BareLineFeed)?;
        if line.contains(&b'\r') {
            return Err(Flaw::BareCarriageReturn);
        }
        if line.is_empty() {
            return Ok(true);
        }
        head::split(line)?;
        self.line.clear();
        Ok(false)
    }
}
