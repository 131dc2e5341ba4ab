//! The one loop that makes load, over any transport: wait, read, write, and at times look around.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::cpu::Cpu;
use super::dial::{Dialed, Dialer};
use super::flow::{Context, Flow, State};
use super::ledger::Request;
use super::nanos;
use super::pacer::Pacer;
use super::pause::Pauses;
use super::plan::Plan;
use super::socket::Socket;
use super::wait::{self, Ready, Wait};
use crate::connection::{Address, Connection, ErrorKind};
use crate::interrupt::{Interrupt, Why};
use crate::report::Fault;

/// The longest sleep: how soon a wish to stop is noticed.
const TICK_NS: u64 = 20_000_000;
/// How long replies are waited for after an interrupt, since a person waits for them too.
const PARTING_NS: u64 = 1_000_000_000;
/// And at a deadline: a reply that is all but there is no loss.
const DEADLINE_NS: u64 = 20_000_000;
/// Over UDP a second copy of the last reply may still be on its way. It is waited for as long as
/// the slowest round trip took, twice: at least for this long, and [`PARTING_NS`] at most.
const STRAGGLERS_NS: u64 = 20_000_000;
/// After so many failures in a row on one socket a new one is tried: a firewall or a balancer may
/// have lost sight of the flow, or this machine's address may have changed.
const IN_A_ROW: u32 = 3;

/// How much is read of what has come by the end: more than a socket's buffer holds, and not all
/// that a flood brings.
const LAST_TURNS: usize = 1024;

/// What a worker leaves behind besides its records.
#[derive(Debug)]
pub struct Ended {
    /// For how long sending was meant, from the end of warm-up on, in nanoseconds.
    pub window: u64,
    /// What it cost from the end of warm-up to the end of sending.
    pub cpu: Cpu,
    /// The time that passed while it cost that, in nanoseconds.
    pub span: u64,
    /// The times it stood still itself.
    pub pauses: Pauses,
    /// How much round trips differ from one to the next.
    pub jitter: Option<Duration>,
    /// The first wrong reply.
    pub mismatch: Option<String>,
    /// Why it gave up a connection for good: the first one.
    pub fault: Option<Fault>,
    /// The last thing that went wrong with a request.
    pub last_error: Option<Fault>,
}

/// One thread's connections, and its loop.
pub struct Worker<'a> {
    pub(super) flows: Vec<Flow>,
    wait: Wait,
    dialer: Dialer,
    /// To where each flow leads, or led last.
    remotes: Vec<Address>,
    /// Flows with room for a request, waiting for one to be due.
    idle: VecDeque<usize>,
    /// What is ready: told by the system, or not read to the end the last time.
    ready: Vec<Ready>,
    pacer: Pacer,
    context: Context<'a>,
    plan: &'a Plan,
    depth: usize,
    is_udp: bool,
    measure_from: u64,
    interrupt: &'a Interrupt,
    stop: &'a AtomicBool,
    why: Option<Why>,
    fault: Option<Fault>,
    last_error: Option<Fault>,
    next_look: u64,
    pauses: Pauses,
    /// When warm-up was seen to end, and the cost until then.
    began: Option<(u64, Cpu)>,
}

