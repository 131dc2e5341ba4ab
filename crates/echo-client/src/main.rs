//! The program: parses the command line, and alone turns an error into text and an exit code.

use std::process::ExitCode;

use clap::Parser;
use echo_client::{cli::Cli, output};
use echo_core::Exit;

fn main() -> ExitCode {
    let exit = match echo_client::run(Cli::parse()) {
        Ok(()) => Exit::Success,
        Err(failure) if failure.error.is::<output::Closed>() => Exit::Success,
        Err(failure) => {
            output::note(format_args!("echo-client: {failure}"));
            failure.exit
        }
    };
    exit.into()
}
