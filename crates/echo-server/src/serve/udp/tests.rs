//! What a turn may cost, what is booked of an answer in pieces, and what the end answers.

use super::*;
use crate::Config;
use crate::event::{EventReader, Level};
use crate::fault::Faults;
use crate::socket::datagram::ask_for_room;
use echo_explain::Watched;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// A socket that is served, and one that sends to it.
struct Bench {
    echo: UdpEcho,
    sender: UdpSocket,
    events: Arc<Events>,
    reader: EventReader,
    counters: Counters,
    batch: Batch,
}

impl Bench {
    fn new() -> Self {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        ask_for_room(&own);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(own.local_addr().unwrap()).unwrap();
        let (events, reader) = Events::channel(Level::Connections);
        let events = Arc::new(events);
        let (config, rate) = (Config::default(), crate::serve::rate::Rate::new(0).into());
        let guard = Guard::new(&config, rate, Vec::new(), events.clone());
        let socket = DatagramSocket::new(Watched::of(&*events, own.into()), None).unwrap();
        let listen = Arc::new("udp://127.0.0.1:0".parse().unwrap());
        Bench {
            echo: UdpEcho::new(socket, guard, listen, None),
            sender,
            events,
            reader,
            counters: Counters::default(),
            batch: Batch::new(),
        }
    }

    fn advance(&mut self, left: usize) -> bool {
        let mut turn = UdpTurn {
            batch: &mut self.batch,
            now: Instant::now(),
            events: &self.events,
            counters: &self.counters,
            spent: BYTES - left,
        };
        self.echo.advance(&mut turn)
    }
}

#[test]
fn what_waited_in_a_pause_is_answered_at_the_end() {
    for paused_again in [false, true] {
        let mut bench = Bench::new();
        bench.echo.pause(true);
        bench.sender.send(b"x").unwrap();
        assert!(!bench.advance(BYTES));
        bench.echo.drain();
        if paused_again {
            bench.echo.pause(true);
        }
        assert!(bench.echo.owes());
        while bench.advance(BYTES) {}
        assert_eq!(bench.counters.answered.get(), 1);
        assert!(!bench.echo.owes());
    }
}

#[test]
fn what_came_is_told_in_the_bytes_that_came() {
    let mut bench = Bench::new();
    let faults = ["truncate=1", "duplicate,msg=2"].map(|spec| spec.parse().unwrap());
    let plan = Faults::new(7, faults.into()).plan();
    bench.echo.set_faults(plan);
    bench.sender.send(b"ten bytes!").unwrap();
    while bench.advance(BYTES) {}
    let told = std::iter::from_fn(|| bench.reader.try_next());
    let answered = told.filter_map(|event| match event.kind {
        Kind::DatagramsAnswered(sum) => Some((sum.count, sum.bytes)),
        _ => None,
    });
    assert_eq!(answered.collect::<Vec<_>>(), [(1, 10)]);
}

#[test]
fn a_turn_is_over_when_its_bytes_are_moved_whatever_becomes_of_them() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.sender.send(&[0; 40_000]).unwrap();
    }
    assert!(bench.advance(40_000));
    assert_eq!(bench.counters.datagrams.get(), 1);
    while bench.advance(BYTES) {}
    assert_eq!(bench.counters.answered.get(), 3);
    let split = "split=1".parse().unwrap();
    bench.echo.set_faults(Faults::new(7, vec![split]).plan());
    bench.sender.send(&[0; 5_000]).unwrap();
    let turns = (0..).take_while(|_| bench.advance(BYTES)).count();
    assert!(turns >= 5_000 / (BYTES / DATAGRAM), "{turns}");
    assert_eq!(bench.counters.answered.get(), 4);
}

#[test]
fn what_a_batch_costs_is_known_where_the_turn_had_little_left() {
    let mut bench = Bench::new();
    bench.echo.expected = BATCH;
    for _ in 0..BATCH {
        bench.sender.send(&[0; 7_000]).unwrap();
    }
    assert!(bench.advance(1));
    assert_eq!(bench.counters.answered.get(), BATCH as u64);
    let expected = bench.echo.expected;
    assert!((1..BATCH).contains(&expected), "{expected}");
}

#[test]
fn an_answer_of_which_any_piece_cannot_be_sent_has_failed() {
    let mut bench = Bench::new();
    let split = "split=1".parse().unwrap();
    bench.echo.set_faults(Faults::new(7, vec![split]).plan());
    // It sends nothing from now on, and says that nobody is connected to it.
    let own = bench.echo.socket.as_raw_fd();
    let _ = nix::sys::socket::shutdown(own, nix::sys::socket::Shutdown::Write);
    bench.sender.send(&[0; 200]).unwrap();
    assert!(bench.advance(1) && bench.advance(1));
    assert!(bench.echo.owes());
    bench.echo.socket = Bench::new().echo.socket;
    while bench.advance(BYTES) {}
    assert_eq!(bench.counters.answered.get(), 0);
    let failed = DropReason::Failed(io::ErrorKind::BrokenPipe);
    assert_eq!(bench.counters.dropped[failed.index()].get(), 1);
}

#[test]
fn a_sender_that_goes_on_does_not_hold_up_the_end() {
    let mut bench = Bench::new();
    let room = bench.echo.socket.room();
    bench.echo.drain();
    for _ in 0..1000 {
        // More than a turn receives, so that it finds something to the last.
        for _ in 0..(BATCHES_PER_TURN + 1) * BATCH {
            bench.sender.send(b"x").unwrap();
        }
        bench.advance(BYTES);
        if !bench.echo.owes() {
            return;
        }
    }
    let received = bench.counters.datagrams.get();
    panic!("{received} datagrams were received, of which a buffer of {room} bytes held not all");
}
