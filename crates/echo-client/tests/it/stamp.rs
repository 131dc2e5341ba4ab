//! STAMP: on which way it was, compared with what was really done to the packets.

use std::process::Command;
use std::time::Duration;

use echo_server::Config;
use serde_json::Value;

use crate::common::bench::counts;
use crate::common::lab::{Lab, SERVER};
use crate::common::reflector::{Odd, reflector};
use crate::common::{Scratch, closed_port, command, echo, run};
use crate::explain::strace;

/// Pings with these arguments, and returns the document of a run that ends with this code.
fn ping(code: i32, args: &[&str]) -> Value {
    let ended = run(&[&["ping", "--json", "-W", "2s"], args].concat());
    assert_eq!(ended.code, Some(code), "{ended:?}");
    serde_json::from_str(ended.text()).expect("one document")
}

fn ways<const N: usize>(report: &Value, keys: [&str; N]) -> [u64; N] {
    counts(&report["stamp"], keys)
}

#[test]
fn what_each_way_loses_is_what_the_router_dropped() {
    let test = "what_each_way_loses_is_what_the_router_dropped";
    Lab::open(test, |lab| {
        let _server = lab.serve("stamp://[::]:862", Config::default());
        let swaps = Config {
            fault: vec!["reorder=5%,udp".parse().expect("a fault")],
            ..Config::default()
        };
        let _swapping = lab.serve("stamp://[::]:8620", swaps);
        let dropped = |way: &str| {
            let words = ["netns", "exec", "router", "nft", "-j", "list", "counter"];
            let nft = std::process::Command::new("ip")
                .args(words.iter().chain(&["inet", "lab", way]))
                .output();
            let listed: Value = serde_json::from_slice(&nft.expect("nft").stdout).expect("JSON");
            let found = listed.to_string();
            let packets = found.split("\"packets\":").nth(1).expect("a counter");
            let digits = packets.split(|c: char| !c.is_ascii_digit()).next();
            digits
                .and_then(|digits| digits.parse::<u64>().ok())
                .expect("a number")
        };
        // Last of all with replies that overtake others, and ones that come twice.
        for (there, back, target) in [
            (true, false, SERVER[0]),
            (false, true, SERVER[0]),
            (true, true, SERVER[0]),
            (true, true, "203.0.113.2:8620"),
        ] {
            lab.router("nft flush ruleset");
            lab.router("nft add table inet lab");
            let is_odd = target != SERVER[0];
            for (is_so, way, port) in [(there, "there", "dport"), (back, "back", "sport")] {
                lab.router(&format!("nft add counter inet lab {way}"));
                if is_so {
                    lab.forward(&format!(
                        "udp {port} {{ 862, 8620 }} numgen random mod 20 == 0 counter name {way} drop"
                    ));
                }
            }
            if is_odd {
                // Behind the rule that drops, so that no copy is dropped.
                lab.router("nft add table ip lab");
                lab.router("nft add chain ip lab copies { type filter hook forward priority 1 ; }");
                lab.router(
                    "nft add rule ip lab copies udp sport 8620 numgen random mod 30 == 0 \
                     dup to 198.51.100.2 device rc",
                );
            }
            let args = ["-c", "1000", "-i", "1ms", "--fail-if", "loss>50%,late>50%"];
            let report = ping(0, &[&["--stamp", target], &args[..]].concat());
            let [lost, sent] = counts(&report, ["lost", "sent"]);
            let keys = ["lost_there", "lost_back", "lost_unknown"];
            let [lost_there, lost_back, unknown] = ways(&report, keys);
            assert_eq!((sent, lost), (1000, lost_there + lost_back + unknown));
            // Of the last ones nobody knows; each of them is in one of the counters.
            let real = [dropped("there"), dropped("back")];
            let dropped = real[0] - lost_there + real[1] - lost_back;
            // The last reply may wait to be overtaken by one that never comes.
            let waits = unknown.checked_sub(dropped);
            assert!(
                waits.is_some_and(|waits| waits <= u64::from(is_odd)),
                "{real:?} {}",
                report["stamp"]
            );
            assert!(unknown < 10 && lost > 20, "{report:#}");
            assert_eq!(report["stamp"]["numbering"], "stateful");
            let keys = ["reordered_back", "duplicated_back"];
            let odd = ways(&report, keys).map(|count| count > 0);
            assert_eq!(odd, [is_odd; 2], "{report:#}");
        }
    });
}

