//! Each fault, seen from outside by a client that shares no code with the server: Python's
//! `socket`, in `faults.py`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Runs one case of `faults.py`, whose every wait has a deadline.
fn passes(case: &str) {
    if !crate::common::has("python3") {
        return;
    }
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults.py"))
        .arg(format!("Faults.test_{case}"))
        .env("ECHO_SERVER", env!("CARGO_BIN_EXE_echo-server"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("ECHO_FAULT")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("Ran 1 test"), "{told}");
}

macro_rules! cases {
    ($($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                passes(stringify!($case));
            }
        )*

        #[test]
        fn every_case_is_run() {
            let cases = [$(stringify!($case)),*];
            let names = include_str!("../faults.py").split("def test_").skip(1);
            for name in names.map(|rest| rest.split('(').next().unwrap()) {
                assert!(cases.contains(&name), "{name}");
            }
        }
    };
}

cases! {
    exactly_the_datagrams_that_the_seed_chooses_are_dropped
    a_dropped_message_is_missing_from_a_stream
    duplicates_arrive_twice
    a_corrupt_message_differs_in_one_bit_where_it_is_told
    as_many_bytes_are_corrupt_as_were_asked_for
    a_truncated_datagram_is_short
    reordered_datagrams_change_places
    a_fixed_delay_holds_every_answer_back_as_long
    a_uniform_delay_spreads_evenly_between_its_bounds
    a_normal_delay_has_its_mean_and_deviation
    a_delayed_stream_keeps_its_order
    a_reset_is_seen_as_such_behind_the_bytes_before_it
    a_reset_comes_after_a_time
    a_close_is_an_end_after_as_many_bytes
    a_close_after_messages_comes_with_the_last_answer
    a_half_closed_connection_can_be_written_to
    a_stalled_connection_reads_and_never_answers
    the_backlog_fills_when_nothing_is_accepted
    those_before_are_accepted_when_later_ones_are_not
    every_connection_is_refused
    some_connections_are_reset_as_soon_as_they_are_accepted
    a_trickle_comes_in_pieces_at_its_times
    a_rate_limits_what_comes_in_a_second
    a_rate_spaces_datagrams
    a_split_answer_takes_several_reads
    a_split_datagram_is_several
    merged_answers_wait_for_each_other
    a_banner_is_said_before_the_client_says_anything
    the_first_answer_of_each_is_held_and_what_comes_behind_it_waits
    a_fault_touches_only_its_place
    unix_sockets_have_faults_too
    the_same_seed_gives_the_same_faults_whatever_the_workers
    a_drawn_seed_is_told_and_repeats_the_run
    a_wrong_fault_ends_with_two_and_is_pointed_at
    faults_come_from_a_file_too
    memory_is_bounded_while_answers_are_held_back
}

/// It is refused before it has a place, and so the one after it is the first.
#[test]
fn a_connection_that_a_fault_refuses_takes_no_place() {
    for args in [
        &["--once", "--fault=refuse,conn=1"][..],
        &[
            "--max-connections=1",
            "--max-total=1",
            "--fault=refuse,conn=1",
        ],
    ] {
        let server = crate::common::Server::start(args);
        // By the time it is connected it may be reset already.
        let refused = TcpStream::connect(server.tcp()).and_then(|mut peer| peer.read(&mut [0]));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionReset);
        crate::common::echo(crate::common::connect(server.tcp()), b"hello");
        assert_eq!(server.end().code, Some(0), "{args:?}");
    }
}

/// With all of it read, no arrival has the server look at this peer again: room to write alone does.
#[test]
fn room_alone_has_what_a_fault_holds_sent() {
    let server = crate::common::Server::start(&["-v", "--log=json", "--fault=drop=0%"]);
    let mut stream = crate::common::connect(server.tcp());
    let block = crate::common::pattern(50_000, 1);
    let told = |key: &str| -> usize {
        let told = server.told();
        let numbers = told.split(key).skip(1);
        let ends = |rest: &str| rest[..rest.find([',', '}']).unwrap()].parse::<usize>();
        numbers.map(|rest| ends(rest).unwrap()).sum()
    };
    // Until it has read what its socket does not take.
    let mut blocks = 0;
    while told("\"sent_bytes\":") == blocks * block.len() {
        stream.write_all(&block).unwrap();
        blocks += 1;
        crate::common::eventually("it is read", || {
            told("\"received_bytes\":") == blocks * block.len()
        });
        // What is sent is told right behind; that it is not, nothing tells.
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    let mut back = vec![0; blocks * block.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == block.repeat(blocks));
    server.stop();
}
