//! The program: parses the command line, and alone turns an error into text and an exit code.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use echo_client::cli;
use echo_client::output;
use echo_core::{Exit, Failure, survive_limits};
use echo_explain::{Lang, Phrases};

fn main() -> ExitCode {
    survive_limits();
    let mut lang = Lang::Auto;
    let outcome = match cli::parse(std::env::args_os()) {
        Ok((cli, keys, asked)) => {
            lang = asked;
            echo_client::run(cli, &keys)
        }
        // Help and version are results.
        Err(told) if !told.use_stderr() => print(&told),
        Err(error) => error.exit(),
    };
    let exit = match outcome {
        Ok(()) => Exit::Success,
        Err(failure) if failure.error.is::<output::Told>() => failure.exit,
        Err(failure) => {
            let phrases = Phrases::of(lang.resolve(|name| std::env::var_os(name)));
            output::note(phrases.say(&format!("echo-client: {failure}")));
            failure.exit
        }
    };
    exit.into()
}

/// Prints what was asked for instead of a run, in colour where standard output has any.
fn print(told: &clap::Error) -> Result<(), Failure> {
    let text = told.render();
    let outcome = match io::stdout().is_terminal() {
        true => output::line(text.ansi()),
        false => output::line(text),
    };
    outcome.map_err(output::failure)
}
