//! On-call in lines: who it is, who will be, where nobody is.
//!
//! Invariant: no address of a contact is shown.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::ScheduleName;
use model::incident::{Setup, Target};
use wire::api::{OnCallView, ScheduleView};

use crate::look::Look;
use crate::output::Paint;
use crate::words::{led, moment};

/// Gaps told of one schedule; a schedule with open nights has one for each.
const GAPS_MAX: usize = 5;

/// Everyone who is on call, one schedule in a line.
pub(crate) fn now(view: &OnCallView, now: Timestamp, look: Look) -> Vec<String> {
    if view.schedules.is_empty() {
        return vec!["no schedules are declared; begin with `plimsoll oncall apply FILE`".into()];
    }
    let schedules = view.schedules.iter();
    let lines = schedules.flat_map(|schedule| {
        let until = schedule.ahead.first().map(|shift| shift.until);
        let until = until.map_or_else(String::new, |at| format!(" until {}", moment(at, now)));
        let who = match &schedule.now {
            Some(contact) => look.paint(Paint::Bold, contact.as_str()),
            None => look.paint(Paint::Red, "nobody"),
        };
        vec![format!("{:<16} {who}{until}", schedule.name.as_str())]
    });
    lines.collect()
}

/// What is declared, without addresses.
pub(crate) fn declared(view: &OnCallView, at: Timestamp, look: Look) -> Vec<String> {
    let mut lines = now(view, at, look);
    let setup = &view.setup;
    for schedule in &view.schedules {
        for entry in &schedule.overrides {
            let words = format!(
                "{} on {} from {} until {}",
                entry.contact,
                schedule.name,
                moment(entry.from, at),
                moment(entry.until, at)
            );
            lines.extend(led(&format!("override {}", entry.id), &words, look));
        }
    }
    for (name, policy) in &setup.policies {
        let default = setup.default_policy.as_ref() == Some(name);
        let default = if default { " (default)" } else { "" };
        lines.push(format!("policy {name}{default}"));
        for (index, step) in policy.steps.iter().enumerate() {
            let targets = step.targets.iter().map(|target| match target {
                Target::Contact(name) => name.to_string(),
                Target::Schedule(name) => format!("whoever is on {name}"),
            });
            let targets: Vec<String> = targets.collect();
            let words = format!("{}, then waits {}", targets.join(", "), step.wait_ms);
            lines.extend(led(&format!("  step {}", index + 1), &words, look));
        }
        if policy.repeat > 0 {
            lines.push(format!("  and so {} times again", policy.repeat));
        }
    }
    for contact in &view.contacts {
        let words = contact.channels.join(", then ");
        lines.extend(led(contact.name.as_str(), &words, look));
    }
    lines
}

/// Where nobody is on call in the days that were asked for.
pub(crate) fn gaps(view: &OnCallView, zone: Option<&TimeZone>, look: Look) -> Vec<String> {
    let schedules = view.schedules.iter();
    let gaps: Vec<(&ScheduleName, _)> = schedules
        .flat_map(|schedule| {
            let open = schedule.ahead.iter().filter(|it| it.contact.is_none());
            open.map(|it| (&schedule.name, (it.from, it.until)))
        })
        .collect();
    gap_lines(&view.setup, &gaps, zone, look)
}

/// Gaps in lines, of each schedule the first few.
pub(crate) fn gap_lines(
    setup: &Setup,
    gaps: &[(&ScheduleName, (Timestamp, Timestamp))],
    zone: Option<&TimeZone>,
    look: Look,
) -> Vec<String> {
    let mut lines = Vec::new();
    for name in setup.schedules.keys() {
        let of: Vec<_> = gaps.iter().filter(|(it, _)| *it == name).collect();
        let zone = zone_of(setup, name, zone);
        for (_, (from, until)) in of.iter().take(GAPS_MAX) {
            let words = format!("{} until {}", short(*from, &zone), short(*until, &zone));
            let lead = look.paint(Paint::Yellow, "nobody");
            let words = look.fit(&format!("on {name} from {words}"), 7);
            for (index, line) in words.iter().enumerate() {
                let lead = if index == 0 { lead.as_str() } else { "      " };
                lines.push(format!("{lead} {line}"));
            }
        }
        if let Some(more) = of.len().checked_sub(GAPS_MAX).filter(|more| *more > 0) {
            lines.push(format!("       and {more} more gaps of {name}"));
        }
    }
    lines
}

