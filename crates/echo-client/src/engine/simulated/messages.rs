//! Messages that reach a simulated far end, and what it does with them.

use std::io::{self, ErrorKind};
use std::time::Duration;

use echo_core::splitmix::mix;
use rustix::io::Errno;

use super::{FarEnd, Kind, MS, Parcel, SOON, Step, US};
use crate::report::Counts;

impl FarEnd {
    /// How much the system takes; of datagrams, all or nothing.
    pub(super) fn room(&self, index: usize) -> usize {
        let held = self.lines[index].held;
        match self.capacity.saturating_sub(held) {
            _ if self.udp && held == 0 => self.wire_len,
            room if self.udp && room < self.wire_len => 0,
            room => room,
        }
    }

    pub(super) fn write(&mut self, index: usize, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room(index);
        let is_short = !self.udp && self.chance(4);
        let draw = mix(self.seed);
        let wire = &mut self.lines[index];
        if let Some(kind) = wire.failure {
            if self.udp {
                wire.failure = None;
                // It is sent again when the worker has its next turn.
                self.blocked = true;
            }
            self.refused += 1;
            return Err(kind.into());
        }
        if wire.bars > 0 {
            wire.bars -= 1;
            self.calm = self.calm.max(self.now + 1);
            (self.refused, self.barred) = (self.refused + 1, self.barred + 1);
            return Err(Errno::PERM.into());
        }
        if wire.ended && !wire.coming.values().any(|p| matches!(p, Parcel::End)) {
            // Nobody is there to take it, and that is heard of later.
            wire.failure = Some(ErrorKind::ConnectionReset);
            wire.readable = true;
        }
        if room == 0 {
            wire.waits_for_room = true;
            self.blocked = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut n = match self.udp {
            true => bytes.len(),
            false => bytes.len().min(room),
        };
        if is_short {
            n = 1 + (draw % n as u64) as usize;
        }
        for &byte in &bytes[..n] {
            if wire.partial.is_empty() {
                wire.numbers.push(self.messages.len());
                wire.answered.push(false);
                self.messages.push((self.now, None));
            }
            wire.partial.push(byte);
            if wire.partial.len() == self.wire_len {
                wire.pending.push_back(std::mem::take(&mut wire.partial));
            }
        }
        wire.held += n;
        if !self.udp {
            wire.sent.extend_from_slice(&bytes[..n]);
        }
        self.take(index);
        Ok(n)
    }

    /// The server takes what there is, unless it is stalled.
    pub(super) fn take(&mut self, index: usize) {
        while self.lines[index].stalled_until <= self.now
            && let Some(message) = self.lines[index].pending.pop_front()
        {
            let wire = &mut self.lines[index];
            wire.taken += 1;
            let n = wire.taken - 1;
            self.answer(index, n, message);
        }
        let wire = &mut self.lines[index];
        if wire.stalled_until <= self.now {
            wire.held = 0;
            wire.writable |= std::mem::take(&mut wire.waits_for_room);
        }
    }

    fn answer(&mut self, index: usize, n: usize, mut message: Vec<u8>) {
        if self.reflector.is_some() {
            return self.leave(index, n, &message);
        }
        if self.down_until > self.now {
            return self.fail(index, ErrorKind::ConnectionRefused);
        }
        let at = mix(self.seed ^ n as u64) as usize % message.len();
        let whole = |message: Vec<u8>| Parcel::Bytes(message, Kind::Whole, n, 0);
        let lost = Some(index) == self.lost_line;
        let otherwise = if lost { Step::Never } else { SOON };
        match self.steps.pop_front().unwrap_or(otherwise) {
            Step::Echo(after) => self.send(index, after, whole(message)),
            Step::Torn(after, gap) if !self.udp => {
                let rest = message.split_off(at);
                self.send(index, after, whole(message));
                self.send(index, after + gap, whole(rest));
            }
            Step::Torn(after, _) => self.send(index, after, whole(message)),
            Step::Twice(after, again) => {
                self.send(index, after, whole(message.clone()));
                self.send(index, after + again, whole(message));
            }
            Step::Never => {
                self.lines[index].mute = !self.udp;
                self.calm = self.calm.max(self.now + 1);
            }
            Step::Corrupt(after) => {
                message[at] ^= 0x55;
                self.send(index, after, Parcel::Bytes(message, Kind::Corrupt, n, 0));
            }
            Step::Cut(after) => {
                message.truncate(at);
                self.send(index, after, Parcel::Bytes(message, Kind::Cut, n, 0));
                self.end(index);
            }
            Step::Foreign(after) => {
                self.send(index, after, whole(message));
                let strange = vec![0xee; 40];
                self.send(index, after, Parcel::Bytes(strange, Kind::Foreign, n, 0));
            }
            Step::Refuse => self.fail(
                index,
                match (self.udp, n % 2) {
                    (true, 0) => ErrorKind::ConnectionRefused,
                    (true, _) => ErrorKind::HostUnreachable,
                    (false, _) => ErrorKind::ConnectionReset,
                },
            ),
            Step::End => {
                self.send(index, 0, whole(message));
                self.end(index);
            }
            Step::Stall(time) => {
                self.send(index, US, whole(message));
                self.lines[index].stalled_until = self.now + time;
                self.calm = self.calm.max(self.now + time);
            }
            Step::Restart(time) => {
                self.down_until = self.now + time;
                self.calm = self.calm.max(self.down_until);
                for index in 0..self.lines.len() {
                    self.lines[index].coming.clear();
                    if !self.udp {
                        self.fail(index, ErrorKind::ConnectionReset);
                    }
                }
            }
            Step::Spurious(late) => {
                self.send(index, MS, whole(message));
                self.spurious = Some(late);
            }
            Step::Bar(count) => {
                self.send(index, MS, whole(message));
                self.lines[index].bars = if self.udp { count } else { 0 };
            }
        }
    }

    fn fail(&mut self, index: usize, kind: ErrorKind) {
        self.calm = self.calm.max(self.now + 1);
        let wire = &mut self.lines[index];
        wire.failure = Some(kind);
        wire.readable = true;
    }

    /// Ends a stream, behind what is on its way.
    fn end(&mut self, index: usize) {
        if !self.udp {
            self.send(index, 0, Parcel::End);
            // Also where that is the moment at which the run begins: to end it is no calm.
            self.calm = self.calm.max(self.now + 1);
            self.lines[index].ended = true;
        }
    }

    pub(super) fn send(&mut self, index: usize, after: u64, parcel: Parcel) {
        let wire = &mut self.lines[index];
        let mut at = self.now + after;
        if !self.udp {
            at = at.max(wire.last);
        }
        wire.last = at;
        self.calm = self.calm.max(at);
        if wire.mute || wire.ended {
            return;
        }
        let parcel = match parcel {
            Parcel::Bytes(bytes, kind, n, _) => Parcel::Bytes(bytes, kind, n, at),
            Parcel::End => parcel,
        };
        self.parcels += 1;
        wire.coming.insert((at, self.parcels), parcel);
    }

    /// Reads what is there. Says how long ago a datagram came.
    pub(super) fn read(
        &mut self,
        index: usize,
        buffer: &mut [u8],
    ) -> io::Result<(usize, Duration)> {
        let wire = &mut self.lines[index];
        if self.udp {
            if let Some(kind) = wire.failure.take() {
                return Err(kind.into());
            }
            let Some(Parcel::Bytes(bytes, kind, n, at)) = wire.here.pop_front() else {
                return Err(ErrorKind::WouldBlock.into());
            };
            buffer[..bytes.len()].copy_from_slice(&bytes);
            if let Some(reflector) = &mut self.reflector {
                reflector.read(index, n, &bytes);
            }
            match kind {
                Kind::Whole => self.whole(index, n, at),
                Kind::Corrupt => self.seen.corrupt += 1,
                Kind::Cut => self.seen.truncated += 1,
                Kind::Foreign => self.seen.foreign += 1,
            }
            return Ok((bytes.len(), Duration::from_nanos(self.now - at)));
        }
        let mut len = 0;
        while let Some(Parcel::Bytes(bytes, ..)) = wire.here.front_mut() {
            let part = bytes.len().min(buffer.len() - len);
            buffer[len..len + part].copy_from_slice(&bytes[..part]);
            bytes.drain(..part);
            len += part;
            if !bytes.is_empty() {
                break;
            }
            wire.here.pop_front();
        }
        match (len, wire.failure, wire.here.front()) {
            (0, _, Some(Parcel::End)) => {}
            (0, Some(kind), _) => return Err(kind.into()),
            (0, None, _) => return Err(ErrorKind::WouldBlock.into()),
            _ => self.compare(index, &buffer[..len]),
        }
        Ok((len, Duration::ZERO))
    }

    /// Compares what comes back on a stream with what was sent.
    fn compare(&mut self, index: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let wire = &mut self.lines[index];
            let rest = &wire.sent[wire.read..];
            let whole = self.wire_len - wire.read % self.wire_len;
            let (part, after) = bytes.split_at(whole.min(rest.len()).min(bytes.len()));
            if part.is_empty() {
                self.seen.foreign += 1;
                return;
            }
            wire.wrong |= part != &rest[..part.len()];
            wire.read += part.len();
            bytes = after;
            if wire.read.is_multiple_of(self.wire_len) {
                let n = wire.read / self.wire_len - 1;
                match std::mem::take(&mut wire.wrong) {
                    true => self.seen.corrupt += 1,
                    false => self.whole(index, n, self.now),
                }
            }
        }
    }

    /// Message `n` of a connection had a right reply, which came at `at`.
    fn whole(&mut self, index: usize, n: usize, at: u64) {
        let wire = &mut self.lines[index];
        if std::mem::replace(&mut wire.answered[n], true) {
            self.seen.duplicate += 1;
            return;
        }
        self.seen.unique += 1;
        self.seen.reordered += u64::from(n + 1 < wire.highest);
        wire.highest = wire.highest.max(n + 1);
        let (sent, reply) = &mut self.messages[wire.numbers[n]];
        *reply = Some(at);
        self.seen.late += u64::from(at - *sent > self.timeout);
    }

    pub(super) fn hung_up(&mut self, index: usize) {
        let wire = &mut self.lines[index];
        wire.open = false;
        if !self.udp && !wire.read.is_multiple_of(self.wire_len) {
            if self.cut_at_end.0 != self.now {
                self.cut_at_end = (self.now, Counts::default());
            }
            let is_wrong = std::mem::take(&mut wire.wrong);
            for seen in [&mut self.seen, &mut self.cut_at_end.1] {
                match is_wrong {
                    true => seen.corrupt += 1,
                    false => seen.truncated += 1,
                }
            }
        }
    }
}
