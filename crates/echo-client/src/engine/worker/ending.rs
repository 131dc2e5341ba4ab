//! The end of a worker: once nothing more is due, replies are waited for, and all is summed up.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{LAST_TURNS, Worker};
use crate::engine::cpu::Cpu;
use crate::engine::flow::{Context, Flow, Found, State};
use crate::engine::nanos;
use crate::engine::pause::Pauses;
use crate::interrupt::Why;
use crate::report::{Generator, significant};

/// What a worker leaves behind besides its books.
#[derive(Debug)]
pub struct Ended {
    /// Until when it was to send, in nanoseconds since the run began.
    pub until: u64,
    /// When the last right reply came.
    pub last_reply: u64,
    /// Until when that was meant, as the pacer says.
    pub meant: u64,
    /// The times it stood still itself.
    pub pauses: Pauses,
    /// How much round trips differ from one to the next.
    pub jitter_ns: Option<u64>,
    /// Whether the kernel has said when requests left.
    pub has_departures: bool,
    /// What it found out.
    pub found: Found,
}

/// Of a shorter time nobody says which share of a core was used.
const SHORTEST_SHARE_NS: u64 = 100_000_000;
/// How long replies are waited for after an interrupt, since a person waits for them too.
const PARTING_NS: u64 = 1_000_000_000;
/// And at a deadline: a reply that is all but there is no loss.
const DEADLINE_NS: u64 = 20_000_000;
/// Over UDP a second copy of the last reply may still be on its way. It is waited for as long as
/// the slowest round trip took, twice: at least for this long, and [`PARTING_NS`] at most.
const STRAGGLERS_NS: u64 = 20_000_000;

impl Worker<'_> {
    /// Waits for the replies that are still due: as long as for any reply, but not for a person
    /// who has asked to stop, nor beyond a deadline. Only right replies keep it waiting.
    pub(super) fn drain(&mut self, start: u64) -> io::Result<()> {
        loop {
            let now = self.context.clock.now();
            self.look_around(now);
            let awaited = self.flows.iter().any(|flow| flow.ledger.awaited() > 0);
            let parting = match self.why {
                Some(Why::Deadline(_)) => DEADLINE_NS,
                Some(_) => PARTING_NS,
                None if self.run.stop.load(Ordering::Relaxed) => PARTING_NS,
                None => u64::MAX,
            };
            let stragglers = match awaited {
                true => u64::MAX,
                false => self.stragglers(),
            };
            if now >= stragglers || now >= start.saturating_add(parting) {
                return Ok(());
            }
            self.next_look = self.next_look.min(stragglers);
            self.sleep(now)?;
        }
    }

    /// Until when something may come that is not awaited: a second copy, or a late reply.
    fn stragglers(&self) -> u64 {
        let recorder = &self.context.recorder;
        let copies = match self.is_udp && self.why.is_none() {
            true if recorder.slowest > 0 => {
                let twice = recorder.slowest.saturating_mul(2);
                recorder.last_reply + twice.clamp(STRAGGLERS_NS, PARTING_NS)
            }
            _ => 0,
        };
        // As late as the slowest was; where nothing has come yet, as long as any is waited for. And
        // once more, for the path may be slower than that.
        let trip = match recorder.slowest {
            0 => nanos(self.run.plan.connect.timeout.0),
            slowest => slowest,
        };
        let overdue = |flow: &Flow| match flow.state {
            State::Open(_) => flow.ledger.overdue(),
            _ => None,
        };
        let late = self.flows.iter().filter_map(overdue).max();
        let until = |sent: u64| {
            sent.saturating_add(trip)
                .saturating_add(trip.min(PARTING_NS))
        };
        copies.max(late.map_or(0, until))
    }

    /// What making the load has cost this thread, from the end of warm-up until `now`.
    pub(super) fn cost(&self, now: u64) -> Generator {
        let (span, cpu) = match self.began {
            Some((then, cpu)) => (now - then, Cpu::of_thread().since(cpu)),
            None => (0, Cpu::default()),
        };
        let is_long = span >= SHORTEST_SHARE_NS;
        let share =
            |part: Duration| is_long.then(|| significant(part.as_nanos() as f64 / span as f64));
        Generator {
            threads: 1,
            cpu_ns: nanos(cpu.ran),
            busiest_share: share(cpu.ran),
            starved_share: cpu.waited.and_then(share),
            paused_ns: 0,
        }
    }

    /// Sums up; of what making the load has `cost`, pauses count to the end.
    pub(super) fn close(mut self, until: u64, cost: Generator) -> Ended {
        self.context.recorder.books.generator = Some(Generator {
            paused_ns: nanos(self.pauses.total),
            ..cost
        });
        self.context.is_cut = self.is_stopped();
        for flow in &mut self.flows {
            flow.read_out(LAST_TURNS, &mut self.context);
        }
        for flow in &mut self.flows {
            flow.abandon(None, &mut self.context);
        }
        let Context {
            mut recorder,
            mut found,
            plan,
            ..
        } = self.context;
        recorder.books.ways = plan
            .connect
            .is_stamp()
            .then(|| std::mem::take(&mut found.ways));
        let ended = Ended {
            until,
            last_reply: recorder.last_reply,
            meant: self.pacer.meant(recorder.last_reply),
            pauses: self.pauses,
            jitter_ns: recorder.jitter.mean(),
            has_departures: recorder.has_departures,
            found,
        };
        recorder.finish();
        ended
    }
}
