//! Paths with one thing wrong, each in a laboratory of its own, and what `diagnose` says of each.
//! `cargo xtask ci diagnose` runs those that take a while.

use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use echo_server::Config;
use serde_json::Value;

use crate::common::lab::{Lab, PORT, SERVER};
use crate::common::network::{self, names};
use crate::common::{command, run};

/// What a test keeps while the path is diagnosed: servers mostly.
pub type Kept = Box<dyn Any>;

#[test]
fn a_laboratory_carries_packets_of_both_families_and_breaks_what_it_is_told_to() {
    let test = "a_laboratory_carries_packets_of_both_families_and_breaks_what_it_is_told_to";
    Lab::open(test, |lab| {
        let _server = lab.serve(EVERYWHERE, Config::default());
        let [four, six] = SERVER;
        let targets = [
            format!("udp://{four}:{PORT}"),
            format!("udp://[{six}]:{PORT}"),
        ];
        let ping = |target: &String| run(&["ping", "-c3", "-i10ms", "-W300ms", target]).code;
        assert_eq!(targets.each_ref().map(ping), [Some(0); 2]);
        lab.forward("ip6 nexthdr udp drop");
        assert_eq!(targets.each_ref().map(ping), [Some(0), Some(1)]);
    });
}

/// All addresses of the server's machine.
pub const EVERYWHERE: &str = "[::]:5346";

