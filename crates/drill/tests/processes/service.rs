//! The API server with a healthy, an absent and a silent authentication service.

use std::net::SocketAddr;
use std::time::Duration;

use drill::auth::{BLACKHOLE_BACKLOG, blackhole};
use drill::service::Stats;

use crate::world::{PATIENCE, Program, ask, command, configure, get, until, unused};

const ANY: &str = "127.0.0.1:0";

struct Api {
    program: Program,
    address: SocketAddr,
    stats: SocketAddr,
}

fn start(config: &str, threads: &str) -> Api {
    let mut program = Program::start([
        "drill-service",
        "--config",
        config,
        "--listen",
        ANY,
        "--stats",
        ANY,
        "--environment",
        "production",
        "--host",
        "prod-a-1",
        "--threads",
        threads,
    ]);
    let address = program.address();
    let stats = program.address();
    Api {
        program,
        address,
        stats,
    }
}

impl Api {
    fn stats(&self) -> Stats {
        let (_, body) = get(self.stats, "/stats", PATIENCE).unwrap();
        serde_json::from_value(body).unwrap()
    }
}

#[test]
fn authenticates_each_api_request_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut auth = Program::start(["drill-auth", "--listen", ANY]);
    let auth_address = auth.address();
    let api = start(&configure(dir.path(), auth_address, "work_ms = 1"), "2");
    for _ in 0..5 {
        let (status, body) = get(api.address, "/v1/orders?page=2", PATIENCE).unwrap();
        assert_eq!(status, 200, "{body}");
        assert_eq!(body["host"], "prod-a-1");
        assert_eq!(body["version"], "v7");
        assert_eq!(body["path"], "/v1/orders");
    }
    assert_eq!(get(api.address, "/healthz", PATIENCE).unwrap().0, 200);
    let (_, asked) = get(auth_address, "/stats", PATIENCE).unwrap();
    assert_eq!(asked["authenticated"], 5);
    until("idle threads", || {
        (api.stats().threads_busy == 0).then_some(())
    });
    let stats = api.stats();
    assert_eq!((stats.threads, stats.served, stats.failed), (2, 5, 0));
    assert_eq!((stats.accepted, stats.queued), (6, 0));
    assert!(api.program.end() && auth.end());
}

#[test]
fn with_a_deadline_an_absent_service_costs_answers_but_no_threads() {
    let dir = tempfile::tempdir().unwrap();
    let config = configure(dir.path(), unused(), "library_deadline_ms = 200");
    let api = start(&config, "2");
    for _ in 0..4 {
        let (status, body) = get(api.address, "/v1/orders", PATIENCE).unwrap();
        assert_eq!(status, 500);
        assert!(
            body["reason"].to_string().contains("can't be reached"),
            "{body}"
        );
    }
    assert_eq!(get(api.address, "/healthz", PATIENCE).unwrap().0, 200);
    until("idle threads", || {
        (api.stats().threads_busy == 0).then_some(())
    });
    assert_eq!(api.stats().failed, 4);
}

#[test]
fn with_a_deadline_a_silent_service_costs_answers_but_no_threads() {
    let dir = tempfile::tempdir().unwrap();
    let hole = blackhole(ANY.parse().unwrap()).unwrap();
    let more = "library_deadline_ms = 100\nhealth_deep = true";
    let api = start(&configure(dir.path(), hole.address(), more), "2");
    // More than the hole's backlog holds, so that connecting is silent too.
    for _ in 0..BLACKHOLE_BACKLOG + 4 {
        let (status, body) = get(api.address, "/v1/orders", PATIENCE).unwrap();
        assert_eq!(status, 500);
        assert!(
            body["reason"].to_string().contains("within 100 ms"),
            "{body}"
        );
    }
    assert_eq!(get(api.address, "/healthz", PATIENCE).unwrap().0, 503);
    until("idle threads", || {
        (api.stats().threads_busy == 0).then_some(())
    });
}

#[test]
fn without_a_deadline_a_silent_service_takes_every_thread() {
    let dir = tempfile::tempdir().unwrap();
    let mut hole = Program::start(["drill-auth", "--listen", ANY, "--blackhole"]);
    let api = start(&configure(dir.path(), hole.address(), ""), "4");
    assert_eq!(get(api.address, "/healthz", PATIENCE).unwrap().0, 200);
    let waiting: Vec<_> = (0..4)
        .map(|_| ask(api.address, "/v1/orders").unwrap())
        .collect();
    until("all threads to be taken", || {
        (api.stats().threads_busy == 4).then_some(())
    });
    let silent = Duration::from_millis(300);
    assert!(get(api.address, "/healthz", silent).is_err());
    // That one waits in the queue of three, two more fit, the rest stays in the kernel.
    let queued: Vec<_> = (0..6)
        .map(|_| ask(api.address, "/v1/orders").unwrap())
        .collect();
    until("a full queue", || (api.stats().queued == 3).then_some(()));
    let stats = api.stats();
    assert_eq!((stats.accepted, stats.served, stats.failed), (8, 0, 0));
    assert!(get(api.address, "/healthz", silent).is_err());
    // It lasts, and yet SIGTERM ends the process.
    assert_eq!(api.stats().threads_busy, 4);
    drop((waiting, queued));
    assert!(api.program.end());
}

#[test]
fn without_a_deadline_connecting_hangs_as_well_as_reading() {
    let dir = tempfile::tempdir().unwrap();
    let hole = blackhole(ANY.parse().unwrap()).unwrap();
    let threads = usize::from(BLACKHOLE_BACKLOG) + 8;
    let api = start(
        &configure(dir.path(), hole.address(), ""),
        &threads.to_string(),
    );
    let _waiting: Vec<_> = (0..threads)
        .map(|_| ask(api.address, "/v1/orders").unwrap())
        .collect();
    until("all threads to be taken", || {
        (api.stats().threads_busy == threads).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(api.stats().threads_busy, threads);
}

#[test]
fn check_tells_good_from_bad() {
    let dir = tempfile::tempdir().unwrap();
    let check = |more: &str, environment: &str| {
        let config = configure(dir.path(), unused(), more);
        let arguments = [
            "drill-service",
            "--check",
            "--config",
            &config,
            "--environment",
            environment,
        ];
        let done = command(arguments).output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    assert_eq!(check("", "production").0, Some(0));
    let (code, words) = check("work_ms = \"slow\"", "production");
    assert_eq!(code, Some(1));
    assert!(words.contains("api.toml:2:11: "), "{words}");
    let (code, words) = check("", "test");
    assert_eq!(code, Some(1));
    assert!(words.contains("no [auth.test], only production"), "{words}");
}
