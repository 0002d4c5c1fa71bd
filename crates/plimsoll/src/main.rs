//! The `plimsoll` program: parses the command line and calls the crate that does the work.
//!
//! Invariant: nothing is decided here. Every command either runs one of the
//! shells or asks a control plane and shows the answer.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks to people"
)]

mod audit;
mod chart;
mod checklist;
mod cli;
mod commands;
mod connect;
mod findings;
mod incidents;
mod judged;
mod look;
mod narrate;
mod output;
mod planned;
mod replay;
mod rota;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::output::Failure;

fn main() -> ExitCode {
    wire::install_crypto();
    end_with_reader();
    end_with_parent();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: can't start: {error}");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(run(cli));
    // Blocking helpers (a hung health command's pipe) must not keep a finished program alive.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// `plimsoll audit | head` ends when its reader does, without a word: printing
/// to a closed pipe is no fault of ours.
fn end_with_reader() {
    /// What a shell reports of a program that ended by SIGPIPE.
    const NO_READER: i32 = 141;
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let words = panic.payload().downcast_ref::<String>();
        if words
            .is_some_and(|it| it.starts_with("failed printing to") && it.contains("Broken pipe"))
        {
            std::process::exit(NO_READER);
        }
        usual(panic);
    }));
}

/// Quickstart and drills start many processes; none may outlive them, not
/// even when they are killed without a chance to clean up.
fn end_with_parent() {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    let Some(owner) = std::env::var_os(drill::world::DIE_WITH_PARENT) else {
        return;
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        eprintln!("warning: this process may outlive the one that started it: {error}");
    }
    // It may have ended before it could be asked for that; then init is the parent
    // (or nobody that we can see), unless init is who started the fleet.
    if getppid().is_none_or(|parent| parent == Pid::INIT) && owner != "1" {
        std::process::exit(1);
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    use commands as c;
    let ask = &cli.ask;
    match cli.command {
        Command::Quickstart(args) => c::drill::quickstart(args).await,
        Command::Server(args) => c::serve::server(args).await,
        Command::Agent(args) => c::agent::agent(args, ask).await,
        Command::Gateway(args) => c::serve::gateway(*args, ask).await,
        Command::Check(args) => c::check::check(args, ask).await,
        Command::Report(args) => c::report::report(&args),
        Command::Schema => c::project::schema(),
        Command::Push(args) => c::push::push(args, ask).await,
        Command::Status(args) => c::status::status(args, ask).await,
        Command::Releases(args) => c::releases::releases(args, ask).await,
        Command::Hosts(args) => c::hosts::hosts(args, ask).await,
        Command::Rollback(args) => c::rollback::rollback(args, ask).await,
        Command::Restart(args) => c::restart::restart(args, ask).await,
        Command::Traffic(args) => c::traffic::traffic(args, ask).await,
        Command::Verdict(args) => c::verdict::verdict(args, ask).await,
        Command::Continue(args) => c::verdict::carry_on(args, ask).await,
        Command::Plan(args) => c::plan::plan(args, ask).await,
        Command::Incident(args) => c::incident::incident(args, ask).await,
        Command::Ack(args) => c::incident::ack(args, ask).await,
        Command::Silence(args) => c::silence::silence(args, ask).await,
        Command::Oncall(args) => c::oncall::oncall(args, ask).await,
        Command::Page(args) => c::oncall::page(args, ask).await,
        Command::Slo(args) => c::oncall::slo(args),
        Command::Notify(args) => c::notify::notify(args),
        Command::Approve(args) => c::approve::approve(args, ask).await,
        Command::Attest(args) => c::attest::attest(args, ask).await,
        Command::Audit(args) => c::audit::audit(args, ask).await,
        Command::BreakGlass(args) => c::emergency::break_glass(args, ask).await,
        Command::Freeze(args) => c::emergency::freeze(args, ask).await,
        Command::Thaw(args) => c::emergency::thaw(args, ask).await,
        Command::Journal(args) => c::journal::journal(args, ask).await,
        Command::Drill(args) => c::drill::drill(args).await,
        Command::Doctor(args) => c::doctor::doctor(args, ask).await,
        Command::Completions { shell } => c::project::completions(shell),
        Command::DrillService(args) => c::drill::service(args).await,
        Command::DrillAuth(args) => c::drill::auth(args).await,
        Command::Supervise(args) => c::drill::supervise(args).await,
    }
}
