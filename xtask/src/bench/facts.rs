//! What is no ratio of two servers: what the server costs while nothing happens, how it shares
//! connections among workers, what the system drops of a burst while it cannot look, and what time stamps
//! of the kernel leave out beside a busy core.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hint::spin_loop;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result};
use echo_core::statistics::figure;
use echo_explain::netstat;
use rustix::process::Signal;

use super::contender::Running;
use super::lab::Lab;
use super::report::Fact;
use crate::proc;
use crate::server::Server;
use crate::traffic;

/// What `ps` and `top` count CPU time in.
const TICK: Duration = Duration::from_millis(10);

const LIMIT: Duration = Duration::from_secs(10);

/// Datagrams of a burst, and the bytes of each.
const COUNT: usize = 1000;
const BYTES: usize = 1400;

/// How long the server stands still.
const PAUSE: Duration = Duration::from_millis(100);

/// The buffer that holds the burst with what the system adds to each datagram.
const ENOUGH: u64 = 4 << 20;

/// The share of the 99th percentile that may be left of it.
const AT_MOST: f64 = 0.5;

/// Measures the idle server, and its balance. `quick` takes fewer connections and a shorter time.
pub fn idle(lab: &Lab, quick: bool) -> Result<Vec<Fact>> {
    Ok(vec![
        memory(lab, if quick { 1000 } else { 8000 })?,
        cpu(lab, Duration::from_secs(if quick { 2 } else { 10 }))?,
        balance(lab)?,
    ])
}

fn hold(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count)
        .map(|i| traffic::greet(address).with_context(|| format!("connection {i} of {count}")))
        .collect()
}

fn memory(lab: &Lab, wanted: usize) -> Result<Fact> {
    // Some descriptors are for other things than connections, at both ends.
    let possible = usize::try_from(lab.open_files)?.saturating_sub(100);
    let count = wanted.min(possible);
    let server = lab.start("echo")?;
    let first = traffic::greet(server.address)?;
    let before = proc::private_bytes(server.process.id())?;
    let held = hold(server.address, count)?;
    let grown = proc::private_bytes(server.process.id())?.saturating_sub(before);
    drop((first, held));
    let each = grown as f64 / 1024.0 / count as f64;
    Ok(Fact {
        title: format!("{count} idle connections"),
        measure: "user memory per connection",
        value: format!("{each:.2} KB"),
        target: "at most 0.3 KB".to_owned(),
        pass: each <= 0.3,
    })
}

fn cpu(lab: &Lab, time: Duration) -> Result<Fact> {
    let server = lab.start("echo-told")?;
    let held = hold(server.address, 8)?;
    // The wake-ups of those echoes have ended by then, and whatever they made the server spin.
    thread::sleep(Duration::from_millis(200));
    let id = server.process.id();
    let before = proc::cpu(id)?;
    thread::sleep(time);
    let used = proc::cpu(id)? - before;
    drop(held);
    Ok(Fact {
        title: "idle server, 8 connections held".to_owned(),
        measure: "CPU",
        value: format!("{} us in {time:?}", used.as_micros()),
        target: format!("less than {TICK:?}"),
        pass: used < TICK,
    })
}

fn balance(lab: &Lab) -> Result<Fact> {
    let mut command = lab.programs.command("echo-server")?;
    command.args(["--listen", "tcp://127.0.0.1:0", "--workers", "2", "-q"]);
    let server = Server::start(&mut command, LIMIT)?;
    let id = server.process.id();
    let before = watched(id)?;
    let held = hold(server.ipv4("tcp")?, 8)?;
    let now = watched(id)?.into_iter();
    let earlier = |epoll| before.get(&epoll).copied().unwrap_or(0);
    let more = now.map(|(epoll, now)| now.saturating_sub(earlier(epoll)));
    let mut shares: Vec<usize> = more.filter(|more| *more > 0).collect();
    shares.sort_unstable();
    drop(held);
    server.stop(LIMIT)?;
    let shown: Vec<String> = shares.iter().map(usize::to_string).collect();
    Ok(Fact {
        title: "2 workers, 8 connections".to_owned(),
        measure: "connections per worker",
        value: shown.join(" and "),
        target: "4 and 4".to_owned(),
        pass: shares == [4, 4],
    })
}

