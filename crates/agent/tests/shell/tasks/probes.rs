//! What a probe says of neighbours in every state.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use model::gate::ProbeVerdict as Verdict;
use model::gate::ReferenceKind::{Dns, File, Http, Postgres, Tcp, Tls};
use model::{Millis, TaskKind, TaskOutcome};

use super::servers::{Authority, Full, Manner, Server, refused, status};
use super::{Asking, hopeless, outcome, reference, task};
use crate::fake::{Fake, Ship, eventually};

/// Whether the text is `expected`, with any span for its last `N ms`.
fn fits(text: &str, expected: &str) -> bool {
    let Some((before, after)) = expected.rsplit_once("N ms") else {
        return text == expected;
    };
    let inner = text.strip_prefix(before);
    let Some(span) = inner.and_then(|rest| rest.strip_suffix(after)) else {
        return false;
    };
    // Long ones are told in seconds.
    let digits = span.strip_suffix(" ms").or(span.strip_suffix(" s"));
    digits.is_some_and(|digits| digits.parse::<f64>().is_ok())
}

#[track_caller]
fn check(said: &[(Verdict, String)], expected: &[(Verdict, String)]) {
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for (said, expected) in said.iter().zip(expected) {
        assert!(
            said.0 == expected.0 && fits(&said.1, &expected.1),
            "\nsaid     {said:?}\nexpected {expected:?}"
        );
    }
}

#[tokio::test]
async fn connections() {
    let (good, full, closed) = (
        Server::start(Manner::Silent).await,
        Full::start().await,
        refused().await,
    );
    let (good, full) = (good.address(), format!("127.0.0.1:{}", full.port));
    let said = Asking::default()
        .say(vec![
            reference(Tcp, &good),
            hopeless(Tcp, &full),
            reference(Tcp, format!("127.0.0.1:{closed}")),
            reference(Tcp, format!("localhost:{closed}")),
            reference(Tcp, "127.0.0.1"),
        ])
        .await;
    check(
        &said,
        &[
            (Verdict::Answers, format!("{good}: connected in N ms")),
            (
                Verdict::NoAnswer,
                format!("{full}: nobody answers (no reply to the connection within 400 ms)"),
            ),
            (
                Verdict::Refused,
                format!(
                    "127.0.0.1:{closed}: connection refused: nothing listens there (after N ms)"
                ),
            ),
            (
                Verdict::Refused,
                format!(
                    "localhost:{closed}: connection refused: nothing listens there at 127.0.0.1:{closed} (after N ms)"
                ),
            ),
            (
                Verdict::Malformed,
                "127.0.0.1: not asked: a port is missing: write host:port".into(),
            ),
        ],
    );
}

#[tokio::test]
async fn http() {
    let (ok, missing, failing, silent, closing, ssh) = (
        Server::start(status(200)).await.address(),
        Server::start(status(404)).await.address(),
        Server::start(status(503)).await.address(),
        Server::start(Manner::Silent).await.address(),
        Server::start(Manner::Closes).await.address(),
        Server::start(Manner::Greets(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()))
            .await
            .address(),
    );
    let moved = Server::start(Manner::Answers(
        format!("HTTP/1.1 302 Found\r\nlocation: http://{failing}/\r\ncontent-length: 0\r\n\r\n")
            .into(),
    ));
    let moved = moved.await.address();
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; 40_000]].concat();
    let endless = Server::start(Manner::Answers(endless)).await.address();
    let mut wanted = reference(Http, format!("http://{missing}/authenticate"));
    wanted.status = Some(200);
    let said = Asking::default()
        .say(vec![
            reference(Http, format!("http://me:secret@{ok}/authenticate?q=1")),
            wanted,
            reference(Http, format!("{missing}/authenticate")),
            reference(Http, format!("http://{failing}/")),
            hopeless(Http, format!("http://{silent}/authenticate")),
            reference(Http, format!("http://{closing}/")),
            reference(Http, format!("http://{ssh}/")),
            reference(Http, format!("http://{moved}/")),
            reference(Http, format!("http://{endless}/")),
            reference(Http, "ftp://x/"),
        ])
        .await;
    check(
        &said,
        &[
            (
                Verdict::Answers,
                format!("http://{ok}/authenticate?q=1: answered 200 in N ms"),
            ),
            (
                Verdict::WrongStatus,
                format!("http://{missing}/authenticate: answered 404, wanted 200 (after N ms)"),
            ),
            (
                Verdict::Answers,
                format!("{missing}/authenticate: answered 404 in N ms"),
            ),
            (
                Verdict::WrongStatus,
                format!("http://{failing}/: answered 503, wanted anything below 500 (after N ms)"),
            ),
            (
                Verdict::NoAnswer,
                format!("http://{silent}/authenticate: connected, but no answer within 400 ms"),
            ),
            (
                Verdict::NoAnswer,
                format!("http://{closing}/: connected, but closed without an answer (after N ms)"),
            ),
            (
                Verdict::WrongProtocol,
                format!("http://{ssh}/: answers, but not HTTP (after N ms)"),
            ),
            (
                Verdict::Answers,
                format!("http://{moved}/: answered 302 in N ms"),
            ),
            (
                Verdict::WrongProtocol,
                format!(
                    "http://{endless}/: answers with a head of more than 16384 bytes (after N ms)"
                ),
            ),
            (
                Verdict::Malformed,
                "ftp://x/: not asked: ftp:// is neither http nor https".into(),
            ),
        ],
    );
}

