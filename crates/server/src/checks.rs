//! What can be said of a change before any host: its documents under the
//! service's rules, and what its packages say of themselves.
//!
//! Invariant: what is assessed is what the store holds under the digests of the
//! bundle that is proposed; a caller can't bring findings of its own.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use check::{Assessment, Tree};
use engine::{Beside, State};
use model::gate::{CheckSet, Checked, FINDINGS_MAX};
use model::refusal::Code;
use model::{
    Bundle, BundlePath, Digest, EnvironmentName, Finding, Gate, Refusal, ServiceName, Severity,
    Topology,
};
use tokio::sync::Semaphore;
use wire::facts;

use crate::blobs::Blobs;
use crate::limits::{CHECK_WITHIN, CHECKS_MAX, DOCUMENT_BYTES_MAX, DOCUMENTS_BYTES_MAX};

/// Looks at changes, a bounded number at a time.
#[derive(Clone)]
pub(crate) struct Checks {
    blobs: Arc<Blobs>,
    places: Arc<Semaphore>,
}

/// What a change is held against, as it stands at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Against {
    pub(crate) rules: CheckSet,
    pub(crate) environments: Vec<EnvironmentName>,
    /// What is good now, if its manifest is known.
    pub(crate) good: Option<(Digest, Bundle)>,
}

impl Against {
    /// As `state` has it now; of an unknown service nothing is demanded.
    pub(crate) fn of(state: &State, service: &ServiceName) -> Against {
        let environments = state.topology.environments.iter();
        let good = state.good(service);
        Against {
            rules: rules(state, service).cloned().unwrap_or_default(),
            environments: environments.map(|it| it.name.clone()).collect(),
            good: good.and_then(|digest| Some((digest, state.bundles.get(&digest)?.clone()))),
        }
    }

    /// Whether a look under this still counts.
    pub(crate) fn holds(&self, state: &State, service: &ServiceName) -> bool {
        let environments = state.topology.environments.iter().map(|it| &it.name);
        let good = state
            .good(service)
            .filter(|it| state.bundles.contains_key(it));
        rules(state, service) == Some(&self.rules)
            && environments.eq(&self.environments)
            && good == self.good.as_ref().map(|(digest, _)| *digest)
    }
}

fn rules<'a>(state: &'a State, service: &ServiceName) -> Option<&'a CheckSet> {
    let spec = state.topology.services.get(service)?;
    Some(&spec.checks)
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) findings: Vec<Finding>,
    pub(crate) checked: Checked,
}

/// Why nothing could be found.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("blob {0} is not in the store")]
    Missing(String),
    #[error("blob {0} in the store has other bytes than its name says")]
    Damaged(String),
    #[error("{path}: its blob has not the {announced} bytes that the manifest says")]
    Length { path: BundlePath, announced: u64 },
    #[error("blob {digest} can't be read: {source}")]
    Io {
        digest: String,
        source: std::io::Error,
    },
}

impl Checks {
    pub(crate) fn new(blobs: Arc<Blobs>) -> Checks {
        Checks {
            blobs,
            places: Arc::new(Semaphore::new(CHECKS_MAX)),
        }
    }

    /// Assesses `bundle`, and compares it with what is deployed, on a thread of its own.
    ///
    /// # Errors
    /// `overloaded` when it takes too long or the store fails, `missing-blob` when the store lacks bytes.
    pub(crate) async fn look(
        &self,
        bundle: Bundle,
        against: Against,
        beside: Beside,
    ) -> Result<Looked, Refusal> {
        let late = || {
            Refusal::new(
                Code::Overloaded,
                format!(
                    "the checks were not done within {} s",
                    CHECK_WITHIN.as_secs()
                ),
                "Try again. If it stays so, make documents or rules smaller.",
            )
        };
        let blobs = self.blobs.clone();
        let places = self.places.clone();
        let looking = async move {
            let place = places.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                // Given back when the work ends, not when somebody stops waiting for it.
                let _place = place;
                let mut looked = look(&blobs, &bundle, &against)?;
                looked.findings.extend(beside.conflicts(&bundle));
                Ok(looked)
            })
            .await
        };
        match tokio::time::timeout(CHECK_WITHIN, looking).await {
            Err(_) => Err(late()),
            Ok(Ok(looked)) => looked.map_err(|error: Unreadable| unreadable(&error)),
            Ok(Err(error)) => {
                tracing::error!(%error, "the checks ended badly");
                Err(Refusal::new(
                    Code::Overloaded,
                    "the checks ended by the control plane's own fault",
                    "Its log says why. Nothing was proposed.",
                ))
            }
        }
    }
}

