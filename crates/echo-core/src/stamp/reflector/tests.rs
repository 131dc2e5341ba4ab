use super::*;
use crate::stamp::Format;

/// By how much its clock may be off.
const ERROR: Option<Duration> = Some(Duration::from_micros(250));
const NOW: Duration = Duration::from_secs(1_700_000_000);
const REQUEST: Request = Request {
    seq: 7,
    sent: Stamp(0x1111_1111_2222_2222),
    error: ErrorEstimate(0x8101),
    ssid: 0x3333,
};

fn arrival() -> Arrival {
    Arrival {
        source: "192.0.2.1:258".parse().unwrap(),
        destination: "192.0.2.2:862".parse().unwrap(),
        at: NOW,
        ttl: 63,
        tos: 46 << 2 | 3,
    }
}

fn open() -> Reflector {
    Reflector::new(None, false)
}

/// A request with `tlvs`, which it answers a millisecond after it came.
fn ask(reflector: &mut Reflector, request: Request, tlvs: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mode = reflector.mode();
    let mut packet = [&vec![0; mode.base_len()], tlvs].concat();
    request.encode(mode, &mut packet);
    if let Some(key) = &reflector.key {
        key.seal(&mut packet);
    }
    let later = NOW + Duration::from_millis(1);
    reflector.reflect(&mut packet, &arrival(), ERROR, || later)?;
    Ok(packet)
}

fn replies(reflector: &mut Reflector, request: Request) -> Reply {
    let packet = ask(reflector, request, &[]).unwrap();
    Reply::decode(reflector.mode(), &packet).unwrap()
}

fn one(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut room = vec![0; HEADER_LEN + value.len()];
    tlv::put(&mut room, kind, value).unwrap();
    room
}

#[test]
fn a_reply_tells_of_its_request_and_of_itself_in_the_senders_format() {
    for format in [Format::Ntp, Format::Ptp] {
        let request = Request {
            error: ErrorEstimate::new(Some(Duration::ZERO), format),
            ..REQUEST
        };
        let reply = replies(&mut open(), request);
        let expected = Reply {
            seq: 0,
            sent: Stamp::new(NOW + Duration::from_millis(1), format),
            error: ErrorEstimate::new(ERROR, format),
            received: Stamp::new(NOW, format),
            request,
            ttl: 63,
        };
        assert_eq!(reply, expected);
    }
}

#[test]
fn each_session_has_numbers_of_its_own_unless_the_reflector_keeps_none() {
    let mut stateful = open();
    let mut stateless = Reflector::new(None, true);
    for (ssid, seq) in [(1, 0), (1, 1), (2, 0), (1, 2), (2, 1)] {
        let request = Request { ssid, ..REQUEST };
        assert_eq!(replies(&mut stateful, request).seq, seq, "session {ssid}");
        assert_eq!(replies(&mut stateless, request).seq, REQUEST.seq);
    }
    assert_eq!((stateful.sessions(), stateless.sessions()), (2, 0));
}

#[test]
fn of_too_many_sessions_the_one_that_was_silent_for_longest_is_forgotten() {
    let mut reflector = open();
    let mut seq = |ssid: usize| {
        let ssid = u16::try_from(ssid).unwrap();
        let reply = replies(&mut reflector, Request { ssid, ..REQUEST });
        (reply.seq, reflector.sessions())
    };
    let most = MAX_SESSIONS.get();
    for ssid in 0..most {
        assert_eq!(seq(ssid), (0, ssid + 1));
    }
    assert_eq!(seq(0), (1, most));
    assert_eq!(seq(most), (0, most));
    assert_eq!(seq(0).0, 2, "it has just been heard of");
    assert_eq!(seq(1).0, 0, "it was silent for longest");
    assert_eq!(seq(3).0, 1);
}

#[test]
fn a_short_request_gets_a_short_reply_and_one_without_room_for_a_reply_gets_none() {
    for len in 0..=44 {
        let mut packet = vec![0; len];
        let reflected = open().reflect(&mut packet, &arrival(), ERROR, || NOW);
        match len {
            41.. => assert_eq!(packet[40], 63, "{len} bytes"),
            _ => assert_eq!(reflected, Err(Refusal::Short), "{len} bytes"),
        }
    }
}

