//! What a plan can see, for people.
//!
//! Invariant: no line is wider than the terminal; where the table doesn't fit,
//! each wave has lines of its own.

use model::Millis;
use wire::api::{PlanStageView, PlanView, PlanWaveView};

use crate::judged::percentage;
use crate::look::Look;
use crate::output::Paint;
use crate::words::led;

/// Space between two columns.
const GAP: usize = 2;

const HEADER: [&str; 10] = [
    "WAVE",
    "HOSTS",
    "SHARE",
    "BAKE",
    "DOUBLING",
    "+1 POINT",
    "20 % SLOWER",
    "OUTAGE",
    "PASSES",
    "HARM",
];

/// Every environment with its traffic, its waves and its warnings.
pub(crate) fn lines(plan: &PlanView, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, stage) in plan.environments.iter().enumerate() {
        if index > 0 {
            lines.push(String::new());
        }
        lines.extend(traffic(stage, look));
        lines.extend(waves(stage, look));
        lines.extend(warnings(stage, look));
    }
    lines
}

/// In short, for the preview of a push: each wave in its words, and what the plan can't do.
pub(crate) fn short(plan: &PlanView, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in &plan.environments {
        let count = stage.waves.len();
        for (index, wave) in stage.waves.iter().enumerate() {
            if stage.traffic.is_some() && !wave.words.is_empty() {
                let place = format!("{} {}/{count}", stage.environment, index + 1);
                lines.extend(led(&place, &wave.words, look));
            }
        }
        lines.extend(warnings(stage, look));
    }
    lines
}

/// What a plan can't do, each in its environment.
pub(crate) fn all_warnings(plan: &PlanView, look: Look) -> Vec<String> {
    let stages = plan.environments.iter();
    stages.flat_map(|stage| warnings(stage, look)).collect()
}

fn warnings(stage: &PlanStageView, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for warning in &stage.warnings {
        let told = led(
            "warning",
            &format!("{}: {warning}", stage.environment),
            look,
        );
        lines.extend(told.into_iter().enumerate().map(|(at, line)| match at {
            0 => line.replacen("warning", &look.paint(Paint::Yellow, "warning"), 1),
            _ => line,
        }));
    }
    lines
}

fn traffic(stage: &PlanStageView, look: Look) -> Vec<String> {
    let name = stage.environment.as_str();
    let words = match &stage.traffic {
        None => "no traffic was seen yet".to_owned(),
        Some(traffic) => {
            let unequal = if traffic.dispersion > 1.05 {
                format!(
                    ", hosts differ {:.1} times as much as chance",
                    traffic.dispersion
                )
            } else {
                String::new()
            };
            format!(
                "{} requests/s, {} fail{unequal}; seen over {}",
                rate(traffic.requests_per_s),
                percentage_of(traffic.failing),
                Millis::seconds(traffic.seen_s)
            )
        }
    };
    let mut lines = led(name, &words, look);
    if let Some(first) = lines.first_mut() {
        *first = first.replacen(name, &look.paint(Paint::Bold, name), 1);
    }
    lines
}

fn waves(stage: &PlanStageView, look: Look) -> Vec<String> {
    if stage.waves.is_empty() {
        return Vec::new();
    }
    let seen = stage.traffic.is_some();
    let rows = stage.waves.iter().enumerate();
    let rows: Vec<[String; 10]> = rows.map(|(at, wave)| row(at, wave, seen)).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        let longest = cells.max().unwrap_or(0);
        longest.max(HEADER[column].chars().count())
    };
    let widths: [usize; 10] = std::array::from_fn(width);
    let total = widths.iter().sum::<usize>() + GAP * (widths.len() - 1);
    if look.width.is_some_and(|width| total > width) {
        let waves = stage.waves.iter().enumerate();
        let folded = waves.flat_map(|(at, wave)| folded(at, wave, seen, look));
        return folded.collect();
    }
    let line = |cells: &[&str]| {
        let cells = cells.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let header = look.paint(Paint::Dim, &line(&HEADER));
    let rows = rows.iter().map(|row| {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        line(&cells)
    });
    std::iter::once(header).chain(rows).collect()
}

