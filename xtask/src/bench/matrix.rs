//! The rows of the comparison: what is asked of the servers, what is read off, what must be reached.
//! `echo-client bench` makes the load and measures in turn.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::comparison::{Comparison, Goal, Measure, SEED};
use super::contender::Contender::{self, *};
use super::lab::{Lab, Running};

/// One kind of work.
pub struct Row {
    /// Its name on the command line.
    pub key: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// The load, as options of `echo-client bench`.
    load: &'static str,
    figure: Figure,
    targets: &'static [Target],
    /// Servers measured for the picture, with no target, each by itself.
    others: &'static [Contender],
}

/// A ratio that must be reached.
struct Target {
    ours: Contender,
    against: Contender,
    at_most: f64,
}

/// What is read off each round.
#[derive(Clone, Copy)]
struct Figure {
    measure: Measure,
    /// What it is called in the client's document.
    key: &'static str,
    /// The nanoseconds there that are one of its unit.
    ns: f64,
}

const fn target(ours: Contender, against: Contender, at_most: f64) -> Target {
    Target {
        ours,
        against,
        at_most,
    }
}

const ROUND_TRIP: Figure = Figure {
    measure: Measure {
        name: "round trip p50",
        unit: "us",
    },
    key: "rtt_p50_ns",
    ns: 1e3,
};

/// Server CPU for each echo, or whatever an echo stands for.
const fn cpu(name: &'static str, unit: &'static str, ns: f64) -> Figure {
    Figure {
        measure: Measure { name, unit },
        key: "server_cpu_per_echo_ns",
        ns,
    }
}

const PER_ECHO: Figure = cpu("CPU per echo", "us", 1e3);

/// Server CPU for 1 GB, echoed in messages of `size` bytes.
const fn per_gigabyte(size: u32) -> Figure {
    cpu("CPU per GB", "ms", 1e6 * size as f64 / 1e9)
}

/// Every row, in the order of the report.
pub const ROWS: &[Row] = &[
    Row {
        key: "ping-pong",
        title: "1 x 64 B, ping-pong",
        load: "-P 1 --size 64",
        figure: ROUND_TRIP,
        targets: &[target(Echo, Blocking, 0.35)],
        others: &[Mio, Tokio, Python, Socat, Ncat],
    },
    Row {
        key: "50",
        title: "50 x 64 B",
        load: "-P 50 --size 64",
        figure: PER_ECHO,
        targets: &[
            target(Echo, Mio, 1.05),
            target(EchoTold, Mio, 1.10),
            target(Echo, Tokio, 1.00),
        ],
        others: &[Blocking, Python, Socat, Ncat],
    },
    Row {
        key: "1000",
        title: "1,000 x 64 B",
        load: "-P 1000 --size 64",
        figure: PER_ECHO,
        targets: &[target(Echo, Mio, 1.05)],
        others: &[],
    },
    Row {
        key: "depth",
        title: "50 x 64 B, depth 16",
        load: "-P 50 --size 64 --depth 16",
        figure: PER_ECHO,
        targets: &[target(Echo, Mio, 1.05)],
        others: &[],
    },
    Row {
        key: "64k",
        title: "1 x 64 KiB, depth 8",
        load: "-P 1 --size 64KiB --depth 8",
        figure: per_gigabyte(64 << 10),
        targets: &[target(Echo, Mio, 0.75)],
        others: &[],
    },
    Row {
        key: "1m",
        title: "1 x 1 MiB, depth 2",
        load: "-P 1 --size 1MiB --depth 2",
        figure: per_gigabyte(1 << 20),
        targets: &[target(Echo, Mio, 0.75)],
        others: &[],
    },
    Row {
        key: "churn",
        title: "connect, one echo, close",
        load: "-P 8 --size 64 --new-connection",
        figure: cpu("CPU per connection", "us", 1e3),
        targets: &[target(Echo, Mio, 1.05), target(EchoTold, Echo, 1.10)],
        others: &[],
    },
    Row {
        key: "udp",
        title: "UDP 64 B, 256 in flight",
        // What is lost is for the table to tell.
        load: "--udp -P 1 --size 64 --depth 256 --fail-if loss>99%,late>99%",
        figure: cpu("CPU per datagram", "us", 1e3),
        targets: &[target(Echo, UdpPlain, 1.00)],
        others: &[],
    },
];

