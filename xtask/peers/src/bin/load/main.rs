//! The load that `cargo xtask bench` has of its own: as plain as can be, verifying nothing.
//!
//! `load MODE ADDRESS NUMBER...`; each prints one JSON object about what it did, in the words of
//! `echo-client bench --json`.

mod blocking;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: load tcp ADDRESS CONNECTIONS SIZE DEPTH MILLISECONDS
       load blocking ADDRESS SIZE MILLISECONDS
       load trains ADDRESS SIZE TRAINS MILLISECONDS";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(outcome) = run(&args) else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    match outcome {
        Ok(outcome) => println!("{}", outcome.json()),
        Err(error) => {
            eprintln!("load: {}: {error}", args.join(" "));
            std::process::exit(1);
        }
    }
}

/// `None` where the arguments make no sense.
fn run(args: &[String]) -> Option<io::Result<Outcome>> {
    let [mode, address, numbers @ .., time] = args else {
        return None;
    };
    let address: SocketAddr = address.parse().ok()?;
    let number = |text: &String| text.parse::<usize>().ok().filter(|number| *number > 0);
    let numbers = numbers.iter().map(number).collect::<Option<Vec<usize>>>()?;
    let end = Instant::now() + Duration::from_millis(number(time)? as u64);
    Some(match (mode.as_str(), &numbers[..]) {
        ("tcp", &[connections, size, depth]) => {
            let shape = tcp::Shape {
                connections,
                size,
                depth,
            };
            tcp::run(address, shape, end)
        }
        ("blocking", &[size]) => blocking::run(address, size, end),
        ("trains", &[size, trains]) => udp::trains(address, size, trains, end),
        _ => return None,
    })
}

/// What the load did.
#[derive(Default)]
struct Outcome {
    /// Echoes that came back whole.
    unique: u64,
    /// Datagrams that did not come back in time.
    lost: u64,
    /// Round trips in nanoseconds, where each was timed.
    round_trips: Vec<u64>,
}

impl Outcome {
    fn json(mut self) -> String {
        self.round_trips.sort_unstable();
        let p50 = self.round_trips.get(self.round_trips.len() / 2);
        let p50 = p50.map_or("null".to_owned(), u64::to_string);
        let (unique, lost) = (self.unique, self.lost);
        format!("{{\"unique\":{unique},\"lost\":{lost},\"rtt_p50_ns\":{p50}}}")
    }
}
