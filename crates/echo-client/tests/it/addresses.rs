//! From names to connections: dead, silent and moving addresses, zones, and what goes wrong.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::common::network::{firewall, in_own_network, names, resolver, run as command_runs};
use crate::common::*;

/// All the ways to talk to a server, each as short as it can be.
const MODES: [&[&str]; 3] = [
    &[],
    &["ping", "-c", "1", "-W", "300ms"],
    &["bench", "-c", "1", "--warmup", "0", "-W", "300ms"],
];

#[test]
fn a_port_on_which_nobody_listens_never_echoes() {
    in_own_network("a_port_on_which_nobody_listens_never_echoes", || {
        // Of the two that it may choose for a client, the system takes the target's own soon.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001").unwrap();
        for (scheme, port) in [
            ("tcp", 40000),
            ("tcp", 40001),
            ("udp", 40000),
            ("udp", 40001),
        ] {
            let target = format!("{scheme}://127.0.0.1:{port}");
            for mode in MODES.iter().cycle().take(9) {
                let ended = run(&[mode, &[target.as_str()][..]].concat());
                assert!(matches!(ended.code, Some(1 | 3)), "{ended:?}");
            }
        }
    });
}

#[test]
fn a_port_alone_is_one_of_this_machine() {
    let server = echo();
    let (_, port) = server.tcp.split_once(':').unwrap();
    for target in [port, &format!(":{port}"), &format!("udp://:{port}")] {
        assert_eq!(run(&[target]).code, Some(0), "{target}");
    }
}

#[test]
fn the_target_itself_is_no_local_address() {
    let at = closed_port().to_string();
    for mode in MODES {
        for udp in [&[][..], &["-u"]] {
            let ended = run(&[mode, &["-B", &at, &at], udp].concat());
            ended.failed(3, &[&at, "the target itself", "leave --bind out"]);
        }
    }
}

#[test]
fn an_address_that_swallows_packets_does_not_hold_up_the_others() {
    let test = "an_address_that_swallows_packets_does_not_hold_up_the_others";
    in_own_network(test, || {
        names("127.0.0.2 two.test\n127.0.0.3 two.test\n");
        let _servers = [echo_on("127.0.0.2:7000"), echo_on("127.0.0.3:7000")];
        let mut told = 0;
        // Whichever comes first.
        for dead in ["127.0.0.2", "127.0.0.3"] {
            firewall(&format!("ip daddr {dead} drop"));
            for mode in MODES {
                for target in ["two.test:7000", "udp://two.test:7000"] {
                    if mode.is_empty() && target.starts_with("udp") {
                        continue;
                    }
                    let start = Instant::now();
                    let ended = run(&[mode, &[target, "-w", "3s"][..]].concat());
                    assert_eq!(ended.code, Some(0), "{ended:?}");
                    assert!(start.elapsed() < Duration::from_secs(3), "{ended:?}");
                }
            }
            let ended = run(&["udp://two.test:7000"]);
            assert_eq!(ended.code, Some(0), "{ended:?}");
            told += usize::from(ended.stderr.contains("does not answer; going on with udp"));
        }
        assert_eq!(
            told, 1,
            "the one that comes first is told of, when it is dead"
        );
        firewall("ip daddr 127.0.0.0/8 tcp dport 7000 drop");
        let start = Instant::now();
        let ended = run(&["two.test:7000", "--connect-timeout", "500ms"]);
        ended.failed(
            3,
            &["tcp 127.0.0.2:7000: no answer within 500ms", "127.0.0.3"],
        );
        assert!(start.elapsed() < Duration::from_secs(2), "{ended:?}");
    });
}