fn row(at: usize, wave: &PlanWaveView, seen: bool) -> [String; 10] {
    // Without traffic nothing is known, which is not the same as never.
    let shown = |seconds| match seen {
        true => shown(seconds),
        false => "-".to_owned(),
    };
    [
        (at + 1).to_string(),
        wave.hosts.to_string(),
        percentage_of(wave.share),
        span(wave.bake_s),
        shown(wave.doubling_s),
        shown(wave.point_s),
        shown(wave.slower_s),
        shown(wave.outage_s),
        shown(wave.pass_s),
        match seen {
            true => format!("{} failed", rate(wave.harm_outage)),
            false => "-".to_owned(),
        },
    ]
}

/// A wave where its row doesn't fit.
fn folded(at: usize, wave: &PlanWaveView, seen: bool, look: Look) -> Vec<String> {
    let s = if wave.hosts == 1 { "" } else { "s" };
    let head = format!(
        "{} host{s}, {} of the requests, bakes {}",
        wave.hosts,
        percentage_of(wave.share),
        span(wave.bake_s)
    );
    let mut lines = led(&format!("  wave {}", at + 1), &head, look);
    if !seen {
        return lines;
    }
    let effects = [
        ("a doubling", wave.doubling_s),
        ("1 point more", wave.point_s),
        ("20 % slower", wave.slower_s),
        ("an outage", wave.outage_s),
    ];
    let shows = effects
        .iter()
        .filter_map(|(what, after)| Some(format!("{what} after {}", span((*after)?))));
    let never = effects
        .iter()
        .filter(|(_, after)| after.is_none())
        .map(|(what, _)| (*what).to_owned());
    let passes = wave.pass_s.map_or_else(
        || "never passes by its counts".to_owned(),
        |after| format!("passes after {}", span(after)),
    );
    let harm = format!("an outage fails {} requests", rate(wave.harm_outage));
    for (word, list) in [
        ("shows", shows.collect::<Vec<_>>()),
        ("never shows", never.collect()),
    ] {
        if !list.is_empty() {
            lines.extend(led("", &format!("{word} {}", list.join(", ")), look));
        }
    }
    lines.extend(led("", &format!("{passes}; {harm}"), look));
    lines
}

/// After so long; what never shows is told as that.
fn shown(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "never".to_owned(), span)
}

/// Seconds with the digits that anybody can use.
fn span(seconds: f64) -> String {
    let whole = |value: f64| format!("{:.0}", value.ceil());
    match seconds {
        s if s < 120.0 => format!("{} s", whole(s.max(0.0))),
        s if s < 7_200.0 => format!("{} min", whole(s / 60.0)),
        s if s < 172_800.0 => format!("{} h", whole(s / 3600.0)),
        s if s < 8_640_000.0 => format!("{} days", whole(s / 86_400.0)),
        _ => "never".to_owned(),
    }
}

/// A share of 0 to 1.
fn percentage_of(share: f64) -> String {
    if share <= 0.0 {
        return "0 %".to_owned();
    }
    percentage(share * 100.0)
}

