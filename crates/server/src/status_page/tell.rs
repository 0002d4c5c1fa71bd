//! Mails what users are told to those who asked for it.
//!
//! Each update is noted in the store under its own id, for everybody who is to be told,
//! in one transaction; then messages are handed out as fast as they are tried. What the
//! store has is told after a crash as well.
//!
//! Invariant: no more messages are handed out than are tried at once, so that none is
//! tried by two.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use incident::status::{PageInfo, Post, Update, View};
use model::incident::UpdateStatus;
use model::{Millis, Timestamp};
use notify::{Address, Happening, Notice, Outcome, Settings, Urgency};
use serde::{Deserialize, Serialize};
use subscribers::{Delivery, Kind, TOLD_FOR, Told};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::asks::{Question, Store};

/// Tries at once. A relay that takes a second for each still gets a thousand within a minute.
const TRIES_MAX: usize = 20;
/// Handed out at a time, so that the store is asked for some and not for each.
const REFILL: usize = TRIES_MAX / 2;
/// An update that is older when it is first seen is told to nobody: mails about yesterday help
/// nobody. Shorter than the store remembers what it told.
const TOLD_WITHIN: Millis = Millis::seconds(24 * 3600);
const _: () = assert!(TOLD_WITHIN.0 < TOLD_FOR.0);
/// The store is looked at this often at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Old rows are deleted this often.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// A question is tried so often; who got none asks again.
const QUESTION_TRIES_MAX: u32 = 5;
/// The first pause between them; it doubles.
const QUESTION_PAUSE: Duration = Duration::from_secs(2);
/// Questions that are tried at once.
const QUESTIONS_TRIED_MAX: usize = 4;

/// What the store keeps of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct News {
    thread: String,
    title: String,
    text: String,
    link: String,
    at: Timestamp,
    is_over: bool,
    is_first: bool,
}

#[derive(Clone)]
pub(super) struct Teller {
    store: Store,
    settings: Arc<Settings>,
    info: Arc<PageInfo>,
}

impl Teller {
    pub(super) fn new(store: Store, settings: Arc<Settings>, info: Arc<PageInfo>) -> Teller {
        Teller {
            store,
            settings,
            info,
        }
    }

    /// Mails questions, until nobody asks any more.
    pub(super) async fn ask(self, mut questions: mpsc::Receiver<Question>) {
        let mut tries = JoinSet::new();
        while let Some(question) = questions.recv().await {
            while tries.len() >= QUESTIONS_TRIED_MAX {
                tries.join_next().await;
            }
            tries.spawn(self.clone().put(question));
        }
    }

    async fn put(self, question: Question) {
        let notice = self.question(&question);
        let address = Address::Mail {
            to: question.address,
        };
        let mut pause = QUESTION_PAUSE;
        for _ in 0..QUESTION_TRIES_MAX {
            let couriers = self.settings.couriers();
            match couriers.send(&address, &notice, notify::TRY_WITHIN).await {
                Outcome::Sent { .. } => return,
                // Who it was for is not logged: it may be nobody who wanted anything.
                Outcome::Refused { reason } => {
                    tracing::warn!(reason, "a question to a subscriber was refused");
                    return;
                }
                Outcome::Retry { reason, after } => {
                    tracing::warn!(reason, "a question to a subscriber is not sent yet");
                    tokio::time::sleep(after.unwrap_or(pause).max(pause)).await;
                    pause *= 2;
                }
            }
        }
        tracing::error!("a question to a subscriber was given up");
    }

    fn question(&self, question: &Question) -> Notice {
        let name = &self.info.name;
        // From the link, so that each question is one message and tells nothing of it.
        let key = blake3::hash(question.link.as_bytes()).to_hex();
        Notice {
            key: format!("status-question-{}", &key[..16]),
            thread: format!("status-question-{}", &key[..16]),
            happening: Happening::Updated,
            urgency: Urgency::Low,
            title: format!("{name} status: please confirm"),
            text: format!(
                "Somebody, probably you, asked {} to write to this address about incidents of {name}.\n\n\
                 If it was you, say yes here:\n{}\n\n\
                 If not, do nothing: the address is forgotten in three days.",
                self.info.url, question.link
            ),
            html: None,
            source: "plimsoll".into(),
            at: Timestamp::now(),
            link: None,
            acknowledge: None,
            unsubscribe: None,
        }
    }

