//! A Session-Reflector of STAMP (RFC 8762, RFC 8972), as senders see it.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::{Account, LIMIT, Server, TempPath, has, has_ipv6, wrapped};
use echo_core::Discipline;
use echo_core::splitmix::Random;
use echo_core::stamp::tlv::{self, ClassOfService, FollowUp, HEADER_LEN, Location};
use echo_core::stamp::{ErrorEstimate, Format, Key, Mode, Reply, Request, Stamp};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::SockRef;

const ON_LOOPBACK: &str = "--listen=stamp://127.0.0.1:0";

fn sender(server: SocketAddr) -> UdpSocket {
    let any = match server {
        SocketAddr::V4(_) => "127.0.0.1:0",
        SocketAddr::V6(_) => "[::1]:0",
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.connect(server).unwrap();
    socket
}

fn request(seq: u32) -> Request {
    Request {
        seq,
        sent: Stamp::new(now(), Format::Ntp),
        error: ErrorEstimate::new(None, Format::Ntp),
        ssid: 7,
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn one(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut room = vec![0; HEADER_LEN + value.len()];
    tlv::put(&mut room, kind, value).unwrap();
    room
}

/// Sends a request with TLVs, and returns the packet that comes back.
fn ask(socket: &UdpSocket, request: Request, tlvs: &[u8]) -> Vec<u8> {
    let mut packet = [&[0; 44], tlvs].concat();
    request.encode(Mode::Unauthenticated, &mut packet);
    socket.send(&packet).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(len, packet.len());
    buffer[..len].to_vec()
}

fn reply(socket: &UdpSocket, request: Request) -> Reply {
    Reply::decode(Mode::Unauthenticated, &ask(socket, request, &[])).unwrap()
}

/// A second packet of the same socket, which is answered, shows that the first one was looked at.
fn gets_none(socket: &UdpSocket, packet: &[u8]) -> bool {
    socket.send(packet).unwrap();
    let mut last = [0; 44];
    request(u32::MAX).encode(Mode::Unauthenticated, &mut last);
    socket.send(&last).unwrap();
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer).unwrap();
    let reply = Reply::decode(Mode::Unauthenticated, &buffer[..len]).unwrap();
    reply.request.seq == u32::MAX
}

/// What the kernel says is `struct timex` of 64 bits: the error is its fourth word, and what is so its
/// sixth.
#[test]
fn the_clock_is_told_as_the_system_has_it() {
    if !has("strace") {
        return;
    }
    const STA_PLL: u8 = 0x01;
    const STA_UNSYNC: u8 = 0x40;
    let says = |state: u8, status: u8| {
        let timex = format!("{:048}{:02x}{:030}{status:02x}{:06}", 0, 250, 0, 0);
        format!("retval={state}:poke_exit=@arg2={timex}")
    };
    for (said, error) in [
        (says(0, STA_PLL), Some(Duration::from_micros(250))),
        (says(5, STA_PLL), None),
        (says(0, STA_UNSYNC), None),
        ("error=EPERM".to_owned(), None),
    ] {
        let trace = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=clock_adjtime";
        let mut command = wrapped(&format!("{trace} -e inject=clock_adjtime:{said}"));
        let server = Server::run(command.arg(ON_LOOPBACK));
        let socket = sender(server.nth("stamp", 0));
        let packet = ask(
            &socket,
            request(1),
            &one(tlv::TIMESTAMP_INFORMATION, &[0; 4]),
        );
        let reply = Reply::decode(Mode::Unauthenticated, &packet).unwrap();
        assert_eq!(
            reply.error,
            ErrorEstimate::new(error, Format::Ntp),
            "{said}"
        );
        let by = if error.is_some() {
            tlv::SYNC_NTP
        } else {
            tlv::SYNC_LOCAL
        };
        assert_eq!(
            packet[48..],
            [by, tlv::SOFTWARE, by, tlv::SOFTWARE],
            "{said}"
        );
        server.stop();
    }
}

#[test]
fn a_request_comes_back_numbered_and_stamped_and_as_long_as_it_was() {
    let mut server = vec![Server::listening(&[ON_LOOPBACK])];
    if has_ipv6() {
        server.push(Server::listening(&["--listen=stamp://[::1]:0"]));
    }
    for server in server {
        let socket = sender(server.nth("stamp", 0));
        let own = SockRef::from(&socket);
        // Of the two only that of its family can be set.
        let _ = (own.set_ttl_v4(9), own.set_unicast_hops_v6(9));
        for (number, len) in (41..=44).chain([60, 1000, 1472, 9000]).enumerate() {
            let request = request(100 + number as u32);
            let mut packet = vec![0; len];
            request.encode(Mode::Unauthenticated, &mut packet);
            let before = now();
            socket.send(&packet).unwrap();
            let mut buffer = [0; 10_000];
            assert_eq!(socket.recv(&mut buffer).unwrap(), len);
            let reply = Reply::decode(Mode::Unauthenticated, &buffer[..len]).unwrap();
            assert_eq!((reply.seq, reply.ttl), (number as u32, 9));
            assert_eq!(reply.request, request);
            let came = reply.received.since_epoch(Format::Ntp);
            let left = reply.sent.since_epoch(Format::Ntp);
            assert!(before <= came && came <= left && left <= now(), "{reply:?}");
            let is_set = Discipline::default().error().is_some();
            assert_eq!(reply.error.error().is_some(), is_set, "as the system says");
        }
        server.stop();
    }
}

#[test]
fn sessions_are_told_apart_by_port_and_identifier_and_stamps_are_as_the_sender_reads_them() {
    let server = Server::listening(&[ON_LOOPBACK]);
    let (one, other) = (
        sender(server.nth("stamp", 0)),
        sender(server.nth("stamp", 0)),
    );
    let ptp = Request {
        ssid: 8,
        error: ErrorEstimate::new(Some(Duration::ZERO), Format::Ptp),
        ..request(5)
    };
    for (socket, request, seq) in [
        (&one, request(5), 0),
        (&one, request(6), 1),
        (&one, ptp, 0),
        (&other, request(5), 0),
        (&one, request(7), 2),
    ] {
        let reply = reply(socket, request);
        assert_eq!((reply.seq, reply.request), (seq, request));
        assert_eq!(reply.error.format(), request.error.format());
        let came = reply.received.since_epoch(request.error.format());
        assert!(came.abs_diff(now()) < LIMIT, "{came:?}");
    }
    server.stop();
    let server = Server::listening(&[ON_LOOPBACK, "--stamp-stateless"]);
    let one = sender(server.nth("stamp", 0));
    assert_eq!(reply(&one, request(5)).seq, 5);
    assert_eq!(reply(&one, request(9)).seq, 9);
    server.stop();
}

#[test]
fn packets_that_were_sent_at_once_are_reflected_one_by_one() {
    let server = Server::listening(&[ON_LOOPBACK]);
    let socket = sender(server.nth("stamp", 0));
    let mut train = [0; 5 * 60];
    for (seq, packet) in (0..).zip(train.chunks_mut(60)) {
        request(seq).encode(Mode::Unauthenticated, packet);
    }
    setsockopt(&socket, sockopt::UdpGsoSegment, &60).unwrap();
    socket.send(&train).unwrap();
    let mut buffer = [0; 2048];
    for seq in 0..5 {
        assert_eq!(socket.recv(&mut buffer).unwrap(), 60);
        let reply = Reply::decode(Mode::Unauthenticated, &buffer[..60]).unwrap();
        assert_eq!((reply.seq, reply.request.seq), (seq, seq));
    }
    server.stop();
}

/// The TTL and the type of service that a datagram comes with.
fn comes_with(socket: &UdpSocket) -> (i32, i32) {
    let mut buffer = [0; 2048];
    let mut buffers = [IoSliceMut::new(&mut buffer)];
    let mut control = nix::cmsg_space!(i32, i32, i32);
    let (number, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let message =
        recvmsg::<SockaddrStorage>(number, &mut buffers, Some(&mut control), flags).unwrap();
    let mut came = (0, 0);
    for told in message.cmsgs().unwrap() {
        match told {
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                came.0 = ttl;
            }
            ControlMessageOwned::Ipv4Tos(tos) => came.1 = tos.into(),
            ControlMessageOwned::Ipv6TClass(tos) => came.1 = tos,
            _ => {}
        }
    }
    came
}

#[test]
fn the_class_that_arrived_is_told_and_the_one_that_is_wanted_is_used() {
    let mut places = vec![("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.9")];
    if has_ipv6() {
        places.extend([("[::1]", "::1"), ("[::]", "::1"), ("[::]", "127.0.0.9")]);
    }
    for (listens, asked) in places {
        let server = Server::listening(&[&format!("--listen=stamp://{listens}:0")]);
        let asked: IpAddr = asked.parse().unwrap();
        let socket = sender(SocketAddr::new(asked, server.nth("stamp", 0).port()));
        let own = SockRef::from(&socket);
        match asked {
            IpAddr::V4(_) => {
                own.set_tos_v4(46 << 2 | 1).unwrap();
                setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).unwrap();
                setsockopt(&socket, sockopt::IpRecvTos, &true).unwrap();
            }
            IpAddr::V6(_) => {
                own.set_tclass_v6(46 << 2 | 1).unwrap();
                setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true).unwrap();
                setsockopt(&socket, sockopt::Ipv6RecvTClass, &true).unwrap();
            }
        }
        for wanted in [0, 10, 63] {
            let class = ClassOfService {
                wanted,
                ..ClassOfService::default()
            };
            let tlvs = [
                one(tlv::CLASS_OF_SERVICE, &class.encode()),
                one(tlv::LOCATION, &Location::question()),
            ]
            .concat();
            let packet = ask(&socket, request(1), &tlvs);
            let told: Vec<_> = tlv::tlvs(&packet[44..]).flatten().collect();
            let expected = ClassOfService {
                wanted,
                arrived: 46,
                ecn: 1,
                is_refused: false,
            };
            assert_eq!(ClassOfService::decode(told[0].value), Some(expected));
            // A connected socket gets nothing from another address than the one it asked.
            let (here, there) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
            let expected = Location {
                source_port: here.port(),
                destination_port: there.port(),
                source: Some(here.ip()),
                destination: Some(there.ip()),
            };
            assert_eq!(Location::decode(told[1].value), Some(expected), "{listens}");
            let mut again = vec![0; packet.len()];
            again[44..].copy_from_slice(&tlvs);
            request(2).encode(Mode::Unauthenticated, &mut again);
            socket.send(&again).unwrap();
            assert_eq!(
                comes_with(&socket),
                (255, i32::from(wanted) << 2),
                "{listens}"
            );
        }
        server.stop();
    }
}

