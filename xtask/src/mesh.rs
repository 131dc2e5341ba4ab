//! Six machines in network namespaces that watch one another, a real Prometheus that watches them with the
//! files of docs/deploy/prometheus, and what becomes of its figures when something happens on the way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::cargo::{Profile, Programs, root};
use crate::process::{self, Process, Scratch};
use crate::server::Server;
use crate::terminal::{SKIPPED, paint, say};

/// No step takes longer, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at Prometheus, which scrapes once a second.
const LOOK: Duration = Duration::from_millis(500);
const NODES: usize = 6;
/// Every path: each node to each other one, over two transports.
const PATHS: usize = NODES * (NODES - 1) * 2;

/// Checks the rules, and then with six machines that figures follow what happens.
pub fn run() -> Result<()> {
    let has = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    if !has(&"promtool") {
        return skip("promtool is not on this machine");
    }
    let shipped = root().join("docs/deploy/prometheus");
    for words in [
        "check config prometheus.yml",
        "check rules rules.yml",
        "test rules rules_test.yml",
    ] {
        let mut command = Command::new("promtool");
        command.args(words.split(' ')).current_dir(&shipped);
        let finished = process::run(&mut command, LIMIT)?;
        let told = String::from_utf8_lossy(&finished.stdout).into_owned();
        finished
            .success()
            .with_context(|| format!("promtool {words}: {told}"))?;
    }
    say("the rules are right, and each alert fires and does not fire as it should")?;
    if let Some(missing) = ["prometheus", "ip", "nft"].iter().find(|name| !has(name)) {
        return skip(&format!("{missing} is not on this machine"));
    }
    if !geteuid().is_root() {
        return skip("network namespaces with names are root's");
    }
    let programs = Programs::ours(Profile::Dev)?;
    let scratch = Scratch::new("mesh")?;
    let net = Net::new()?;
    let peers = scratch.path("peers.json");
    list(&peers, NODES)?;
    let mut nodes = (1..=NODES)
        .map(|number| node(&programs, &net, number, &peers))
        .collect::<Result<Vec<_>>>()?;
    let prometheus = Prometheus::start(&net, &scratch, &shipped)?;
    prometheus.until(&format!("sum(echo_mesh_peer_up) == {PATHS}"))?;
    prometheus.until("absent(ALERTS{alertstate=\"firing\"})")?;
    say(format_args!("{NODES} agents, {PATHS} paths up, no alert"))?;
    lossy(&net, &prometheus)?;
    cut_off(&net, &prometheus, &shipped)?;

    list(&peers, NODES - 1)?;
    let (server, agent) = nodes.pop().context("a node")?;
    agent.stop(LIMIT)?;
    server.stop(LIMIT)?;
    prometheus.until("absent({__name__=~\"echo_mesh_.+\",peer=\"node-6\"})")?;
    prometheus.until(&format!(
        "sum(echo_mesh_peer_up) == {}",
        (NODES - 1) * (NODES - 2) * 2
    ))?;
    say("node-6 has left, and so have its series")?;
    for (server, agent) in nodes {
        agent.stop(LIMIT)?;
        server.stop(LIMIT)?;
    }
    Ok(())
}

/// Datagrams to one node are lost: that is seen there, and nowhere else.
fn lossy(net: &Net, prometheus: &Prometheus) -> Result<()> {
    let rule = "add rule inet mesh in udp dport 5346 numgen random mod 100 < 30 drop";
    for words in [
        "add table inet mesh",
        "add chain inet mesh in { type filter hook input priority 0 ; }",
        rule,
    ] {
        net.within("node-5", "nft", words)?;
    }
    let lost = "peer:echo_mesh_lost:ratio_rate5m";
    prometheus.until(&format!(
        "{lost}{{peer=\"node-5\",transport=\"udp\"}} > 0.2"
    ))?;
    let others = format!("{lost} unless {lost}{{peer=\"node-5\",transport=\"udp\"}}");
    let most = prometheus.figure(&format!("max({others})"))?;
    ensure!(
        most < 0.1,
        "{most} of the probes on other paths are lost, too"
    );
    let zone = "ALERTS{alertname=\"EchoZoneLossHigh\",alertstate=\"firing\",transport=\"udp\"}";
    prometheus.until(zone)?;
    say(format_args!(
        "30 % of the datagrams to node-5 are lost: seen there over UDP; elsewhere {most:.3}"
    ))?;
    net.within("node-5", "nft", "flush ruleset")?;
    prometheus.until(&format!("absent({zone})"))
}

