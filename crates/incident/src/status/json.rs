//! The page in the form of Statuspage v2, which programs read.
//!
//! Invariant: each field that a client may look for is there, with `null` where
//! there is nothing.

use model::Timestamp;
use serde_json::{Value, json};

use super::{ComponentView, PageInfo, Post, Update, View};
use model::incident::{Maintenance, UpdateStatus};

/// `summary.json`.
pub fn summary(page: &PageInfo, view: &View) -> Value {
    let open = view.incidents.iter().filter(|it| it.resolved_at.is_none());
    let ahead = view.maintenances.iter().filter(|it| it.1 != "completed");
    json!({
        "page": head(page, view),
        "status": indicator(view),
        "components": list(page, view),
        "incidents": open.map(|it| incident(page, view, it)).collect::<Vec<_>>(),
        "scheduled_maintenances": ahead.map(|it| work(page, view, it)).collect::<Vec<_>>(),
    })
}

/// `status.json`.
pub fn status(page: &PageInfo, view: &View) -> Value {
    json!({ "page": head(page, view), "status": indicator(view) })
}

/// `components.json`.
pub fn components(page: &PageInfo, view: &View) -> Value {
    json!({ "page": head(page, view), "components": list(page, view) })
}

/// `incidents.json`, or `incidents/unresolved.json`.
pub fn incidents(page: &PageInfo, view: &View, unresolved: bool) -> Value {
    let wanted = view
        .incidents
        .iter()
        .filter(|it| !unresolved || it.resolved_at.is_none());
    let incidents: Vec<Value> = wanted.map(|it| incident(page, view, it)).collect();
    json!({ "page": head(page, view), "incidents": incidents })
}

/// Which works are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Works {
    /// `scheduled-maintenances.json`.
    All,
    /// `scheduled-maintenances/upcoming.json`.
    Upcoming,
    /// `scheduled-maintenances/active.json`.
    Active,
}

/// The announced works.
pub fn maintenances(page: &PageInfo, view: &View, works: Works) -> Value {
    let wanted = view.maintenances.iter().filter(|(_, stage)| match works {
        Works::All => true,
        Works::Upcoming => *stage == "scheduled",
        Works::Active => *stage == "in_progress",
    });
    let works: Vec<Value> = wanted.map(|it| work(page, view, it)).collect();
    json!({ "page": head(page, view), "scheduled_maintenances": works })
}

fn head(page: &PageInfo, view: &View) -> Value {
    json!({
        "id": page.id,
        "name": page.name,
        "url": page.url,
        "time_zone": page.time_zone,
        "updated_at": time(view.updated_at),
    })
}

fn indicator(view: &View) -> Value {
    let (indicator, description) = view.worst().indicator();
    json!({ "indicator": indicator, "description": description })
}

fn list(page: &PageInfo, view: &View) -> Vec<Value> {
    let components = view.components.iter().enumerate();
    components
        .map(|(position, it)| component(page, position, it))
        .collect()
}

fn component(page: &PageInfo, position: usize, view: &ComponentView) -> Value {
    let description = &view.component.description;
    json!({
        "id": view.component.id,
        "name": view.component.name,
        "status": view.health.as_str(),
        "created_at": time(Timestamp::UNIX_EPOCH),
        "updated_at": time(view.updated_at),
        "position": position + 1,
        "description": (!description.is_empty()).then_some(description),
        "showcase": true,
        "start_date": view.days.first().map(|day| day.date.to_string()),
        "group_id": null,
        "group": false,
        "only_show_if_degraded": false,
        "page_id": page.id,
    })
}

fn touched(page: &PageInfo, view: &View, ids: &[model::ComponentName]) -> Vec<Value> {
    let components = view.components.iter().enumerate();
    let ours = components.filter(|(_, it)| ids.contains(&it.component.id));
    ours.map(|(position, it)| component(page, position, it))
        .collect()
}

fn incident(page: &PageInfo, view: &View, post: &Post) -> Value {
    let mut newest_first = post.updates.iter().rev();
    let watched = newest_first.find(|it| it.status == UpdateStatus::Monitoring);
    let updates = post.updates.iter().rev().map(|it| update(post, it));
    json!({
        "id": post.id.to_string(),
        "name": post.name,
        "status": post.status().as_str(),
        "impact": post.impact,
        "created_at": time(post.started_at),
        "updated_at": time(post.updated_at()),
        "monitoring_at": watched.map(|it| time(it.at)),
        "resolved_at": post.resolved_at.map(time),
        "started_at": time(post.started_at),
        "shortlink": format!("{}/incidents/{}", page.url, post.id),
        "page_id": page.id,
        "incident_updates": updates.collect::<Vec<_>>(),
        "components": touched(page, view, &post.components),
    })
}

fn update(post: &Post, update: &Update) -> Value {
    json!({
        "id": update.id,
        "status": update.status.as_str(),
        "body": update.body,
        "incident_id": post.id.to_string(),
        "created_at": time(update.at),
        "updated_at": time(update.at),
        "display_at": time(update.at),
        "affected_components": post.components,
    })
}

fn work(page: &PageInfo, view: &View, (work, stage): &(Maintenance, &'static str)) -> Value {
    let id = format!("m{}", work.id);
    let done = (*stage == "completed").then(|| time(work.ends_at));
    json!({
        "id": id,
        "name": work.title,
        "status": stage,
        "impact": "maintenance",
        "created_at": time(work.starts_at),
        "updated_at": time(work.starts_at),
        "monitoring_at": null,
        "resolved_at": done,
        "started_at": time(work.starts_at),
        "shortlink": format!("{}/maintenances/{}", page.url, work.id),
        "page_id": page.id,
        "scheduled_for": time(work.starts_at),
        "scheduled_until": time(work.ends_at),
        "incident_updates": [{
            "id": format!("{id}-{stage}"),
            "status": stage,
            "body": work.words,
            "incident_id": id,
            "created_at": time(work.starts_at),
            "updated_at": time(work.starts_at),
            "display_at": time(work.starts_at),
            "affected_components": work.components,
        }],
        "components": touched(page, view, &work.components),
    })
}

/// RFC 3339 with milliseconds, as Statuspage writes times.
fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}
