//! Against a relay that says what each test wants, over real sockets, with and without TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::channel::tests::notice;

/// What the relay has taken: the commands, and each message's text.
#[derive(Debug, Default)]
struct Taken {
    commands: Vec<String>,
    messages: Vec<String>,
}

/// A relay that answers `MAIL FROM` with the next of `answers`, then with 250.
async fn relay(
    answers: &'static [&'static str],
    tls: Option<TlsAcceptor>,
) -> (SocketAddr, Arc<Mutex<Taken>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(Mutex::new(Taken::default()));
    let seen = taken.clone();
    let answers = Arc::new(Mutex::new(answers.iter()));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, answers, tls) = (seen.clone(), answers.clone(), tls.clone());
            tokio::spawn(async move {
                let next = move || answers.lock().unwrap().next().copied();
                stream.write_all(b"220 relay\r\n").await.unwrap();
                let wants_tls = dialogue(&mut stream, &seen, &next, tls.is_some()).await;
                if let (true, Some(tls)) = (wants_tls, tls) {
                    let mut stream = tls.accept(stream).await.unwrap();
                    dialogue(&mut stream, &seen, &next, false).await;
                }
            });
        }
    });
    (address, taken)
}

/// Until the client leaves, or wants TLS.
async fn dialogue<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    taken: &Mutex<Taken>,
    next: &impl Fn() -> Option<&'static str>,
    offers_tls: bool,
) -> bool {
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        taken.lock().unwrap().commands.push(line.clone());
        let verb = line
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" if offers_tls => "250-relay\r\n250 STARTTLS",
            "EHLO" => "250-relay\r\n250 8BITMIME",
            "STARTTLS" => {
                write.write_all(b"220 go\r\n").await.unwrap();
                return true;
            }
            "MAIL" => match next() {
                // Says nothing more, for ever.
                Some("hang") => std::future::pending().await,
                answer => answer.unwrap_or("250 ok"),
            },
            "DATA" => {
                write.write_all(b"354 go on\r\n").await.unwrap();
                let mut message = String::new();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "." {
                        break;
                    }
                    message.push_str(&line);
                    message.push('\n');
                }
                taken.lock().unwrap().messages.push(message);
                "250 queued as 7"
            }
            _ => "250 ok",
        };
        write
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
            .unwrap();
    }
    false
}

fn mailer(address: SocketAddr) -> Mailer {
    Mailer::new(MailerSettings {
        host: address.ip().to_string(),
        port: Some(address.port()),
        security: Security::None,
        login: None,
        from: "Plimsoll <plimsoll@example.com>".into(),
        roots: None,
    })
    .unwrap()
}

#[tokio::test]
async fn a_page_is_a_mail_that_can_be_recognised() {
    let (address, taken) = relay(&[], None).await;
    let sent = mailer(address).send("ada@example.com", &notice()).await;
    assert_eq!(
        sent,
        Outcome::Sent {
            receipt: Some("queued as 7".into())
        }
    );
    let mail = taken.lock().unwrap().messages[0].clone();
    for line in [
        "From: Plimsoll <plimsoll@example.com>",
        "To: ada@example.com",
        "Subject: api fails: 41 % of requests",
        "Message-ID: <page-12-1-ada-0@example.com>",
        "References: <incident-12@example.com>",
        "Auto-Submitted: auto-generated",
        "Importance: high",
    ] {
        assert!(
            mail.lines().any(|it| it == line),
            "{line} is missing in\n{mail}"
        );
    }
    assert!(
        mail.contains("Acknowledge: https://plimsoll.example.com/ack/T"),
        "{mail}"
    );
    assert!(!mail.contains("List-Unsubscribe"), "a page is no list mail");
}

#[tokio::test]
async fn subscribers_can_leave_by_one_click() {
    let (address, taken) = relay(&[], None).await;
    let notice = Notice {
        unsubscribe: Some("https://status.example.com/u/TOKEN".into()),
        html: Some("<p>We look into it.</p>".into()),
        ..notice()
    };
    mailer(address).send("ada@example.com", &notice).await;
    let mail = taken.lock().unwrap().messages[0].clone();
    assert!(
        mail.contains("List-Unsubscribe: <https://status.example.com/u/TOKEN>\n"),
        "{mail}"
    );
    assert!(
        mail.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\n"),
        "{mail}"
    );
    assert!(mail.contains("multipart/alternative"), "{mail}");
}

