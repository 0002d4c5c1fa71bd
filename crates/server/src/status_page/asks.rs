//! Who wants to be told: the form, and the links in mails.
//!
//! Whether an address is known is never told: the answer is the same, and the mail goes
//! out after it. Opening a link changes nothing, because mail scanners open links.
//!
//! Invariant: a request writes to the store only within the bounds of [`Rates`] or with
//! a ticket, and at most [`STORE_WAITING_MAX`] wait for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{Html, IntoResponse, Response};
use incident::status::PageInfo;
use maud::Markup;
use model::Timestamp;
use subscribers::{Kind, Refused, StoreError, Subscribers};
use tokio::sync::{Semaphore, mpsc};

use super::page;
use super::serve::App;
use crate::listen::Peer;

/// Requests that wait for the store; each takes it for milliseconds.
const STORE_WAITING_MAX: usize = 64;
/// Questions that wait to be mailed.
const QUESTIONS_MAX: usize = 1000;
/// A network asks for so many addresses within [`RATE_WINDOW`]: an office behind one address is served.
const PER_NETWORK_MAX: u32 = 20;
/// All together: a relay takes that in minutes, and a flood from many networks stays bearable.
const ALL_MAX: u32 = 2000;
/// See [`PER_NETWORK_MAX`].
const RATE_WINDOW: Duration = Duration::from_secs(3600);

/// The store, for several askers.
#[derive(Clone)]
pub(super) struct Store {
    store: Arc<Mutex<Subscribers>>,
    places: Arc<Semaphore>,
}

impl Store {
    pub(super) fn new(store: Subscribers) -> Store {
        Store {
            store: Arc::new(Mutex::new(store)),
            places: Arc::new(Semaphore::new(STORE_WAITING_MAX)),
        }
    }

    /// The same store with a queue of its own: a crowd of askers keeps nobody else from it.
    pub(super) fn aside(&self) -> Store {
        Store {
            store: self.store.clone(),
            places: Arc::new(Semaphore::new(STORE_WAITING_MAX)),
        }
    }

    /// `None`: too many wait for it, or it can't be used (that is logged).
    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Subscribers, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut store, Timestamp::now())
        });
        match done.await {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                tracing::error!(error = %crate::words(&error), "the store of subscribers");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the store of subscribers");
                None
            }
        }
    }
}

/// "Was it you?", to be mailed.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) address: String,
    /// What says yes.
    pub(super) link: String,
}

/// Takes subscriptions.
#[derive(Clone)]
pub(super) struct Desk {
    store: Store,
    rates: Arc<Mutex<Rates>>,
    questions: mpsc::Sender<Question>,
    info: Arc<PageInfo>,
}

impl Desk {
    pub(super) fn open(store: Store, info: Arc<PageInfo>) -> (Desk, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let desk = Desk {
            store,
            rates: Arc::default(),
            questions,
            info,
        };
        (desk, asked)
    }
}

/// How often was asked in this window. At most [`ALL_MAX`] networks are remembered, one for each that was let in.
#[derive(Debug, Default)]
struct Rates {
    began: Option<Instant>,
    all: u32,
    networks: HashMap<IpAddr, u32>,
}

impl Rates {
    /// How long to wait; `None`: not at all.
    fn wait(&mut self, from: IpAddr, now: Instant) -> Option<Duration> {
        let passed = self.began.map(|began| now.saturating_duration_since(began));
        let passed = passed.filter(|passed| *passed < RATE_WINDOW);
        let Some(passed) = passed else {
            *self = Rates {
                began: Some(now),
                ..Rates::default()
            };
            return self.wait(from, now);
        };
        let network = network(from);
        let asked = self.networks.get(&network).copied().unwrap_or(0);
        if asked >= PER_NETWORK_MAX || self.all >= ALL_MAX {
            return Some(RATE_WINDOW.saturating_sub(passed));
        }
        self.all += 1;
        self.networks.insert(network, asked + 1);
        None
    }
}

/// A site of IPv6 has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() >> 64 << 64).to_be_bytes()),
        v4 => v4,
    }
}

/// The form.
pub(super) async fn subscribe(
    State(app): State<App>,
    Extension(Peer(peer)): Extension<Peer>,
    body: Bytes,
) -> Response {
    let Some(desk) = &app.desk else {
        return not_taken(&app);
    };
    let wait = {
        let mut rates = desk.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.wait(peer.ip(), Instant::now())
    };
    if let Some(wait) = wait {
        let words = page::notice(
            &app.info,
            "Too many requests",
            "Please try again in an hour.",
            None,
        );
        let header = [(RETRY_AFTER, wait.as_secs().max(1).to_string())];
        return (header, html(StatusCode::TOO_MANY_REQUESTS, words)).into_response();
    }
    let Some((address, components)) = read(&body, &app.site.borrow().components) else {
        return bad(
            &app,
            "This is not a form of this page. Please go back and try again.",
        );
    };
    let asked = {
        let address = address.clone();
        let ask =
            move |store: &mut Subscribers, now| store.ask(Kind::Mail, &address, &components, now);
        desk.store.with(ask).await
    };
    let ticket = match asked {
        None => return later(&app),
        Some(Err(Refused::NotAnAddress)) => {
            return bad(
                &app,
                "This is not a mail address. Please go back and look at it again.",
            );
        }
        Some(Err(Refused::Full)) => return later(&app),
        Some(Ok(ticket)) => ticket,
    };
    if let Some(ticket) = ticket {
        let link = format!("{}/confirm/{ticket}", desk.info.url);
        let address = address.trim().to_owned();
        // A relay that hangs makes a queue, which must not tell who is known: the answer is the same.
        if desk.questions.try_send(Question { address, link }).is_err() {
            tracing::error!("too many questions wait to be mailed; one is left out");
        }
    }
    let words = page::notice(
        &app.info,
        "Please look into your mailbox",
        "If the address can be written to, a mail with a link is on its way. Nothing else is sent before you follow it.",
        None,
    );
    html(StatusCode::OK, words)
}

