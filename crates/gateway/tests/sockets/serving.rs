//! What a service says of how its requests are carried wins over the gateway's own options.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::http::Uri;
use model::{EndpointClass, Millis, Priority, Retry, RouteTable, Serving, Workers};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::fleet::{
    Control, Gateway, Host, ask, before, before_with, config, pool, read_head, service, table,
};
use crate::http2;

/// One pool's table that says more.
pub(crate) fn saying(
    version: u64,
    addresses: &[SocketAddr],
    serving: Serving,
    endpoints: Vec<EndpointClass>,
) -> RouteTable {
    let mut table = table(version, vec![pool("old", 1000, addresses)]);
    let routes = table.services.get_mut(&service()).unwrap();
    routes.serving = serving;
    routes.endpoints = endpoints;
    table
}

pub(crate) fn class(name: &str, priority: Priority, retry: Retry) -> EndpointClass {
    EndpointClass {
        name: name.to_owned(),
        paths: vec![format!("/{name}")],
        priority,
        retry,
        ..EndpointClass::default()
    }
}

/// The only backend's line of `/admission`.
async fn backend(gateway: &Gateway) -> (u64, String) {
    let text = ask(gateway.admin, "GET", "/admission", &[], "")
        .await
        .text();
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    let backend = &shown["services"]["api"]["backends"][0];
    let source = backend["source"].as_str().unwrap_or_default();
    (backend["limit"].as_u64().unwrap_or(0), source.to_owned())
}

async fn waiting(gateway: &Gateway) -> u64 {
    let text = ask(gateway.admin, "GET", "/admission", &[], "")
        .await
        .text();
    let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
    shown["services"]["api"]["pools"][0]["waiting"]
        .as_u64()
        .unwrap()
}

/// Waits until what `look` sees is `wanted`, for five seconds at most.
pub(crate) async fn until_seen<T: PartialEq + std::fmt::Debug>(
    wanted: T,
    look: impl AsyncFn() -> T,
) {
    let mut seen = look().await;
    for _ in 0..500 {
        if seen == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        seen = look().await;
    }
    panic!("not within 5 s: {wanted:?}, but {seen:?}");
}

#[tokio::test]
async fn the_services_deadline_is_shorter_than_the_gateways() {
    let host = Host::raw(|mut stream: TcpStream| async move {
        while read_head(&mut stream).await.is_some() {}
    })
    .await;
    let serving = Serving {
        deadline_ms: Some(Millis(200)),
        ..Serving::default()
    };
    let control = Control::start(saying(1, &[host.address], serving, Vec::new())).await;
    let gateway = Gateway::ready(config(control.address)).await;
    // Its own option is 10 s, and the client of this test waits for 5 at most.
    let asked = ask(gateway.address, "GET", "/", &[], "");
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
    let answer = answer.expect("in the service's time");
    assert_eq!((answer.status, answer.reason()), (504, "deadline"));
    gateway.stop().await;
}

#[tokio::test]
async fn the_services_deadline_is_longer_than_the_gateways_also_over_http2() {
    let app = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        "late"
    });
    let host = Host::serve(app).await;
    let serving = Serving {
        deadline_ms: Some(Millis::seconds(30)),
        ..Serving::default()
    };
    let control = Control::start(saying(1, &[host.address], serving, Vec::new())).await;
    let mut config = config(control.address);
    // A stream of HTTP/2 is cut a second after it.
    config.limits.request_deadline = Duration::from_millis(100);
    let gateway = Gateway::ready(config).await;
    let mut sender = http2::client(gateway.address).await;
    let over_http2 = sender.send_request(http2::request("GET", "/", ""));
    let over_http1 = ask(gateway.address, "GET", "/", &[], "");
    let (over_http2, over_http1) = tokio::join!(over_http2, over_http1);
    assert_eq!(over_http2.unwrap().status(), 200);
    assert_eq!(over_http1.status, 200);
    gateway.stop().await;
}

