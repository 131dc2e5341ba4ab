//! What the server costs while nothing happens, and how it shares connections among workers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result};

use super::lab::Lab;
use super::report::Fact;
use crate::proc;
use crate::server::Server;
use crate::traffic;

/// What `ps` and `top` count CPU time in.
const TICK: Duration = Duration::from_millis(10);

const LIMIT: Duration = Duration::from_secs(10);

/// Measures all of them. `quick` takes fewer connections and a shorter time.
pub fn measure(lab: &Lab, quick: bool) -> Result<Vec<Fact>> {
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
