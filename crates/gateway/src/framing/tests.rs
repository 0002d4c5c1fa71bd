//! Whole, cut anywhere, and wrong in every way we know.

mod fuzz;

use super::*;

fn framer() -> Framer {
    Framer::new(1_000, 10)
}

/// Gives `bytes` in pieces of `size`; what passes up to the first end or flaw.
fn fed(bytes: &[u8], size: usize) -> (usize, Option<Found>) {
    let mut framer = framer();
    let (mut passed, mut given) = (0, 0);
    while given < bytes.len() {
        given = (given + size).min(bytes.len());
        match framer.scan(&bytes[passed..given]) {
            Found::Partial { pass } => passed += pass,
            found @ (Found::End { pass } | Found::Upgrade { pass } | Found::Wrong { pass, .. }) => {
                return (passed + pass, Some(found));
            }
        }
    }
    (passed, None)
}

#[test]
fn requests_end_where_they_say_however_they_are_cut() {
    let requests: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\nGET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\nContent-Length:  5 \r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nhi",
    ];
    for request in requests {
        let mut stream = request.to_vec();
        stream.extend_from_slice(b"GET /next HTTP/1.1\r\n\r\n");
        for size in 1..=stream.len() {
            let (passed, found) = fed(&stream, size);
            assert_eq!(passed, request.len(), "{size}");
            assert!(matches!(found, Some(Found::End { .. })), "{found:?}");
        }
    }
}

#[test]
fn a_wish_for_another_protocol_stops_the_reading() {
    let head = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let mut stream = head.to_vec();
    stream.extend_from_slice(&[0x81, 0x00]);
    for size in 1..=stream.len() {
        let (passed, found) = fed(&stream, size);
        assert_eq!(passed, head.len());
        assert!(matches!(found, Some(Found::Upgrade { .. })), "{found:?}");
    }
}

#[test]
fn nothing_of_a_wrong_head_passes() {
    let table: [(&str, Flaw); 31] = [
        ("GET / HTTP/1.1\n", Flaw::BareLineFeed),
        ("\nGET / HTTP/1.1\r\n", Flaw::BareLineFeed),
        ("GET / HTTP/1.1\r\nhost: a\n\r\n", Flaw::BareLineFeed),
        ("GET / HTTP/1.1\r\nhost: a\r\n\n", Flaw::BareLineFeed),
        (
            "GET / HTTP/1.1\r\nx: a\rb\r\n\r\n",
            Flaw::BareCarriageReturn,
        ),
        ("GET / HTTP/1.1\r\nx: a\r\r\n\r\n", Flaw::BareCarriageReturn),
        ("GET / HTTP/1.1\r\nx: a\r\n b\r\n\r\n", Flaw::Folded),
        ("GET / HTTP/1.1\r\n x: a\r\n\r\n", Flaw::Folded),
        ("GET  / HTTP/1.1\r\n\r\n", Flaw::RequestLine),
        ("GET / HTTP/1.1 \r\n\r\n", Flaw::RequestLine),
        ("GET /\tx HTTP/1.1\r\n\r\n", Flaw::RequestLine),
        ("GET /\r\n\r\n", Flaw::RequestLine),
        ("GET / HTTP/2.0\r\n\r\n", Flaw::RequestLine),
        ("GET / http/1.1\r\n\r\n", Flaw::RequestLine),
        ("G\u{e4}T / HTTP/1.1\r\n\r\n", Flaw::RequestLine),
        ("\r\n\r\n\r\n\r\n\r\n", Flaw::RequestLine),
        ("GET / HTTP/1.1\r\nx : a\r\n\r\n", Flaw::HeaderLine),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", Flaw::HeaderLine),
        ("GET / HTTP/1.1\r\nx\r\n\r\n", Flaw::HeaderLine),
        ("GET / HTTP/1.1\r\nx: a\0b\r\n\r\n", Flaw::HeaderLine),
        (
            "P / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            Flaw::BothLengths,
        ),
        (
            "P / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n",
            Flaw::BothLengths,
        ),
        (
            "P / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            Flaw::Length,
        ),
        (
            "P / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
            Flaw::Length,
        ),
        ("P / HTTP/1.1\r\ncontent-length: 5, 5\r\n\r\n", Flaw::Length),
        ("P / HTTP/1.1\r\ncontent-length: +5\r\n\r\n", Flaw::Length),
        (
            "P / HTTP/1.1\r\ncontent-length: 18446744073709551616\r\n\r\n",
            Flaw::Length,
        ),
        (
            "P / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            Flaw::Coding,
        ),
        (
            "P / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            Flaw::Coding,
        ),
        (
            "P / HTTP/1.1\r\ntransfer-encoding: \"chunked\"\r\n\r\n",
            Flaw::Coding,
        ),
        (
            "P / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
            Flaw::CodingInOldVersion,
        ),
    ];
    for (text, expected) in table {
        for size in 1..=text.len() {
            let (passed, found) = fed(text.as_bytes(), size);
            assert_eq!(passed, 0, "{text:?}");
            let wrong = Found::Wrong {
                pass: 0,
                flaw: expected,
                in_body: false,
            };
            assert_eq!(found, Some(wrong), "{text:?}");
        }
    }
}

