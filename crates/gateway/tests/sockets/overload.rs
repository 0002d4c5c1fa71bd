//! Serving goes on while what is behind it hangs, and comes back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::{Answer, Host, ask, before, before_with, until};

const WORKERS: usize = 4;
/// What the gateway gives to a backend with so many workers.
const LIMIT: usize = WORKERS + WORKERS / 4 + 1;
const WORK: Duration = Duration::from_millis(5);

/// A pool of threads, as far as its clients see: a few requests at once, the others wait, and
/// who has left is worked for all the same.
#[derive(Debug)]
struct Pool {
    workers: Arc<Semaphore>,
    hangs: AtomicBool,
    inside: AtomicUsize,
    most: AtomicUsize,
    worked: AtomicUsize,
}

impl Pool {
    async fn serve(self: Arc<Pool>) -> Response {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        let pool = self.clone();
        let working = tokio::spawn(async move {
            let _worker = pool.workers.acquire().await.unwrap();
            tokio::time::sleep(WORK).await;
            while pool.hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            pool.inside.fetch_sub(1, Ordering::SeqCst);
            pool.worked.fetch_add(1, Ordering::SeqCst);
        });
        working.await.unwrap();
        let name = HeaderName::from_static("x-plimsoll-workers");
        let workers = HeaderValue::from(u64::try_from(WORKERS).unwrap());
        let mut response = "done".into_response();
        response.headers_mut().insert(name, workers);
        response
    }
}

async fn pool() -> (Arc<Pool>, Host) {
    let pool = Arc::new(Pool {
        workers: Arc::new(Semaphore::new(WORKERS)),
        hangs: AtomicBool::new(false),
        inside: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        worked: AtomicUsize::new(0),
    });
    let served = pool.clone();
    let app = Router::new().fallback(move || served.clone().serve());
    (pool, Host::serve(app).await)
}

