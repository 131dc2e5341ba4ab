//! The one loop that makes load, over any transport: wait, read, write, and at times look around.

mod ending;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::Run;
use super::cpu::Cpu;
use super::dial::{AT_ONCE, Dialed, Dialer};
use super::flow::{Context, Flow, State};
use super::ledger::{Ledger, Request};
use super::pacer::Pacer;
use super::pause::Pauses;
use super::recorder::Slice;
use super::wait::{self, Ready, Wait};
use super::{Pace, nanos, transport};
use crate::connection::{Connection, ErrorKind, Fault};
use crate::interrupt::Why;
pub use ending::Ended;

/// The longest sleep: how soon a wish to stop is noticed.
const TICK_NS: u64 = 20_000_000;
/// How much is read of what has come by the end: more than a socket's buffer holds, and not all
/// that a flood brings.
const LAST_TURNS: usize = 1024;

/// One thread's connections, and its loop.
pub struct Worker<'a> {
    run: &'a Run<'a>,
    flows: Vec<Flow>,
    wait: Wait,
    dialer: Dialer,
    /// Flows with room for a request, waiting for one to be due.
    idle: VecDeque<usize>,
    /// What is ready: told by the system, or not read to the end the last time.
    ready: Vec<Ready>,
    pacer: Pacer,
    context: Context<'a>,
    /// The number of the next request that has a connection of its own.
    number: u64,
    depth: usize,
    is_udp: bool,
    why: Option<Why>,
    next_look: u64,
    pauses: Pauses,
    /// When warm-up was seen to end, and the cost until then.
    began: Option<(u64, Cpu)>,
}

impl<'a> Worker<'a> {
    /// The worker of this `index`, with these connections.
    ///
    /// # Errors
    /// The system refuses a poll.
    pub fn new(
        run: &'a Run<'a>,
        index: usize,
        connections: Vec<Connection>,
        collector: Sender<Slice>,
    ) -> io::Result<Self> {
        let (plan, wait) = (run.plan, Wait::new()?);
        let context = Context::new(run.clock, collector, run.sink, plan);
        let timeout = nanos(plan.connect.timeout.0);
        let remote = &run.address;
        let flow = |_| Flow::new(remote.clone(), transport(plan, remote), timeout);
        // The first workers take what does not divide.
        let flows = (index..plan.parallel).step_by(run.threads);
        let mut pacer = Pacer::new(plan, index, run.threads);
        if let Some(left) = run.interrupt.left() {
            pacer.cut_at(run.clock.now().saturating_add(nanos(left)));
        }
        let places = match plan.pace {
            // One after the other is no burst; and without a time of its own, none is to wait.
            Pace::Interval(_) => plan.parallel,
            _ => (AT_ONCE / run.threads).max(1),
        };
        let mut worker = Worker {
            run,
            flows: flows.map(flow).collect(),
            dialer: Dialer::new(wait.waker.clone(), places),
            wait,
            idle: VecDeque::new(),
            ready: Vec::new(),
            pacer,
            context,
            number: index as u64 + 1,
            depth: plan.room(),
            is_udp: plan.connect.is_udp(),
            why: None,
            next_look: 0,
            pauses: Pauses::default(),
            began: None,
        };
        worker.context.recorder.end = worker.pacer.end();
        worker.idle.extend(0..worker.flows.len());
        for (index, connection) in connections.into_iter().enumerate() {
            worker.open(index, connection)?;
        }
        Ok(worker)
    }

