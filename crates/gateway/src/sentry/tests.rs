//! What hyper gets to read, and what it does not.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

fn sentry(before: &str) -> (DuplexStream, Sentry<DuplexStream>, Arc<Line>) {
    let (client, server) = tokio::io::duplex(1 << 16);
    let line = Arc::new(Line::default());
    let limits = Limits {
        head_deadline: Duration::from_millis(50),
        ..Limits::default()
    };
    let sentry = Sentry::new(before.as_bytes().into(), server, line.clone(), &limits);
    (client, sentry, line)
}

/// One read's bytes.
async fn read(sentry: &mut Sentry<DuplexStream>) -> std::io::Result<String> {
    let mut buffer = [0; 1024];
    let len = sentry.read(&mut buffer).await?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

#[tokio::test]
async fn a_read_ends_with_its_request() {
    let first = "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi";
    let second = "GET / HTTP/1.1\r\n\r\n";
    let (mut client, mut sentry, line) = sentry("");
    let both = format!("{first}{second}{second}");
    client.write_all(both.as_bytes()).await.unwrap();
    assert_eq!(read(&mut sentry).await.unwrap(), first);
    assert_eq!(read(&mut sentry).await.unwrap(), second);
    assert_eq!(read(&mut sentry).await.unwrap(), second);
    drop(client);
    assert_eq!(read(&mut sentry).await.unwrap(), "");
    assert_eq!(line.flaw(), None);
}

#[tokio::test]
async fn a_wrong_head_is_replaced_and_nothing_follows() {
    let good = "GET / HTTP/1.1\r\n\r\n";
    let (mut client, mut sentry, line) = sentry(good);
    client.write_all(b"GET / HTTP/1.1\r\nx: 1").await.unwrap();
    assert_eq!(read(&mut sentry).await.unwrap(), good);
    assert_eq!(line.flaw(), None);
    client
        .write_all(b"\n\r\nGET / HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read(&mut sentry).await.unwrap().as_bytes(), STAND_IN);
    assert_eq!(line.flaw(), Some(Flaw::BareLineFeed));
    let more = tokio::time::timeout(Duration::from_millis(20), read(&mut sentry)).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn a_wrong_body_is_known_with_its_head() {
    let head = "P / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let (mut client, mut sentry, line) = sentry("");
    let text = format!("{head}2\nhi\r\n");
    client.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(read(&mut sentry).await.unwrap(), format!("{head}2"));
    assert_eq!(line.flaw(), Some(Flaw::Chunk));
    assert!(read(&mut sentry).await.is_err());
}

#[tokio::test]
async fn a_slow_head_is_replaced() {
    let (mut client, mut sentry, line) = sentry("");
    client.write_all(b"GET / HTTP").await.unwrap();
    assert_eq!(read(&mut sentry).await.unwrap().as_bytes(), STAND_IN);
    assert_eq!(line.flaw(), Some(Flaw::HeadSlow));
}

#[tokio::test]
async fn what_follows_a_wish_waits_for_its_answer() {
    let head = "GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let next = "GET /next HTTP/1.1\r\n\r\n";
    let (mut client, mut sentry, line) = sentry(head);
    client.write_all(next.as_bytes()).await.unwrap();
    assert_eq!(read(&mut sentry).await.unwrap(), head);
    let early = tokio::time::timeout(Duration::from_millis(20), read(&mut sentry)).await;
    assert!(early.is_err());
    line.stay();
    assert_eq!(read(&mut sentry).await.unwrap(), next);
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read(&mut sentry).await.unwrap(), head);
    line.switch.store(OTHER, Ordering::Release);
    client.write_all(b"\n\x81anything").await.unwrap();
    assert!(read(&mut sentry).await.unwrap().ends_with("anything"));
}
