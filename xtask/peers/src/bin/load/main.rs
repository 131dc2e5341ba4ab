//! The load that `cargo xtask bench` has of its own: as plain as can be, verifying nothing.
//!
//! `load MODE ADDRESS NUMBER...`; each prints one JSON object about what it did and when, so that
//! the server's CPU can be read between the same two moments.

mod blocking;
mod tcp;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

const USAGE: &str = "usage: load tcp ADDRESS CONNECTIONS SIZE DEPTH MILLISECONDS
       load blocking ADDRESS SIZE MILLISECONDS
       load trains ADDRESS SIZE TRAINS MILLISECONDS";

/// Load runs before it is measured for this share of the measured time.
const WARMUP: f64 = 0.2;

/// A load that cannot do a single lap in this time is measured all the same.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(run) = parse(&args) else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    match run() {
        Ok(outcome) => println!("{}", outcome.json()),
        Err(error) => {
            eprintln!("load: {}: {error}", args.join(" "));
            std::process::exit(1);
        }
    }
}

type Run = Box<dyn FnOnce() -> io::Result<Outcome>>;

fn parse(args: &[String]) -> Option<Run> {
    let [mode, address, numbers @ ..] = args else {
        return None;
    };
    let address: SocketAddr = address.parse().ok()?;
    let numbers: Vec<usize> = numbers
        .iter()
        .map(|number| number.parse().ok().filter(|&number| number > 0))
        .collect::<Option<_>>()?;
    Some(match (mode.as_str(), &numbers[..]) {
        ("tcp", &[connections, size, depth, time]) => Box::new(move || {
            tcp::run(
                address,
                tcp::Shape {
                    connections,
                    size,
                    depth,
                },
                millis(time),
            )
        }),
        ("blocking", &[size, time]) => Box::new(move || blocking::run(address, size, millis(time))),
        ("trains", &[size, trains, time]) => {
            Box::new(move || udp::trains(address, size, trains, millis(time)))
        }
        _ => return None,
    })
}

fn millis(number: usize) -> Duration {
    Duration::from_millis(number as u64)
}

/// What the load did between two moments.
#[derive(Default)]
struct Outcome {
    /// Echoes that came back whole.
    echoes: u64,
    /// Bytes that came back.
    bytes: u64,
    /// Datagrams that did not come back in time.
    lost: u64,
    /// Round trips in nanoseconds, where each was timed.
    round_trips: Vec<u64>,
    /// When the count began and ended, in nanoseconds since 1970.
    from_ns: u128,
    to_ns: u128,
}

impl Outcome {
    fn json(mut self) -> String {
        self.round_trips.sort_unstable();
        let p50 = self.round_trips.get(self.round_trips.len() / 2);
        format!(
            "{{\"echoes\":{},\"bytes\":{},\"lost\":{},\"rtt_p50_ns\":{},\"from_unix_ns\":{},\"to_unix_ns\":{}}}",
            self.echoes,
            self.bytes,
            self.lost,
            p50.map_or("null".to_owned(), u64::to_string),
            self.from_ns,
            self.to_ns
        )
    }
}

/// Where in its time a load is: warming up, counting, done.
struct Clock {
    time: Duration,
    /// When the warm-up ends, then when the count does.
    next: Instant,
    counting: bool,
    /// Bytes that must have come back before the warm-up ends.
    lap: u64,
    /// When it ends without them.
    patience: Instant,
}

impl Clock {
    /// Starts now.
    fn start(time: Duration) -> Self {
        let now = Instant::now();
        Clock {
            time,
            next: now + time.mul_f64(WARMUP),
            counting: false,
            lap: 0,
            patience: now + PATIENCE,
        }
    }

    /// Warms up for a lap at least: at first all is sent and little comes back, which would look
    /// like work for nothing.
    fn after_lap(self, bytes: usize) -> Self {
        Clock {
            lap: bytes as u64,
            ..self
        }
    }

    /// Whether the time is over. Resets the outcome when counting begins, closes it at the end.
    /// A turn of the load may be long: each period begins when the one before it is seen to end.
    fn is_over(&mut self, outcome: &mut Outcome) -> bool {
        let now = Instant::now();
        let warm = self.counting || outcome.bytes >= self.lap || now >= self.patience;
        if now < self.next || !warm {
            return false;
        }
        if self.counting {
            outcome.to_ns = unix_ns();
            return true;
        }
        self.counting = true;
        self.next = now + self.time;
        *outcome = Outcome {
            from_ns: unix_ns(),
            ..Outcome::default()
        };
        false
    }

    /// What is left, for a wait.
    fn left(&self) -> Duration {
        let next = self.next.saturating_duration_since(Instant::now());
        // Within a lap, only what comes back ends the warm-up.
        if next.is_zero() { PATIENCE } else { next }
    }
}

fn unix_ns() -> u128 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos())
}