#[tokio::test]
async fn the_services_workers_win_over_the_gateways_and_may_change() {
    let host = Host::named("old").await;
    let says = |workers| Serving {
        workers,
        ..Serving::default()
    };
    let (control, gateway) = before_with(&[host.address], |config| {
        config.concurrency = gateway::Concurrency::Workers(4);
    })
    .await;
    until_seen((6, "configured".to_owned()), async || {
        backend(&gateway).await
    })
    .await;
    let said = says(Some(Workers::Number(8)));
    control.set(saying(2, &[host.address], said, Vec::new()));
    until_seen((11, "configured".to_owned()), async || {
        backend(&gateway).await
    })
    .await;
    let said = says(Some(Workers::Auto));
    control.set(saying(3, &[host.address], said, Vec::new()));
    until_seen("estimated".to_owned(), async || backend(&gateway).await.1).await;
    control.set(saying(4, &[host.address], says(None), Vec::new()));
    until_seen((6, "configured".to_owned()), async || {
        backend(&gateway).await
    })
    .await;
    gateway.stop().await;
}

/// With `off` all are inside at once, with a number never more than its limit.
#[tokio::test]
async fn workers_off_gives_hosts_whatever_comes() {
    let inside = Arc::new(Semaphore::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (entered, opened) = (inside.clone(), gate.clone());
    let app = Router::new().fallback(move || {
        let (entered, opened) = (entered.clone(), opened.clone());
        async move {
            entered.add_permits(1);
            opened.acquire().await.unwrap().forget();
            "done"
        }
    });
    let host = Host::serve(app).await;
    let serving = Serving {
        workers: Some(Workers::Off),
        ..Serving::default()
    };
    let control = Control::start(saying(1, &[host.address], serving, Vec::new())).await;
    let mut config = config(control.address);
    config.concurrency = gateway::Concurrency::Workers(1);
    let gateway = Gateway::ready(config).await;
    let address = gateway.address;
    let asked: Vec<_> = (0..20)
        .map(|_| tokio::spawn(async move { ask(address, "GET", "/", &[], "").await.status }))
        .collect();
    let all = tokio::time::timeout(Duration::from_secs(5), inside.acquire_many(20)).await;
    assert!(all.is_ok(), "all at once");
    gate.add_permits(20);
    for one in asked {
        assert_eq!(one.await.unwrap(), 200);
    }
    gateway.stop().await;
}

/// A host that is held, and tells in which order it was asked.
#[derive(Default)]
struct Held {
    order: Mutex<Vec<String>>,
}

/// Sends one request that waits for its turn, and sees that it does.
macro_rules! queued {
    ($gateway:expr, $before:expr, $path:expr, $headers:expr) => {{
        let address = $gateway.address;
        let asked =
            tokio::spawn(async move { ask(address, "GET", $path, $headers, "").await.status });
        until_seen($before + 1, async || waiting(&$gateway).await).await;
        asked
    }};
}

#[tokio::test]
async fn critical_requests_go_first_and_the_background_last() {
    let held = Arc::new(Held::default());
    let gate = Arc::new(Semaphore::new(0));
    let (told, opened) = (held.clone(), gate.clone());
    let app = Router::new().fallback(move |uri: Uri| {
        let (told, opened) = (told.clone(), opened.clone());
        async move {
            let path = uri.to_string();
            // So slow that a queue may stand for a while: five answers' time.
            if path == "/warm" {
                tokio::time::sleep(Duration::from_millis(400)).await;
            } else {
                told.order.lock().unwrap().push(path);
                opened.acquire().await.unwrap().forget();
            }
            "done"
        }
    });
    let host = Host::serve(app).await;
    let serving = Serving {
        workers: Some(Workers::Number(1)),
        priority_header: Some("x-priority".to_owned()),
        deadline_ms: Some(Millis::seconds(60)),
        ..Serving::default()
    };
    let endpoints = vec![
        class("pay", Priority::Critical, Retry::Idempotent),
        class("crawl", Priority::Background, Retry::Idempotent),
    ];
    let control = Control::start(saying(1, &[host.address], serving, endpoints)).await;
    let gateway = Gateway::ready(config(control.address)).await;
    for _ in 0..2 {
        assert_eq!(
            ask(gateway.address, "GET", "/warm", &[], "").await.status,
            200
        );
    }
    let address = gateway.address;
    // One worker has two slots.
    let mut asked: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { ask(address, "GET", "/first", &[], "").await.status }))
        .collect();
    until_seen(2, async || held.order.lock().unwrap().len()).await;
    asked.push(queued!(gateway, 0, "/crawl", &[]));
    asked.push(queued!(gateway, 1, "/page", &[]));
    asked.push(queued!(
        gateway,
        2,
        "/said-critical",
        &[("x-priority", "Critical")]
    ));
    asked.push(queued!(gateway, 3, "/pay?n=1", &[]));
    // What is none of the words is not heard.
    asked.push(queued!(gateway, 4, "/nonsense", &[("x-priority", "u=0")]));
    asked.push(queued!(
        gateway,
        5,
        "/pay?n=2",
        &[("x-priority", "background")]
    ));
    for n in 0..asked.len() {
        gate.add_permits(1);
        // One after the other, or two could overtake each other at the host.
        let inside = (n + 3).min(asked.len());
        until_seen(inside, async || held.order.lock().unwrap().len()).await;
    }
    for one in asked {
        assert_eq!(one.await.unwrap(), 200);
    }
    let order = held.order.lock().unwrap().clone();
    let place = |path: &str| order.iter().position(|it| it == path).unwrap();
    let places = [
        "/said-critical",
        "/pay?n=1",
        "/page",
        "/nonsense",
        "/crawl",
        "/pay?n=2",
    ];
    let classes = places.map(place);
    assert!(is_in_order(&classes), "{order:?}");
    gateway.stop().await;
}

