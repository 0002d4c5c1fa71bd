//! A change's gates as a checklist: mark, gate, evidence, time.
//!
//! Invariant: no line is wider than the terminal, and what belongs to a gate
//! stands in its column.

use jiff::Timestamp;
use model::{Gate, GateLook, GateState, Millis};

use crate::look::Look;
use crate::output::Paint;

/// Columns before the mark.
const MARGIN: usize = 2;
/// Columns of the mark with the space behind it.
const MARK: usize = 6;
/// Columns of the gate's name with the space behind it: "compatibility" and two.
const NAME: usize = 15;
/// Times stand no farther to the right: the eye must find their line.
const COLUMNS_MAX: usize = 88;
/// Space between evidence and time.
const GAP: usize = 2;
/// Where pipes have the time: evidence is rarely longer.
const DETAIL: usize = 48;
/// Columns of the longest time: "59 min 59 s".
const TIME: usize = 11;

/// Every gate in order.
pub(crate) fn lines(gates: &[GateLook], now: Timestamp, look: Look) -> Vec<String> {
    gates
        .iter()
        .flat_map(|gate| gate_lines(gate, now, look))
        .collect()
}

/// One gate; more lines than one where the terminal is narrow.
pub(crate) fn gate_lines(gate: &GateLook, now: Timestamp, look: Look) -> Vec<String> {
    let took = took(gate, now).map_or_else(String::new, |took| took.to_string());
    let indent = MARGIN + MARK + NAME;
    let columns = look.width.map(|width| width.min(COLUMNS_MAX));
    let kept = if took.is_empty() { 0 } else { GAP + took.len() };
    let mut details = check::render::fold(&gate.detail, columns, indent + kept).into_iter();
    let first = details.next().unwrap_or_default();
    let room = match columns {
        Some(columns) => columns.saturating_sub(indent),
        None => DETAIL + GAP + TIME,
    };
    let (mark, paint) = mark(gate.state);
    let mark = format!("{mark:<MARK$}");
    let mark = match paint {
        Some(paint) => look.paint(paint, &mark),
        None => mark,
    };
    let alone = first.is_empty() && took.is_empty();
    let name = if alone {
        gate.gate.to_string()
    } else {
        format!("{:<NAME$}", gate.gate)
    };
    let quiet = matches!(gate.state, GateState::Pending | GateState::Off);
    let name = if quiet {
        look.paint(Paint::Dim, &name)
    } else {
        name
    };
    let dim = |text: &str| {
        if quiet && !text.is_empty() {
            look.paint(Paint::Dim, text)
        } else {
            text.to_owned()
        }
    };
    let head = format!("{:MARGIN$}{mark}{name}", "");
    let mut lines = vec![if took.is_empty() {
        format!("{head}{}", dim(&first))
    } else {
        let used = first.chars().count() + took.chars().count();
        let gap = room.saturating_sub(used).max(GAP);
        format!(
            "{head}{}{:gap$}{}",
            dim(&first),
            "",
            look.paint(Paint::Dim, &took)
        )
    }];
    lines.extend(details.map(|line| format!("{:indent$}{}", "", dim(&line))));
    lines
}

/// How long a gate took, or has taken so far.
fn took(gate: &GateLook, now: Timestamp) -> Option<Millis> {
    let began = gate.began_at?;
    match gate.state {
        GateState::Passed | GateState::Failed => {
            // Gates that are passed in the moment they begin took no time worth telling.
            let took = Millis::between(began, gate.ended_at?);
            (took.0 > 0).then_some(took)
        }
        // Under a second the number only flickers.
        GateState::Running | GateState::Waiting => {
            let took = Millis::between(began, now);
            (took.0 >= 1_000).then_some(Millis::seconds(took.0 / 1_000))
        }
        GateState::Pending | GateState::Waived | GateState::Off => None,
    }
}

fn mark(state: GateState) -> (&'static str, Option<Paint>) {
    match state {
        GateState::Pending => ("", None),
        GateState::Running => ("...", Some(Paint::Cyan)),
        GateState::Waiting => ("wait", Some(Paint::Yellow)),
        GateState::Passed => ("ok", Some(Paint::Green)),
        GateState::Failed => ("FAIL", Some(Paint::Red)),
        GateState::Waived => ("skip", Some(Paint::Yellow)),
        GateState::Off => ("-", Some(Paint::Dim)),
    }
}

