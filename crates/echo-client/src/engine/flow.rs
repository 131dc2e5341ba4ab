//! One connection through all the sockets it has, and what its worker gives it to work with.

use std::fmt;
use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::io::Errno;

use super::clock::Clock;
use super::ledger::{Class, Entry, Ledger, Request};
use super::offset::Clocks;
use super::plan::Plan;
use super::recorder::{Recorder, Slice};
use super::sink::{Sink, What};
use super::socket::Socket;
use super::{BUFFER_LEN, nanos};
use crate::connection::{Address, Connection, ErrorKind, Fault, pause};
use crate::report::Ways;

/// How requests go out and replies come in over one kind of socket.
pub trait Transport: fmt::Debug + Send {
    /// Whether the system takes no more for now.
    fn is_blocked(&self) -> bool;

    /// Adds a request that the ledger has; it leaves with the next [`Transport::flush`]. Returns
    /// its bytes on the wire.
    fn push(&mut self) -> usize;

    /// Writes what the system takes; datagrams that it refuses are told and counted.
    fn flush(&mut self, wire: &mut Wire<'_, '_>) -> Result<(), Fault>;

    /// Reads what has come. `ended`: the other side sends no more. Returns whether there may be
    /// more to read at once: others must have their turn.
    fn read(&mut self, ended: bool, wire: &mut Wire<'_, '_>) -> Result<bool, Fault>;

