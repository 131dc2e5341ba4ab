//! What a program does while something fails, and what must be true of its end whatever failed.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Arena;
use super::victim::{Victim, framed};
use crate::proc;
use crate::process::{self, Finished, Process};
use crate::random::Random;
use crate::server::{Refused, Server};
use crate::traffic::{self, Differs, LIMIT, Pace};

/// Work for a program.
pub struct Plan {
    program: Program,
    /// Words between spaces. TARGET, STAMP and HEALTHY are where a server in good health is, DIR is the
    /// trial's own directory.
    args: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Server,
    Client,
}

use Program::{Client, Server as Echo};

/// Everything that both programs do.
pub const PLANS: &[Plan] = &[
    plan(Echo, "--workers=1"),
    plan(
        Echo,
        "--workers=1 --framing=lines --log=json --listen=unix:DIR/socket --record=DIR/record --ready-file=DIR/ready",
    ),
    plan(
        Echo,
        "--workers=2 --explain --listen=stamp://127.0.0.1:0 --metrics=127.0.0.1:0 --control=DIR/control --fault=split=700,tcp",
    ),
    plan(Client, "-m Hello TARGET"),
    plan(Client, "-u -m Hello TARGET"),
    plan(Client, "-m Hello unix:HEALTHY"),
    plan(Client, "--raw --file DIR/file TARGET"),
    plan(Client, "ping -c5 -i5ms --json TARGET"),
    plan(Client, "ping -u -c5 -i5ms --jsonl TARGET"),
    plan(Client, "ping --stamp -c5 -i5ms --json STAMP"),
    plan(
        Client,
        "bench -d200ms --warmup=0 -P4 --depth=4 --threads=2 --json --report=DIR/report --hdr=DIR/hdr TARGET",
    ),
    plan(Client, "bench -u -d200ms --warmup=0 -r500 --json TARGET"),
    plan(
        Client,
        "bench --control --rounds=2 -d50ms --warmup=0 --json TARGET",
    ),
    plan(Client, "merge --json --report=DIR/report DIR/one DIR/other"),
    plan(Client, "compare DIR/one DIR/other"),
    plan(
        Client,
        "mesh --targets=file:DIR/targets --self=127.0.0.9:1 -i100ms -W50ms --jsonl",
    ),
    plan(Client, "diagnose --json TARGET"),
];

const fn plan(program: Program, args: &'static str) -> Plan {
    Plan { program, args }
}

/// How a program ended that did all it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// As without the failure.
    Overcome,
    /// It said why not, with this exit code.
    Told(i32),
    /// It never met the failure.
    Untouched,
}

/// How long a failure goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// It is over soon: nothing may be left of it.
    Once,
    /// It stays: the program may do nothing, but not at any price.
    ForEver,
}

/// What a client is told to keep to, and how much later a program may end at the most.
const DEADLINE: &str = "-w3s";
const PATIENCE: Duration = Duration::from_secs(10);

/// CPU time after which the system ends a program: far more than a plan takes.
const CPU: &str = "prlimit --cpu=4";

/// The CPU that a server may use in a while of waiting.
const WHILE: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(100);

/// Where trials run, one after another.
pub struct Ground<'a> {
    arena: &'a Arena,
    dir: PathBuf,
    healthy: &'a Victim,
    /// What is in DIR/file.
    content: Vec<u8>,
    /// Two saved runs, DIR/one and DIR/other.
    runs: Vec<Vec<u8>>,
}

impl<'a> Ground<'a> {
    /// The `n`th of several, whose clients talk to `healthy`.
    pub fn new(arena: &'a Arena, n: usize, healthy: &'a Victim) -> Result<Self> {
        let dir = arena.dir.path(&format!("ground-{n}"));
        fs::create_dir_all(&dir)?;
        let run = |_| {
            let mut ping = arena.programs.command("echo-client")?;
            ping.args(["ping", "-c9", "-i1ms", "--json"]);
            process::run(ping.arg(healthy.tcp.to_string()), LIMIT)?.success()
        };
        Ok(Ground {
            arena,
            dir,
            healthy,
            content: Random::new(0).bytes(300_000),
            runs: (0..2).map(run).collect::<Result<_>>()?,
        })
    }

    /// A path beside those that a program uses.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Plan {
    /// Whether it reads documents and waits for whoever reads what it prints, as `cat` does.
    pub fn is_filter(&self) -> bool {
        self.program == Client
            && ["merge ", "compare "]
                .iter()
                .any(|mode| self.args.starts_with(mode))
    }

    /// Whether it is the server's.
    pub fn is_server(&self) -> bool {
        self.program == Echo
    }

    /// For people.
    pub fn name(&self) -> String {
        let program = match self.program {
            Echo => "echo-server",
            Client => "echo-client",
        };
        format!("{program} {}", self.args)
    }