    /// Makes load until told to stop, then waits for the replies that are still due.
    ///
    /// # Errors
    /// The system's poll or timer fails; nothing that a peer does.
    pub fn run(mut self) -> io::Result<Ended> {
        loop {
            let now = self.context.clock.now();
            self.look_around(now);
            self.serve_idle();
            let now = self.context.clock.now();
            if self.is_over(now) {
                break;
            }
            self.sleep(now)?;
        }
        let now = self.context.clock.now();
        let cost = self.cost(now);
        // What a worker that has lost its connections was to send is unsent too.
        let is_stopped = self.is_stopped();
        let is_left = is_stopped || self.pacer.is_finished(now);
        let until = match is_stopped {
            true => now.min(self.pacer.end()),
            false => self.pacer.planned_end(now),
        };
        let unsent = self.pacer.stop(until, is_left);
        // Where the end was not known before, it is now: what comes while draining is of the last second.
        let recorder = &mut self.context.recorder;
        recorder.end = self.pacer.end();
        recorder.advance(now);
        recorder.unsent(unsent, recorder.end);
        self.drain(now)?;
        Ok(self.close(until, cost))
    }

    fn is_stopped(&self) -> bool {
        self.why.is_some() || self.run.stop.load(Ordering::Relaxed)
    }

    fn is_over(&self, now: u64) -> bool {
        let is_dead = |flow: &Flow| matches!(flow.state, State::Dead);
        self.pacer.is_finished(now) || self.is_stopped() || self.flows.iter().all(is_dead)
    }

    /// Does what is due now and then, and decides when to do so next.
    fn look_around(&mut self, now: u64) {
        while let Some(dialed) = self.dialer.result() {
            self.dialed(dialed);
        }
        if now < self.next_look {
            return;
        }
        self.context.recorder.advance(now);
        let measure_from = self.run.measure_from;
        if now >= measure_from && self.began.is_none() {
            self.began = Some((now, Cpu::of_thread()));
            // Without a warm-up sockets are new, and have dropped nothing yet.
            for flow in self.flows.iter_mut().filter(|_| measure_from > 0) {
                if let State::Open(socket) = &mut flow.state {
                    socket.begin();
                }
            }
        }
        self.why = self.why.or_else(|| self.run.interrupt.why());
        self.hear();
        // What is sent after this look is not given up before that much time has passed.
        let mut next = now + TICK_NS.min(nanos(self.run.plan.connect.timeout.0));
        for index in 0..self.flows.len() {
            self.expire(index, now);
            let flow = &mut self.flows[index];
            next = next.min(flow.ledger.next_expiry().unwrap_or(u64::MAX));
            if let State::Closed(from) = flow.state {
                #[cfg(test)]
                if super::simulated::has(super::simulated::Mutant::Restless) {
                    next = now + 1;
                }
                // Once it may be opened, it waits for a request as any other does.
                match from <= now {
                    true => self.idle(index),
                    false => next = next.min(from),
                }
            }
        }
        let moments = [
            measure_from,
            self.pacer.end(),
            self.context.recorder.slice_end,
        ];
        self.next_look = moments
            .into_iter()
            .filter(|&moment| moment > now)
            .fold(next, u64::min);
    }

    /// Looks whether anything has been answered, and has the other workers know.
    fn hear(&mut self) {
        match self.context.heard {
            true => self.run.heard.store(true, Ordering::Relaxed),
            false => self.context.heard = self.run.heard.load(Ordering::Relaxed),
        }
    }

    /// Gives up what a connection has awaited for too long. That makes room, of which no event
    /// will tell.
    fn expire(&mut self, index: usize, now: u64) {
        let flow = &mut self.flows[index];
        let Some(fault) = flow.expire(now, &mut self.context) else {
            return;
        };
        let is_open = matches!(flow.state, State::Open(_));
        if is_open && flow.is_silent(now) {
            // While this side stood still, more may have come than it has read so far.
            flow.read_out(LAST_TURNS, &mut self.context);
        }
        match is_open && flow.is_silent(now) {
            true => self.fail(index, &fault),
            false => self.fill(index),
        }
    }

    /// Gives the requests that are due to the flows that wait for them, in turn.
    fn serve_idle(&mut self) {
        loop {
            // Each at its own time: by that of the first, requests would stay due after the end,
            // and the flows that wait for them would be asked for ever.
            let now = self.context.clock.now();
            if !self.pacer.is_due(now) {
                return;
            }
            let Some(index) = self.first_idle(now).and_then(|at| self.idle.remove(at)) else {
                return;
            };
            self.flows[index].is_idle = false;
            self.fill_at(index, now);
        }
    }