    /// The socket is gone, and with it what was under way.
    fn end(&mut self, ledger: &mut Ledger, context: &mut Context<'_>);

    /// Nothing more comes of what is under way: what has been found out is summed up.
    fn sum_up(&mut self, _context: &mut Context<'_>) {}
}

/// What a transport works on.
pub struct Wire<'a, 'b> {
    /// The socket.
    pub socket: &'a mut Socket,
    /// The requests.
    pub ledger: &'a mut Ledger,
    /// All else.
    pub context: &'a mut Context<'b>,
}

/// One connection.
#[derive(Debug)]
pub struct Flow {
    /// Its requests.
    pub ledger: Ledger,
    /// How they travel.
    pub transport: Box<dyn Transport>,
    /// Whether there is a socket.
    pub state: State,
    /// To where it leads, or led last.
    pub remote: Address,
    /// Whether it waits for a request to be due.
    pub is_idle: bool,
    /// The number of the first request on this socket.
    pub first: u64,
    /// How long connecting took, until a reply has told.
    pub connect: Option<Duration>,
    /// Whether anything that is measured was given up on this socket.
    is_lossy: bool,
    /// Failures in a row.
    failures: u32,
    /// When the first of them was.
    failing_since: u64,
    /// How many of them were sockets that were opened in vain: each fell silent.
    in_vain: u32,
    /// Right replies until then.
    answered: u64,
}

/// Whether a flow has a socket.
#[derive(Debug)]
pub enum State {
    /// It has.
    Open(Socket),
    /// One is being opened.
    Opening,
    /// It has none, and gets one for a request that is due from this moment on.
    Closed(u64),
    /// It has been given up.
    Dead,
}

/// After so many failures in a row on one socket a new one is tried: a firewall or a balancer may
/// have lost sight of the flow, or this machine's address may have changed.
const IN_A_ROW: u32 = 3;
/// Of a target that has never answered, silence is no proof before it has lasted so long: a path may be
/// that much longer than the time-out.
const SILENCE_NS: u64 = 1_000_000_000;
/// Beyond three time-outs silence is waited for no longer than this, whatever has been: a long outage, and
/// a reply that came when this machine woke, say little of the path as it is now.
const PATIENCE_NS: u64 = 60_000_000_000;

impl Flow {
    /// A connection to `remote` that is yet to be made.
    pub fn new(remote: Address, transport: Box<dyn Transport>, timeout: u64) -> Self {
        let mut ledger = Ledger::new(timeout);
        if !matches!(remote, Address::Udp(_)) {
            // What comes on a stream is the reply to the oldest, whenever it comes.
            ledger.remembered = usize::MAX;
        }
        Flow {
            ledger,
            transport,
            state: State::Closed(0),
            remote,
            is_idle: true,
            first: 1,
            connect: None,
            is_lossy: false,
            failures: 0,
            failing_since: 0,
            in_vain: 0,
            answered: 0,
        }
    }

    /// What its transport works on, while there is a socket.
    #[inline]
    pub fn split<'a, 'b>(
        &'a mut self,
        context: &'a mut Context<'b>,
    ) -> Option<(&'a mut dyn Transport, Wire<'a, 'b>)> {
        let State::Open(socket) = &mut self.state else {
            return None;
        };
        let wire = Wire {
            socket,
            ledger: &mut self.ledger,
            context,
        };
        Some((&mut *self.transport, wire))
    }

    /// Whether all is settled that was sent over this socket, and something was.
    pub fn is_done(&self) -> bool {
        self.ledger.next() > self.first && self.ledger.awaited() == 0
    }

    /// Goes on over a connection that has just been made.
    pub fn open(&mut self, connection: Connection, context: &mut Context<'_>) {
        context.connected(connection.elapsed, connection.ends());
        let is_told = context.plan.new_connection;
        self.connect = is_told.then_some(connection.elapsed);
        self.first = self.ledger.next();
        self.ledger.hear();
        self.remote = connection.remote;
        self.state = State::Open(Socket::new(connection.socket, context.plan));
    }

    /// Gives up what has been awaited for too long by `now`. Returns the fault, if there is one.
    pub fn expire(&mut self, now: u64, context: &mut Context<'_>) -> Option<Fault> {
        let text = format_args!("no reply within {}", context.plan.connect.timeout);
        let mut expired = None;
        while let Some((number, request)) = self.ledger.expire(now) {
            let fault =
                expired.get_or_insert_with(|| Fault::new(ErrorKind::Timeout, text.to_string()));
            context.tell_error(Some(number), fault);
            self.lose(request, context);
        }
        self.ledger.forget();
        expired
    }

    /// Gives up the oldest request, which somebody has turned back. Returns whether the connection goes on.
    pub fn refuse(&mut self, fault: &Fault, context: &mut Context<'_>) -> bool {
        if !goes_on(&self.ledger, self.ledger.misses + 1, context.plan) {
            return false;
        }
        let (seq, request) = self.ledger.refuse_oldest().unzip();
        context.tell_error(seq, fault);
        request
            .into_iter()
            .for_each(|request| self.lose(request, context));
        context.found.last_error = Some(fault.clone());
        true
    }

    /// Enters that a request is lost, unless its reply comes late.
    fn lose(&mut self, request: Request, context: &mut Context<'_>) {
        context.recorder.lost(request);
        self.is_lossy |= context.recorder.measures(request);
    }

    /// Whether so much in a row has gone wrong on this socket that another address is worth a try.
    pub fn has_failed(&self) -> bool {
        is_enough(self.ledger.misses)
    }

    /// Whether this socket has been silent for so long by `now` that a new one is to be tried: for three
    /// time-outs, and as long as a reply has ever taken. On a path that is longer than the time-out replies
    /// are late, and a new socket would lose them: so that one hears of it at last, each that fell silent
    /// without a reply has the next one wait twice as long.
    pub fn is_silent(&self, now: u64) -> bool {
        let in_vain = match self.ledger.answered() > self.answered {
            true => 0,
            false => self.in_vain,
        };
        let row = self.ledger.timeout.saturating_mul(IN_A_ROW.into());
        let doubled = row.saturating_mul(1u64.checked_shl(in_vain).unwrap_or(u64::MAX));
        let limit = doubled.max(self.ledger.longest).min(row.max(PATIENCE_NS));
        self.has_failed() && self.ledger.silence(now) >= limit
    }

    /// Reads up to `turns` times what has come by the end.
    pub fn read_out(&mut self, turns: usize, context: &mut Context<'_>) {
        if let Some((transport, mut wire)) = self.split(context) {
            // What fails now has been told, or need not be.
            for _ in 0..turns {
                if !matches!(transport.read(false, &mut wire), Ok(true)) {
                    break;
                }
            }
        }
    }

    /// Enters that no reply can come any more: what is under way is lost, because of `fault` where
    /// there is one. Returns whether the fault has been told of a request.
    pub fn abandon(&mut self, fault: Option<&Fault>, context: &mut Context<'_>) -> bool {
        self.transport.sum_up(context);
        let is_cut = fault.is_none() && context.is_cut;
        let longest = context.recorder.slowest.saturating_mul(2);
        let overdue = context.clock.now().saturating_sub(longest);
        let mut is_told = false;
        let others =
            fault.map(|_| Fault::new(ErrorKind::Lost, "no reply before its socket was given up"));
        while let Some((number, request)) = self.ledger.abandon() {
            // What others have passed, and the slowest would have by far, was lost: there need be no time to
            // wait for it. A path may merely reorder.
            let may_come = request.sent >= overdue || !self.ledger.is_passed(number);
            if is_cut && may_come {
                context.recorder.under_way(request);
                continue;
            }
            self.lose(request, context);
            if let Some(fault) = fault {
                // What has become of one datagram is told once; a time is up for all, and whoever was not let
                // go is none of them.
                let is_of_one = context.plan.connect.is_udp() && fault.kind != ErrorKind::Timeout;
                let is_other = is_of_one && (is_told || fault.kind == ErrorKind::Permission);
                let told = others.as_ref().filter(|_| is_other).unwrap_or(fault);
                context.tell_error(Some(number), told);
                is_told |= !is_other;
            }
        }
        let is_lossy = std::mem::take(&mut self.is_lossy);
        if let State::Open(socket) = &self.state
            && is_lossy
        {
            context.recorder.overflowed(socket.overflowed());
        }
        is_told
    }

    /// Closes a connection that has done what it was for.
    pub fn hang_up(&mut self, context: &mut Context<'_>) {
        self.transport.end(&mut self.ledger, context);
        self.abandon(None, context);
        // The next one may be made at once, whenever that was asked.
        self.state = State::Closed(0);
    }

    /// Closes the connection, or gives up making it, because of `fault`: what was under way has
    /// failed. Decides whether and when there is another one.
    pub fn fail(&mut self, fault: &Fault, context: &mut Context<'_>) {
        if fault.kind != ErrorKind::Mismatch {
            // A socket that has failed may hold replies nevertheless.
            self.read_out(1, context);
        }
        self.transport.end(&mut self.ledger, context);
        let is_told = self.abandon(Some(fault), context);
        if is_told || fault.kind != ErrorKind::Timeout {
            context.found.last_error = Some(fault.clone());
        }
        // Without a request under way the end of a connection is no loss, but it is news.
        if !is_told && fault.kind != ErrorKind::Timeout {
            context.tell_error(None, fault);
        }
        let (now, answered) = (context.clock.now(), self.ledger.answered());
        if self.failures == 0 || answered > self.answered {
            (self.failures, self.failing_since, self.answered) = (0, now, answered);
            self.in_vain = 0;
        }
        self.failures += 1;
        let is_silent = fault.kind == ErrorKind::Timeout && matches!(self.state, State::Open(_));
        self.in_vain += u32::from(is_silent);
        let failing = Duration::from_nanos(now - self.failing_since);
        let is_there = match context.plan.new_connection {
            // The first connection was made, before any other was tried.
            true => context.heard || matches!(self.state, State::Opening),
            // Where others are answered, it may be mere loss that nothing has come yet.
            false => context.heard && fault.kind == ErrorKind::Timeout,
        };
        let is_given_up = |limit| match fault.kind {
            // A stream that lies under load is no server to go on with.
            ErrorKind::Mismatch => true,
            _ if is_silent && answered == 0 && self.ledger.silence(now) < SILENCE_NS => false,
            _ => failing >= limit || (answered == 0 && !is_there),
        };
        if !context.plan.patience.is_some_and(is_given_up) {
            // A second attempt follows at once.
            let pause = self.failures.checked_sub(2).map_or(0, |n| nanos(pause(n)));
            self.state = State::Closed(now + pause);
            return;
        }
        self.state = State::Dead;
        if fault.kind == ErrorKind::Timeout {
            // Silence is a failure only once it has been the end of a connection.
            context.recorder.failed(fault.kind);
        }
        context.found.fault.get_or_insert_with(|| fault.clone());
    }
}

/// Whether a socket is kept of which so many requests in a row have failed.
pub fn goes_on(ledger: &Ledger, misses: u32, plan: &Plan) -> bool {
    (plan.patience.is_none() || ledger.answered() > 0) && !is_enough(misses)
}

fn is_enough(misses: u32) -> bool {
    #[cfg(test)]
    if super::simulated::has(super::simulated::Mutant::GivenUpForEver) {
        return false;
    }
    misses >= IN_A_ROW
}

/// What all connections of a worker share.
pub struct Context<'a> {
    /// The time.
    pub clock: Clock,
    /// The books.
    pub recorder: Recorder,
    /// Who is told what happens.
    pub sink: &'a dyn Sink,
    /// Whether of each reply too.
    pub tells_each: bool,
    /// What has just been read.
    pub buffer: Box<[u8]>,
    /// What is about to be written, or is expected.
    pub scratch: Box<[u8]>,
    /// What is to be done.
    pub plan: &'a Plan,
    /// Whether anything has been answered, over any connection of the run.
    pub heard: bool,
    /// Whether the run has been stopped: then nobody waits for what is under way at its end.
    pub is_cut: bool,
    /// How long connecting took, for the next reply to tell.
    pub connect: Option<Duration>,
    /// What a STAMP reflector has said, for the next reply to tell.
    pub told: Told,
    /// What is left behind.
    pub found: Found,
}

/// What was found out besides the books.
#[derive(Debug, Default)]
pub struct Found {
    /// The first reply that was wrong.
    pub mismatch: Option<Fault>,
    /// Why a connection was given up for good: the first one.
    pub fault: Option<Fault>,
    /// The last thing that went wrong with a request, or a connection.
    pub last_error: Option<Fault>,
    /// What STAMP reflectors told of both ways.
    pub ways: Ways,
    /// And what their clocks did.
    pub clocks: Clocks,
}

/// What a STAMP reflector says of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// Its number of the reply.
    pub theirs: Option<u32>,
    /// How long it held the request.
    pub residence_ns: Option<u64>,
}