/// Within a class the newest may go first; the classes themselves are in order.
fn is_in_order(places: &[usize; 6]) -> bool {
    let [critical, normal, background] = [&places[..2], &places[2..4], &places[4..]];
    critical.iter().max() < normal.iter().min() && normal.iter().max() < background.iter().min()
}

/// Closes each connection once it has read a request's head.
pub(crate) async fn closing() -> Host {
    Host::raw(|mut stream: TcpStream| async move {
        read_head(&mut stream).await;
    })
    .await
}

#[tokio::test]
async fn what_may_go_twice_goes_to_another_host_when_one_breaks_off() {
    for (method, path, all_served) in [
        ("GET", "/plain", true),
        ("GET", "/never", false),
        ("PUT", "/plain", true),
        ("POST", "/plain", false),
        ("POST", "/always", true),
        ("POST", "/never", false),
    ] {
        let (broken, good) = (closing().await, Host::named("good").await);
        let endpoints = vec![
            class("never", Priority::Normal, Retry::Never),
            class("always", Priority::Normal, Retry::Always),
        ];
        let addresses = [broken.address, good.address];
        let said = saying(1, &addresses, Serving::default(), endpoints);
        let control = Control::start(said).await;
        let gateway = Gateway::ready(config(control.address)).await;
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(ask(gateway.address, method, path, &[], "").await.status);
        }
        assert!(broken.connections() > 0, "{method} {path}: it was asked");
        let served = statuses.iter().all(|it| *it == 200);
        assert_eq!(served, all_served, "{method} {path}: {statuses:?}");
        assert!(statuses.iter().all(|it| matches!(it, 200 | 502)));
        gateway.stop().await;
    }
}

/// A body is passed on as it comes and not kept, so nobody could send it again.
#[tokio::test]
async fn a_request_with_a_body_that_was_sent_goes_nowhere_else() {
    let (broken, good) = (closing().await, Host::named("good").await);
    let endpoints = vec![class("always", Priority::Normal, Retry::Always)];
    let addresses = [broken.address, good.address];
    let said = saying(1, &addresses, Serving::default(), endpoints);
    let control = Control::start(said).await;
    let gateway = Gateway::ready(config(control.address)).await;
    let mut failed = 0;
    for _ in 0..6 {
        let answer = ask(gateway.address, "POST", "/always", &[], "body").await;
        failed += usize::from(answer.status == 502);
    }
    assert_eq!(failed, broken.connections());
    assert!(failed > 0);
    gateway.stop().await;
}

#[tokio::test]
async fn the_only_host_is_not_asked_twice() {
    let broken = closing().await;
    let (_control, gateway) = before(&[broken.address]).await;
    assert_eq!(ask(gateway.address, "GET", "/", &[], "").await.status, 502);
    assert_eq!(broken.connections(), 1);
    gateway.stop().await;
}
