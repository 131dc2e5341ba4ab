//! The story's steps, in order.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use echo_core::Framing;
use echo_explain::netstat::{self, Row};
use rustix::process::Signal;

use super::Step;
use super::stage::{LIMIT, Stage, has_ipv6};
use crate::terminal::Skipped;
use crate::traffic::{self, Exchange};
use echo_core::splitmix::Random;

/// Every step. Those after the first talk to the server that it starts, until the last stops it.
pub const STORY: &[Step] = &[
    ("The server starts", start),
    ("The system lists its sockets", list),
    ("A message over TCP, IPv4", tcp_v4),
    ("A message over TCP, IPv6", tcp_v6),
    ("A message over UDP", udp),
    ("A message over a Unix socket", unix),
    ("One connection, seen from both ends", pair),
    ("Fifty clients at once", fifty),
    ("Ten megabytes, byte for byte", stream),
    ("Where one message ends and the next begins", frames),
    ("The server stops", stop),
];

/// Nothing is run for these rows: they are what the system itself says.
const LISTED_AS: &str = "/proc/net, in the form of netstat -an:";
const NO_LIST: &str = "this system does not list its sockets in /proc/net";

fn proved(what: impl Into<String>) -> Result<String> {
    Ok(what.into())
}

fn skipped(why: &str) -> Result<String> {
    Err(Skipped(why.to_owned()).into())
}

fn start(stage: &mut Stage) -> Result<String> {
    let unix = format!("unix:{}", stage.path("echo.sock").display());
    let mut args = vec!["--listen", "127.0.0.1:0"];
    if has_ipv6() {
        args.extend(["--listen", "[::1]:0"]);
    }
    args.extend(["--listen", &unix]);
    stage.types(&format!("echo-server {}", args.join(" ")))?;
    let server = stage.start_server(&args)?;
    stage.sees(&server.ready_lines())?;
    let (tcp, udp) = (server.ipv4("tcp")?, server.ipv4("udp")?);
    ensure!(
        tcp == udp && tcp.port() != 0,
        "expected one port for TCP and UDP, chosen by the system; saw tcp {tcp} and udp {udp}"
    );
    stage.keep(server);
    proved(format!(
        "It is bound before it says so. Port 0 let the system choose: {}, the same for TCP and UDP.",
        tcp.port()
    ))
}

fn list(stage: &mut Stage) -> Result<String> {
    let Some(rows) = netstat::rows() else {
        return skipped(NO_LIST);
    };
    let server = stage.server()?;
    stage.sees(LISTED_AS)?;
    stage.lists(netstat::HEADER)?;
    let mut listed = 0;
    for (kind, state) in [("tcp", "LISTEN"), ("udp", "")] {
        for address in server.sockets(kind)? {
            let row = find(&rows, kind, state, |row| row.local == address)
                .with_context(|| format!("expected a {kind} row for {address}, saw none"))?;
            ensure!(
                row.is_held_by(server.process.id()),
                "expected the server to hold {address}, and it does not"
            );
            stage.lists(&row.to_string())?;
            listed += 1;
        }
    }
    proved(format!(
        "The system knows {listed} sockets of process {}: TCP ones in the state LISTEN, and UDP ones, \
         which have no connections and so no state.",
        server.process.id()
    ))
}

fn find<'a>(
    rows: &'a [Row],
    kind: &str,
    state: &str,
    is: impl Fn(&Row) -> bool,
) -> Option<&'a Row> {
    rows.iter()
        .find(|row| row.protocol.starts_with(kind) && row.state == state && is(row))
}

fn tcp_v4(stage: &mut Stage) -> Result<String> {
    let target = stage.server()?.ipv4("tcp")?.to_string();
    stage.echo(
        &[&target],
        "Hello world! This is an echo server made with Rust.",
    )?;
    proved("What was sent came back, and the client compared every byte before it said so.")
}

fn tcp_v6(stage: &mut Stage) -> Result<String> {
    let addresses = stage.server()?.sockets("tcp")?;
    let Some(target) = addresses.into_iter().find(SocketAddr::is_ipv6) else {
        return skipped("this machine has no IPv6 loopback address");
    };
    stage.echo(&[&target.to_string(), "-m", "¡Hola! 你好"], "¡Hola! 你好")?;
    proved("The same over IPv6, and text beyond ASCII stays what it is.")
}