    /// Tells whoever is to be told, for ever.
    pub(super) async fn run(self, mut views: watch::Receiver<Option<Arc<View>>>) {
        let mut noted = BTreeSet::new();
        let mut tries: JoinSet<(i64, Told)> = JoinSet::new();
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                // The first tick of both comes at once.
                _ = look.tick() => {}
                _ = tidy.tick() => drop(self.store.with(|store, now| store.tidy(now)).await),
                Some(tried) = tries.join_next(), if !tries.is_empty() => {
                    self.write_down(tried.ok(), &mut tries).await;
                }
            }
            let view = views.borrow_and_update().clone();
            if let Some(view) = view {
                self.note(&view, &mut noted).await;
            }
            let free = TRIES_MAX - tries.len();
            if free >= REFILL {
                let most = u32::try_from(free).unwrap_or(u32::MAX);
                let due = self.store.with(move |store, now| store.due(most, now));
                for delivery in due.await.unwrap_or_default() {
                    tries.spawn(self.clone().carry(delivery));
                }
            }
        }
    }

    /// Writes down all that has come to an end, in one go.
    async fn write_down(&self, first: Option<(i64, Told)>, tries: &mut JoinSet<(i64, Told)>) {
        let mut ended: Vec<(i64, Told)> = first.into_iter().collect();
        while let Some(tried) = tries.try_join_next() {
            ended.extend(tried.ok());
        }
        // What is not written down is handed out again, under the same key.
        let told = self.store.with(move |store, now| {
            ended
                .iter()
                .try_for_each(|(id, told)| store.told(*id, told, now))
        });
        told.await;
    }

    /// Notes updates that were not there before.
    async fn note(&self, view: &View, noted: &mut BTreeSet<String>) {
        let mut there = BTreeSet::new();
        for post in &view.incidents {
            for (number, update) in post.updates.iter().enumerate() {
                let is_old = Millis::between(update.at, view.now) > TOLD_WITHIN;
                let is_noted = noted.contains(&update.id);
                if is_old || is_noted || self.publish(post, number, update).await {
                    there.insert(update.id.clone());
                }
            }
        }
        *noted = there;
    }

    async fn publish(&self, post: &Post, number: usize, update: &Update) -> bool {
        let news = self.news(post, number, update);
        let Ok(payload) = serde_json::to_string(&news) else {
            return false;
        };
        let key = update.id.clone();
        let components: Vec<String> = post.components.iter().map(ToString::to_string).collect();
        let published = self
            .store
            .with(move |store, now| store.publish(&key, &components, &payload, now));
        published.await.is_some()
    }

    fn news(&self, post: &Post, number: usize, update: &Update) -> News {
        let status = super::page::word(update.status);
        let is_over = matches!(
            update.status,
            UpdateStatus::Resolved | UpdateStatus::Postmortem
        );
        News {
            thread: format!("status-incident-{}", post.id),
            title: format!("[{status}] {}", post.name),
            text: format!(
                "{}\n\n{} UTC",
                update.body,
                update.at.strftime("%-d %B %Y, %H:%M")
            ),
            link: format!("{}/incidents/{}", self.info.url, post.id),
            at: update.at,
            is_over,
            is_first: number == 0,
        }
    }

    async fn carry(self, delivery: Delivery) -> (i64, Told) {
        let id = delivery.id;
        let news: Result<News, _> = serde_json::from_str(&delivery.payload);
        let told = match (delivery.kind, news) {
            (_, Err(error)) => Told::Never(format!("it can't be read: {error}")),
            // Only addresses of mail are taken here.
            (Kind::Webhook, Ok(_)) => Told::Never("webhooks are not told of incidents".into()),
            (Kind::Mail, Ok(news)) => {
                let notice = self.notice(&delivery, news);
                let address = Address::Mail {
                    to: delivery.address,
                };
                let couriers = self.settings.couriers();
                told(couriers.send(&address, &notice, notify::TRY_WITHIN).await)
            }
        };
        (id, told)
    }

    fn notice(&self, delivery: &Delivery, news: News) -> Notice {
        Notice {
            key: format!("status-{}-{}", delivery.news, delivery.id),
            thread: news.thread,
            happening: match (news.is_over, news.is_first) {
                (true, _) => Happening::Resolved,
                (false, true) => Happening::Triggered,
                (false, false) => Happening::Updated,
            },
            urgency: Urgency::Low,
            title: news.title,
            text: news.text,
            html: None,
            source: "plimsoll".into(),
            at: news.at,
            link: Some(news.link),
            acknowledge: None,
            unsubscribe: Some(format!("{}/u/{}", self.info.url, delivery.unsubscribe)),
        }
    }
}

fn told(outcome: Outcome) -> Told {
    match outcome {
        Outcome::Sent { .. } => Told::Sent,
        Outcome::Refused { reason } => {
            tracing::warn!(reason, "a subscriber can't be told");
            Told::Never(reason)
        }
        Outcome::Retry { reason, after } => {
            tracing::warn!(reason, "a subscriber is not told yet");
            let after = after.map(|it| Millis(u64::try_from(it.as_millis()).unwrap_or(u64::MAX)));
            Told::Later(after)
        }
    }
}