/// The address and the components, of those that there are (none: all of them).
fn read(body: &[u8], known: &[String]) -> Option<(String, Vec<String>)> {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(body).ok()?;
    let mut address = None;
    let mut components = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            "address" if address.is_none() => address = Some(value),
            "component" if known.contains(&value) => {
                if !components.contains(&value) {
                    components.push(value);
                }
            }
            _ => return None,
        }
    }
    Some((address?, components))
}

/// The page behind the link in the question.
pub(super) async fn show_confirm(State(app): State<App>) -> Response {
    let words = page::notice(
        &app.info,
        "Do you want to be told of incidents?",
        "You can end it at any time, with one click in each mail.",
        Some("Yes, tell me"),
    );
    html(StatusCode::OK, words)
}

pub(super) async fn confirm(State(app): State<App>, Path(ticket): Path<String>) -> Response {
    let Some(desk) = &app.desk else {
        return not_taken(&app);
    };
    let confirmed = desk.store.with(move |store, _| store.confirm(&ticket));
    match confirmed.await {
        None => later(&app),
        Some(false) => unknown(&app),
        Some(true) => {
            let words = page::notice(&app.info, "Done", "You will be told of incidents.", None);
            html(StatusCode::OK, words)
        }
    }
}

/// The page behind the link that ends it.
pub(super) async fn show_leave(State(app): State<App>) -> Response {
    let words = page::notice(
        &app.info,
        "Do you want no more mails?",
        "Your address is deleted.",
        Some("No more mails"),
    );
    html(StatusCode::OK, words)
}

/// By the button, or by a mail program (RFC 8058): no cookie, no second question.
pub(super) async fn leave(
    State(app): State<App>,
    Path(ticket): Path<String>,
    _body: Bytes,
) -> Response {
    let Some(desk) = &app.desk else {
        return not_taken(&app);
    };
    let left = desk.store.with(move |store, _| store.unsubscribe(&ticket));
    match left.await {
        None => later(&app),
        Some(false) => unknown(&app),
        Some(true) => {
            let words = page::notice(&app.info, "Done", "Your address is deleted.", None);
            html(StatusCode::OK, words)
        }
    }
}

pub(super) fn html(status: StatusCode, words: Markup) -> Response {
    (status, Html(words.into_string())).into_response()
}

fn bad(app: &App, why: &str) -> Response {
    let words = page::notice(&app.info, "That did not work", why, None);
    html(StatusCode::BAD_REQUEST, words)
}

fn unknown(app: &App) -> Response {
    let why = "It is cut off, or older than three days.";
    let words = page::notice(&app.info, "This link opens nothing", why, None);
    html(StatusCode::NOT_FOUND, words)
}

fn later(app: &App) -> Response {
    let why = "Please try again in some minutes.";
    let words = page::notice(&app.info, "Not at the moment", why, None);
    let header = [(RETRY_AFTER, "300")];
    (header, html(StatusCode::SERVICE_UNAVAILABLE, words)).into_response()
}

fn not_taken(app: &App) -> Response {
    let why = "No mails are sent from here. The feeds tell the same.";
    let words = page::notice(&app.info, "Nobody can subscribe here", why, None);
    html(StatusCode::NOT_FOUND, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_slowed_down_and_no_flood_grows_the_memory() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        for _ in 0..PER_NETWORK_MAX {
            assert_eq!(rates.wait(one, now), None);
        }
        assert!(rates.wait(neighbour, now).is_some(), "the same network");
        assert_eq!(rates.wait("192.0.2.1".parse().unwrap(), now), None);
        for n in 0..ALL_MAX * 2 {
            rates.wait(IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!(rates.all, ALL_MAX);
        assert!(rates.networks.len() <= ALL_MAX as usize);
        assert_eq!(rates.wait(one, now + RATE_WINDOW), None, "a new window");
    }

    #[test]
    fn a_form_names_one_address_and_components_that_there_are() {
        let known = ["api".to_owned(), "web".to_owned()];
        let read = |body: &str| read(body.as_bytes(), &known);
        let all = read("address=ada%40example.com").unwrap();
        assert_eq!(all, ("ada@example.com".into(), vec![]));
        let some = read("component=web&address=a%40b.c&component=web&component=api").unwrap();
        assert_eq!(some.1, ["web", "api"]);
        for bad in [
            "",
            "component=web",
            "address=a%40b.c&component=db",
            "address=a&address=b",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