    /// The place of the first idle flow that can have a request at `now`: one without a socket only while
    /// there is room for another attempt, and none from the end on, when others wait for theirs.
    #[inline]
    fn first_idle(&self, now: u64) -> Option<usize> {
        let is_open = |&index: &usize| matches!(self.flows[index].state, State::Open(_));
        match self.dialer.has_room() {
            _ if now >= self.pacer.end() => None,
            true => (!self.idle.is_empty()).then_some(0),
            false => self.idle.iter().position(is_open),
        }
    }

    fn idle(&mut self, index: usize) {
        if !std::mem::replace(&mut self.flows[index].is_idle, true) {
            self.idle.push_back(index);
        }
    }

    /// Sleeps until something happens, or is due.
    fn sleep(&mut self, now: u64) -> io::Result<()> {
        let mut until = self.next_look;
        // With no connection idle, replies come before requests can leave.
        let due = self.pacer.next_due().filter(|&due| due < until);
        let due = due.filter(|_| self.first_idle(now).is_some());
        until = due.unwrap_or(until);
        let awaited = || self.flows.iter().any(|flow| flow.ledger.awaited() > 0);
        if !self.ready.is_empty() || (self.run.plan.busy && awaited()) {
            until = now;
        }
        let limit = Duration::from_nanos(until.saturating_sub(now));
        let mut ready = std::mem::take(&mut self.ready);
        match &self.flows[..] {
            #[cfg(test)]
            flows if super::simulated::now().is_some() => {
                let lone = (flows.len() == 1).then(|| flows[0].transport.is_blocked());
                super::simulated::sleep(limit, lone, &mut ready);
            }
            [flow] if let State::Open(socket) = &flow.state => {
                // What was left is told again, unless it was not of the system's telling.
                if let Some(told) = wait::lone(socket, flow.transport.is_blocked(), limit)? {
                    ready.clear();
                    ready.push(told);
                }
            }
            _ => self.wait.sleep(limit, due.is_some(), &mut ready)?,
        }
        self.pauses
            .slept(now, until, self.context.clock.now(), self.run.measure_from);
        for ready in ready.drain(..) {
            self.handle(ready);
        }
        if self.ready.is_empty() {
            // Its memory is used again.
            self.ready = ready;
        }
        Ok(())
    }

    /// Reads what a connection has, and writes right after: its socket is at hand.
    #[inline]
    fn handle(&mut self, ready: Ready) {
        let index = ready.index;
        let flow = &mut self.flows[index];
        self.context.connect = flow.connect.take();
        let read = match flow.split(&mut self.context) {
            Some((transport, mut wire)) if ready.readable => transport.read(ready.ended, &mut wire),
            _ => Ok(false),
        };
        flow.connect = self.context.connect.take();
        match read {
            Ok(more) => {
                if more {
                    self.ready.push(ready);
                }
                self.fill(index);
            }
            // How one ends that has done what it was for is no news.
            Err(fault)
                if self.run.plan.new_connection
                    && fault.kind == ErrorKind::Closed
                    && self.flows[index].is_done() =>
            {
                self.fill(index);
            }
            Err(fault) => self.failed(index, &fault),
        }
    }

    /// Gives a connection as many requests as it has room for and are due, or opens it first.
    fn fill(&mut self, index: usize) {
        self.fill_at(index, self.context.clock.now());
    }

    fn fill_at(&mut self, index: usize, now: u64) {
        let flow = &mut self.flows[index];
        if self.run.plan.new_connection && matches!(flow.state, State::Open(_)) {
            match flow.is_done() {
                true => flow.hang_up(&mut self.context),
                false if flow.ledger.awaited() > 0 => return,
                false => {}
            }
        }
        match flow.state {
            State::Dead | State::Opening => return,
            State::Closed(from) if from > now => return,
            State::Closed(_) if self.dialer.has_room() && self.pacer.hold(now) => {
                flow.state = State::Opening;
                let silent = flow.has_failed().then(|| flow.remote.clone());
                let (connect, interrupt) = (&self.run.plan.connect, self.run.interrupt);
                return self.dialer.begin(index, connect, silent, interrupt);
            }
            State::Closed(_) => return self.idle(index),
            State::Open(_) => {}
        }
        if let Err(fault) = self.send(index, now) {
            self.failed(index, &fault);
        }
    }