/// Requests of so many tenants, each on its own connection, one after the other every few milliseconds.
async fn storm(address: std::net::SocketAddr, requests: usize, tenant: &str) -> Vec<Answer> {
    let mut asked = JoinSet::new();
    for _ in 0..requests {
        let tenant = tenant.to_owned();
        asked.spawn(async move { ask(address, "GET", "/", &[("x-tenant", &tenant)], "").await });
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    asked.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_hangs_is_given_no_more_than_its_limit_and_is_heard_when_it_is_back() {
    let (pool, host) = pool().await;
    let deadline = |config: &mut gateway::GatewayConfig| {
        config.limits.request_deadline = Duration::from_millis(300);
    };
    let (_control, gateway) = before_with(&[host.address], deadline).await;
    // It says how many workers it has.
    assert_eq!(storm(gateway.address, 4, "acme").await[0].status, 200);
    pool.most.store(0, Ordering::SeqCst);

    pool.hangs.store(true, Ordering::SeqCst);
    let answers = storm(gateway.address, 300, "acme").await;
    let stalled = answers.iter().filter(|it| it.reason() == "stalled");
    let late = answers.iter().filter(|it| it.status == 504);
    assert!(stalled.clone().count() > 100, "most are spared the wait");
    assert!(
        stalled
            .clone()
            .all(|it| !it.header("retry-after").is_empty())
    );
    assert!(late.count() <= LIMIT, "only those that it had been given");
    let most = pool.most.load(Ordering::SeqCst);
    assert!(most <= LIMIT, "{most} of {LIMIT} at once");
    let before = pool.worked.load(Ordering::SeqCst);

    pool.hangs.store(false, Ordering::SeqCst);
    let start = Instant::now();
    loop {
        let answer = ask(gateway.address, "GET", "/", &[("x-tenant", "acme")], "").await;
        if answer.status == 200 {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{}",
            answer.text()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let dead = pool.worked.load(Ordering::SeqCst) - before;
    assert!(dead <= LIMIT + 1, "{dead} done for nobody");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_slowly_take_nobodys_place() {
    let body = axum::body::Bytes::from(vec![b'x'; 16 << 20]);
    let app = Router::new().fallback(move || async move { body });
    let host = Host::serve(app).await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut slow = Vec::new();
    for _ in 0..80 {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = b"GET / HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\n\r\n";
        stream.write_all(head).await.unwrap();
        slow.push(stream);
    }
    until("all are being answered", || host.connections() == 80).await;
    let answer = ask(gateway.address, "GET", "/", &[("x-tenant", "acme")], "").await;
    assert_eq!((answer.status, answer.body.len()), (200, 16 << 20));
    drop(slow);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenant_that_asks_too_much_is_not_everybodys_trouble() {
    let (pool, host) = pool().await;
    let (_control, gateway) = before(&[host.address]).await;
    assert_eq!(storm(gateway.address, 4, "acme").await[0].status, 200);
    // As many as 4 workers of 5 ms can't do in time.
    let address = gateway.address;
    let over = Arc::new(AtomicBool::new(false));
    let mut flood = JoinSet::new();
    for _ in 0..64 {
        let over = over.clone();
        flood.spawn(async move {
            let (mut refused, mut asked) = (0_u32, 0_u32);
            while !over.load(Ordering::SeqCst) {
                let answer = ask(address, "GET", "/", &[("x-tenant", "greedy")], "").await;
                refused += u32::from(answer.status == 503);
                asked += 1;
            }
            (refused, asked)
        });
    }
    until("full", || pool.inside.load(Ordering::SeqCst) >= WORKERS).await;
    let mut spared = 0_u32;
    for _ in 0..50 {
        let answer = ask(address, "GET", "/", &[("x-tenant", "modest")], "").await;
        spared += u32::from(answer.status == 200);
    }
    over.store(true, Ordering::SeqCst);
    let flood = flood.join_all().await.into_iter();
    let (refused, asked) = flood.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(refused > 0, "it was too much");
    // On a machine that is busy with other things anybody may wait for too long now and then;
    // whose fault it is must show all the same.
    let (modest, greedy) = ((50 - spared) * asked, refused * 50);
    assert!(
        2 * modest <= greedy,
        "{spared} of 50 served; {refused} of {asked} refused"
    );
    assert!(pool.most.load(Ordering::SeqCst) <= 64);
    gateway.stop().await;
}

/// The lines of one metric, with their values, in order.
fn lines<'a>(metrics: &'a str, name: &str) -> Vec<&'a str> {
    let full = format!("plimsoll_gateway_admission_{name}{{");
    let mut lines: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(&full))
        .collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_admission_does_can_be_watched() {
    let (pool, host) = pool().await;
    let dead = crate::fleet::dead_address().await;
    let deadline = |config: &mut gateway::GatewayConfig| {
        config.limits.request_deadline = Duration::from_millis(300);
        config.concurrency = gateway::Concurrency::Workers(4);
    };
    let (_control, gateway) = before_with(&[host.address, dead], deadline).await;
    // Both are tried: the dead one until it is left out.
    for _ in 0..20 {
        let answer = ask(gateway.address, "GET", "/", &[("x-tenant", "acme")], "").await;
        assert_eq!(answer.status, 200);
    }
    let bundle = crate::fleet::digest("old").short();
    let of = |host: &str, value: u64| {
        format!("service=\"api\",bundle=\"{bundle}\",host=\"{host}\"}} {value}")
    };
    let (first, second) = (|value| of("old-0", value), |value| of("old-1", value));
    let metrics = gateway.metrics().await;
    let limit = u64::try_from(LIMIT).unwrap();
    assert_eq!(lines(&metrics, "limit"), [first(limit), second(limit)]);
    assert_eq!(lines(&metrics, "ejected"), [first(0), second(1)]);
    assert_eq!(lines(&metrics, "in_flight"), [first(0), second(0)]);
    assert_eq!(lines(&metrics, "stalled"), [first(0), second(0)]);
    assert_eq!(lines(&metrics, "sent_total"), ["service=\"api\"} 20"]);
    assert_eq!(lines(&metrics, "retries_total"), ["service=\"api\"} 5"]);
    assert_eq!(
        lines(&metrics, "open_ratio"),
        [format!("service=\"api\",bundle=\"{bundle}\"}} 1.0")]
    );

    pool.hangs.store(true, Ordering::SeqCst);
    storm(gateway.address, 150, "acme").await;
    let metrics = gateway.metrics().await;
    assert_eq!(lines(&metrics, "hung")[0], first(limit));
    assert_eq!(lines(&metrics, "stalled")[0], first(1));
    assert_eq!(
        lines(&metrics, "waiting"),
        [format!("service=\"api\",bundle=\"{bundle}\"}} 0")]
    );
    assert_eq!(
        lines(&metrics, "abandoned_total"),
        [format!("service=\"api\"}} {limit}")]
    );
    let refused = lines(&metrics, "refused_total");
    assert_eq!(refused.len(), 6, "{refused:?}");
    assert!(
        !refused.contains(&"service=\"api\",reason=\"stalled\"} 0"),
        "{refused:?}"
    );
    pool.hangs.store(false, Ordering::SeqCst);
    gateway
        .until(|it| lines(it, "late_total") == [format!("service=\"api\"}} {limit}")])
        .await;
    gateway.stop().await;
}
