//! That what is written is what is meant, and that errors point at the right place.

use super::*;
use crate::Config;
use crate::fault::Share;
use crate::fault::dice::dice;
use echo_core::Transport;
use echo_core::splitmix::Random;
use std::net::SocketAddr;
use std::time::Duration;

/// A fault from anywhere in the grammar; not every one goes together.
fn any(dice: &mut Random) -> Fault {
    let bytes = 1 + dice.below(HELD_MAX as u64);
    let time = Duration::from_nanos(dice.below(3_600_000_000_000));
    let after = match dice.below(3) {
        0 => After::Bytes(bytes),
        1 => After::Messages(bytes),
        _ => After::Time(time),
    };
    let delay = match dice.below(3) {
        0 => Delay::Fixed(time),
        1 => Delay::Uniform(time, time * 2),
        _ => Delay::Normal(time * 2, time),
    };
    let action = match dice.below(16) {
        0 => Action::NoAccept(bytes as u16),
        1 => Action::Refuse,
        2 => Action::Stall,
        3 => Action::Drop,
        4 if bytes.is_multiple_of(2) => Action::Corrupt(Corruption::Bit),
        4 => Action::Corrupt(Corruption::Bytes(bytes)),
        5 => Action::Truncate(bytes - 1),
        6 => Action::Duplicate,
        7 => Action::Reorder,
        8 => Action::Delay(delay),
        9 => Action::Merge(bytes as usize),
        10 => Action::Split(bytes as usize),
        11 => Action::Trickle(bytes as usize, time),
        12 => Action::Rate(bytes),
        13 => Action::End(Ending::HalfClose, after),
        14 => Action::End(Ending::Close, after),
        15 => Action::Banner((0..bytes as u8).collect()),
        _ => Action::End(Ending::Reset, after),
    };
    let place = Place {
        transport: [
            None,
            Some(Transport::Tcp),
            Some(Transport::Udp),
            Some(Transport::Unix),
        ][dice.below(4) as usize],
        on: [None, "api".parse().ok()][dice.below(2) as usize].clone(),
        peer: match dice.below(4) {
            0 => Some(PeerFilter(SocketAddr::from(([192, 0, 2, bytes as u8], 0)))),
            1 => Some(PeerFilter(SocketAddr::from(([1; 16], bytes as u16)))),
            _ => None,
        },
        connections: any_pick(dice),
        messages: any_pick(dice),
    };
    Fault { action, place }
}

fn any_pick(dice: &mut Random) -> Pick {
    let first = 1 + dice.below(3);
    Pick {
        first,
        last: [u64::MAX, first, first + 9][dice.below(3) as usize],
        share: match dice.below(2) {
            0 => Share::ALL,
            _ => Share::from_millionths(dice.below(1_000_001) as u32).unwrap(),
        },
    }
}

#[test]
fn every_fault_that_is_written_is_read_as_the_same_fault() {
    let mut read = 0;
    for round in 0..10_000 {
        let fault = any(&mut dice(1, 0, 0, round));
        let text = fault.to_string();
        match text.parse::<Fault>() {
            Ok(again) => {
                assert_eq!(again, fault, "{text}");
                read += 1;
            }
            // Only what cannot go together is refused, at the word that says so.
            Err(error) => {
                let word = text.chars().skip(error.character() - 1).collect::<String>();
                let words = ["tcp", "udp", "unix", "peer=", "conn=", "msg="];
                assert!(words.iter().any(|w| word.starts_with(w)), "{error}");
            }
        }
    }
    assert!(read > 2_000, "{read}");
}

