//! The one loop that makes load, over any transport: poll, read, write, and at times look around.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::cpu::Cpu;
use super::flow::{Desk, Flow};
use super::pacer::Pacer;
use super::recorder::Request;
use super::timer::Timer;
use crate::report::Fault;

/// The longest sleep: how soon a wish to stop, or the absence of a reply, is noticed.
const TICK: Duration = Duration::from_millis(100);
/// How long replies are waited for after an interrupt, since a person waits for them too.
const PARTING: Duration = Duration::from_secs(1);
/// Events taken at once: enough to share the cost of a poll among many, few enough that the last
/// of them is not kept waiting for long.
const EVENTS: usize = 256;
const TIMER: Token = Token(usize::MAX);

/// What a worker is told.
#[derive(Clone, Copy, Debug)]
pub struct Orders {
    /// Requests in flight on one connection.
    pub depth: usize,
    /// How long a reply is waited for.
    pub timeout: Duration,
    /// When warm-up ends, in nanoseconds since the run began.
    pub measure_from: u64,
}

/// What a worker leaves behind besides its records. Moments are in nanoseconds since the run began.
#[derive(Debug)]
pub struct Done {
    /// When sending ended.
    pub sent_until: u64,
    /// When the last reply came.
    pub last_reply: u64,
    /// What it cost from the end of warm-up to the end of sending.
    pub cpu: Cpu,
    /// The time that passed while it cost that.
    pub span: u64,
    /// The first thing that went wrong.
    pub fault: Option<Fault>,
}

/// One thread's connections, and its loop.
pub struct Worker<'a> {
    poll: Poll,
    timer: Timer,
    seats: Vec<Seat>,
    /// Connections that have not failed.
    open: usize,
    /// Connections with room for a request, waiting for one to be due.
    idle: VecDeque<usize>,
    pacer: Pacer,
    desk: Desk,
    orders: Orders,
    stop: &'a AtomicBool,
    fault: Option<Fault>,
    next_look: u64,
    /// When warm-up was seen to end, and the cost until then.
    began: Option<(u64, Cpu)>,
}

/// A connection's place; empty once it has failed.
struct Seat {
    flow: Option<Box<dyn Flow>>,
    is_idle: bool,
}

impl<'a> Worker<'a> {
    /// A worker for `flows`, to run until its pacer is done or `stop` is set.
    pub fn new(
        flows: Vec<Box<dyn Flow>>,
        pacer: Pacer,
        mut desk: Desk,
        orders: Orders,
        stop: &'a AtomicBool,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let mut seats = Vec::with_capacity(flows.len());
        for mut flow in flows {
            flow.socket()
                .register(poll.registry(), Token(seats.len()))?;
            desk.recorder.connected();
            seats.push(Seat {
                flow: Some(flow),
                is_idle: true,
            });
        }
        Ok(Worker {
            poll,
            timer,
            idle: (0..seats.len()).collect(),
            open: seats.len(),
            seats,
            pacer,
            desk,
            orders,
            stop,
            fault: None,
            next_look: 0,
            began: None,
        })
    }