fn unreadable(error: &Unreadable) -> Refusal {
    let code = match error {
        Unreadable::Missing(_) => Code::MissingBlob,
        Unreadable::Damaged(_) | Unreadable::Length { .. } => Code::BadBlob,
        Unreadable::Io { .. } => Code::Overloaded,
    };
    let next = match error {
        Unreadable::Length { .. } => "Pack the bundle again; `plimsoll push` does.",
        Unreadable::Missing(_) | Unreadable::Damaged(_) | Unreadable::Io { .. } => {
            tracing::error!(%error, "the store can't give what a change is to be checked by");
            "Look at the control plane's disk. A blob that is lost comes back when a bundle with it is pushed again."
        }
    };
    Refusal::new(code, format!("the change can't be checked: {error}"), next)
}

fn look(blobs: &Blobs, bundle: &Bundle, against: &Against) -> Result<Looked, Unreadable> {
    let rules = &against.rules;
    let named = |path: &BundlePath| names(rules, path);
    let chosen = choose(bundle, named, DOCUMENT_BYTES_MAX);
    let mut findings = chosen.findings;
    let files = load(blobs, bundle, &chosen.paths)?;
    let mut old_files = BTreeMap::new();
    if let Some((_, good)) = &against.good {
        // Files without a rule are compared with the new ones alone: did they become blank?
        let chosen = choose(good, named, DOCUMENTS_BYTES_MAX);
        let compared = |path: &BundlePath| named(path) || files.contains_key(path);
        let paths: Vec<_> = chosen.paths.into_iter().filter(compared).collect();
        old_files = load(blobs, good, &paths)?;
        let lost = chosen.findings.into_iter();
        findings.extend(lost.filter(|finding| finding.severity == Severity::Deny));
    }
    facts(blobs, bundle, &mut findings)?;
    if findings
        .iter()
        .any(|it| it.severity == Severity::Deny && it.gate == Gate::Checks)
    {
        // A comparison with files left out would say more that is not so.
        let checked = Checked::default();
        return Ok(Looked { findings, checked });
    }
    let new = Tree {
        bundle,
        files: &files,
    };
    let old = against.good.as_ref().map(|(_, bundle)| Tree {
        bundle,
        files: &old_files,
    });
    let Assessment {
        findings: found,
        mut checked,
    } = check::assess(rules, &against.environments, &new, old.as_ref());
    let warnings = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warn);
    let room = FINDINGS_MAX.saturating_sub(checked.warnings.len());
    checked.warnings.extend(warnings.take(room).cloned());
    findings.extend(found);
    Ok(Looked { findings, checked })
}

/// Whether a rule speaks of the file.
fn names(rules: &CheckSet, path: &BundlePath) -> bool {
    let schemas = rules.schemas.keys();
    let policies = rules.policies.iter().filter_map(|it| it.file.as_ref());
    let guards = rules.guards.iter().map(|it| &it.file);
    let references = rules.references.iter().map(|it| &it.file);
    let risks = rules.risks.iter().map(|it| &it.file);
    schemas
        .chain(policies)
        .chain(guards)
        .chain(references)
        .chain(risks)
        .any(|pattern| check::glob(pattern, path.as_str()))
}

/// Which files are read, and what has to be said about the others.
struct Chosen {
    paths: Vec<BundlePath>,
    findings: Vec<Finding>,
}

/// Files that rules name come first and have to fit; of the others those of up to `unnamed_max`
/// bytes are read too (for secrets, and files that became blank), as far as there is room.
fn choose(bundle: &Bundle, named: impl Fn(&BundlePath) -> bool, unnamed_max: u64) -> Chosen {
    let mut files: Vec<_> = bundle
        .files
        .iter()
        .map(|(path, entry)| (!named(path), entry.size_bytes, path))
        .collect();
    files.sort();
    let mut room = DOCUMENTS_BYTES_MAX;
    let mut chosen = Chosen {
        paths: Vec::new(),
        findings: Vec::new(),
    };
    for (unnamed, size, path) in files {
        if size <= room && (!unnamed || size <= unnamed_max) {
            room -= size;
            chosen.paths.push(path.clone());
        } else if chosen.findings.len() < FINDINGS_MAX {
            chosen.findings.push(unread(path, unnamed));
        }
    }
    chosen
}

