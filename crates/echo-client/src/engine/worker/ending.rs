//! The end of a worker: once nothing more is due, replies are waited for, and all is summed up.

use std::io;
use std::sync::atomic::Ordering;

use super::{LAST_TURNS, Worker};
use crate::connection::ancillary::Drops;
use crate::engine::cpu::Cpu;
use crate::engine::ended::Ended;
use crate::engine::flow::{Flow, State};
use crate::engine::nanos;
use crate::interrupt::Why;

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

    pub(super) fn close(mut self, window: u64, span: u64, cpu: Cpu) -> Ended {
        self.context.is_cut = self.is_stopped();
        for flow in &mut self.flows {
            flow.read_out(LAST_TURNS, &mut self.context);
        }
        let drops = Drops::default();
        for flow in &mut self.flows {
            flow.abandon(None, &drops, &mut self.context);
        }
        let context = self.context;
        let jitter = context.recorder.jitter();
        context.recorder.finish();
        Ended {
            window,
            cpu,
            span,
            pauses: self.pauses,
            jitter,
            found: context.found,
        }
    }
}