#[tokio::test]
async fn certificates() {
    wire::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let (own, foreign) = (Authority::new("ours"), Authority::new("theirs"));
    let namesake = Authority::new("ours");
    let now = (2020, 2100);
    let right = Server::secure(status(200), own.issue(&["localhost"], now)).await;
    let by_address = Server::secure(status(500), own.issue(&["127.0.0.1"], now)).await;
    let wrong = Server::secure(status(200), own.issue(&["a.example", "b.example"], now)).await;
    let expired = Server::secure(status(200), own.issue(&["localhost"], (2019, 2020))).await;
    let early = Server::secure(status(200), own.issue(&["localhost"], (2090, 2100))).await;
    let untrusted = Server::secure(status(200), foreign.issue(&["localhost"], now)).await;
    let forged = Server::secure(status(200), namesake.issue(&["localhost"], now)).await;
    let plain = Server::start(Manner::Greets(b"220 mail.example ESMTP\r\n".to_vec())).await;
    let silent = Server::start(Manner::Silent).await;
    let closing = Server::start(Manner::Closes).await;
    let tls = |server: &Server| reference(Tls, format!("localhost:{}", server.port));
    let references = vec![
        tls(&right),
        reference(Http, format!("https://localhost:{}/", right.port)),
        reference(Http, format!("https://127.0.0.1:{}/", by_address.port)),
        tls(&wrong),
        tls(&expired),
        tls(&early),
        tls(&untrusted),
        reference(Http, format!("https://localhost:{}/", untrusted.port)),
        tls(&forged),
        tls(&plain),
        hopeless(Tls, format!("localhost:{}", silent.port)),
        tls(&closing),
    ];
    let said = Asking::trusting(own.root(folder.path()));
    let said = said.say(references).await;
    let at = |server: &Server| format!("localhost:{}", server.port);
    let days = |said: &str| said.contains(" days ");
    assert!(days(&said[4].1) && days(&said[5].1), "{said:#?}");
    check(
        &[&said[..4], &said[6..]].concat(),
        &[
            (
                Verdict::Answers,
                format!(
                    "{}: TLS with a certificate that is valid and trusted in N ms",
                    at(&right)
                ),
            ),
            (
                Verdict::Answers,
                format!("https://{}/: answered 200 in N ms", at(&right)),
            ),
            (
                Verdict::WrongStatus,
                format!(
                    "https://127.0.0.1:{}/: answered 500, wanted anything below 500 (after N ms)",
                    by_address.port
                ),
            ),
            (
                Verdict::WrongName,
                format!(
                    "{}: certificate is for a.example, b.example, not localhost (after N ms)",
                    at(&wrong)
                ),
            ),
            (
                Verdict::Untrusted,
                format!(
                    "{}: certificate's issuer is not trusted on this host (after N ms)",
                    at(&untrusted)
                ),
            ),
            (
                Verdict::Untrusted,
                format!(
                    "https://{}/: certificate's issuer is not trusted on this host (after N ms)",
                    at(&untrusted)
                ),
            ),
            (
                Verdict::Untrusted,
                format!(
                    "{}: certificate's issuer is not trusted on this host (one of the same name is) (after N ms)",
                    at(&forged)
                ),
            ),
            (
                Verdict::WrongProtocol,
                format!("{}: answers, but not TLS (after N ms)", at(&plain)),
            ),
            (
                Verdict::NoAnswer,
                format!(
                    "{}: connected, but no TLS answer within 400 ms",
                    at(&silent)
                ),
            ),
            (
                Verdict::NoAnswer,
                format!(
                    "{}: connected, but closed during the TLS handshake (after N ms)",
                    at(&closing)
                ),
            ),
        ],
    );
    for (said, words) in [
        (&said[4], "certificate expired "),
        (&said[5], "valid only in "),
    ] {
        assert_eq!(said.0, Verdict::CertificateExpired);
        assert!(said.1.contains(words), "{said:?}");
    }
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_no_verdict() {
    let said = Asking::trusting("/no/such.pem".into());
    let outcome = said.outcome(vec![reference(Tls, "localhost:1")]).await;
    let TaskOutcome::Broken { reason } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(reason.contains("probes.roots, /no/such.pem"), "{reason}");
}

#[tokio::test]
async fn what_could_not_be_done_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    let fake = Fake::start().await;
    let mut ship = Ship::new(&fake);
    ship.config.probes.roots = Some(roots.clone());
    let kind = TaskKind::Probe {
        references: [(1, reference(File, "/etc/hostname"))].into(),
        egress: None,
    };
    fake.list(&[task("r7/probe/1", kind)]);
    ship.start();
    let first = outcome(&fake, "r7/probe/1").await;
    assert!(matches!(first, TaskOutcome::Broken { .. }), "{first:?}");
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(&roots, own.cert.pem()).unwrap();
    let probed = || {
        let inner = fake.inner();
        let mut results = inner.results.iter();
        results.any(|result| matches!(result.outcome, TaskOutcome::Probed { .. }))
    };
    eventually("it is done after all", probed).await;
    ship.kill().await;
}