#[test]
fn no_text_brings_the_parser_down() {
    let letters: Vec<char> = "drop=,%.±+-/:0123456789smk udpconn[]\u{1b}é"
        .chars()
        .collect();
    for round in 0..10_000 {
        let mut dice = dice(2, 0, 0, round);
        let mut text = any(&mut dice).to_string();
        for _ in 0..=dice.below(3) {
            let at = dice.below(text.chars().count() as u64 + 1) as usize;
            let (at, _) = text.char_indices().nth(at).unwrap_or((text.len(), ' '));
            if dice.below(2) == 0 {
                text.insert(at, letters[dice.below(letters.len() as u64) as usize]);
            } else {
                text.truncate(at);
            }
        }
        if let Err(error) = text.parse::<Fault>() {
            let shown = error.to_string();
            assert!((1..=text.chars().count() + 1).contains(&error.character()));
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
    }
}

#[test]
fn the_forms_of_the_manual_mean_what_it_says() {
    for (short, long) in [
        ("drop=20%", "drop,msg=20%"),
        ("corrupt=1%,udp", "udp,corrupt,msg=1%"),
        ("stall=10%", "conn=10%,stall"),
        ("refuse=50%", "refuse,conn=50%"),
        (" drop = 0.5% , conn = 2.. ", "drop,conn=2..,msg=0.5%"),
        ("delay=50ms+-10ms", "delay=50ms±10ms"),
        ("delay=2", "delay=2s"),
        ("rate=10k/s", "rate=10240"),
        ("close-after=5m", "close-after=300s"),
        ("close-after=5M", "close-after=5MiB"),
        ("no-accept", "no-accept=0"),
        ("no-accept=1k", "no-accept=1024"),
        ("drop,conn=3", "drop,conn=3..3"),
        ("drop,conn=..3", "drop,conn=1..3"),
        ("drop,peer=::ffff:192.0.2.1", "drop,peer=192.0.2.1"),
    ] {
        assert_eq!(short.parse::<Fault>(), long.parse::<Fault>(), "{short}");
        assert!(short.parse::<Fault>().is_ok(), "{short}");
    }
}

#[test]
fn each_error_points_at_its_character() {
    for (spec, character) in [
        ("", 1),
        ("dorp", 1),
        ("drop=20", 8),
        ("drop=120%", 8),
        ("drop=20%,drop", 10),
        ("drop=20%,msg=5%", 10),
        ("drop,udp,tcp", 10),
        ("drop,,udp", 6),
        ("drop,udp=1", 10),
        ("udp", 4),
        ("delay", 6),
        ("delay=", 7),
        ("delay=50mx", 10),
        ("delay=50ms±ms", 12),
        ("delay=60ms..40ms", 13),
        ("delay=9d", 7),
        ("trickle=3", 10),
        ("trickle=0/1s", 9),
        ("trickle=3/1x", 12),
        ("merge=1M", 7),
        ("split=0", 7),
        ("truncate=5%", 11),
        ("close-after=1.5", 13),
        ("close-after=xmsg", 13),
        ("drop,conn=0", 11),
        ("drop,conn=3..1", 14),
        ("drop,conn=..", 11),
        ("drop,conn=1x", 12),
        ("drop,peer=nobody", 11),
        ("drop,peer=", 11),
        ("reorder,tcp", 9),
        ("close-after=9,udp", 15),
        ("reset-after=9,unix", 15),
        ("stall,msg=3", 7),
        ("no-accept,peer=::1", 11),
        ("no-accept,conn=20%", 11),
        ("no-accept,conn=1..3", 11),
        ("é", 1),
        ("drop,é=1", 6),
    ] {
        let error = spec.parse::<Fault>().expect_err(spec);
        assert_eq!(error.character(), character, "{error}");
        let shown = error.to_string();
        let caret = shown.lines().last().unwrap();
        assert_eq!(caret.chars().count(), 2 + character, "{shown}");
    }
}

#[test]
fn the_manual_lists_every_word() {
    let manual = include_str!("../../../../../docs/FAULTS.md");
    for word in WORDS {
        assert!(
            manual.contains(&format!("| `{}", word.name)),
            "{}",
            word.name
        );
    }
    for place in PLACES.split(", ") {
        assert!(manual.contains(&format!("`{place}")), "{place}");
    }
}

#[test]
fn a_wrong_word_is_answered_with_the_nearest_right_one() {
    for (wrong, right) in [
        ("latency=5ms", "write delay=50ms"),
        ("loss=20%", "write drop, or drop=20%"),
        ("reset", "write reset-after=1k"),
        ("close", "write close-after=1k"),
        ("drpo", "write drop"),
        ("DROP", "write drop"),
        ("Latency=5ms", "write delay=50ms"),
        ("drop,con=3", "write conn=."),
        ("trikle=1/1s", "write trickle="),
        ("drop,upd", "write udp."),
        ("drop,tpc", "write tcp."),
        ("drop,conection=3", "write conn=."),
        ("hagn", "write stall"),
        ("packet-loss", "write drop"),
        ("blackhole", "write stall"),
        ("drop,listen=api", "no such word. What"),
        ("list", "no such word. What"),
        ("stay", "no such word. What"),
    ] {
        let error = wrong.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains(right), "{error}");
    }
}