#[test]
fn a_service_that_moves_is_followed_by_its_name() {
    in_own_network("a_service_that_moves_is_followed_by_its_name", || {
        let _servers = [echo_on("127.0.0.2:7000"), echo_on("127.0.0.3:7000")];
        names("");
        for target in ["moving.test:7000", "udp://moving.test:7000"] {
            std::fs::write("/etc/hosts", "127.0.0.2 moving.test\n").unwrap();
            firewall("");
            let flags = ["ping", "-c", "60", "-i", "50ms", "-W", "100ms"];
            let mut client = start(&[&flags[..], &[target]].concat());
            client.line();
            client.line();
            std::fs::write("/etc/hosts", "127.0.0.3 moving.test\n").unwrap();
            firewall("ip daddr 127.0.0.2 drop");
            let ended = client.end();
            assert_eq!(ended.code, Some(1), "some are lost: {ended:?}");
            let summary = ended.text().lines().find(|line| line.contains(" received"));
            let words: Vec<_> = summary.unwrap().split(' ').collect();
            let at = words.iter().position(|word| word.starts_with("received"));
            let received: u32 = words[at.unwrap() - 1].parse().unwrap();
            assert!(received >= 42, "{ended:?}");
            let told = ended.stderr.contains("does not answer; going on with");
            assert!(told, "{ended:?}");
        }
    });
}

