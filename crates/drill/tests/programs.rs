//! The drill programs without the rest of the product, for the tests beside this file.

use std::process::ExitCode;

use clap::Parser;
use drill::{auth, service, supervise};

#[derive(Parser)]
enum Program {
    DrillService(service::ServiceArgs),
    DrillAuth(auth::AuthArgs),
    Supervise(supervise::SuperviseArgs),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let done = match Program::parse() {
        Program::DrillService(args) => service::run(args, &mut out).await.map_err(boxed),
        Program::DrillAuth(args) => auth::run(args, &mut out).await.map_err(boxed),
        Program::Supervise(args) => supervise::run(args, &mut out).await.map_err(boxed),
    };
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

fn boxed(error: impl std::error::Error + 'static) -> Box<dyn std::error::Error> {
    Box::new(error)
}