    /// Whether it takes as long as a client is told to take at most.
    pub fn takes_long(&self) -> bool {
        self.args.starts_with("diagnose")
    }

    /// Whether it goes on until a signal asks it to stop, which those calls deliver.
    pub fn is_asked_to_stop(&self) -> bool {
        self.args.starts_with("mesh")
    }

    /// Does the work behind `wrapper`, and judges.
    pub fn play(&self, ground: &Ground, wrapper: &str, lasting: Lasting) -> Result<End> {
        let dir = ground.path("files");
        // The trial before this one may have been killed.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir)?;
        // Some run as somebody else.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        fs::write(dir.join("file"), &ground.content)?;
        fs::write(dir.join("one"), &ground.runs[0])?;
        fs::write(dir.join("other"), &ground.runs[1])?;
        let healthy = ground.healthy;
        let targets = format!("[{{\"targets\":[\"{}\"]}}]", healthy.tcp);
        fs::write(dir.join("targets"), targets)?;
        let in_dir = |words: &str| words.replace("DIR", &dir.display().to_string());
        let args = in_dir(self.args)
            .replace("TARGET", &healthy.tcp.to_string())
            .replace("STAMP", &healthy.server.ipv4("stamp")?.to_string())
            .replace(
                "HEALTHY",
                &ground.arena.dir.path("healthy").display().to_string(),
            );
        let args: Vec<&str> = args.split(' ').collect();
        let wrapper = in_dir(&format!("{CPU} {wrapper}"));
        match (self.program, lasting) {
            (Echo, Lasting::Once) => serve(ground, &wrapper, &args),
            (Echo, Lasting::ForEver) => stand(ground, &wrapper, &args),
            (Client, _) => ask(ground, &wrapper, &args),
        }
    }
}

fn server(ground: &Ground, wrapper: &str, args: &[&str]) -> Result<Command> {
    let mut command = ground.arena.programs.wrapped(wrapper, "echo-server")?;
    command
        .args(["--listen=127.0.0.1:0", "--drain=1s"])
        .args(args);
    Ok(command)
}

/// A server that meets a failure, and then must be as if it had met none.
fn serve(ground: &Ground, wrapper: &str, args: &[&str]) -> Result<End> {
    let victim = match Victim::start(&mut server(ground, wrapper, args)?) {
        Ok(victim) => victim,
        Err(error) => return judge(&error.downcast::<Refused>()?.0, wrapper),
    };
    let echoed = echo_after(ground, &victim, args);
    let end = judge(&victim.end()?, wrapper)?;
    // It may have given up, for a reason that it told.
    if !matches!(end, End::Told(_)) {
        echoed?;
    }
    Ok(end)
}

/// Checks that the failure costs no more than the connection that it strikes.
fn echo_after(ground: &Ground, victim: &Victim, args: &[&str]) -> Result<()> {
    let mut random = Random::new(1);
    for len in [1, 60_000, 2_000_000, 500] {
        // Whether all of it comes back is open while calls fail; that no other byte does is not.
        traffic::exchange(victim.tcp, &framed(&mut random, args, len))?;
        let datagram = random.bytes(len % 1400);
        traffic::ask(victim.udp, &datagram, Duration::from_millis(20))?;
    }
    knock(ground, &victim.server, args)?;
    let message = framed(&mut random, args, 300_000);
    // The failure may strike as late as here, but not twice.
    let last = match traffic::exchange(victim.tcp, &message)? {
        last if last.whole => last,
        _ => traffic::exchange(victim.tcp, &message)?,
    };
    let (back, sent) = (last.back, message.len());
    ensure!(
        last.whole,
        "after the failure {back} of {sent} bytes came back"
    );
    let balanced = victim.balances(8 << 10);
    balanced.or_else(|_| victim.balances(8 << 10))
}

/// A server whose failure lasts: no byte is wrong, it does not work for nothing, and it ends.
fn stand(ground: &Ground, wrapper: &str, args: &[&str]) -> Result<End> {
    let process = Process::start(&mut server(ground, wrapper, args)?)?;
    let deadline = Instant::now() + LIMIT;
    while proc::catches(process.id(), Signal::SIGTERM) == Some(false) {
        ensure!(
            Instant::now() < deadline,
            "it does not start within {LIMIT:?}"
        );
        thread::sleep(Duration::from_millis(5));
    }
    // It may be unable to say that it is ready.
    let process = match Server::await_ready(process, Duration::from_secs(1)) {
        Ok(server) => {
            talk(&server, args)?;
            knock(ground, &server, args)?;
            server.process
        }
        Err((process, _)) => process,
    };
    let id = process.id();
    if let Ok(before) = proc::cpu(id) {
        thread::sleep(WHILE);
        let used = proc::cpu(id).map_or(Duration::ZERO, |cpu| cpu - before);
        ensure!(
            used <= IDLE,
            "it used {used:?} of CPU in {WHILE:?} of waiting"
        );
    }
    process.signal(Signal::SIGTERM)?;
    judge(&process.wait(PATIENCE)?, wrapper)
}

