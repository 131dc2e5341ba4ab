//! The echo server's command.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::anyhow;
use clap::Parser;
use echo_core::{Exit, Failure};
use echo_server::cli::Cli;
use echo_server::event::{Events, Stop};
use echo_server::fixture::{self, ReadyFile};
use echo_server::{Config, Server, Shutdown, log, thread};

/// How long the end waits for a standard error that takes nothing any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often as long it waits for a log that has not come to write, because the machine is busy.
const TURNS: usize = 5;

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(&cli),
        // Help and version are results.
        Err(told) if !told.use_stderr() => print(&told.render().to_string()),
        Err(error) => error.exit(),
    };
    match outcome {
        Ok(()) => Exit::Success.into(),
        Err(failure) => {
            // When standard error is gone too, the exit code still tells.
            let _: io::Result<()> = writeln!(io::stderr(), "echo-server: {failure}");
            failure.exit.into()
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let layers = cli.layers(|name| std::env::var_os(name))?;
    let config: Config = layers.resolve().map_err(Failure::usage)?;
    if cli.print_config {
        return print(&layers.to_string());
    }
    config.check()?;
    let (events, reader) = Events::channel(config.level());
    let (done, written) = channel::<()>();
    let (told, stderr) = (config.clone(), Stderr::default());
    let writing = stderr.writing.clone();
    thread::start("log", move || {
        let _done = done;
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = io::stderr().is_terminal() && !refused;
        // Nobody is left to be told that standard error is closed.
        let _: io::Result<()> = log::write(&told, &reader, stderr, colour);
    })?;
    let outcome = serve(config, events);
    wait_for_last_words(&written, &writing);
    outcome
}

/// Standard error, and whether a write to it is under way.
#[derive(Default)]
struct Stderr {
    writing: Arc<AtomicBool>,
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writing.store(true, Ordering::Relaxed);
        let written = io::stderr().write(bytes);
        self.writing.store(false, Ordering::Relaxed);
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Waits until the log is at its end, which drops the other end of `written`.
fn wait_for_last_words(written: &Receiver<()>, writing: &AtomicBool) {
    for _ in 0..TURNS {
        let waited = written.recv_timeout(LAST_WORDS);
        if waited == Err(RecvTimeoutError::Disconnected) || writing.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn serve(config: Config, events: Events) -> Result<(), Failure> {
    let ready_file = ReadyFile::prepare(&config)?;
    let server = Server::bind_with(config.clone(), events)?;
    let shutdown = stop_on_signals()?;
    let lines = fixture::ready_lines(&server.addresses());
    let running = server.start(&shutdown)?;
    let ready = ready_file
        .write(&lines)
        .and_then(|()| print(&lines))
        .and_then(|()| fixture::stop_by_itself(&config, &shutdown));
    if ready.is_err() {
        shutdown.request_for(Stop::Failed);
        shutdown.request_immediate();
    }
    let outcome = running.join();
    ready?;
    outcome?;
    fixture::verdict(&config, shutdown.why())
}

/// Prints a result. A reader that has gone away is no error; a full disk is.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::bad(anyhow!(
            "cannot write to standard output: {error}; redirect it to a place that takes it"
        ))),
        _ => Ok(()),
    }
}

/// The first SIGINT or SIGTERM asks the server to stop, the second ends it. A terminal that hangs
/// up does neither.
fn stop_on_signals() -> Result<Shutdown, Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let shutdown = Shutdown::new();
    let mut signals =
        signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| {
            Failure::bad(anyhow!(
                "cannot handle signals: {error}; raise the open-file limit (ulimit -n)"
            ))
        })?;
    let heard = shutdown.clone();
    thread::start("signals", move || {
        let asked = signals.forever().filter(|signal| *signal != SIGHUP);
        for (earlier, _) in asked.enumerate() {
            if earlier > 0 {
                std::process::exit(Exit::Interrupted.code().into());
            }
            heard.request_for(Stop::Signal);
        }
    })?;
    Ok(shutdown)
}
