//! Months of probes, by a clock that a test turns.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::sync::mpsc::channel;

use echo_core::units::Timespan;

use super::*;
use crate::connection::Connect;
use crate::engine::flow::{Transport as Carrier, Wire};
use crate::mesh::settings::Own;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Set in the process that has its memory to itself.
const ALONE: &str = "TEST_HAS_ITS_MEMORY_TO_ITSELF";

/// A peer that answers at once, but each `fails`th probe, and no socket.
#[derive(Debug)]
struct Far {
    fails: u64,
}

impl Carrier for Far {
    fn is_blocked(&self) -> bool {
        false
    }

    fn push(&mut self) -> usize {
        SIZE
    }

    fn flush(&mut self, wire: &mut Wire<'_, '_>) -> Result<(), Fault> {
        let number = wire.ledger.next() - 1;
        if !number.is_multiple_of(self.fails) {
            let sent = wire.ledger.next_expiry().expect("it is under way") - SECOND;
            let entry = wire.ledger.reply(number, sent + MS);
            wire.context.enter(entry, 1, sent + MS, SIZE, None);
            wire.ledger.forget();
        }
        Ok(())
    }

    fn read(&mut self, _: bool, _: &mut Wire<'_, '_>) -> Result<bool, Fault> {
        Ok(false)
    }

    fn end(&mut self, _: &mut crate::engine::ledger::Ledger, _: &mut Context<'_>) {}
}

const SIZE: usize = 56;

fn peer(name: &str, address: SocketAddr) -> Peer {
    Peer {
        name: name.into(),
        zone: "zone".into(),
        address: Some(address),
        is_awaited: false,
    }
}

/// An agent of these peers, whose probes are answered by `far` and reach nobody.
fn agent<'a>(
    (mesh, plan, books): (&'a Mesh, &'a Plan, &'a Books),
    count: usize,
    far: fn() -> Far,
) -> Agent<'a> {
    let (sink, told) = channel();
    // It lives as long as the test does.
    let told = (&*Box::leak(Box::new(sink)), told);
    let mut agent = Agent::new((mesh, plan, books), told, Wait::new().unwrap(), None);
    // It keeps its port, or one of so many sockets may be given that, and be connected to itself.
    let nobody = Box::leak(Box::new(UdpSocket::bind("127.0.0.1:0").unwrap()));
    let nobody = nobody.local_addr().unwrap();
    let peers = (0..count).map(|n| peer(&format!("peer-{n}"), nobody));
    let list = List {
        own: "own".to_owned(),
        peers: peers.collect(),
        is_asked: false,
    };
    agent.until = 0;
    agent.watch(&list, 0);
    for index in 0..count {
        let path = &mut agent.paths[index];
        let attempt = Attempt::begin(&plan.connect, &path.flow.remote, Ask::Nothing);
        let connection = attempt.unwrap().go_on(true).unwrap().unwrap();
        path.flow.open(connection, &mut agent.shared.context);
        path.flow.transport = Box::new(far());
    }
    agent
}

/// What an agent works with.
fn world() -> (Mesh, Plan, Books) {
    let second = Timespan::from_secs(1);
    let mesh = Mesh {
        targets: Vec::new(),
        peers: 0,
        transport: vec![Transport::Udp],
        interval: second,
        timeout: second,
        refresh: second,
        reconnect: Timespan(Duration::MAX),
        own: Own::Auto,
        metrics: None,
        jsonl: false,
        plan: false,
    };
    let plan = Plan {
        warmup: Duration::MAX,
        ..Plan::new(Connect {
            timeout: second,
            ..Connect::default()
        })
    };
    let books = Books::new(&mesh.transport);
    (mesh, plan, books)
}

/// The pages that this process has, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
}

/// Plays whole intervals, and wakes for each moment at which something is due.
fn play(agent: &mut Agent<'_>, now: &mut u64, seconds: u64) {
    let end = *now + seconds * SECOND;
    while *now < end {
        *now = agent.turn(|| *now).max(*now + 1);
    }
}

#[test]
fn millions_of_probes_take_no_more_memory_than_a_few() {
    const NAME: &str = "mesh::agent::tests::millions_of_probes_take_no_more_memory_than_a_few";
    if std::env::var_os(ALONE).is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let output = alone
            .args(["--exact", NAME])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        return assert!(
            output.status.success() && told.contains("1 passed"),
            "{told}"
        );
    }
    let (mesh, plan, books) = world();
    let mut agent = agent((&mesh, &plan, &books), 1000, || Far { fails: 10 });
    let mut now = 0;
    play(&mut agent, &mut now, 100);
    let before = resident();
    // Unoptimized, ten million take a minute.
    let seconds = if cfg!(debug_assertions) { 900 } else { 9_900 };
    play(&mut agent, &mut now, seconds);
    let grown = resident().saturating_sub(before);
    assert!(grown <= 256, "{grown} KiB more");
    let summary = books.open().summary();
    let probes = (100 + seconds) * 1000;
    assert!(summary.requests.abs_diff(probes) <= 1000, "{summary:?}");
    assert!(
        summary.lost.abs_diff(summary.requests / 10) <= 1000,
        "{summary:?}"
    );
    assert_eq!((summary.delayed, summary.up), (0, 1000), "{summary:?}");
}

