//! Whose fault a loss is: this machine's, the path's, or that of neither.

use std::net::UdpSocket;
use std::thread;

use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::common::bench::counts;
use crate::common::network::{firewall, in_own_network, run as command_runs};
use crate::common::*;

/// Pings over UDP, and returns the document and the exit code.
fn ping(args: &str, target: &str) -> (Value, Option<i32>) {
    let args: Vec<_> = args.split(' ').chain([target]).collect();
    let ended = run(&[&["ping", "-u", "--json"], &args[..]].concat());
    let document = serde_json::from_str(ended.text());
    (document.unwrap_or_else(|_| panic!("{ended:?}")), ended.code)
}

#[test]
fn what_this_machines_firewall_refuses_has_not_left_and_costs_nothing_else() {
    let test = "what_this_machines_firewall_refuses_has_not_left_and_costs_nothing_else";
    in_own_network(test, || {
        let _server = echo_on("127.0.0.2:7000");
        command_runs("nft add table inet test");
        command_runs("nft add chain inet test out { type filter hook output priority 0 ; }");
        let rule = "nft add rule inet test out udp dport 7000";
        command_runs(&format!("{rule} numgen inc mod 4 == 1 drop"));
        let keys = ["sent", "unique", "lost", "unsent", "connections"];
        let (report, code) = ping("-c 20 -i 20ms", "127.0.0.2:7000");
        assert_eq!(counts(&report, keys), [15, 15, 0, 5, 1], "{report}");
        assert_eq!(
            (&report["errors"]["permission"], code),
            (&5.into(), Some(1))
        );
        // Nor do the others depart at another time.
        let slow = faulty(&["delay=100ms"]);
        let (_, port) = slow.tcp.split_once(':').unwrap();
        let slowly = rule.replace("7000", port);
        command_runs(&format!("{slowly} numgen inc mod 6 == 1 drop"));
        let (report, _) = ping("-c 20 -i 20ms", &slow.tcp);
        let least = report["rtt_min_ns"].as_u64();
        assert!(least >= Some(100_000_000), "{report}");
        command_runs(&format!("{rule} drop"));
        let (report, code) = ping("-c 5 -i 1ms", "127.0.0.2:7000");
        assert_eq!(counts(&report, keys)[..4], [0, 0, 0, 5], "{report}");
        assert_eq!(code, Some(1), "{report}");
        let told = report["outcome"].to_string();
        assert!(told.contains("check their rules"), "{told}");
    });
}

#[test]
fn a_datagram_that_somebody_bars_takes_no_other_along() {
    let test = "a_datagram_that_somebody_bars_takes_no_other_along";
    in_own_network(test, || {
        let server = faulty(&["delay=100ms"]);
        let (_, port) = server.tcp.split_once(':').unwrap();
        firewall(&format!(
            "udp dport {port} numgen inc mod 10 == 5 reject with icmp type admin-prohibited"
        ));
        let (report, code) = ping("-c 40 -i 30ms -W 4s", &server.tcp);
        let keys = ["unique", "lost", "connections"];
        assert_eq!(counts(&report, keys), [36, 4, 1], "{report}");
        assert!(report["errors"]["unreachable"].is_u64() && code == Some(1));
    });
}

#[test]
fn what_the_path_has_damaged_is_none_that_had_no_room_here() {
    let test = "what_the_path_has_damaged_is_none_that_had_no_room_here";
    in_own_network(test, || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            for number in 1.. {
                let (len, peer) = socket.recv_from(&mut buffer).unwrap();
                if number % 4 > 0 {
                    socket.send_to(&buffer[..len], peer).unwrap();
                    continue;
                }
                // The rest of its header the system fills in; the last two bytes are a wrong checksum.
                let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
                packet.extend([127, 0, 0, 1].repeat(2));
                for word in [own.port(), peer.port(), 8 + len as u16, 0x1234] {
                    packet.extend(word.to_be_bytes());
                }
                packet.extend(&buffer[..len]);
                raw.send_to(&packet, &peer.into()).unwrap();
            }
        });
        let (report, code) = ping("-c 20 -i 5ms -s 500 -W 300ms", &own.to_string());
        let keys = ["sent", "unique", "lost", "overflowed"];
        assert_eq!(counts(&report, keys), [20, 15, 5, 0], "{report}");
        assert_eq!(code, Some(1), "{report}");
    });
}

#[test]
fn a_change_of_this_machines_address_is_survived() {
    let test = "a_change_of_this_machines_address_is_survived";
    in_own_network(test, || {
        let server = |over: &str| format!("{over}10.8.0.1:7000");
        let route = |source: &str| {
            command_runs(&format!("ip addr add {source}/32 dev lo"));
            let route = "ip route replace local 10.8.0.1 dev lo table local src";
            command_runs(&format!("{route} {source}"));
        };
        for over in ["tcp://", "udp://"] {
            route("10.9.0.1");
            let _server = echo_on("10.8.0.1:7000");
            let target = server(over);
            let flags = "ping -c 60 -i 50ms -W 100ms".split(' ');
            let mut client = start(&flags.chain([target.as_str()]).collect::<Vec<_>>());
            client.line();
            client.line();
            route("10.9.0.2");
            command_runs("ip addr del 10.9.0.1/32 dev lo");
            let ended = client.end();
            let summary = ended.text().lines().find(|line| line.contains(" received"));
            let words: Vec<_> = summary.unwrap().split(' ').collect();
            let received: u32 = words[2].parse().unwrap();
            assert!(received >= 40, "{ended:?}");
            command_runs("ip addr del 10.9.0.2/32 dev lo");
        }
    });
}
