//! A stream on a clock that jumps to whatever is due next.

use super::*;
use crate::event::PeerAddress;
use crate::event::{EventReader, Kind, Level};
use crate::fault::Faults;
use crate::fault::dice::dice;
use echo_core::Transport;
use std::time::Duration;

/// A stream under test, with a clock that jumps to what is due next.
struct Bench {
    list: Faults,
    faults: Box<StreamFaults>,
    events: Events,
    reader: EventReader,
    now: Instant,
    /// What was written, and when.
    written: Vec<(Duration, Vec<u8>)>,
    ends: Vec<Ending>,
    start: Instant,
    most_held: usize,
}

impl Bench {
    fn new(specs: &[&str], framing: Framing) -> Self {
        let faults = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        let list = Faults::new(7, faults);
        let plan = list.plan().unwrap();
        let (now, subject) = (
            Instant::now(),
            Subject::new(Transport::Tcp, None, 1, Some(PeerAddress::Unix)),
        );
        let (events, reader) = Events::channel(Level::Connections);
        let new = StreamFaults::new(&plan, &subject, framing, now);
        Bench {
            list,
            faults: new.expect("a fault applies"),
            events,
            reader,
            now,
            written: Vec::new(),
            ends: Vec::new(),
            start: now,
            most_held: 0,
        }
    }

    fn change(&mut self, gone: &[u64], new: &[&str]) {
        let new = new.iter().map(|spec| spec.parse().unwrap()).collect();
        self.list.change(|number| gone.contains(&number), new);
        let plan = self.list.plan();
        self.faults.revise(plan.as_ref(), self.now, &self.events);
        self.settle(usize::MAX);
    }

    fn push(&mut self, bytes: &[u8]) {
        let most = &mut { usize::MAX };
        let pushed = self.faults.push(bytes, self.now, &self.events, most);
        pushed.unwrap();
        self.settle(usize::MAX);
    }

    /// Writes what is due, to a socket that takes `room` bytes.
    fn settle(&mut self, mut room: usize) {
        loop {
            self.most_held = self.most_held.max(self.faults.held);
            let most = &mut { usize::MAX };
            match self.faults.due(self.now, &self.events, most).unwrap() {
                Due::Bytes(bytes) => {
                    let len = bytes.len();
                    let taken = len.min(room);
                    let piece = bytes[..taken].to_vec();
                    self.written.push((self.now - self.start, piece));
                    room -= taken;
                    self.faults.wrote(taken, self.now);
                    if taken < len {
                        return;
                    }
                }
                Due::End(end) => self.ends.push(end),
                Due::Nothing => return,
            }
        }
    }

    /// Lets time pass until nothing is due any more.
    fn run(&mut self) {
        while let Some(at) = self.faults.wake(false) {
            self.now = self.now.max(at);
            self.settle(usize::MAX);
        }
    }

    fn output(&self) -> Vec<u8> {
        self.written
            .iter()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect()
    }

    fn told(&self) -> Vec<(&'static str, u64)> {
        std::iter::from_fn(|| self.reader.try_next())
            .filter_map(|event| match event.kind {
                Kind::Fault { what, message, .. } => Some((what.name, message.unwrap_or(0))),
                _ => None,
            })
            .collect()
    }
}

/// Numbered lines, in chunks that end anywhere but are complete together.
fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .flat_map(|i| format!("line {i}\n").into_bytes())
        .collect()
}

#[test]
fn what_only_delays_or_cuts_loses_nothing_and_keeps_the_order() {
    for specs in [
        &["delay=1ms..90ms"][..],
        &["split=3"],
        &["trickle=2/10ms"],
        &["rate=1000"],
        &["merge=100"],
        &[
            "delay=5ms±9ms",
            "merge=50",
            "split=7,msg=40%",
            "trickle=5/1ms",
            "rate=9k",
        ],
    ] {
        let mut bench = Bench::new(specs, Framing::Lines);
        let sent = lines(200);
        let mut dice = dice(3, 0, 0, 0);
        for frames in sent
            .split_inclusive(|&b| b == b'\n')
            .collect::<Vec<_>>()
            .chunks(7)
        {
            bench.push(&frames.concat());
            bench.now += Duration::from_micros(dice.below(5_000));
            bench.settle(dice.below(20) as usize);
        }
        bench.settle(usize::MAX);
        bench.faults.finish();
        bench.settle(usize::MAX);
        bench.run();
        assert!(
            bench.faults.is_empty() && bench.faults.held == 0,
            "{specs:?}"
        );
        assert_eq!(bench.output(), sent, "{specs:?}");
    }
}

