//! Whether a PostgreSQL server answers, without anybody's name or password.
//!
//! Source: PostgreSQL documentation, "Frontend/Backend Protocol": Start-up and
//! Message Formats (protocol 3.0). A start-up message without a user is answered
//! by every PostgreSQL server and pooler before anything else, with an
//! ErrorResponse or an authentication request; both prove who is there. Asking
//! for TLS first would prove less: its answer is the one byte `S`, which is also
//! how an SSH server's greeting begins.
//!
//! Invariant: what is sent is the same nine bytes to everybody.

use model::gate::ProbeVerdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::reach::{Answer, Limits, is_hung_up, miss};

/// Length 9, protocol 3.0 (196608), no parameters.
const START_UP: [u8; 9] = [0, 0, 0, 9, 0, 3, 0, 0, 0];
/// An answer is a sentence or a list of methods; more is none of theirs.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Asks over a fresh connection.
pub(super) async fn ask(limits: &Limits, mut stream: TcpStream) -> Answer {
    let asking = async {
        stream.write_all(&START_UP).await?;
        read(&mut stream).await
    };
    match timeout_at(limits.until, asking).await {
        Ok(Ok(Message::Authentication)) => Ok("PostgreSQL answers and asks who it is".into()),
        Ok(Ok(Message::Error(code))) => Ok(format!("PostgreSQL answers (SQLSTATE {code})")),
        Ok(Ok(Message::Other)) => miss(ProbeVerdict::WrongProtocol, "answers, but not PostgreSQL"),
        Ok(Err(error)) if is_hung_up(&error) => {
            let words = "connected, but closed without an answer";
            miss(ProbeVerdict::NoAnswer, words)
        }
        Ok(Err(error)) => {
            let words = format!("connected, but broken off: {error}");
            miss(ProbeVerdict::NoAnswer, words)
        }
        Err(_) => {
            let words = format!("connected, but no answer within {}", limits.within);
            miss(ProbeVerdict::NoAnswer, words)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Message {
    Authentication,
    /// With its SQLSTATE.
    Error(String),
    Other,
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Message> {
    let kind = stream.read_u8().await?;
    if !matches!(kind, b'R' | b'E') {
        return Ok(Message::Other);
    }
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if !(8..=ANSWER_BYTES_MAX).contains(&length) {
        return Ok(Message::Other);
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    Ok(understand(kind, &body))
}

/// `R`: a number for the method. `E`: fields, each a letter and a text ended by
/// zero, the list ended by zero; `C` is the SQLSTATE, five letters or digits.
fn understand(kind: u8, body: &[u8]) -> Message {
    if kind == b'R' {
        // Methods are numbered from 0 to 12 as of protocol 3.2; there is room for more.
        let method = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        return match method {
            Some(0..=64) => Message::Authentication,
            Some(_) | None => Message::Other,
        };
    }
    let mut fields = body.split(|byte| *byte == 0);
    let code = fields.find_map(|field| field.strip_prefix(b"C"));
    match code {
        Some(code) if code.len() == 5 && code.iter().all(u8::is_ascii_alphanumeric) => {
            Message::Error(String::from_utf8_lossy(code).into_owned())
        }
        Some(_) | None => Message::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_noise() {
        let error = b"SFATAL\0VFATAL\0C28000\0Mno user\0\0";
        assert_eq!(understand(b'E', error), Message::Error("28000".into()));
        assert_eq!(understand(b'R', &[0, 0, 0, 10]), Message::Authentication);
        assert_eq!(understand(b'R', b"HELO"), Message::Other);
        assert_eq!(understand(b'E', b"C1\0"), Message::Other);
        assert_eq!(understand(b'E', b""), Message::Other);
        assert_eq!(understand(b'R', b""), Message::Other);
    }
}
