//! What is found in a change before any host sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use model::gate::Policy;
use model::refusal::Code;
use model::{
    Bundle, Digest, Finding, Gate, GateState, HostClass, PackageEntry, PackageFacts, Refusal,
    Severity, Topology,
};
use wire::ClientError;
use wire::api::{CheckAnswer, CheckRequest, ProposeRequest, ReleaseView};

use crate::support::{Server, bundle, code, fleet, refused_start, status};

fn policy(when: &str, severity: Severity) -> Policy {
    Policy {
        name: "threads".into(),
        file: Some("api.toml".into()),
        when: when.into(),
        severity,
        message: "two threads at least".into(),
    }
}

/// `auth-runtime` 1.4.0 is deployed on every host, and one thread is too few.
fn ruled() -> Topology {
    let mut topology = fleet();
    let facts = PackageFacts {
        version: "1.4.0".into(),
        ..PackageFacts::default()
    };
    let class = HostClass {
        packages: [("auth-runtime".parse().unwrap(), facts)].into(),
    };
    topology.classes.insert("web".parse().unwrap(), class);
    for environment in &mut topology.environments {
        for host in &mut environment.hosts {
            host.class = Some("web".parse().unwrap());
        }
    }
    let spec = topology.services.values_mut().next().unwrap();
    let rule = policy("new.threads < 2", Severity::Deny);
    spec.checks.policies.push(rule);
    topology
}

/// A bundle with a package that needs what `requires` says.
async fn with_package(
    server: &Server,
    content: &str,
    archive: &[u8],
    needs: &[(&str, &str)],
) -> Bundle {
    let digest = Digest::of(archive);
    server
        .operator
        .put_blob(digest, archive.to_vec().into())
        .await
        .unwrap();
    let needs = needs
        .iter()
        .map(|(name, range)| (name.parse().unwrap(), (*range).to_owned()));
    let entry = PackageEntry {
        version: "2.0.0".into(),
        digest,
        size_bytes: archive.len() as u64,
        requires: needs.collect(),
        conflicts: BTreeMap::new(),
        provides: BTreeMap::new(),
    };
    let mut bundle = server.upload(content).await;
    bundle.packages.insert("web".parse().unwrap(), entry);
    bundle
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

async fn propose(server: &Server, bundle: &Bundle) -> Result<ReleaseView, ClientError> {
    let request = ProposeRequest {
        bundle: bundle.clone(),
        message: String::new(),
        base: None,
        break_glass: None,
    };
    server.operator.propose(&request).await
}

async fn check(server: &Server, bundle: &Bundle) -> CheckAnswer {
    let request = CheckRequest {
        bundle: bundle.clone(),
    };
    server.operator.check(&request).await.unwrap()
}

fn refusal(outcome: Result<ReleaseView, ClientError>) -> Refusal {
    match outcome {
        Err(ClientError::Refused { refusal, status }) => {
            assert_eq!(status, 422, "{refusal:?}");
            assert!(!refusal.next.is_empty());
            refusal
        }
        other => panic!("a refusal was expected: {other:?}"),
    }
}

fn of(gate: Gate, findings: &[Finding]) -> Vec<&Finding> {
    let denials = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Deny);
    denials.filter(|finding| finding.gate == gate).collect()
}