    /// Makes load until told to stop, then waits for the replies that are still due.
    ///
    /// # Errors
    /// The system's poll or timer fails; nothing that a peer does.
    pub fn run(mut self) -> io::Result<Done> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = self.desk.clock.now();
            self.look_around(now);
            self.serve_idle(now);
            let now = self.desk.clock.now();
            if self.should_stop(now) {
                break;
            }
            self.poll(&mut events, now)?;
        }
        let now = self.desk.clock.now();
        let (span, cpu) = match self.began {
            Some((then, cpu)) => (now - then, Cpu::of_thread().since(cpu)),
            None => (0, Cpu::default()),
        };
        let sent_until = now.min(self.pacer.end());
        let unsent = self.pacer.stop(sent_until);
        self.desk.recorder.unsent(unsent);
        self.drain(&mut events, now)?;
        Ok(self.close(sent_until, span, cpu))
    }

    fn should_stop(&self, now: u64) -> bool {
        self.pacer.is_finished(now) || self.stop.load(Ordering::Relaxed) || self.open == 0
    }

    /// Does what is due now and then, and decides when to do so next.
    fn look_around(&mut self, now: u64) {
        if now < self.next_look {
            return;
        }
        // Replies that come after the end belong to the last moment of sending: a second of their
        // own would look like a collapse.
        let sending = now.min(self.pacer.end().saturating_sub(1));
        self.desk.recorder.advance(sending);
        let measure_from = self.orders.measure_from;
        if now >= measure_from && self.began.is_none() {
            self.began = Some((now, Cpu::of_thread()));
        }
        for index in 0..self.seats.len() {
            let result = self.expire(index, now);
            self.attend(index, result);
        }
        let moments = [
            measure_from,
            self.pacer.end(),
            self.desk.recorder.slice_end(),
        ];
        self.next_look = moments
            .into_iter()
            .filter(|&moment| moment > now)
            .fold(now + TICK.as_nanos() as u64, u64::min);
    }

    /// Gives up what a connection has awaited for too long. That makes room, of which no event
    /// will tell.
    fn expire(&mut self, index: usize, now: u64) -> Result<(), Fault> {
        let Seat { flow, is_idle } = &mut self.seats[index];
        match flow {
            Some(flow) => flow.expire(self.orders.timeout, now, &mut self.desk)?,
            None => return Ok(()),
        }
        if *is_idle { Ok(()) } else { self.fill(index) }
    }

    /// Gives the requests that are due to the connections that wait for them, in turn.
    fn serve_idle(&mut self, now: u64) {
        while self.pacer.is_due(now) {
            let Some(index) = self.idle.pop_front() else {
                return;
            };
            self.seats[index].is_idle = false;
            let result = self.fill(index);
            self.attend(index, result);
        }
    }

    /// Sleeps until something happens, or is due.
    fn poll(&mut self, events: &mut Events, now: u64) -> io::Result<()> {
        let mut timeout = Duration::from_nanos(self.next_look.saturating_sub(now));
        // With no connection idle, replies come before requests can leave.
        let due = self.pacer.next_due().filter(|&due| due < self.next_look);
        if let Some(due) = due.filter(|_| !self.idle.is_empty()) {
            timeout = Duration::from_nanos(due.saturating_sub(now));
            self.timer.set(due, timeout)?;
        }
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in events.iter().filter(|event| event.token() != TIMER) {
            let index = event.token().0;
            let result = self.handle(index, event);
            self.attend(index, result);
        }
        Ok(())
    }

    /// Reads what a connection has, and writes right after: its socket is at hand.
    #[inline]
    fn handle(&mut self, index: usize, event: &Event) -> Result<(), Fault> {
        let Some(flow) = &mut self.seats[index].flow else {
            return Ok(());
        };
        let ended = event.is_read_closed();
        if event.is_readable() || ended || event.is_error() {
            flow.read(ended, &mut self.desk)?;
        }
        self.fill(index)
    }

    /// Gives a connection as many requests as it has room for and are due.
    #[inline]
    fn fill(&mut self, index: usize) -> Result<(), Fault> {
        let seat = &mut self.seats[index];
        let Some(flow) = &mut seat.flow else {
            return Ok(());
        };
        if flow.is_blocked() {
            flow.flush(&mut self.desk)?;
            if flow.is_blocked() {
                return Ok(());
            }
        }
        let now = self.desk.clock.now();
        while flow.in_flight() < self.orders.depth {
            let Some(due) = self.pacer.take(now) else {
                if !seat.is_idle {
                    seat.is_idle = true;
                    self.idle.push_back(index);
                }
                break;
            };
            flow.push(Request { due, sent: now }, &mut self.desk);
        }
        flow.flush(&mut self.desk)
    }

    /// Closes a connection that has failed.
    #[inline]
    fn attend(&mut self, index: usize, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.desk.recorder.failed(fault.kind);
            if let Some(mut flow) = self.seats[index].flow.take() {
                flow.close(&mut self.desk);
                self.open -= 1;
            }
            self.fault.get_or_insert(fault);
        }
    }

    /// Waits for the replies that are still due: as long as for any reply, but not for a person
    /// who has asked to stop.
    fn drain(&mut self, events: &mut Events, start: u64) -> io::Result<()> {
        let timeout = self.orders.timeout.as_nanos() as u64;
        loop {
            let now = self.desk.clock.now();
            self.look_around(now);
            let awaited = self.seats.iter().filter_map(|seat| seat.flow.as_ref());
            let is_done = awaited.map(|flow| flow.in_flight()).all(|n| n == 0);
            let parting = match self.stop.load(Ordering::Relaxed) {
                true => timeout.min(PARTING.as_nanos() as u64),
                false => timeout,
            };
            if is_done || now >= start.saturating_add(parting) {
                return Ok(());
            }
            self.poll(events, now)?;
        }
    }

    fn close(mut self, sent_until: u64, span: u64, cpu: Cpu) -> Done {
        for flow in self.seats.iter_mut().filter_map(|seat| seat.flow.as_mut()) {
            flow.close(&mut self.desk);
        }
        let Desk {
            recorder, mismatch, ..
        } = self.desk;
        let last_reply = recorder.last_reply();
        recorder.finish();
        Done {
            sent_until,
            last_reply,
            cpu,
            span,
            fault: mismatch.or(self.fault),
        }
    }
}