impl<'a> Worker<'a> {
    /// A worker for `flows`, to run until its pacer is done, or it is interrupted, or `stop` is set.
    pub fn new(
        plan: &'a Plan,
        address: &Address,
        mut flows: Vec<Flow>,
        pacer: Pacer,
        context: Context<'a>,
        (interrupt, stop): (&'a Interrupt, &'a AtomicBool),
    ) -> io::Result<Self> {
        let wait = Wait::new(flows.len())?;
        for (index, flow) in flows.iter_mut().enumerate() {
            if let State::Open(socket) = &mut flow.state {
                wait.register(socket, index)?;
            }
        }
        let connect = plan.connect.clone();
        let dialer = Dialer::new(connect, interrupt.clone(), wait.waker());
        Ok(Worker {
            idle: (0..flows.len()).collect(),
            remotes: vec![address.clone(); flows.len()],
            flows,
            wait,
            dialer,
            ready: Vec::new(),
            pacer,
            plan,
            depth: plan.room(),
            is_udp: matches!(address, Address::Udp(_)),
            measure_from: nanos(plan.warmup),
            context,
            interrupt,
            stop,
            why: None,
            fault: None,
            last_error: None,
            next_look: 0,
            pauses: Pauses::default(),
            began: None,
        })
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
        let (span, cpu) = match self.began {
            Some((then, cpu)) => (now - then, Cpu::of_thread().since(cpu)),
            None => (0, Cpu::default()),
        };
        // What a worker that has lost its connections was to send is unsent too.
        let until = match self.is_stopped() {
            true => now.min(self.pacer.end()),
            false => self.pacer.planned_end(now),
        };
        let meant = self.pacer.clone();
        self.context.recorder.unsent(self.pacer.stop(until));
        self.drain(now)?;
        let window = meant.window(until, self.context.recorder.last_reply);
        Ok(self.close(window, span, cpu))
    }