/// Tells people how to approve, where a release waits for that.
pub(crate) fn with_next_steps(gates: &[GateLook], release: model::ReleaseId) -> Vec<GateLook> {
    let mut gates = gates.to_vec();
    for gate in &mut gates {
        let waits = gate.gate == Gate::Approval && gate.state == GateState::Waiting;
        if waits && !gate.detail.contains("plimsoll approve") {
            gate.detail = format!("{}: plimsoll approve {release}", gate.detail);
        }
    }
    gates
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use model::ReleaseId;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
    }

    fn gate(gate: Gate, state: GateState, detail: &str, from: i64, to: Option<i64>) -> GateLook {
        GateLook {
            gate,
            state,
            detail: detail.into(),
            began_at: Some(at(from)),
            ended_at: to.map(at),
        }
    }

    fn release() -> Vec<GateLook> {
        use GateState::*;
        let mut gates = vec![
            gate(
                Gate::Checks,
                Passed,
                "schema, 4 policies, 2 guards",
                0,
                Some(0),
            ),
            gate(
                Gate::Compatibility,
                Passed,
                "with 2 classes of hosts",
                0,
                Some(0),
            ),
            gate(
                Gate::Test,
                Passed,
                "2 hosts, healthy, baked 2 s",
                0,
                Some(4_100),
            ),
            gate(
                Gate::Rehearsal,
                Passed,
                "back in 0.8 s, forward again in 0.9 s",
                4_100,
                Some(6_000),
            ),
            gate(
                Gate::Matrix,
                Failed,
                "old files on new packages: the check said no: unknown key limits.threads",
                6_000,
                Some(8_500),
            ),
            gate(Gate::Hostile, Waived, "left out by break-glass 3", 0, None),
            gate(
                Gate::References,
                Running,
                "6 of 8 hosts answered",
                8_000,
                None,
            ),
            gate(
                Gate::Approval,
                Waiting,
                "needs 1 person other than ada",
                8_000,
                None,
            ),
            gate(Gate::Freeze, Off, "", 0, None),
        ];
        gates.push(GateLook {
            gate: Gate::Attestation,
            state: Pending,
            detail: String::new(),
            began_at: None,
            ended_at: None,
        });
        with_next_steps(&gates, ReleaseId(7))
    }

    fn check(width: Option<usize>, expected: Expect) {
        let look = Look {
            width,
            colour: false,
        };
        let lines = lines(&release(), at(11_400), look);
        if let Some(width) = width {
            for line in &lines {
                assert!(line.chars().count() <= width, "{line}");
            }
        }
        expected.assert_eq(&format!("gates\n{}\n", lines.join("\n")));
    }

    #[test]
    fn sixty_columns() {
        check(
            Some(60),
            expect![[r#"
            gates
              ok    checks         schema, 4 policies, 2 guards
              ok    compatibility  with 2 classes of hosts
              ok    test           2 hosts, healthy, baked 2 s     4.1 s
              ok    rehearsal      back in 0.8 s, forward again    1.9 s
                                   in 0.9 s
              FAIL  matrix         old files on new packages: the  2.5 s
                                   check said no: unknown key
                                   limits.threads
              skip  hostile        left out by break-glass 3
              ...   references     6 of 8 hosts answered             3 s
              wait  approval       needs 1 person other than ada:    3 s
                                   plimsoll approve 7
              -     freeze
                    attestation
        "#]],
        );
    }

    #[test]
    fn eighty_columns() {
        check(
            Some(80),
            expect![[r#"
            gates
              ok    checks         schema, 4 policies, 2 guards
              ok    compatibility  with 2 classes of hosts
              ok    test           2 hosts, healthy, baked 2 s                         4.1 s
              ok    rehearsal      back in 0.8 s, forward again in 0.9 s               1.9 s
              FAIL  matrix         old files on new packages: the check said no:       2.5 s
                                   unknown key limits.threads
              skip  hostile        left out by break-glass 3
              ...   references     6 of 8 hosts answered                                 3 s
              wait  approval       needs 1 person other than ada: plimsoll approve 7     3 s
              -     freeze
                    attestation
        "#]],
        );
    }

    #[test]
    fn a_hundred_and_twenty_columns() {
        check(
            Some(120),
            expect![[r#"
            gates
              ok    checks         schema, 4 policies, 2 guards
              ok    compatibility  with 2 classes of hosts
              ok    test           2 hosts, healthy, baked 2 s                                 4.1 s
              ok    rehearsal      back in 0.8 s, forward again in 0.9 s                       1.9 s
              FAIL  matrix         old files on new packages: the check said no: unknown key   2.5 s
                                   limits.threads
              skip  hostile        left out by break-glass 3
              ...   references     6 of 8 hosts answered                                         3 s
              wait  approval       needs 1 person other than ada: plimsoll approve 7             3 s
              -     freeze
                    attestation
        "#]],
        );
    }

    #[test]
    fn pipes_get_whole_lines() {
        check(
            None,
            expect![[r#"
            gates
              ok    checks         schema, 4 policies, 2 guards
              ok    compatibility  with 2 classes of hosts
              ok    test           2 hosts, healthy, baked 2 s                             4.1 s
              ok    rehearsal      back in 0.8 s, forward again in 0.9 s                   1.9 s
              FAIL  matrix         old files on new packages: the check said no: unknown key limits.threads  2.5 s
              skip  hostile        left out by break-glass 3
              ...   references     6 of 8 hosts answered                                     3 s
              wait  approval       needs 1 person other than ada: plimsoll approve 7         3 s
              -     freeze
                    attestation
        "#]],
        );
    }

    #[test]
    fn colours_don_t_move_columns() {
        let [plain, dressed] = [false, true].map(|colour| {
            let look = Look {
                width: Some(60),
                colour,
            };
            lines(&release(), at(11_400), look)
        });
        let bare = |line: &String| {
            let mut text = line.clone();
            for code in ["31", "32", "33", "36", "2", "0"] {
                text = text.replace(&format!("\u{1b}[{code}m"), "");
            }
            text
        };
        assert_eq!(plain, dressed.iter().map(bare).collect::<Vec<_>>());
    }
}
