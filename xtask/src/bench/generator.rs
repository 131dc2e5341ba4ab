//! What the load itself costs: `echo-client bench`, which verifies every byte and records every
//! latency, beside the plainest generator there is.

use anyhow::{Context, Result};

use super::contender::Contender;
use super::fact::Fact;
use super::lab::Lab;
use super::load::{Load, Shape};
use super::stats::Spread;

/// Measures both generators in turn, `rounds` times each, against the same kind of server.
pub fn measure(lab: &Lab, rounds: u32) -> Result<Vec<Fact>> {
    [1, 16]
        .map(|depth| compare(lab, depth, rounds))
        .into_iter()
        .collect()
}

fn compare(lab: &Lab, depth: usize, rounds: u32) -> Result<Fact> {
    let shape = Shape {
        connections: 50,
        size: 64,
        depth,
    };
    let (mut client, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        client.push(cost(lab, Load::Client(shape))?);
        plain.push(cost(lab, Load::Plain(shape))?);
    }
    let ratio = Spread::of_ratios(&client, &plain).context("nothing was measured")?;
    let median = |costs: &[f64]| Spread::of(costs).map_or(0.0, |spread| spread.median);
    Ok(Fact {
        title: format!("echo-client bench, 50 x 64 B, depth {depth}"),
        measure: "its CPU per echo",
        value: format!(
            "{:.2} us, a plain generator {:.2} us: {:.2}x ({:.2} to {:.2})",
            median(&client),
            median(&plain),
            ratio.median,
            ratio.low,
            ratio.high
        ),
        target: "at most 1.00x".to_owned(),
        pass: ratio.median <= 1.0,
    })
}

/// The load's CPU time per echo, in microseconds.
fn cost(lab: &Lab, load: Load) -> Result<f64> {
    let server = lab.start(Contender::Mio)?;
    let sample = lab.load(&server, load)?;
    Ok(sample.load_cpu.as_secs_f64() * 1e6 / sample.outcome.echoes)
}