fn state(answer: &CheckAnswer, gate: Gate) -> GateState {
    let look = answer.gates.iter().find(|look| look.gate == gate);
    look.unwrap().state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_findings_of_all_kinds_come_in_one_refusal() {
    let server = Server::start_with(ruled()).await;
    let needs = [("auth-runtime", ">=2")];
    let both = with_package(&server, "threads = 1\n", &archive(&[]), &needs).await;
    let refused = refusal(propose(&server, &both).await);
    assert_eq!(refused.code, Code::ChecksFailed, "{refused:?}");
    let found = of(Gate::Checks, &refused.findings);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].file.as_deref(), Some("api.toml"));
    let found = of(Gate::Compatibility, &refused.findings);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("auth-runtime"), "{found:?}");

    // The same is told without a proposal, and is no refusal there.
    let answer = check(&server, &both).await;
    assert_eq!(answer.findings, refused.findings);
    assert_eq!(answer.digest, both.digest());
    assert_eq!(state(&answer, Gate::Checks), GateState::Failed);
    assert_eq!(state(&answer, Gate::Compatibility), GateState::Failed);
    assert_eq!(state(&answer, Gate::Rehearsal), GateState::Off);
    let order: Vec<Gate> = answer.gates.iter().map(|look| look.gate).collect();
    assert_eq!(order, Gate::ALL);

    let half = with_package(&server, "threads = 2\n", &archive(&[]), &needs).await;
    let refused = refusal(propose(&server, &half).await);
    assert_eq!(refused.code, Code::Incompatible, "{refused:?}");
    assert!(of(Gate::Checks, &refused.findings).is_empty());

    let needs = [("auth-runtime", "^1.2")];
    let fits = with_package(&server, "threads = 2\n", &archive(&[]), &needs).await;
    let answer = check(&server, &fits).await;
    assert_eq!(state(&answer, Gate::Checks), GateState::Passed);
    assert_eq!(state(&answer, Gate::Test), GateState::Pending);
    assert!(server.journaled("release_proposed").await.is_empty());
    propose(&server, &fits).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_says_no_less_than_its_packages() {
    let server = Server::start_with(ruled()).await;
    let facts = "name = 'web'\nversion = '2.0.0'\n[requires]\nauth-runtime = '>=2'\n";
    let packed = archive(&[("plimsoll-package.toml", facts)]);
    let silent = with_package(&server, "threads = 2\n", &packed, &[]).await;
    let refused = refusal(propose(&server, &silent).await);
    assert_eq!(refused.code, Code::Incompatible);
    assert!(refused.message.contains("leaves it out"), "{refused:?}");

    let bent = [("auth-runtime", ">=1")];
    let bent = with_package(&server, "threads = 2\n", &packed, &bent).await;
    let refused = refusal(propose(&server, &bent).await);
    assert_eq!(refused.code, Code::Incompatible);
    assert!(
        refused.message.contains("but the archive says"),
        "{refused:?}"
    );

    let no_archive = with_package(&server, "threads = 2\n", &[7; 2048], &[]).await;
    let refused = refusal(propose(&server, &no_archive).await);
    assert_eq!(refused.code, Code::Incompatible);
    assert!(refused.message.contains("can't be read"), "{refused:?}");
    assert!(server.journaled("release_proposed").await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_lies_about_lengths_is_refused() {
    let server = Server::start_with(ruled()).await;
    for announced in [0, 11, 13, 1 << 20] {
        let mut bundle = server.upload("threads = 2\n").await;
        bundle.files.values_mut().next().unwrap().size_bytes = announced;
        let refused = refusal(propose(&server, &bundle).await);
        assert_eq!(refused.code, Code::BadBlob, "{announced}: {refused:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_held_against_what_is_good_now() {
    let mut topology = fleet();
    let spec = topology.services.values_mut().next().unwrap();
    let rule = policy("old != null && new.threads < old.threads", Severity::Deny);
    spec.checks.policies.push(rule);
    let server = Server::start_with(topology).await;
    let agents = server.join_all().await;
    let good = server.good(&agents, "threads = 8\n").await;
    let fewer = server.upload("threads = 4\n").await;
    let answer = check(&server, &fewer).await;
    assert_eq!(answer.base, Some(good.digest));
    let refused = refusal(propose(&server, &fewer).await);
    assert_eq!(refused.code, Code::ChecksFailed);
    let blank = server.upload("\n").await;
    let refused = refusal(propose(&server, &blank).await);
    assert_eq!(refused.code, Code::ChecksFailed);
    let more = server.upload("threads = 9\n").await;
    propose(&server, &more).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_blob_of_what_is_good_is_named_and_comes_back_by_a_push() {
    let server = Server::start().await;
    let agents = server.join_all().await;
    server.good(&agents, "a = 1\n").await;
    let lost = Digest::of(b"a = 1\n");
    let file = server.data.join("blobs").join(lost.to_string());
    std::fs::remove_file(&file).unwrap();
    let refused = refusal(server.propose("a = 2\n").await);
    assert_eq!(refused.code, Code::MissingBlob);
    assert!(refused.message.contains(&lost.short()), "{refused:?}");
    // Bytes that are not what the name says are not looked at either.
    std::fs::write(&file, "a = 3\n").unwrap();
    let refused = refusal(server.propose("a = 2\n").await);
    assert_eq!(refused.code, Code::BadBlob);
    std::fs::remove_file(&file).unwrap();
    server.upload("a = 1\n").await;
    server.propose("a = 2\n").await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_can_not_be_used_are_not_declared() {
    let server = Server::start().await;
    let mut broken = fleet();
    let spec = broken.services.values_mut().next().unwrap();
    spec.checks
        .policies
        .push(policy("new.threads <", Severity::Deny));
    spec.checks.literals.push("no pointer".into());
    let refused = server.operator.set_topology(&broken).await.unwrap_err();
    assert_eq!(
        (status(&refused), code(&refused)),
        (422, Code::InvalidChecks)
    );
    let ClientError::Refused { refusal, .. } = refused else {
        panic!("a refusal");
    };
    assert!(refusal.findings.len() >= 2, "{refusal:?}");
    assert!(refusal.message.contains("service api"), "{refusal:?}");
    assert_eq!(server.journaled("topology_set").await.len(), 1);
    server.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::support::config(folder.path());
    config.topology = Some(broken);
    let words = refused_start(config).await;
    assert!(words.contains("service api"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_looked_at_is_refused_as_with_a_proposal() {
    let server = Server::start().await;
    let mut stranger = server.upload("a = 1\n").await;
    stranger.service = "unknown".parse().unwrap();
    let request = CheckRequest { bundle: stranger };
    let refused = server.operator.check(&request).await.unwrap_err();
    assert_eq!(
        (status(&refused), code(&refused)),
        (404, Code::UnknownService)
    );
    let request = CheckRequest {
        bundle: bundle("never uploaded"),
    };
    let refused = server.operator.check(&request).await.unwrap_err();
    assert_eq!((status(&refused), code(&refused)), (422, Code::MissingBlob));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_are_checked_at_once_and_each_gets_its_answer() {
    let server = Server::start_with(ruled()).await;
    let mut bundles = Vec::new();
    for threads in 0..12 {
        bundles.push(server.upload(&format!("threads = {threads}\n")).await);
    }
    let looks = bundles.iter().map(|bundle| check(&server, bundle));
    let answers = tokio::time::timeout(
        Duration::from_secs(30),
        futures_util::future::join_all(looks),
    );
    for (threads, answer) in answers.await.unwrap().iter().enumerate() {
        let denied = !of(Gate::Checks, &answer.findings).is_empty();
        assert_eq!(denied, threads < 2, "{threads}");
    }
    server.stop().await;
}