impl<'a> Context<'a> {
    /// What a worker has before it begins.
    pub fn new(clock: Clock, collector: Sender<Slice>, sink: &'a dyn Sink, plan: &'a Plan) -> Self {
        Context {
            clock,
            recorder: Recorder::new(plan, collector),
            sink,
            tells_each: sink.wants_each(),
            buffer: vec![0; BUFFER_LEN].into(),
            scratch: vec![0; BUFFER_LEN].into(),
            plan,
            heard: false,
            is_cut: false,
            connect: None,
            told: Told::default(),
            found: Found::default(),
        }
    }

    /// Enters the replies of `bytes` bytes each that came at `at` to `count` requests in turn, which
    /// were due and left together.
    #[inline]
    pub fn enter(
        &mut self,
        entry: Entry,
        count: u64,
        at: u64,
        bytes: usize,
        detail: Option<String>,
    ) {
        self.heard |= entry.class.is_right();
        self.recorder.reply(&entry, count, at, bytes);
        let told = std::mem::take(&mut self.told);
        if self.tells_each {
            let (first, request) = entry.answers.unzip();
            for offset in 0..count {
                self.sink.tell(What::Reply {
                    seq: first.map(|number| number + offset),
                    class: entry.class,
                    bytes,
                    rtt_ns: request.map(|request| at.saturating_sub(request.departed())),
                    connect_ns: self.connect.take().map(nanos),
                    reflector_seq: told.theirs,
                    residence_ns: told.residence_ns,
                    detail: detail.clone(),
                });
            }
        }
    }

