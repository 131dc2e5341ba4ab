//! What holds for any input: decoders against a model that sees the whole stream at once, and
//! parsers that take what they print.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use echo_core::escape::Escaped;
use echo_core::framing::{Decoded, Decoder, FrameError, HEADER_LEN};
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, FilePath, Framing, stamp};
use proptest::collection::vec;
use proptest::prelude::*;

/// Paths in which what looks like an escape, and what must become one, is frequent.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![1..=255_u8, prop::sample::select(&b"\\x\\xff5c@'\x1b"[..])];
    vec(byte, 1..12)
}

/// What a decoder must make of a stream: how many bytes are complete frames, and whether a frame
/// over the limit follows.
fn model(framing: Framing, max: u64, stream: &[u8]) -> (usize, bool) {
    let mut complete = 0;
    loop {
        let rest = &stream[complete..];
        let (len, whole) = match framing {
            Framing::Raw => return (stream.len(), false),
            Framing::Lines => match rest.iter().position(|&byte| byte == b'\n') {
                Some(at) => (at + 1, Some(at + 1)),
                None => (rest.len(), None),
            },
            Framing::Length => {
                let Some((header, payload)) = rest.split_first_chunk::<4>() else {
                    return (complete, false);
                };
                let len = u32::from_be_bytes(*header) as usize;
                (len, (payload.len() >= len).then_some(4 + len))
            }
        };
        if len as u64 > max {
            return (complete, true);
        }
        match whole {
            Some(len) => complete += len,
            None => return (complete, false),
        }
    }
}

/// Feeds `chunks` as a server does, and returns what it sent back and whether it gave up.
fn echo<'a>(
    framing: Framing,
    max: u64,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, bool) {
    let mut decoder = Decoder::new(framing, max);
    let (mut sent, mut held) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let Decoded { complete, error } = decoder.push(chunk);
        held.extend_from_slice(&chunk[..complete]);
        if complete > 0 {
            sent.append(&mut held);
        }
        match error {
            Some(FrameError::TooLong { len, max: limit }) => {
                assert!(len > limit && limit == max);
                return (sent, true);
            }
            Some(error) => panic!("{error} before the end"),
            None => held.extend_from_slice(&chunk[complete..]),
        }
        assert_eq!(decoder.held(), held.len() as u64);
    }
    let truncated = framing == Framing::Length && !held.is_empty();
    assert_eq!(decoder.finish().is_err(), truncated);
    (sent, false)
}

/// Bytes that often are frames: few values, among them the end of a line and small lengths.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => Just(0),
        2 => 1..6_u8,
        2 => Just(b'\n'),
        1 => any::<u8>(),
    ];
    vec(byte, 0..48)
}

