//! Runs added up: counts and distributions exactly, seconds where they fell on the wall clock.

use std::time::Duration;

use echo_core::escape::printable;
use serde_json::Value;

use super::{Generator, Part, Report, Second};

/// Runs that overlap by less have no rate in common.
const TOGETHER: f64 = 0.9;
/// From this share of a core on, a thread has no time left to be on time.
const FULL: f64 = 0.95;
const SECOND_NS: u64 = 1_000_000_000;

impl Report {
    /// The same run before anything was measured.
    pub fn without_figures(&self) -> Self {
        Report {
            mode: self.mode,
            label: self.label.clone(),
            command: self.command.clone(),
            config: self.config.clone(),
            target: self.target.clone(),
            environment: self.environment.clone(),
            started_unix_ns: self.started_unix_ns,
            load: self.load,
            ..Report::default()
        }
    }

    /// What was done otherwise in another run; `None` where the figures of both mean the same.
    pub fn difference(&self, other: &Report) -> Option<String> {
        if self.mode != other.mode {
            let [own, other] = [self, other].map(|report| report.mode);
            return Some(format!("one is of {own}, the other of {other}"));
        }
        for key in [
            "stamp",
            "rate",
            "interval",
            "parallel",
            "depth",
            "size",
            "framing",
            "new-connection",
        ] {
            let [own, other] = [self, other].map(|report| report.config.get(key));
            if own != other {
                let shown =
                    |value: Option<&Value>| printable(&value.unwrap_or(&Value::Null).to_string());
                let [own, other] = [own, other].map(shown);
                return Some(format!("one has --{key} {own}, the other {other}"));
            }
        }
        (self.load != other.load).then(|| {
            let [own, other] = [self.load, other.load]
                .map(|load| load.map_or("none".to_owned(), |load| load.to_string()));
            format!("the load of one is {own}, that of the other {other}")
        })
    }

    /// Adds a round, which was measured after those that are known.
    pub fn add_round(&mut self, round: Report) {
        if self.rounds.is_empty() {
            self.started_unix_ns = round.started_unix_ns;
            self.target = round.target.clone();
            self.environment = round.environment.clone();
        }
        self.add(&round);
        // They were at work one round after the other.
        if let (Some(all), Some(own)) = (&mut self.generator, &round.generator) {
            all.threads = own.threads;
        }
        self.elapsed += round.elapsed;
        self.took += round.took;
        let used = self.server_cpu_ns.into_iter().chain(round.server_cpu_ns);
        self.server_cpu_ns = used.reduce(|sum, more| sum + more);
        self.rounds.push(Part::of(&round));
        for note in round.notes {
            // The same note of another round has other figures.
            let gist = |note: &str| {
                note.split(|c: char| c.is_ascii_digit())
                    .next()
                    .map(str::to_owned)
            };
            if !self.notes.iter().any(|known| gist(known) == gist(&note)) {
                self.notes.push(note);
            }
        }
    }

    /// Adds what another machine has measured, or several of them, at the same time; none began
    /// before this did.
    pub fn add_machines(&mut self, other: &Report) {
        self.add(other);
        let end = Part::of(other).end_unix_ns();
        let whole = Duration::from_nanos(end.saturating_sub(self.started_unix_ns));
        self.elapsed = self.elapsed.max(whole);
        self.machines.extend(other.in_parts(&other.machines));
        let notes = other.notes.iter();
        let hostname = &other.environment.hostname;
        self.notes
            .extend(notes.map(|note| format!("{hostname}: {note}")));
    }