    /// Enters a stray that is wrong, as `told` says of the first.
    pub fn wrong(&mut self, class: Class, at: u64, bytes: usize, told: impl fmt::Display) {
        self.mismatch(told);
        self.enter(Entry::stray(class), 1, at, bytes, None);
    }

    /// Remembers the first wrong reply.
    pub fn mismatch(&mut self, text: impl fmt::Display) {
        let wrong = || Fault::new(ErrorKind::Mismatch, text.to_string());
        self.found.mismatch.get_or_insert_with(wrong);
    }

    /// Tells that request `seq`, or a connection, has failed.
    pub fn tell_error(&self, seq: Option<u64>, fault: &Fault) {
        if self.tells_each {
            self.sink.tell(What::Error {
                seq,
                kind: fault.kind,
                detail: fault.message.clone(),
            });
        }
    }

    /// A connection was opened between `ends`, which took so long.
    pub fn connected(&mut self, elapsed: Duration, ends: String) {
        self.recorder.connected(elapsed);
        self.sink.tell(What::Connected(ends));
    }
}

/// What a system error on a connection means.
pub fn broken(error: &io::Error, is_udp: bool) -> Fault {
    let kind = match ErrorKind::of(error) {
        // A router that bars a datagram says so with one word over IPv4, and another over IPv6.
        _ if is_udp && Errno::from_io_error(error) == Some(Errno::ACCESS) => ErrorKind::Unreachable,
        kind => kind,
    };
    let fault = match kind {
        // What ICMP says of a port on which nobody listens.
        ErrorKind::Refused if is_udp => Fault::new(kind, "port unreachable"),
        _ => Fault {
            kind,
            remedy: None,
            ..error.into()
        },
    };
    match kind {
        // What had been connected may end in any way; these say what to look at.
        ErrorKind::Refused | ErrorKind::Unreachable | ErrorKind::Permission => fault.remedied(),
        _ => fault,
    }
}
