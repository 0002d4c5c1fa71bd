//! Invariant: one mistake is told once, and none hides another.

use model::Millis;
use model::incident::{ChannelKind, Target};

use super::people;

const WHOLE: &str = r#"
default_policy = "platform"
group_by = ["service", "alertname"]

[tests]
day = "wed"
time = 10:30:00

[contacts.ada]
name = "Ada Lovelace"
zone = "Europe/London"
channels = [
  { kind = "push", address = "ada" },
  { kind = "sms", address = "+4420", wait = "2m", urgent_only = true },
]

[contacts.ben]
channels = [{ kind = "mail", address = "ben@example.com", wait = "5m" }]

[schedules.platform]
zone = "Europe/Berlin"

[[schedules.platform.layers]]
contacts = ["ada", "ben"]
starts_on = 2026-01-05
handoff = "09:00"
every = "7d"
only = [{ days = ["mon", "tue"], from = "22:00", until = "06:00" }]

[policies.platform]
repeat = 2
acknowledged_for = "45m"
steps = [
  { schedules = ["platform"], wait = "5m" },
  { contacts = ["ben"], wait = "30m" },
]

[services.api]
policy = "platform"
depends_on = ["db"]

[[components]]
id = "shop"
name = "Shop"
services = ["api"]

[[objectives]]
name = "api_answers"
service = "api"
target = "99.95%"
window = "28d"
"#;

fn said(text: &str, rules: &[(&str, &str)]) -> String {
    let rules = rules
        .iter()
        .map(|(place, words)| ((*place).to_owned(), (*words).to_owned()));
    let problems = people(text).finish("people.toml", text, rules);
    problems.unwrap_err().to_string()
}

#[test]
fn a_whole_file_is_read() {
    let setup = people(WHOLE).finish("people.toml", WHOLE, []).unwrap();
    let ada = &setup.contacts[&"ada".parse().unwrap()];
    assert_eq!(ada.channels[0].wait_ms, Millis::seconds(60));
    assert_eq!(ada.channels[1].kind, ChannelKind::Sms);
    assert!(ada.channels[1].urgent_only);
    let layer = &setup.schedules[&"platform".parse().unwrap()].layers[0];
    assert_eq!(layer.every_days, 7);
    assert_eq!(layer.starts_on.to_string(), "2026-01-05");
    assert_eq!(layer.only[0].until.to_string(), "06:00:00");
    let policy = &setup.policies[&"platform".parse().unwrap()];
    assert_eq!(policy.acknowledged_for_ms, Some(Millis::seconds(45 * 60)));
    assert_eq!(
        policy.steps[0].targets,
        [Target::Schedule("platform".parse().unwrap())]
    );
    assert_eq!(setup.tests.time.to_string(), "10:30:00");
    assert_eq!(setup.objectives[0].target_ppm, 999_500);
    assert_eq!(setup.components[0].services.len(), 1);
}

#[test]
fn everything_that_is_wrong_is_said_at_once_in_its_place() {
    let text = r#"[contacts.ada]
zone = "Europe/Berlim"
channels = [{ kind = "psh", address = "ada" }]
[schedules.platform]
zone = "UTC"
[[schedules.platform.layers]]
contacts = ["adda"]
starts_on = "soon"
handoff = "9"
every = "1w"
[policies.platform]
stpes = []
[policies.other]
steps = [{ schedules = ["platform"], wait = 5 }, { contacts = ["ada"], wait = "5m" }]
[services.api]
policy = "platfrom"
[[objectives]]
name = "api"
service = "api"
target = "100%"
window = "30d"
good = "up"
"#;
    expect_test::expect![[r#"
        people.toml:2:8: "Europe/Berlim" is not a known time zone
          help: did you mean "Europe/Berlin"?
        people.toml:3:22: unknown `kind` "psh"
          help: did you mean "push"? use one of: mail, sms, voice, push, chat, webhook
        people.toml:7:13: unknown contact "adda"
          help: did you mean "ada"?
        people.toml:8:13: "soon" is not a day
          help: write it like 2026-01-05
        people.toml:9:11: "9" is not a time of the day
          help: write it like "09:00"
        people.toml:10:9: "1w" is not a span of days
          help: write whole days, like "7d", at most "366d"
        people.toml:12:1: unknown key "stpes" in policy platform
          help: did you mean `steps`? known keys: steps, repeat, acknowledged_for
        people.toml:14:45: `wait` must be a duration with its unit
          help: write a whole number with its unit, like "500ms", "30s", "2m" or "1h"
        people.toml:16:10: unknown policy "platfrom"
          help: did you mean "platform"?
        people.toml:17:1: objective api has one of `good` and `total` alone
          help: name both counters, or none when Plimsoll counts
        people.toml:20:10: `target` is out of range: "100%"
          help: use "50%" to "99.9999%"
    "#]]
    .assert_eq(&(said(text, &[]) + "\n"));
}

#[test]
fn the_rules_words_stand_at_their_places_unless_the_entry_is_broken_anyway() {
    let text = "[contacts.ada]\nzone = 1\nchannels = []\n\n[contacts.ben]\nchannels = []\n";
    let words = "has no channel, so it can't be told anything";
    expect_test::expect![[r#"
        people.toml:2:8: `zone` must be a string, not a whole number
        people.toml:5:11: contact ben: has no channel, so it can't be told anything"#]]
    .assert_eq(&said(
        text,
        &[("contact ada", words), ("contact ben", words)],
    ));
}

#[test]
fn what_is_no_toml_is_said_with_its_place() {
    assert!(said("[contacts\n", &[]).starts_with("people.toml:1:"));
}