fn udp(stage: &mut Stage) -> Result<String> {
    let target = stage.server()?.ipv4("udp")?.to_string();
    stage.echo(&["-u", &target, "-m", "one datagram"], "one datagram")?;
    proved("One datagram out, one back: no connection, and the same port number as TCP's.")
}

fn unix(stage: &mut Stage) -> Result<String> {
    let path = stage.server()?.addresses("unix").next();
    let path = path.context("no ready line names a path")?.to_owned();
    stage.echo(&[&format!("unix:{path}"), "-m", "by path"], "by path")?;
    proved("Between two processes of one machine a path takes the place of IP and port.")
}

fn pair(stage: &mut Stage) -> Result<String> {
    let server = stage.server()?;
    let address = server.ipv4("tcp")?;
    stage.types(&format!("echo-client {address} -m - --raw"))?;
    let mut client = stage.start_client(&[&address.to_string(), "-m", "-", "--raw"])?;
    client.write(b"still here\n")?;
    client.stdout_becomes(b"still here\n", LIMIT)?;
    stage.sees("still here            (its stdin stays open, and so does the connection)")?;

    let Some(rows) = netstat::rows() else {
        return skipped(NO_LIST);
    };
    let end = |process: u32, is: &dyn Fn(&Row) -> bool| {
        find(&rows, "tcp", "ESTABLISHED", |row| {
            is(row) && row.is_held_by(process)
        })
        .with_context(|| format!("expected an ESTABLISHED row of process {process} for {address}"))
    };
    let theirs = end(client.id(), &|row| row.remote == address)?;
    let ours = end(server.process.id(), &|row| {
        row.local == address && row.remote == theirs.local
    })?;
    stage.sees(LISTED_AS)?;
    stage.lists(netstat::HEADER)?;
    stage.lists(&ours.to_string())?;
    stage.lists(&theirs.to_string())?;
    stage.sees(&format!(
        "\n{:^21}       {:^21}\n{:^21} <---> {:^21}",
        "echo-server", "echo-client", ours.local, ours.remote
    ))?;
    let proof = format!(
        "A connection is a pair of sockets: the server's process {} holds one end, the client's \
         process {} the other, and each names both. The system chose the client's port, {}.",
        server.process.id(),
        client.id(),
        theirs.local.port()
    );
    client.finish(LIMIT)?.success()?;
    proved(proof)
}

fn fifty(stage: &mut Stage) -> Result<String> {
    let server = stage.server()?;
    let address = server.ipv4("tcp")?;
    let target = address.to_string();
    stage.types(&format!(
        "for i in {{1..50}}; do echo \"client $i\" | echo-client {target} -m - --raw & done"
    ))?;
    let mut clients = Vec::new();
    for i in 1..=50 {
        let mut client = stage.start_client(&[&target, "-m", "-", "--raw"])?;
        client.write(format!("client {i}\n").as_bytes())?;
        clients.push(client);
    }
    for (i, client) in (1..).zip(&mut clients) {
        client.stdout_becomes(format!("client {i}\n").as_bytes(), LIMIT)?;
    }
    let at_once = netstat::rows().map(|rows| {
        let id = server.process.id();
        let held =
            |row: &&Row| row.state == "ESTABLISHED" && row.local == address && row.is_held_by(id);
        rows.iter().filter(held).count()
    });
    if let Some(count) = at_once {
        ensure!(
            count == 50,
            "expected 50 connections at one time, saw {count}"
        );
        stage.sees("50 rows in the state ESTABLISHED, each client has its own line back")?;
    }
    for client in clients {
        client.finish(LIMIT)?.success()?;
    }
    proved(
        "Fifty connections were open and answered at the same time, and nobody got another's bytes: \
         no client waits for the one before it.",
    )
}

fn stream(stage: &mut Stage) -> Result<String> {
    const LEN: usize = 10_000_000;
    let address = stage.server()?.ipv4("tcp")?;
    let path = stage.path("ten-megabytes");
    let sent = Random(0).bytes(LEN);
    std::fs::write(&path, &sent).with_context(|| format!("cannot write {}", path.display()))?;
    let file = path.display().to_string();
    let start = Instant::now();
    let received = stage.client(&[&address.to_string(), "--file", &file, "--raw"])?;
    let elapsed = start.elapsed().as_secs_f64();
    same(&sent, &received)?;
    stage.sees(&format!("{LEN} bytes back in {elapsed:.2} s, all as sent"))?;

    let Exchange { whole, before, .. } = traffic::exchange(address, &sent)?;
    ensure!(whole, "expected all of it back, then the end");
    stage.sees(&format!(
        "again, with the sending half closed after the last byte: {before} bytes were\n\
         back when it closed, {} came after, then the end",
        LEN - before
    ))?;
    proved(
        "Nothing is lost, repeated or out of order, and the end of input is not the end of output: \
         the server sends what it owes before it closes.",
    )
}

