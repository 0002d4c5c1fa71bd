//! The finished page and documents of one view.
//!
//! Invariant: the same view, seen in the same minute, makes the same bytes, so that an
//! ETag changes with the content only.

use std::collections::BTreeMap;

use bytes::Bytes;
use incident::status::json::{self, Works};
use incident::status::{PageInfo, View, feeds};
use model::{Millis, Timestamp};
use serde_json::Value;

use super::page;

/// A view that is older than this says so: the loop makes one each second.
pub(super) const STALE_AFTER: Millis = Millis::seconds(120);
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) media_type: &'static str,
    /// Quoted, as the header has it.
    pub(super) etag: String,
    pub(super) body: Bytes,
}

impl File {
    fn of(media_type: &'static str, body: impl Into<Bytes>) -> File {
        let body = body.into();
        let etag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..16]);
        File {
            media_type,
            etag,
            body,
        }
    }
}

/// All documents, by their path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) files: BTreeMap<String, File>,
    /// The page without the form: where it is a file, nobody answers a form.
    pub(super) still: Option<File>,
    /// Ids of the components, which subscriptions may name.
    pub(super) components: Vec<String>,
}

impl Site {
    /// `asked`: subscriptions are taken.
    pub(super) fn of(info: &PageInfo, view: &View, asked: bool, now: Timestamp) -> Site {
        let silent = Millis::between(view.now, now) > STALE_AFTER;
        let html = |markup: maud::Markup| File::of(HTML, markup.into_string());
        let mut files = BTreeMap::new();
        let front = |asked| html(page::front(info, view, silent, asked));
        files.insert("/".to_owned(), front(asked));
        for post in &view.incidents {
            let path = format!("/incidents/{}", post.id);
            files.insert(path, html(page::incident(info, view, post)));
        }
        for (work, stage) in &view.maintenances {
            let path = format!("/maintenances/{}", work.id);
            files.insert(path, html(page::maintenance(info, view, work, stage)));
        }
        let documents: [(&str, Value); 8] = [
            ("summary", json::summary(info, view)),
            ("status", json::status(info, view)),
            ("components", json::components(info, view)),
            ("incidents", json::incidents(info, view, false)),
            ("incidents/unresolved", json::incidents(info, view, true)),
            (
                "scheduled-maintenances",
                json::maintenances(info, view, Works::All),
            ),
            (
                "scheduled-maintenances/upcoming",
                json::maintenances(info, view, Works::Upcoming),
            ),
            (
                "scheduled-maintenances/active",
                json::maintenances(info, view, Works::Active),
            ),
        ];
        for (name, value) in documents {
            let path = format!("/api/v2/{name}.json");
            files.insert(path, File::of(JSON, value.to_string()));
        }
        let mut also = |path: &str, media_type, body: String| {
            files.insert(path.to_owned(), File::of(media_type, body));
        };
        also(
            "/history.atom",
            "application/atom+xml; charset=utf-8",
            feeds::atom(info, view),
        );
        also(
            "/history.rss",
            "application/rss+xml; charset=utf-8",
            feeds::rss(info, view),
        );
        let badge = page::badge(view).into_string();
        also("/badge.svg", "image/svg+xml; charset=utf-8", badge);
        let components = view.components.iter();
        Site {
            files,
            still: Some(front(false)),
            components: components.map(|it| it.component.id.to_string()).collect(),
        }
    }
}

/// A page's id for programs: its name in lower case, with `-` for all else.
pub(super) fn id(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_lowercase(),
        _ => '-',
    });
    letters.collect()
}
