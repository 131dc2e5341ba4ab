//! What sends requests and measures: one worker loop, a pacer that alone knows the rate, a ledger
//! that says what each request has become, and the books.

pub(crate) mod clock;
mod collector;
pub mod cpu;
mod datagrams;
mod dial;
pub(crate) mod flow;
pub mod ledger;
mod notes;
mod offset;
mod pacer;
mod pause;
mod plan;
pub(crate) mod recorder;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod simulation;
mod sink;
mod socket;
mod stamped;
mod stream;
pub(crate) mod wait;
mod ways;
mod worker;

use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, SystemTime};

pub(crate) use echo_core::units::ns as nanos;
use echo_core::units::unix_ns;

pub use ledger::Class;
pub use plan::{Pace, Plan};
pub use sink::{Event, Peer, Sink, What};

use crate::connection::{Address, Connection, ErrorKind, Fault, ancillary};
use crate::interrupt::Interrupt;
use crate::report::{Report, Span, Whose};
use crate::thread::start_in;
use crate::wire::echo;
use crate::wire::message::Message;
use crate::wire::stamp::Packets;
use clock::Clock;
use collector::Collector;
use datagrams::{Datagrams, Echo};
use flow::{Found, Transport};
use offset::Clocks;
use recorder::Slice;
use stamped::Stamped;
use stream::Stream;
use worker::{Ended, Worker};

/// Reads of this size cost no more per byte than larger ones do. A datagram fits too.
const BUFFER_LEN: usize = 64 << 10;
/// How often those who watch are told: as often as an eye follows.
const INTERVAL: Duration = Duration::from_millis(50);

/// Sends requests as `plan` says until it is done, or the user or the sink's end stops it. Fills
/// the `report`, which says what is known before, with all that is known then.
pub fn run(plan: &Plan, mut report: Report, sink: &dyn Sink, interrupt: &Interrupt) -> Report {
    let connections = match dial::dial(&plan.connect, plan.beforehand(), interrupt) {
        Ok(connections) => connections,
        Err(fault) => {
            report.fault = Some(fault);
            return report;
        }
    };
    let address = connections[0].remote.clone();
    report.target.found(&address);
    report.environment.congestion_control = connections[0].congestion_control();
    let target = report.target.clone();
    sink.tell(What::Start { target });
    let run = Run {
        plan,
        address,
        clock: Clock::start(),
        measure_from: nanos(plan.warmup),
        threads: plan.threads.min(plan.parallel),
        sink,
        interrupt,
        stop: AtomicBool::new(false),
        heard: AtomicBool::new(false),
    };
    report.started_unix_ns = unix_ns(SystemTime::now() + plan.warmup);
    let has_seconds = plan.log || report.load.is_some();
    let mut collector = Collector::new(has_seconds, plan.log);
    let mut begun = None;
    let worked = run.work(connections, |slices| {
        begun = run.collect(slices, &mut collector);
    });
    let (idle, damaged) = begun.unwrap_or_default();
    match worked {
        Ok(ended) => {
            // What came damaged was lost on the way: ours, or another program's.
            let damaged = run.damaged().saturating_sub(damaged);
            let overflowed = &mut collector.total.counts.overflowed;
            *overflowed = overflowed.saturating_sub(damaged);
            run.conclude(&mut report, ended, collector);
            let used = idle.zip(run.server_cpu());
            report.server_cpu_ns = used.map(|(before, after)| nanos(after.saturating_sub(before)));
        }
        Err(error) => {
            report.fault = Some(Fault::from(&error).of("the run was cut short"));
            // The target was reached: it is this side that cannot go on.
            report.counts.connections = plan.beforehand() as u64;
        }
    }
    report
}

/// Everything that the threads of a run share.
struct Run<'a> {
    plan: &'a Plan,
    address: Address,
    clock: Clock,
    /// When warm-up ends.
    measure_from: u64,
    threads: usize,
    sink: &'a dyn Sink,
    interrupt: &'a Interrupt,
    stop: AtomicBool,
    /// Whether anything has been answered.
    heard: AtomicBool,
}

