//! Datagrams that wait, are overtaken and share a rate, and when each leaves.

use super::*;
use crate::event::{EventReader, Kind, Level};
use crate::fault::Faults;

struct Bench {
    list: Faults,
    faults: Box<DatagramFaults>,
    events: Events,
    reader: EventReader,
    now: Instant,
}

impl Bench {
    fn new(specs: &[&str]) -> Self {
        let faults = specs.iter().map(|spec| spec.parse().unwrap()).collect();
        let list = Faults::new(7, faults);
        let (events, reader) = Events::channel(Level::Connections);
        Bench {
            faults: DatagramFaults::new(list.plan().unwrap(), None),
            list,
            events,
            reader,
            now: Instant::now(),
        }
    }

    fn change(&mut self, gone: &[u64], new: &[&str]) {
        let new = new.iter().map(|spec| spec.parse().unwrap()).collect();
        self.list.change(|number| gone.contains(&number), new);
        self.faults.revise(self.list.plan());
    }

    fn push(&mut self, port: u16, datagram: &[u8]) -> bool {
        let mut meta = RecvMeta::default();
        meta.addr = SocketAddr::from(([127, 0, 0, 1], port));
        self.faults.push(meta, datagram, self.now, &self.events)
    }

    /// What leaves when time passes, and how long after now.
    fn run(&mut self) -> Vec<(Duration, Vec<u8>)> {
        let mut left = Vec::new();
        while let Some(at) = self.faults.wake() {
            let Some(mut reply) = self.faults.pop(at, &self.events) else {
                continue;
            };
            let rest = reply.cut(1);
            rest.into_iter().for_each(|rest| self.faults.put_back(rest));
            let after = at.saturating_duration_since(self.now);
            for piece in crate::event::pieces(&reply.bytes, reply.meta.stride) {
                left.push((after, piece.to_vec()));
            }
        }
        assert_eq!(self.faults.queue.held, 0);
        left
    }

    fn told(&self, name: &str) -> Vec<u64> {
        std::iter::from_fn(|| self.reader.try_next())
            .filter_map(|event| match event.kind {
                Kind::Fault { what, message, .. } if what.name == name => message,
                _ => None,
            })
            .collect()
    }
}

