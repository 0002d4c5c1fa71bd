//! With real sockets, real threads, and targets that never answer.

use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::probe::{Anywhere, Question, Reach, Wanted};
use crate::schedule::Look;

/// A condition that holds long before this, or never.
const WITHIN: Duration = Duration::from_secs(20);

fn prober(reach: Arc<dyn Reach>) -> Prober {
    Prober::new(reach, Arc::new(rustls::RootCertStore::empty()))
}

fn spec(target: String, question: Question, every: u64, within: u64) -> Spec {
    Spec {
        question,
        target,
        every: Millis(every),
        within: Millis(within),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < WITHIN, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Takes connections and never says a word.
async fn tarpit() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

async fn http(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

fn look_of(monitor: &Monitor, name: &str) -> Option<Look> {
    monitor.newest().get(name).map(|told| told.finding.look)
}

#[tokio::test]
async fn good_bad_and_hanging_targets_are_told_apart() {
    let good = http("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nhealthy").await;
    let bad = http("HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let wanted = |contains: &str| {
        Question::Http(Wanted {
            status: None,
            contains: Some(contains.into()),
        })
    };
    let monitor = Monitor::start(prober(Arc::new(Anywhere))).unwrap();
    let mut specs = BTreeMap::from([
        (
            "good".to_owned(),
            spec(good.clone(), wanted("healthy"), 500, 400),
        ),
        (
            "sick".to_owned(),
            spec(good.clone(), wanted("hearty"), 500, 400),
        ),
        ("bad".to_owned(), spec(bad, wanted("healthy"), 500, 400)),
        ("pit".to_owned(), spec(tarpit().await, wanted(""), 500, 400)),
        (
            "odd".to_owned(),
            spec("not a target".into(), Question::Tcp, 500, 400),
        ),
    ]);
    monitor.set(specs.clone());
    until("all were asked", || monitor.newest().len() == 5).await;
    use model::gate::ProbeVerdict::{NoAnswer, WrongStatus};
    assert_eq!(look_of(&monitor, "good"), Some(Look::Good));
    assert_eq!(look_of(&monitor, "sick"), Some(Look::Bad(WrongStatus)));
    assert_eq!(look_of(&monitor, "bad"), Some(Look::Bad(WrongStatus)));
    assert_eq!(look_of(&monitor, "pit"), Some(Look::Bad(NoAnswer)));
    assert_eq!(look_of(&monitor, "odd"), Some(Look::Unknown));
    let newest = monitor.newest();
    assert!(
        newest["sick"].finding.words.contains("without \"hearty\""),
        "{newest:?}"
    );

    specs.retain(|name, _| name == "good");
    monitor.set(specs);
    until("the others are gone", || monitor.newest().len() == 1).await;
    let after = monitor.since(0).last().map_or(0, |told| told.number);
    tokio::time::timeout(WITHIN, monitor.news(after))
        .await
        .unwrap();
    let told = monitor.since(after);
    assert!(
        told.iter().all(|told| told.finding.probe == "good"),
        "{told:?}"
    );
    assert!(
        told.windows(2)
            .all(|pair| pair[0].number + 1 == pair[1].number)
    );
}

/// Blocks the thread that asks, as a library without deadlines does.
#[derive(Debug)]
struct Blocking {
    gate: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Reach for Blocking {
    fn may(&self, host: &str, _: u16) -> bool {
        if host == "blocks" {
            let _ = self.gate.lock().map(|gate| gate.recv());
        }
        true
    }
    fn allows(&self, _: &str, _: IpAddr, _: u16) -> bool {
        true
    }
    fn ports(&self) -> Vec<u16> {
        vec![0]
    }
    fn is_shut(&self) -> bool {
        false
    }
    fn refusal(&self, what: &str) -> String {
        what.into()
    }
}

#[tokio::test]
async fn threads_that_hang_are_replaced_and_the_rest_goes_on() {
    let good = http("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (release, gate) = std::sync::mpsc::channel();
    let gate = Mutex::new(gate);
    let monitor = Monitor::start(prober(Arc::new(Blocking { gate }))).unwrap();
    let mut specs: BTreeMap<String, Spec> = (0..THREADS)
        .map(|n| {
            let name = format!("blocks-{n}");
            // Asked once within this test.
            (
                name,
                spec("blocks:80".into(), Question::Tcp, 3_600_000, 500),
            )
        })
        .collect();
    // Their places on the grid lie within the hour: asked at once they are only by a short one.
    for spec in specs.values_mut() {
        spec.every = Millis(500);
    }
    specs.insert("good".into(), spec(good, Question::Tcp, 500, 400));
    monitor.set(specs);
    until("its hanging threads are noticed", || {
        monitor.vitals().replaced > 0
    })
    .await;
    until("what hangs is unknown", || {
        look_of(&monitor, "blocks-0") == Some(Look::Unknown)
    })
    .await;
    let after = monitor.since(0).last().map_or(0, |told| told.number);
    until("the good one is asked on", || {
        let told = monitor.since(after);
        told.iter()
            .any(|told| told.finding.probe == "good" && told.finding.look == Look::Good)
    })
    .await;
    assert!(monitor.vitals().silent < Millis(5_000));
    drop(release);
}

#[tokio::test]
async fn a_reader_that_sleeps_costs_only_itself() {
    let board = Board {
        inside: Mutex::new(Inside {
            number: 0,
            told: VecDeque::new(),
            newest: BTreeMap::new(),
            lateness: VecDeque::new(),
            vitals: Vitals::default(),
            looked_at: Instant::now(),
        }),
        news: Notify::new(),
    };
    let (wishes, _) = channel();
    let keeper = Timekeeper {
        schedule: Schedule::default(),
        tasks: BTreeMap::new(),
        prober: prober(Arc::new(Anywhere)),
        board: Arc::new(board),
        wishes,
        began: Instant::now(),
        runtime: None,
        asked_alive: None,
        seen_alive: Instant::now(),
        replaced: 0,
    };
    let finding = Finding {
        probe: "db".into(),
        look: Look::Good,
        words: String::new(),
        took: Millis(1),
        late_by: Millis(0),
    };
    for _ in 0..FINDINGS_MAX + 10 {
        keeper.tell(vec![finding.clone()], 0);
    }
    let inside = keeper.board.inside();
    assert_eq!(
        (inside.told.len(), inside.vitals.forgotten),
        (FINDINGS_MAX, 10)
    );
    assert_eq!(inside.lateness.len(), LATENESS_OVER);
}
