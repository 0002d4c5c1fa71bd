//! `plimsoll attest`: the signed fact that a bundle passed its test.
//!
//! Invariant: what is said to hold was checked here, against a key, not taken
//! from the control plane's own words.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use model::attest::STATEMENT_PAYLOAD_TYPE;
use model::gate::TestRecord;
use model::{Digest, Envelope, Millis, ReleaseId, ServiceName, Statement};
use serde::Serialize;
use wire::api::{AttestationAnswer, CountersignRequest};
use wire::{Open, PublicKey, SecretKey};

use crate::cli::{Ask, AttestArgs, AttestCommand};
use crate::commands::approve;
use crate::connect;
use crate::look::Look;
use crate::output::{self, Failure, Paint, REFUSED};
use crate::words::{self, led, led_whole};

/// Longest envelope file: one with every probe of a large fleet's record.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a key is worth that nobody brought along.
pub(crate) const OWN_WORD: &str = "The key is the control plane's own word: compare it with the one that your hosts pinned (control.key in an agent's state folder), or name that with --key.";

pub(crate) async fn attest(args: AttestArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    match args.what {
        AttestCommand::Show { release, json } => show(release, json, ask)
            .await
            .map_err(|failure| failure.with_json(json)),
        AttestCommand::Verify {
            release,
            file,
            key,
            bundle,
            json,
        } => verify(release, file.as_deref(), key, bundle, json, ask)
            .await
            .map_err(|failure| failure.with_json(json)),
        AttestCommand::Key { file } => {
            let key = SecretKey::load_or_create(&file).map_err(Failure::caused)?;
            println!("{}", key.public());
            Ok(ExitCode::SUCCESS)
        }
        AttestCommand::Countersign {
            release,
            key,
            yes,
            json,
        } => countersign(release, &key, yes, json, ask)
            .await
            .map_err(|failure| failure.with_json(json)),
    }
}

