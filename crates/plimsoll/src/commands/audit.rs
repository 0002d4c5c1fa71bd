//! `plimsoll audit`: the journal of a control plane, page by page.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use model::{Digest, Event, Gate};
use wire::api::{StatusView, StoredRecord};
use wire::{Client, PublicKey};

use crate::audit::verify::{Auditor, Fault};
use crate::audit::{Change, ENTRIES_MAX, Entry, Glass, Ledger, Outcome, Wanted};
use crate::cli::{Ask, AuditArgs, AuditCommand};
use crate::commands::attest::OWN_WORD;
use crate::connect;
use crate::look::Look;
use crate::output::{self, Failure, Paint, REFUSED};
use crate::words::{self, led};

/// Records asked for at a time; the control plane gives fewer when they are long.
const PAGE: usize = 500;

pub(crate) async fn audit(args: AuditArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    match args.what {
        Some(AuditCommand::Verify { key, head, json }) => verify(key, head, json, ask)
            .await
            .map_err(|failure| failure.with_json(json)),
        None => {
            let json = args.json;
            list(args, ask)
                .await
                .map_err(|failure| failure.with_json(json))
        }
    }
}

/// Walks the records after a position, and shows how far on terminals.
async fn walk(
    client: &Client,
    mut after: u64,
    mut take: impl FnMut(StoredRecord),
) -> Result<(), Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    // What is appended meanwhile is for the next audit: a busy journal has no end.
    let end = status.position;
    let bar = bar(end.saturating_sub(after));
    while after < end {
        let limit = PAGE.min(usize::try_from(end - after).unwrap_or(PAGE));
        let path = format!("/v1/journal?after={after}&limit={limit}");
        let records: Vec<StoredRecord> = client.get(&path).await?;
        let Some(last) = records.last() else {
            return Err(Failure::broken(format!(
                "the control plane has no record after {after}, and says that it has {end}"
            )));
        };
        let reached = last.seq;
        bar.inc(records.len() as u64);
        for record in records {
            take(record);
        }
        if reached <= after {
            return Err(Failure::broken(format!(
                "the control plane gave records before {after} again"
            )));
        }
        after = reached;
    }
    bar.finish_and_clear();
    Ok(())
}