/// What was measured of a row.
pub struct Measured {
    /// The row.
    pub row: &'static Row,
    /// What each server gave, or why it could not be measured.
    pub series: BTreeMap<Contender, Result<Series, String>>,
}

/// What one server gave.
pub struct Series {
    /// The row's figure, round by round.
    figures: Vec<f64>,
    /// Echoes per second, round by round.
    pub rates: Vec<f64>,
    /// The share of datagrams lost.
    pub lost: f64,
}

/// Measures all of a row's servers: those with a target in turn, the others one after another.
pub fn measure(lab: &Lab, row: &'static Row) -> Result<Measured> {
    let compared = row.targets.iter().flat_map(|to| [to.ours, to.against]);
    let mut compared: Vec<_> = compared.collect();
    compared.sort();
    compared.dedup();
    let document = bench(lab, row, &compared)?;
    let targets = document["targets"].as_array().context("no targets")?;
    let mut series = BTreeMap::new();
    for (contender, told) in compared.into_iter().zip(targets) {
        series.insert(contender, Ok(Series::of(told, row.figure)?));
    }
    for &other in row.others {
        let alone = || Series::of(&bench(lab, row, &[other])?, row.figure);
        let measured = other.version().and_then(|_| {
            alone().map_err(|error| {
                eprintln!("bench: {}: {error:#}", other.name());
                format!("{error:#}")
            })
        });
        series.insert(other, measured);
    }
    Ok(Measured { row, series })
}

fn bench(lab: &Lab, row: &Row, contenders: &[Contender]) -> Result<Value> {
    let servers = contenders.iter().map(|contender| lab.start(*contender));
    let servers = servers.collect::<Result<Vec<Running>>>()?;
    let servers: Vec<&Running> = servers.iter().collect();
    let rounds = format!("{} --rounds {} --seed {SEED}", row.load, lab.rounds);
    lab.bench(&servers, &format!("{rounds} {}", lab.span()))
}

impl Series {
    /// Reads the rounds of a target from the client's document.
    fn of(told: &Value, figure: Figure) -> Result<Self> {
        let rounds = told["rounds"].as_array().context("no rounds")?;
        let all = |key: &str, unit: f64| {
            let values = rounds.iter().map(|round| {
                let value = round[key].as_f64();
                Ok(value.with_context(|| format!("a round has no {key}"))? / unit)
            });
            values.collect::<Result<Vec<f64>>>()
        };
        let [lost, sent] = ["lost", "sent"].map(|key| told[key].as_f64().unwrap_or(0.0));
        Ok(Series {
            figures: all(figure.key, figure.ns)?,
            rates: all("echoes_per_s", 1.0)?,
            lost: lost / sent,
        })
    }
}

impl Measured {
    /// The samples of a server that could be measured.
    pub fn samples(&self, contender: Contender) -> Option<&Series> {
        self.series.get(&contender)?.as_ref().ok()
    }

    /// A server's figure, where it could be measured.
    pub fn figure(&self, contender: Contender) -> Option<String> {
        let figure = self.row.figure;
        figure.measure.shown(&self.samples(contender)?.figures)
    }

    /// Every target of the row.
    pub fn comparisons(&self) -> impl Iterator<Item = Comparison> {
        self.row.targets.iter().filter_map(|target| {
            let goal = Goal {
                work: self.row.title,
                measure: self.row.figure.measure,
                ours: target.ours.name(),
                against: target.against.name(),
                at_most: target.at_most,
            };
            let [ours, against] = [target.ours, target.against].map(|side| self.samples(side));
            Comparison::of(goal, &ours?.figures, &against?.figures)
        })
    }
}