/// A number of requests: small ones with a digit behind the point.
fn rate(value: f64) -> String {
    let text = if value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use wire::api::TrafficView;

    use super::*;

    fn wave(hosts: u32, share: f64, doubling_s: Option<f64>) -> PlanWaveView {
        PlanWaveView {
            hosts,
            share,
            bake_s: 60.0,
            doubling_s,
            point_s: Some(12.2),
            slower_s: Some(3.0),
            outage_s: Some(0.4),
            pass_s: Some(301.0),
            harm_outage: 12.4,
            harm_doubling: doubling_s,
            words: match doubling_s {
                Some(_) => "a doubling shows in 7 min at this share, an outage in 1 s".into(),
                None => "an outage shows in 1 s at this share, a doubling never".into(),
            },
        }
    }

    fn plan() -> PlanView {
        PlanView {
            service: "api".parse().unwrap(),
            environments: vec![
                PlanStageView {
                    environment: "test".parse().unwrap(),
                    traffic: None,
                    waves: vec![PlanWaveView {
                        bake_s: 10.0,
                        point_s: None,
                        slower_s: None,
                        outage_s: None,
                        pass_s: None,
                        harm_outage: 0.0,
                        words: String::new(),
                        ..wave(2, 1.0, None)
                    }],
                    warnings: vec!["no traffic was seen: health alone decides".into()],
                },
                PlanStageView {
                    environment: "production".parse().unwrap(),
                    traffic: Some(TrafficView {
                        requests_per_s: 820.4,
                        failing: 0.0012,
                        dispersion: 1.62,
                        seen_s: 600,
                    }),
                    waves: vec![
                        wave(1, 0.01, Some(391.0)),
                        wave(12, 0.3333, Some(100_000.0)),
                        wave(24, 1.0, None),
                    ],
                    warnings: vec![
                        "in the last wave nobody runs the old bundle any more: only the fleet watch looks for harm"
                            .into(),
                    ],
                },
            ],
        }
    }

    fn check(lines: &[String], width: usize, expected: Expect) {
        for line in lines {
            assert!(line.chars().count() <= width, "{line}");
        }
        expected.assert_eq(&(lines.join("\n") + "\n"));
    }

    #[test]
    fn a_plan_in_a_table_and_folded() {
        for (width, expected) in [
            (
                100,
                expect![[r#"
                    test             no traffic was seen yet
                    WAVE  HOSTS  SHARE  BAKE  DOUBLING  +1 POINT  20 % SLOWER  OUTAGE  PASSES  HARM
                    1     2      100 %  10 s  -         -         -            -       -       -
                    warning          test: no traffic was seen: health alone decides

                    production       820 requests/s, 0.12 % fail, hosts differ 1.6 times as much as chance; seen over
                                     10 min
                    WAVE  HOSTS  SHARE  BAKE  DOUBLING  +1 POINT  20 % SLOWER  OUTAGE  PASSES  HARM
                    1     1      1 %    60 s  7 min     13 s      3 s          1 s     6 min   12 failed
                    2     12     33 %   60 s  28 h      13 s      3 s          1 s     6 min   12 failed
                    3     24     100 %  60 s  never     13 s      3 s          1 s     6 min   12 failed
                    warning          production: in the last wave nobody runs the old bundle any more: only the fleet
                                     watch looks for harm
                "#]],
            ),
            (
                60,
                expect![[r#"
                    test             no traffic was seen yet
                      wave 1         2 hosts, 100 % of the requests, bakes 10
                                     s
                    warning          test: no traffic was seen: health alone
                                     decides

                    production       820 requests/s, 0.12 % fail, hosts differ
                                     1.6 times as much as chance; seen over 10
                                     min
                      wave 1         1 host, 1 % of the requests, bakes 60 s
                                     shows a doubling after 7 min, 1 point
                                     more after 13 s, 20 % slower after 3 s,
                                     an outage after 1 s
                                     passes after 6 min; an outage fails 12
                                     requests
                      wave 2         12 hosts, 33 % of the requests, bakes 60
                                     s
                                     shows a doubling after 28 h, 1 point more
                                     after 13 s, 20 % slower after 3 s, an
                                     outage after 1 s
                                     passes after 6 min; an outage fails 12
                                     requests
                      wave 3         24 hosts, 100 % of the requests, bakes 60
                                     s
                                     shows 1 point more after 13 s, 20 %
                                     slower after 3 s, an outage after 1 s
                                     never shows a doubling
                                     passes after 6 min; an outage fails 12
                                     requests
                    warning          production: in the last wave nobody runs
                                     the old bundle any more: only the fleet
                                     watch looks for harm
                "#]],
            ),
        ] {
            let look = Look {
                width: Some(width),
                colour: false,
            };
            check(&lines(&plan(), look), width, expected);
        }
    }

    #[test]
    fn a_plan_in_short() {
        let look = Look {
            width: Some(80),
            colour: false,
        };
        check(
            &short(&plan(), look),
            80,
            expect![[r#"
            warning          test: no traffic was seen: health alone decides
            production 1/3   a doubling shows in 7 min at this share, an outage in 1 s
            production 2/3   a doubling shows in 7 min at this share, an outage in 1 s
            production 3/3   an outage shows in 1 s at this share, a doubling never
            warning          production: in the last wave nobody runs the old bundle any
                             more: only the fleet watch looks for harm
        "#]],
        );
        check(
            &all_warnings(&plan(), look),
            80,
            expect![[r#"
            warning          test: no traffic was seen: health alone decides
            warning          production: in the last wave nobody runs the old bundle any
                             more: only the fleet watch looks for harm
        "#]],
        );
    }

    #[test]
    fn spans_have_the_digits_that_anybody_can_use() {
        let seconds = [
            -1.0,
            0.2,
            42.0,
            119.1,
            391.0,
            7_200.0,
            100_000.0,
            1e6,
            1e9,
            f64::INFINITY,
            f64::NAN,
        ];
        let words: Vec<String> = seconds.iter().map(|s| span(*s)).collect();
        expect!["0 s, 1 s, 42 s, 120 s, 7 min, 2 h, 28 h, 12 days, never, never, never"]
            .assert_eq(&words.join(", "));
    }
}
