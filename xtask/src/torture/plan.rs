//! What a program does while something fails, and what must be true of its end whatever failed.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::Arena;
use super::victim::{Victim, framed};
use crate::proc;
use crate::process::{self, Finished, Process, until};
use crate::server::{Refused, Server};
use crate::traffic::{self, Differs, LIMIT, Pace};
use echo_core::splitmix::Random;

/// Work for a program, as it is typed. TARGET, STAMP and HEALTHY are where a server in good health is, DIR
/// is the trial's own directory.
#[derive(Clone, Copy)]
pub struct Plan(pub &'static str);

/// Everything that both programs do.
pub const PLANS: &[Plan] = &[
    Plan("echo-server --workers=1"),
    Plan(
        "echo-server --workers=1 --framing=lines --log=json --listen=unix:DIR/socket --record=DIR/record --ready-file=DIR/ready",
    ),
    Plan(
        "echo-server --workers=2 --explain --listen=stamp://127.0.0.1:0 --metrics=127.0.0.1:0 --control=DIR/control --fault=split=700,tcp",
    ),
    Plan("echo-client -m Hello TARGET"),
    Plan("echo-client -u -m Hello TARGET"),
    Plan("echo-client -m Hello unix:HEALTHY"),
    Plan("echo-client --raw --file DIR/file TARGET"),
    Plan("echo-client ping -c5 -i5ms --json TARGET"),
    Plan("echo-client ping -u -c5 -i5ms --jsonl TARGET"),
    Plan("echo-client ping --stamp -c5 -i5ms --json STAMP"),
    Plan(
        "echo-client bench -d200ms --warmup=0 -P4 --depth=4 --threads=2 --json --report=DIR/report --hdr=DIR/hdr TARGET",
    ),
    Plan("echo-client bench -u -d200ms --warmup=0 -r500 --json TARGET"),
    Plan("echo-client bench --control --rounds=2 -d50ms --warmup=0 --json TARGET"),
    Plan("echo-client merge --json --report=DIR/report DIR/one DIR/other"),
    Plan("echo-client compare DIR/one DIR/other"),
    Plan("echo-client mesh --targets=file:DIR/targets --self=127.0.0.9:1 -i100ms -W50ms --jsonl"),
    Plan("echo-client diagnose --json TARGET"),
];

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
        let dir = arena.dir.path(format!("ground-{n}"));
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
            content: Random(0).bytes(300_000),
            runs: (0..2).map(run).collect::<Result<_>>()?,
        })
    }

    /// A path beside those that a program uses.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Plan {
    /// Whether it is the server's.
    pub fn is_server(self) -> bool {
        self.0.starts_with("echo-server ")
    }

    /// The word after the program: what a client is asked to do.
    pub fn mode(self) -> &'static str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    /// Does the work behind `wrapper`, and judges.
    pub fn play(self, ground: &Ground, wrapper: &str, lasting: Lasting) -> Result<End> {
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
        let unix = ground.arena.dir.path("healthy");
        let words = in_dir(self.0)
            .replace("TARGET", &healthy.tcp.to_string())
            .replace("STAMP", &healthy.server.ipv4("stamp")?.to_string())
            .replace("HEALTHY", &unix.display().to_string());
        let words: Vec<&str> = words.split(' ').collect();
        let (before, more): (_, &[_]) = match self.mode() {
            _ if self.is_server() => ("", &["--listen=127.0.0.1:0", "--drain=1s"]),
            // One that goes on until it is asked to stop is asked.
            "mesh" => ("timeout --preserve-status -sTERM 0.7", &[]),
            "merge" | "compare" => ("", &[]),
            _ => ("", &[DEADLINE]),
        };
        let wrapper = &in_dir(&format!("{before} {CPU} {wrapper}"));
        let mut command = ground.arena.programs.wrapped(wrapper, words[0])?;
        command.args(&words[1..]).args(more);
        match lasting {
            _ if !self.is_server() => self.ask(ground, &mut command, wrapper),
            Lasting::Once => serve(ground, &mut command, wrapper, &words),
            Lasting::ForEver => stand(ground, &mut command, wrapper, &words),
        }
    }

    /// A client: what it prints is true, whatever it says.
    fn ask(self, ground: &Ground, command: &mut Command, wrapper: &str) -> Result<End> {
        let finished = process::run(command, PATIENCE)?;
        let end = judge(&finished, wrapper)?;
        let stdout = &finished.stdout;
        // Nobody takes what it prints, which is no failure.
        if wrapper.contains(" closed 1") || wrapper.contains("error=EPIPE") {
            return Ok(end);
        }
        let text = String::from_utf8_lossy(stdout);
        match self.mode() {
            "--raw" => {
                let is_whole = *stdout == ground.content;
                let right =
                    ground.content.starts_with(stdout) && (end != End::Overcome || is_whole);
                let len = stdout.len();
                ensure!(right, "{len} bytes on stdout are not those of the file");
            }
            _ if end != End::Overcome => {}
            "ping" | "bench" | "merge" => books(&text)?,
            "mesh" | "compare" | "diagnose" => ensure!(!text.is_empty(), "it printed nothing"),
            _ => ensure!(text == "Received: \"Hello\"\n", "it printed {text:?}"),
        }
        Ok(end)
    }
}