fn same(sent: &[u8], received: &[u8]) -> Result<()> {
    if let Some(at) = sent.iter().zip(received).position(|(a, b)| a != b) {
        bail!("expected what was sent, saw a difference at byte {at}");
    }
    let (expected, saw) = (sent.len(), received.len());
    ensure!(expected == saw, "expected {expected} bytes back, saw {saw}");
    Ok(())
}

fn frames(stage: &mut Stage) -> Result<String> {
    for (framing, first, rest) in [
        (Framing::Raw, &b"two ha"[..], &b"lves"[..]),
        (Framing::Lines, b"two ha", b"lves\n"),
        (Framing::Length, b"\0\0\0\x0atwo ha", b"lves"),
    ] {
        let name = &framing.to_string();
        let server = stage.start_server(&["--listen", "127.0.0.1:0", "--framing", name])?;
        let address = server.ipv4("tcp")?;
        stage.echo(
            &[&address.to_string(), "--framing", name, "-m", "whole"],
            "whole",
        )?;
        let at_once = halves(address, framing, first, rest)
            .with_context(|| format!("with --framing {name}"))?;
        let then = if at_once {
            "came back at once"
        } else {
            "came back when it was whole"
        };
        stage.sees(&format!("half a message, then the rest: {then}"))?;
        server.stop(LIMIT)?;
    }
    proved(
        "TCP is a stream and knows no messages. raw echoes bytes as they come; lines and length \
         agree on where a message ends, and the server waits for it.",
    )
}

/// Sends a frame in two parts. Says whether the first came back before the second was sent.
fn halves(address: SocketAddr, framing: Framing, first: &[u8], rest: &[u8]) -> Result<bool> {
    // Long enough for an answer that should not come to be seen, an echo takes microseconds.
    const SILENCE: Duration = Duration::from_millis(50);
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    let mut received = vec![0; first.len()];
    stream.write_all(first)?;
    let at_once = framing == Framing::Raw;
    if at_once {
        stream.set_read_timeout(Some(LIMIT))?;
        stream
            .read_exact(&mut received)
            .context("expected the first half back")?;
    } else {
        stream.set_read_timeout(Some(SILENCE))?;
        match stream.read(&mut received) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                received.clear();
            }
            other => bail!("expected silence after half a frame, saw {other:?}"),
        }
    }
    stream.write_all(rest)?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream
        .read_to_end(&mut received)
        .context("expected the rest back, then the end")?;
    let sent = [first, rest].concat();
    ensure!(received == sent, "expected {sent:?} back, saw {received:?}");
    Ok(at_once)
}

fn stop(stage: &mut Stage) -> Result<String> {
    let server = stage.take_server()?;
    let (tcp, udp) = (server.sockets("tcp")?, server.sockets("udp")?);
    let id = server.process.id();
    stage.types(&format!("kill -TERM {id}"))?;
    server.process.signal(Signal::TERM)?;
    let finished = server.process.wait(LIMIT)?;
    stage.sees(&format!("{}", finished.status))?;
    ensure!(
        finished.status.code() == Some(0),
        "expected exit code 0, saw {}; its stderr:\n{}",
        finished.status,
        finished.stderr
    );
    for address in &tcp {
        match TcpStream::connect_timeout(address, LIMIT) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            other => bail!("expected a connection to {address} to be refused, saw {other:?}"),
        }
    }
    if let Some(rows) = netstat::rows() {
        let left = rows.iter().find(|row| {
            (row.state == "LISTEN" && tcp.contains(&row.local))
                || (row.protocol.starts_with("udp") && udp.contains(&row.local))
        });
        if let Some(row) = left {
            bail!("expected its sockets to be gone, saw {row}");
        }
        stage.sees(LISTED_AS)?;
        stage.sees("(none of its addresses is listed)")?;
    }
    proved("It ended when asked, with exit code 0, and gave every socket back to the system.")
}