#[tokio::test]
async fn what_the_relay_says_decides() {
    let (address, taken) = relay(&["451 later", "550 no such user", "535 who are you"], None).await;
    let mailer = mailer(address);
    let first = mailer.send("ada@example.com", &notice()).await;
    assert!(matches!(first, Outcome::Retry { .. }), "{first:?}");
    let second = mailer.send("ada@example.com", &notice()).await;
    assert!(
        matches!(&second, Outcome::Refused { reason } if reason.contains("no such user")),
        "{second:?}"
    );
    let third = mailer.send("ada@example.com", &notice()).await;
    assert!(
        matches!(third, Outcome::Retry { .. }),
        "a wrong password can be mended: {third:?}"
    );
    let fourth = mailer.send("ada@example.com", &notice()).await;
    assert!(matches!(fourth, Outcome::Sent { .. }), "{fourth:?}");
    assert_eq!(taken.lock().unwrap().messages.len(), 1);
}

#[tokio::test]
async fn a_relay_that_hangs_costs_one_try() {
    let (address, _) = relay(&["hang"], None).await;
    crate::tests_crypto();
    let couriers = crate::Couriers::new(
        crate::Poster::new(crate::Egress::default(), None).unwrap(),
        Some(mailer(address)),
    );
    let to = crate::Address::Mail {
        to: "ada@example.com".into(),
    };
    let outcome = couriers
        .send(&to, &notice(), Duration::from_millis(300))
        .await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}

#[tokio::test]
async fn nobody_there_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = mailer(address).send("ada@example.com", &notice()).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_name_cannot_add_headers_or_receivers() {
    let (address, taken) = relay(&[], None).await;
    let mailer = mailer(address);
    let sly = Notice {
        title: "fine\r\nBcc: eve@example.com\r\n\r\nbody".into(),
        unsubscribe: Some("https://x/\r\nX-Sly: yes".into()),
        ..notice()
    };
    let outcome = mailer.send("ada@example.com", &sly).await;
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");
    for to in [
        "ada@example.com\r\nRCPT TO:<eve@example.com>",
        "ada@example.com, eve@example.com",
        "",
    ] {
        let outcome = mailer.send(to, &notice()).await;
        assert!(
            matches!(outcome, Outcome::Refused { .. }),
            "{to:?}: {outcome:?}"
        );
    }
    let taken = taken.lock().unwrap();
    assert_eq!(taken.messages.len(), 1);
    let head = taken.messages[0].split("\n\n").next().unwrap().to_owned();
    assert!(
        !head
            .lines()
            .any(|line| line.starts_with("Bcc:") || line.starts_with("X-Sly")),
        "{head}"
    );
    assert!(
        !taken
            .commands
            .iter()
            .any(|line| line.contains("RCPT") && line.contains("eve"))
    );
}

#[tokio::test]
async fn a_login_needs_tls_and_the_right_certificate() {
    crate::tests_crypto();
    let settings = |security, login: bool, port, roots| MailerSettings {
        host: "localhost".into(),
        port: Some(port),
        security,
        login: login.then(|| ("plimsoll".to_owned(), Secret::new("geheim"))),
        from: "plimsoll@example.com".into(),
        roots,
    };
    let clear = Mailer::new(settings(Security::None, true, 25, None)).unwrap_err();
    assert!(
        matches!(clear, MailerError::LoginInTheClear { .. }),
        "{clear}"
    );

    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let (address, taken) = relay(&[], Some(TlsAcceptor::from(Arc::new(config)))).await;

    let stranger = Mailer::new(settings(Security::Starttls, false, address.port(), None)).unwrap();
    let outcome = stranger.send("ada@example.com", &notice()).await;
    assert!(
        matches!(outcome, Outcome::Retry { .. }),
        "an unknown certificate: {outcome:?}"
    );
    assert!(taken.lock().unwrap().messages.is_empty());

    let roots = Some(pair.cert.pem().into_bytes());
    let known = Mailer::new(settings(Security::Starttls, false, address.port(), roots)).unwrap();
    let outcome = known.send("ada@example.com", &notice()).await;
    assert!(matches!(outcome, Outcome::Sent { .. }), "{outcome:?}");

    let (plain, taken) = relay(&[], None).await;
    let strict = Mailer::new(settings(Security::Starttls, false, plain.port(), None)).unwrap();
    let outcome = strict.send("ada@example.com", &notice()).await;
    assert!(
        matches!(outcome, Outcome::Retry { .. }),
        "no STARTTLS offered: {outcome:?}"
    );
    assert!(taken.lock().unwrap().messages.is_empty());
}