/// Diagnoses `target` in a new laboratory in which `fault` has broken something. What is `wanted` is
/// found, and the exit code says whether there is a problem; where nothing is wanted, there is none.
#[track_caller]
pub fn diagnosed(test: &str, target: &str, wanted: &[&str], fault: impl FnOnce(&Lab) -> Kept) {
    Lab::open(test, |lab| {
        let _kept = fault(lab);
        let words = ["diagnose", "--json", "--deadline", "90s"];
        let mut command = command(&words);
        let output = command
            .args(target.split(' '))
            .output()
            .expect("the client runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        let findings = document["findings"].as_array().expect("findings");
        let verdict = |finding: &Value| finding["verdict"].as_str().map(str::to_owned);
        let found: Vec<_> = findings.iter().filter_map(verdict).collect();
        let is_found = |wanted: &&str| found.iter().any(|found| found == wanted);
        let is_bad = findings.iter().any(|finding| finding["kind"] == "problem");
        let all = wanted.iter().all(is_found) && (!is_bad || !wanted.is_empty());
        assert!(all, "found {found:?}, wanted {wanted:?}: {document:#}");
        // Each text is there, and each of its values.
        let parts = ["title", "means", "next", "sent", "came", "test"];
        for (finding, part) in findings.iter().flat_map(|f| parts.map(|part| (f, part))) {
            let text = finding[part].as_str().expect("a text");
            let is_whole = !text.contains('{') && !text.contains(&format!(".{part}"));
            assert!(is_whole, "{text}: {document:#}");
        }
        assert_eq!(output.status.code(), Some(is_bad.into()), "{document:#}");
    });
}

/// The server's address of each family.
pub const FOUR: &str = "203.0.113.2:5346";
pub const SIX: &str = "[2001:db8:2::2]:5346";
/// A name of both.
pub const BOTH: &str = "echo.test:5346";

pub fn both() {
    let [four, six] = SERVER;
    names(&format!("{four} echo.test\n{six} echo.test\n"));
}

/// A server, and what the router forwards meets this rule.
pub fn rule(rule: &'static str) -> impl FnOnce(&Lab) -> Kept {
    move |lab| {
        lab.forward(rule);
        serve(lab, EVERYWHERE, &[])
    }
}

pub fn serve(lab: &Lab, listen: &str, faults: &[&str]) -> Kept {
    let fault = |fault: &&str| fault.parse().expect("a fault");
    let config = Config {
        fault: faults.iter().map(fault).collect(),
        ..Config::default()
    };
    Box::new(lab.serve(listen, config))
}

/// A server, and a STAMP reflector beside it; what the router forwards meets this rule.
pub fn reflected(rule: &'static str) -> impl FnOnce(&Lab) -> Kept {
    move |lab| {
        lab.forward(rule);
        let reflector = lab.serve("stamp://[::]", Config::default());
        Box::new((serve(lab, EVERYWHERE, &[]), reflector))
    }
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn losses_at_random_are_told() {
    let rule = rule("iif rc meta l4proto udp numgen random mod 1000 < 50 drop");
    diagnosed("losses_at_random_are_told", SIX, &["loss"], rule);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn losses_of_large_packets_are_told() {
    let rule = rule("iif rc meta l4proto udp meta length > 1000 numgen random mod 100 < 50 drop");
    diagnosed(
        "losses_of_large_packets_are_told",
        FOUR,
        &["loss-by-size"],
        rule,
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn datagrams_that_are_dropped_for_their_size_are_no_black_hole() {
    let test = "datagrams_that_are_dropped_for_their_size_are_no_black_hole";
    let rule = rule("iif rc meta l4proto udp udp length > 700 drop");
    diagnosed(test, FOUR, &["loss-by-size"], rule);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn so_are_those_that_only_whole_packets_are_large_enough_for() {
    let test = "so_are_those_that_only_whole_packets_are_large_enough_for";
    let rule = rule("iif rc meta l4proto udp udp length > 1300 drop");
    diagnosed(test, FOUR, &["loss-by-size"], rule);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn one_dead_way_of_eight_is_told() {
    let rule = rule(
        "iif rc meta l4proto { tcp , udp } jhash ip saddr . ip daddr . th sport . th dport mod 8 seed 0x1d == 0 drop",
    );
    diagnosed("one_dead_way_of_eight_is_told", FOUR, &["flow"], rule);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_limit_of_rate_is_told() {
    let rule =
        rule("iif rc meta l4proto udp limit rate over 200 kbytes/second burst 20 kbytes drop");
    diagnosed("a_limit_of_rate_is_told", FOUR, &["policer"], rule);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_narrow_link_is_told_with_its_rate() {
    diagnosed(
        "a_narrow_link_is_told_with_its_rate",
        SIX,
        &["bottleneck"],
        |lab| {
            lab.router("tc qdisc add dev rs root tbf rate 4mbit burst 5k limit 30k");
            serve(lab, EVERYWHERE, &[])
        },
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_queue_of_this_machine_that_overflows_is_a_narrow_link_like_any_other() {
    diagnosed(
        "a_queue_of_this_machine_that_overflows_is_a_narrow_link_like_any_other",
        FOUR,
        &["bottleneck"],
        |lab| {
            network::run("tc qdisc add dev c0 root tbf rate 4mbit burst 5k limit 30k");
            serve(lab, EVERYWHERE, &[])
        },
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn datagrams_that_come_twice_are_told() {
    diagnosed(
        "datagrams_that_come_twice_are_told",
        SIX,
        &["duplication"],
        |lab| serve(lab, EVERYWHERE, &["duplicate=3%,udp"]),
    );
}

/// What comes from this machine is lost for so long, once the router has forwarded so many datagrams.
fn away(lab: &Lab, count: usize, time: &str) {
    let set = format!("type iface_index ; flags dynamic,timeout ; timeout {time} ;");
    lab.router("nft add table inet lab");
    lab.router(&format!("nft add set inet lab away {{ {set} }}"));
    lab.forward("iif @away drop");
    let met = format!("meta l4proto udp iif rc numgen inc mod 100000 == {count}");
    lab.forward(&format!("{met} add @away {{ iif }} drop"));
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_path_that_is_down_for_seconds_is_told_as_an_outage() {
    let test = "a_path_that_is_down_for_seconds_is_told_as_an_outage";
    diagnosed(test, SIX, &["outage"], |lab| {
        away(lab, 300, "5s");
        serve(lab, EVERYWHERE, &[])
    });
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_translator_that_forgets_silent_bindings_is_told() {
    let test = "a_translator_that_forgets_silent_bindings_is_told";
    diagnosed(
        test,
        "203.0.113.2:5346 --idle 4s",
        &["nat-timeout"],
        |lab| {
            let chain = "nat hook postrouting priority 100";
            lab.rule(
                chain,
                "oif rs meta l4proto udp masquerade to :20000-29999 random",
            );
            for state in ["timeout", "timeout_stream"] {
                lab.router(&format!(
                    "sysctl -qw net.netfilter.nf_conntrack_udp_{state}=1"
                ));
            }
            reflected("accept")(lab)
        },
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_binding_that_silence_ends_is_told_without_a_reflector() {
    let test = "a_binding_that_silence_ends_is_told_without_a_reflector";
    let target = "203.0.113.2:5346 --idle 8s";
    diagnosed(test, target, &["nat-timeout"], |lab| {
        // A port that has been silent for four seconds never gets through again.
        lab.router("nft add table inet lab");
        for set in [
            "alive { type inet_service ; flags dynamic,timeout ; timeout 4s ; }",
            "seen { type inet_service ; flags dynamic ; size 65535 ; }",
        ] {
            lab.router(&format!("nft add set inet lab {set}"));
        }
        lab.forward("iif rc udp sport @alive update @alive { udp sport } accept");
        lab.forward("iif rc udp sport @seen drop");
        lab.forward(
            "iif rc meta l4proto udp add @seen { udp sport } add @alive { udp sport } accept",
        );
        serve(lab, EVERYWHERE, &[])
    });
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn nothing_is_wrong_with_a_path_that_works() {
    diagnosed(
        "nothing_is_wrong_with_a_path_that_works",
        FOUR,
        &[],
        rule("icmp type echo-request drop"),
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn nothing_is_wrong_with_a_path_of_the_other_family() {
    diagnosed(
        "nothing_is_wrong_with_a_path_of_the_other_family",
        SIX,
        &[],
        rule("accept"),
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_narrower_link_that_says_so_is_a_fact() {
    diagnosed(
        "a_narrower_link_that_says_so_is_a_fact",
        FOUR,
        &["mtu"],
        |lab| {
            lab.router("ip route change 203.0.113.0/24 dev rs mtu 1400");
            serve(lab, EVERYWHERE, &[])
        },
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_narrower_link_that_says_nothing_is_a_black_hole() {
    let test = "a_narrower_link_that_says_nothing_is_a_black_hole";
    diagnosed(test, SIX, &["mtu-blackhole"], |lab| {
        lab.router("ip -6 route change 2001:db8:2::/64 dev rs metric 256 mtu 1300");
        lab.rule(
            "filter hook output priority 0",
            "icmpv6 type packet-too-big drop",
        );
        serve(lab, EVERYWHERE, &[])
    });
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn fragments_that_are_dropped_are_told() {
    diagnosed(
        "fragments_that_are_dropped_are_told",
        FOUR,
        &["fragments-dropped"],
        |lab| {
            // Before they are put together to be looked at.
            let chain = "filter hook prerouting priority -450";
            lab.rule(chain, "ip frag-off & 0x3fff != 0 drop");
            serve(lab, EVERYWHERE, &[])
        },
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn bytes_that_are_changed_on_the_way_are_told() {
    let rule = rule("iif rc meta l4proto tcp meta length > 1000 @th,800,8 set 0x5a");
    diagnosed(
        "bytes_that_are_changed_on_the_way_are_told",
        FOUR,
        &["corruption"],
        rule,
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn who_answers_something_else_is_no_echo_server() {
    diagnosed(
        "who_answers_something_else_is_no_echo_server",
        SIX,
        &["not-echo"],
        |lab| {
            lab.accept("server", EVERYWHERE, |mut stream| {
                let _: io::Result<usize> = stream.read(&mut [0; 4096]);
                let _: io::Result<()> = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            });
            Box::new(())
        },
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_server_that_takes_its_time_is_slow_and_not_the_network() {
    let test = "a_server_that_takes_its_time_is_slow_and_not_the_network";
    diagnosed(test, FOUR, &["server-slow"], |lab| {
        serve(lab, EVERYWHERE, &["delay=50ms"])
    });
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn who_takes_connections_in_the_servers_name_is_a_proxy() {
    diagnosed(
        "who_takes_connections_in_the_servers_name_is_a_proxy",
        FOUR,
        &["tcp-proxy"],
        |lab| {
            lab.accept("router", "0.0.0.0:8080", |client| {
                let Ok(server) = TcpStream::connect(FOUR) else {
                    return;
                };
                thread::scope(|scope| {
                    scope.spawn(|| pass(&client, &server));
                    pass(&server, &client);
                });
            });
            let chain = "nat hook prerouting priority -100";
            lab.rule(chain, "iif rc tcp dport 5346 redirect to :8080");
            serve(lab, EVERYWHERE, &[])
        },
    );
}

/// Passes on all that comes, and its end.
fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    let _: io::Result<u64> = io::copy(&mut from, &mut to);
    let _: io::Result<()> = to.shutdown(Shutdown::Write);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_clamped_segment_is_a_fact() {
    let rule = rule("tcp flags syn tcp option maxseg size set 1200");
    diagnosed("a_clamped_segment_is_a_fact", SIX, &["mss"], rule);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_firewall_that_forgets_silent_connections_is_told() {
    let test = "a_firewall_that_forgets_silent_connections_is_told";
    diagnosed(
        test,
        "203.0.113.2:5346 --idle 4s",
        &["idle-killed"],
        |lab| {
            lab.router("sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0");
            lab.forward("ct state established,related accept");
            lab.forward("tcp flags & ( syn | ack ) == syn accept");
            lab.forward("meta l4proto tcp drop");
            lab.router("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=2");
            serve(lab, EVERYWHERE, &[])
        },
    );
}
