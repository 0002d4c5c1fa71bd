//! The page, as HTML that needs nothing else: no script, no font, no picture.
//!
//! Structure is for screen readers first: headings in order, lists, `<time>`, and a
//! sentence for each picture. Colours never say anything alone.
//!
//! Invariant: everything from outside is text to `maud`, which escapes it.

use incident::status::{ComponentView, Day, Health, PageInfo, Post, View};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use model::incident::{Maintenance, UpdateStatus};
use model::{ComponentName, Timestamp};

use super::serve::POLICY;

const STYLE: &str = include_str!("page.css");
/// Incidents of the past on the front page; the feeds and the API have more.
const PAST_MAX: usize = 15;
/// Newest updates of an open incident on the front page; its own page has all.
const UPDATES_MAX: usize = 10;
/// A day's place in the picture, and the width of its bar.
const DAY: usize = 4;
/// Height of the picture.
const HIGH: usize = 32;

/// What users are told first. `silent`: the view is old; `asked`: subscriptions are taken.
pub(super) fn front(info: &PageInfo, view: &View, silent: bool, asked: bool) -> Markup {
    let worst = view.worst();
    let (_, words) = worst.indicator();
    let (open, past): (Vec<&Post>, Vec<&Post>) = view
        .incidents
        .iter()
        .partition(|post| post.resolved_at.is_none());
    let body = html! {
        @if silent {
            p.warn role="alert" {
                "This page has heard nothing new since " (minute(minute_of(view.now))) ". What it shows may be out of date."
            }
        }
        section.state.(class(worst)) aria-label="Overall" {
            (icon(worst))
            h1 { (words) }
        }
        p.asof { "As of " (minute(minute_of(view.now))) }
        @if !open.is_empty() {
            section aria-labelledby="open" {
                h2 #open { "Open incidents" }
                @for post in open { (open_incident(info, view, post)) }
            }
        }
        (works(view))
        @if !view.components.is_empty() {
            section aria-labelledby="components" {
                h2 #components { "Components" }
                (bars())
                ul.card.parts { @for it in &view.components { (component(it)) } }
            }
        }
        @if asked { (form(view)) }
        (history(info, &past))
    };
    let title = format!("{} status: {words}", info.name);
    document(info, &title, worst, body)
}

fn open_incident(info: &PageInfo, view: &View, post: &Post) -> Markup {
    let left_out = post.updates.len().saturating_sub(UPDATES_MAX);
    html! {
        article.card.edge.(impact(post)) {
            div.row {
                h3 { a href=(link(info, post)) { (post.name) } }
                span.is { (word(post.status())) }
            }
            p.soft { "Since " (minute(post.started_at)) (affected(view, &post.components)) }
            @if left_out > 0 {
                p.soft { a href=(link(info, post)) { (left_out) " earlier updates" } }
            }
            (updates(post, left_out))
        }
    }
}

/// In their order, the oldest first: as a story is read.
fn updates(post: &Post, left_out: usize) -> Markup {
    html! {
        ol.told {
            @for update in post.updates.iter().skip(left_out) {
                li {
                    p { b { (word(update.status)) } (minute(update.at)) }
                    p { (update.body) }
                }
            }
        }
    }
}

/// One incident on a page of its own.
pub(super) fn incident(info: &PageInfo, view: &View, post: &Post) -> Markup {
    let health = match post.resolved_at {
        Some(_) => Health::Operational,
        None => view.worst(),
    };
    let body = html! {
        article.card.edge.(impact(post)) {
            div.row {
                h1 { (post.name) }
                span.is { (word(post.status())) }
            }
            p.soft {
                "From " (minute(post.started_at))
                @match post.resolved_at {
                    Some(at) => { " to " (minute(at)) },
                    None => { ", still open" },
                }
                (affected(view, &post.components))
            }
            (updates(post, 0))
        }
        p { a href={ (info.url) "/" } { "All of the status page" } }
    };
    let title = format!("{} ({} status)", post.name, info.name);
    document(info, &title, health, body)
}

/// Announced work on a page of its own.
pub(super) fn maintenance(
    info: &PageInfo,
    view: &View,
    work: &Maintenance,
    stage: &'static str,
) -> Markup {
    let body = html! {
        (announced(view, work, stage, true))
        p { a href={ (info.url) "/" } { "All of the status page" } }
    };
    let title = format!("{} ({} status)", work.title, info.name);
    document(info, &title, Health::UnderMaintenance, body)
}