    fn is_stopped(&self) -> bool {
        self.why.is_some() || self.stop.load(Ordering::Relaxed)
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
        // Replies that come after the end belong to the last moment of sending: a second of their
        // own would look like a collapse.
        let sending = now.min(self.pacer.end().saturating_sub(1));
        self.context.recorder.advance(sending);
        let measure_from = self.measure_from;
        if now >= measure_from && self.began.is_none() {
            self.began = Some((now, Cpu::of_thread()));
        }
        self.why = self.why.or_else(|| self.interrupt.why());
        // What is sent after this look is not given up before that much time has passed.
        let mut next = now + TICK_NS.min(nanos(self.plan.connect.timeout.0));
        for index in 0..self.flows.len() {
            self.expire(index, now);
            let flow = &mut self.flows[index];
            next = next.min(flow.ledger.next_expiry().unwrap_or(u64::MAX));
            if let State::Closed(from) = flow.state {
                match from <= now && !flow.is_idle {
                    true => self.idle(index),
                    false => next = next.min(from.max(now + 1)),
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

    /// Gives up what a connection has awaited for too long. That makes room, of which no event
    /// will tell.
    fn expire(&mut self, index: usize, now: u64) {
        let flow = &mut self.flows[index];
        let text = format_args!("no reply within {}", self.plan.connect.timeout);
        let mut expired = None;
        while let Some(number) = flow.ledger.expire(now) {
            let fault =
                expired.get_or_insert_with(|| Fault::new(ErrorKind::Timeout, text.to_string()));
            self.context.tell_error(Some(number), fault);
        }
        let Some(fault) = expired else {
            return;
        };
        while let Some(lost) = flow.ledger.forget() {
            self.context.recorder.lost(lost);
        }
        let is_open = matches!(flow.state, State::Open(_));
        match is_open && flow.ledger.misses() >= IN_A_ROW {
            true => self.disconnect(index, &fault),
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
            let Some(index) = self.idle.pop_front() else {
                return;
            };
            self.flows[index].is_idle = false;
            self.fill_at(index, now);
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
        let due = due.filter(|_| !self.idle.is_empty());
        until = due.unwrap_or(until);
        let awaited = || self.flows.iter().any(|flow| flow.ledger.awaited() > 0);
        if !self.ready.is_empty() || (self.plan.busy && awaited()) {
            until = now;
        }
        let limit = Duration::from_nanos(until.saturating_sub(now));
        let mut ready = std::mem::take(&mut self.ready);
        match (&mut self.wait, &self.flows[0].state) {
            (Wait::Many(many), _) => many.sleep(limit, due, &mut ready)?,
            (Wait::Lone, State::Open(socket)) => {
                let is_blocked = self.flows[0].transport.is_blocked();
                ready.clear();
                ready.extend(wait::lone(socket, is_blocked, limit)?);
            }
            (Wait::Lone, _) => {
                if let Some(dialed) = self.dialer.wait(limit) {
                    self.dialed(dialed);
                }
            }
        }
        self.pauses
            .slept(now, until, self.context.clock.now(), self.measure_from);
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
            Err(fault) => self.failed(index, &fault),
        }
    }

    /// Gives a connection as many requests as it has room for and are due, or opens it first.
    fn fill(&mut self, index: usize) {
        self.fill_at(index, self.context.clock.now());
    }

    fn fill_at(&mut self, index: usize, now: u64) {
        let flow = &mut self.flows[index];
        if self.plan.new_connection && flow.ledger.next() > flow.first {
            if flow.ledger.awaited() > 0 {
                return;
            }
            if let State::Open(_) = flow.state {
                self.hang_up(index, now);
            }
        }
        let flow = &mut self.flows[index];
        match flow.state {
            State::Dead | State::Opening => return,
            State::Closed(from) if from > now => return,
            State::Closed(_) if self.pacer.is_due(now) => {
                flow.state = State::Opening;
                let is_silent = flow.ledger.misses() >= IN_A_ROW;
                let silent = is_silent.then(|| self.remotes[index].clone());
                return self.dialer.begin(index, silent);
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
            let request = Request { due, sent: now };
            wire.ledger.push(request);
            let bytes = transport.push();
            wire.context.recorder.sent(request, bytes);
        }
        transport.flush(&mut wire)?;
        if has_room {
            self.idle(index);
        }
        Ok(())
    }

    /// An error on a socket. Of a datagram it is the answer: to the oldest, as nobody knows to
    /// which. Anything else ends the connection.
    fn failed(&mut self, index: usize, fault: &Fault) {
        self.context.recorder.failed(fault.kind);
        let flow = &mut self.flows[index];
        let is_answer = self.is_udp && fault.kind == ErrorKind::Refused;
        let goes_on = self.plan.patience.is_none() || flow.ledger.answered() > 0;
        if !is_answer || !goes_on || flow.ledger.misses() + 1 >= IN_A_ROW {
            return self.disconnect(index, fault);
        }
        let seq = flow.ledger.refuse_oldest();
        self.context.tell_error(seq, fault);
        self.last_error = Some(fault.clone());
        // There may be more to read, of which no event will tell.
        self.ready.push(Ready {
            index,
            readable: true,
            ended: false,
        });
    }

    /// Closes a connection because of `fault`; what was under way on it has failed.
    fn disconnect(&mut self, index: usize, fault: &Fault) {
        let flow = &mut self.flows[index];
        if fault.kind != ErrorKind::Mismatch
            && let Some((transport, mut wire)) = flow.split(&mut self.context)
        {
            // A socket that has failed says so again, and what it says has been told.
            let _ = transport.read(false, &mut wire);
        }
        if let State::Open(socket) = &flow.state {
            self.context.recorder.overflowed(socket.overflowed());
        }
        flow.transport.end(&mut flow.ledger, &mut self.context);
        let mut told = false;
        while let Some((number, request)) = flow.ledger.abandon() {
            self.context.recorder.lost(request);
            if number.is_some() {
                self.context.tell_error(number, fault);
                self.last_error = Some(fault.clone());
                told = true;
            }
        }
        // Without a request under way the end of a connection is no loss, but it is news.
        if !told && fault.kind != ErrorKind::Timeout {
            self.context.tell_error(None, fault);
        }
        self.close_flow(index, fault);
    }

    /// Enters that a flow has no socket, and decides whether and when it gets another.
    fn close_flow(&mut self, index: usize, fault: &Fault) {
        let now = self.context.clock.now();
        let flow = &mut self.flows[index];
        // A stream that lies under load is no server to go on with.
        let patience = match fault.kind {
            ErrorKind::Mismatch => self.plan.patience.map(|_| Duration::ZERO),
            _ => self.plan.patience,
        };
        if flow.failed(now, patience) {
            if fault.kind == ErrorKind::Timeout {
                // Silence is a failure only once it has been the end of a connection.
                self.context.recorder.failed(fault.kind);
            }
            self.fault.get_or_insert_with(|| fault.clone());
        }
        self.next_look = 0;
    }

    /// Closes a connection that has done what it was for.
    fn hang_up(&mut self, index: usize, now: u64) {
        let flow = &mut self.flows[index];
        flow.transport.end(&mut flow.ledger, &mut self.context);
        while let Some((_, request)) = flow.ledger.abandon() {
            self.context.recorder.lost(request);
        }
        flow.state = State::Closed(now);
    }

    /// A connection has been made, or has not.
    fn dialed(&mut self, (index, result): Dialed) {
        let fault = match result {
            Ok(connection) => match self.adopt(index, connection) {
                Ok(()) => return self.fill(index),
                Err(error) => super::flow::broken(&error, self.is_udp),
            },
            // It was to be made for a request that was due, and that nobody will miss now.
            Err(error) if error.kind == ErrorKind::Interrupted => {
                return self.flows[index].state = State::Closed(u64::MAX);
            }
            Err(error) => Fault::from(error),
        };
        self.context.recorder.failed(fault.kind);
        let now = self.context.clock.now();
        let seq = self.pacer.take(now).and_then(|due| {
            let request = Request { due, sent: now };
            let ledger = &mut self.flows[index].ledger;
            ledger.push(request);
            self.context.recorder.sent(request, 0);
            let (number, request) = ledger.abandon()?;
            self.context.recorder.lost(request);
            number
        });
        self.context.tell_error(seq, &fault);
        self.last_error = Some(fault.clone());
        self.close_flow(index, &fault);
    }

    fn adopt(&mut self, index: usize, connection: Connection) -> io::Result<()> {
        let ends = connection.ends();
        self.remotes[index] = connection.remote.clone();
        let socket = Socket::new(connection.socket);
        socket.prepare(self.plan.window());
        self.wait.register(&socket, index)?;
        self.context.connected(connection.elapsed, ends);
        let flow = &mut self.flows[index];
        flow.connect = self.plan.new_connection.then_some(connection.elapsed);
        flow.first = flow.ledger.next();
        flow.ledger.renewed();
        flow.state = State::Open(socket);
        Ok(())
    }

    /// Waits for the replies that are still due: as long as for any reply, but not for a person
    /// who has asked to stop, nor beyond a deadline. Only right replies keep it waiting.
    fn drain(&mut self, start: u64) -> io::Result<()> {
        loop {
            let now = self.context.clock.now();
            self.look_around(now);
            let awaited = self.flows.iter().any(|flow| flow.ledger.awaited() > 0);
            let parting = match self.why {
                Some(Why::Deadline(_)) => DEADLINE_NS,
                Some(_) => PARTING_NS,
                None if self.stop.load(Ordering::Relaxed) => PARTING_NS,
                None => u64::MAX,
            };
            let recorder = &self.context.recorder;
            let stragglers = match self.is_udp && self.why.is_none() {
                true if recorder.slowest > 0 => {
                    let twice = recorder.slowest.saturating_mul(2);
                    recorder.last_reply + twice.clamp(STRAGGLERS_NS, PARTING_NS)
                }
                _ => 0,
            };
            if (!awaited && now >= stragglers) || now >= start.saturating_add(parting) {
                return Ok(());
            }
            if !awaited {
                self.next_look = self.next_look.min(stragglers);
            }
            self.sleep(now)?;
        }
    }

    fn close(mut self, window: u64, span: u64, cpu: Cpu) -> Ended {
        for flow in &mut self.flows {
            if let Some((transport, mut wire)) = flow.split(&mut self.context) {
                // What fails now need not be told: the run is over.
                for _ in 0..LAST_TURNS {
                    if !matches!(transport.read(false, &mut wire), Ok(true)) {
                        break;
                    }
                }
            }
            let mut lost = 0;
            while let Some((_, request)) = flow.ledger.abandon() {
                self.context.recorder.lost(request);
                lost += 1;
            }
            if let State::Open(socket) = &flow.state
                && lost > 0
            {
                self.context.recorder.overflowed(socket.overflowed());
            }
        }
        let Context {
            recorder, mismatch, ..
        } = self.context;
        let jitter = recorder.jitter();
        recorder.finish();
        Ended {
            window,
            cpu,
            span,
            pauses: self.pauses,
            jitter,
            mismatch,
            fault: self.fault,
            last_error: self.last_error,
        }
    }
}
