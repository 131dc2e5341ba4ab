//! What an agent of a mesh costs, and what a mesh of many looks like: who watches whom.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::lab::Lab;
use super::report::Fact;
use crate::process::{self, Scratch};
use crate::server::Server;
use crate::{proc, traffic};

const LIMIT: Duration = Duration::from_secs(60);

/// Peers of one agent, with the part of a core and the MB that it may take.
const SIZES: [(usize, f64, f64); 2] = [(64, 0.01, 10.0), (1000, 0.06, 12.0)];

/// Nodes of the mesh that is only played, their zones, and whom each watches.
const NODES: usize = 10_000;
const ZONES: usize = 30;
const PEERS: usize = 32;

/// The series of a zone over one transport: 17 buckets, their sum and count.
const RTT_SERIES: usize = 19;

/// Measures what an agent takes that probes each peer once a second over TCP and UDP.
pub fn cost(lab: &Lab, quick: bool) -> Result<Vec<Fact>> {
    let time = Duration::from_secs(if quick { 5 } else { 20 });
    let scratch = Scratch::new("mesh-cost")?;
    let mut facts = Vec::new();
    for (count, most_cpu, most_mb) in SIZES {
        let server = lab.start("echo")?;
        let path = scratch.path("peers.json");
        let address = server.address.to_string();
        write(
            &path,
            (0..count).map(|n| (format!("node-{n}"), n % 10)),
            &address,
        )?;
        let mut command = lab.programs.command("echo-client")?;
        let targets = format!("file:{}", path.display());
        command.args([
            "mesh",
            "--peers=0",
            "--metrics=127.0.0.1:0",
            "--self=192.0.2.1",
        ]);
        command.args(["--targets", &targets]);
        let agent = lab.on_load_core(|| Server::start(&mut command, LIMIT))?;
        let monitors = agent.ipv4("metrics")?;
        // Every path is open by then.
        thread::sleep(Duration::from_secs(3));
        let id = agent.process.id();
        let before = proc::cpu(id)?;
        thread::sleep(time);
        let cpu = (proc::cpu(id)? - before).as_secs_f64() / time.as_secs_f64();
        let mut stream = traffic::connect(monitors)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let up = text
            .lines()
            .filter(|line| line.starts_with("echo_mesh_peer_up{") && line.ends_with(" 1"));
        let up = up.count();
        let mb = proc::status(id, "VmRSS")? as f64 * 1024.0 / 1e6;
        agent.stop(LIMIT)?;
        facts.push(Fact {
            title: format!("mesh of {count} peers, once a second over TCP and UDP"),
            measure: "CPU of a core, memory",
            value: format!(
                "{:.2} %, {mb:.1} MB ({up} of {} paths up)",
                cpu * 100.0,
                2 * count
            ),
            target: format!("at most {:.0} %, {most_mb:.0} MB", most_cpu * 100.0),
            pass: cpu <= most_cpu && mb <= most_mb && up == 2 * count,
        });
    }
    Ok(facts)
}

/// Plays a mesh: who watches whom by `echo-client mesh --plan`, before and after one of a hundred leaves.
pub fn play(lab: &Lab) -> Result<Vec<Fact>> {
    let scratch = Scratch::new("mesh-plan")?;
    let path = scratch.path("peers.json");
    let zone = |number: usize| number % ZONES;
    let all: Vec<usize> = (0..NODES).collect();
    let edges = |numbers: &[usize]| -> Result<BTreeSet<(usize, usize)>> {
        let nodes = numbers.iter().map(|&n| (format!("node-{n}"), zone(n)));
        write(&path, nodes, "192.0.2.1:5346")?;
        let mut command = lab.programs.command("echo-client")?;
        command.args(["mesh", "--plan", "--peers", &PEERS.to_string(), "--targets"]);
        command.arg(format!("file:{}", path.display()));
        let told = String::from_utf8(process::run(&mut command, LIMIT)?.success()?)?;
        let number = |name: &str| name.strip_prefix("node-")?.parse().ok();
        let edge = |line: &str| {
            let (from, to) = line.split_once(' ')?;
            Some((number(from)?, number(to)?))
        };
        told.lines()
            .map(|line| edge(line).context("no pair of names"))
            .collect()
    };
    let before = edges(&all)?;
    let mut watchers = vec![0; NODES];
    let mut zones = vec![BTreeSet::new(); NODES];
    for (from, to) in &before {
        watchers[*to] += 1;
        zones[*from].insert(zone(*to));
    }
    let (least, most) = (watchers.iter().min(), watchers.iter().max());
    let (least, most) = (least.copied().unwrap_or(0), most.copied().unwrap_or(0));
    let pairs = before.iter().map(|(from, to)| (zone(*from), zone(*to)));
    let pairs = pairs.collect::<BTreeSet<_>>().len();
    // Hashes of their names scatter them.
    let left: Vec<usize> = all.iter().copied().filter(|n| n % 100 != 0).collect();
    let new = edges(&left)?.difference(&before).count();
    let series = zones
        .iter()
        .map(|zones| PEERS * 2 * 3 + zones.len() * 2 * RTT_SERIES);
    let (each, in_all) = (series.clone().max().unwrap_or(0), series.sum::<usize>());
    let (full, moved) = (ZONES * ZONES, NODES / 100 * PEERS);
    let most_series = PEERS * 2 * 3 + ZONES * 2 * RTT_SERIES;
    let fact = |measure, value, target, pass| Fact {
        title: format!("mesh of {NODES} nodes in {ZONES} zones, played"),
        measure,
        value,
        target,
        pass,
    };
    Ok(vec![
        fact(
            "watchers of a node",
            format!("{least} to {most}"),
            format!("{PEERS}"),
            least == PEERS && most == PEERS,
        ),
        fact(
            "pairs of zones covered",
            format!("{pairs} of {full}"),
            format!("{full}"),
            pairs == full,
        ),
        fact(
            "new edges when 1 % leaves",
            format!("{new} of {}", before.len()),
            format!("at most {moved}"),
            new <= moved,
        ),
        fact(
            "series of peers and zones",
            format!("{each} an agent at most, {in_all} in all"),
            format!("at most {most_series} an agent"),
            each <= most_series,
        ),
    ])
}

/// Lists nodes, each with its zone, that all answer at one address.
fn write(path: &Path, nodes: impl Iterator<Item = (String, usize)>, address: &str) -> Result<()> {
    let group = |(name, zone)| json!({"targets": [address], "labels": {"name": name, "zone": format!("zone-{zone}")}});
    let list: Value = nodes.map(group).collect();
    Ok(fs::write(path, list.to_string())?)
}
