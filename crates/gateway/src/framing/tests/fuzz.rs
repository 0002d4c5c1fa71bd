//! Bytes as nobody sends them, against a second reading that is as plain as can be.
//!
//! Invariant: whatever comes and however it is cut, the same passes, and a head that passes
//! means one thing only.

use proptest::prelude::*;

use super::*;

/// What requests are made of, and what they are broken with.
const PARTS: [&[u8]; 34] = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.1\r\n",
    b"PUT * HTTP/1.0\r\n",
    b"host: a\r\n",
    b"Host:b:80\r\n",
    b"content-length: 3\r\n",
    b"Content-Length:3\r\n",
    b"content-length: 03\r\n",
    b"content-length: 3, 3\r\n",
    b"content-length: +3\r\n",
    b"content-length : 3\r\n",
    b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding:\tCHUNKED\t\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"connection: upgrade\r\nupgrade: x\r\n",
    b"trailer: x-sum\r\n",
    b"x: \xff\x80\r\n",
    b"x: y\r\n",
    b" folded\r\n",
    b"\tfolded\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"abc",
    b"3\r\nabc\r\n",
    b"3;q=\"\r\"\r\nabc\r\n",
    b"0\r\n\r\n",
    b"00000000000000000\r\n",
    b"fffffffffffffffff\r\n",
    b"-1\r\n",
    b":",
    b"\0",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        20 => prop::sample::select(PARTS.to_vec()).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    // A beginning that is right, more often than chance would have it.
    let begun = prop::sample::select(vec![&b""[..], PARTS[0], PARTS[1], PARTS[2]]);
    (begun, prop::collection::vec(part, 0..12)).prop_map(|(begun, parts)| {
        let rest = parts.into_iter().flatten();
        begun.iter().copied().chain(rest).collect()
    })
}

/// As [`fed`](super::fed), in pieces of any sizes.
fn cut(bytes: &[u8], sizes: &[usize]) -> (usize, Option<Found>) {
    let mut framer = framer();
    let (mut passed, mut given) = (0, 0);
    let mut sizes = sizes.iter().cycle();
    while given < bytes.len() {
        given = (given + sizes.next().copied().unwrap_or(1)).min(bytes.len());
        let found = framer.scan(&bytes[passed..given]);
        let (Found::Partial { pass }
        | Found::End { pass }
        | Found::Upgrade { pass }
        | Found::Wrong { pass, .. }) = found;
        assert!(passed + pass <= given, "more passes than was given");
        passed += pass;
        if !matches!(found, Found::Partial { .. }) {
            return (passed, Some(found));
        }
    }
    (passed, None)
}

/// What was found, without where, which depends on the cut.
fn kind(found: Option<Found>) -> Option<(u8, Option<(Flaw, bool)>)> {
    Some(match found? {
        Found::Partial { .. } => (0, None),
        Found::End { .. } => (1, None),
        Found::Upgrade { .. } => (2, None),
        Found::Wrong { flaw, in_body, .. } => (3, Some((flaw, in_body))),
    })
}

/// Every line of a head that passed, read a second time.
fn assert_means_one_thing(head: &[u8]) {
    let shown = head.escape_ascii();
    let text = head
        .strip_suffix(b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no end: {shown}"));
    let text = text.strip_prefix(b"\r\n").unwrap_or(text);
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    let (mut lengths, mut codings) = (0, 0);
    for (n, line) in lines.iter().enumerate() {
        let controls = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
        assert!(!line.iter().any(controls), "a control character: {shown}");
        if n == 0 {
            assert_eq!(line.split(|byte| *byte == b' ').count(), 3, "{shown}");
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or_else(|| panic!("no colon: {shown}")));
        let is_bare = |byte: &u8| byte.is_ascii_graphic();
        assert!(!name.is_empty() && name.iter().all(is_bare), "{shown}");
        let value = value[1..].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            assert!(
                !value.is_empty() && value.iter().all(u8::is_ascii_digit),
                "{shown}"
            );
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            codings += 1;
            assert!(value.eq_ignore_ascii_case(b"chunked"), "{shown}");
            assert!(lines[0].ends_with(b"HTTP/1.1"), "{shown}");
        }
    }
    assert!(lengths + codings <= 1, "{lengths} and {codings}: {shown}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(20_000)
    })]

    #[test]
    fn the_same_passes_however_it_is_cut(
        bytes in bytes(),
        sizes in prop::collection::vec(1_usize..40, 1..6),
    ) {
        let (passed, found) = cut(&bytes, &[bytes.len().max(1)]);
        let (passed_in_parts, found_in_parts) = cut(&bytes, &sizes);
        prop_assert_eq!(passed, passed_in_parts, "{}", bytes.escape_ascii());
        prop_assert_eq!(kind(found), kind(found_in_parts), "{}", bytes.escape_ascii());
    }

    #[test]
    fn a_head_that_passes_means_one_thing(bytes in bytes()) {
        let (passed, _) = cut(&bytes, &[bytes.len().max(1)]);
        let passed = &bytes[..passed];
        if let Some(end) = passed.windows(4).position(|four| four == b"\r\n\r\n") {
            // An empty line before the first is let through, and is not the end.
            let end = match passed.starts_with(b"\r\n\r\n") {
                true => return Err(TestCaseError::fail("an empty head")),
                false => end + 4,
            };
            assert_means_one_thing(&passed[..end]);
        } else {
            prop_assert!(passed.is_empty(), "a part of a head: {}", passed.escape_ascii());
        }
    }
}
