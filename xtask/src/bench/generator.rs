//! What our client costs as a load, and what it adds to a round trip, beside the plainest there is:
//! it verifies every byte and records every latency.

use anyhow::{Context, Result};
use echo_core::statistics::{Pairing, Ratio, figure as middle};

use super::contender::Contender;
use super::fact::Fact;
use super::lab::{Lab, Sample};
use super::load::{Load, Shape};
use super::matrix::{SEED, interval};

/// Measures both generators in turn, `rounds` times each, against the same kind of server.
pub fn measure(lab: &Lab, rounds: u32) -> Result<Vec<Fact>> {
    let shape = |depth| Shape {
        connections: 50,
        size: 64,
        depth,
    };
    let cost = |(depth, at_most)| {
        let fact = compare(
            lab,
            rounds,
            [Load::Client(shape(depth)), Load::Plain(shape(depth))],
            |sample| Ok(sample.load_cpu.as_secs_f64() * 1e6 / sample.outcome.echoes),
            at_most,
        )?;
        Ok(Fact {
            title: format!("echo-client bench, 50 x 64 B, depth {depth}"),
            measure: "its CPU per echo",
            ..fact
        })
    };
    let ping = || {
        let loads = [Load::Ping { size: 64 }, Load::Blocking { size: 64 }];
        let p50 = |sample: &Sample| {
            let p50 = sample
                .outcome
                .round_trip
                .context("no round trip was timed")?;
            Ok(p50.as_secs_f64() * 1e6)
        };
        Ok(Fact {
            title: "echo-client ping, 64 B".to_owned(),
            measure: "round trip p50",
            ..compare(lab, rounds, loads, p50, 1.10)?
        })
    };
    [cost((1, 1.05)), cost((16, 1.10)), ping()]
        .into_iter()
        .collect()
}

fn compare(
    lab: &Lab,
    rounds: u32,
    [ours, plain]: [Load; 2],
    figure: impl Fn(&Sample) -> Result<f64>,
    at_most: f64,
) -> Result<Fact> {
    let measured = |load| -> Result<f64> {
        let server = lab.start(Contender::Mio)?;
        figure(&lab.load(&server, load)?)
    };
    let (mut client, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        client.push(measured(ours)?);
        bare.push(measured(plain)?);
    }
    let ratio = Ratio::of(&client, &bare, Pairing::InTurn, SEED).context("nothing was measured")?;
    let [client, bare] = [client, bare].map(|figures| middle(&figures).unwrap_or(0.0));
    Ok(Fact {
        title: String::new(),
        measure: "",
        value: format!(
            "{client:.2} us, the plainest {bare:.2} us: {}",
            interval(&ratio)
        ),
        target: format!("at most {at_most:.2}x"),
        pass: ratio.ratio <= at_most,
    })
}
