//! `plimsoll silence`.

use std::process::ExitCode;

use incident::alerts::matchers;
use jiff::Timestamp;
use model::incident::Operator;
use wire::api::{MatcherView, SilenceView};

use crate::cli::{Ask, SilenceArgs, SilenceCommand};
use crate::connect;
use crate::look::Look;
use crate::output::{self, Failure, Paint};
use crate::words::{led, moment};

pub(crate) async fn silence(args: SilenceArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

async fn run(args: SilenceArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    match args.what {
        SilenceCommand::Add {
            matchers,
            lasts,
            comment,
            by,
        } => {
            let matchers = matchers.iter().map(|text| matcher(text));
            let starts_at = Timestamp::now();
            let ends_at = starts_at.checked_add(lasts).map_err(Failure::misused)?;
            let silence = SilenceView {
                id: String::new(),
                status: None,
                matchers: matchers.collect::<Result<_, _>>()?,
                starts_at,
                ends_at,
                created_by: by,
                comment,
            };
            let id = client.silence(&silence).await?;
            if args.json {
                output::json(&SilenceView { id, ..silence })?;
            } else {
                let until = moment(ends_at, Timestamp::now());
                println!("silence {id} until {until}");
            }
        }
        SilenceCommand::List { all } => {
            let mut silences = client.silences().await?;
            silences.retain(|it| all || state(it) != "expired");
            silences.sort_by_key(|it| it.ends_at);
            if args.json {
                output::json(&silences)?;
            } else if silences.is_empty() {
                println!("no silences");
            }
            let (look, now) = (Look::stdout(), Timestamp::now());
            let shown = silences.iter().filter(|_| !args.json);
            for line in shown.flat_map(|it| lines(it, now, look)) {
                println!("{line}");
            }
        }
        SilenceCommand::Expire { id } => {
            client.expire_silence(&id).await?;
            match args.json {
                true => output::json(&serde_json::json!({ "id": id }))?,
                false => println!("silence {id} is over"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(silence: &SilenceView) -> &str {
    let status = silence.status.as_ref();
    status.map_or("active", |status| &status.state)
}

fn matcher(text: &str) -> Result<MatcherView, Failure> {
    let read = matchers::parse(text).map_err(|why| {
        Failure::misused(format!("{text:?} is no matcher: {why}"))
            .next("Write it like service=api, host!=web-1 or 'alertname=~\"Disk.*\"'.")
    })?;
    let (is_regex, is_equal) = match read.operator {
        Operator::Equal => (false, true),
        Operator::NotEqual => (false, false),
        Operator::Regex => (true, true),
        Operator::NotRegex => (true, false),
    };
    Ok(MatcherView {
        name: read.name,
        value: read.value,
        is_regex,
        is_equal,
    })
}

fn written(matcher: &MatcherView) -> String {
    let operator = match (matcher.is_regex, matcher.is_equal) {
        (false, true) => "=",
        (false, false) => "!=",
        (true, true) => "=~",
        (true, false) => "!~",
    };
    format!("{}{operator}{:?}", matcher.name, matcher.value)
}

/// The id alone in its line: it is for copying.
fn lines(silence: &SilenceView, now: Timestamp, look: Look) -> Vec<String> {
    let mut lines = vec![look.paint(Paint::Bold, &silence.id)];
    let matchers: Vec<String> = silence.matchers.iter().map(written).collect();
    lines.extend(led("  fits", &matchers.join(" "), look));
    let stand = match state(silence) {
        "pending" => format!("from {}", moment(silence.starts_at, now)),
        "expired" => format!("over since {}", moment(silence.ends_at, now)),
        _ => format!("until {}", moment(silence.ends_at, now)),
    };
    lines.extend(led("  stands", &stand, look));
    let by = format!("{}: {}", silence.created_by, silence.comment);
    lines.extend(led("  by", &by, look));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_sent_as_they_are_written() {
        for text in ["a=\"b\"", "a!=\"b\"", "a=~\"b.*\"", "a!~\"b|c\""] {
            assert_eq!(written(&matcher(text).unwrap()), text);
        }
        assert_eq!(written(&matcher("service=api").unwrap()), "service=\"api\"");
        assert!(matcher("nonsense").is_err());
    }
}
