//! What people see: exit codes, errors, colour, tables, JSON.

use std::io::IsTerminal;
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use model::Refusal;
use serde::Serialize;
use wire::ClientError;

use crate::findings::{self, Sources};
use crate::look::Look;

/// Exit codes; `plimsoll --help` lists them.
pub(crate) const BROKEN: u8 = 1;
const MISUSED: u8 = 2;
pub(crate) const REFUSED: u8 = 3;
pub(crate) const ROLLED_BACK: u8 = 4;
pub(crate) const NOT_YET: u8 = 5;
pub(crate) const UNREACHABLE: u8 = 6;

/// Why a command ended without doing what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    next: Option<String>,
    refusal: Option<Box<Refusal>>,
    /// The findings' own files, where the caller has them.
    sources: Sources,
    json: bool,
}

impl Failure {
    /// Something broke.
    pub(crate) fn broken(message: impl std::fmt::Display) -> Failure {
        Failure {
            code: BROKEN,
            message: message.to_string(),
            next: None,
            refusal: None,
            sources: Sources::default(),
            json: false,
        }
    }

    /// The command line says what can't be done.
    pub(crate) fn misused(message: impl std::fmt::Display) -> Failure {
        Failure {
            code: MISUSED,
            ..Failure::broken(message)
        }
    }

    /// Something broke, with all its causes: an error's own words don't repeat them.
    pub(crate) fn caused(error: impl std::error::Error) -> Failure {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Some libraries do repeat them.
            if !words.contains(&text) {
                words = format!("{words}: {text}");
            }
            source = cause.source();
        }
        Failure::broken(words)
    }

    /// What to try.
    #[must_use]
    pub(crate) fn next(self, next: impl Into<String>) -> Failure {
        Failure {
            next: Some(next.into()),
            ..self
        }
    }

    /// What happened, for people.
    pub(crate) fn words(&self) -> &str {
        &self.message
    }

    /// Shows findings under the lines of these files.
    #[must_use]
    pub(crate) fn in_sources(self, sources: Sources) -> Failure {
        Failure { sources, ..self }
    }

    /// Prints it and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let findings = self
            .refusal
            .as_ref()
            .map_or(&[][..], |refusal| &refusal.findings);
        if !findings.is_empty() {
            let look = Look::stderr();
            eprintln!("{}", findings::render(findings, &self.sources, look));
        }
        let word = if self.code == REFUSED {
            "refused"
        } else {
            "error"
        };
        // Not folded: messages have lines of their own, and next steps are for copying.
        eprintln!("{}: {}", paint_err(Paint::Red, word), self.message);
        if let Some(next) = &self.next {
            eprintln!("{} {next}", paint_err(Paint::Cyan, "next:"));
        }
        if self.json {
            println!("{}", self.as_json());
        }
        ExitCode::from(self.code)
    }

    /// A refusal as the API's problem, with the exit code; an error in as many words.
    fn as_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!({
            "error": self.message, "next": self.next, "exit_code": self.code
        });
        if let Some(refusal) = &self.refusal {
            let code = refusal.code.as_str();
            value["type"] = format!("docs/errors/{code}.md").into();
            value["code"] = code.into();
            value["detail"] = refusal.message.clone().into();
            value["findings"] = serde_json::json!(refusal.findings);
        }
        value
    }

    /// Also says it in JSON, for programs that asked for that.
    #[must_use]
    pub(crate) fn with_json(self, wanted: bool) -> Failure {
        Failure {
            json: wanted,
            ..self
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure {
            code: REFUSED,
            next: Some(refusal.next.clone()),
            refusal: Some(Box::new(refusal.clone())),
            ..Failure::broken(format!("{} ({})", refusal.message, refusal.code))
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Refused { refusal, .. } => refusal.into(),
            ClientError::Unreachable { .. } => Failure {
                code: UNREACHABLE,
                next: Some(
                    "Is the control plane running? Is --url (PLIMSOLL_URL) right? `plimsoll doctor` looks closer."
                        .into(),
                ),
                ..Failure::broken(error)
            },
            ClientError::Protocol { .. } | ClientError::Setup(_) => Failure::broken(error),
        }
    }
}

/// Prints a value as JSON on one line.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(value).map_err(Failure::caused)?);
    Ok(())
}

/// Colours, few.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    Red,
    Green,
    Yellow,
    Cyan,
    Dim,
    Bold,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Red => "31",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Cyan => "36",
            Paint::Dim => "2",
            Paint::Bold => "1",
        }
    }
}

/// `NO_COLOR` (no-color.org) and terminals that can't are respected.
pub(crate) fn colourful(terminal: bool) -> bool {
    terminal
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

pub(crate) fn dress(colour: bool, paint: Paint, text: &str) -> String {
    if colour {
        format!("\x1b[{}m{text}\x1b[0m", paint.code())
    } else {
        text.to_owned()
    }
}

/// Text for standard output, coloured on terminals.
pub(crate) fn paint(paint: Paint, text: impl AsRef<str>) -> String {
    dress(
        colourful(std::io::stdout().is_terminal()),
        paint,
        text.as_ref(),
    )
}

/// Text for standard error, coloured on terminals.
pub(crate) fn paint_err(paint: Paint, text: impl AsRef<str>) -> String {
    dress(err_colour(), paint, text.as_ref())
}

/// Whether standard error shows colours.
pub(crate) fn err_colour() -> bool {
    colourful(std::io::stderr().is_terminal())
}

/// A table that fits the terminal.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        // Pipes get whole lines; only terminals have a width to fit.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(header.iter().map(|name| paint(Paint::Dim, name)));
    table
}

/// Prints a table without the padding that would break copying.
pub(crate) fn print_table(table: &Table) {
    for line in table.to_string().lines() {
        // Each cell is padded by one; the first needs none.
        println!("{}", line.strip_prefix(' ').unwrap_or(line).trim_end());
    }
}