/// Shows what would be signed, signs exactly that, and hands the signature in.
async fn countersign(
    release: ReleaseId,
    file: &Path,
    yes: bool,
    json: bool,
    ask: &Ask,
) -> Result<ExitCode, Failure> {
    if !file.exists() {
        return Err(
            Failure::broken(format!("there is no key in {}", file.display())).next(format!(
                "Make one with `plimsoll attest key {}`, and name its public half in plimsoll.toml (countersigners).",
                file.display()
            )),
        );
    }
    let secret = SecretKey::load_or_create(file).map_err(Failure::caused)?;
    let client = connect::client(ask)?;
    let answer = client.attestation(release).await?;
    let control = PublicKey::parse(&answer.control_key).map_err(Failure::caused)?;
    let statement: Statement = answer
        .envelope
        .open(STATEMENT_PAYLOAD_TYPE, &control)
        .map_err(Failure::caused)?;
    // A digest in the statement is worth nothing if the evidence shown is another.
    if answer.record.digest() != statement.predicate.evidence {
        return Err(Failure::broken(
            "the evidence that the control plane shows is not the one that it signed",
        ));
    }
    if !json {
        for line in told(&statement, &answer, Timestamp::now(), Look::stdout()) {
            println!("{line}");
        }
    }
    if !yes && !approve::agreed(&format!("sign this with key {}?", secret.public()))? {
        println!("nothing was signed");
        return Ok(ExitCode::SUCCESS);
    }
    let signature = secret
        .countersign(&answer.envelope)
        .map_err(Failure::caused)?;
    let request = CountersignRequest {
        keyid: signature.keyid,
        sig: signature.sig,
    };
    let view = client.countersign(release, &request).await?;
    if json {
        output::json(&view)?;
    } else {
        let word = output::paint(Paint::Green, "signed:");
        println!("{word} release {release} by key {}", request.keyid);
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(release: ReleaseId, json: bool, ask: &Ask) -> Result<ExitCode, Failure> {
    let client = connect::client(ask)?;
    let answer = client.attestation(release).await?;
    if json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let key = PublicKey::parse(&answer.control_key).map_err(Failure::caused)?;
    let statement: Statement = answer
        .envelope
        .open(STATEMENT_PAYLOAD_TYPE, &key)
        .map_err(Failure::caused)?;
    let (now, look) = (Timestamp::now(), Look::stdout());
    for line in told(&statement, &answer, now, look) {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn told(
    statement: &Statement,
    answer: &AttestationAnswer,
    now: Timestamp,
    look: Look,
) -> Vec<String> {
    let predicate = &statement.predicate;
    let mut lines = Vec::new();
    for subject in &statement.subject {
        for (algorithm, digest) in &subject.digest {
            let about = format!("{} {algorithm}:{digest}", subject.name);
            lines.extend(led_whole("about", about));
        }
    }
    let base = predicate
        .base
        .map_or_else(|| "nothing".to_owned(), |base| base.to_string());
    let approved = if predicate.approved_by.is_empty() {
        "nobody: it touches no high-risk option".to_owned()
    } else {
        predicate.approved_by.join(", ")
    };
    lines.extend(led_whole("release", predicate.release));
    lines.extend(led_whole("for hosts on", base));
    lines.extend(led_whole("under rules", predicate.check_set));
    lines.extend(led_whole("tested in", predicate.environment));
    lines.extend(led_whole("evidence", predicate.evidence));
    lines.extend(led("approved by", &approved, look));
    lines.extend(led_whole("issued", words::moment(predicate.issued_at, now)));
    lines.extend(led_whole(
        "expires",
        words::moment(predicate.expires_at, now),
    ));
    lines.extend(led_whole("signed by", &answer.control_key));
    lines.extend(evidence(&answer.record, look));
    let stands = match &answer.void {
        Some(why) => look.paint(Paint::Yellow, &format!("counts no longer: {why}")),
        None => look.paint(Paint::Green, "counts"),
    };
    lines.push(stands);
    lines
}

/// What the test showed, in a few lines.
fn evidence(record: &TestRecord, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    let hosts: Vec<&str> = record.hosts.iter().map(|host| host.as_str()).collect();
    lines.extend(led("test hosts", &hosts.join(", "), look));
    for step in &record.rehearsal {
        let end = step.failure.as_deref().unwrap_or("done");
        let words = format!("{}: {end}, {}", step.step, step.took_ms);
        lines.extend(led("rehearsal", &words, look));
    }
    if let Some((requests, failed)) = record.load {
        let words = format!("{requests} requests meanwhile, {failed} failed");
        lines.extend(led("load", &words, look));
    }
    if !record.trials.is_empty() {
        let stood = record.trials.iter().filter(|trial| trial.ok).count();
        let words = format!("{stood} of {} handled as they must be", record.trials.len());
        lines.extend(led("broken variants", &words, look));
    }
    if !record.probes.is_empty() {
        let probes: usize = record.probes.values().map(Vec::len).sum();
        let words = format!("{probes} probes from {} hosts", record.probes.len());
        lines.extend(led("references", &words, look));
    }
    if !record.waived.is_empty() {
        let waived: Vec<&str> = record.waived.iter().map(|gate| gate.as_str()).collect();
        lines.extend(led("left out", &waived.join(", "), look));
    }
    lines
}

/// What is held against a key.
struct Exhibit {
    envelope: Envelope,
    record: Option<TestRecord>,
    /// Why the control plane itself says that it counts no longer.
    void: Option<String>,
    bundle: Option<Digest>,
    service: Option<ServiceName>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Seen {
    what: &'static str,
    ok: bool,
    detail: String,
}

async fn verify(
    release: Option<ReleaseId>,
    file: Option<&Path>,
    key: Option<String>,
    bundle: Option<Digest>,
    json: bool,
    ask: &Ask,
) -> Result<ExitCode, Failure> {
    let (exhibit, own_key) = match (release, file) {
        (_, Some(file)) => (from_file(file, bundle)?, None),
        (Some(release), None) => from_control(release, bundle, ask).await?,
        (None, None) => return Err(Failure::misused("name a release, or --file")),
    };
    let given = key.is_some();
    let text = key
        .or(own_key)
        .ok_or_else(|| Failure::misused("name the key with --key"))?;
    let key = PublicKey::parse(text.trim())
        .map_err(|error| Failure::misused(format!("--key: {error}")))?;
    let looks = examine(&exhibit, &key, Timestamp::now());
    let holds = looks.iter().all(|look| look.ok);
    if json {
        output::json(&serde_json::json!({
            "holds": holds, "key": key.to_string(), "checks": looks
        }))?;
    } else {
        let look = Look::stdout();
        for one in &looks {
            let (word, paint) = if one.ok {
                ("ok  ", Paint::Green)
            } else {
                ("FAIL", Paint::Red)
            };
            // Whole: what is in it is for copying and comparing.
            let detail = check::render::harmless(&one.detail);
            println!("  {}  {:<11}{detail}", look.paint(paint, word), one.what);
        }
        if !given {
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

async fn from_control(
    id: ReleaseId,
    bundle: Option<Digest>,
    ask: &Ask,
) -> Result<(Exhibit, Option<String>), Failure> {
    let client = connect::client(ask)?;
    let release = approve::release(&client, id).await?;
    let answer = client.attestation(id).await?;
    let exhibit = Exhibit {
        envelope: answer.envelope,
        record: Some(answer.record),
        void: answer.void,
        bundle: Some(bundle.unwrap_or(release.digest)),
        service: Some(release.service),
    };
    Ok((exhibit, Some(answer.control_key)))
}

fn from_file(path: &Path, bundle: Option<Digest>) -> Result<Exhibit, Failure> {
    let unreadable = |reason: String| Failure::broken(format!("{}: {reason}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if size.len() > FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "{} bytes; an envelope has at most {FILE_BYTES_MAX}",
            size.len()
        )));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    // What `attest show --json` printed, or the bare envelope that a host keeps.
    if let Ok(answer) = serde_json::from_slice::<AttestationAnswer>(&bytes) {
        return Ok(Exhibit {
            envelope: answer.envelope,
            record: Some(answer.record),
            void: None,
            bundle,
            service: None,
        });
    }
    let envelope = serde_json::from_slice::<Envelope>(&bytes)
        .map_err(|error| unreadable(format!("not an envelope: {error}")))?;
    Ok(Exhibit {
        envelope,
        record: None,
        void: None,
        bundle,
        service: None,
    })
}

/// Everything that can be held against the key; nothing else once the signature fails.
fn examine(exhibit: &Exhibit, key: &PublicKey, now: Timestamp) -> Vec<Seen> {
    let mut looks = Vec::new();
    let mut note = |what, ok, detail: String| looks.push(Seen { what, ok, detail });
    let statement: Statement = match exhibit.envelope.open(STATEMENT_PAYLOAD_TYPE, key) {
        Ok(statement) => statement,
        Err(error) => {
            note("signature", false, error.to_string());
            return looks;
        }
    };
    note("signature", true, format!("by {key}"));
    let predicate = &statement.predicate;
    let subject = match statement.subject.as_slice() {
        [subject] => subject
            .digest
            .get("blake3")
            .map(|digest| (&subject.name, *digest)),
        _ => None,
    };
    match subject {
        Some((name, digest)) => {
            let service = exhibit.service.as_ref().unwrap_or(name);
            let wanted = exhibit.bundle.unwrap_or(digest);
            let ok = statement.is_about(service, wanted);
            let detail = if ok {
                format!("{name} {digest}")
            } else {
                format!("it is about {name} {digest}, not about {service} {wanted}")
            };
            note("bundle", ok, detail);
        }
        None => note("bundle", false, "it is not about one bundle".to_owned()),
    }
    if let Some(record) = &exhibit.record {
        let same = record.digest() == predicate.evidence
            && subject.is_some_and(|(_, digest)| digest == record.digest)
            && record.base == predicate.base
            && record.check_set == predicate.check_set
            && record.environment == predicate.environment;
        let detail = if same {
            format!(
                "the record is the one that was signed: {}",
                predicate.evidence
            )
        } else {
            "the record is not the one that was signed".to_owned()
        };
        note("evidence", same, detail);
    }
    let holds = predicate.issued_at <= now && now < predicate.expires_at;
    let detail = if holds {
        let left = Millis::between(now, predicate.expires_at);
        format!("until {:.0}, for {left} more", predicate.expires_at)
    } else {
        format!(
            "it holds from {:.0} to {:.0}, and now is {now:.0}",
            predicate.issued_at, predicate.expires_at
        )
    };
    note("time", holds, detail);
    if let Some(why) = &exhibit.void {
        note("standing", false, why.clone());
    }
    looks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::attest::Predicate;
    use wire::SecretKey;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn exhibit(key: &SecretKey) -> Exhibit {
        let record = TestRecord {
            digest: Digest::of(b"new"),
            base: Some(Digest::of(b"old")),
            check_set: Digest::of(b"rules"),
            environment: Digest::of(b"test"),
            hosts: vec!["test-1".parse().unwrap()],
            rehearsal: Vec::new(),
            load: None,
            trials: Vec::new(),
            probes: BTreeMap::new(),
            waived: Vec::new(),
            ended_at: at("2030-01-01T10:00:00Z"),
        };
        let predicate = Predicate {
            release: ReleaseId(7),
            base: record.base,
            check_set: record.check_set,
            environment: record.environment,
            evidence: record.digest(),
            approved_by: Vec::new(),
            issued_at: record.ended_at,
            expires_at: at("2030-01-02T10:00:00Z"),
        };
        let service: ServiceName = "api".parse().unwrap();
        let statement = Statement::new(service.clone(), record.digest, predicate);
        Exhibit {
            envelope: key.seal(STATEMENT_PAYLOAD_TYPE, &statement),
            bundle: Some(record.digest),
            service: Some(service),
            record: Some(record),
            void: None,
        }
    }

    fn bad(exhibit: &Exhibit, key: &SecretKey, now: &str) -> Vec<&'static str> {
        examine(exhibit, &key.public(), at(now))
            .into_iter()
            .filter(|look| !look.ok)
            .map(|look| look.what)
            .collect()
    }

    #[test]
    fn each_thing_that_is_wrong_is_found_by_name() {
        let key = SecretKey::generate().unwrap();
        let noon = "2030-01-01T12:00:00Z";
        let good = exhibit(&key);
        assert!(bad(&good, &key, noon).is_empty());
        assert_eq!(bad(&good, &key, "2030-01-03T00:00:00Z"), ["time"]);
        assert_eq!(bad(&good, &key, "2029-01-03T00:00:00Z"), ["time"]);
        let other = SecretKey::generate().unwrap();
        assert_eq!(bad(&good, &other, noon), ["signature"]);

        let mut another = exhibit(&key);
        another.bundle = Some(Digest::of(b"another"));
        assert_eq!(bad(&another, &key, noon), ["bundle"]);
        let mut elsewhere = exhibit(&key);
        elsewhere.service = Some("web".parse().unwrap());
        assert_eq!(bad(&elsewhere, &key, noon), ["bundle"]);
        let mut edited = exhibit(&key);
        if let Some(record) = &mut edited.record {
            record.load = Some((100, 0));
        }
        assert_eq!(bad(&edited, &key, noon), ["evidence"]);
        let mut void = exhibit(&key);
        void.void = Some("another bundle became good".into());
        assert_eq!(bad(&void, &key, noon), ["standing"]);
    }

    #[test]
    fn an_envelope_is_read_bare_or_as_it_was_shown() {
        let key = SecretKey::generate().unwrap();
        let exhibit = exhibit(&key);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.json");
        std::fs::write(&path, serde_json::to_vec(&exhibit.envelope).unwrap()).unwrap();
        assert!(from_file(&path, None).unwrap().record.is_none());
        let answer = AttestationAnswer {
            envelope: exhibit.envelope,
            control_key: key.public().to_string(),
            record: exhibit.record.unwrap(),
            void: None,
        };
        std::fs::write(&path, serde_json::to_vec(&answer).unwrap()).unwrap();
        assert!(from_file(&path, None).unwrap().record.is_some());
        std::fs::write(&path, "{}").unwrap();
        assert!(from_file(&path, None).is_err());
    }
}
