//! A host as many are: a number of workers, a queue in front of them that has no end, and no look
//! back at whether anybody still waits. It can be told to hang.
//!
//! Invariant: a request that has come is worked on once, in its turn, whoever has left meanwhile.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};

/// Says when the client will have given up, in microseconds since 1970.
pub(crate) const GIVES_UP: &str = "x-gives-up-us";
/// A head that is longer than this is not from these tools.
const HEAD_MAX: usize = 16 << 10;

#[derive(Debug, Args)]
pub(crate) struct SlotsArgs {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// How long requests take
    #[arg(long, value_enum, default_value = "fixed")]
    times: Times,
    /// In the mean
    #[arg(long, default_value_t = 20)]
    mean_ms: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Say in each answer how many workers there are
    #[arg(long)]
    declare: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Times {
    Fixed,
    Exponential,
    /// Nine of ten take a third of the mean, one takes seven times the mean.
    Mixed,
}

/// What the queue and the workers share.
#[derive(Debug)]
struct House {
    inner: Mutex<Inner>,
    work: Notify,
    hang: watch::Sender<Hang>,
    answer: Vec<u8>,
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<Job>,
    counts: Counts,
    draw: Draw,
}

/// The first `workers` do nothing until then.
#[derive(Debug, Clone, Copy)]
struct Hang {
    workers: usize,
    until: Instant,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    came: u64,
    done: u64,
    /// Begun when their clients had given up.
    dead: u64,
    busy: Duration,
    waiting_max: usize,
}

#[derive(Debug)]
struct Job {
    gives_up_us: Option<u128>,
    answered: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Draw {
    times: Times,
    mean: Duration,
    state: u64,
}

impl Draw {
    /// Evenly from above 0 to 1 (`SplitMix64`; Steele, Lea and Flood, 2014).
    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn time(&mut self) -> Duration {
        let unit = self.unit();
        match self.times {
            Times::Fixed => self.mean,
            Times::Exponential => self.mean.mul_f64(-unit.ln()),
            Times::Mixed if unit > 0.1 => self.mean / 3,
            Times::Mixed => self.mean * 7,
        }
    }
}

impl House {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<(Job, Duration)> {
        let mut inner = self.inner();
        let job = inner.queue.pop_front()?;
        let gone = job.gives_up_us.is_some_and(|at| at < now_us());
        inner.counts.dead += u64::from(gone);
        let time = inner.draw.time();
        Some((job, time))
    }

    fn counts(&self) -> String {
        let inner = self.inner();
        let counts = inner.counts;
        format!(
            "{{\"came\":{},\"done\":{},\"dead\":{},\"busy_us\":{},\"waiting\":{},\"waiting_max\":{}}}",
            counts.came,
            counts.done,
            counts.dead,
            counts.busy.as_micros(),
            inner.queue.len(),
            counts.waiting_max
        )
    }
}

fn now_us() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_micros())
}

pub(crate) async fn run(args: SlotsArgs) -> std::io::Result<()> {
    let declared = match args.declare {
        true => format!("x-plimsoll-workers: {}\r\n", args.workers),
        false => String::new(),
    };
    let house = Arc::new(House {
        inner: Mutex::new(Inner {
            queue: VecDeque::new(),
            counts: Counts::default(),
            draw: Draw {
                times: args.times,
                mean: Duration::from_millis(args.mean_ms),
                state: args.seed,
            },
        }),
        work: Notify::new(),
        hang: watch::Sender::new(Hang {
            workers: 0,
            until: Instant::now(),
        }),
        answer: format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{declared}\r\nok").into_bytes(),
    });
    for number in 0..args.workers {
        tokio::spawn(worker(house.clone(), number));
    }
    let listener = TcpListener::bind(args.listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(house.clone(), stream));
    }
}

async fn worker(house: Arc<House>, number: usize) {
    let mut hang = house.hang.subscribe();
    loop {
        let Some((job, time)) = house.take() else {
            house.work.notified().await;
            continue;
        };
        let mut began = Instant::now();
        loop {
            let now = *hang.borrow_and_update();
            if number < now.workers && now.until > Instant::now() {
                tokio::time::sleep_until(now.until.into()).await;
                // All of it again: what it waited for was not there.
                began = Instant::now();
            }
            tokio::select! {
                () = tokio::time::sleep(time) => break,
                _ = hang.changed() => {}
            }
        }
        let _ = job.answered.send(());
        let mut inner = house.inner();
        inner.counts.done += 1;
        inner.counts.busy += began.elapsed();
    }
}

/// One connection: a request at a time, without a body.
async fn serve(house: Arc<House>, mut stream: TcpStream) {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
                let head: Vec<u8> = read.drain(..end + 4).collect();
                break String::from_utf8_lossy(&head).into_owned();
            }
            match stream.read_buf(&mut read).await {
                Ok(1..) if read.len() <= HEAD_MAX => {}
                _ => return,
            }
        };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let answer = match path.strip_prefix("/-/") {
            Some(order) => {
                let body = house.obey(order);
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .into_bytes()
            }
            None => {
                house.clone().worked_on(&head, &mut stream, &mut read).await;
                house.answer.clone()
            }
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

impl House {
    fn obey(&self, order: &str) -> String {
        let (name, query) = order.split_once('?').unwrap_or((order, ""));
        let number = |key: &str| {
            let pairs = query.split('&').filter_map(|it| it.split_once('='));
            pairs
                .filter(|it| it.0 == key)
                .find_map(|it| it.1.parse::<u64>().ok())
                .unwrap_or(0)
        };
        if name == "hang" {
            self.hang.send_replace(Hang {
                workers: usize::try_from(number("workers")).unwrap_or(usize::MAX),
                until: Instant::now() + Duration::from_millis(number("ms")),
            });
        }
        self.counts()
    }

    /// Ends when a worker is done with it, also if the client has left.
    async fn worked_on(self: Arc<House>, head: &str, stream: &mut TcpStream, read: &mut Vec<u8>) {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        let gives_up = lines.find(|line| line.0.eq_ignore_ascii_case(GIVES_UP));
        let (answered, mut answer) = oneshot::channel();
        let job = Job {
            gives_up_us: gives_up.and_then(|it| it.1.trim().parse().ok()),
            answered,
        };
        {
            let mut inner = self.inner();
            inner.queue.push_back(job);
            inner.counts.came += 1;
            inner.counts.waiting_max = inner.counts.waiting_max.max(inner.queue.len());
        }
        self.work.notify_one();
        let is_open = tokio::select! {
            _ = &mut answer => return,
            more = stream.read_buf(read) => matches!(more, Ok(1..)),
        };
        // Left or not, it is worked on; one that is there has sent its next request early.
        let _ = is_open;
        let _ = answer.await;
    }
}