#[test]
fn waiting_ends_with_an_echo_and_not_with_a_connection() {
    for mode in MODES {
        // A proxy takes connections for a server that is not up yet, and closes them.
        let proxy = tcp(|number, stream| match number {
            0..3 => drop(stream),
            3 => reset(stream),
            4 => {
                let _ = std::io::Write::write_all(&mut &stream, b"HTTP/1.1 503 Try later\r\n\r\n");
            }
            _ => {
                std::thread::spawn(move || echo_changed(&stream, |_| ()));
            }
        });
        let ended = run(&[mode, &[&proxy, "--wait", "20s"][..]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let closing = tcp(|_, stream| drop(stream));
        let ended = run(&[mode, &[&closing, "--wait", "100ms"][..]].concat());
        ended.failed(3, &[&closing, "waited 100ms for an echo"]);
    }
    let silent = udp(|_, _, _| {});
    run(&[&silent, "--wait", "100ms"]).failed(3, &["nothing came back; waited 100ms for an echo"]);
    let late = udp(|number, datagram, reply| {
        if number > 1 {
            reply(datagram);
        }
    });
    let ended = run(&[&late, "--wait", "20s", "-W", "300ms"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn waiting_ends_in_time_where_no_name_server_answers() {
    in_own_network("waiting_ends_in_time_where_no_name_server_answers", || {
        resolver("nameserver 127.0.0.1\n");
        let _silent = UdpSocket::bind("127.0.0.1:53").unwrap();
        let args = ["--wait", "1s", "--connect-timeout", "1h", "a.test:7"];
        let begun = Instant::now();
        run(&args).failed(
            3,
            &["cannot resolve a.test: no answer; waited 1s for an echo; check the name"],
        );
        let took = begun.elapsed();
        assert!(
            took < Duration::from_secs(5),
            "before the system gives up: {took:?}"
        );
    });
}

#[test]
fn waiting_for_one_that_says_nothing_ends_in_time_and_says_so() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let home = Scratch::new("mute");
    let path = home.path("mute.sock");
    let _unix = UnixListener::bind(&path).unwrap();
    let targets = [
        tcp.local_addr().unwrap().to_string(),
        format!("unix:{}", path.display()),
        format!("udp://{}", udp.local_addr().unwrap()),
    ];
    for target in &targets {
        let (said, remedy) = match target.starts_with("udp") {
            true => ("nothing came back; waited", "let UDP pass"),
            false => (
                "it takes connections and sends nothing back; waited",
                "--framing",
            ),
        };
        for limits in [
            // By itself a try would last for as long as -W, and the run have to be killed.
            &["--wait", "300ms", "-W", "1h"][..],
            &["--wait", "400ms", "-W", "100ms"],
        ] {
            let ended = run(&[limits, &["-m", "hi", target.as_str()]].concat());
            let address = target.rsplit([':', '/']).next().unwrap();
            ended.failed(3, &[address, said, remedy]);
            assert!(!ended.stderr.contains("--connect-timeout"), "{ended:?}");
        }
    }
    let stamp = targets[2].replace("udp", "stamp");
    let ended = run(&["ping", "-c1", "--wait", "300ms", &stamp]);
    ended.failed(3, &["nothing came back; waited", "--stamp-key"]);
    assert!(!ended.stderr.contains("--framing"), "{ended:?}");
    // Each try had its own connection, and none lasted for longer than -W.
    tcp.set_nonblocking(true).unwrap();
    assert!(tcp.incoming().take_while(Result::is_ok).count() > 2);
}

#[test]
fn each_error_is_told_by_its_own_cause() {
    in_own_network("each_error_is_told_by_its_own_cause", || {
        command_runs("ip link add far type veth peer name away");
        command_runs("ip addr add 192.0.2.1/24 dev far");
        command_runs("ip link set far up");
        command_runs("ip link set away up");
        command_runs("ip route add prohibit 198.51.100.1");
        firewall("ip daddr 127.0.0.2 reject with icmp type admin-prohibited");
        let fails = |target: &str, words: &[&str], never: &[&str]| {
            for target in [target.to_owned(), format!("udp://{target}")] {
                let ended = run(&["ping", "-c", "1", &target]);
                ended.failed(if ended.code == Some(1) { 1 } else { 3 }, words);
                for word in never {
                    assert!(!ended.stderr.contains(word), "{word}: {ended:?}");
                }
            }
        };
        let away = ["route", "TIME_WAIT"];
        fails(
            "127.0.0.2:7000",
            &["127.0.0.2:7000", "host unreachable"],
            &away,
        );
        fails(
            "198.51.100.1:7",
            &["198.51.100.1:7", "permission denied", "forbids"],
            &["TIME_WAIT"],
        );
        fails(
            "203.0.113.1:7",
            &["203.0.113.1:7", "unreachable", "this machine's routes"],
            &["ICMP"],
        );
        fails(
            "[fe80::1]:7",
            &["[fe80::1]:7", "without its zone", "%eth0"],
            &["invalid argument"],
        );
        let vague = ["invalid argument", "see the cause", "firewall"];
        let discarded = ["a route of this machine discards", "`ip route get "];
        command_runs("ip route add blackhole 10.52.0.0/16");
        fails("10.52.0.1:7", &discarded, &vague);
        command_runs("ip -6 route add blackhole 2001:db8:52::/48");
        fails("[2001:db8:52::1]:7", &discarded, &vague);
        fails(
            "192.0.2.255:7",
            &["it is a broadcast address", "one server"],
            &vague,
        );
        let zoned = ["without its zone", "%eth0"];
        run(&["-u", "-m", "x", "[ff02::1]:7"]).failed(3, &zoned);
        for group in ["[ff02::1]:7", "224.0.0.1:7"] {
            run(&[group]).failed(3, &["a multicast address", "one server"]);
        }
        for udp in [&[][..], &["-u"]] {
            let ended = run(&[&["-B", "127.0.0.1", "192.0.2.9:7"], udp].concat());
            ended.failed(3, &["from the local address", "--bind"]);
        }
        run(&["127.0.0.2:7000"]).failed(3, &["host unreachable", "firewalls", "(ICMP)"]);
        run(&["-B", "fe80::1", "[::1]:7"]).failed(3, &["fe80::1", "lacks its zone"]);
        run(&["[fe80::1%nowhere]:7"]).failed(3, &["no network \"nowhere\""]);
        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        fails("[::1]:7", &["[::1]:7", "IPv6"], &away[1..]);
    });
}

#[test]
fn ports_that_are_all_taken_are_told_as_that() {
    in_own_network("ports_that_are_all_taken_are_told_as_that", || {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").unwrap();
        let _server = echo_on("127.0.0.2:7000");
        for target in ["127.0.0.2:7000", "udp://127.0.0.2:7000"] {
            for from in [&[][..], &["-B", "127.0.0.1"]] {
                let bench = ["bench", "-c", "10", "-P", "10", "--json", target];
                let ended = run(&[&bench[..], from].concat());
                ended.failed(3, &["cannot connect to", "ip_local_port_range", "--bind"]);
                assert!(!ended.stderr.contains("firewall"), "{ended:?}");
            }
        }
    });
}

#[test]
fn a_link_local_address_has_its_zone_everywhere() {
    in_own_network("a_link_local_address_has_its_zone_everywhere", || {
        command_runs("ip link add near type veth peer name other");
        command_runs("ip link set near up");
        command_runs("ip link set other up");
        command_runs("ip addr add fe80::5/64 dev near nodad");
        let server = echo_on("[fe80::5%near]:7000");
        let from = ["-v", "-B", "fe80::5%near", "--explain", "--lang=en"];
        for target in ["[fe80::5%near]:7000", "udp://[fe80::5%near]:7000"] {
            let ended = run(&[&from[..], &[target]].concat());
            assert_eq!(ended.code, Some(0), "{ended:?}");
            for words in ["<-> [fe80::5%near]:7000", "((\"fe80::5%near\", 7000"] {
                assert!(ended.stderr.contains(words), "{words}: {ended:?}");
            }
        }
        drop(server);
    });
}

#[test]
fn packets_travel_as_they_are_asked_to() {
    in_own_network("packets_travel_as_they_are_asked_to", || {
        let _server = echo_on("127.0.0.2:7000");
        let (tcp, udp) = ("127.0.0.2:7000", "udp://127.0.0.2:7000");
        let ping = |option: &str, target: &str| {
            let limits = ["-W", "500ms", "--connect-timeout", "500ms"];
            run(&[&["ping", "-c", "1", option, target], &limits[..]].concat())
        };
        for (rule, option) in [("ip dscp != 46", "--dscp=46"), ("ip ttl != 9", "--ttl=9")] {
            firewall(&format!("ip daddr 127.0.0.2 {rule} drop"));
            for target in [tcp, udp] {
                assert_eq!(ping(option, target).code, Some(0), "{option}");
                assert_ne!(ping("--quiet", target).code, Some(0), "{rule}");
            }
        }
        firewall("");
        assert_eq!(ping("--interface=lo", tcp).code, Some(0));
        for mode in [&["ping"][..], &["bench"], &["send"][1..]] {
            for target in [tcp, udp] {
                let ended = run(&[mode, &["--interface=nope", target]].concat());
                let remedy = "as `ip link` lists them, or leave --interface out";
                ended.failed(3, &["--interface nope: no such device; name one", remedy]);
            }
        }
        command_runs("ip link set lo mtu 1500");
        assert_eq!(ping("--size=4000", udp).code, Some(0));
        let _other = echo_on("[::1]:7000");
        for (udp, most) in [(udp, 1472), ("udp://[::1]:7000", 1452)] {
            let sized = |mode: &[&str], size: usize| {
                let size = format!("--size={size}");
                run(&[mode, &["-c2", "-W500ms", "--df", &size, udp]].concat())
            };
            let fits = format!("message too long: {most} bytes fit");
            let remedy = format!("give --size {most} or less, or leave --df out");
            let ping = ["ping", "-i1ms"];
            for mode in [&ping[..], &["bench", "--warmup=0"]] {
                sized(mode, 4000).failed(1, &[&fits, &remedy]);
                assert_eq!(sized(mode, most).code, Some(0), "{mode:?} {udp}");
            }
            // On each line only what happened, and what to do about it once.
            let text = sized(&ping, 4000).text().replace("\n  ", " ");
            // The second may have left before it was heard of the first, whose socket it goes down with.
            let told =
                text.matches(&fits).count() + text.matches("its socket was given up").count();
            assert_eq!(told, 3, "{text}");
            assert_eq!(text.matches("leave --df out").count(), 1, "{text}");
            let message = "x".repeat(most + 1);
            let sent = run(&["--df", "-m", &message, udp]);
            sent.failed(1, &[&fits, "send less, or leave --df out"]);
            assert_eq!(run(&["--df", "-m", &message[1..], udp]).code, Some(0));
        }
    });
}
