//! System calls that fail: one after another, with every error that the system may give.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::random::Random;
use super::victim::{self, LIMIT, Victim};
use super::{Arena, Outcome, traffic};
use crate::process;

/// A call of the running server, and how it may fail.
struct Fault {
    call: &'static str,
    errors: &'static [&'static str],
    args: &'static [&'static str],
}

/// How often in a row each failure strikes.
const STRIKES: u64 = 6;

// One worker makes all calls that count, since each thread's are counted apart.
const RAW: &[&str] = &["--workers=1"];
const LINES: &[&str] = &["--workers=1", "--framing=lines"];
const LENGTH: &[&str] = &["--workers=1", "--framing=length"];
const TWO: &[&str] = &["--workers=2"];

/// What a server that serves may meet.
const SERVING: &[Fault] = &[
    Fault {
        call: "accept4",
        errors: &[
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "ECONNABORTED",
            "EPROTO",
            "EPERM",
            "EINTR",
            "ENETDOWN",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "ENOPROTOOPT",
        ],
        args: TWO,
    },
    Fault {
        call: "recvfrom",
        errors: &[
            "EINTR",
            "ECONNRESET",
            "ETIMEDOUT",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "ENOMEM",
        ],
        args: RAW,
    },
    Fault {
        call: "recvfrom",
        errors: &["EINTR", "ECONNRESET", "ENOMEM"],
        args: LINES,
    },
    Fault {
        call: "recvfrom",
        errors: &["EINTR", "ETIMEDOUT"],
        args: LENGTH,
    },
    Fault {
        call: "sendto",
        errors: &[
            "EINTR",
            "ECONNRESET",
            "EPIPE",
            "ENOBUFS",
            "ENOMEM",
            "ETIMEDOUT",
            "EHOSTUNREACH",
        ],
        args: RAW,
    },
    Fault {
        call: "sendto",
        errors: &["EINTR", "EPIPE", "ENOMEM"],
        args: LINES,
    },
    Fault {
        call: "sendto",
        errors: &["EINTR", "ECONNRESET"],
        args: LENGTH,
    },
    Fault {
        call: "recvmmsg",
        errors: &[
            "EINTR",
            "ECONNREFUSED",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "ENOMEM",
            "ENOBUFS",
            "EPERM",
        ],
        args: RAW,
    },
    Fault {
        call: "sendmsg",
        errors: &[
            "EINTR",
            "EPERM",
            "ENOBUFS",
            "ENOMEM",
            "ECONNREFUSED",
            "EHOSTUNREACH",
            "ENETUNREACH",
            "ENETDOWN",
            "EMSGSIZE",
            "EIO",
            "EINVAL",
            "EACCES",
        ],
        args: RAW,
    },
    Fault {
        call: "splice",
        errors: &["EINTR", "EINVAL", "ENOMEM", "ECONNRESET", "EPIPE"],
        args: RAW,
    },
    Fault {
        call: "pipe2",
        errors: &["EMFILE", "ENFILE", "ENOMEM"],
        args: RAW,
    },
    Fault {
        call: "epoll_ctl",
        errors: &["ENOMEM", "ENOSPC"],
        args: RAW,
    },
    Fault {
        call: "epoll_wait",
        errors: &["EINTR"],
        args: TWO,
    },
    Fault {
        call: "getsockname",
        errors: &["ENOBUFS"],
        args: RAW,
    },
    Fault {
        call: "fcntl",
        errors: &["EPERM", "EBUSY", "ENOMEM"],
        args: RAW,
    },
];

/// What a server that starts may meet, at the first such call, the second, and so on.
const STARTING: &[(&str, &str)] = &[
    ("socket", "EMFILE"),
    ("socket", "EACCES"),
    ("socket", "ENOBUFS"),
    ("bind", "EADDRINUSE"),
    ("bind", "EACCES"),
    ("bind", "EADDRNOTAVAIL"),
    ("listen", "EADDRINUSE"),
    ("setsockopt", "ENOBUFS"),
    ("setsockopt", "ENOPROTOOPT"),
    ("epoll_create1", "EMFILE"),
    ("epoll_create1", "ENOMEM"),
    ("eventfd2", "EMFILE"),
    ("epoll_ctl", "ENOSPC"),
    ("socketpair", "EMFILE"),
    ("prlimit64", "EPERM"),
    ("clone3", "EAGAIN"),
    ("getsockname", "ENOBUFS"),
    ("fcntl", "EPERM"),
];

/// More calls of one kind than a start takes, and the first connections after it.
const MANY: u64 = 50;

/// Strikes a serving server with each failure.
pub fn serving(arena: &mut Arena) -> Result<Outcome> {
    if let Some(why) = cannot_inject(arena) {
        return Ok(Outcome::Skipped(why));
    }
    let (mut faults, mut specs) = (0, 0);
    for fault in SERVING {
        for error in fault.errors {
            // Each thread's calls are counted apart. The first ones are spared: those that start
            // the server are another step's, and a signal is sent through a pair of sockets that
            // cannot fail like this.
            let spared = match fault.call {
                "recvfrom" | "sendto" => 6,
                "epoll_ctl" | "fcntl" | "getsockname" => 10,
                _ => 0,
            };
            let first = 1 + spared + arena.random.below(4);
            let spec = format!(
                "{}:error={error}:when={first}..{}",
                fault.call,
                first + STRIKES - 1
            );
            let struck = strike(arena, &spec, fault.args).with_context(|| spec.clone())?;
            ensure!(struck > 0, "{spec}: the server made no such call");
            faults += struck;
            specs += 1;
        }
    }
    arena.tally.faults += faults;
    Ok(Outcome::Held(format!(
        "{faults} system calls failed in {specs} ways, and nothing but the connection at hand"
    )))
}

