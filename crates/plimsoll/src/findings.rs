//! Findings as people read them: each under the line that it is about.
//!
//! Invariant: what refuses a change is never shown as less than that.

use std::collections::BTreeMap;

use model::{Finding, Severity};

use crate::look::Look;

/// The files that findings are about, as the caller has them on disk.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// By path in the bundle: how people call the file, and its text.
    pub(crate) files: BTreeMap<String, (String, String)>,
}

/// All findings with their lines, in the order given.
pub(crate) fn render(findings: &[Finding], sources: &Sources, look: Look) -> String {
    let shown = findings.iter().map(|finding| {
        let file = finding.file.as_ref();
        let source = file.and_then(|file| sources.files.get(file));
        let finding = Finding {
            // As people find it, from where they are.
            file: source.map(|(name, _)| name).or(file).cloned(),
            ..finding.clone()
        };
        let text = source.map(|(_, text)| text.as_str());
        check::render_finding(&finding, text, look.width, look.colour)
    });
    shown.collect::<Vec<String>>().join("\n")
}

/// "2 problems, 1 warning, 1 option needs approval"; empty when there is nothing.
pub(crate) fn count(findings: &[Finding]) -> String {
    let of = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let words: Vec<String> = [
        (of(Severity::Deny), "problem", "problems"),
        (of(Severity::Warn), "warning", "warnings"),
        (of(Severity::Risk), "needs approval", "need approval"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
    .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use model::Gate;

    use super::*;

    fn findings() -> Vec<Finding> {
        let base = Finding {
            gate: Gate::Checks,
            severity: Severity::Deny,
            file: Some("service.toml".into()),
            line: 2,
            column: 11,
            message: "/auth/production/address must be host:port with a port above 0".into(),
            help: Some(
                "write it like \"auth.internal:7800\", the port that the service listens at".into(),
            ),
        };
        vec![
            base.clone(),
            Finding {
                severity: Severity::Warn,
                line: 3,
                column: 8,
                message: "pool: fewer than two threads".into(),
                help: None,
                ..base.clone()
            },
            Finding {
                gate: Gate::Compatibility,
                file: None,
                line: 0,
                column: 0,
                message: "production, class web: web 2.0.0 can't be deployed\nbecause it requires auth-runtime >=2\nand 1.4.0 is deployed".into(),
                help: Some("auth-runtime 2.0.0 would do".into()),
                ..base.clone()
            },
            Finding {
                severity: Severity::Risk,
                file: Some("elsewhere.toml".into()),
                message: "a wrong address stops every request".into(),
                help: None,
                ..base
            },
        ]
    }

    #[test]
    fn each_stands_under_its_line_by_the_name_that_people_know() {
        let text = "[auth.production]\naddress = \"auth.internal:0\" # moved\npool = 1\n";
        let file = ("config/service.toml".to_owned(), text.to_owned());
        let sources = Sources {
            files: [("service.toml".to_owned(), file)].into(),
        };
        let look = Look {
            width: Some(60),
            colour: false,
        };
        expect![[r#"
            config/service.toml:2:11: /auth/production/address must be
              host:port with a port above 0
              2 | address = "auth.internal:0" # moved
                |           ^^^^^^^^^^^^^^^^^
              help: write it like "auth.internal:7800", the port that
                    the service listens at

            config/service.toml:3:8: warning: pool: fewer than two
              threads
              3 | pool = 1
                |        ^

            production, class web: web 2.0.0 can't be deployed
              because it requires auth-runtime >=2
              and 1.4.0 is deployed
              help: auth-runtime 2.0.0 would do

            elsewhere.toml:2:11: high risk: a wrong address stops
              every request
        "#]]
        .assert_eq(&render(&findings(), &sources, look));
    }

    #[test]
    fn they_are_counted_by_what_they_lead_to() {
        assert_eq!(
            count(&findings()),
            "2 problems, 1 warning, 1 needs approval"
        );
        assert_eq!(count(&[]), "");
    }
}
