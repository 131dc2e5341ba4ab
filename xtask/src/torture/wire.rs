//! A network that loses, doubles, corrupts, resets and parts; in a namespace of its own.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Arena;
use super::victim::{Victim, framed};
use crate::process::{self, words};
use crate::terminal::Skipped;
use crate::traffic::{self, Differs, LIMIT, Pace};

/// A network's fault, as a rule of nftables over `lo`, in one of the chains `in` and `pre`. It
/// counts the packets that it strikes.
struct Weather {
    what: &'static str,
    rule: &'static str,
    /// What TCP makes up for.
    hidden_from_tcp: bool,
}

const WEATHERS: &[Weather] = &[
    Weather {
        what: "3 % of all packets are lost",
        rule: "in numgen random mod 100 lt 3 counter drop",
        hidden_from_tcp: true,
    },
    Weather {
        what: "every fifth packet comes twice",
        rule: "pre numgen random mod 100 lt 20 counter dup to 127.0.0.1 device lo",
        hidden_from_tcp: true,
    },
    Weather {
        what: "2 % of all segments are answered with a reset",
        rule: "in meta l4proto tcp numgen random mod 100 lt 2 counter reject with tcp reset",
        hidden_from_tcp: false,
    },
    Weather {
        what: "senders are told that the port is unreachable",
        rule: "in meta l4proto udp numgen random mod 100 lt 30 counter reject",
        hidden_from_tcp: true,
    },
];

/// Runs commands that must succeed.
fn run(commands: &[&str]) -> Result<()> {
    let mut commands = commands.iter();
    commands.try_for_each(|command| words(command).map(drop))
}

/// Packets as small as on a real network, in place of loopback's 64 KiB.
const SMALL_PACKETS: &[&str] = &["ip link set lo mtu 1500", "ip link set lo gso_max_segs 1"];
const AS_BEFORE: &[&str] = &[
    "ip link set lo gso_max_segs 65535",
    "ip link set lo mtu 65536",
];

/// Has nftables do as `rule` says, until [`calm`].
fn stormy(rule: &str) -> Result<()> {
    run(&[
        "nft add table ip torture",
        "nft add chain ip torture in { type filter hook input priority 0; }",
        "nft add chain ip torture pre { type filter hook prerouting priority -300; }",
        &format!("nft add rule ip torture {rule}"),
    ])
}

/// Ends what [`stormy`] began. Returns how many packets it has struck.
fn calm() -> Result<u64> {
    let listed = words("nft list table ip torture");
    run(&["nft delete table ip torture"])?;
    let listed = listed?;
    let count = listed.split("counter packets ").nth(1);
    let count = count.and_then(|rest| rest.split(' ').next());
    Ok(count.context("nft lists no counter")?.parse()?)
}

fn needs_firewall(arena: &Arena) -> Result<()> {
    arena.needs_own_network()?;
    let able = stormy("in numgen random mod 100 lt 0 counter drop").and_then(|()| calm());
    able.map_err(|error| Skipped(format!("nftables cannot be used here: {error:#}")))?;
    Ok(())
}

/// Streams and datagrams through each weather, over small packets.
pub fn weather(arena: &mut Arena) -> Result<String> {
    needs_firewall(arena)?;
    run(SMALL_PACKETS)?;
    // Where only the client has heard of a reset, a server with nothing to send learns it by asking.
    let victim = arena.victim(&["--listen=127.0.0.1:0", "--keepalive=1s"])?;
    let (mut replies, mut packets) = (0, 0);
    for weather in WEATHERS {
        stormy(weather.rule)?;
        let outcome = through(arena, &victim, weather);
        let struck = calm()?;
        replies += outcome.with_context(|| weather.what)?;
        ensure!(struck > 0, "{}: not one was", weather.what);
        packets += struck;
        victim
            .balances(8 << 10)
            .with_context(|| format!("after {:?}", weather.what))?;
    }
    // Calm again, no datagram is lost, however many packets it takes.
    for len in [0, 1, 1472, 1473, 4000, 65_507] {
        let payload = arena.random.bytes(len);
        ensure!(
            traffic::ask(victim.udp, &payload, LIMIT)?,
            "a datagram of {len} bytes is lost"
        );
    }
    victim.stop()?;
    run(AS_BEFORE)?;
    Ok(format!(
        "{packets} packets struck in {} weathers: no byte was wrong, and TCP lost none where it can make up; {replies} datagrams came back",
        WEATHERS.len()
    ))
}