/// Strikes a starting server: it serves all the same, or says why not and ends.
pub fn starting(arena: &mut Arena) -> Result<Outcome> {
    if let Some(why) = cannot_inject(arena) {
        return Ok(Outcome::Skipped(why));
    }
    let (mut served, mut refused) = (0, 0);
    for (call, error) in STARTING {
        for nth in 1..=MANY {
            let spec = format!("{call}:error={error}:when={nth}");
            match start(arena, &spec).with_context(|| spec.clone())? {
                Start::Served => served += 1,
                Start::Refused => refused += 1,
                Start::Untouched => {
                    ensure!(nth > 1, "{spec}: the server made no such call");
                    break;
                }
            }
        }
    }
    arena.tally.faults += served + refused;
    Ok(Outcome::Held(format!(
        "{} failures while starting: {refused} told and exit code 1, {served} overcome",
        served + refused
    )))
}

fn cannot_inject(arena: &Arena) -> Option<String> {
    let path = arena.path("probe");
    let probe = format!(
        "strace -D -f --seccomp-bpf -o {} -e inject=getppid:error=EPERM true",
        path.display()
    );
    let words: Vec<&str> = probe.split(' ').collect();
    let mut command = std::process::Command::new(words[0]);
    match process::run(command.args(&words[1..]), LIMIT) {
        Ok(finished) if finished.status.success() => None,
        _ => Some("strace is missing, or may not trace here".to_owned()),
    }
}

/// The server's command, under a tracer that is no parent of it.
fn traced(arena: &Arena, spec: &str, args: &[&str]) -> std::process::Command {
    let log = arena.path("strace");
    // Only the calls that are to fail are stopped at.
    let call = spec.split(':').next().unwrap_or_default();
    let wrapper = format!(
        "strace -D -f --seccomp-bpf -o {} -e trace={call} -e inject={spec}",
        log.display()
    );
    let mut all = vec!["--listen=127.0.0.1:0"];
    all.extend(args);
    victim::command(&arena.server, &wrapper, &all)
}

/// How many calls have failed by injection.
fn injected(arena: &Arena) -> Result<u64> {
    let log = fs::read_to_string(arena.path("strace"))?;
    Ok(log.matches("(INJECTED)").count() as u64)
}

/// Serves under one kind of failure until it has passed, and checks that nothing is left of it.
fn strike(arena: &mut Arena, spec: &str, args: &[&str]) -> Result<u64> {
    let victim = Victim::start(&mut traced(arena, spec, args))?;
    let mut random = arena.random.part(1);
    // A call that the server makes seldom does not fail that often.
    for round in 0..40 {
        let len = [1, 500, 60_000, 4_000_000][round % 4];
        let message = framed(&mut random, args, len);
        // Whether all of it comes back is open while calls fail; that no other byte does is not.
        let exchange = traffic::exchange(victim.tcp, &message)?;
        arena.tally.connections += 1;
        arena.tally.bytes += exchange.back as u64;
        let datagram = random.bytes(len % 1400);
        traffic::ask(victim.udp, &datagram, Duration::from_millis(20))?;
        arena.tally.datagrams += 1;
        if round >= 8 && injected(arena)? >= STRIKES {
            break;
        }
    }
    let message = framed(&mut random, args, 300_000);
    let last = traffic::exchange(victim.tcp, &message)?;
    ensure!(
        last.whole,
        "after the last failure {} of {} bytes came back",
        last.back,
        message.len()
    );
    victim.balances(8 << 10)?;
    victim.stop()?;
    injected(arena)
}

/// A message of about `len` bytes that is complete in the server's framing.
pub fn framed(random: &mut Random, args: &[&str], len: usize) -> Vec<u8> {
    let mut bytes = random.bytes(len);
    if args.contains(&"--framing=lines") {
        bytes.push(b'\n');
    } else if args.contains(&"--framing=length") {
        let mut frames = Vec::new();
        for payload in bytes.chunks(700_000) {
            let header = u32::try_from(payload.len()).expect("a short one");
            frames.extend_from_slice(&header.to_be_bytes());
            frames.extend_from_slice(payload);
        }
        return frames;
    }
    bytes
}

/// What became of a start.
enum Start {
    /// It serves in spite of the failure.
    Served,
    /// It said why not, and ended.
    Refused,
    /// It made fewer such calls.
    Untouched,
}

fn start(arena: &Arena, spec: &str) -> Result<Start> {
    if let Ok(victim) = Victim::start(&mut traced(arena, spec, TWO)) {
        victim.balances(8 << 10)?;
        victim.stop()?;
        return Ok(match injected(arena)? {
            0 => Start::Untouched,
            _ => Start::Served,
        });
    }
    // Once more, to see how it ends by itself.
    let finished = process::run(&mut traced(arena, spec, TWO), LIMIT)?;
    let stderr = &finished.stderr;
    ensure!(
        finished.status.code() == Some(1),
        "{}; its stderr:\n{stderr}",
        finished.status
    );
    let told = stderr.contains("echo-server: ") && !stderr.contains("panicked");
    ensure!(told, "its stderr:\n{stderr}");
    Ok(Start::Refused)
}
