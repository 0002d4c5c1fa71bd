//! `traceparent` and `tracestate` (W3C Trace Context, level 1, sections 3.2 to 3.4).
//!
//! The gateway records no span of its own, so what a caller says goes on as it is. Whose
//! caller says nothing, or nothing that can be read, gets the beginning of a trace, so that
//! all that is asked for one request can be found by one number.
//!
//! Invariant: what leaves has exactly one valid `traceparent`, and a `tracestate` only beside
//! the one it came with.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::hex;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Of version 00: `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LEN: usize = 55;

/// Sees to it that the request belongs to a trace; `begin` makes the ids of a new one, and
/// says whether it is to be recorded.
pub(super) fn carry(headers: &mut HeaderMap, begin: impl FnOnce() -> (u128, u64, bool)) {
    let mut given = headers.get_all(TRACEPARENT).iter();
    if let (Some(only), None) = (given.next(), given.next())
        && is_valid(only.as_bytes())
    {
        return;
    }
    // What a system noted for a trace that can't be told any more means nothing in another.
    headers.remove(TRACESTATE);
    let (trace, parent, is_sampled) = begin();
    let mut made = *b"00-00000000000000000000000000000000-0000000000000000-00";
    // Ids of zeros are none.
    hex(trace.max(1), &mut made[3..35]);
    hex(u128::from(parent.max(1)), &mut made[36..52]);
    hex(u128::from(is_sampled), &mut made[53..]);
    match HeaderValue::from_bytes(&made) {
        Ok(made) => headers.insert(TRACEPARENT, made),
        Err(_) => headers.remove(TRACEPARENT),
    };
}

/// Whether it can be read. Of a version that is not known yet, what is known of version 00
/// is looked at; more may follow there behind another dash.
fn is_valid(value: &[u8]) -> bool {
    let Some((known, more)) = value.split_at_checked(LEN) else {
        return false;
    };
    let mut parts = known.split(|byte| *byte == b'-');
    let mut next = |digits: usize| {
        let part = parts.next()?;
        let is_digit = |it: &u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        (part.len() == digits && part.iter().all(is_digit)).then_some(part)
    };
    let (Some(version), Some(trace), Some(parent), Some(_flags), None) =
        (next(2), next(32), next(16), next(2), next(0))
    else {
        return false;
    };
    let ends = match version {
        b"ff" => false,
        b"00" => more.is_empty(),
        _ => more.first().is_none_or(|byte| *byte == b'-'),
    };
    let is_some = |id: &[u8]| id.iter().any(|digit| *digit != b'0');
    ends && is_some(trace) && is_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-3b1f6a0c9d2e4857aa10bb20cc30dd40-77e1d2c3b4a59687-01";

    /// The pair that leaves when these came.
    fn leaves(parents: &[&str], state: Option<&str>) -> (String, Option<String>) {
        let mut headers = HeaderMap::new();
        for parent in parents {
            let parent = HeaderValue::from_bytes(parent.as_bytes()).unwrap();
            headers.append(TRACEPARENT, parent);
        }
        if let Some(state) = state {
            headers.insert(TRACESTATE, HeaderValue::from_str(state).unwrap());
        }
        carry(&mut headers, || (0xabc, 0xdef, false));
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        let parent = text(&headers[TRACEPARENT]);
        (parent, headers.get(TRACESTATE).map(text))
    }

    fn made() -> (String, Option<String>) {
        let trace = format!("00-{}abc-{}def-00", "0".repeat(29), "0".repeat(13));
        (trace, None)
    }

    #[test]
    fn what_can_be_read_goes_on_as_it_is() {
        let state = "us=left,them=right";
        let longer = format!("{}-and-more", GOOD.replacen("00", "0a", 1));
        for good in [
            GOOD,
            &GOOD.replace("-01", "-00"),
            &GOOD.replace("-01", "-ff"),
            &GOOD.replacen("00", "fe", 1),
            &longer,
        ] {
            let expected = (good.to_owned(), Some(state.to_owned()));
            assert_eq!(leaves(&[good], Some(state)), expected);
        }
    }

    #[test]
    fn what_cant_be_read_is_replaced_and_its_state_left_behind() {
        let trace = &GOOD[3..35];
        let parent = &GOOD[36..52];
        for bad in [
            "",
            "00",
            "nonsense",
            // A version that can't be, and more behind one that has no more.
            &GOOD.replacen("00", "ff", 1),
            &format!("{GOOD}-"),
            &format!("{GOOD}-00"),
            &format!("{}00", GOOD.replacen("00", "01", 1)),
            // Capitals, other signs, other lengths, other dashes.
            &GOOD.to_uppercase(),
            &GOOD.replace('3', "g"),
            &GOOD[..54],
            &GOOD.replacen('-', "_", 1),
            &format!("0-{trace}0-{parent}-01"),
            &format!(" {}", &GOOD[..54]),
            // Ids of zeros.
            &GOOD.replace(trace, &"0".repeat(32)),
            &GOOD.replace(parent, &"0".repeat(16)),
        ] {
            assert_eq!(leaves(&[bad], Some("us=left")), made(), "{bad:?}");
        }
        assert_eq!(
            leaves(&[GOOD, GOOD], Some("us=left")),
            made(),
            "two are none"
        );
    }

    #[test]
    fn a_trace_begins_where_none_came() {
        assert_eq!(leaves(&[], None), made());
        assert_eq!(leaves(&[], Some("us=left")), made());
        let mut headers = HeaderMap::new();
        carry(&mut headers, || (0, 0, true));
        let parent = &headers[TRACEPARENT];
        assert!(is_valid(parent.as_bytes()), "zeros are none: {parent:?}");
        assert!(parent.as_bytes().ends_with(b"-01"));
    }
}