fn works(view: &View) -> Markup {
    let ahead = view.maintenances.iter().filter(|it| it.1 != "completed");
    let ahead: Vec<_> = ahead.collect();
    html! {
        @if !ahead.is_empty() {
            section aria-labelledby="works" {
                h2 #works { "Maintenance" }
                @for (work, stage) in ahead { (announced(view, work, stage, false)) }
            }
        }
    }
}

fn announced(view: &View, work: &Maintenance, stage: &str, is_title: bool) -> Markup {
    let words = match stage {
        "scheduled" => "Planned",
        "in_progress" => "Under way",
        _ => "Done",
    };
    html! {
        article.card.edge.work {
            div.row {
                @if is_title { h1 { (work.title) } } @else { h3 { (work.title) } }
                span.is { (words) }
            }
            p.soft { "From " (minute(work.starts_at)) " to " (minute(work.ends_at)) (affected(view, &work.components)) }
            @if !work.words.is_empty() { p { (work.words) } }
        }
    }
}

fn affected(view: &View, ids: &[ComponentName]) -> Markup {
    let all = view.components.iter().map(|it| &it.component);
    let names = all.filter(|it| ids.contains(&it.id));
    let names: Vec<&str> = names.map(|it| it.name.as_str()).collect();
    html! { @if !names.is_empty() { ". Affects " (names.join(", ")) "." } }
}

/// The bars of all days, drawn once and used by each component.
fn bars() -> Markup {
    let path = format!("M1.5 0v{HIGH}")
        + &format!("m{DAY}-{HIGH}v{HIGH}").repeat(incident::status::DAYS - 1);
    html! {
        svg.defs width="0" height="0" aria-hidden="true" {
            defs { path id="days" d=(path) stroke-width="3" fill="none" {} }
        }
    }
}

fn component(it: &ComponentView) -> Markup {
    let bad: Vec<(usize, &Day)> = it
        .days
        .iter()
        .enumerate()
        .filter(|(_, day)| day.major_s + day.partial_s > 0)
        .collect();
    let up = percent(Day::up_ppm(&it.days), bad.is_empty());
    let label = match bad.len() {
        0 => format!("{up} over {} days, no outage", it.days.len()),
        1 => format!("{up} over {} days, an outage on 1 day", it.days.len()),
        n => format!("{up} over {} days, outages on {n} days", it.days.len()),
    };
    html! {
        li {
            div.row {
                h3 { (it.component.name) }
                span.is.(class(it.health)) { (icon(it.health)) (name(it.health)) }
            }
            @if !it.component.description.is_empty() { p.soft { (it.component.description) } }
            svg.days viewBox={ "0 0 " (incident::status::DAYS * DAY - 1) " " (HIGH) } preserveAspectRatio="none" role="img" aria-label=(label) {
                use href="#days" {}
                @for (index, day) in bad {
                    rect.(if day.major_s > 0 { "out" } else { "part" }) x=(index * DAY) width="3" height=(HIGH) {
                        title { (spell(day)) }
                    }
                }
            }
            div.row.soft aria-hidden="true" {
                span { (it.days.len()) " days ago" } span { (up) } span { "today" }
            }
        }
    }
}

fn spell(day: &Day) -> String {
    let minutes = |seconds: u64| seconds.div_ceil(60);
    let date = day.date.strftime("%-d %B %Y");
    match (minutes(day.major_s), minutes(day.partial_s)) {
        (major, 0) => format!("{date}: major outage, {major} min"),
        (0, partial) => format!("{date}: partial outage, {partial} min"),
        (major, partial) => {
            format!("{date}: major outage, {major} min; partial outage, {partial} min")
        }
    }
}

/// Rounded down: 100 % means no outage, not a short one.
fn percent(ppm: u64, is_clean: bool) -> String {
    match ppm {
        1_000_000 if is_clean => "100 %".to_owned(),
        1_000_000 => "99.99 %".to_owned(),
        ppm => format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100),
    }
}