/// Says something, and checks that nothing else comes back.
fn talk(server: &Server, args: &[&str]) -> Result<()> {
    let (tcp, udp) = (server.ipv4("tcp")?, server.ipv4("udp")?);
    let mut random = Random::new(1);
    let pace = Pace {
        patience: Duration::from_millis(100),
        ..Pace::default()
    };
    for len in [1, 500, 100_000] {
        match traffic::exchange_at(tcp, &framed(&mut random, args, len), pace) {
            Err(error) if error.is::<Differs>() => return Err(error),
            _ => {}
        }
        let datagram = random.bytes(len % 1400);
        traffic::ask(udp, &datagram, Duration::from_millis(10))?;
    }
    Ok(())
}

/// Asks a server at its other doors, where it has them; whether they answer is open while calls fail.
fn knock(ground: &Ground, server: &Server, args: &[&str]) -> Result<()> {
    if let Ok(stamp) = server.ipv4("stamp") {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.send_to(&[0; 44], stamp)?;
    }
    if let Ok(metrics) = server.ipv4("metrics")
        && let Ok(mut stream) = traffic::connect(metrics)
    {
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    if let Some(path) = args.iter().find_map(|arg| arg.strip_prefix("--control=")) {
        let mut control = ground.arena.programs.command("echo-server")?;
        control.args(["control", &format!("unix:{path}"), "stats"]);
        // A server that cannot answer leaves its client to its own limit.
        process::run(&mut control, LIMIT)?;
    }
    Ok(())
}

/// A client: what it prints is true, whatever it says.
fn ask(ground: &Ground, wrapper: &str, args: &[&str]) -> Result<End> {
    // One that goes on until it is asked to stop is asked.
    let (ask, limit) = match args[0] {
        "mesh" => ("timeout --preserve-status -sTERM 0.7", None),
        "merge" | "compare" => ("", None),
        _ => ("", Some(DEADLINE)),
    };
    let wrapper = &format!("{ask} {wrapper}");
    let mut command = ground.arena.programs.wrapped(wrapper, "echo-client")?;
    let finished = process::run(command.args(args).args(limit), PATIENCE)?;
    let end = judge(&finished, wrapper)?;
    let stdout = &finished.stdout;
    // Nobody takes what it prints, which is no failure.
    if wrapper.contains(" closed 1") || wrapper.contains("error=EPIPE") {
        return Ok(end);
    }
    if args.contains(&"--raw") {
        let is_whole = *stdout == ground.content;
        let right = ground.content.starts_with(stdout) && (end != End::Overcome || is_whole);
        ensure!(
            right,
            "{} bytes on stdout are not those of the file",
            stdout.len()
        );
    } else if end == End::Overcome {
        let text = String::from_utf8_lossy(stdout);
        match args[0] {
            "ping" | "bench" | "merge" => books(&text)?,
            "mesh" | "compare" | "diagnose" => ensure!(!text.is_empty(), "it printed nothing"),
            _ => ensure!(text == "Received: \"Hello\"\n", "it printed {text:?}"),
        }
    }
    Ok(end)
}

/// Checks the document at the end of `text`: each request is accounted for.
fn books(text: &str) -> Result<()> {
    let all = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let last = all.last().context("it printed nothing")??;
    let document = last
        .get("report")
        .or_else(|| last["targets"].get(0))
        .unwrap_or(&last);
    let count = |key: &str| {
        let count = document[key].as_u64();
        count.with_context(|| format!("its document has no {key}"))
    };
    let (sent, unique, lost) = (count("sent")?, count("unique")?, count("lost")?);
    ensure!(
        sent > 0 && sent == unique + lost,
        "{sent} were sent, {unique} came back and {lost} are lost"
    );
    Ok(())
}

/// What every end must be: in order, in words, and with the exit code for it.
pub fn judge(finished: &Finished, wrapper: &str) -> Result<End> {
    let Finished {
        status,
        stdout,
        stderr,
    } = finished;
    let in_words = !stderr.contains("panicked") && !stderr.contains("(os error");
    // Who cannot write cannot tell.
    let is_silent = stderr.is_empty() && stdout.is_empty() && !wrapper.contains("trace=write");
    // The failure met the pair of sockets that tells of signals, which cannot fail like this.
    if stderr.contains("/signal-hook-") {
        return Ok(End::Untouched);
    }
    match status.code() {
        Some(0) if in_words => Ok(End::Overcome),
        Some(code @ 1..=3) if in_words && !is_silent => Ok(End::Told(code)),
        // The failure met the system's loader, before there was a program.
        Some(127) if stderr.contains("loading shared libraries") => Ok(End::Untouched),
        _ => bail!("{status}; its stderr:\n{stderr}"),
    }
}