    #[inline]
    fn send(&mut self, index: usize, now: u64) -> Result<(), Fault> {
        let flow = &mut self.flows[index];
        let Some((transport, mut wire)) = flow.split(&mut self.context) else {
            return Ok(());
        };
        if transport.is_blocked() {
            transport.flush(&mut wire)?;
            if transport.is_blocked() {
                return Ok(());
            }
        }
        let mut has_room = false;
        while wire.ledger.awaited() < self.depth {
            let Some(due) = self.pacer.take(now) else {
                has_room = true;
                break;
            };
            let request = Request::new(due, now);
            enter(request, wire.ledger, &mut self.number, self.run);
            let bytes = transport.push();
            wire.context.recorder.sent(request, bytes);
        }
        transport.flush(&mut wire)?;
        // What has not left makes room, of which no reply will tell.
        if has_room || (!transport.is_blocked() && wire.ledger.awaited() < self.depth) {
            self.idle(index);
        }
        Ok(())
    }

    /// An error on a socket. Of a datagram it may be the answer: to the oldest, as nobody knows to
    /// which; whoever cannot or must not pass one on says so, too. The system tells whatever comes next, a read
    /// or a write. Anything else ends the connection.
    fn failed(&mut self, index: usize, fault: &Fault) {
        self.context.recorder.failed(fault.kind);
        let is_answer = matches!(fault.kind, ErrorKind::Refused | ErrorKind::Unreachable);
        let flow = &mut self.flows[index];
        match is_answer && self.is_udp && flow.refuse(fault, &mut self.context) {
            // There may be more to read, of which no event will tell.
            true => self.ready.push(Ready {
                index,
                readable: true,
                ended: false,
            }),
            false => self.fail(index, fault),
        }
    }

    /// A flow has no socket any more, or still none.
    fn fail(&mut self, index: usize, fault: &Fault) {
        self.hear();
        self.flows[index].fail(fault, &mut self.context);
        self.next_look = 0;
    }

    /// A connection has been made, or has not.
    fn dialed(&mut self, (index, result): Dialed) {
        let fault = match result {
            Ok(connection) => match self.open(index, connection) {
                Ok(()) => return self.fill(index),
                Err(error) => super::flow::broken(&error, self.is_udp),
            },
            // It was to be made for a request that was due, and that nobody will miss now.
            Err(fault) if fault.kind == ErrorKind::Interrupted => {
                return self.flows[index].state = State::Closed(u64::MAX);
            }
            Err(fault) => fault,
        };
        self.context.recorder.failed(fault.kind);
        let now = self.context.clock.now();
        if let Some(due) = self.pacer.take(now) {
            let request = Request::new(due, now);
            let ledger = &mut self.flows[index].ledger;
            enter(request, ledger, &mut self.number, self.run);
            self.context.recorder.sent(request, 0);
        }
        self.fail(index, &fault);
    }

    fn open(&mut self, index: usize, connection: Connection) -> io::Result<()> {
        let is_lone = self.flows.len() == 1;
        let flow = &mut self.flows[index];
        flow.open(connection, &mut self.context);
        match &flow.state {
            State::Open(socket) if !is_lone => self.wait.register(socket, index),
            _ => Ok(()),
        }
    }
}

/// Enters a request in its connection's ledger. Those that have a connection each are counted together.
#[inline]
fn enter(request: Request, ledger: &mut Ledger, next: &mut u64, run: &Run<'_>) {
    if run.plan.new_connection {
        ledger.skip_to(*next);
        *next += run.threads as u64;
    }
    ledger.push(request);
}
