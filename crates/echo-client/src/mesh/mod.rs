//! `mesh`: one agent a machine, which watches the paths to many others for a monitor that asks.

mod agent;
mod books;
mod discovery;
mod metrics;
mod ring;
mod settings;
mod targets;

use std::io;
use std::net::TcpListener;
use std::sync::mpsc::channel;

use anyhow::anyhow;
use echo_core::escape::printable;
use echo_core::units::Timespan;
use echo_core::{Endpoint, Exit, Failure, Zoned, cause};
use echo_metrics::monitors;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::connection::Connect;
use crate::engine::Plan;
use crate::engine::wait::Wait;
use crate::interrupt::{Hangup, Interrupt};
use crate::measure::{Form, Lines, Style};
use crate::{output, thread};
use agent::Agent;
use books::Books;
use discovery::{Lists, keep_looking};
use ring::Ring;

pub use settings::{Mesh, Own, Source};

/// Bytes of a probe: as `ping` sends.
const SIZE: usize = 56;

/// Watches peers until it is asked to stop.
///
/// # Errors
/// A list cannot be had at the start (2; of a name, and for a plan, 3), or its monitors cannot be answered (1).
pub fn run(mut mesh: Mesh) -> Result<(), Failure> {
    mesh.check().map_err(Failure::usage)?;
    mesh.transport.sort_unstable();
    mesh.transport.dedup();
    let lists = Lists::read(&mesh.targets);
    let mut lists = lists.map_err(|error| Failure::usage(anyhow!(error)))?;
    if mesh.plan {
        if lists.look(false, drop) > 0 {
            return Err(Failure::new(Exit::Unreachable, output::Told));
        }
        return print_plan(&mesh, &lists);
    }
    let interrupt = Interrupt::install(Timespan::default(), Hangup::Asks)?;
    // Each path has a socket. What a limit leaves out fails, and is told of each probe.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _: nix::Result<()> = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let style = Style {
        form: Form::Events,
        ..Style::default()
    };
    let lines = mesh.jsonl.then(|| Lines::start(style)).transpose()?;
    let books = Books::new(&mesh.transport);
    // A name that stands for its addresses is yet to be looked up.
    if (mesh.targets.iter()).all(|source| matches!(source, Source::File(_))) {
        books.open().looked(lists.known().len(), 0);
    }
    let listener = mesh.metrics.as_ref().map(listen).transpose()?;
    let ready = ready_lines(listener.as_ref(), mesh.jsonl);
    let listeners = listener.into_iter().collect();
    let monitors = monitors(listeners, books.clone());
    let (monitors, answering) = monitors.map_err(|error| no_files(&error))?;
    thread::start("metrics", answering)?;
    let wait = Wait::new().map_err(|error| no_files(&error))?;
    let (sender, list) = channel();
    let looking = (
        mesh.clone(),
        books.clone(),
        wait.waker.clone(),
        interrupt.clone(),
    );
    // Not waited for at the end: a name may take long to resolve.
    thread::start("discovery", move || {
        let (mesh, books, waker, interrupt) = looking;
        keep_looking(&mesh, lists, &books, &sender, &waker, &interrupt);
    })?;
    output::line(ready)?;
    let plan = Plan {
        size: SIZE,
        // The agent has books of its own.
        warmup: std::time::Duration::MAX,
        ..Plan::new(Connect {
            timeout: mesh.timeout,
            // The system is to stamp datagrams as they come; to have each stamped as it leaves costs a
            // quarter more.
            udp: true,
            ..Connect::default()
        })
    };
    let (sink, events) = channel();
    let agent = Agent::new(
        (&mesh, &plan, &books),
        (&sink, events),
        wait,
        lines.as_ref(),
    );
    let probed = agent.run(&list, &interrupt);
    books.open().is_closed = true;
    let finished = lines.map_or(Ok(()), Lines::finish);
    interrupt.end();
    drop(monitors);
    finished?;
    probed.map_err(|error| no_files(&error))?;
    let summary = books.open().summary();
    match mesh.jsonl {
        true => output::line(json!({"event": "summary", "figures": summary})),
        false => output::line(summary),
    }
}

/// Prints who watches whom.
fn print_plan(mesh: &Mesh, lists: &Lists) -> Result<(), Failure> {
    let known = lists.known();
    let ring = Ring::new(known.keys().map(|name| &**name));
    let mut text = String::new();
    for name in known.keys() {
        for peer in ring.after(name, mesh.peers) {
            text += &format!("{} {}\n", printable(name), printable(peer));
        }
    }
    output::bytes(text.as_bytes())
}

fn listen(address: &(String, u16)) -> Result<TcpListener, Failure> {
    let (host, port) = address;
    let listener = TcpListener::bind((&**host, *port));
    let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|error| {
        Failure::bad(anyhow!(
            "cannot listen on tcp {}: {}; give another address with --metrics",
            Endpoint::inet(None, host, *port),
            cause(&error)
        ))
    })
}

/// What says where monitors are answered, and that all is ready.
fn ready_lines(listener: Option<&TcpListener>, jsonl: bool) -> String {
    let address = listener.and_then(|listener| listener.local_addr().ok());
    let address = address.map(|address| Zoned(address).to_string());
    let listening = address.map(|at| match jsonl {
        true => format!("{}\n", json!({"event": "listening", "metrics": at})),
        false => format!("listening metrics {at}\n"),
    });
    let ready = match jsonl {
        true => json!({"event": "ready"}).to_string(),
        false => "ready".to_owned(),
    };
    listening.unwrap_or_default() + &ready
}

fn no_files(error: &io::Error) -> Failure {
    Failure::bad(anyhow!(
        "cannot watch anybody: {}; raise the limit of open files (ulimit -n)",
        cause(error)
    ))
}
