//! `plimsoll check`: everything that can be said of a project without a host.
//!
//! Invariant: nothing is changed and, unless `--against` asks for it, nobody is
//! asked: it runs in hooks and pipelines without a network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use check::{Assessment, Project, ServiceSource, Tree, compat};
use model::{Bundle, BundlePath, EnvironmentName, Finding, ServiceName, Severity};
use serde::Serialize;
use wire::api::StatusView;
use wire::{Client, ClientError};

use crate::cli::{Against, Ask, CheckArgs};
use crate::commands::pack::{self, Archives, Pack};
use crate::commands::project;
use crate::connect;
use crate::findings;
use crate::look::Look;
use crate::output::{self, Failure, Paint, REFUSED, paint};

pub(crate) async fn check(args: CheckArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let json = args.json;
    run(args, ask)
        .await
        .map_err(|failure| failure.with_json(json))
}

/// What was found of one service.
#[derive(Debug, Serialize)]
struct Report {
    service: ServiceName,
    /// Of every severity, sorted by place.
    findings: Vec<Finding>,
    /// What hosts would probe.
    references: usize,
    /// High-risk options that differ from the base.
    risks: Vec<model::gate::Risk>,
}

async fn run(args: CheckArgs, ask: &Ask) -> Result<ExitCode, Failure> {
    let (path, wanted) = named(&args)?;
    let text_problems = project::problems(&path)?;
    if args.json && !text_problems.is_empty() {
        output::json(&serde_json::json!({
            "file": path.display().to_string(), "problems": text_problems, "services": []
        }))?;
        return Ok(ExitCode::from(output::BROKEN));
    }
    let project = project::read(&path)?;
    let services: Vec<(&ServiceName, &ServiceSource)> = match &wanted {
        Some(name) => vec![project::choose(&project.services, Some(name))?],
        None => project.services.iter().collect(),
    };
    let mut reports = Vec::new();
    for (service, source) in services {
        let pack = pack::pack(service, source, folder(&path), Archives::MayBeAbsent)?;
        let old = old(&args, ask, &path, service).await?;
        let report = look(&project, &pack, old.as_ref());
        if !args.json && !report.findings.is_empty() {
            let shown = findings::render(&report.findings, &pack.sources, Look::stdout());
            println!("{shown}");
        }
        if !args.json {
            println!("{}", summary(&report, &pack, &project));
        }
        reports.push(report);
    }
    let refused = reports.iter().any(|report| denies(&report.findings));
    if args.json {
        output::json(&serde_json::json!({
            "file": path.display().to_string(), "problems": [], "services": reports
        }))?;
    }
    Ok(if refused {
        ExitCode::from(REFUSED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The one word may name a service or a project file.
fn named(args: &CheckArgs) -> Result<(PathBuf, Option<ServiceName>), Failure> {
    match args.what.as_deref() {
        None => Ok((args.project.clone(), None)),
        Some(file) if Path::new(file).extension().is_some_and(|it| it == "toml") => {
            Ok((file.into(), None))
        }
        Some(name) => {
            let service = name
                .parse()
                .map_err(|error: model::InvalidName| Failure::misused(error))?;
            Ok((args.project.clone(), Some(service)))
        }
    }
}

/// The folder that paths in a project file are relative to.
pub(crate) fn folder(project: &Path) -> &Path {
    match project.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        // Joined to, it adds nothing: paths are told as they stand in the file.
        _ => Path::new(""),
    }
}

/// What a tree is made of, wherever it came from.
pub(crate) struct Old {
    bundle: Bundle,
    files: BTreeMap<BundlePath, Vec<u8>>,
}

impl Old {
    fn tree(&self) -> Tree<'_> {
        Tree {
            bundle: &self.bundle,
            files: &self.files,
        }
    }
}

async fn old(
    args: &CheckArgs,
    ask: &Ask,
    path: &Path,
    service: &ServiceName,
) -> Result<Option<Old>, Failure> {
    match (&args.base, args.against) {
        (Some(base), _) => in_folder(base, path, service),
        (None, Some(Against::Good)) => good(&connect::client(ask)?, service).await,
        (None, None) => Ok(None),
    }
}

/// The same service in another folder, if it is there.
fn in_folder(base: &Path, path: &Path, service: &ServiceName) -> Result<Option<Old>, Failure> {
    let file = base.join(path.file_name().unwrap_or(path.as_os_str()));
    let project = project::read(&file)?;
    let Some(source) = project.services.get(service) else {
        return Ok(None);
    };
    let pack = pack::pack(service, source, base, Archives::MayBeAbsent)?;
    Ok(Some(Old {
        bundle: pack.bundle,
        files: pack.files,
    }))
}

/// Most bytes of one file that is fetched to be compared with.
const FETCH_BYTES_MAX: u64 = 8 << 20;

/// What is good now, with its files.
async fn good(client: &Client, service: &ServiceName) -> Result<Option<Old>, Failure> {
    let status: StatusView = client.get("/v1/status").await?;
    let view = status.services.iter().find(|view| view.name == *service);
    let Some(digest) = view.and_then(|view| view.good) else {
        return Ok(None);
    };
    let bundle: Bundle = client.get(&format!("/v1/bundles/{digest}")).await?;
    let mut files = BTreeMap::new();
    for (path, entry) in &bundle.files {
        // What is larger is data: rules of size need only the manifest.
        if entry.size_bytes <= FETCH_BYTES_MAX {
            files.insert(path.clone(), fetch(client, entry).await?);
        }
    }
    Ok(Some(Old { bundle, files }))
}

async fn fetch(client: &Client, entry: &model::FileEntry) -> Result<Vec<u8>, Failure> {
    let mut response = client.blob_from(entry.digest, 0).await?;
    let mut bytes = Vec::new();
    loop {
        let part = response.chunk().await.map_err(|error| {
            Failure::from(ClientError::Unreachable {
                url: client.base().to_owned(),
                reason: error.to_string(),
            })
        })?;
        let Some(part) = part else { break };
        bytes.extend_from_slice(&part);
        if bytes.len() as u64 > entry.size_bytes {
            break;
        }
    }
    if model::Digest::of(&bytes) != entry.digest {
        return Err(Failure::broken(format!(
            "the control plane gave other bytes than {}",
            entry.digest.short()
        )));
    }
    Ok(bytes)
}

/// Rules, documents, packages: everything that is found of one service.
fn look(project: &Project, pack: &Pack, old: Option<&Old>) -> Report {
    let service = &pack.bundle.service;
    let (assessment, mut findings) = assess(project, pack, old);
    findings.extend(pack.notes.iter().cloned());
    findings.extend(
        assessment
            .iter()
            .flat_map(|assessment| assessment.findings.iter().cloned()),
    );
    // What is about the whole comes first, then file by file.
    findings.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    Report {
        service: service.clone(),
        findings,
        references: assessment
            .as_ref()
            .map_or(0, |assessment| assessment.checked.references.len()),
        // Without a base everything is new, and nothing is a change.
        risks: assessment
            .filter(|_| old.is_some())
            .map_or_else(Vec::new, |assessment| assessment.checked.risks),
    }
}

/// The documents under their rules, unless the rules themselves can't be used;
/// beside it what is wrong with those, and with the packages.
pub(crate) fn assess(
    project: &Project,
    pack: &Pack,
    old: Option<&Old>,
) -> (Option<Assessment>, Vec<Finding>) {
    let topology = &project.topology;
    let service = &pack.bundle.service;
    let rules = topology
        .services
        .get(service)
        .map(|spec| spec.checks.clone())
        .unwrap_or_default();
    let mut findings = check::problems(&rules);
    let environments: Vec<EnvironmentName> = topology
        .environments
        .iter()
        .map(|environment| environment.name.clone())
        .collect();
    let new = Tree {
        bundle: &pack.bundle,
        files: &pack.files,
    };
    let assessment = findings.is_empty().then(|| {
        let old = old.map(Old::tree);
        check::assess(&rules, &environments, &new, old.as_ref())
    });
    let others: BTreeMap<ServiceName, Bundle> = project
        .services
        .iter()
        .filter(|(other, _)| *other != service)
        .map(|(other, source)| (other.clone(), declared(other, source)))
        .collect();
    let places = compat::places(topology, service, |other| others.get(other));
    findings.extend(compat::compatible(&pack.bundle, &places, &topology.catalog));
    (assessment, findings)
}

/// Another service of the project, by what plimsoll.toml says of its packages.
fn declared(service: &ServiceName, source: &ServiceSource) -> Bundle {
    let packages = source.packages.iter();
    Bundle {
        service: service.clone(),
        files: BTreeMap::new(),
        packages: packages
            .map(|(name, package)| (name.clone(), pack::entry(pack::facts(package))))
            .collect(),
        requires: source.requires.clone(),
        commands: source.commands.clone(),
        health: None,
        plan: source.plan.clone(),
    }
}

pub(crate) fn denies(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Deny)
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn summary(report: &Report, pack: &Pack, project: &Project) -> String {
    let denied = denies(&report.findings);
    let (word, colour) = if denied {
        ("refused", Paint::Red)
    } else {
        ("ok", Paint::Green)
    };
    let mut parts = vec![counted(pack.bundle.files.len(), "file", "files")];
    parts.push(counted(pack.bundle.packages.len(), "package", "packages"));
    if let Some(spec) = project.topology.services.get(&report.service) {
        let rules = &spec.checks;
        parts.push(counted(rules.schemas.len(), "schema", "schemas"));
        parts.push(counted(rules.policies.len(), "policy", "policies"));
        parts.push(counted(rules.guards.len(), "guard", "guards"));
    }
    if report.references > 0 {
        parts.push(counted(
            report.references,
            "reference to probe",
            "references to probe",
        ));
    }
    if !report.risks.is_empty() {
        parts.push(counted(
            report.risks.len(),
            "high-risk option changes",
            "high-risk options change",
        ));
    }
    parts.retain(|part| !part.starts_with("0 "));
    let found = match findings::count(&report.findings).as_str() {
        "" => String::new(),
        found => format!("{found}; "),
    };
    format!(
        "{} {}: {found}{}",
        paint(colour, word),
        report.service,
        parts.join(", ")
    )
}
