//! A run from the first request to the last reply: starts the workers and collects their books.

use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::datagrams::Datagrams;
use super::dial::Dialed;
use super::flow::{Clock, Desk, Flow};
use super::pacer::{Bounds, Pacer};
use super::recorder::{Collector, Recorder, Recording, Slice};
use super::socket::Socket;
use super::stream::Stream;
use super::worker::{Done, Orders, Worker};
use crate::bench::Bench;
use crate::bench::progress::{INTERVAL, Progress, SoFar};
use crate::connection::{Address, Connect};
use crate::interrupt::Interrupt;
use crate::report::{Fault, Generator, Second};
use crate::wire::echo;
use crate::wire::message::Message;

/// Reads of this size cost no more per byte than larger ones do. A datagram fits too.
const BUFFER_LEN: usize = 64 << 10;
/// A slice of the books, when somebody watches the progress: five a second look live.
const WATCHED_SLICE: Duration = Duration::from_millis(200);
const SLICE: Duration = Duration::from_secs(1);

/// What a run has found out.
#[derive(Debug)]
pub struct Outcome {
    /// From the end of warm-up to the last reply, or to the end of sending.
    pub elapsed: Duration,
    /// The books.
    pub total: Slice,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// What the load cost.
    pub generator: Generator,
    /// The first thing that went wrong.
    pub fault: Option<Fault>,
}

/// Everything that the threads of a run share.
struct Run<'a> {
    connect: &'a Connect,
    config: &'a Bench,
    address: Address,
    clock: Clock,
    recording: Recording,
    threads: usize,
    stop: AtomicBool,
}

/// Makes load on the connections until time, number or the user ends it.
///
/// # Errors
/// The system refuses a thread or a poll.
pub fn drive(
    connect: &Connect,
    config: &Bench,
    dialed: Dialed,
    interrupt: &Interrupt,
) -> io::Result<Outcome> {
    let progress = Progress::new();
    let slice = match progress.is_shown() {
        true => WATCHED_SLICE,
        false => SLICE,
    };
    let run = Run {
        connect,
        config,
        address: dialed.address,
        clock: Clock(Instant::now()),
        recording: Recording {
            measure_from: nanos(config.warmup.0),
            slice_ns: nanos(slice),
            paced: config.rate > 0.0,
        },
        threads: config.threads.min(dialed.sockets.len()),
        stop: AtomicBool::new(false),
    };
    let mut shares: Vec<Vec<Box<dyn Flow>>> = Vec::new();
    shares.resize_with(run.threads, Vec::new);
    for (i, socket) in dialed.sockets.into_iter().enumerate() {
        shares[i % run.threads].push(run.flow(Socket::new(socket)?));
    }
    let mut collector = Collector::new(run.recording.paced, config.hdr.is_some());
    let done = run.work(shares, |slices| {
        run.collect(slices, &mut collector, progress, interrupt);
    })?;
    Ok(run.outcome(done, collector))
}

impl Run<'_> {
    /// Runs a worker for each share of the connections while `collect` takes what they record.
    fn work(
        &self,
        shares: Vec<Vec<Box<dyn Flow>>>,
        collect: impl FnOnce(&Receiver<Slice>),
    ) -> io::Result<Vec<Done>> {
        let (sender, slices) = mpsc::channel();
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for (index, flows) in shares.into_iter().enumerate() {
                let sender = sender.clone();
                let work = move || {
                    let done = self
                        .worker(index, flows, sender)
                        .and_then(|worker| worker.run());
                    self.stop_all_after(done)
                };
                let name = format!("load-{index}");
                let spawned = thread::Builder::new().name(name).spawn_scoped(scope, work);
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

    fn flow(&self, socket: Socket) -> Box<dyn Flow> {
        let (token, size) = (echo::token(), self.config.size.0 as usize);
        match self.address {
            Address::Udp(_) => Box::new(Datagrams::new(socket, token, size)),
            _ => {
                let message = Message::new(token, size, self.connect.framing);
                Box::new(Stream::new(socket, message))
            }
        }
    }

    fn worker(
        &self,
        index: usize,
        flows: Vec<Box<dyn Flow>>,
        sender: Sender<Slice>,
    ) -> io::Result<Worker<'_>> {
        let measure_from = self.recording.measure_from;
        let threads = self.threads as u64;
        let bounds = Bounds {
            measure_from,
            end: self
                .config
                .span()
                .map(|span| measure_from.saturating_add(nanos(span))),
            // The first workers take what does not divide.
            count: (self.config.count > 0).then(|| {
                self.config.count / threads
                    + u64::from((index as u64) < self.config.count % threads)
            }),
        };
        let pacer = match self.recording.paced {
            true => Pacer::rate(self.config.rate, index, self.threads, bounds),
            false => Pacer::closed(bounds),
        };
        let desk = Desk {
            clock: self.clock,
            recorder: Recorder::new(self.recording, sender),
            buffer: vec![0; BUFFER_LEN].into(),
            scratch: vec![0; BUFFER_LEN].into(),
            verify: !self.config.no_verify,
            address: self.address.clone(),
            mismatch: None,
        };
        let orders = Orders {
            depth: self.config.depth,
            timeout: self.connect.timeout.0,
            measure_from,
        };
        Worker::new(flows, pacer, desk, orders, &self.stop)
    }

    /// Takes the workers' books until the last of them has gone.
    fn collect(
        &self,
        slices: &Receiver<Slice>,
        collector: &mut Collector,
        mut progress: Progress,
        interrupt: &Interrupt,
    ) {
        loop {
            match slices.recv_timeout(INTERVAL / 2) {
                Ok(slice) => collector.take(&slice),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if interrupt.is_raised() {
                self.stop.store(true, Ordering::Relaxed);
            }
            let measured = self.clock.now().checked_sub(self.recording.measure_from);
            progress.show(SoFar {
                measured: measured.map(Duration::from_nanos),
                total: &collector.total,
            });
        }
        progress.clear();
    }

    fn outcome(&self, done: Vec<Done>, collector: Collector) -> Outcome {
        let measure_from = self.recording.measure_from;
        let since = |moment: u64| Duration::from_nanos(moment.saturating_sub(measure_from));
        let ends = done.iter().map(|d| d.sent_until.max(d.last_reply));
        let elapsed = since(ends.max().unwrap_or(measure_from));
        let (total, seconds) = collector.finish();
        let generator = generator(&done);
        let fault = done.into_iter().filter_map(|done| done.fault).next();
        Outcome {
            elapsed,
            total,
            seconds,
            generator,
            fault,
        }
    }
}

fn generator(done: &[Done]) -> Generator {
    let share = |part: Duration, done: &Done| part.as_nanos() as f64 / done.span.max(1) as f64;
    let ran = done.iter().map(|d| share(d.cpu.ran, d));
    let waited = done.iter().filter_map(|d| Some(share(d.cpu.waited?, d)));
    Generator {
        threads: done.len(),
        cpu_ns: done.iter().map(|d| nanos(d.cpu.ran)).sum(),
        busiest_share: ran.fold(0.0, f64::max),
        starved_share: waited.reduce(f64::max),
    }
}

/// A span in nanoseconds; 584 years at most.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
