//! The control plane as its clients meet it: the real server in this process,
//! real sockets on port 0, real files in a temporary folder.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

mod access;
mod blobs;
mod checks;
mod connections;
mod counts;
mod enrol;
mod gates;
mod hosts;
mod incidents;
mod judged;
mod no_way_in;
mod openapi;
mod orders;
mod propose;
mod refusals;
mod releases;
mod start;
mod status_page;
mod stop;
mod support;
mod tasks;
mod tls;
mod traffic;
