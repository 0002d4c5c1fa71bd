//! The gateway over real sockets: fake backends, a fake control plane, real requests.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

mod counting;
mod draining;
mod failing;
mod fleet;
mod http2;
mod lifecycle;
mod overload;
mod passing;
mod restart;
mod routing;
mod seconds;
mod serving;
mod shares;
mod slow;
mod smuggling;
mod tls;
mod tunnels;
mod upstream;
mod upstream_tls;
