//! The program: parses the command line, and alone turns an error into text and an exit code.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use echo_client::cli;
use echo_client::output::{self, last_words};
use echo_core::{Color, Exit, Failure, survive_limits};
use echo_explain::{Lang, Phrases};

fn main() -> ExitCode {
    survive_limits();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        // What is not asked for (RUST_BACKTRACE) is not captured.
        let trace = Backtrace::capture();
        last_words(match trace.status() {
            BacktraceStatus::Captured => format!("echo-client: thread {name} {panic}\n{trace}"),
            _ => format!("echo-client: thread {name} {panic}"),
        });
    }));
    let mut lang = Lang::Auto;
    let outcome = match cli::parse(std::env::args_os()) {
        Ok((cli, keys, asked)) => {
            lang = asked;
            echo_client::run(cli, &keys)
        }
        // Help and version are results.
        Err(told) if !told.use_stderr() => output::line(rendered(&told, &io::stdout())),
        Err(error) => {
            last_words(rendered(&error, &io::stderr()));
            Err(Failure::new(Exit::Usage, output::Told))
        }
    };
    let exit = match outcome {
        Ok(()) => Exit::Success,
        Err(failure) if failure.error.is::<output::Told>() => failure.exit,
        Err(failure) => {
            let phrases = Phrases::of(lang.resolve(|name| std::env::var_os(name)));
            last_words(phrases.say(&format!("echo-client: {failure}")));
            failure.exit
        }
    };
    exit.into()
}

/// What is said instead of a run, in colour where `stream` has any.
fn rendered(told: &clap::Error, stream: &impl IsTerminal) -> String {
    let text = told.render();
    match Color::Auto.enabled(stream.is_terminal(), |name| std::env::var_os(name)) {
        true => text.ansi().to_string(),
        false => text.to_string(),
    }
}