/// The link of one node goes down: that fires the alert, while each figure of the dashboard is there.
fn cut_off(net: &Net, prometheus: &Prometheus, shipped: &Path) -> Result<()> {
    net.run(&format!("ip -n {} link set port3 down", net.name("hub")))?;
    let began = Instant::now();
    let unreachable = "ALERTS{alertname=\"EchoPeerUnreachable\",alertstate=\"firing\"}";
    prometheus.until(&format!("count({unreachable}) == 2"))?;
    let of = prometheus.ask(unreachable)?;
    let is_right = |alert: &Value| alert["metric"]["peer"] == "node-3";
    ensure!(of.iter().all(is_right), "it fires of others, too: {of:?}");
    let seconds = began.elapsed().as_secs();
    prometheus
        .until("ALERTS{alertname=\"EchoAgentDown\",alertstate=\"firing\",instance=\"node-3\"}")?;
    let text = fs::read_to_string(shipped.join("dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<_> = targets
        .filter_map(|target| target["expr"].as_str())
        .collect();
    ensure!(expressions.len() >= 15, "the dashboard has no expressions");
    for expression in &expressions {
        prometheus.until(&expression.replace("$__rate_interval", "10s"))?;
    }
    net.run(&format!("ip -n {} link set port3 up", net.name("hub")))?;
    prometheus.until("absent(ALERTS{alertstate=\"firing\"})")?;
    say(format_args!(
        "the link of node-3 is down: the alert fired {seconds} s later, and ended with it; the {} \
         expressions of the dashboard have answers",
        expressions.len()
    ))
}

fn skip(why: &str) -> Result<()> {
    say(paint(SKIPPED, format_args!("skipped: {why}")))
}

/// Lists the first nodes, at once.
fn list(path: &Path, count: usize) -> Result<()> {
    let groups = (1..=count).map(|number| {
        json!({
            "targets": [format!("10.77.0.{number}:5346")],
            "labels": {"name": format!("node-{number}"), "zone": format!("zone-{}", number.div_ceil(2))},
        })
    });
    let draft = path.with_extension("draft");
    fs::write(&draft, groups.collect::<Value>().to_string())?;
    Ok(fs::rename(draft, path)?)
}

/// The server and the agent of one node.
fn node(programs: &Programs, net: &Net, number: usize, peers: &Path) -> Result<(Server, Server)> {
    let within = format!("ip netns exec {}", net.name(&format!("node-{number}")));
    let mut server = programs.wrapped(&within, "echo-server")?;
    server.args(["-q", "--listen", &format!("10.77.0.{number}:5346")]);
    server.args(["--metrics", &format!("10.77.0.{number}:9146")]);
    let mut agent = programs.wrapped(&within, "echo-client")?;
    agent.args(["mesh", "--targets", &format!("file:{}", peers.display())]);
    agent.args(["--interval=500ms", "--timeout=500ms", "--refresh=1s"]);
    agent.args(["--metrics", &format!("10.77.0.{number}:9145")]);
    Ok((
        Server::start(&mut server, LIMIT)?,
        Server::start(&mut agent, LIMIT)?,
    ))
}

/// Namespaces around a bridge, gone when this is dropped.
struct Net(u32);

impl Net {
    fn new() -> Result<Self> {
        let net = Net(std::process::id());
        let hub = net.name("hub");
        net.run(&format!("ip netns add {hub}"))?;
        for words in [
            "link add hub type bridge",
            "link set hub up",
            "link set lo up",
            "addr add 10.77.0.254/24 dev hub",
        ] {
            net.run(&format!("ip -n {hub} {words}"))?;
        }
        for number in 1..=NODES {
            let node = net.name(&format!("node-{number}"));
            for words in [
                format!("ip netns add {node}"),
                format!("ip -n {hub} link add port{number} type veth peer name eth0 netns {node}"),
                format!("ip -n {hub} link set port{number} master hub up"),
                format!("ip -n {node} addr add 10.77.0.{number}/24 dev eth0"),
                format!("ip -n {node} link set eth0 up"),
                format!("ip -n {node} link set lo up"),
            ] {
                net.run(&words)?;
            }
        }
        Ok(net)
    }

    fn name(&self, of: &str) -> String {
        format!("echo-mesh-{}-{of}", self.0)
    }

    /// Runs a command, its words between spaces.
    fn run(&self, words: &str) -> Result<Vec<u8>> {
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        process::run(command.args(words), LIMIT)?.success()
    }

    /// The same, with `words` as one argument, at a node.
    fn within(&self, node: &str, program: &str, words: &str) -> Result<Vec<u8>> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(node), program, words]);
        process::run(&mut command, LIMIT)?.success()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let nodes = (1..=NODES).map(|number| format!("node-{number}"));
        for of in nodes.chain(["hub".to_owned()]) {
            // One that was never made is gone already.
            let _ = Command::new("ip")
                .args(["netns", "del", &self.name(&of)])
                .output();
        }
    }
}