#[test]
fn two_reflectors_that_are_set_on_each_other_stop() {
    for is_stateless in [false, true] {
        let mut pair = [0, 1].map(|_| Reflector::new(None, is_stateless));
        let mut packet = vec![0; 60];
        REQUEST.encode(Mode::Unauthenticated, &mut packet);
        let mut rounds = (0..10).map(|round| {
            let one = &mut pair[round % 2];
            one.reflect(&mut packet, &arrival(), ERROR, || NOW)
        });
        assert_eq!(
            rounds.position(|answer| answer == Err(Refusal::Reply)),
            Some(2)
        );
    }
    // A clock that is off, of another kind of reflector, is stopped when ours comes back.
    let mut packet = vec![0; 44];
    let theirs = Reply {
        seq: 0,
        sent: Stamp(1),
        error: ErrorEstimate(1),
        received: Stamp(1),
        request: Request {
            sent: Stamp::new(NOW, Format::Ntp),
            error: ErrorEstimate(0x8d01),
            ..REQUEST
        },
        ttl: 255,
    };
    theirs.encode(Mode::Unauthenticated, &mut packet);
    let again = open().reflect(&mut packet, &arrival(), ERROR, || NOW);
    assert_eq!(again, Err(Refusal::Reply));
}

#[test]
fn each_tlv_is_answered_or_marked() {
    let class = ClassOfService {
        wanted: 10,
        ..ClassOfService::default()
    };
    let question = Location::question();
    for (kind, value, flags, answer) in [
        (tlv::EXTRA_PADDING, &b"abc"[..], 0, Some(&b"abc"[..])),
        (tlv::LOCATION, &question, 0, None),
        (tlv::LOCATION, &[0; 3], tlv::MALFORMED, Some(&[0; 3])),
        (tlv::TIMESTAMP_INFORMATION, &[0; 4], 0, Some(&[1, 2, 1, 2])),
        (
            tlv::TIMESTAMP_INFORMATION,
            &[0; 5],
            tlv::MALFORMED,
            Some(&[0; 5]),
        ),
        (
            tlv::CLASS_OF_SERVICE,
            &class.encode(),
            0,
            Some(&[0b0010_1010, 0b1110_1100, 0, 0]),
        ),
        (
            tlv::CLASS_OF_SERVICE,
            &[9; 2],
            tlv::MALFORMED,
            Some(&[9; 2]),
        ),
        // Direct measurement, access report, a hash without a key, and what does not exist.
        (5, &[1; 12], tlv::UNRECOGNISED, Some(&[1; 12])),
        (6, &[1; 4], tlv::UNRECOGNISED, Some(&[1; 4])),
        (tlv::FOLLOW_UP, &[1; 16], 0, Some(&[0; 16])),
        (tlv::FOLLOW_UP, &[1; 15], tlv::MALFORMED, Some(&[0; 15])),
        (tlv::HMAC, &[1; 16], tlv::UNRECOGNISED, Some(&[1; 16])),
        (200, &[], tlv::UNRECOGNISED, Some(&[])),
    ] {
        let tlvs = [one(kind, value), one(tlv::EXTRA_PADDING, b"end")].concat();
        let packet = ask(&mut open(), REQUEST, &tlvs).unwrap();
        assert_eq!(packet.len(), 44 + tlvs.len());
        let found: Vec<_> = tlv::tlvs(&packet[44..]).flatten().collect();
        assert_eq!((found[0].kind, found[0].flags), (kind, flags), "{value:?}");
        assert!(
            answer.is_none_or(|answer| found[0].value == answer),
            "{:?}",
            found[0]
        );
        // What follows a malformed one is not looked at.
        let after = if flags == tlv::MALFORMED {
            tlv::UNRECOGNISED
        } else {
            0
        };
        assert_eq!((found[1].flags, found[1].value), (after, &b"end"[..]));
        let wanted = if (kind, flags) == (tlv::CLASS_OF_SERVICE, 0) {
            10
        } else {
            0
        };
        assert_eq!(class_wanted(Mode::Unauthenticated, &packet), wanted);
    }
    let mut packet = [&[0; 44], &one(tlv::TIMESTAMP_INFORMATION, &[0; 4])[..]].concat();
    let unset = open().reflect(&mut packet, &arrival(), None, || NOW);
    assert_eq!((unset, &packet[48..]), (Ok(()), &[5, 2, 5, 2][..]));
    assert_eq!(packet[12..14], [0x1d, 0x80], "16 s, and nothing sets it");
    let packet = ask(&mut open(), REQUEST, &[0x80, 1, 0, 9, 1]).unwrap();
    assert_eq!(packet[44..], [tlv::MALFORMED, 1, 0, 9, 1]);
}