#[test]
fn figures_go_on_beyond_32_bits() {
    let (mesh, plan, books) = world();
    let mut agent = agent((&mesh, &plan, &books), 1, || Far { fails: 2 });
    let before = u64::from(u32::MAX);
    for path in books.open().paths.values_mut() {
        (path.requests, path.lost) = (before, before);
    }
    play(&mut agent, &mut 0, 10);
    let summary = books.open().summary();
    assert!(
        summary.requests > before && summary.lost > before,
        "{summary:?}"
    );
}

#[test]
fn a_machine_that_slept_is_told_from_a_path_that_is_dead() {
    let (mesh, plan, books) = world();
    // Each third probe is under way when it falls asleep.
    let mut agent = agent((&mesh, &plan, &books), 30, || Far { fails: 3 });
    let mut now = 0;
    play(&mut agent, &mut now, 1);
    assert_eq!(books.open().summary().lost, 0, "numbers begin at 1");
    play(&mut agent, &mut now, 2);
    now += 3600 * SECOND;
    agent.turn(|| now);
    let summary = books.open().summary();
    assert_eq!(summary.lost, 0, "{summary:?}");
    // Each path missed one a second.
    assert!(
        (30 * 3600..=30 * 3602).contains(&summary.delayed),
        "{summary:?}"
    );
    let open = |path: &Path<'_>| matches!(path.flow.state, State::Open(_));
    assert!(
        !agent.paths.iter().any(|(_, path)| open(path)),
        "connections may be gone"
    );
}

#[test]
fn paths_keep_their_moments_apart() {
    let (mesh, plan, books) = world();
    let mut agent = agent((&mesh, &plan, &books), 100, || Far { fails: u64::MAX });
    let due = |agent: &Agent<'_>| {
        agent
            .paths
            .iter()
            .map(|(_, path)| path.due % SECOND)
            .collect::<Vec<_>>()
    };
    let mut before = due(&agent);
    before.sort_unstable();
    let crowd = |tenth: u64| {
        before
            .iter()
            .filter(|due| **due / (SECOND / 10) == tenth)
            .count()
    };
    assert!(
        (0..10).all(|tenth| (1..=25).contains(&crowd(tenth))),
        "{before:?}"
    );
    let mut now = 0;
    play(&mut agent, &mut now, 5);
    now += 100 * SECOND;
    agent.turn(|| now);
    let mut after = due(&agent);
    after.sort_unstable();
    assert_eq!(after, before, "even after all of them were missed");
}

#[test]
fn what_was_missed_is_not_sent_in_a_burst_and_blames_no_path() {
    let (mut mesh, mut plan, books) = world();
    let short = Timespan(Duration::from_millis(20));
    (mesh.interval, mesh.timeout, plan.connect.timeout) = (short, short, short);
    let mut agent = agent((&mesh, &plan, &books), 30, || Far { fails: 1 });
    let mut now = 0;
    while now < 20 * MS {
        now = agent.turn(|| now).max(now + 1);
    }
    let before = books.open().summary();
    assert_eq!((before.requests, before.lost), (30, 0), "{before:?}");
    now += 50 * MS;
    agent.turn(|| now);
    let after = books.open().summary();
    assert_eq!((after.requests, after.lost), (30, 0), "{after:?}");
    // The one under way, and two or three that were due.
    assert!((90..=120).contains(&after.delayed), "{after:?}");
    let open = |path: &Path<'_>| matches!(path.flow.state, State::Open(_));
    assert!(
        agent.paths.iter().all(|(_, path)| open(path)),
        "no path is gone"
    );
}

#[test]
fn a_probe_that_left_late_has_all_of_its_time() {
    let (mesh, plan, books) = world();
    let mut agent = agent((&mesh, &plan, &books), 1, || Far { fails: 1 });
    let due = agent.paths[0].due;
    agent.until = due;
    let late = due + 90 * MS;
    agent.turn(|| late);
    let next = agent.turn(|| due + SECOND);
    assert_eq!((books.open().summary().lost, next), (0, late + SECOND));
    agent.turn(|| next);
    let summary = books.open().summary();
    assert_eq!((summary.requests, summary.lost), (2, 1), "{summary:?}");
}

#[test]
fn figures_balance_when_an_address_changes_with_a_probe_under_way() {
    let (mesh, plan, books) = world();
    let mut agent = agent((&mesh, &plan, &books), 1, || Far { fails: 1 });
    let due = agent.paths[0].due;
    agent.until = due;
    agent.turn(|| due);
    let list = List {
        own: "own".to_owned(),
        peers: vec![peer("peer-0", "127.0.0.2:9".parse().unwrap())],
        is_asked: false,
    };
    agent.watch(&list, due + MS);
    let summary = books.open().summary();
    let told = (summary.requests, summary.lost, summary.delayed);
    assert_eq!(told, (1, 0, 1), "{summary:?}");
}