#[test]
fn each_message_meets_the_fate_that_is_told_and_no_other() {
    let specs = [
        "drop=20%",
        "duplicate=20%",
        "corrupt=20%",
        "truncate=3,msg=20%",
    ];
    let mut bench = Bench::new(&specs, Framing::Lines);
    let sent = lines(500);
    for line in sent.split_inclusive(|&b| b == b'\n') {
        bench.push(line);
    }
    let told = bench.told();
    let mut written = bench.written.iter().map(|(_, bytes)| bytes);
    for (line, number) in sent.split_inclusive(|&b| b == b'\n').zip(1..) {
        let mut fates = told.iter().filter(|(_, message)| *message == number);
        let fate = fates.next().map(|(name, _)| *name);
        assert_eq!(fates.next(), None, "one fate a message");
        if fate == Some("drop") {
            continue;
        }
        let written = written.next().unwrap();
        match fate {
            Some("duplicate") => assert_eq!(*written, line.repeat(2)),
            Some("truncate") => assert_eq!(*written, line[..3]),
            Some("corrupt") => {
                let bits = |(a, b): (&u8, &u8)| (a ^ b).count_ones();
                assert_eq!(written.iter().zip(line).map(bits).sum::<u32>(), 1);
            }
            _ => assert_eq!(*written, line),
        }
    }
    assert_eq!(written.next(), None);
    for name in ["drop", "duplicate", "corrupt", "truncate"] {
        assert!(
            told.iter().filter(|(told, _)| *told == name).count() > 20,
            "{name}"
        );
    }
}

#[test]
fn the_framing_alone_decides_what_a_message_is() {
    let sent = lines(300);
    let outputs: Vec<_> = [1, 7, 300]
        .map(|at_once| {
            let mut bench = Bench::new(&["drop=30%", "corrupt=2,msg=30%"], Framing::Lines);
            let frames: Vec<_> = sent.split_inclusive(|&b| b == b'\n').collect();
            for frames in frames.chunks(at_once) {
                bench.push(&frames.concat());
            }
            (bench.output(), bench.told())
        })
        .into();
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}

#[test]
fn memory_is_bounded_and_reading_pauses_at_the_bound() {
    for (specs, message) in [
        (&["delay=1h"][..], 1),
        (&["delay=1h"], 5_000),
        (&["delay=1h", "duplicate"], 60_000),
        (&["merge=256k"], 1_000),
        (&["trickle=100/1s"], 1_000),
    ] {
        let mut bench = Bench::new(specs, Framing::Lines);
        let line = [vec![b'x'; message - 1], vec![b'\n']].concat();
        let read = line.repeat((64 << 10) / line.len());
        let mut reads = 0;
        while bench.faults.has_room() && reads < 1_000 {
            bench.push(&read);
            reads += 1;
        }
        assert!(reads < 1_000 || specs == ["merge=256k"], "{specs:?}");
        let bound = HELD_MAX + 2 * line.len() + 2 * CHUNK_COST;
        assert!(bench.most_held <= bound, "{specs:?}: {}", bench.most_held);
        assert!(bench.faults.input.len() <= read.len());
        // And goes on once there is room.
        bench.run();
        assert!(bench.faults.has_room(), "{specs:?}");
    }
}

#[test]
fn a_connection_ends_where_it_is_told_to() {
    for (spec, end, output) in [
        ("close-after=7", Ending::Close, &b"one\ntwo"[..]),
        ("reset-after=4", Ending::Reset, b"one\n"),
        ("half-close-after=0", Ending::HalfClose, b""),
        ("close-after=2msg", Ending::Close, b"one\ntwo\n"),
        ("reset-after=50ms", Ending::Reset, b"one\ntwo\nthree\n"),
    ] {
        let mut bench = Bench::new(&[spec], Framing::Lines);
        if bench.faults.wake(false) == Some(bench.now) {
            bench.settle(usize::MAX);
        }
        bench.push(b"one\ntwo\nthree\n");
        bench.run();
        bench.push(b"four\n");
        bench.run();
        assert_eq!(
            (bench.output(), &bench.ends[..]),
            (output.to_vec(), &[end][..]),
            "{spec}"
        );
        assert_eq!(bench.told(), [(end.name(), 0)], "{spec}");
    }
}

