//! Against real servers on this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum::routing::post;

use super::*;
use crate::Secret;
use crate::channel::tests::notice;

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn poster(egress: Egress) -> Poster {
    crate::tests_crypto();
    Poster::new(egress, None).unwrap()
}

fn slack(url: String) -> Address {
    Address::Slack {
        url: Secret::new(url),
    }
}

fn local() -> Egress {
    Egress::public_and(["127.0.0.1".to_owned(), "localhost".to_owned()])
}

#[tokio::test]
async fn takes_a_message_and_its_answer() {
    let router = Router::new()
        .route("/ok", post(async || "ok"))
        .route("/no", post(async || (StatusCode::NOT_FOUND, "no_service")))
        .route(
            "/busy",
            post(async || {
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    [("retry-after", "3")],
                    "slow down",
                )
            }),
        )
        .route("/endless", post(async || "x".repeat(10_000_000)));
    let address = serve(router).await;
    let poster = poster(local());
    let send = async |path: &str| {
        let to = slack(format!("http://{address}{path}"));
        poster.send(&to, &notice()).await
    };
    assert_eq!(send("/ok").await, Outcome::Sent { receipt: None });
    assert_eq!(send("/endless").await, Outcome::Sent { receipt: None });
    assert_eq!(
        send("/no").await,
        Outcome::Refused {
            reason: "answered 404 Not Found: no_service".into()
        }
    );
    assert_eq!(
        send("/busy").await,
        Outcome::Retry {
            reason: "answered 429 Too Many Requests: slow down".into(),
            after: Some(Duration::from_secs(3)),
        }
    );
}

#[tokio::test]
async fn neighbours_are_not_asked_unless_allowed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let router = Router::new().fallback(async move || {
        count.fetch_add(1, Ordering::Relaxed);
        "ok"
    });
    let port = serve(router).await.port();
    let strict = poster(Egress::default());
    // By address, by name, and in the other spellings of an address that URLs know.
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ] {
        let outcome = strict
            .send(&slack(format!("http://{host}:{port}/")), &notice())
            .await;
        assert!(
            matches!(&outcome, Outcome::Refused { reason } if reason.contains("public internet")),
            "{host}: {outcome:?}"
        );
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let allowed = poster(local());
    let outcome = allowed
        .send(&slack(format!("http://localhost:{port}/")), &notice())
        .await;
    assert_eq!(outcome, Outcome::Sent { receipt: None });
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let router = Router::new()
        .route(
            "/away",
            post(async || Redirect::temporary("/inside").into_response()),
        )
        .route(
            "/inside",
            post(async move || {
                count.fetch_add(1, Ordering::Relaxed);
            }),
        );
    let address = serve(router).await;
    let outcome = poster(local())
        .send(&slack(format!("http://{address}/away")), &notice())
        .await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_no_address_is_said_without_showing_it() {
    let poster = poster(local());
    for url in [
        "geheim",
        "ftp://geheim.example.com/",
        "file:///geheim",
        "http://",
        "",
    ] {
        let outcome = poster.send(&slack(url.into()), &notice()).await;
        let Outcome::Refused { reason } = &outcome else {
            panic!("{url}: {outcome:?}");
        };
        assert!(!reason.contains("geheim"), "{reason}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let outcome = poster
        .send(&slack(format!("http://{gone}/geheim")), &notice())
        .await;
    let Outcome::Retry { reason, .. } = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(!reason.contains("geheim"), "{reason}");
}
