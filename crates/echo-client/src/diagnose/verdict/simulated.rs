//! A path that is only computed: what becomes of each datagram follows from numbers drawn at random.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use echo_core::splitmix::Random;

use super::super::ladder::{Rung, climb};
use super::super::path::To;
use super::super::payload::Payload;
use super::super::sender::Plan;
use super::super::train::{Cell, Damage, Probe, Reflected, Train};
use super::super::trains::{FLOWS, LARGE, mixed_plan, stamp_plan, steady_plan};
use super::{Trains, Turn};

pub const MS: u64 = 1_000_000;
/// When all begins.
const START: u64 = 1_000_000_000 * MS;

/// What the path does to datagrams; nothing, by default.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The round trip, and how much of it is drawn anew for each datagram.
    pub rtt: u64,
    pub spread: u64,
    /// Times at which everything waits for a machine: how often in nanoseconds, and how long at most.
    pub stalls: (u64, u64),
    /// How many of a thousand are lost there, and back.
    pub loss: (u32, u32),
    /// From when on nothing is lost any more.
    pub healed: Option<u64>,
    /// How long this machine itself takes to send one.
    pub slow_sender: u64,
    /// Of a thousand: how many begin a burst, and how many end one.
    pub bursts: (u32, u32),
    /// Every which one is lost.
    pub beat: Option<u64>,
    /// How often nothing passes, and for how long.
    pub outage: Option<(u64, u64)>,
    /// Of a thousand large or marked ones, how many are lost.
    pub large: u32,
    pub marked: u32,
    /// Each first of a port is lost.
    pub first: bool,
    /// One port of so many is dead, or slower by so much.
    pub dead: Option<usize>,
    pub slower: Option<(usize, u64)>,
    /// Of a thousand: how many come twice, are held for how long, or are changed.
    pub twice: u32,
    pub held: (u32, u64),
    pub changed: u32,
    /// Delays of up to so much, in order.
    pub jitter: u64,
    /// From when on packets take so much longer.
    pub step: Option<(u64, u64)>,
    /// Bytes a second, and how many may be saved up.
    pub policer: Option<(f64, f64)>,
    /// It counts packets instead, as if each had one byte.
    pub counts_packets: bool,
    /// Packets in any second.
    pub window: Option<usize>,
    /// Bytes a second, and how many may wait.
    pub shaper: Option<(f64, f64)>,
    /// How often the server or the network stops, and for how long.
    pub server: Option<(u64, u64)>,
    pub network: Option<(u64, u64)>,
    /// What becomes of marks: those bits are cleared.
    pub cleared: u8,
}

/// Nobody is there.
const NOWHERE: To = (
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 7)),
    0,
);

/// A path that is under way.
pub struct Simulated {
    model: Model,
    dice: Random,
    now: u64,
    number: u64,
    is_burst: bool,
    tokens: (f64, u64),
    recent: Vec<u64>,
    free: u64,
    last: [u64; FLOWS],
    stall: (u64, u64),
    known: [bool; FLOWS],
}

impl Simulated {
    /// All trains of a diagnosis of this path.
    pub fn trains(model: Model, seed: u64) -> Trains {
        let start = START;
        let tokens = model.policer.map_or(0.0, |(_, bucket)| bucket);
        let mut path = Simulated {
            model,
            dice: Random(seed),
            now: start,
            number: 0,
            is_burst: false,
            tokens: (tokens, start),
            recent: Vec::new(),
            free: 0,
            last: [0; FLOWS],
            stall: (start, 0),
            known: [false; FLOWS],
        };
        let steady = path.train(&steady_plan(NOWHERE));
        path.known = [false; FLOWS];
        let mixed = path.train(&mixed_plan(NOWHERE, LARGE));
        let mut ladder = Vec::new();
        climb(LARGE, 20_000_000, &mut ladder, |rung, pause| {
            Ok(path.turn(rung, pause))
        })
        .unwrap();
        let stamp = path.train(&stamp_plan(NOWHERE, LARGE));
        let again = path.train(&steady_plan(NOWHERE));
        Trains {
            steady: Some(steady),
            mixed: Some(mixed),
            ladder,
            stamp: Some(stamp),
            again: Some(again),
            asked: Vec::new(),
        }
    }

    fn turn(&mut self, rung: Rung, pause: Duration) -> Turn {
        self.now += pause.as_nanos() as u64;
        let [slow, fast] = rung.plans(NOWHERE).map(|plan| self.train(&plan));
        Turn { slow, fast }
    }

    fn of_thousand(&mut self, share: u32) -> bool {
        share > 0 && self.dice.below(1000) < u64::from(share)
    }

    fn up_to(&mut self, most: u64) -> u64 {
        self.dice.below(most + 1)
    }