#[test]
fn what_a_reflector_does_not_know_comes_back_marked_and_what_came_before_is_followed_up() {
    let server = Server::listening(&[ON_LOOPBACK]);
    let socket = sender(server.nth("stamp", 0));
    let first = reply(&socket, request(1));
    let tlvs = [
        one(tlv::FOLLOW_UP, &[0; 16]),
        one(5, &[1; 12]),
        one(199, b"who knows"),
        one(tlv::EXTRA_PADDING, &[9; 500]),
        one(tlv::CLASS_OF_SERVICE, &[1; 3]),
        one(tlv::EXTRA_PADDING, &[9; 5]),
    ]
    .concat();
    let packet = ask(&socket, request(2), &tlvs);
    let told: Vec<_> = tlv::tlvs(&packet[44..]).flatten().collect();
    let flags: Vec<_> = told.iter().map(|tlv| (tlv.kind, tlv.flags)).collect();
    let expected = [
        (tlv::FOLLOW_UP, 0),
        (5, tlv::UNRECOGNISED),
        (199, tlv::UNRECOGNISED),
        (tlv::EXTRA_PADDING, 0),
        (tlv::CLASS_OF_SERVICE, tlv::MALFORMED),
        (tlv::EXTRA_PADDING, tlv::UNRECOGNISED),
    ];
    assert_eq!(flags, expected);
    let follow_up = FollowUp {
        seq: 0,
        sent: first.sent,
        method: tlv::SOFTWARE,
    };
    assert_eq!(FollowUp::decode(told[0].value), Some(follow_up));
    assert_eq!(
        (told[2].value, told[3].value),
        (&b"who knows"[..], &[9; 500][..])
    );
    server.stop();
}