fn payloads(left: Vec<(Duration, Vec<u8>)>) -> String {
    let texts = left
        .into_iter()
        .map(|(_, bytes)| String::from_utf8(bytes).unwrap());
    texts.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_reordered_datagram_is_overtaken_by_the_next_of_its_source() {
    let mut bench = Bench::new(&["reorder,msg=2", "reorder,msg=5"]);
    for number in ["1", "2", "3", "4", "5"] {
        bench.push(1000, number.as_bytes());
        bench.push(2000, b"x");
    }
    bench.push(1000, b"6");
    let left = bench.run();
    let own = left
        .into_iter()
        .filter(|(_, bytes)| bytes != b"x")
        .collect();
    assert_eq!(payloads(own), "1 3 2 4 6 5");
    assert_eq!(bench.told("reorder"), [2, 2, 5]);
}

#[test]
fn a_reordered_datagram_is_told_by_the_number_that_its_fault_counts() {
    let mut bench = Bench::new(&["drop,msg=9"]);
    bench.push(1000, b"1");
    bench.change(&[], &["reorder,msg=1"]);
    bench.push(1000, b"2");
    bench.push(1000, b"3");
    assert_eq!(payloads(bench.run()), "1 3 2");
    assert_eq!(bench.told("reorder"), [1]);
}

#[test]
fn a_datagram_that_nothing_overtakes_is_late_and_told_so() {
    let mut bench = Bench::new(&["reorder,msg=1"]);
    bench.push(1000, b"alone");
    assert_eq!(bench.run(), [(OVERTAKEN_WITHIN, b"alone".to_vec())]);
    assert_eq!(bench.told("delay"), [1]);
}

#[test]
fn all_that_are_reordered_swap_in_pairs() {
    let mut bench = Bench::new(&["reorder"]);
    for number in ["1", "2", "3", "4"] {
        bench.push(1000, number.as_bytes());
    }
    assert_eq!(payloads(bench.run()), "2 1 4 3");
}

#[test]
fn what_was_overtaken_waits_for_no_fault_that_is_gone() {
    for (gone, left) in [
        (&[1, 2][..], "2@0 1@0"),
        (&[2], "2@0 1@0"),
        (&[1], "2@10 1@10"),
        (&[], "2@10 1@10"),
    ] {
        let mut bench = Bench::new(&["reorder,msg=1", "delay=10s,msg=2"]);
        bench.push(1000, b"1");
        bench.push(1000, b"2");
        bench.change(gone, &[]);
        let shown = bench.run().into_iter().map(|(after, bytes)| {
            format!("{}@{}", String::from_utf8(bytes).unwrap(), after.as_secs())
        });
        assert_eq!(
            shown.collect::<Vec<_>>().join(" "),
            left,
            "without {gone:?}"
        );
    }
}

#[test]
fn whoever_comes_when_no_fault_is_left_is_answered_and_counts_anew() {
    let mut bench = Bench::new(&["delay=10s"]);
    bench.push(1000, b"a");
    bench.change(&[1], &[]);
    assert!(bench.push(2000, b"b"));
    bench.change(&[], &["drop,conn=1"]);
    assert!(!bench.push(3000, b"c"), "it is the first");
    assert!(bench.push(1000, b"d"));
    assert_eq!(payloads(bench.run()), "a b d");
}

#[test]
fn a_delay_that_goes_leaves_the_rate_its_turns() {
    for (gone, left) in [(&[1], [100, 200]), (&[2], [10_000, 10_000])] {
        let mut bench = Bench::new(&["delay=10s,msg=2..", "rate=1000"]);
        for _ in 0..3 {
            bench.push(1000, &[b'x'; 100]);
        }
        assert!(bench.faults.pop(bench.now, &bench.events).is_some());
        bench.change(gone, &[]);
        let times = bench.run().into_iter().map(|(at, _)| at.as_millis());
        assert_eq!(times.collect::<Vec<_>>(), left);
    }
}

#[test]
fn a_rate_that_goes_holds_nothing_that_has_its_turn() {
    let mut bench = Bench::new(&["rate=1000", "drop,msg=9"]);
    for _ in 0..3 {
        bench.push(1000, &[b'x'; 100]);
    }
    let pop = || bench.faults.pop(bench.now, &bench.events);
    assert_eq!(std::iter::from_fn(pop).count(), 1);
    bench.change(&[1], &[]);
    let left = bench.run();
    assert_eq!(left.len(), 2);
    assert!(left.iter().all(|(after, _)| after.is_zero()), "{left:?}");
}

#[test]
fn another_fault_sets_nothing_free_not_even_of_a_source_that_is_forgotten() {
    let mut bench = Bench::new(&["delay=1h"]);
    for port in 1..=1 + SOURCES as u16 {
        bench.push(port, b"x");
    }
    bench.change(&[], &["drop,conn=9999"]);
    let hour = Duration::from_secs(3600);
    assert!(bench.run().iter().all(|(after, _)| *after == hour));
}

#[test]
fn a_rate_is_kept_for_a_source_whose_replies_wait_however_many_come() {
    let mut bench = Bench::new(&["rate=1000", "delay=1s,conn=1"]);
    for _ in 0..3 {
        bench.push(1, &[b'x'; 100]);
    }
    // All of them are silent later than the first one.
    for port in 2..=2 + SOURCES as u16 {
        bench.push(port, b"y");
        let left = bench.faults.pop(bench.now, &bench.events);
        assert_eq!(left.unwrap().meta.addr.port(), port);
    }
    let times = bench.run().into_iter().map(|(at, _)| at.as_millis());
    assert_eq!(times.collect::<Vec<_>>(), [1000, 1100, 1200]);
}

#[test]
fn what_was_overtaken_is_held_by_what_holds_it_itself() {
    for (gone, left) in [(&[][..], [0, 10]), (&[2], [0, 0])] {
        let mut bench = Bench::new(&["reorder,msg=1", "delay=10s,msg=1"]);
        bench.push(1000, b"1");
        bench.push(1000, b"2");
        bench.change(gone, &[]);
        let times = bench.run().into_iter().map(|(at, _)| at.as_secs());
        assert_eq!(times.collect::<Vec<_>>(), left);
    }
}

#[test]
fn a_source_counts_as_a_connection_wherever_its_datagrams_fall() {
    let drops = |order: &[u16]| {
        let mut bench = Bench::new(&["drop=50%,conn=..2"]);
        let mut answered = [0; 3];
        for &port in order {
            let source = usize::from(port / 1000 - 1);
            answered[source] += usize::from(bench.push(port, b"x"));
        }
        answered
    };
    let together: Vec<u16> = [1000, 2000, 3000].repeat(200);
    let one_by_one = [vec![1000; 200], vec![2000; 200], vec![3000; 200]].concat();
    let answered = drops(&together);
    assert_eq!(answered, drops(&one_by_one));
    assert_eq!(
        answered[2], 200,
        "the third source is none of the first two"
    );
    assert!(
        answered[..2].iter().all(|n| (60..140).contains(n)),
        "{answered:?}"
    );
}

#[test]
fn a_rate_spaces_replies_and_a_split_cuts_them() {
    let mut bench = Bench::new(&["rate=1000", "split=60"]);
    for _ in 0..3 {
        bench.push(1000, &[b'x'; 100]);
    }
    let left: Vec<_> = bench
        .run()
        .into_iter()
        .map(|(at, b)| (at.as_millis(), b.len()))
        .collect();
    assert_eq!(
        left,
        [(0, 60), (0, 40), (100, 60), (100, 40), (200, 60), (200, 40)]
    );
}

#[test]
fn an_empty_datagram_is_answered_and_cannot_be_corrupted() {
    let mut bench = Bench::new(&["corrupt", "delay=1ms"]);
    assert!(bench.push(1000, b""));
    assert_eq!(bench.run(), [(Duration::from_millis(1), vec![])]);
    assert!(bench.told("corrupt").is_empty());
}

#[test]
fn memory_is_bounded_whatever_is_held_and_whoever_sends() {
    let mut bench = Bench::new(&["delay=1h", "duplicate"]);
    let mut pushed = 0;
    while bench.faults.has_room() {
        bench.push(1000, b"x");
        pushed += 1;
    }
    assert!(pushed * 2 * (REPLY_COST + 1) < HELD_MAX + 3 * REPLY_COST);
    bench.run();
    assert!(bench.faults.has_room());
    let DatagramFaults { sources, queue } = &mut *bench.faults;
    for port in 1..=3 * SOURCES as u16 {
        sources.of(SocketAddr::from(([127, 0, 0, 1], port)), queue);
    }
    assert_eq!(sources.known.len(), SOURCES);
    assert!(SOURCES * size_of::<(SocketAddr, Source)>() < 512 << 10);
}