fn form(view: &View) -> Markup {
    html! {
        section aria-labelledby="mail" {
            h2 #mail { "Be told by mail" }
            form.card method="post" action="subscribe" {
                label for="address" { "Your mail address" }
                input #address type="email" name="address" required autocomplete="email" maxlength="254";
                @if view.components.len() > 1 {
                    fieldset {
                        legend { "About (none marked: everything)" }
                        div.picks {
                            @for it in &view.components {
                                label { input type="checkbox" name="component" value=(it.component.id); (it.component.name) }
                            }
                        }
                    }
                }
                button { "Subscribe" }
            }
        }
    }
}

fn history(info: &PageInfo, past: &[&Post]) -> Markup {
    html! {
        section aria-labelledby="past" {
            h2 #past { "Past incidents" }
            div.card {
                @if past.is_empty() { p.soft { "None that are remembered." } }
                ul.past {
                    @for post in past.iter().take(PAST_MAX) {
                        li {
                            h3 { a href=(link(info, post)) { (post.name) } }
                            p.soft {
                                (minute(post.started_at))
                                @if let Some(at) = post.resolved_at { " to " (minute(at)) }
                            }
                            @if let Some(last) = post.updates.last() { p { (word(last.status)) ": " (brief(&last.body)) } }
                        }
                    }
                }
            }
        }
    }
}

/// Longest text of a past incident on the front page, in characters.
const BRIEF_MAX: usize = 280;

fn brief(text: &str) -> String {
    match text.char_indices().nth(BRIEF_MAX) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// A page with one thing to say, and perhaps one button that posts to where it is.
pub(super) fn notice(info: &PageInfo, title: &str, words: &str, button: Option<&str>) -> Markup {
    let body = html! {
        section.card {
            h1 { (title) }
            p { (words) }
            @if let Some(button) = button { form method="post" { button { (button) } } }
        }
        p { a href={ (info.url) "/" } { (info.name) " status" } }
    };
    let title = format!("{title} ({} status)", info.name);
    document(info, &title, Health::Operational, body)
}

fn document(info: &PageInfo, title: &str, health: Health, body: Markup) -> Markup {
    let url = &info.url;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // `frame-ancestors` counts only as a header.
                meta http-equiv="Content-Security-Policy" content=(POLICY.replace("; frame-ancestors 'none'", ""));
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                link rel="icon" href=(favicon(health));
                link rel="alternate" type="application/atom+xml" title="Incidents" href={ (url) "/history.atom" };
                style { (PreEscaped(STYLE)) }
            }
            body {
                div.wide {
                    a.skip href="#main" { "To the content" }
                    header { p { a href={ (url) "/" } { (info.name) " status" } } }
                    main #main { (body) }
                    footer {
                        nav aria-label="Other forms of this page" {
                            a href={ (url) "/history.atom" } { "Atom" }
                            a href={ (url) "/history.rss" } { "RSS" }
                            a href={ (url) "/api/v2/summary.json" } { "API" }
                        }
                        p { "All times are UTC. Served by Plimsoll." }
                    }
                }
            }
        }
    }
}

/// The state as a small picture for other pages.
pub(super) fn badge(view: &View) -> Markup {
    let worst = view.worst();
    let words = name(worst);
    // Verdana's letters are about so wide at this size.
    let wide = 16 + words.len() * 7;
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(52 + wide) height="20" role="img" aria-label={ "status: " (words) } {
            title { "status: " (words) }
            rect width="52" height="20" rx="4" fill="#3b4252" {}
            rect x="48" width=(wide + 4) height="20" rx="4" fill=(paint(worst)) {}
            rect x="48" width="6" height="20" fill=(paint(worst)) {}
            g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" {
                text x="8" y="14" { "status" }
                text x="60" y="14" { (words) }
            }
        }
    }
}

fn favicon(health: Health) -> String {
    let paint = paint(health).replace('#', "%23");
    format!(
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='{paint}'/></svg>"
    )
}

const fn paint(health: Health) -> &'static str {
    match health {
        Health::Operational => "#18794e",
        Health::UnderMaintenance => "#0b57c2",
        Health::DegradedPerformance => "#8a5a00",
        Health::PartialOutage => "#b54708",
        Health::MajorOutage => "#c0271e",
    }
}

const fn class(health: Health) -> &'static str {
    match health {
        Health::Operational => "good",
        Health::UnderMaintenance => "work",
        Health::DegradedPerformance => "slow",
        Health::PartialOutage => "part",
        Health::MajorOutage => "out",
    }
}