fn unread(path: &BundlePath, unnamed: bool) -> Finding {
    let (severity, message, help) = if unnamed {
        (
            Severity::Warn,
            "the file is too large to be looked at".to_owned(),
            "nothing has to be done if it is data and no configuration",
        )
    } else {
        (
            Severity::Deny,
            format!(
                "the files that rules name have more than {DOCUMENTS_BYTES_MAX} bytes, here or in what is good now"
            ),
            "make them smaller, or have an operator drop the rules about data",
        )
    };
    Finding {
        gate: Gate::Checks,
        severity,
        file: Some(path.to_string()),
        line: 0,
        column: 0,
        message,
        help: Some(help.to_owned()),
    }
}

/// The contents of `paths`, each held against its digest and its announced length.
fn load(
    blobs: &Blobs,
    bundle: &Bundle,
    paths: &[BundlePath],
) -> Result<BTreeMap<BundlePath, Vec<u8>>, Unreadable> {
    let wanted = paths
        .iter()
        .filter_map(|path| Some((path, bundle.files.get(path)?)));
    wanted
        .map(|(path, entry)| {
            let digest = entry.digest;
            let file =
                std::fs::File::open(blobs.path(digest)).map_err(|error| io(digest, error))?;
            // A manifest that announces less than there is must not fill the memory.
            let mut bytes = Vec::new();
            file.take(entry.size_bytes.saturating_add(1))
                .read_to_end(&mut bytes)
                .map_err(|error| io(digest, error))?;
            if bytes.len() as u64 != entry.size_bytes {
                return Err(Unreadable::Length {
                    path: path.clone(),
                    announced: entry.size_bytes,
                });
            }
            if Digest::of(&bytes) != digest {
                return Err(Unreadable::Damaged(digest.short()));
            }
            Ok((path.clone(), bytes))
        })
        .collect()
}

fn io(digest: Digest, source: std::io::Error) -> Unreadable {
    let digest = digest.short();
    if source.kind() == std::io::ErrorKind::NotFound {
        Unreadable::Missing(digest)
    } else {
        Unreadable::Io { digest, source }
    }
}

/// Manifests that leave out or bend what their packages say of themselves.
fn facts(blobs: &Blobs, bundle: &Bundle, findings: &mut Vec<Finding>) -> Result<(), Unreadable> {
    for (name, entry) in &bundle.packages {
        let path: PathBuf = blobs.path(entry.digest);
        let file = std::fs::File::open(path).map_err(|error| io(entry.digest, error))?;
        let said = match facts::read(std::io::BufReader::new(file)) {
            Ok(None) => continue,
            Ok(Some(stated)) => {
                let mut said = stated.contradictions(name, entry);
                said.extend(stated.left_out(name, entry));
                said
            }
            Err(error) => vec![format!("package {name}: {error}")],
        };
        let room = FINDINGS_MAX.saturating_sub(findings.len());
        findings.extend(said.into_iter().take(room).map(|message| Finding {
            gate: Gate::Compatibility,
            severity: Severity::Deny,
            file: None,
            line: 0,
            column: 0,
            message,
            help: Some(format!(
                "write the same in plimsoll.toml and in the archive's {}",
                facts::FACTS_FILE
            )),
        }));
    }
    Ok(())
}

/// The refusal that lists `findings`, if one of them says no.
pub(crate) fn refusal(findings: Vec<Finding>) -> Option<Refusal> {
    let denials = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Deny);
    let first = denials.clone().next()?.to_string();
    let count = denials.clone().count();
    let checks = denials.clone().any(|finding| finding.gate == Gate::Checks);
    let more = match count {
        1 => String::new(),
        _ => format!(" (and {} more)", count - 1),
    };
    let first = first.lines().next().unwrap_or_default().to_owned();
    let (code, next) = if checks {
        (
            Code::ChecksFailed,
            "Mend what is listed and push again; `plimsoll check` looks without proposing.",
        )
    } else {
        (
            Code::Incompatible,
            "Change the versions as the findings say and push again; `plimsoll check` looks without proposing.",
        )
    };
    Some(Refusal::new(code, format!("{first}{more}"), next).with(findings))
}

/// Refuses a topology with rules that can't be used: they are compiled here, so that
/// an assessment never fails by them.
///
/// # Errors
/// `invalid-checks` with a finding for each flaw of each service.
pub(crate) async fn usable(topology: &Topology) -> Result<(), Refusal> {
    let specs = topology.services.clone();
    let compiled = tokio::task::spawn_blocking(move || {
        let mut flaws = Vec::new();
        for (service, spec) in &specs {
            let found = check::problems(&spec.checks).into_iter();
            flaws.extend(found.map(|finding| Finding {
                message: format!("service {service}: {}", finding.message),
                ..finding
            }));
        }
        flaws
    });
    let flaws = compiled.await.map_err(|error| {
        tracing::error!(%error, "the rules could not be compiled");
        Refusal::new(
            Code::InvalidChecks,
            "the rules can't be compiled",
            "The control plane's log says why. The fleet is declared as before.",
        )
    })?;
    let count = flaws.len();
    let Some(first) = flaws.first() else {
        return Ok(());
    };
    let more = match count {
        1 => String::new(),
        _ => format!(" (and {} more)", count - 1),
    };
    let message = format!("{}{more}", first.message);
    let mut findings = flaws;
    findings.truncate(FINDINGS_MAX);
    Err(Refusal::new(
        Code::InvalidChecks,
        message,
        "Correct the rules in plimsoll.toml and send it again with `plimsoll hosts apply`. The fleet is declared as before.",
    )
    .with(findings))
}