#[test]
fn a_value_that_cannot_be_is_answered_with_those_that_can() {
    for (wrong, told) in [
        (
            "no-accept=-1",
            "how many connections may wait, from 0 to 65535",
        ),
        ("no-accept=65536", "how many connections may wait"),
        ("no-accept=64k", "how many connections may wait"),
        ("close-after=2d", "write a day at most"),
        (
            "close-after=-1",
            "it cannot be negative; write bytes such as 1k",
        ),
        (
            "close-after=-2s",
            "it cannot be negative; write bytes such as 1k",
        ),
        ("close-after=soon", "write bytes such as 1k"),
        ("close-after=", "write bytes such as 1k"),
        ("close-after=99999999999999999999", "write bytes such as 1k"),
        ("5%=drop", "write drop=5%"),
    ] {
        let error = wrong.parse::<Fault>().unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn the_table_of_the_manual_is_in_the_order_of_the_words_and_so_is_the_help() {
    for text in [
        include_str!("../../../../../docs/FAULTS.md").to_owned(),
        crate::fault::help(),
    ] {
        let found = |start: String| {
            text.find(&start)
                .unwrap_or_else(|| panic!("{start:?}: {text}"))
        };
        let at = |name: &str| match text.starts_with("# ") {
            true => found(format!("\n| `{name}")),
            false => found(format!("\n  {name}")),
        };
        assert!(WORDS.is_sorted_by_key(|word| at(word.name)), "{text}");
    }
    assert!(!crate::fault::help().contains(['`', '|']));
}

#[test]
fn a_banner_has_any_bytes() {
    let banner = |text: &str| text.parse::<Fault>().map(|fault| fault.action);
    let plain = banner(r"banner=220 a\, b\x3b\\\r\n,conn=1").unwrap();
    assert_eq!(plain, Action::Banner(b"220 a, b;\\\r\n".into()));
    for (wrong, character) in [
        (r"banner=a\q", 9),
        (r"banner=\x4", 8),
        (r"banner=\x+4", 8),
        ("banner=\\", 8),
    ] {
        assert_eq!(banner(wrong).unwrap_err().character(), character, "{wrong}");
    }
}

#[test]
fn what_no_text_can_say_no_program_can() {
    let (second, no_end) = (Duration::from_secs(1), Duration::MAX);
    let actions = [
        Action::Trickle(0, second),
        Action::Trickle(1, no_end),
        Action::Split(0),
        Action::Rate(0),
        Action::Merge(0),
        Action::Merge(HELD_MAX + 1),
        Action::Corrupt(Corruption::Bytes(0)),
        Action::Delay(Delay::Uniform(2 * second, second)),
        Action::Delay(Delay::Fixed(no_end)),
        Action::Delay(Delay::Normal(second, no_end)),
        Action::End(Ending::Close, After::Time(no_end)),
    ];
    let places = [
        Fault::from(Action::Drop).conn(3..3),
        Fault::from(Action::Drop).msg(..=0),
        Fault::from(Action::Stall).msg(1..=1),
    ];
    let config = |fault| Config {
        fault: vec![fault],
        ..Config::default()
    };
    for fault in actions.map(Fault::from).into_iter().chain(places) {
        let refused = config(fault.clone()).check();
        let text = refused.expect_err(&fault.to_string()).to_string();
        assert!(text.starts_with("at character"), "{text}");
    }
    config(Action::Split(1).into()).check().unwrap();
}
