//! `cargo xtask demo --explain`: every socket call of both programs, in order of time, and a picture.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use echo_core::endpoint::DEFAULT_PORT;
use echo_explain::{Lang, SocketKind, Step, Story};
use rustix::process::Signal;

use super::picture;
use super::stage::{LIMIT, Stage};
use super::trace::{Seen, Side, Trace};
use crate::cargo::{root, target};
use crate::terminal::{GOOD, SKIPPED, WIDTH, paint, say};

/// The tutorial's message.
const MESSAGE: &str = "Hello world! This is an echo server made with Rust.";

/// Plays one message over TCP and one over UDP, and explains every call.
pub fn play(stage: &mut Stage, lang: Lang, picture: Option<PathBuf>) -> Result<()> {
    let trace = Trace::new(record(stage)?);
    tell(&trace, lang)?;
    overview(stage, &trace)?;
    let path = match picture {
        Some(path) => path,
        None => target()?.join("demo.svg"),
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
    }
    fs::write(&path, picture::draw(&trace, MESSAGE, lang)?)
        .with_context(|| format!("cannot write the picture {}", path.display()))?;
    let told = format!("The picture of this run: {}", shown(&path));
    say(format!("  {}", stage.say(&told)))?;
    say("")
}

/// Runs both programs and collects what they say of their calls.
fn record(stage: &mut Stage) -> Result<Vec<Seen>> {
    let listen = listen();
    let args = ["--listen", &listen, "--explain=json"];
    stage.types(&format!("echo-server {}", args.join(" ")))?;
    let server = stage.start_server(&args)?;
    let (id, tcp) = (server.process.id(), server.ipv4("tcp")?.to_string());
    let mut seen = client(
        stage,
        &["--explain=json", "--buffer", "16", "-m", MESSAGE, &tcp],
    )?;
    seen.extend(client(
        stage,
        &["--explain=json", "-m", MESSAGE, "-u", &tcp],
    )?);
    server.process.signal(Signal::TERM)?;
    let finished = server.process.wait(LIMIT)?;
    seen.extend(steps(Side::Server, id, &finished.stderr)?);
    Ok(seen)
}

/// The tutorial's port, where it is free.
fn listen() -> String {
    let free = std::net::TcpListener::bind(("127.0.0.1", DEFAULT_PORT)).is_ok()
        && std::net::UdpSocket::bind(("127.0.0.1", DEFAULT_PORT)).is_ok();
    format!("127.0.0.1:{}", if free { DEFAULT_PORT } else { 0 })
}

fn client(stage: &Stage, args: &[&str]) -> Result<Vec<Seen>> {
    stage.types(&format!(
        "echo-client {}",
        args.join(" ").replace(MESSAGE, "'...'")
    ))?;
    let process = stage.start_client(args)?;
    let id = process.id();
    let finished = process.finish(LIMIT)?;
    let echo = format!("Received: \"{MESSAGE}\"\n");
    let stdout = String::from_utf8_lossy(&finished.stdout);
    ensure!(
        stdout == echo,
        "expected {echo:?}, saw {stdout:?}: {}",
        finished.stderr
    );
    steps(Side::Client, id, &finished.stderr)
}

fn steps(side: Side, process: u32, text: &str) -> Result<Vec<Seen>> {
    let step = |line: &str| {
        let step: Step = serde_json::from_str(line)
            .with_context(|| format!("expected a step as JSON, saw {line:?}"))?;
        Ok(Seen {
            side,
            process,
            step,
        })
    };
    text.lines().map(step).collect()
}

/// The steps of both sides, interleaved.
fn tell(trace: &Trace, lang: Lang) -> Result<()> {
    let mut stories = [Side::Server, Side::Client].map(|side| (side, Story::new(lang)));
    let start = trace.rows.first().map_or(0, |seen| seen.step.time_unix_ns);
    say("")?;
    for line in stories[0].1.intro().lines() {
        say(line)?;
    }
    for (number, seen) in (1..).zip(&trace.rows) {
        let story = stories.iter_mut().find(|(side, _)| *side == seen.side);
        let Some((_, story)) = story else { continue };
        let mut telling = story.tell(&seen.step);
        telling.number = number;
        let (name, style) = match seen.side {
            Side::Server => ("echo-server", GOOD),
            Side::Client => ("echo-client", SKIPPED),
        };
        let elapsed = (seen.step.time_unix_ns - start) as f64 / 1e6;
        say("")?;
        let heading = format!("{name} {}, +{elapsed:.2} ms", seen.process);
        say(paint(style, format_args!("┌ {heading}")))?;
        for line in telling.lines(WIDTH - 2, true) {
            say(format!("{} {line}", paint(style, "│")))?;
        }
    }
    Ok(())
}

/// Who talked to whom, and in how many pieces it came.
fn overview(stage: &Stage, trace: &Trace) -> Result<()> {
    say("")?;
    for (index, socket) in trace.sockets.iter().enumerate() {
        let (Side::Client, Some(local), Some(peer)) =
            (socket.side, &socket.known.local, &socket.known.peer)
        else {
            continue;
        };
        let (protocol, unit) = match socket.known.kind {
            SocketKind::Stream => ("TCP", "read"),
            SocketKind::Datagram => ("UDP", "datagram"),
        };
        let came = |to_client: bool| {
            let sizes: Vec<u64> = trace.carried(index, to_client).collect();
            let many = if sizes.len() == 1 { "" } else { "s" };
            let total = sizes.iter().sum::<u64>();
            format!("{total} bytes in {} {unit}{many}", sizes.len())
        };
        say(format!(
            "  {protocol}  echo-server {peer} <-> {local} echo-client"
        ))?;
        let told = format!("there: {}; back: {}", came(false), came(true));
        say(format!("       {}", stage.say(&told)))?;
    }
    say("")
}

/// A path as short as it can be.
fn shown(path: &Path) -> String {
    let short = path.strip_prefix(root()).unwrap_or(path);
    short.display().to_string()
}
