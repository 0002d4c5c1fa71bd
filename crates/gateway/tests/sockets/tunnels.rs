//! Another protocol through the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::fleet::{Host, before, before_with, read_head, talk, until};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nx-tenant: acme\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Switches whoever asks properly, says hello at once, then echoes; others get 200.
async fn switching() -> Host {
    Host::raw(|mut stream: TcpStream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let head = head.to_ascii_lowercase();
            if !(head.contains("\r\nupgrade: websocket\r\n")
                && head.contains("\r\nconnection: upgrade\r\n"))
            {
                let plain = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain";
                stream.write_all(plain).await.unwrap();
                continue;
            }
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: WebSocket\r\nsec-websocket-accept: x\r\n\r\nhello\n";
            stream.write_all(answer).await.unwrap();
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            return;
        }
    })
    .await
}

/// Asks, and reads until the backend's first words.
async fn switched(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    for line in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-accept: x\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    let mut hello = [0; 6];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello\n");
    stream
}

async fn echoes(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert!(back == bytes);
}

#[tokio::test]
async fn bytes_go_both_ways_as_they_are() {
    let host = switching().await;
    let (control, gateway) = before(&[host.address]).await;
    let mut stream = switched(gateway.address).await;
    // No HTTP, not even well-formed.
    echoes(&mut stream, b"\x81\x05\n\r\0GET / HTTP/1.1\r\nx\n\n").await;
    let long: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let (mut reader, mut writer) = stream.split();
    let mut back = vec![0; long.len()];
    let (wrote, read) = tokio::join!(writer.write_all(&long), reader.read_exact(&mut back));
    wrote.unwrap();
    read.unwrap();
    assert!(back == long);
    let open = "plimsoll_gateway_tunnels 1\n";
    gateway.until(|metrics| metrics.contains(open)).await;
    until("counted while it is open", || {
        control.of("old", "acme").requests == 1
    })
    .await;
    drop(stream);
    gateway
        .until(|metrics| {
            metrics.contains("plimsoll_gateway_tunnels 0\n")
                && metrics.contains("plimsoll_gateway_upgrades_total 1\n")
                && metrics.contains("plimsoll_gateway_connections 0\n")
        })
        .await;
    gateway.stop().await;
    assert_eq!((control.total().requests, control.total().failed), (1, 0));
}

#[tokio::test]
async fn the_end_of_one_side_reaches_the_other() {
    let host = switching().await;
    let (_control, gateway) = before(&[host.address]).await;
    let mut stream = switched(gateway.address).await;
    stream.write_all(b"last").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "last");
    gateway.stop().await;
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let host = switching().await;
    let (_control, gateway) = before_with(&[host.address], |it| {
        it.limits.tunnel_idle = Duration::from_millis(300);
    })
    .await;
    let mut stream = switched(gateway.address).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(600) {
        echoes(&mut stream, b"still here").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
    let _ = ended.await.expect("closed within time");
    assert_eq!(rest, b"");
    gateway.stop().await;
}

#[tokio::test]
async fn a_tunnel_gets_the_drain_and_no_more() {
    let host = switching().await;
    let (_control, gateway) = before_with(&[host.address], |it| {
        it.limits.drain = Duration::from_secs(4);
    })
    .await;
    let mut stream = switched(gateway.address).await;
    gateway.tell_to_stop();
    let address = gateway.address;
    let start = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the port is closed"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    echoes(&mut stream, b"still here").await;
    gateway.stop().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn what_may_not_be_switched_to_is_asked_as_plain_http() {
    let host = switching().await;
    let (_control, gateway) = before(&[host.address]).await;
    for lines in [
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA",
        "connection: upgrade\r\nupgrade: websocket, h2c",
        "upgrade: websocket",
        "connection: upgrade",
        "connection: upgrade\r\nupgrade: tls/1.0",
    ] {
        // What follows is a request like any other.
        let request = format!(
            "GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        );
        let answer = talk(gateway.address, &request).await;
        assert_eq!(
            answer.matches("HTTP/1.1 200 OK").count(),
            2,
            "{lines:?} gave {answer:?}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_wish_that_is_refused_leaves_the_connection_in_order() {
    let host = Host::raw(|mut stream: TcpStream| async move {
        while read_head(&mut stream).await.is_some() {
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let (_control, gateway) = before(&[host.address]).await;
    let hidden = format!("{ASK}GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n");
    let answer = talk(gateway.address, &hidden).await;
    assert_eq!(answer.matches("HTTP/1.1 404").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_switch_to_something_else_is_a_broken_answer() {
    let host = Host::raw(|mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let (control, gateway) = before(&[host.address]).await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    until("counted", || control.of("old", "acme").failed == 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn nobody_gets_a_tunnel_to_anywhere() {
    let host = switching().await;
    let (_control, gateway) = before(&[host.address]).await;
    for target in ["example.org:443", "/"] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nhost: example.org:443\r\n\r\n");
        let answer = talk(gateway.address, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 501") || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert_eq!(host.connections(), 0);
    gateway.stop().await;
}
