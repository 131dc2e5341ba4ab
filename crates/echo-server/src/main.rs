//! The echo server's command.

mod signals;
mod stderr;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use anyhow::anyhow;
use clap::CommandFactory;
use echo_core::{Exit, Failure, Patient, Signals, cause, completions, survive_limits};
use echo_explain::{Explain, Lang, Phrases};
use echo_server::cli::{Cli, Command};
use echo_server::control::ask::ask;
use echo_server::event::{Events, Format, Stop};
use echo_server::fixture::{self, ReadyFile};
use echo_server::log::Style;
use echo_server::sandbox::Sandbox;
use echo_server::{Config, Server, Shutdown, fault, log, thread};
use stderr::{LAST_WORDS, Log};

fn main() -> ExitCode {
    survive_limits();
    let outcome = match Cli::typed() {
        Ok(cli) => run(&cli).map_err(|failure| said(failure, cli.lang())),
        // Help and version are results.
        Err(told) if !told.use_stderr() => print(&told.render().to_string()),
        Err(error) => Log::start(move |stderr| {
            // When standard error is gone too, the exit code still tells.
            let _: io::Result<()> = stderr.during(|| error.print());
        })
        .map(|log| log.end(Ok(Exit::Usage))),
    };
    let exit = outcome.unwrap_or_else(|failure| match Log::start(|_| ()) {
        Ok(log) => log.end(Err(failure)),
        Err(_) => {
            let _: io::Result<()> = writeln!(io::stderr(), "echo-server: {failure}");
            failure.exit
        }
    });
    exit.into()
}

/// Serves, and says why that failed, if it did. What fails before is for the caller to say.
fn run(cli: &Cli) -> Result<Exit, Failure> {
    match &cli.command {
        Some(Command::Fault { .. }) => return print(&fault::help()),
        Some(Command::Control { path, command }) => {
            let (answer, exit) = ask(path, &command.join(" "))?;
            return print(&answer).map(|_| exit);
        }
        Some(Command::Completions { shell }) => return print(&completions(*shell, Cli::command())),
        None => {}
    }
    let layers = cli.layers(|name| std::env::var_os(name));
    let layers = layers.map_err(Failure::usage)?;
    let config: Config = layers.resolve().map_err(Failure::usage)?;
    if cli.print_config {
        return print(&layers.to_string());
    }
    config.check()?;
    config.check_files(cli.file(|name| std::env::var_os(name)).as_deref())?;
    // Each thread is to hold them back, and that of the log is the first.
    let signals = Signals::hold()?;
    let (events, reader) = Events::channel(config.level());
    let told = config.clone();
    let log = Log::start(move |stderr| {
        // It writes what peers have sent, and opens nothing.
        if told.sandbox == Sandbox::On {
            told.confine(&[]);
        }
        let variable = |name: &str| std::env::var_os(name);
        let colour = told.color.enabled(io::stderr().is_terminal(), variable);
        let lang = told.lang.resolve(variable);
        let style = match (told.explain, told.log) {
            (Explain::Off, Format::Text) => Style::Text(told.log_level, lang, told.timestamps),
            (Explain::Off, Format::Json) => Style::Json,
            (explain, _) => Style::Explained(explain, lang, colour),
        };
        // Nobody is left to be told that standard error is closed.
        let _: io::Result<()> = log::write(style, &reader, stderr);
    })?;
    let served = serve(config, events, signals).map(|()| Exit::Success);
    Ok(log.end(served.map_err(|failure| said(failure, cli.lang()))))
}

/// A failure in the language that is asked for.
fn said(failure: Failure, lang: Lang) -> Failure {
    let phrases = Phrases::of(lang.resolve(|name| std::env::var_os(name)));
    Failure::new(failure.exit, anyhow!(phrases.say(&failure.to_string())))
}

/// Starts in an order in which a failure leaves nothing behind and nothing of others changed: what
/// is bound, then files, then threads; only then is it said that the server is ready. Signals are heard
/// before all of it, or one that comes too soon would leave behind what there is by then.
fn serve(config: Config, events: Events, signals: Signals) -> Result<(), Failure> {
    let shutdown = Shutdown::new();
    let tell_stats = Arc::new(OnceLock::new());
    let interrupted = signals::hear(signals, &shutdown, tell_stats.clone())?;
    let mut server = Server::bind_with(config.clone(), events)?;
    server.confine();
    // Nobody else has set it.
    let _ = tell_stats.set(server.stats_teller());
    let lines = server.ready_lines();
    let mut ready_file = ReadyFile::draft(&config, &lines)?;
    fixture::stop_by_itself(&config, &shutdown)?;
    let fail = |shutdown: &Shutdown| {
        shutdown.request_for(Stop::Failed);
        shutdown.request_immediate();
    };
    let ((go, ready), (printed, outcome)) = (channel(), channel());
    let stops = shutdown.clone();
    // Whoever does not read them must not keep the server from hearing that it should stop.
    let print_lines = move || {
        if ready.recv().is_err() {
            return;
        }
        let outcome = print(&lines);
        if outcome.is_err() {
            fail(&stops);
        }
        // The end may have come before.
        let _ = printed.send(outcome);
    };
    thread::start("ready", print_lines)?;
    let running = server.start(&shutdown)?;
    let published = ready_file.publish();
    match published {
        Ok(()) => {
            running.notify();
            // It has not ended before it was told.
            let _ = go.send(());
        }
        Err(_) => fail(&shutdown),
    }
    shutdown.wait();
    drop(ready_file);
    let served = running.join();
    published?;
    let printed = outcome.recv_timeout(LAST_WORDS);
    printed.unwrap_or(Ok(Exit::Success))?;
    served?;
    interrupted.verdict()?;
    fixture::verdict(&config, shutdown.why())
}

/// Prints a result. A reader that has gone away is no error; a full disk is.
fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = Patient(io::stdout());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::bad(anyhow!(
            "cannot write to standard output: {}; redirect it to a place that takes it",
            cause(&error)
        ))),
        _ => Ok(Exit::Success),
    }
}