/// A server that meets a failure, and then must be as if it had met none.
fn serve(ground: &Ground, command: &mut Command, wrapper: &str, args: &[&str]) -> Result<End> {
    let victim = match Victim::start(command) {
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
    talk(ground, &victim.server, args, Lasting::Once)?;
    let message = framed(&mut Random(2), args, 300_000);
    // The failure may strike as late as here, but not twice.
    let last = match traffic::exchange(victim.tcp, &message)? {
        last if last.whole => last,
        _ => traffic::exchange(victim.tcp, &message)?,
    };
    last.all_of(&message).context("after the failure")?;
    let balanced = victim.balances(8 << 10);
    balanced.or_else(|_| victim.balances(8 << 10))
}

/// A server whose failure lasts: no byte is wrong, it does not work for nothing, and it ends.
fn stand(ground: &Ground, command: &mut Command, wrapper: &str, args: &[&str]) -> Result<End> {
    let process = Process::start(command)?;
    let starts = || Ok((proc::holds(process.id(), Signal::TERM) != Some(false)).then_some(()));
    until(LIMIT, starts, || "it does not start".to_owned())?;
    // It may be unable to say that it is ready.
    let process = match Server::await_ready(process, Duration::from_secs(1)) {
        Ok(server) => {
            talk(ground, &server, args, Lasting::ForEver)?;
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
    process.signal(Signal::TERM)?;
    judge(&process.wait(PATIENCE)?, wrapper)
}

/// Says something at each door that a server has, and checks that nothing else comes back. Whether all of
/// it does is open while calls fail.
fn talk(ground: &Ground, server: &Server, args: &[&str], lasting: Lasting) -> Result<()> {
    let (lens, patience): (&[_], _) = match lasting {
        Lasting::Once => (&[1, 60_000, 2_000_000, 500], LIMIT),
        Lasting::ForEver => (&[1, 500, 100_000], Duration::from_millis(100)),
    };
    let (tcp, udp) = (server.ipv4("tcp")?, server.ipv4("udp")?);
    let mut random = Random(1);
    for &len in lens {
        let pace = Pace {
            patience,
            ..Pace::default()
        };
        match traffic::exchange_at(tcp, &framed(&mut random, args, len), pace) {
            Err(error) if lasting == Lasting::Once || error.is::<Differs>() => return Err(error),
            _ => {}
        }
        traffic::ask(udp, &random.bytes(len % 1400), Duration::from_millis(20))?;
    }
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
    match status.code() {
        Some(0) if in_words => Ok(End::Overcome),
        Some(code @ 1..=3) if in_words && !is_silent => Ok(End::Told(code)),
        // The failure met the system's loader, before there was a program.
        Some(127) if stderr.contains("loading shared libraries") => Ok(End::Untouched),
        _ => bail!("{status}; its stderr:\n{stderr}"),
    }
}
