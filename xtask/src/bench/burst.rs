//! What the system drops of a burst of datagrams while the server cannot look.

use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use echo_explain::netstat;
use rustix::process::Signal;

use super::lab::Lab;
use super::report::Fact;

const COUNT: usize = 1000;
const BYTES: usize = 1400;

/// How long the server stands still.
const PAUSE: Duration = Duration::from_millis(100);

/// The buffer that holds the burst with what the system adds to each datagram.
const ENOUGH: u64 = 4 << 20;

/// Sends the burst to a server a round, one after another, and sums up what they lost.
pub fn measure(lab: &Lab) -> Result<Fact> {
    let mut lost = 0;
    for _ in 0..lab.rounds {
        lost += burst(lab)?;
    }
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

fn burst(lab: &Lab) -> Result<u64> {
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
