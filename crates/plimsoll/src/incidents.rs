//! Incidents in lines.
//!
//! Invariant: what is shown as a fact is one of the control plane's; nothing is concluded here.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::Millis;
use model::incident::Severity;
use wire::api::{IncidentView, TimelineEntry};

use crate::look::Look;
use crate::output::Paint;
use crate::words::led;

/// Number, severity, where it stands and the title; below it why nobody is told, or who has it.
pub(crate) fn brief(view: &IncidentView, now: Timestamp, look: Look) -> Vec<String> {
    let age = Millis::between(view.detected_at, now);
    let stand = format!("{}, {age} old", stand(view));
    let mut lines = vec![format!(
        "{}  {}  {stand}",
        look.paint(Paint::Bold, &format!("incident {}", view.id)),
        severity(view.severity, look),
    )];
    let services: Vec<&str> = view.services.iter().map(|it| it.as_str()).collect();
    let title = match services.as_slice() {
        [] => view.title.clone(),
        services => format!("{} ({})", view.title, services.join(", ")),
    };
    lines.extend(indented(&title, look));
    if let Some(waiting) = &view.waiting {
        lines.extend(indented(waiting, look));
    }
    lines
}

fn indented(text: &str, look: Look) -> Vec<String> {
    let lines = look.fit(text, 2).into_iter();
    lines.map(|line| format!("  {line}")).collect()
}

fn stand(view: &IncidentView) -> String {
    match (&view.over_at, &view.merged_into, &view.held_by) {
        (Some(_), Some(into), _) => format!("part of incident {into}"),
        (Some(_), None, _) => "over".to_owned(),
        (None, _, Some(by)) => format!("{by} has it"),
        (None, _, None) if view.confirmed_by.is_some() => "confirmed".to_owned(),
        (None, _, None) => "open".to_owned(),
    }
}

fn severity(severity: Severity, look: Look) -> String {
    let colour = match severity {
        Severity::Sev1 | Severity::Sev2 => Paint::Red,
        Severity::Sev3 => Paint::Yellow,
        Severity::Sev4 => Paint::Dim,
    };
    look.paint(colour, &severity.to_string())
}

/// Facts, who is told, newest changes, then the timeline; all times of one zone.
pub(crate) fn whole(view: &IncidentView, zone: &TimeZone, look: Look) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {}  {}",
        look.paint(Paint::Bold, &format!("incident {}", view.id)),
        severity(view.severity, look),
        stand(view)
    )];
    lines.extend(indented(&view.title, look));
    lines.extend(facts(view, zone, look));
    for (index, change) in view.changes.iter().enumerate() {
        let lead = if index == 0 { "newest changes" } else { "" };
        let words = format!(
            "release {} of {} in {}, wave {}, {} before",
            change.release,
            change.service,
            change.environment,
            change.wave + 1,
            change.before_ms
        );
        lines.extend(led(lead, &words, look));
    }
    lines.extend(timeline(&view.timeline, zone, look));
    lines
}

fn facts(view: &IncidentView, zone: &TimeZone, look: Look) -> Vec<String> {
    let at = |at: Timestamp| full(at, zone);
    let joined = |names: Vec<&str>| names.join(", ");
    let by = if view.by_machine {
        "by itself"
    } else {
        "by a person"
    };
    let held = view.held_by.as_ref().zip(view.held_until);
    let over = view.over_at.zip(view.over_by.as_ref());
    let services = view.services.iter().map(|it| it.as_str()).collect();
    let told = view.paged.iter().map(|it| it.as_str()).collect();
    let alerts =
        (view.alerts > 0).then(|| format!("{} fire, {} joined in all", view.firing, view.alerts));
    let rows = [
        (
            "services",
            Some(joined(services)).filter(|it| !it.is_empty()),
        ),
        ("detected", Some(format!("{} {by}", at(view.detected_at)))),
        (
            "confirmed",
            view.confirmed_by.as_ref().map(|by| format!("by {by}")),
        ),
        (
            "acknowledged",
            held.map(|(by, until)| format!("by {by} until {}", at(until))),
        ),
        (
            "over",
            over.map(|(when, by)| format!("{} by {by}", at(when))),
        ),
        (
            "part of",
            view.merged_into.map(|into| format!("incident {into}")),
        ),
        ("alerts", alerts),
        (
            "told",
            Some(joined(told)).map(|it| {
                if it.is_empty() {
                    "nobody".to_owned()
                } else {
                    it
                }
            }),
        ),
        ("waiting", view.waiting.clone()),
    ];
    let rows = rows.into_iter();
    rows.filter_map(|(lead, words)| Some(led(lead, &words?, look)))
        .flatten()
        .collect()
}