impl Run<'_> {
    /// Runs a worker for each share of the connections while `collect` takes what they record.
    fn work(
        &self,
        connections: Vec<Connection>,
        collect: impl FnOnce(&Receiver<Slice>),
    ) -> io::Result<Vec<Ended>> {
        let mut shares: Vec<Vec<Connection>> = Vec::new();
        shares.resize_with(self.threads, Vec::new);
        for (i, connection) in connections.into_iter().enumerate() {
            shares[i % self.threads].push(connection);
        }
        let (sender, slices) = mpsc::channel();
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for (index, share) in shares.into_iter().enumerate() {
                let sender = sender.clone();
                let work = move || {
                    let worker = Worker::new(self, index, share, sender);
                    self.stop_all_after(worker.and_then(Worker::run))
                };
                let spawned = start_in(scope, &format!("load-{index}"), work);
                workers.push(self.stop_all_after(spawned)?);
            }
            drop(sender);
            collect(&slices);
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    }

    /// One worker's failure ends the run: what the others measure is not what was asked for.
    fn stop_all_after<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        result
    }

    /// Takes the workers' books until the last of them has gone. Returns what the server had used
    /// of its processor when measuring began, and how many datagrams had come damaged.
    fn collect(
        &self,
        slices: &Receiver<Slice>,
        collector: &mut Collector,
    ) -> Option<(Option<Duration>, u64)> {
        let mut begun = None;
        loop {
            let warmup = self.measure_from.checked_sub(self.clock.now());
            let warmup = warmup
                .map(Duration::from_nanos)
                .filter(|left| !left.is_zero());
            if warmup.is_none() && begun.is_none() {
                begun = Some((self.server_cpu(), self.damaged()));
            }
            match slices.recv_timeout(warmup.map_or(INTERVAL, |left| left.min(INTERVAL))) {
                Ok(slice) => collector.take(slice),
                Err(RecvTimeoutError::Disconnected) => return begun,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.sink.is_closed() {
                self.stop.store(true, Ordering::Relaxed);
            }
            let measured = self.clock.now().checked_sub(self.measure_from);
            let measured = measured.map(Duration::from_nanos);
            let is_asked = self.interrupt.take_question();
            self.sink.so_far(measured, &collector.total, is_asked);
        }
    }

    /// Datagrams that came damaged so far, to whomever on this machine: ours are no more than that.
    fn damaged(&self) -> u64 {
        match self.plan.connect.is_udp() {
            true => ancillary::damaged(),
            false => 0,
        }
    }

    fn server_cpu(&self) -> Option<Duration> {
        self.plan.server.and_then(cpu::of_process)
    }

    fn conclude(&self, report: &mut Report, mut ended: Vec<Ended>, collector: Collector) {
        let latest = |of: fn(&Ended) -> u64| {
            let latest = ended.iter().map(of).max().unwrap_or(0);
            Duration::from_nanos(latest.saturating_sub(self.measure_from))
        };
        let until = latest(|one| one.until);
        report.took = until.max(latest(|one| one.last_reply));
        let meant = latest(|one| one.meant);
        let counts = &collector.total.counts;
        report.elapsed = self.plan.window(counts, until, meant);
        let longest = self.plan.duration.unwrap_or(Duration::MAX);
        let (total, seconds) = collector.finish(report.elapsed.min(longest));
        report.add(&total);
        // Some may have been copies, or have come after their request was given up by all.
        report.counts.overflowed = total.counts.overflowed.min(total.counts.lost);
        let has_departures = ended.iter().any(|one| one.has_departures);
        let is_udp = self.plan.connect.is_udp();
        report.timestamps = is_udp.then_some(match report.of(Span::Host) {
            None => Whose::User,
            Some(_) if has_departures => Whose::Kernel,
            Some(_) => Whose::Receive,
        });
        // Of several connections at once, that would be how much they differ.
        if let [lone] = &ended[..]
            && (report.load.is_none() || self.plan.parallel == 1)
        {
            report.jitter_ns = lone.jitter_ns;
        }
        self.sum_up_ways(report, &mut ended);
        report.notes = notes::notes(self.plan, report, &ended);
        if report.load.is_none() {
            report.generator = None;
        }
        report.seconds = seconds;
        report.fault = self.fault(report, &ended);
    }

    /// Adds what follows from all that a reflector told of both ways.
    fn sum_up_ways(&self, report: &mut Report, ended: &mut [Ended]) {
        let Some(ways) = &mut report.ways else {
            return;
        };
        let mut clocks = Clocks::default();
        for one in ended {
            clocks.merge(std::mem::take(&mut one.found.clocks));
        }
        clocks.conclude(ways, &mut report.others);
        ways.sent_dscp = self.plan.connect.dscp.unwrap_or(0);
        let known = ways.lost_there + ways.lost_back;
        ways.lost_unknown = report.counts.lost.saturating_sub(known);
    }

    /// What made the run's answer bad, beyond what the counts say.
    fn fault(&self, report: &Report, ended: &[Ended]) -> Option<Fault> {
        let first =
            |of: fn(&Found) -> &Option<Fault>| ended.iter().find_map(|one| of(&one.found).clone());
        let grave = first(|found| &found.mismatch).or_else(|| first(|found| &found.fault));
        // Of a target that never answered, and of what this machine lacks, the reason is worth more
        // than the count.
        let is_silent = report.counts.received == 0;
        let tells = |fault: &Fault| is_silent || fault.kind == ErrorKind::Exhausted;
        let last = || first(|found| &found.last_error).filter(tells);
        let found = grave.or_else(last).map(|fault| fault.of(&self.address));
        match (found, report.load) {
            (Some(fault), _) if fault.kind == ErrorKind::Timeout && report.counts.unique == 0 => {
                Some(fault.advise(report.whether_it_is_there()))
            }
            (None, Some(_)) if report.counts.sent == 0 => {
                let unsent = report.counts.unsent;
                Some(notes::nothing(self.plan, unsent, self.interrupt))
            }
            (found, _) => found,
        }
    }
}

/// How the requests of `plan` travel to `address`.
pub(crate) fn transport(plan: &Plan, address: &Address) -> Box<dyn Transport> {
    let (token, size) = (echo::token(), plan.size);
    match address {
        Address::Udp(_) if plan.connect.is_stamp() => {
            let (key, class) = (plan.connect.key.clone(), plan.connect.dscp.unwrap_or(0));
            Box::new(Datagrams::new(Stamped::new(Packets::new(key, size, class))))
        }
        Address::Udp(_) => Box::new(Datagrams::new(Echo { token, size })),
        _ => {
            let message = Message::new(token, size, plan.connect.framing);
            Box::new(Stream::new(message))
        }
    }
}