#[tokio::test]
async fn postgres_by_its_own_words_only() {
    let error = b"E\0\0\0\x1bSFATAL\0C28000\0Mno user\0\0".to_vec();
    let asks = b"R\0\0\0\x08\0\0\0\x05salt".to_vec();
    let (refuses, asks, ssh, closing, silent) = (
        Server::start(Manner::Postgres(error)).await.address(),
        Server::start(Manner::Postgres(asks)).await.address(),
        Server::start(Manner::Greets(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()))
            .await
            .address(),
        Server::start(Manner::Closes).await.address(),
        Server::start(Manner::Silent).await.address(),
    );
    let closed = refused().await;
    let said = Asking::default()
        .say(vec![
            reference(Postgres, format!("postgres://me:secret@{refuses}/orders")),
            reference(Postgres, format!("postgresql://127.0.0.1:{closed},{asks}/")),
            reference(Postgres, &ssh),
            reference(Postgres, &closing),
            hopeless(Postgres, &silent),
        ])
        .await;
    check(
        &said,
        &[
            (
                Verdict::Answers,
                format!("postgres://{refuses}/orders: PostgreSQL answers (SQLSTATE 28000) in N ms"),
            ),
            (
                Verdict::Answers,
                format!(
                    "postgresql://127.0.0.1:{closed},{asks}/: PostgreSQL answers and asks who it is in N ms"
                ),
            ),
            (
                Verdict::WrongProtocol,
                format!("{ssh}: answers, but not PostgreSQL (after N ms)"),
            ),
            (
                Verdict::NoAnswer,
                format!("{closing}: connected, but closed without an answer (after N ms)"),
            ),
            (
                Verdict::NoAnswer,
                format!("{silent}: connected, but no answer within 400 ms"),
            ),
        ],
    );
}