#[cfg(test)]
mod tests {
    use model::FileEntry;
    use model::gate::Guard;

    use super::*;

    fn bundle(files: &[(&str, u64)]) -> Bundle {
        let entries = files.iter().map(|(path, size_bytes)| {
            let entry = FileEntry {
                digest: Digest::of(path.as_bytes()),
                size_bytes: *size_bytes,
                executable: false,
            };
            (path.parse().unwrap(), entry)
        });
        Bundle {
            service: "api".parse().unwrap(),
            files: entries.collect(),
            packages: BTreeMap::new(),
            requires: BTreeMap::new(),
            commands: model::Commands::default(),
            health: None,
            plan: model::Plan::default(),
        }
    }

    fn guarded(file: &str) -> CheckSet {
        CheckSet {
            guards: vec![Guard {
                file: file.into(),
                ..Guard::default()
            }],
            ..CheckSet::default()
        }
    }

    #[test]
    fn what_rules_name_comes_first_and_data_is_left_out_aloud() {
        let rules = guarded("z/*.csv");
        let named = |path: &BundlePath| names(&rules, path);
        let all = DOCUMENTS_BYTES_MAX;
        let files = [
            ("a.toml", 10),
            ("data.bin", DOCUMENT_BYTES_MAX + 1),
            ("z/prices.csv", all - 10),
        ];
        let chosen = choose(&bundle(&files), named, DOCUMENT_BYTES_MAX);
        let paths: Vec<&str> = chosen.paths.iter().map(BundlePath::as_str).collect();
        assert_eq!(paths, ["z/prices.csv", "a.toml"]);
        let [finding] = chosen.findings.as_slice() else {
            panic!("{:?}", chosen.findings);
        };
        assert_eq!(finding.file.as_deref(), Some("data.bin"));
        assert_eq!(finding.severity, Severity::Warn);

        // What a rule names and can't be read is no matter of taste.
        let files = [("z/old.csv", all), ("z/prices.csv", 1)];
        let chosen = choose(&bundle(&files), named, DOCUMENT_BYTES_MAX);
        let denied: Vec<_> = chosen.findings.iter().map(|it| it.severity).collect();
        assert_eq!(denied, [Severity::Deny]);
    }

    #[test]
    fn a_look_counts_only_under_what_it_was_taken_under() {
        let service: ServiceName = "api".parse().unwrap();
        let mut state = State::default();
        let against = Against::of(&state, &service);
        assert!(
            !against.holds(&state, &service),
            "nothing is demanded of the unknown"
        );
        let spec = model::ServiceSpec::default();
        state.topology.services.insert(service.clone(), spec);
        let against = Against::of(&state, &service);
        assert!(against.holds(&state, &service));
        let spec = state.topology.services.get_mut(&service).unwrap();
        spec.checks = guarded("*.csv");
        assert!(!against.holds(&state, &service));
    }

    #[test]
    fn only_denials_refuse_and_checks_come_before_versions() {
        let finding = |gate, severity| Finding {
            gate,
            severity,
            file: None,
            line: 0,
            column: 0,
            message: "first line\nsecond line".into(),
            help: None,
        };
        let warned = vec![
            finding(Gate::Checks, Severity::Warn),
            finding(Gate::Checks, Severity::Risk),
        ];
        assert!(refusal(warned.clone()).is_none());
        let mut both = warned;
        both.push(finding(Gate::Compatibility, Severity::Deny));
        let refused = refusal(both.clone()).unwrap();
        assert_eq!(refused.code, Code::Incompatible);
        assert_eq!(refused.message, "first line");
        both.push(finding(Gate::Checks, Severity::Deny));
        let refused = refusal(both.clone()).unwrap();
        assert_eq!(refused.code, Code::ChecksFailed);
        assert_eq!(refused.message, "first line (and 1 more)");
        assert_eq!(refused.findings, both);
    }
}