/// A Prometheus at the hub, as it is shipped but for its patience.
struct Prometheus<'a> {
    net: &'a Net,
    _process: Process,
}

impl<'a> Prometheus<'a> {
    fn start(net: &'a Net, scratch: &Scratch, shipped: &Path) -> Result<Self> {
        let hasty = |name: &str, changes: &[(&str, &str)]| -> Result<PathBuf> {
            let mut text = fs::read_to_string(shipped.join(name))?;
            for (from, to) in changes {
                ensure!(text.contains(from), "{name} has no {from:?} any more");
                text = text.replace(from, to);
            }
            let path = scratch.path(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        hasty(
            "rules.yml",
            &[
                ("[5m]", "[10s]"),
                ("for: 1m", "for: 2s"),
                ("for: 5m", "for: 2s"),
            ],
        )?;
        let config = hasty("prometheus.yml", &[("interval: 15s", "interval: 1s")])?;
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &net.name("hub"), "prometheus"])
            .arg("--web.listen-address=127.0.0.1:9090")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                scratch.path("data").display()
            ))
            .current_dir(scratch.path(""));
        let prometheus = Prometheus {
            net,
            _process: Process::start(&mut command)?,
        };
        Ok(prometheus)
    }

    /// What an expression comes to now.
    fn ask(&self, expression: &str) -> Result<Vec<Value>> {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.net.name("hub"),
            "promtool",
            "query",
            "instant",
        ]);
        command.args(["--format=json", "http://127.0.0.1:9090", expression]);
        let told = process::run(&mut command, LIMIT)?.success()?;
        serde_json::from_slice(&told).with_context(|| format!("no answer to {expression}"))
    }

    fn figure(&self, expression: &str) -> Result<f64> {
        let samples = self.ask(expression)?;
        let figure = samples
            .first()
            .and_then(|sample| sample["value"][1].as_str());
        Ok(figure
            .with_context(|| format!("{expression} has no value"))?
            .parse()?)
    }

    /// Waits until an expression has an answer.
    fn until(&self, expression: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let answer = self.ask(expression);
            if answer.as_ref().is_ok_and(|samples| !samples.is_empty()) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < LIMIT && !process::is_interrupted(),
                "{expression}: still {answer:?}"
            );
            thread::sleep(LOOK);
        }
    }
}