/// PostgreSQL itself, where it is installed. It refuses to run as root, so as root it is
/// started as the user `postgres`.
struct RealPostgres {
    server: tokio::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl RealPostgres {
    fn command(program: &str, folder: &std::path::Path) -> tokio::process::Command {
        use std::os::unix::fs::MetadataExt;
        let as_root = std::fs::metadata(folder).unwrap().uid() == 0;
        let mut command = match as_root {
            true => {
                let mut command = tokio::process::Command::new("setpriv");
                command.args([
                    "--reuid=postgres",
                    "--regid=postgres",
                    "--clear-groups",
                    program,
                ]);
                command
            }
            false => tokio::process::Command::new(program),
        };
        command.current_dir("/").kill_on_drop(true);
        command
    }

    async fn start() -> Option<RealPostgres> {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten();
        let bins = versions.flatten().map(|entry| entry.path().join("bin"));
        let bin = bins.into_iter().find(|bin| bin.join("initdb").exists())?;
        let folder = tempfile::tempdir().unwrap();
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(folder.path(), mode).unwrap();
        let data = folder.path().join("data");
        let program = |name: &str| bin.join(name).display().to_string();
        let made = RealPostgres::command(&program("initdb"), folder.path())
            .arg("-D")
            .arg(&data)
            .args([
                "-A",
                "scram-sha-256",
                "--no-sync",
                "-U",
                "plimsoll",
                "--pwfile=/etc/hostname",
            ])
            .output()
            .await
            .ok()?;
        assert!(made.status.success(), "{made:?}");
        let port = refused().await;
        let server = RealPostgres::command(&program("postgres"), folder.path())
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..1200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
            {
                return Some(RealPostgres {
                    server,
                    port,
                    _folder: folder,
                });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("PostgreSQL does not come up");
    }
}

#[tokio::test]
async fn postgres_itself() {
    let Some(mut real) = RealPostgres::start().await else {
        eprintln!(
            "\n*** SKIPPED: no PostgreSQL on this machine; the probe met only a fake one ***\n"
        );
        return;
    };
    let target = format!("postgres://127.0.0.1:{}/plimsoll", real.port);
    let said = Asking::default();
    let said = said.say(vec![reference(Postgres, &target)]).await;
    real.server.start_kill().unwrap();
    let words = format!("{target}: PostgreSQL answers (SQLSTATE 28000) in N ms");
    check(&said, &[(Verdict::Answers, words)]);
}

#[tokio::test]
async fn names() {
    let said = Asking::default()
        .say(vec![
            reference(Dns, "localhost"),
            reference(Dns, "127.0.0.1"),
            reference(Dns, "a name"),
        ])
        .await;
    check(
        &said,
        &[
            (
                Verdict::Answers,
                "localhost: resolves to 1 address in N ms".into(),
            ),
            (
                Verdict::Answers,
                "127.0.0.1: resolves to 1 address in N ms".into(),
            ),
            (
                Verdict::Malformed,
                "a name: not asked: \"a name\" is neither a host's name nor an address".into(),
            ),
        ],
    );
    // RFC 6761: `invalid` never exists. A machine without a resolver can't tell, and says so.
    let said = Asking::default()
        .say(vec![
            reference(Dns, "auth.internl.invalid"),
            reference(Http, "http://auth.internl.invalid/x"),
        ])
        .await;
    for (verdict, words) in said {
        match verdict {
            Verdict::NameUnknown => {
                let expected = "the name auth.internl.invalid does not exist (after ";
                assert!(words.contains(expected), "{words}");
            }
            Verdict::Unreachable => {
                let expected = "the name auth.internl.invalid can't be resolved on this host: ";
                assert!(words.contains(expected), "{words}");
            }
            other => panic!("{other:?}: {words}"),
        }
    }
}

#[tokio::test]
async fn files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("prices.csv"), "a,1\n").unwrap();
    std::os::unix::fs::symlink(path("prices.csv"), path("link")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(path("pipe"))
        .status();
    assert!(pipe.unwrap().success());
    let said = Asking::default()
        .say(vec![
            reference(File, path("prices.csv")),
            reference(File, format!("file://{}", path("link"))),
            reference(File, path("missing")),
            reference(File, folder.path().display().to_string()),
            reference(File, path("pipe")),
            reference(File, "/dev/null"),
            reference(File, "prices.csv"),
        ])
        .await;
    let no = |name: &str, words: &str| (Verdict::NoFile, format!("{name}: {words} (after N ms)"));
    check(
        &said,
        &[
            (
                Verdict::Answers,
                format!("{}: readable, 4 bytes in N ms", path("prices.csv")),
            ),
            (
                Verdict::Answers,
                format!("file://{}: readable, 4 bytes in N ms", path("link")),
            ),
            no(&path("missing"), "the file does not exist"),
            no(
                &folder.path().display().to_string(),
                "the file can't be read: it is a folder",
            ),
            no(
                &path("pipe"),
                "the file can't be read: it is not an ordinary file",
            ),
            no(
                "/dev/null",
                "the file can't be read: it is not an ordinary file",
            ),
            (
                Verdict::Malformed,
                "prices.csv: where a relative path leads depends on who opens it: write it from /"
                    .into(),
            ),
        ],
    );
}

#[tokio::test]
async fn nothing_is_sent_to_where_the_lists_do_not_lead() {
    let server = Server::start(status(200)).await;
    let (address, named) = (server.address(), format!("localhost:{}", server.port));
    let every = |target: &str| {
        vec![
            reference(Tcp, target),
            reference(Tls, target),
            reference(Http, format!("http://{target}/")),
            reference(Postgres, target),
        ]
    };
    let outside = |target: &str| format!("not asked: {target} is outside the egress list");
    // Before a name is resolved, after it is, and where the host itself says no.
    for (asking, target, words) in [
        (Asking::within(&["10.0.0.0/8"]), &address, outside(&address)),
        (Asking::within(&["10.0.0.0/8"]), &named, outside(&named)),
        (Asking::within(&["*.internal"]), &named, outside(&named)),
        (
            Asking::within(&["127.0.0.0/8"]).narrowed(&["10.0.0.0/8"]),
            &named,
            outside(&named),
        ),
        (
            Asking::default().narrowed(&[]),
            &address,
            "not asked: this host allows no probes (probes.allow in its agent.toml is empty)"
                .into(),
        ),
    ] {
        for (verdict, said) in asking.say(every(target)).await {
            assert_eq!(verdict, Verdict::NotAllowed, "{said}");
            assert!(said.ends_with(&words), "{said}");
        }
    }
    assert_eq!(server.connections(), 0);

    for asking in [
        Asking::within(&["127.0.0.0/8"]),
        Asking::within(&["localhost"]).narrowed(&["127.0.0.0/8", "10.0.0.0/8"]),
    ] {
        let said = asking.say(vec![reference(Tcp, &named)]).await;
        assert_eq!(said[0].0, Verdict::Answers, "{said:?}");
    }
    assert_eq!(server.connections(), 2);

    let metadata = hopeless(Http, "http://169.254.169.254/latest/meta-data/");
    let said = Asking::default().say(vec![metadata]).await;
    assert_eq!(said[0].0, Verdict::NotAllowed, "{said:?}");
    let names = |asking: Asking| asking.say(vec![reference(Dns, "localhost")]);
    let said = names(Asking::within(&["10.0.0.0/8:443"])).await;
    assert_eq!(said[0].0, Verdict::NotAllowed, "{said:?}");
    let said = names(Asking::within(&["localhost:443"])).await;
    assert_eq!(said[0].0, Verdict::Answers, "{said:?}");
    let said = Asking::default().narrowed(&[]);
    let said = said.say(vec![reference(File, "/etc/hosts")]).await;
    assert_eq!(said[0].0, Verdict::NotAllowed, "{said:?}");
}

#[tokio::test]
async fn many_references_to_one_place_are_one_question() {
    let server = Server::start(status(200)).await;
    let target = format!("http://{}/", server.address());
    let references = vec![reference(Http, &target); 50];
    let probes = Asking::default().ask(references).await;
    assert!(probes.iter().all(|probe| probe.verdict == Verdict::Answers));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_there_is_no_time_for_is_told() {
    let silent = Server::start(Manner::Silent).await;
    let references = (0..40).map(|n| {
        let mut reference = reference(Http, format!("http://{}/{n}", silent.address()));
        reference.deadline_ms = Millis::seconds(3600);
        reference
    });
    let fake = crate::fake::Fake::start().await;
    let mut ship = crate::fake::Ship::new(&fake);
    let mut task = super::task(
        "short",
        model::TaskKind::Probe {
            references: (0..).zip(references).collect(),
            egress: None,
        },
    );
    task.within_ms = Millis(500);
    fake.list(&[task]);
    ship.start();
    let outcome = super::outcome(&fake, "short").await;
    ship.kill().await;
    let TaskOutcome::Probed { probes } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(probes.len(), 40);
    assert!(
        probes
            .iter()
            .all(|probe| probe.verdict == Verdict::NoAnswer)
    );
    let late = "not asked: the 500 ms for all probes were over";
    let late = probes.iter().filter(|probe| probe.detail.ends_with(late));
    assert!(late.count() >= 20, "{probes:#?}");
}
