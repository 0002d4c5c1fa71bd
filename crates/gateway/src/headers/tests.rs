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
    strip_request(&mut head.headers);
    let ids = RequestIds::default();
    prepare(
        &mut head,
        &Client::new("::ffff:192.0.2.7".parse().unwrap()),
        Scheme::Http,
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
        ("te", "deflate"),
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
    let client = Client::new("192.0.2.7".parse().unwrap());
    prepare(&mut head, &client, Scheme::Http, "b:1", &ids);
    assert_eq!(head.uri, "/x?y");
    assert_eq!(head.headers[HOST], "api.example:81");
}

#[test]
fn ambiguous_hosts_are_refused() {
    let at = |uri: &str, version: Version, hosts: &[&str]| {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let mut head = head(&hosts);
        head.uri = uri.parse().unwrap();
        head.version = version;
        check(&head)
    };
    let (old, usual, new) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
    let wrong = Err(Reason::Malformed(Flaw::Host));
    for (uri, version, hosts, expected) in [
        ("/", usual, &["a"][..], Ok(())),
        ("/", usual, &["[::1]:80"], Ok(())),
        ("/", old, &[], Ok(())),
        ("/", usual, &[], wrong),
        ("/", usual, &["a", "b"], wrong),
        ("/", usual, &["a", "a"], wrong),
        ("/", usual, &["a, b"], wrong),
        ("/", usual, &["a/b"], wrong),
        ("/", usual, &["u@b"], wrong),
        ("http://a/", usual, &["a"], Ok(())),
        ("http://A:80/", usual, &["a"], Ok(())),
        ("http://a/", usual, &["b"], wrong),
        ("http://a/", usual, &["a:81"], wrong),
        ("http://u@a/", usual, &["u@a"], wrong),
        ("https://a/", new, &[], Ok(())),
        ("https://a:443/", new, &["a"], Ok(())),
        ("https://a/", new, &["b"], wrong),
        ("/", new, &[], wrong),
        ("/", new, &["a"], Ok(())),
    ] {
        assert_eq!(
            at(uri, version, hosts),
            expected,
            "{uri} {version:?} {hosts:?}"
        );
    }
    let mut connect = head(&[("host", "a")]);
    connect.method = Method::CONNECT;
    assert_eq!(check(&connect), Err(Reason::NotSupported));
}

#[test]
fn trailers_are_asked_for_on() {
    let head = prepared(&[
        ("host", "a"),
        ("connection", "TE, x-mine"),
        ("te", "gzip;q=0.5, trailers"),
        ("x-mine", "1"),
        ("trailer", "x-sum"),
    ]);
    assert_eq!(head.headers[TE], "trailers");
    assert_eq!(head.headers[CONNECTION], "te");
    assert_eq!(head.headers["trailer"], "x-sum");
    assert!(!head.headers.contains_key("x-mine"));
}

#[test]
fn crumbs_of_cookies_are_joined() {
    let head = prepared(&[("host", "a"), ("cookie", "a=1"), ("cookie", "b=2")]);
    let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
}

#[test]
fn who_ends_tls_says_so() {
    let mut head = head(&[("host", "a"), ("x-forwarded-proto", "http")]);
    let ids = RequestIds::default();
    prepare(
        &mut head,
        &Client::new("192.0.2.7".parse().unwrap()),
        Scheme::Https,
        "b:1",
        &ids,
    );
    assert_eq!(head.headers["x-forwarded-proto"], "https");
}

#[test]
fn a_connection_is_said_to_live_on_and_nothing_else_goes() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("connection", "Keep-Alive , CLOSE"), ("x-own", "1")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    strip_hop_by_hop(&mut headers);
    let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-own"]);
    // A word that is no text takes nothing from the ones beside it.
    headers.append(CONNECTION, HeaderValue::from_bytes(b"\xff, x-own").unwrap());
    strip_hop_by_hop(&mut headers);
    assert!(headers.is_empty());
}

#[test]
fn ids_are_32_digits_and_never_the_same() {
    let ids = RequestIds::default();
    let drawn: Vec<HeaderValue> = (0..100).map(|_| ids.next()).collect();
    for (n, id) in drawn.iter().enumerate() {
        let is_digit = |it: &u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
        assert!(
            id.len() == 32 && id.as_bytes().iter().all(is_digit),
            "{id:?}"
        );
        assert!(!drawn[..n].contains(id));
    }
    let mut text = [0; 4];
    hex(0x1_2a0f, &mut text);
    assert_eq!(&text, b"2a0f");
}

#[test]
fn tenants_are_cut_at_a_character() {
    let name = HeaderName::from_static("x-tenant");
    let of = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(&name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        tenant(&headers, Some(&name)).into_owned()
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
    let id = ids.next();
    let is_hex = |it: &u8| matches!(it, b'0'..=b'9' | b'a'..=b'f');
    assert!(id.len() == 32 && id.as_bytes().iter().all(is_hex), "{id:?}");
}
