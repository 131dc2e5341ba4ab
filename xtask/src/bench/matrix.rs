//! The rows of the comparison: what is asked of the servers, what is read off, what must be reached.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use echo_core::statistics::{Better, Pairing, Ratio, schedule};

use super::contender::Contender::{self, *};
use super::lab::{Lab, Sample};
use super::load::{Load, Shape};

/// One kind of work.
pub struct Row {
    /// Its name on the command line.
    pub key: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    load: Load,
    /// What is read off each sample.
    pub figure: Figure,
    targets: &'static [Target],
    /// Servers measured for the picture, with no target.
    others: &'static [Contender],
}

/// A ratio that must be reached.
struct Target {
    ours: Contender,
    against: Contender,
    at_most: f64,
}

/// What is read off a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Half of the round trips took at most this, in microseconds.
    RoundTrip,
    /// All but a hundredth of the round trips took at most this, in microseconds.
    SlowRoundTrip,
    /// Server CPU per echo, in microseconds.
    PerEcho,
    /// Server CPU per GB echoed, in milliseconds.
    PerGigabyte,
    /// Server CPU per connection, in microseconds.
    PerConnection,
    /// Server CPU per datagram echoed, in microseconds.
    PerDatagram,
}

const fn target(ours: Contender, against: Contender, at_most: f64) -> Target {
    Target {
        ours,
        against,
        at_most,
    }
}

const fn tcp(connections: usize, size: usize, depth: usize) -> Load {
    Load::Client(Shape {
        connections,
        size,
        depth,
    })
}

/// Every row, in the order of the report.
pub const ROWS: &[Row] = &[
    Row {
        key: "ping-pong",
        title: "1 x 64 B, ping-pong",
        load: tcp(1, 64, 1),
        figure: Figure::RoundTrip,
        targets: &[target(Echo, Blocking, 0.35)],
        others: &[Mio, Tokio, Python, Socat, Ncat],
    },
    Row {
        key: "50",
        title: "50 x 64 B",
        load: tcp(50, 64, 1),
        figure: Figure::PerEcho,
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
        load: tcp(1000, 64, 1),
        figure: Figure::PerEcho,
        targets: &[target(Echo, Mio, 1.05)],
        others: &[],
    },
    Row {
        key: "depth",
        title: "50 x 64 B, depth 16",
        load: tcp(50, 64, 16),
        figure: Figure::PerEcho,
        targets: &[target(Echo, Mio, 1.05)],
        others: &[],
    },
    Row {
        key: "64k",
        title: "1 x 64 KiB, depth 8",
        load: tcp(1, 64 << 10, 8),
        figure: Figure::PerGigabyte,
        targets: &[target(Echo, Mio, 0.75)],
        others: &[],
    },
    Row {
        key: "1m",
        title: "1 x 1 MiB, depth 2",
        load: tcp(1, 1 << 20, 2),
        figure: Figure::PerGigabyte,
        targets: &[target(Echo, Mio, 0.75)],
        others: &[],
    },
    Row {
        key: "beside",
        title: "ping beside 2 x 1 MiB, depth 2",
        load: Load::Beside,
        figure: Figure::SlowRoundTrip,
        targets: &[target(Echo, EchoCopying, 1.20)],
        others: &[],
    },
    Row {
        key: "churn",
        title: "connect, one echo, close",
        load: Load::Churn(Shape {
            connections: 8,
            size: 64,
            depth: 1,
        }),
        figure: Figure::PerConnection,
        targets: &[target(Echo, Mio, 1.05), target(EchoTold, Echo, 1.10)],
        others: &[],
    },
    Row {
        key: "trains",
        title: "UDP 64 B, GSO trains",
        // All that one socket's buffer holds: more would be lost, by any server.
        load: Load::Trains {
            size: 64,
            trains: 4,
        },
        figure: Figure::PerDatagram,
        targets: &[target(Echo, UdpPlain, 0.10)],
        others: &[],
    },
    Row {
        key: "udp",
        title: "UDP 64 B, 256 in flight",
        load: Load::Datagrams(Shape {
            connections: 1,
            size: 64,
            depth: 256,
        }),
        figure: Figure::PerDatagram,
        targets: &[target(Echo, UdpPlain, 1.00)],
        others: &[],
    },
];

impl Figure {
    /// What the number means, for a table.
    pub fn name(self) -> &'static str {
        match self {
            Figure::RoundTrip => "round trip p50",
            Figure::SlowRoundTrip => "round trip p99",
            Figure::PerEcho => "CPU per echo",
            Figure::PerGigabyte => "CPU per GB",
            Figure::PerConnection => "CPU per connection",
            Figure::PerDatagram => "CPU per datagram",
        }
    }

    /// The unit of [`Figure::of`].
    pub fn unit(self) -> &'static str {
        match self {
            Figure::PerGigabyte => "ms",
            _ => "us",
        }
    }

    /// The number itself.
    pub fn of(self, sample: &Sample) -> Result<f64> {
        let cpu_us = sample.server_cpu.as_secs_f64() * 1e6;
        let (amount, count) = match self {
            Figure::RoundTrip | Figure::SlowRoundTrip => {
                let round_trip = match self {
                    Figure::RoundTrip => sample.outcome.round_trip,
                    _ => sample.outcome.slow_round_trip,
                };
                let round_trip = round_trip.context("too few round trips were timed")?;
                return Ok(round_trip.as_secs_f64() * 1e6);
            }
            Figure::PerGigabyte => (cpu_us / 1e3, sample.outcome.bytes / 1e9),
            _ => (cpu_us, sample.outcome.echoes),
        };
        if count == 0.0 {
            bail!("nothing was echoed");
        }
        Ok(amount / count)
    }
}

