//! The page as Atom (RFC 4287) and RSS 2.0.
//!
//! Invariant: an entry is named by its incident for ever, and `updated` moves
//! with each update, so that readers show it again instead of twice.

use std::fmt::Write;

use model::Timestamp;

use super::{PageInfo, Post, View};

/// Entries of a feed, the newest.
pub const ENTRIES_MAX: usize = 25;

/// `history.atom`.
pub fn atom(page: &PageInfo, view: &View) -> String {
    let url = escaped(&page.url);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String can't fail.
    let _ = write!(
        out,
        "<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"en\">\n  <id>{url}/history</id>\n  \
         <title>{} status</title>\n  <updated>{}</updated>\n  <author><name>{}</name></author>\n  \
         <link rel=\"alternate\" type=\"text/html\" href=\"{url}\"/>\n  \
         <link rel=\"self\" type=\"application/atom+xml\" href=\"{url}/history.atom\"/>\n",
        escaped(&page.name),
        view.updated_at,
        escaped(&page.name),
    );
    for post in view.incidents.iter().take(ENTRIES_MAX) {
        let link = link(page, post);
        let _ = write!(
            out,
            "  <entry>\n    <id>{link}</id>\n    <title>{}</title>\n    <published>{}</published>\n    \
             <updated>{}</updated>\n    <link rel=\"alternate\" type=\"text/html\" href=\"{link}\"/>\n    \
             <content type=\"html\">{}</content>\n  </entry>\n",
            escaped(&post.name),
            post.started_at,
            post.updated_at(),
            escaped(&html(post)),
        );
    }
    out.push_str("</feed>\n");
    out
}

/// `history.rss`.
pub fn rss(page: &PageInfo, view: &View) -> String {
    let url = escaped(&page.url);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = write!(
        out,
        "<rss version=\"2.0\">\n  <channel>\n    <title>{0} status</title>\n    <link>{url}</link>\n    \
         <description>Incidents of {0}</description>\n    <lastBuildDate>{1}</lastBuildDate>\n",
        escaped(&page.name),
        mail_time(view.updated_at),
    );
    for post in view.incidents.iter().take(ENTRIES_MAX) {
        let _ = write!(
            out,
            "    <item>\n      <title>{}</title>\n      <link>{}</link>\n      \
             <guid isPermaLink=\"false\">{}</guid>\n      <pubDate>{}</pubDate>\n      \
             <description>{}</description>\n    </item>\n",
            escaped(&post.name),
            link(page, post),
            escaped(&format!("{}-incident-{}", page.id, post.id)),
            mail_time(post.updated_at()),
            escaped(&html(post)),
        );
    }
    out.push_str("  </channel>\n</rss>\n");
    out
}

fn link(page: &PageInfo, post: &Post) -> String {
    escaped(&format!("{}/incidents/{}", page.url, post.id))
}

/// The updates, the newest first, as HTML: it is escaped once more where it stands.
fn html(post: &Post) -> String {
    let updates = post.updates.iter().rev().map(|update| {
        let status = update.status.as_str();
        let body = escaped(&update.body);
        format!(
            "<p><small>{}</small><br/><strong>{status}</strong>: {body}</p>",
            update.at
        )
    });
    updates.collect()
}

/// RFC 5322's form, which RSS asks for.
fn mail_time(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// Text for XML. Characters that XML 1.0 doesn't know are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}