#[test]
fn heads_are_bounded_in_bytes_and_lines() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(11));
    let flaw = |text: &str, size| match fed(text.as_bytes(), size).1 {
        Some(Found::Wrong { flaw, .. }) => Some(flaw),
        _ => None,
    };
    for size in [1, 7, 5_000] {
        assert_eq!(flaw(&long, size), Some(Flaw::HeadBytes));
        assert_eq!(flaw(&many, size), Some(Flaw::HeadLines));
    }
    let enough = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10));
    assert!(matches!(
        fed(enough.as_bytes(), 9).1,
        Some(Found::End { .. })
    ));
}

#[test]
fn a_wrong_chunk_stops_its_body_and_nothing_behind_it_passes() {
    let head = "P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let table = [
        ("5 \r\nhello\r\n0\r\n\r\n", 1, Flaw::Chunk),
        ("0x5\r\nhello\r\n", 1, Flaw::Chunk),
        ("+5\r\nhello\r\n", 0, Flaw::Chunk),
        ("\r\nhello\r\n", 0, Flaw::Chunk),
        ("5\nhello\r\n", 1, Flaw::Chunk),
        ("5;a\nhello\r\n", 3, Flaw::Chunk),
        ("5;a\rhello\r\n", 4, Flaw::Chunk),
        ("5\r\nhello0\r\n\r\n", 8, Flaw::Chunk),
        ("5\r\nhello\n0\r\n\r\n", 8, Flaw::Chunk),
        ("ffffffffffffffffff\r\n", 15, Flaw::Chunk),
        ("0\r\nx : 1\r\n\r\n", 9, Flaw::HeaderLine),
        ("0\r\n x: 1\r\n\r\n", 9, Flaw::Folded),
        ("0\r\n\n", 3, Flaw::BareLineFeed),
    ];
    for (body, right, expected) in table {
        let text = format!("{head}{body}");
        for size in 1..=text.len() {
            let (passed, found) = fed(text.as_bytes(), size);
            let Some(Found::Wrong { flaw, in_body, .. }) = found else {
                panic!("{body:?} gave {found:?}");
            };
            assert_eq!(
                (passed - head.len(), flaw, in_body),
                (right, expected, true),
                "{body:?}"
            );
        }
    }
    let long = format!("{head}5;{}\r\nhello\r\n", "a".repeat(300));
    assert!(matches!(
        fed(long.as_bytes(), 50).1,
        Some(Found::Wrong { .. })
    ));
    let trailers = format!("{head}0\r\n{}", "x: y\r\n".repeat(300));
    assert!(matches!(
        fed(trailers.as_bytes(), 50).1,
        Some(Found::Wrong { .. })
    ));
}
