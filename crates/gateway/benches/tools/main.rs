//! Tools of `cargo xtask bench gateway`: a host with worker slots, and clients who don't wait for each other.
//!
//! Programs of their own, so that they can be pinned to other cores than what is measured.

mod load;
mod slots;

use std::process::ExitCode;

use clap::Parser;

/// Connections of a test in which nobody answers: some thousands on each side.
const OPEN_FILES: u64 = 65_536;

#[derive(Debug, Parser)]
enum Tool {
    /// A host with so many workers and a queue without an end
    Slots(slots::SlotsArgs),
    /// Requests on an absolute schedule; writes what became of each
    Load(load::LoadArgs),
}

fn main() -> ExitCode {
    raise_open_files();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| match Tool::parse() {
            Tool::Slots(args) => runtime.block_on(slots::run(args)),
            Tool::Load(args) => runtime.block_on(load::run(args)),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "a program's own error message")]
            {
                eprintln!("{error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    let limit = Rlimit {
        current: Some(wanted),
        maximum,
    };
    // Where it may not be raised, what fails says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