/// What happened, each day under its own line. Notes of people are marked: all else is a fact of the journal.
fn timeline(entries: &[TimelineEntry], zone: &TimeZone, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    let mut day = None;
    for entry in entries {
        let at = entry.at.to_zoned(zone.clone());
        if day != Some(at.date()) {
            day = Some(at.date());
            lines.push(String::new());
            lines.push(look.paint(Paint::Bold, &at.strftime("%A, %Y-%m-%d").to_string()));
        }
        let words = if entry.note {
            format!("note: {}", entry.words)
        } else {
            entry.words.clone()
        };
        let time = at.strftime("%H:%M:%S %Z").to_string();
        lines.extend(led(&time, &words, look));
    }
    lines
}

/// With its day and zone, so that it means the same wherever it is pasted.
pub(crate) fn full(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    at.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn view() -> IncidentView {
        serde_json::from_value(serde_json::json!({
            "id": 7, "title": "api: checkout answers with errors to one request in three",
            "severity": "sev1", "services": ["api", "db"], "by_machine": true,
            "detected_at": "2026-03-29T00:59:30Z", "held_by": "ada",
            "held_until": "2026-03-29T01:30:00Z", "firing": 1, "alerts": 2, "causes": [],
            "changes": [{"service": "api", "release": 12, "environment": "production",
                "wave": 1, "before_ms": 40_000}],
            "paged": ["ada", "ben"], "waiting": "ada has it until 01:30 UTC",
            "timeline": [
                {"at": "2026-03-28T22:59:00Z", "note": false, "words": "alert HighErrors began"},
                {"at": "2026-03-29T00:59:30Z", "note": false, "words": "incident 7 opened as SEV1"},
                {"at": "2026-03-29T01:00:10Z", "note": true, "words": "ada: the new pool size looks wrong, going back to the release before it"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn times_are_those_of_the_zone_over_a_change_of_clocks_and_lines_fit() {
        let look = Look {
            width: Some(60),
            colour: false,
        };
        let zone = incident::oncall::zone::find("Europe/Berlin").unwrap();
        let lines = whole(&view(), &zone, look);
        assert!(lines.iter().all(|line| line.chars().count() <= 60));
        expect![[r#"
            incident 7  SEV1  ada has it
              api: checkout answers with errors to one request in three
            services         api, db
            detected         2026-03-29 01:59:30 CET by itself
            acknowledged     by ada until 2026-03-29 03:30:00 CEST
            alerts           1 fire, 2 joined in all
            told             ada, ben
            waiting          ada has it until 01:30 UTC
            newest changes   release 12 of api in production, wave 2,
                             40 s before

            Saturday, 2026-03-28
            23:59:00 CET     alert HighErrors began

            Sunday, 2026-03-29
            01:59:30 CET     incident 7 opened as SEV1
            03:00:10 CEST    note: ada: the new pool size looks wrong,
                             going back to the release before it
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
    }

    #[test]
    fn an_incident_in_brief() {
        let look = Look {
            width: Some(60),
            colour: false,
        };
        let now = "2026-03-29T01:04:30Z".parse().unwrap();
        expect![[r#"
            incident 7  SEV1  ada has it, 5 min old
              api: checkout answers with errors to one request in three
              (api, db)
              ada has it until 01:30 UTC
        "#]]
        .assert_eq(&(brief(&view(), now, look).join("\n") + "\n"));
    }
}
