//! Accepts clients' connections, bounded in number and patience, and drains at the end.
//!
//! Ports are shared (`SO_REUSEPORT`), so that a new process can listen before
//! the old one stops. Invariant: a connection that the kernel has set up for
//! this process is served, also while it stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::ServiceName;
use socket2::{SockFilter, SockRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::GatewayError;
use crate::alarm::Alarm;
use crate::answer::TOO_MANY_CONNECTIONS;
use crate::board::{Board, Reader};
use crate::customer::Last;
use crate::headers::{self, Scheme};
use crate::proxy::{Front, Peer};
use crate::serve::Connection;
use crate::tls::Certificates;
use crate::vitals::Vitals;

/// After a failed accept (out of file descriptors) the loop rests instead of spinning.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// A refused connection is read from for this long, so that the answer isn't lost to a reset.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// Connections that the kernel keeps for a process that is busy for a moment.
const BACKLOG: u32 = 1024;
/// A handshake that had begun when the signal came gets this long to end. Whoever
/// begins one meanwhile is not heard, tries again after a second, and meets the
/// next process. So it is no longer than a way across a continent and back.
const HANDSHAKES_WITHIN: Duration = Duration::from_millis(100);

/// A port that is this process's, but at which nobody is heard yet.
#[derive(Debug)]
pub(crate) struct Bound {
    what: String,
    socket: TcpSocket,
    address: SocketAddr,
}

/// Takes `address` for `what`, shared with other processes of the same user.
pub(crate) fn bind(what: String, address: SocketAddr) -> Result<Bound, GatewayError> {
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    match bound() {
        Ok((socket, address)) => Ok(Bound {
            what,
            socket,
            address,
        }),
        Err(source) => Err(GatewayError::Listen {
            address,
            what,
            source,
        }),
    }
}

impl Bound {
    /// Where it really is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on connections come here.
    pub(crate) fn open(self) -> Result<TcpListener, GatewayError> {
        self.socket
            .listen(BACKLOG)
            .map_err(|source| GatewayError::Listen {
                address: self.address,
                what: self.what,
                source,
            })
    }
}

/// What a listener's connections are served with.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) front: Arc<Front>,
    pub(crate) board: Arc<Board>,
    pub(crate) tls: Option<Arc<Certificates>>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// One service's open port.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) service: ServiceName,
    pub(crate) tcp: TcpListener,
}

impl Listener {
    /// Serves until told to stop, then lets requests in flight end for up to the drain.
    pub(crate) async fn serve(self, serving: Serving) {
        let drain = serving.front.limits.drain;
        let mut stop = serving.stop.clone();
        let mut door = Door {
            service: Arc::new(self.service),
            serving,
            connections: JoinSet::new(),
            closed: watch::Sender::new(false),
        };
        // A starter that is gone can't ask to stop, so its end is taken for the wish.
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = door.accept(&self.tcp) => {}
        }
        let drained = async {
            door.accept_last(self.tcp).await;
            // Not before: whoever is told to go comes again at once, and shall meet the next process.
            door.closed.send_replace(true);
            while door.connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(drain, drained).await.is_err() {
            tracing::warn!(?drain, "requests were still in flight; they are cut off");
        }
    }
}

/// Where connections come in, and those that have.
struct Door {
    service: Arc<ServiceName>,
    serving: Serving,
    connections: JoinSet<()>,
    /// Turns true when the port is closed; then connections are told to end.
    closed: watch::Sender<bool>,
}

impl Door {
    /// For ever.
    async fn accept(&mut self, tcp: &TcpListener) {
        loop {
            match tcp.accept().await {
                Ok((stream, client)) => self.take(stream, client),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn take(&mut self, stream: TcpStream, client: SocketAddr) {
        while self.connections.try_join_next().is_some() {}
        let Serving {
            front,
            board,
            tls,
            stop: _,
        } = self.serving.clone();
        let Ok(place) = front.places.clone().try_acquire_owned() else {
            front.ledger.refuse_connection();
            // Words without a handshake would be no TLS.
            if tls.is_none() {
                refuse(stream, &front);
            }
            return;
        };
        let connection = Connection {
            peer: Arc::new(Peer {
                service: self.service.clone(),
                client: headers::Client::new(client.ip()),
                scheme: match tls {
                    Some(_) => Scheme::Https,
                    None => Scheme::Http,
                },
                vitals: Vitals::new(),
                board: board.clone(),
                line: Arc::default(),
                last: Last::default(),
                alarm: Alarm::default(),
            }),
            front,
            reader: Reader::new(board),
            stop: self.closed.subscribe(),
        };
        self.connections.spawn(async move {
            let _place = place;
            connection.serve(stream, tls).await;
        });
    }

    /// Closes the port without losing a connection. Closing it resets what the
    /// kernel has set up and nobody has accepted, and one more could come between
    /// the last accept and the close. So first new handshakes are no longer
    /// answered, then those under way get their time, then the queue, which can't
    /// grow any more, is emptied.
    async fn accept_last(&mut self, tcp: TcpListener) {
        if let Err(error) = SockRef::from(&tcp).attach_filter(&NO_NEW_HANDSHAKE) {
            tracing::debug!(%error, "new connections can't be turned away before the port is closed");
        }
        let _ = tokio::time::timeout(HANDSHAKES_WITHIN, self.accept(&tcp)).await;
        // The runtime may not have heard yet of what is in the queue; the kernel has.
        let Ok(tcp) = tcp.into_std() else {
            return;
        };
        while let Ok((stream, client)) = tcp.accept() {
            let stream = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                self.take(stream, client);
            }
        }
    }
}

/// A classic BPF program for a listening TCP socket, whose packets it sees from
/// the TCP header on: drops those that begin a handshake (SYN without ACK), keeps all others.
const NO_NEW_HANDSHAKE: [SockFilter; 5] = {
    /// Load a byte; and; jump if equal; return: see `linux/bpf_common.h`.
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Where the flags are in a TCP header (RFC 9293, section 3.1).
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// Tells a client that there is no room, and closes.
fn refuse(mut stream: TcpStream, front: &Front) {
    let Ok(place) = front.refusals.clone().try_acquire_owned() else {
        return;
    };
    tokio::spawn(async move {
        let _place = place;
        let telling = async {
            stream.write_all(TOO_MANY_CONNECTIONS.as_bytes()).await?;
            stream.shutdown().await?;
            let mut unread = [0; 1024];
            while stream.read(&mut unread).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(REFUSED_WITHIN, telling).await;
    });
}

/// Each connection is a file, and each request may need another to its backend:
/// lifts the soft limit to the hard one.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