    /// Adds what `other` found out. Its seconds go where they belong after the start of this one,
    /// which is not later; nothing is said of the time that both took together.
    pub fn add(&mut self, other: &Report) {
        self.counts.add(&other.counts);
        self.rtt.merge(&other.rtt);
        self.others.merge(&other.others);
        match (&mut self.ways, &other.ways) {
            (Some(own), Some(other)) => own.add(other),
            (own, other) => *own = own.take().or(other.clone()),
        }
        // Those of a run that has the fewest are those of all.
        self.timestamps = self.timestamps.max(other.timestamps);
        for (&kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.generator = match (self.generator.take(), other.generator.clone()) {
            (Some(own), Some(other)) => Some(own.and(&other)),
            (own, other) => own.or(other),
        };
        // What differs from one run to another differs by more than jitter.
        self.jitter_ns = None;
        let after_s = self.seconds_until(other.started_unix_ns);
        for mut second in other.seconds.iter().cloned() {
            second.start_s += after_s;
            let own = &mut self.seconds;
            match own.binary_search_by_key(&second.start_s, |own| own.start_s) {
                Ok(at) => own[at].add(&second),
                Err(at) => own.insert(at, second),
            }
        }
    }

    /// The whole seconds from the start of this run to that of a part of it.
    fn seconds_until(&self, started_unix_ns: u64) -> u64 {
        let after = started_unix_ns.saturating_sub(self.started_unix_ns);
        (after + SECOND_NS / 2) / SECOND_NS
    }

    /// From when to when each of its parts measured, in seconds as `seconds` counts them.
    pub fn windows(&self) -> Vec<[f64; 2]> {
        let parts = self.in_parts(&[&self.rounds[..], &self.machines].concat());
        let window = |part: Part| {
            let from = self.seconds_until(part.started_unix_ns) as f64;
            [from, from + part.elapsed_ns as f64 / SECOND_NS as f64]
        };
        parts.into_iter().map(window).collect()
    }

    /// The share of the whole time in which all the machines measured; 1 of a single one.
    pub fn together(&self) -> f64 {
        let ends = self.machines.iter().map(Part::end_unix_ns);
        let starts = self.machines.iter().map(|m| m.started_unix_ns);
        let (Some(first), Some(last)) = (starts.clone().min(), starts.max()) else {
            return 1.0;
        };
        let (earliest, latest) = (ends.clone().min().unwrap_or(0), ends.max().unwrap_or(0));
        match latest - first {
            0 => 1.0,
            whole => earliest.saturating_sub(last) as f64 / whole as f64,
        }
    }

    /// Whether a thread that made the load had no time left.
    pub fn is_generator_full(&self) -> bool {
        let generator = self.generator.as_ref();
        let share = generator.and_then(|generator| generator.busiest_share);
        share.is_some_and(|share| share >= FULL)
    }

    /// Processor time of the server for an echo, where it is known.
    pub fn server_cpu_per_echo_ns(&self) -> Option<f64> {
        let echoes = (self.counts.unique > 0).then_some(self.counts.unique as f64)?;
        Some(self.server_cpu_ns? as f64 / echoes)
    }

    /// Whether counts and time belong together, so that one by the other is a rate.
    pub fn has_rate(&self) -> bool {
        !self.elapsed.is_zero() && self.together() >= TOGETHER
    }
}

impl Generator {
    fn and(self, other: &Generator) -> Self {
        let larger = |own: Option<f64>, other: Option<f64>| {
            own.into_iter().chain(other).max_by(f64::total_cmp)
        };
        Generator {
            threads: self.threads + other.threads,
            cpu_ns: self.cpu_ns.saturating_add(other.cpu_ns),
            busiest_share: larger(self.busiest_share, other.busiest_share),
            starved_share: larger(self.starved_share, other.starved_share),
            paused_ns: self.paused_ns.max(other.paused_ns),
        }
    }
}

impl Second {
    /// Percentiles cannot be added; those of a second in which both echoed are not known.
    fn add(&mut self, other: &Second) {
        let only = |own: Option<u64>, theirs: Option<u64>| match (self.echoes, other.echoes) {
            (_, 0) => own,
            (0, _) => theirs,
            _ => None,
        };
        self.rtt_p50_ns = only(self.rtt_p50_ns, other.rtt_p50_ns);
        self.rtt_p99_ns = only(self.rtt_p99_ns, other.rtt_p99_ns);
        self.rtt_max_ns = self.rtt_max_ns.max(other.rtt_max_ns);
        self.sent += other.sent;
        self.echoes += other.echoes;
        self.lost += other.lost;
        self.unsent += other.unsent;
        self.errors += other.errors;
    }
}