/// How many descriptors each of a process's epoll instances watches, as the kernel tells.
fn watched(id: u32) -> Result<BTreeMap<OsString, usize>> {
    let mut watched = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{id}/fdinfo"))? {
        let entry = entry?;
        // One may have been closed since it was listed.
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let count = info.lines().filter(|line| line.starts_with("tfd:")).count();
        watched.insert(entry.file_name(), count);
    }
    Ok(watched)
}

/// Sends the burst to a server a round, one after another, and sums up what they lost.
pub fn burst(lab: &Lab) -> Result<Fact> {
    let lost: u64 = (0..lab.rounds).map(|_| dropped(lab)).sum::<Result<_>>()?;
    let path = "/proc/sys/net/core/rmem_max";
    let granted: u64 = fs::read_to_string(path).context(path)?.trim().parse()?;
    let sent = COUNT * lab.rounds;
    Ok(Fact {
        title: format!("UDP, a burst of {COUNT} x {BYTES} B to a server stopped for {PAUSE:?}"),
        measure: "datagrams lost",
        value: format!(
            "{lost} of {sent}, {} KiB granted to a socket",
            granted >> 10
        ),
        target: "0, of 4096 KiB".to_owned(),
        pass: lost == 0 || granted < ENOUGH,
    })
}

fn dropped(lab: &Lab) -> Result<u64> {
    let server = lab.start("echo")?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server.address)?;
    server.process.signal(Signal::STOP)?;
    for _ in 0..COUNT {
        socket.send(&[0; BYTES])?;
    }
    thread::sleep(PAUSE);
    server.process.signal(Signal::CONT)?;
    // Over loopback each was in the buffer, or counted, when its call returned.
    let row = netstat::find("udp", server.address, None);
    Ok(row.context("the system does not list the server")?.drops)
}

/// Pings a reflector by both in turn, on a core that another thread keeps busy. The far end is a STAMP
/// reflector, which tells how long it held each packet: whatever the server waits for is no part of the
/// figure.
pub fn stamps(lab: &Lab) -> Result<Fact> {
    let (reflector, echo) = (lab.start("reflector")?, lab.start("echo")?);
    let sides = [
        (&reflector, "--stamp", "network_p99_ns"),
        (&echo, "-u", "rtt_p99_ns"),
    ];
    let is_over = Arc::new(AtomicBool::new(false));
    let busy = lab.on_load_core(|| {
        let is_over = is_over.clone();
        Ok(thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                spin_loop();
            }
        }))
    })?;
    let round = |_| {
        sides
            .iter()
            .flat_map(|side| ["kernel", "user"].map(|whose| p99_us(lab, *side, whose)))
            .collect::<Result<Vec<f64>>>()
    };
    let rounds: Result<Vec<Vec<f64>>> = (0..lab.rounds).map(round).collect();
    is_over.store(true, Ordering::Relaxed);
    let _ = busy.join(); // It cannot panic.
    let rounds = rounds?;
    let middle = |of: &dyn Fn(&Vec<f64>) -> f64| {
        let values: Vec<f64> = rounds.iter().map(of).collect();
        figure(&values).unwrap_or(f64::NAN)
    };
    let (kernel, user) = (middle(&|round| round[0]), middle(&|round| round[1]));
    let ratio = middle(&|round| round[0] / round[1]);
    let echoes = middle(&|round| round[2] / round[3]);
    Ok(Fact {
        title: "STAMP, 1000 x 100 B at 500/s beside a busy core".to_owned(),
        measure: "p99 of the network by stamps of the kernel and of the program",
        value: format!("{kernel:.0} us and {user:.0} us: {ratio:.3}x (of echoes {echoes:.2}x)"),
        target: format!("at most {AT_MOST}x"),
        pass: ratio <= AT_MOST,
    })
}

fn p99_us(lab: &Lab, (server, kind, key): (&Running, &str, &str), whose: &str) -> Result<f64> {
    let words =
        format!("echo-client ping {kind} --json -c 1000 -i 2ms --timestamps {whose} TARGET");
    let (report, _) = lab.load(lab.command("", server, &words)?)?;
    let p99 = report[key].as_f64();
    Ok(p99.context("a run without a 99th percentile")? / 1e3)
}