fn through(arena: &mut Arena, victim: &Victim, weather: &Weather) -> Result<u64> {
    let messages: Vec<Vec<u8>> = (0..6)
        .map(|i| arena.random.bytes(1000 << (2 * i)))
        .collect();
    let datagrams: Vec<Vec<u8>> = (0..60).map(|i| arena.random.bytes(i * 60)).collect();
    // Only one end hears of a reset; the other may wait for ever.
    let patience = match weather.hidden_from_tcp {
        true => LIMIT,
        false => Duration::from_secs(2),
    };
    let pace = Pace {
        patience,
        ..Pace::default()
    };
    let (replies, streams) = traffic::exchange_all(victim.tcp, &messages, pace, || {
        let mut replies = 0;
        for datagram in &datagrams {
            let came_back = traffic::ask(victim.udp, datagram, Duration::from_millis(30))?;
            replies += u64::from(came_back);
        }
        Ok(replies)
    })?;
    ensure!(
        replies > 0,
        "not one of {} datagrams came back",
        datagrams.len()
    );
    for (stream, message) in streams.into_iter().zip(&messages) {
        match stream {
            Ok(exchange) if weather.hidden_from_tcp => exchange.all_of(message)?,
            // Reset before it was there, or a reset that only the server has heard of.
            Err(error) if weather.hidden_from_tcp || error.is::<Differs>() => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(replies)
}

/// Nothing passes for a while in the middle of a transfer, which then goes on.
pub fn partition(arena: &mut Arena) -> Result<String> {
    needs_firewall(arena)?;
    let victim = arena.victim(&["--listen=127.0.0.1:0"])?;
    let away = Duration::from_millis(300 + arena.random.below(500));
    let messages: Vec<Vec<u8>> = (0..4).map(|_| arena.random.bytes(40_000_000)).collect();
    let pace = Pace::default();
    let (struck, streams) = traffic::exchange_all(victim.tcp, &messages, pace, || {
        stormy("in counter drop")?;
        thread::sleep(away);
        calm()
    })?;
    for (stream, message) in streams.into_iter().zip(&messages) {
        stream?.all_of(message)?;
    }
    ensure!(struck > 0, "the network parted when nothing was on its way");
    victim.ends_well(8 << 10)?;
    Ok(format!(
        "4 transfers of 40 MB survived {away:?} without a network, and the {struck} packets lost in it"
    ))
}

/// A byte is changed on the way: the client must say so, and where.
pub fn corruption(arena: &mut Arena) -> Result<String> {
    needs_firewall(arena)?;
    let victim = arena.victim(&["--listen=127.0.0.1:0", "--max-frame=64k"])?;
    let port = victim.udp.port();
    let message = "x".repeat(100);
    let mut seen = 0;
    // Bytes from the start of the UDP header, then from that of TCP with its time stamps.
    for (flag, protocol, offset) in [("-u", "udp", 40), ("--udp=false", "tcp", 16)] {
        for direction in ["dport", "sport"] {
            let rule = format!("in {protocol} {direction} {port} counter @th,384,8 set 0xff");
            stormy(&rule)?;
            let mut client = arena.programs.command("echo-client")?;
            client.args([flag, "-W", "2s", "-m", &message, &victim.udp.to_string()]);
            let finished = process::run(&mut client, LIMIT);
            let struck = calm()?;
            ensure!(struck > 0, "{rule}: no packet was changed");
            let finished = finished.context(rule)?;
            let told = format!(
                "{}{}",
                String::from_utf8_lossy(&finished.stdout),
                finished.stderr
            );
            ensure!(
                finished.status.code() == Some(1),
                "{protocol} {direction}: {} although byte {offset} was changed: {told}",
                finished.status
            );
            let found = told.contains(&format!("differs at offset {offset}:"));
            // A system that checks sums on loopback drops the packet, and the client waits in vain.
            ensure!(
                found || told.contains(" 2s: "),
                "{protocol} {direction}: {told}"
            );
            seen += u64::from(found);
        }
    }
    victim.ends_well(8 << 10)?;
    Ok(format!(
        "of 4 changed bytes the client found {seen}, each at its offset; no other was taken for an echo"
    ))
}

/// Socket buffers of a few KiB: every write and read of any size is a short one.
pub fn short_counts(arena: &mut Arena) -> Result<String> {
    arena.needs_own_network()?;
    let knobs = ["tcp_wmem", "tcp_rmem"].map(|knob| format!("/proc/sys/net/ipv4/{knob}"));
    let before = [
        fs::read_to_string(&knobs[0])?,
        fs::read_to_string(&knobs[1])?,
    ];
    for knob in &knobs {
        if let Err(error) = fs::write(knob, "4096 4608 4608") {
            bail!(Skipped(format!("{knob} cannot be set: {error}")));
        }
    }
    let mut held = 0;
    for framing in ["raw", "lines", "length"] {
        let framing = format!("--framing={framing}");
        let args = ["--listen=127.0.0.1:0", &framing, "--workers=1"];
        let victim = arena.victim(&args)?;
        for _ in 0..6 {
            let len = arena.random.below(200_000) as usize;
            let message = framed(&mut arena.random, &args, len);
            let exchange = traffic::exchange(victim.tcp, &message)?;
            exchange.all_of(&message).context(framing.clone())?;
            held += 1;
        }
        victim.ends_well(8 << 10)?;
    }
    for (knob, value) in knobs.iter().zip(before) {
        fs::write(knob, value)?;
    }
    Ok(format!(
        "{held} messages came back whole through socket buffers of 4 KiB"
    ))
}
