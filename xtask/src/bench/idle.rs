//! What the server costs while nothing happens, and how it shares connections among workers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::contender::Contender;
use super::fact::Fact;
use super::lab::Lab;
use super::meter;
use crate::process::Process;

const LIMIT: Duration = Duration::from_secs(10);

/// Measures all of them. `quick` takes fewer connections and a shorter time.
pub fn measure(lab: &Lab, quick: bool) -> Result<Vec<Fact>> {
    Ok(vec![
        memory(lab, if quick { 1000 } else { 8000 })?,
        cpu(lab, Duration::from_secs(if quick { 2 } else { 10 }))?,
        balance(lab)?,
    ])
}

/// A connection that the server has accepted and served.
fn served(address: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn hold(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    (0..count)
        .map(|i| served(address).with_context(|| format!("connection {i} of {count}")))
        .collect()
}

fn memory(lab: &Lab, wanted: usize) -> Result<Fact> {
    // Some descriptors are for other things than connections, at both ends.
    let possible = usize::try_from(lab.open_files)?.saturating_sub(100);
    let count = wanted.min(possible);
    let server = lab.start(Contender::Echo)?;
    let first = served(server.address)?;
    let before = private_bytes(server.process.id())?;
    let held = hold(server.address, count)?;
    let grown = private_bytes(server.process.id())?.saturating_sub(before);
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

/// Memory that is this process's own: what would be free if it ended.
pub fn private_bytes(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kilobytes = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Ok(private.filter_map(kilobytes).sum::<u64>() * 1024)
}

fn cpu(lab: &Lab, time: Duration) -> Result<Fact> {
    let server = lab.start(Contender::EchoTold)?;
    let held = hold(server.address, 8)?;
    // The wake-ups of those echoes have ended by then, and whatever they made the server spin.
    thread::sleep(Duration::from_millis(200));
    let id = server.process.id();
    let ticks = meter::own_ticks(id)?;
    let exact = meter::cpu(id, meter::Scope::Process)?;
    thread::sleep(time);
    let ticks = meter::own_ticks(id)? - ticks;
    let exact = meter::cpu(id, meter::Scope::Process)? - exact;
    drop(held);
    Ok(Fact {
        title: "idle server, 8 connections held".to_owned(),
        measure: "CPU",
        value: format!("{ticks} ticks ({} us) in {time:?}", exact.as_micros()),
        target: "0 ticks".to_owned(),
        pass: ticks == 0,
    })
}

fn balance(lab: &Lab) -> Result<Fact> {
    let mut command = lab.echo_server()?;
    command.args(["--listen", "tcp://127.0.0.1:0", "--workers", "2", "-q"]);
    let mut process = Process::start(&mut command)?;
    let lines = process.lines_before("ready", LIMIT)?;
    let address = lines
        .first()
        .and_then(|line| line.split(' ').nth(2)?.parse().ok());
    let held = hold(
        address.with_context(|| format!("no address in {lines:?}"))?,
        8,
    )?;
    let mut shares = connections_by_epoll(process.id(), &held)?;
    shares.sort_unstable();
    drop(held);
    process.signal(Signal::SIGTERM)?;
    process.finish(LIMIT)?.success()?;
    let shown: Vec<String> = shares.iter().map(usize::to_string).collect();
    Ok(Fact {
        title: "2 workers, 8 connections".to_owned(),
        measure: "connections per worker",
        value: shown.join(" and "),
        target: "4 and 4".to_owned(),
        pass: shares == [4, 4],
    })
}

/// How many of these connections each of a process's epoll instances watches, as the kernel tells.
fn connections_by_epoll(id: u32, held: &[TcpStream]) -> Result<Vec<usize>> {
    let ends: Vec<SocketAddr> = held
        .iter()
        .map(TcpStream::local_addr)
        .collect::<Result<_, _>>()?;
    let rows = echo_explain::netstat::rows()?.context("no /proc/net")?;
    let theirs: Vec<_> = rows
        .iter()
        .filter(|row| ends.contains(&row.remote))
        .collect();
    let mut sockets = BTreeMap::new();
    let mut epolls = Vec::new();
    for entry in fs::read_dir(format!("/proc/{id}/fd"))?.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let number = entry.file_name().into_string().unwrap_or_default();
        if target == Path::new("anon_inode:[eventpoll]") {
            epolls.push(number);
        } else if theirs.iter().any(|row| row.is_link(&target)) {
            sockets.insert(number, ());
        }
    }
    ensure!(
        sockets.len() == held.len(),
        "the server holds {} of {} connections",
        sockets.len(),
        held.len()
    );
    let mut shares = Vec::new();
    for epoll in epolls {
        let info = fs::read_to_string(format!("/proc/{id}/fdinfo/{epoll}"))?;
        let watched = info
            .lines()
            .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
        let count = watched
            .filter(|number| sockets.contains_key(*number))
            .count();
        if count > 0 {
            shares.push(count);
        }
    }
    Ok(shares)
}