    fn train(&mut self, plan: &Plan) -> Train {
        let interval = plan.interval;
        let mut train = Train {
            interval,
            ..Train::default()
        };
        let is_stamp = matches!(plan.payload, Payload::Stamp);
        let mut received = 0;
        for cell in plan.order() {
            let mut probe = Probe {
                cell,
                sent: self.now,
                ..Probe::default()
            };
            if let Some(delay) = self.there(cell) {
                let reflected = Reflected {
                    seq: received,
                    received: probe.sent + delay,
                    sent: probe.sent + delay + self.at_server(),
                    tos: Some(cell.tos & !self.model.cleared),
                    source: None,
                };
                received += 1;
                self.back(&mut probe, reflected);
            }
            probe.reflected = probe.reflected.filter(|_| is_stamp);
            train.probes.push(probe);
            self.now += self.model.slow_sender.max(interval.as_nanos() as u64);
        }
        // What is awaited passes time.
        let last = train.probes.iter().filter_map(|probe| probe.came).max();
        self.now = self.now.max(last.unwrap_or_default());
        self.now += match train.lost() {
            0 => 30 * MS,
            _ => plan.patience.as_nanos() as u64 + self.model.rtt * 3 / 2,
        };
        train
    }

    /// How long a datagram takes there, unless it is lost.
    fn there(&mut self, cell: Cell) -> Option<u64> {
        self.number += 1;
        let bytes = (cell.size + 28) as f64;
        let taken = if self.model.counts_packets {
            1.0
        } else {
            bytes
        };
        let Model {
            beat,
            outage,
            dead,
            policer,
            window,
            shaper,
            ..
        } = self.model.clone();
        let is_in = |span: Option<(u64, u64)>, now: u64| {
            span.is_some_and(|(every, time)| now % every < time)
        };
        let is_first = !std::mem::replace(&mut self.known[cell.flow], true);
        let healed = self.model.healed.unwrap_or(u64::MAX - START);
        let is_healed = self.now > START + healed;
        let end = if self.is_burst {
            self.model.bursts.1
        } else {
            self.model.bursts.0
        };
        self.is_burst ^= self.of_thousand(end);
        if self.is_burst
            || is_in(outage, self.now)
            || beat.is_some_and(|beat| self.number.is_multiple_of(beat))
            || dead.is_some_and(|of| cell.flow % of == 1)
            || (self.model.first && is_first)
            || (!is_healed && self.of_thousand(self.model.loss.0))
            || (cell.size > 1000 && self.of_thousand(self.model.large))
            || (cell.tos > 3 && self.of_thousand(self.model.marked))
        {
            return None;
        }
        if let Some((rate, bucket)) = policer {
            let saved = self.tokens.0 + rate * (self.now - self.tokens.1) as f64 / 1e9;
            self.tokens = (saved.min(bucket), self.now);
            if self.tokens.0 < taken {
                return None;
            }
            self.tokens.0 -= taken;
        }
        if let Some(window) = window {
            let now = self.now;
            self.recent.retain(|at| now - at < 1000 * MS);
            if self.recent.len() >= window {
                return None;
            }
            self.recent.push(now);
        }
        let mut delay = self.model.rtt / 2;
        if let Some((rate, queue)) = shaper {
            self.free = self.free.max(self.now);
            if (self.free - self.now) as f64 * rate / 1e9 > queue {
                return None;
            }
            self.free += (bytes / rate * 1e9) as u64;
            delay += self.free - self.now;
        }
        Some(delay)
    }

    /// How long the server takes.
    fn at_server(&self) -> u64 {
        match self.model.server {
            Some((every, time)) if self.now % every < time => time - self.now % every,
            _ => 20_000,
        }
    }

    fn back(&mut self, probe: &mut Probe, reflected: Reflected) {
        if self.of_thousand(self.model.loss.1) {
            return;
        }
        let mut at = reflected.sent + self.model.rtt / 2 + self.up_to(self.model.spread);
        if let Some((of, time)) = self.model.slower {
            at += if probe.cell.flow % of == 1 { time } else { 0 };
        }
        if let Some((after, time)) = self.model.step {
            at += if self.now > START + after { time } else { 0 };
        }
        if let Some((every, time)) = self.model.network {
            at += time.saturating_sub(self.now % every);
        }
        at += self.up_to(self.model.jitter);
        let (every, most) = self.model.stalls;
        if every > 0 {
            if self.now > self.stall.0 {
                let (pause, time) = (self.up_to(2 * every), self.up_to(most));
                self.stall = (self.now + pause, self.now + pause + time);
            }
            // All that is under way meanwhile waits for its end.
            if at > self.stall.0 && at < self.stall.1 {
                at = self.stall.1;
            }
        }
        // Queues keep the order of a flow.
        let last = &mut self.last[probe.cell.flow];
        at = at.max(*last);
        *last = at;
        if self.of_thousand(self.model.held.0) {
            at += self.model.held.1;
        }
        probe.came = Some(at);
        probe.copies = 1 + u32::from(self.of_thousand(self.model.twice));
        probe.wrong = self
            .of_thousand(self.model.changed)
            .then_some(Damage::Byte(28));
        probe.reflected = Some(reflected);
    }
}