fn cases(cases: u32) -> ProptestConfig {
    // A case that fails becomes a test by hand, rather than a file beside this one.
    let failure_persistence = None;
    ProptestConfig {
        cases,
        failure_persistence,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn a_path_of_any_bytes_is_text_and_a_path_again(bytes in path()) {
        let path = FilePath::from(OsString::from_vec(bytes.clone()));
        let text = path.to_string();
        prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        prop_assert_eq!(FilePath::from_text(&text), path);
        let typed = OsString::from_vec([b"unix:", &bytes[..]].concat());
        // The abstract namespace has no name that is empty.
        match (Endpoint::try_from(typed), &bytes[..]) {
            (Err(_), b"@") => {}
            (endpoint, _) => {
                let endpoint = endpoint.unwrap();
                prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
            }
        }
    }

    #[test]
    fn a_decoder_agrees_with_the_model_at_every_split(stream in stream(), max in 0..20_u64) {
        for framing in Framing::ALL {
            let (complete, over) = model(framing, max, &stream);
            let expected = (stream[..complete].to_vec(), over);
            for split in 0..=stream.len() {
                let (head, tail) = stream.split_at(split);
                prop_assert_eq!(&echo(framing, max, [head, tail]), &expected, "{} at {}", framing, split);
            }
            prop_assert_eq!(&echo(framing, max, stream.chunks(1)), &expected, "{} by bytes", framing);
        }
    }

    #[test]
    fn a_decoder_agrees_with_the_model_in_any_pieces(
        stream in stream(),
        max in 0..20_u64,
        pieces in vec(1..9_usize, 1..9),
    ) {
        for framing in Framing::ALL {
            let (complete, over) = model(framing, max, &stream);
            let (mut rest, mut chunks) = (&stream[..], Vec::new());
            for len in pieces.iter().cycle() {
                let (chunk, after) = rest.split_at((*len).min(rest.len()));
                chunks.push(chunk);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(echo(framing, max, chunks), (stream[..complete].to_vec(), over), "{}", framing);
        }
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn what_was_encoded_is_complete_and_its_payloads_come_out(payloads in vec(vec(any::<u8>(), 0..20), 0..6)) {
        let mut stream = Vec::new();
        for payload in &payloads {
            Framing::Length.encode(payload, &mut stream).unwrap();
        }
        prop_assert_eq!(model(Framing::Length, 20, &stream), (stream.len(), false));
        let frames = Framing::Length.frames(&stream);
        let decoded: Vec<_> = frames.map(|frame| frame[HEADER_LEN..].to_vec()).collect();
        prop_assert_eq!(decoded, payloads);
    }

    #[test]
    fn nothing_that_is_escaped_acts_on_a_terminal(bytes in vec(any::<u8>(), 0..40)) {
        let text = Escaped(&bytes).to_string();
        prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
    }

    #[test]
    fn an_endpoint_that_is_taken_is_printed_and_taken_again(text in r"(tcp://|udp://|unix:)?[\[\]a-f:.0-9%/ \\]{0,24}") {
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
        }
    }

    #[test]
    fn a_parser_takes_or_refuses_any_text(text in any::<String>()) {
        let _ = (text.parse::<Endpoint>().is_ok(), text.parse::<Size>().is_ok(), text.parse::<Timespan>().is_ok());
    }

    #[test]
    fn units_are_printed_as_they_are_read(bytes in any::<u64>(), ns in 0..u64::MAX) {
        let (size, time) = (Size(bytes), Timespan(Duration::from_nanos(ns)));
        prop_assert_eq!(size.to_string().parse::<Size>().ok(), Some(size));
        prop_assert_eq!(time.to_string().parse::<Timespan>().ok(), Some(time));
    }
}

proptest! {
    #[test]
    fn a_stamp_keeps_the_nanosecond(seconds in 0_u64..4_000_000_000, nanos in 0_u32..1_000_000_000) {
        let moment = Duration::new(seconds, nanos);
        for format in [stamp::Format::Ntp, stamp::Format::Ptp] {
            prop_assert_eq!(stamp::Stamp::new(moment, format).since_epoch(format), moment);
        }
    }

    #[test]
    fn an_error_estimate_is_at_most_one_part_in_128_too_large(nanos in 0_u64..=u64::MAX / 8) {
        let error = Duration::from_nanos(nanos);
        let told = stamp::ErrorEstimate::new(Some(error), stamp::Format::Ntp);
        let told = told.error().unwrap();
        let most = error + error / 127 + Duration::from_nanos(1);
        prop_assert!((error..=most).contains(&told), "{:?}", told);
    }

    #[test]
    fn any_packet_that_is_long_enough_is_a_reply_that_is_written_the_same(packet in vec(any::<u8>(), 0..200)) {
        for mode in [stamp::Mode::Unauthenticated, stamp::Mode::Authenticated] {
            let reply = stamp::Reply::decode(mode, &packet);
            prop_assert_eq!(reply.is_some(), packet.len() >= mode.min_len());
            let Some(reply) = reply else { continue };
            let mut again = packet.clone();
            reply.encode(mode, &mut again);
            prop_assert_eq!(stamp::Reply::decode(mode, &again), Some(reply));
            let rest = mode.base_len().min(packet.len());
            prop_assert_eq!(&again[rest..], &packet[rest..]);
        }
    }

    #[test]
    fn tlvs_and_their_answers_are_all_there_is(bytes in tlv_bytes()) {
        let found: Vec<_> = stamp::tlv::tlvs(&bytes).collect();
        let mut answered = bytes.clone();
        let mut asked = 0;
        stamp::tlv::answer_each(&mut answered, |kind, value| {
            let tlv = found[asked].expect("only whole ones are asked for");
            assert_eq!((tlv.kind, tlv.value), (*kind, &*value));
            asked += 1;
            1
        });
        // What is not whole can only be the last.
        prop_assert_eq!(asked, found.iter().flatten().count());
        prop_assert!(found.iter().rev().skip(1).all(Result::is_ok));
        prop_assert_eq!(answered.len(), bytes.len());
    }
}

/// TLVs, mostly whole, with whatever follows.
fn tlv_bytes() -> impl Strategy<Value = Vec<u8>> {
    let tlv = (any::<u8>(), 0..14_u8, vec(any::<u8>(), 0..30)).prop_map(|(flags, kind, value)| {
        let header = [flags | 1, kind, 0, value.len() as u8];
        [header.as_slice(), &value].concat()
    });
    (vec(tlv, 0..6), vec(any::<u8>(), 0..9)).prop_map(|(tlvs, rest)| [tlvs.concat(), rest].concat())
}