#[test]
fn what_a_path_does_to_packets_is_told_as_what_it_is() {
    let test = "what_a_path_does_to_packets_is_told_as_what_it_is";
    Lab::open(test, |lab| {
        let _server = lab.serve("stamp://[::]:862", Config::default());
        let run = |args: &[&str]| {
            let args = [&["-c", "20", "-i", "2ms"], args].concat();
            let report = ping(0, &args);
            report["stamp"].clone()
        };
        let v6 = format!("[{}]", SERVER[1]);
        for target in [SERVER[0], &v6] {
            let clean = run(&["--stamp", target, "--dscp", "46"]);
            let state = &clean["states"][0];
            assert_eq!(state["there_dscp"], 46, "{clean:#}");
            assert_eq!(
                (&state["back_dscp"], &state["there_hops"]),
                (&46.into(), &1.into())
            );
            assert_eq!(state["seen_from"], state["sent_from"]);
            assert_eq!(clean["states"].as_array().map(Vec::len), Some(1));
        }
        let marked = |state: &Value, keys: [&str; 4]| keys.map(|key| state[key].as_u64());
        let marks = ["there_dscp", "there_ecn", "back_dscp", "back_ecn"];
        // A router that was congested, and one that clears the mark on its way, each way.
        for (rules, there, back) in [
            (&["ip daddr 203.0.113.2 ip ecn set ce"][..], 3, 0),
            (&["ip saddr 203.0.113.2 ip ecn set ce"], 0, 3),
            (
                &[
                    "ip daddr 203.0.113.2 ip ecn set ect1",
                    "ip daddr 203.0.113.2 ip ecn set not-ect",
                    "ip saddr 203.0.113.2 ip ecn set ect0",
                ],
                0,
                2,
            ),
        ] {
            rules.iter().for_each(|rule| lab.forward(rule));
            let told = run(&["--stamp", SERVER[0], "--dscp", "46"]);
            let state = &told["states"][0];
            let expected = [46, there, 46, back].map(Some);
            assert_eq!(marked(state, marks), expected, "{rules:?}: {told:#}");
            lab.router("nft flush ruleset");
        }
        lab.forward("ip daddr 203.0.113.2 ip dscp set 0");
        lab.rule("nat hook postrouting priority 100", "oifname rs masquerade");
        let state = run(&["--stamp", SERVER[0], "--dscp", "46"])["states"][0].clone();
        assert_eq!(
            (&state["there_dscp"], &state["back_dscp"]),
            (&0.into(), &46.into())
        );
        let seen = state["seen_from"].as_str().expect("it tells");
        assert!(seen.starts_with("203.0.113.1:"), "{state:#}");
        let args = [
            "ping", "--stamp", SERVER[0], "--dscp", "46", "-c", "3", "-i", "1ms",
        ];
        let text = crate::common::run(&args).text().to_owned();
        for line in [
            "mark changed on the way there: sent DSCP 46, came DSCP 0",
            "mark kept on the way back",
            "is seen as 203.0.113.1:",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    });
}

#[test]
fn a_clock_that_is_off_and_a_reflector_that_stands_still_are_no_delays_of_the_path() {
    let target = reflector(Odd {
        ahead: Duration::from_millis(1700),
        stands_at: Some(2),
        ..Odd::default()
    });
    let report = ping(0, &["--stamp", &target, "-c", "4", "-i", "400ms"]);
    let ms = 1_000_000;
    let offset = report["stamp"]["offset_ns"].as_i64().expect("it is known");
    let [error] = ways(&report, ["offset_error_ns"]);
    assert!(
        (offset - 1700 * ms).unsigned_abs() <= error + 20_000,
        "{report:#}"
    );
    let [residence, network, there] = counts(
        &report,
        ["residence_max_ns", "network_max_ns", "there_max_ns"],
    );
    assert!(residence >= 300 * ms as u64, "{report:#}");
    assert!(network < residence && there < 150 * ms as u64, "{report:#}");
    assert_eq!(report["stamp"]["one_way"], "variation");
}

#[test]
fn of_a_reflector_that_goes_away_in_a_run_it_is_told_what_to_start() {
    let target = reflector(Odd {
        ends_at: Some(5),
        ..Odd::default()
    });
    let ended = run(&["ping", "--stamp", &target, "-c", "9", "-i", "50ms", "-W2s"]);
    ended.failed(1, &["failed; start a STAMP reflector there"]);
    assert!(!ended.stderr.contains("start echo-server"), "{ended:?}");
}

#[test]
fn each_way_has_its_delay_where_the_system_says_that_both_clocks_are_right() {
    if !strace::works() {
        return;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let (there, back) = (Duration::from_millis(10), Duration::from_millis(20));
    let fine = Some(Duration::from_micros(250));
    // Of `struct timex`, the fourth word is the error, and the sixth what is so: STA_PLL or STA_UNSYNC.
    let says = |error_us: u8, status: u8| {
        let timex = format!("{:048}{error_us:02x}{:030}{status:02x}{:06}", 0, 0, 0);
        format!("inject=clock_adjtime:retval=0:poke_exit=@arg2={timex}")
    };
    for (own, theirs, told) in [
        (says(250, 1), fine, "delay"),
        (says(250, 1), None, "variation"),
        (says(250, 1), Some(there + back), "variation"),
        (says(250, 0x40), fine, "variation"),
        (
            "inject=clock_adjtime:error=EPERM".to_owned(),
            fine,
            "variation",
        ),
    ] {
        let target = reflector(Odd {
            ways: [there, back],
            error: theirs,
            ..Odd::default()
        });
        let client = command(&[
            "ping", "--json", "--stamp", &target, "-c5", "-i50ms", "-W2s",
        ]);
        let mut traced = Command::new("strace");
        traced.env_clear().env("PATH", &path);
        traced.args(["-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]);
        traced.args(["-e", "trace=clock_adjtime", "-e", &own]);
        traced.arg(client.get_program()).args(client.get_args());
        let ended = traced.output().expect("strace runs");
        let report: Value = serde_json::from_slice(&ended.stdout).expect("one document");
        assert_eq!(report["stamp"]["one_way"], told, "{own}: {report:#}");
        let ways = counts(&report, ["there_min_ns", "back_min_ns"]).map(Duration::from_nanos);
        match told {
            "delay" => {
                // A figure is right to a thousandth.
                let is_so = |way, is: Duration| is <= way + way / 1_000;
                assert!(is_so(ways[0], there) && is_so(ways[1], back), "{ways:?}");
                let round = counts(&report, ["network_max_ns"]).map(Duration::from_nanos);
                assert!(is_so(round[0], ways[0] + ways[1]), "{ways:?} {round:?}");
            }
            _ => assert_eq!(
                ways,
                [Duration::ZERO; 2],
                "{own}: longer than at its shortest"
            ),
        }
    }
}

#[test]
fn who_copies_our_numbers_or_answers_briefly_is_understood_all_the_same() {
    let of = |odd: Odd| {
        let target = format!("stamp://{}", reflector(odd));
        let args = [target.as_str(), "-c", "60", "-i", "5ms"];
        ping(0, &[&args[..], &["--fail-if", "loss>50%"]].concat())
    };
    let report = of(Odd {
        is_stateless: true,
        drops: 10,
        ..Odd::default()
    });
    assert_eq!(report["stamp"]["numbering"], "stateless", "{report:#}");
    let [lost] = counts(&report, ["lost"]);
    assert_eq!(
        ways(&report, ["lost_there", "lost_back", "lost_unknown"]),
        [0, 0, lost]
    );
    for (len, is_stateless) in [(41, false), (44, false), (41, true), (43, true)] {
        let report = of(Odd {
            len: Some(len),
            is_stateless,
            drops: 10,
            ..Odd::default()
        });
        assert_eq!(
            counts(&report, ["unique", "corrupt", "foreign"]),
            [54, 0, 0]
        );
        // The last of them is the sixtieth, of which nothing more is heard.
        let lost = ways(&report, ["lost_there", "lost_back", "lost_unknown"]);
        assert_eq!(lost, if is_stateless { [0, 0, 6] } else { [5, 0, 1] });
        assert_eq!(report["stamp"]["states"][0]["there_dscp"], Value::Null);
    }
}

#[test]
fn only_who_has_the_key_is_believed() {
    let scratch = Scratch::new("stamp-key");
    let (key, other) = (
        scratch.file("key", b"0123456789abcdef\n"),
        scratch.file("other", b"0123456789abcdeX\n"),
    );
    let target = reflector(Odd {
        key: Some(b"0123456789abcdef"),
        ..Odd::default()
    });
    let report = ping(
        0,
        &[
            "--stamp",
            &target,
            "-c",
            "9",
            "-i",
            "1ms",
            "--stamp-key",
            &key,
        ],
    );
    assert_eq!(counts(&report, ["unique", "residence_samples"]), [9, 9]);
    assert_eq!(report["stamp"]["states"][0]["there_hops"], 4, "{report:#}");
    for args in [&["--stamp-key", other.as_str()][..], &[]] {
        let report = ping(
            1,
            &[&["--stamp", &target, "-c", "2", "-i", "1ms"], args].concat(),
        );
        assert_eq!(counts(&report, ["unique"]), [0]);
    }
}

#[test]
fn conditions_tell_the_ways_apart() {
    let target = reflector(Odd {
        drops: 10,
        ..Odd::default()
    });
    for (code, conditions) in [
        (0, "lost-there>20%"),
        (
            0,
            "lost-there<=20%,lost-back>2%,residence-p99>10s,there-p50>10s",
        ),
        (1, "lost-back>20%"),
        (1, "lost-there>5%"),
        (1, "loss>50%,back-p99>1ns"),
        (1, "residence-p99>1ns,loss>50%"),
    ] {
        let conditions = conditions.replace("<=20%", ">20%");
        let args = [
            "--stamp",
            &target,
            "-c",
            "55",
            "-i",
            "1ms",
            "--fail-if",
            &conditions,
        ];
        let report = ping(code, &args);
        assert!(
            report["verdicts"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        );
    }
}

#[test]
fn what_is_no_target_of_stamp_is_refused_or_told() {
    run(&["ping", "--stamp", "tcp://127.0.0.1:1"]).failed(2, &["STAMP is spoken over UDP"]);
    run(&["ping", "--stamp", "unix:a"]).failed(2, &["STAMP is spoken over UDP"]);
    run(&["stamp://127.0.0.1"]).failed(2, &["carries no message", "ping"]);
    run(&["ping", "127.0.0.1:1", "--stamp-key", "x"]).failed(2, &["add --stamp"]);
    run(&["ping", "--stamp", "127.0.0.1", "--stamp-key", "/x"]).failed(2, &["--stamp-key /x"]);
    // An echo is no reflector.
    let echo = echo();
    let target = echo.udp.replace("udp", "stamp");
    let ended = run(&["ping", &target, "-c", "2", "-i", "1ms", "-W", "200ms"]);
    ended.failed(1, &["look whether a STAMP reflector is there"]);
}

#[test]
fn what_several_machines_found_is_added_up_where_it_means_the_same() {
    let target = reflector(Odd {
        drops: 10,
        ..Odd::default()
    });
    let scratch = Scratch::new("stamp-merge");
    let load = ["bench", "-r", "200", "-c", "45", "--warmup", "0", "--json"];
    let of = |name: &str| {
        let args = [&load[..], &["--stamp", &target, "--fail-if", "loss>50%"]].concat();
        let ended = run(&args);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let report: Value = serde_json::from_str(ended.text()).expect("one document");
        (scratch.file(name, ended.text().as_bytes()), report)
    };
    let ((one, first), (two, mut second)) = (of("one.json"), of("two.json"));
    let merged = run(&["merge", "--json", &one, &two]);
    let merged: Value = serde_json::from_str(merged.text()).expect("one document");
    let sum = |of: fn(&Value) -> u64| of(&first) + of(&second);
    let there = |report: &Value| report["stamp"]["lost_there"].as_u64().expect("a count");
    let samples = |report: &Value| report["back_samples"].as_u64().expect("a count");
    assert_eq!(there(&merged), sum(there), "{merged:#}");
    assert_eq!(samples(&merged), sum(samples), "{merged:#}");
    assert_eq!(merged["stamp"]["offset_ns"], Value::Null);
    second["stamp"]["one_way"] = "delay".into();
    let other = scratch.file("other.json", second.to_string().as_bytes());
    run(&["merge", &one, &other]).failed(2, &["of each way", "one-way delay"]);
}

#[test]
fn of_two_reflectors_the_one_that_is_not_there_is_told() {
    let (target, gone) = (reflector(Odd::default()), closed_port());
    let gone = gone.to_string();
    let rounds = ["--rounds", "2", "-c", "5", "--warmup", "0"];
    let ended = run(&[&["bench", "--stamp", &target, &gone][..], &rounds].concat());
    ended.failed(3, &[&gone, "port unreachable"]);
}

#[test]
fn whoever_measures_where_no_reflector_takes_it_is_told_what_to_do() {
    let scratch = Scratch::new("stamp-absent");
    let file = scratch.file("key", b"0123456789abcdef\n");
    let closed = closed_port().to_string();
    let brief = ["-c2", "-W200ms"];
    for mode in [&["ping", "--stamp", "-i1ms"][..], &["bench", "--stamp"]] {
        let ended = run(&[mode, &brief, &[&closed]].concat());
        ended.failed(
            3,
            &[
                "port unreachable; start a STAMP reflector there",
                "--listen stamp://",
            ],
        );
        // Not on each line of ping, but in the end.
        let said = ended.text().matches("start a STAMP").count();
        assert_eq!(said, usize::from(mode[0] == "ping"), "{ended:?}");
        let has_key = Odd {
            key: Some(b"0123456789abcdef"),
            ..Odd::default()
        };
        for (odd, own) in [
            (has_key, &[][..]),
            (Odd::default(), &["--stamp-key", &file]),
        ] {
            let ended = run(&[mode, &brief, own, &[&reflector(odd)]].concat());
            ended.failed(
                1,
                &[
                    "is a STAMP reflector there",
                    "the same --stamp-key, or none?",
                ],
            );
        }
    }
}

#[test]
fn a_summary_in_spanish_has_no_english_line() {
    let target = reflector(Odd::default());
    let words = ["--stamp", "--dscp=46", "-q", "-c12", "-i1ms", "--lang=es"];
    let held = ["--fail-if", "lost-there>90%,loss>90%,late>90%"];
    let ended = run(&[&["ping", &target], &words[..], &held].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let english = [
        "lost", "way", "clock", "mark ", "routers", "stamps", "held", "kernel", "back", "stood",
    ];
    for word in english {
        // Figures keep the names by which conditions call them.
        let said = ended
            .text()
            .lines()
            .filter(|line| !line.starts_with("se cumple"));
        for line in said {
            assert!(!line.contains(word), "{word}: {line}: {ended:?}");
        }
    }
    assert!(ended.text().contains("perdidos: 0 a la ida"), "{ended:?}");
}
