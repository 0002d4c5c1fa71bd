//! What is taken out, kept, cut and added.

use http::Request;

use super::*;

fn head(lines: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().uri("/a?b=c");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn prepared(lines: &[(&str, &str)]) -> request::Parts {
    let mut head = head(lines);
    strip_hop_by_hop(&mut head.headers);
    let ids = RequestIds::default();
    prepare(
        &mut head,
        "::ffff:192.0.2.7".parse().unwrap(),
        "10.0.0.1:80",
        &ids,
    );
    head
}

#[test]
fn what_is_about_one_connection_goes() {
    let head = prepared(&[
        ("host", "api.example"),
        ("connection", "close, X-Secret"),
        ("connection", "host, content-length"),
        ("x-secret", "1"),
        ("content-length", "3"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("upgrade", "websocket"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("traceparent", "00-1-2-01"),
        ("x-request-id", "mine"),
    ]);
    let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "content-length",
            "host",
            "traceparent",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
    assert_eq!(head.headers["x-request-id"], "mine");
    assert_eq!(head.headers["x-forwarded-host"], "api.example");
}

#[test]
fn connection_cant_take_away_what_the_gateway_adds() {
    let head = prepared(&[
        ("host", "a"),
        ("connection", "x-forwarded-for"),
        ("x-forwarded-for", "203.0.113.9"),
    ]);
    assert_eq!(head.headers["x-forwarded-for"], "192.0.2.7");
}

#[test]
fn the_chain_of_clients_is_kept_and_grows() {
    let head = prepared(&[
        ("host", "a"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "198.51.100.2"),
        ("x-forwarded-proto", "https"),
    ]);
    let chain: Vec<_> = head.headers.get_all("x-forwarded-for").iter().collect();
    assert_eq!(chain, ["203.0.113.9, 198.51.100.2, 192.0.2.7"]);
    assert_eq!(head.headers["x-forwarded-proto"], "https");
}

#[test]
fn an_absolute_target_overrides_the_host() {
    let mut head = head(&[("host", "other")]);
    head.uri = "http://api.example:81/x?y".parse().unwrap();
    let ids = RequestIds::default();
    prepare(&mut head, "192.0.2.7".parse().unwrap(), "b:1", &ids);
    assert_eq!(head.uri, "/x?y");
    assert_eq!(head.headers[HOST], "api.example:81");
}

#[test]
fn ambiguous_requests_are_refused() {
    assert_eq!(check(&head(&[("host", "a")])), Ok(()));
    assert_eq!(check(&head(&[])), Err(Reason::BadRequest));
    assert_eq!(
        check(&head(&[("host", "a"), ("host", "b")])),
        Err(Reason::BadRequest)
    );
    let coded = |value| check(&head(&[("host", "a"), ("transfer-encoding", value)]));
    assert_eq!(coded("chunked"), Ok(()));
    assert_eq!(coded("gzip, chunked"), Err(Reason::NotSupported));
}

#[test]
fn tenants_are_cut_at_a_character() {
    let name = HeaderName::from_static("x-tenant");
    let of = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        tenant(&headers, Some(&name))
    };
    assert_eq!(of("acme"), "acme");
    assert_eq!(of(""), "-");
    assert_eq!(of(&"a".repeat(200)), "a".repeat(128));
    assert_eq!(
        of(&format!("a{}", "ä".repeat(100))),
        format!("a{}", "ä".repeat(63))
    );
    assert_eq!(tenant(&HeaderMap::new(), Some(&name)), "-");
    assert_eq!(tenant(&HeaderMap::new(), None), "-");
}

#[test]
fn ids_differ() {
    let ids = RequestIds::default();
    assert_ne!(ids.next(), ids.next());
}
