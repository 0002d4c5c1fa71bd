//! Agents tell each other whether the control plane is gone for them too.
//!
//! Invariant: a caller holds one of a few places, for a bounded time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use model::HostName;
use node::Outcome;

use crate::reach::Reach;

/// Callers at a time; others wait in the listen queue. A zone's hosts ask at one deadline, once each.
const CALLERS_MAX: usize = 64;
/// After this a caller's connection is closed, whatever it does.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Peers asked at once: one that answers is enough, a few may be down.
const PEERS_MAX: usize = 8;
/// A peer gives its answer within this; its own try takes up to a second.
const ANSWER_WITHIN: Duration = Duration::from_millis(2500);
/// Heard from within this: reachable without trying.
const FRESH: Duration = Duration::from_secs(5);

/// What one agent tells another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PeerAnswer {
    pub(crate) host: HostName,
    pub(crate) control_reachable: bool,
}

/// What the endpoint answers from.
#[derive(Clone)]
pub(crate) struct Knowledge {
    pub(crate) host: HostName,
    pub(crate) control: String,
    pub(crate) ca: Option<std::path::PathBuf>,
    pub(crate) reach: Reach,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, knowledge: Knowledge) -> io::Result<()> {
    let answer = move || {
        let knowledge = knowledge.clone();
        async move {
            let control_reachable = knowledge.reach.within(FRESH) || knowledge.tries().await;
            Json(PeerAnswer {
                host: knowledge.host,
                control_reachable,
            })
        }
    };
    let router = Router::new()
        .route("/v1/peer", get(answer))
        .route("/healthz", get(|| async { "ok\n" }));
    let listener = Bounded {
        listener,
        places: Arc::new(Semaphore::new(CALLERS_MAX)),
    };
    axum::serve(listener, router).await
}

impl Knowledge {
    async fn tries(&self) -> bool {
        let Ok(client) = wire::Client::new(&self.control, wire::Identity::Nobody, self.ca.clone())
        else {
            return false;
        };
        let request = client.request(
            reqwest::Method::GET,
            "/healthz",
            Default::default(),
            Duration::from_secs(1),
        );
        request
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
    }
}

/// Asks some peers at once and counts their answers.
pub(crate) async fn ask(peers: &BTreeMap<HostName, String>) -> Outcome {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only([])
        .timeout(ANSWER_WITHIN)
        .build();
    let Ok(client) = client else {
        return Outcome::Failed {
            reason: "no client to ask peers with".into(),
        };
    };
    let questions = peers.values().take(PEERS_MAX).map(|address| {
        let question = client.get(format!("http://{address}/v1/peer"));
        async move { question.send().await?.json::<PeerAnswer>().await }
    });
    let (mut reach, mut cut_off) = (0, 0);
    for answer in join_all(questions).await.into_iter().flatten() {
        if answer.control_reachable {
            reach += 1;
        } else {
            cut_off += 1;
        }
    }
    Outcome::Peers { reach, cut_off }
}

/// A listener with so many places.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Call;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Call, SocketAddr) {
        loop {
            let place = self.places.clone().acquire_owned().await;
            match (place, self.listener.accept().await) {
                (Ok(place), Ok((stream, address))) => {
                    let call = Call {
                        stream,
                        end: Box::pin(sleep(CALL_MAX)),
                        _place: place,
                    };
                    return (call, address);
                }
                // Out of file handles, most likely: a pause lets others end.
                (_, Err(_)) | (Err(_), _) => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends by itself.
struct Call {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Call {
    fn over(&mut self, context: &mut Context<'_>) -> bool {
        self.end.as_mut().poll(context).is_ready()
    }
}

impl AsyncRead for Call {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Call {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
