//! Whatever the text, reading it ends, and every place it names is in the text.

use proptest::prelude::*;

use super::*;

const FORMS: &str = include_str!("../../../tests/valid/forms.toml");

/// Pieces that mean something to the reader, so that random texts get past the TOML parser.
const PIECES: &[&str] = &[
    "[service.api]\n",
    "[service.api.plan.test]\n",
    "[[environment]]\n",
    "[[environment.host]]\n",
    "[environment]\n",
    "name = ",
    "zone = ",
    "address = ",
    "services = ",
    "files = ",
    "commands.check = ",
    "health.http = ",
    "plan.test.waves = ",
    "packages.a = ",
    "\"test\"\n",
    "\"10.0.0.1:80\"\n",
    "\"${address\"\n",
    "[\"1 host at 1%\"]\n",
    "{ hosts = \"zone\" }\n",
    "{}\n",
    "[]\n",
    "[service.api.checks]\n",
    "[[service.api.checks.guard]]\n",
    "[[service.api.checks.reference]]\n",
    "[class.web.packages]\n",
    "[[catalog]]\n",
    "[[freeze]]\n",
    "from = ",
    "zone = ",
    "version = ",
    "requires = ",
    "schemas = ",
    "keep = ",
    "{ a = \"^1\" }\n",
    "\"fri 16:00\"\n",
    "\"1.0\"\n",
    "-1\n",
    "1e9\n",
    "\"ä\u{202e}\"\n",
    "\r\n",
    "\t",
    "# 漢字\n",
    "\u{feff}",
    "\0",
];

fn holds(text: &str) -> Result<(), TestCaseError> {
    let problems = match parse("f", text) {
        Ok(project) => {
            // What was accepted keeps the laws of the model.
            prop_assert_eq!(project.topology.problems(), Vec::<String>::new());
            let declared = project.topology.services.keys();
            prop_assert!(declared.eq(project.services.keys()));
            return Ok(());
        }
        Err(problems) => problems,
    };
    prop_assert!(!problems.as_slice().is_empty());
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &problems {
        prop_assert!((1..=lines.len()).contains(&problem.line), "{problem}");
        let width = lines[problem.line - 1].chars().count();
        prop_assert!((1..=width + 1).contains(&problem.column), "{problem}");
        prop_assert!(text.get(problem.span.clone()).is_some(), "{problem}");
        // The line and column say the same as the span.
        let before = &text[..problem.span.start];
        prop_assert_eq!(before.matches('\n').count() + 1, problem.line);
        let message = format!(
            "{}{}",
            problem.message,
            problem.help.as_deref().unwrap_or("")
        );
        prop_assert!(!message.chars().any(char::is_control), "{message:?}");
    }
    let shown = render(&problems, text, false);
    let fit = |c: char| c == '\n' || !c.is_control();
    prop_assert!(shown.chars().all(fit), "{shown:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn any_text(text in any::<String>()) {
        holds(&text)?;
    }

    #[test]
    fn any_pieces(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        holds(&pieces.concat())?;
    }

    #[test]
    fn a_mutated_good_text(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, ".{0,4}"), 1..4),
        forms in any::<bool>(),
    ) {
        let mut text = String::from(if forms { FORMS } else { GOOD });
        for (at, deleted, inserted) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + deleted).min(text.len()));
            text.replace_range(start..end, &inserted);
        }
        holds(&text)?;
    }

    #[test]
    fn a_good_text_with_lines_moved(
        moves in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
        forms in any::<bool>(),
    ) {
        let mut lines: Vec<&str> = (if forms { FORMS } else { GOOD }).lines().collect();
        for (from, to) in moves {
            let line = lines.remove(from.index(lines.len()));
            lines.insert(to.index(lines.len() + 1), line);
        }
        holds(&lines.join("\n"))?;
    }
}

#[test]
fn deep_and_broken_texts_end() {
    for text in [
        "[".repeat(100_000),
        "a.".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!(
            "[{}a]\n{}b = {}",
            "a.".repeat(70),
            "b.".repeat(70),
            "[".repeat(70)
        ),
        "[]".to_owned(),
        "[[]]".to_owned(),
        "[.]\n=\n\"".to_owned(),
        "\u{feff}\u{feff}x".to_owned(),
    ] {
        assert!(parse("f", &text).is_err(), "{}", text.len());
        assert!(holds(&text).is_ok());
    }
}

/// One long line with a mistake in every second value: no step may walk it again for each.
#[test]
fn many_problems_are_no_more_than_slow() {
    let hosts = "{ name = \"A\", zone = 1, address = \"x\" }, ".repeat(15_000);
    let text = format!(
        "service.api.files = \"a\"\nenvironment = [{{ name = \"test\", host = [{hosts}] }}]"
    );
    let problems = parse("f", &text).unwrap_err();
    assert!(problems.as_slice().len() > 40_000);
    let shown = render(&problems, &text, true);
    assert!(shown.contains(" more problems"));
}