/// What was measured of a row.
pub struct Measured {
    /// The row.
    pub row: &'static Row,
    /// What each server gave, round by round, or why it could not be measured.
    pub series: BTreeMap<Contender, Result<Series, String>>,
}

/// One server's samples.
#[derive(Default)]
pub struct Series {
    /// The row's figure, round by round.
    pub figures: Vec<f64>,
    /// Echoes per second, round by round.
    pub rates: Vec<f64>,
    /// The share of datagrams lost, round by round.
    pub losses: Vec<f64>,
}

/// One target, with what was reached.
pub struct Comparison {
    /// The server that has to reach it.
    pub ours: Contender,
    /// The one it is held against.
    pub against: Contender,
    /// The ratio of their figures.
    pub ratio: Ratio,
    /// The most it may be.
    pub at_most: f64,
}

/// What the rounds are shuffled and drawn again by: the same rounds give the same interval.
pub const SEED: u64 = 1;

impl Row {
    fn contenders(&self) -> Vec<Contender> {
        let targets = self
            .targets
            .iter()
            .flat_map(|target| [target.ours, target.against]);
        let mut all: Vec<_> = targets.chain(self.others.iter().copied()).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Measures all of a row's servers in turn, `rounds` times.
pub fn measure(lab: &Lab, row: &'static Row, rounds: u32) -> Result<Measured> {
    let contenders = row.contenders();
    let mut series = BTreeMap::new();
    for &contender in &contenders {
        series.insert(contender, contender.version().map(|_| Series::default()));
    }
    for order in schedule(contenders.len(), rounds as usize, SEED) {
        for contender in order.into_iter().map(|i| &contenders[i]) {
            let Some(Ok(samples)) = series.get_mut(contender) else {
                continue;
            };
            match sample(lab, row, *contender) {
                Ok((figure, sample)) => {
                    samples.figures.push(figure);
                    let seconds = sample.elapsed.as_secs_f64();
                    samples.rates.push(sample.outcome.echoes / seconds);
                    samples
                        .losses
                        .push(sample.outcome.lost / (sample.outcome.echoes + sample.outcome.lost));
                }
                Err(error) if contender.is_ours() => return Err(error),
                Err(error) => {
                    eprintln!("bench: {}: {error:#}", contender.name());
                    series.insert(*contender, Err(format!("{error:#}")));
                }
            }
        }
    }
    Ok(Measured { row, series })
}

fn sample(lab: &Lab, row: &Row, contender: Contender) -> Result<(f64, Sample)> {
    let server = lab.start(contender)?;
    let sample = lab.load(&server, row.load)?;
    Ok((row.figure.of(&sample)?, sample))
}

impl Measured {
    /// The samples of a server that could be measured.
    pub fn samples(&self, contender: Contender) -> Option<&Series> {
        self.series.get(&contender)?.as_ref().ok()
    }

    /// Every target of the row whose servers were both measured.
    pub fn comparisons(&self) -> Vec<Comparison> {
        let ratio = |ours, against| {
            let (ours, against) = (self.samples(ours)?, self.samples(against)?);
            Ratio::of(&ours.figures, &against.figures, Pairing::InTurn, SEED)
        };
        let reached = |target: &Target| {
            Some(Comparison {
                ours: target.ours,
                against: target.against,
                ratio: ratio(target.ours, target.against)?,
                at_most: target.at_most,
            })
        };
        self.row.targets.iter().filter_map(reached).collect()
    }
}

impl Comparison {
    /// Whether the target was reached, and what the ratio says by itself.
    pub fn verdict(&self) -> String {
        let Ratio {
            ratio, interval, ..
        } = self.ratio;
        let reached = if ratio <= self.at_most {
            "pass"
        } else {
            "miss"
        };
        let is_sure =
            interval.is_some_and(|[low, high]| high <= self.at_most || low > self.at_most);
        let noise = if is_sure { "" } else { " within noise" };
        format!(
            "{reached}{noise}, {}",
            self.ratio.verdict(Better::Less).word()
        )
    }
}

/// A ratio with its interval.
pub fn interval(ratio: &Ratio) -> String {
    match ratio.interval {
        Some([low, high]) => format!("{:.2}x ({low:.2} to {high:.2})", ratio.ratio),
        None => format!("{:.2}x", ratio.ratio),
    }
}