#[test]
fn a_later_reply_tells_when_the_one_before_it_left() {
    let mut reflector = open();
    let first = replies(&mut reflector, REQUEST);
    let packet = ask(&mut reflector, REQUEST, &one(tlv::FOLLOW_UP, &[0; 16])).unwrap();
    let told = tlv::tlvs(&packet[44..]).flatten().next().unwrap();
    let expected = FollowUp {
        seq: 0,
        sent: first.sent,
        method: tlv::SOFTWARE,
    };
    assert_eq!(FollowUp::decode(told.value), Some(expected));
}

#[test]
fn only_who_has_the_key_is_answered_and_can_tell_that_we_have_it() {
    let key = Key::new(b"a key of ours");
    let mut reflector = Reflector::new(Some(key.clone()), false);
    let packet = ask(&mut reflector, REQUEST, &[]).unwrap();
    assert!(key.sealed(&packet));
    let reply = Reply::decode(Mode::Authenticated, &packet).unwrap();
    assert_eq!((reply.request, reply.ttl), (REQUEST, 63));
    let mut forged = packet.clone();
    REQUEST.encode(Mode::Authenticated, &mut forged);
    Key::new(b"another").seal(&mut forged);
    let answer = reflector.reflect(&mut forged, &arrival(), ERROR, || NOW);
    assert_eq!(answer, Err(Refusal::Unauthentic));
    let answer = reflector.reflect(&mut [0; 111], &arrival(), ERROR, || NOW);
    assert_eq!(answer, Err(Refusal::Short));
    assert_eq!(reflector.sessions(), 1);
}

#[test]
fn tlvs_whose_hash_is_wrong_or_missing_come_back_as_they_were_and_marked() {
    let key = Key::new(b"a key of ours");
    let class = one(tlv::CLASS_OF_SERVICE, &[0; 4]);
    let hash = |tlvs: &[u8]| one(tlv::HMAC, &key.tag(&[&REQUEST.seq.to_be_bytes(), tlvs]));
    let padding = one(tlv::EXTRA_PADDING, b"xyz");
    for (tlvs, is_intact) in [
        ([class.clone(), hash(&class)].concat(), true),
        (
            [class.clone(), hash(&class), padding.clone()].concat(),
            true,
        ),
        (padding.clone(), true),
        (hash(&[]), true),
        (class.clone(), false),
        ([class.clone(), hash(&[])].concat(), false),
        ([hash(&[]), class.clone()].concat(), false),
        ([hash(&[]), hash(&[])].concat(), false),
        ([class.clone(), one(tlv::HMAC, b"short")].concat(), false),
    ] {
        let mut reflector = Reflector::new(Some(key.clone()), false);
        let packet = ask(&mut reflector, REQUEST, &tlvs).unwrap();
        let answered = &packet[112..];
        let flags = tlv::tlvs(answered).map(|tlv| tlv.unwrap().flags);
        let expected = if is_intact { 0 } else { tlv::NOT_INTACT };
        assert!(flags.into_iter().all(|flags| flags == expected), "{tlvs:?}");
        match is_intact {
            // The sender checks it as we did: with the reply's number.
            true => assert!(find_hash(&key, 0, answered).is_ok(), "{tlvs:?}"),
            false => assert_eq!(answered[1..4], tlvs[1..4]),
        }
    }
}