fn impact(post: &Post) -> &'static str {
    match (post.resolved_at, post.impact) {
        (Some(_), _) => "good",
        (None, "critical") => "out",
        (None, "major") => "part",
        (None, _) => "slow",
    }
}

const fn name(health: Health) -> &'static str {
    match health {
        Health::Operational => "Operational",
        Health::UnderMaintenance => "Under maintenance",
        Health::DegradedPerformance => "Degraded",
        Health::PartialOutage => "Partial outage",
        Health::MajorOutage => "Major outage",
    }
}

/// How far an incident is, for people.
pub(super) const fn word(status: UpdateStatus) -> &'static str {
    match status {
        UpdateStatus::Investigating => "Investigating",
        UpdateStatus::Identified => "Identified",
        UpdateStatus::Monitoring => "Monitoring",
        UpdateStatus::Resolved => "Resolved",
        UpdateStatus::Postmortem => "Postmortem",
    }
}

/// Each state has a shape of its own.
fn icon(health: Health) -> Markup {
    let path = match health {
        Health::Operational => "M5 10.5l3.2 3.2L15 7",
        Health::UnderMaintenance => "M10 5.5v5l3 2",
        Health::DegradedPerformance => "M5 10h10",
        Health::PartialOutage => "M10 5v6M10 14.2v.3",
        Health::MajorOutage => "M6.5 6.5l7 7M13.5 6.5l-7 7",
    };
    html! {
        svg viewBox="0 0 20 20" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" {
            circle cx="10" cy="10" r="8.6" {}
            path d=(path) {}
        }
    }
}

fn link(info: &PageInfo, post: &Post) -> String {
    format!("{}/incidents/{}", info.url, post.id)
}

fn minute(at: Timestamp) -> Markup {
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (at.strftime("%-d %b %Y, %H:%M UTC")) }
    }
}

/// The page is made anew each second and changes each minute.
fn minute_of(at: Timestamp) -> Timestamp {
    let minute = at.as_second().div_euclid(60) * 60;
    Timestamp::from_second(minute).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use incident::status::Update;
    use model::incident::{Component, IncidentId};

    use super::*;

    /// `count` components, five open incidents of five updates, and an outage on each third day.
    fn busy(count: u64) -> View {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let name = |n: u64| format!("part-{n}").parse::<ComponentName>().unwrap();
        let date = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let days = (0..incident::status::DAYS).map(|n| Day {
            date,
            major_s: if n % 3 == 0 { 600 } else { 0 },
            partial_s: 0,
        });
        let days: Vec<Day> = days.collect();
        let components = (0..count).map(|n| ComponentView {
            component: Component {
                id: name(n),
                name: format!("Part {n}"),
                description: String::new(),
                services: Vec::new(),
            },
            health: Health::MajorOutage,
            updated_at: now,
            days: days.clone(),
        });
        let update = |n: u64| Update {
            id: n.to_string(),
            at: now,
            status: UpdateStatus::Identified,
            body: "We are moving traffic away from what is broken.".into(),
        };
        let incidents = (0..5).map(|n| Post {
            id: IncidentId(n),
            name: format!("Part {n}: major outage"),
            impact: "critical",
            started_at: now,
            resolved_at: None,
            components: vec![name(n)],
            updates: (0..5).map(update).collect(),
        });
        View {
            components: components.collect(),
            incidents: incidents.collect(),
            maintenances: Vec::new(),
            updated_at: now,
            now,
        }
    }

    #[test]
    fn a_bad_day_with_many_components_stays_small() {
        let info = PageInfo {
            id: "acme".into(),
            name: "Acme".into(),
            url: "https://status.example.com".into(),
            time_zone: "Etc/UTC".into(),
        };
        let page = front(&info, &busy(8), true, true).into_string();
        assert!(page.len() < 50_000, "{} bytes", page.len());
        assert!(page.contains("has heard nothing new since"));
        assert_eq!(page.matches("class=\"out\"").count(), 8 * 30);
    }

    #[test]
    fn a_hundred_means_no_outage() {
        assert_eq!(percent(1_000_000, true), "100 %");
        assert_eq!(percent(1_000_000, false), "99.99 %");
        assert_eq!(percent(987_654, false), "98.76 %");
    }
}