/// Shifts that begin before `until`, each schedule under its name.
pub(crate) fn ahead(
    view: &OnCallView,
    until: Timestamp,
    zone: Option<&TimeZone>,
    look: Look,
) -> Vec<String> {
    let schedules = view.schedules.iter();
    let lines = schedules.flat_map(|schedule| {
        let zone = zone_of(&view.setup, &schedule.name, zone);
        shifts(schedule, until, &zone, look)
    });
    lines.collect()
}

fn shifts(schedule: &ScheduleView, until: Timestamp, zone: &TimeZone, look: Look) -> Vec<String> {
    let zone_name = zone.iana_name().unwrap_or("UTC");
    let head = look.paint(Paint::Bold, schedule.name.as_str());
    let mut lines = vec![format!("{head}, times of {zone_name}")];
    let before = schedule.ahead.iter().filter(|shift| shift.from < until);
    for shift in before {
        let who = match &shift.contact {
            Some(contact) => contact.to_string(),
            None => look.paint(Paint::Yellow, "nobody"),
        };
        let span = format!("{} – {}", short(shift.from, zone), short(shift.until, zone));
        lines.push(format!("  {span}  {who}"));
    }
    lines
}

fn zone_of(setup: &Setup, name: &ScheduleName, wanted: Option<&TimeZone>) -> TimeZone {
    let declared = setup.schedules.get(name);
    let own = declared.and_then(|it| incident::oncall::zone::find(&it.zone));
    wanted.cloned().or(own).unwrap_or(TimeZone::UTC)
}

/// Weekday, day and minute: shifts begin at whole minutes.
fn short(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    at.strftime("%a %m-%d %H:%M").to_string()
}

/// "2 contacts, 1 schedule"; what there is none of is left out.
pub(crate) fn counted(setup: &Setup) -> String {
    let counts = [
        (setup.contacts.len(), "contact", "contacts"),
        (setup.schedules.len(), "schedule", "schedules"),
        (setup.policies.len(), "policy", "policies"),
        (setup.services.len(), "service", "services"),
        (setup.components.len(), "component", "components"),
        (setup.objectives.len(), "objective", "objectives"),
    ];
    let words = counts.into_iter().filter(|(count, ..)| *count > 0);
    let words = words.map(|(count, one, many)| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    });
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => "nothing".to_owned(),
        false => words.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn shifts_and_gaps_are_told_in_the_schedules_zone_and_fit() {
        let view: OnCallView = serde_json::from_value(serde_json::json!({
            "setup": {
                "contacts": {"ada": {"channels": [
                    {"kind": "mail", "address": "ada@secret.example", "wait_ms": 60000},
                    {"kind": "sms", "address": "+49301", "wait_ms": 60000}]}},
                "schedules": {"platform": {"zone": "Europe/Berlin", "layers": []}},
                "policies": {"all": {"repeat": 1, "steps": [
                    {"targets": [{"schedule": "platform"}, {"contact": "ada"}], "wait_ms": 300000}]}},
                "default_policy": "all",
            },
            "schedules": [{"name": "platform", "now": null, "ahead": [
                {"contact": null, "from": "2026-03-28T21:00:00Z", "until": "2026-03-29T07:00:00Z"},
                {"contact": "ada", "from": "2026-03-29T07:00:00Z", "until": "2026-03-30T07:00:00Z"}]}],
            "contacts": [{"name": "ada", "channels": ["mail", "sms"], "recent": 0}],
        }))
        .unwrap();
        let look = Look {
            width: Some(60),
            colour: false,
        };
        let mut lines = gaps(&view, None, look);
        lines.extend(ahead(&view, Timestamp::MAX, None, look));
        let at = "2026-03-28T22:00:00Z".parse().unwrap();
        lines.extend(declared(&view, at, look).into_iter().skip(1));
        lines.push(counted(&view.setup));
        assert!(lines.iter().all(|line| line.chars().count() <= 60));
        let text = lines.join("\n") + "\n";
        assert!(!text.contains("secret"));
        expect![[r#"
            nobody on platform from Sat 03-28 22:00 until Sun 03-29
                   09:00
            platform, times of Europe/Berlin
              Sat 03-28 22:00 – Sun 03-29 09:00  nobody
              Sun 03-29 09:00 – Mon 03-30 09:00  ada
            policy all (default)
              step 1         whoever is on platform, ada, then waits 5
                             min
              and so 1 times again
            ada              mail, then sms
            1 contact, 1 schedule, 1 policy
        "#]]
        .assert_eq(&text);
    }
}