fn bar(records: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(records);
    let style = ProgressStyle::with_template("reading the journal {bar:24} {pos}/{len}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// The last position before a moment, by halving: nothing before it has to be read.
async fn before(client: &Client, moment: Timestamp) -> Result<u64, Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    let (mut low, mut high) = (0, status.position);
    while low < high {
        let middle = low + (high - low) / 2;
        let path = format!("/v1/journal?after={middle}&limit=1");
        let records: Vec<StoredRecord> = client.get(&path).await?;
        match records.first() {
            Some(record) if record.at < moment => low = middle + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

async fn list(args: AuditArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let after = match args.since {
        Some(since) => before(&client, since).await?,
        None => 0,
    };
    let mut ledger = Ledger::new(Wanted {
        service: args.service,
        since: args.since,
    });
    walk(&client, after, |record| {
        // A kind that only a later program knows says nothing to this one.
        if let Ok(event) = serde_json::from_value::<Event>(record.event) {
            ledger.take(record.at, event);
        }
    })
    .await?;
    let left_out = ledger.left_out;
    let entries = ledger.entries();
    if args.json {
        for entry in &entries {
            output::json(entry)?;
        }
    } else if entries.is_empty() {
        println!("no high-risk option was changed, and no glass was broken");
    } else {
        let (now, look) = (Timestamp::now(), Look::stdout());
        for (index, entry) in entries.iter().enumerate() {
            if index > 0 {
                println!();
            }
            for line in told(entry, now, look) {
                println!("{line}");
            }
        }
    }
    if left_out > 0 {
        return Err(Failure::broken(format!(
            "{left_out} more entries than the {ENTRIES_MAX} that are kept"
        ))
        .next("Narrow it with --since or --service."));
    }
    Ok(ExitCode::SUCCESS)
}

fn told(entry: &Entry, now: Timestamp, look: Look) -> Vec<String> {
    match entry {
        Entry::Change(change) => change_lines(change, now, look),
        Entry::BreakGlass(glass) => glass_lines(glass, now, look),
    }
}

fn change_lines(change: &Change, now: Timestamp, look: Look) -> Vec<String> {
    let at = look.paint(Paint::Dim, &words::moment(change.at, now));
    let release = look.paint(Paint::Bold, &format!("release {}", change.release));
    let mut lines = vec![format!("{at}  {release} of {}", change.service)];
    lines.extend(words::risk_lines(&change.risks, look));
    let by = if change.message.is_empty() {
        change.by.clone()
    } else {
        format!("{}: {}", change.by, change.message)
    };
    lines.extend(led("by", &by, look));
    for approval in &change.approvals {
        let note = if approval.note.is_empty() {
            String::new()
        } else {
            format!(": {}", approval.note)
        };
        let at = words::moment(approval.at, now);
        lines.extend(led(
            "approved by",
            &format!("{}, {at}{note}", approval.by),
            look,
        ));
    }
    if let Some(id) = change.break_glass {
        lines.extend(led("break-glass", &id.to_string(), look));
    }
    lines.extend(led("became", &outcome(&change.outcome, now), look));
    lines
}

fn outcome(outcome: &Outcome, now: Timestamp) -> String {
    match outcome {
        Outcome::OnItsWay => "it is on its way".to_owned(),
        Outcome::Good { at } => format!("good, {}", words::moment(*at, now)),
        Outcome::SentBack {
            at,
            by,
            why,
            back_at,
        } => {
            let back = match back_at {
                Some(back) => format!("back everywhere {}", words::moment(*back, now)),
                None => "not back everywhere yet".to_owned(),
            };
            let why = if why.is_empty() {
                "no reason given"
            } else {
                why
            };
            format!(
                "sent back by {by}, {}: {why}; {back}",
                words::moment(*at, now)
            )
        }
    }
}

fn glass_lines(glass: &Glass, now: Timestamp, look: Look) -> Vec<String> {
    let at = look.paint(Paint::Dim, &words::moment(glass.at, now));
    let name = look.paint(Paint::Yellow, &format!("break-glass {}", glass.break_glass));
    let gates: Vec<&str> = glass
        .gates
        .iter()
        .map(|gate: &Gate| gate.as_str())
        .collect();
    let used: Vec<String> = glass.used_by.iter().map(ToString::to_string).collect();
    let used = if used.is_empty() {
        "by nobody".to_owned()
    } else {
        format!("by release {}", used.join(", "))
    };
    let review = match (&glass.reviewed_by, &glass.review) {
        (Some(by), Some(words)) => format!("by {by}: {words}"),
        (Some(by), None) => format!("by {by}"),
        (None, _) => "by nobody yet".to_owned(),
    };
    let mut lines = vec![format!(
        "{at}  {name} of {}: without {}",
        glass.service,
        gates.join(", ")
    )];
    let agreed = glass.confirmed_by.as_deref().unwrap_or("nobody");
    for (lead, text) in [
        ("by", format!("{}: {}", glass.by, glass.reason)),
        ("agreed by", agreed.to_owned()),
        ("used", used),
        ("looked at", review),
    ] {
        lines.extend(led(lead, &text, look));
    }
    lines
}

async fn verify(
    key: Option<String>,
    head: Option<(u64, Digest)>,
    json: bool,
    ask: &Ask,
) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let given = key.is_some();
    let key = match key {
        Some(text) => PublicKey::parse(text.trim())
            .map_err(|error| Failure::misused(format!("--key: {error}")))?,
        None => own_key(&client).await?,
    };
    let mut auditor = Auditor::new(key.clone(), head);
    walk(&client, 0, |record| auditor.take(record)).await?;
    auditor.end();
    let (seq, hash) = auditor.head();
    let holds = auditor.faults.is_empty();
    if json {
        output::json(&serde_json::json!({
            "holds": holds, "head": format!("{seq}:{hash}"), "key": key.to_string(),
            "looked_at": auditor.counted, "faults": auditor.faults,
        }))?;
    } else {
        let look = Look::stdout();
        for fault in &auditor.faults {
            for line in fault_lines(fault, look) {
                println!("{line}");
            }
        }
        for line in summary(&auditor, look) {
            println!("{line}");
        }
        if !given {
            println!("{:<w$}{key}", "key", w = words::LEAD);
            for line in look.fit(OWN_WORD, 0) {
                println!("{line}");
            }
        }
    }
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(REFUSED)
    })
}

/// The key that the newest attestation is said to be signed with.
async fn own_key(client: &Client) -> Result<PublicKey, Failure> {
    for release in client.releases(None).await? {
        if let Ok(answer) = client.attestation(release.id).await {
            return PublicKey::parse(&answer.control_key).map_err(Failure::caused);
        }
    }
    Err(
        Failure::misused("no release has an attestation, so nobody names the key")
            .next("Name it with --key: hosts keep it as they pinned it when they joined."),
    )
}

fn fault_lines(fault: &Fault, look: Look) -> Vec<String> {
    let lead = format!("{:>7} ", fault.seq);
    let law = format!("{:<12}", fault.law);
    let mut lines = look.fit(&fault.detail, 22).into_iter();
    let first = lines.next().unwrap_or_default();
    let head = format!("{lead} {} {first}", look.paint(Paint::Red, &law));
    let rest = lines.map(|line| format!("{:22}{line}", ""));
    std::iter::once(head).chain(rest).collect()
}

fn summary(auditor: &Auditor, look: Look) -> Vec<String> {
    let counted = &auditor.counted;
    let (seq, hash) = auditor.head();
    let faults = auditor.faults.len() as u64 + counted.more_faults;
    let word = if faults == 0 {
        look.paint(Paint::Green, "nothing went past a gate")
    } else {
        let s = if faults == 1 { "" } else { "s" };
        look.paint(Paint::Red, &format!("{faults} fault{s}"))
    };
    let mut lines = vec![word];
    let looked: Vec<String> = [
        (counted.events, "event"),
        (counted.openings, "opening of production"),
        (counted.attestations, "attestation"),
        (counted.approvals, "approval"),
        (counted.break_glasses, "break-glass"),
    ]
    .map(|(count, word)| plural(count, word))
    .into();
    lines.extend(led("looked at", &looked.join(", "), look));
    if counted.before_gates > 0 {
        let words = format!(
            "{} openings from before there were gates",
            counted.before_gates
        );
        lines.extend(led("", &words, look));
    }
    if counted.unknown > 0 {
        let words = format!(
            "{} events of kinds that only a later program knows",
            counted.unknown
        );
        lines.extend(led("", &words, look));
    }
    // Not folded: it is for copying.
    lines.push(format!(
        "{:<w$}{seq}:{hash}",
        "head, to note",
        w = words::LEAD
    ));
    lines
}

/// "1 event", "2 openings of production", "3 break-glasses".
fn plural(count: u64, word: &str) -> String {
    if count == 1 {
        return format!("1 {word}");
    }
    let (head, rest) = word.split_once(' ').unwrap_or((word, ""));
    let ending = if head.ends_with('s') { "es" } else { "s" };
    format!("{count} {head}{ending} {rest}")
        .trim_end()
        .to_owned()
}