#[test]
fn what_is_no_packet_of_a_session_gets_no_reply_and_is_counted() {
    let server = Server::listening(&[ON_LOOPBACK, "--log=json", "--log-level=traffic"]);
    let socket = sender(server.nth("stamp", 0));
    for len in [0, 1, 14, 40] {
        assert!(gets_none(&socket, &vec![0; len]), "{len} bytes");
    }
    // A reply to a reply of this reflector, which another one would send.
    let mut packet = ask(&socket, request(1), &[]);
    let sent = Reply::decode(Mode::Unauthenticated, &packet).unwrap();
    Reply {
        request: Request {
            seq: sent.seq,
            sent: sent.sent,
            error: sent.error,
            ssid: 7,
        },
        ..sent
    }
    .encode(Mode::Unauthenticated, &mut packet);
    assert!(gets_none(&socket, &packet));
    for reason in ["not-stamp", "loop"] {
        server.says(&format!(r#""reason":"{reason}""#));
    }
    server.stop();
}

#[test]
fn with_a_key_only_those_who_have_it_are_answered() {
    let file = TempPath::new("key");
    std::fs::write(&*file, "a key that both ends have\n").unwrap();
    let server = Server::listening(&[ON_LOOPBACK, "--stamp-key", file.text(), "--log=json"]);
    let socket = sender(server.nth("stamp", 0));
    let key = Key::new(b"a key that both ends have");
    let class = one(tlv::CLASS_OF_SERVICE, &[0; 4]);
    let hash = key.tag(&[&3_u32.to_be_bytes(), &class]);
    let tlvs = [class, one(tlv::HMAC, &hash)].concat();
    let mut packet = [vec![0; 112], tlvs].concat();
    request(3).encode(Mode::Authenticated, &mut packet);
    for wrong in [&Key::new(b"a key that nobody has"), &key] {
        wrong.seal(&mut packet);
        socket.send(&packet).unwrap();
    }
    socket.send(&[0; 44]).unwrap();
    let mut buffer = [0; 2048];
    let len = socket.recv(&mut buffer).unwrap();
    let back = &buffer[..len];
    assert!(key.sealed(back));
    let reply = Reply::decode(Mode::Authenticated, back).unwrap();
    assert_eq!((reply.seq, reply.request.seq, len), (0, 3, packet.len()));
    let told: Vec<_> = tlv::tlvs(&back[112..]).flatten().collect();
    assert_eq!((told[0].flags, told[1].flags), (0, 0));
    assert!(key.verifies(&[&0_u32.to_be_bytes(), &back[112..120]], told[1].value));
    for reason in ["unauthentic", "not-stamp"] {
        server.says(&format!(r#""reason":"{reason}""#));
    }
    server.stop();
}

#[test]
fn faults_and_names_apply_as_to_all_datagrams() {
    let server = Server::listening(&[
        "--listen=way=stamp://127.0.0.1:0",
        "--fault=drop,msg=2,on=way",
        "--fault=duplicate,msg=4",
    ]);
    let line = server.ready_lines()[0].clone();
    let address = line.strip_prefix("listening stamp ").unwrap();
    let socket = sender(address.strip_suffix(" way").unwrap().parse().unwrap());
    let mut numbers = Vec::new();
    for seq in 0..5 {
        let mut packet = [0; 44];
        request(seq).encode(Mode::Unauthenticated, &mut packet);
        socket.send(&packet).unwrap();
    }
    let mut buffer = [0; 2048];
    while numbers.len() < 5 {
        let len = socket.recv(&mut buffer).unwrap();
        let reply = Reply::decode(Mode::Unauthenticated, &buffer[..len]).unwrap();
        numbers.push((reply.seq, reply.request.seq));
    }
    // Numbered before the fault, the second was lost on the way back.
    assert_eq!(numbers, [(0, 0), (2, 2), (3, 3), (3, 3), (4, 4)]);
    server.stop();
}

/// Random packets, and requests in which something was changed: 20,000, or as many as `STAMP_PACKETS`
/// says.
#[test]
fn whatever_comes_no_reply_is_longer_and_the_reflector_lives() {
    let server = Server::listening(&[ON_LOOPBACK, "--listen=tcp://127.0.0.1:0", "--workers=1"]);
    let account = Account::open(&server);
    let socket = sender(server.nth("stamp", 0));
    let mut random = Random(1);
    let mut draw = |below: usize| random.below(below as u64) as usize;
    let whole = [
        one(tlv::LOCATION, &Location::question()),
        one(tlv::FOLLOW_UP, &[0; 16]),
        one(tlv::CLASS_OF_SERVICE, &[0; 4]),
        one(tlv::EXTRA_PADDING, &[0; 40]),
    ]
    .concat();
    let mut buffer = vec![0; 1 << 16];
    let packets = std::env::var("STAMP_PACKETS").map_or(20_000, |count| count.parse().unwrap());
    for round in 0..packets {
        let mut packet = [&[0; 44], &whole[..]].concat();
        request(round).encode(Mode::Unauthenticated, &mut packet);
        match round % 2 {
            0 => packet.iter_mut().for_each(|byte| *byte = draw(256) as u8),
            _ => (0..8).for_each(|_| {
                let at = draw(packet.len());
                packet[at] = draw(256) as u8;
            }),
        }
        packet.truncate(draw(packet.len() + 1));
        socket.send(&packet).unwrap();
        if packet.len() >= 41 {
            assert_eq!(socket.recv(&mut buffer).unwrap(), packet.len());
            assert_eq!(buffer[24..28], packet[..4], "the reply is to another");
        }
    }
    assert_eq!(reply(&socket, request(1)).request.ssid, 7);
    // The table is full: 4,096 sessions, which hold one megabyte.
    account.balances(4 << 10);
    server.stop();
}