#[test]
fn messages_that_are_dropped_count_as_answered() {
    let mut bench = Bench::new(&["drop,msg=2..", "close-after=3msg"], Framing::Lines);
    bench.push(b"one\n");
    assert_eq!(bench.ends, []);
    bench.push(b"two\nthree\n");
    assert_eq!(bench.ends, [Ending::Close]);
}

#[test]
fn a_stalled_connection_takes_everything_and_answers_nothing() {
    let mut bench = Bench::new(&["stall"], Framing::Raw);
    for _ in 0..100 {
        bench.push(&[b'x'; 60_000]);
        assert!(bench.faults.has_room());
    }
    assert_eq!((bench.output(), bench.told()), (vec![], vec![("stall", 0)]));
    assert!(bench.faults.is_empty());
}

#[test]
fn a_delay_that_goes_delays_no_more_what_waits_to_be_joined() {
    let mut bench = Bench::new(&["merge=8", "delay=1h"], Framing::Raw);
    bench.push(b"four");
    bench.change(&[2], &[]);
    bench.push(b"more");
    bench.run();
    assert_eq!(bench.written, [(Duration::ZERO, b"fourmore".to_vec())]);
}

#[test]
fn what_is_joined_is_held_by_what_holds_any_of_it() {
    for (gone, left) in [(&[][..], 3600), (&[2], 60), (&[3], 3600), (&[2, 3], 0)] {
        let specs = ["merge=8", "delay=1h,msg=1", "delay=60s,msg=2"];
        for specs in [specs, ["merge=8", "delay=1h,msg=2", "delay=60s,msg=1"]] {
            let mut bench = Bench::new(&specs, Framing::Raw);
            bench.push(b"four");
            bench.push(b"more");
            bench.change(gone, &[]);
            bench.run();
            let due = Duration::from_secs(left);
            assert_eq!(bench.written, [(due, b"fourmore".to_vec())], "{gone:?}");
        }
    }
}

#[test]
fn answers_wait_for_no_more_than_the_merge_that_is_left_wants() {
    for (gone, new, left) in [
        (1, &["merge=10"][..], "wait until they are enough"),
        (1, &[], "wait until they are enough"),
        (1, &["merge=30"], ""),
    ] {
        let mut bench = Bench::new(&["merge=1000"], Framing::Raw);
        bench.push(b"wait until ");
        bench.push(b"they are enough");
        bench.change(&[gone], new);
        assert_eq!(String::from_utf8(bench.output()).unwrap(), left, "{new:?}");
    }
}

#[test]
fn a_change_cuts_nothing_that_was_not_to_be_cut() {
    for specs in [
        &["duplicate", "split=15", "delay=5s"][..],
        &["merge=20", "split=15", "delay=5s"],
    ] {
        let mut bench = Bench::new(specs, Framing::Raw);
        for _ in 0..2 {
            bench.push(&[b'x'; 10]);
        }
        bench.change(&[], &["drop,conn=9"]);
        bench.run();
        let mut lens = bench.written.iter().map(|(_, bytes)| bytes.len());
        assert!(lens.all(|len| len == 20), "{specs:?}: {:?}", bench.written);
        assert!(bench.faults.is_empty());
    }
}

#[test]
fn a_turn_decides_about_so_many_messages_and_the_next_about_those_behind() {
    let mut bench = Bench::new(&["drop"], Framing::Lines);
    let mut most = 10;
    let (now, events) = (bench.now, &bench.events);
    bench
        .faults
        .push(&b"\n".repeat(100), now, events, &mut most)
        .unwrap();
    assert_eq!((most, bench.told().len()), (0, 10));
    assert!(!bench.faults.has_room() && bench.faults.is_interrupted());
    for (mut most, told, left) in [(0, 0, 0), (50, 50, 0), (50, 40, 10)] {
        let due = bench.faults.due(bench.now, &bench.events, &mut most);
        assert_eq!(due.unwrap(), Due::Nothing);
        assert_eq!((most, bench.told().len()), (left, told));
    }
    assert!(bench.faults.has_room() && bench.faults.is_empty());
}
