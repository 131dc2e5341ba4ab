//! The documents of many machines, merged into one.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::common::{Ended, Scratch, echo, echo_on, faulty, network, run, run_with};
use echo_client::merge::merged;
use echo_client::report::{Latency, Report, Saved, json};
use echo_core::splitmix::Random;
use serde_json::Value;

#[track_caller]
fn document(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(ended.text()).expect("one document")
}

/// The document of a short run, as another machine would have made it.
fn measured(target: &str, hostname: &str, more: &[&str]) -> Value {
    // What a busy machine leaves unsent is nobody's fault here.
    let args = ["bench", target, "--json", "-d", "1s", "--warmup", "0"];
    let lenient = ["--fail-if", "unsent>999"];
    let mut document = document(&run(&[&args[..], &lenient, more].concat()));
    document["environment"]["hostname"] = hostname.into();
    document
}

fn moved(document: &Value, by_ns: i64) -> Value {
    let mut moved = document.clone();
    let started = document["started_unix_ns"].as_u64().unwrap();
    moved["started_unix_ns"] = started.wrapping_add_signed(by_ns).into();
    moved
}

fn merge(documents: &[&Value], more: &[&str]) -> Ended {
    let text: String = documents
        .iter()
        .map(|document| format!("{document:#}\n"))
        .collect();
    run_with(&[&["merge", "-"][..], more].concat(), text.as_bytes())
}

#[test]
fn the_whole_is_the_sum_of_its_parts() {
    let (fast, slow) = (echo(), faulty(&["delay=1ms"]));
    let one = measured(&fast.tcp, "h1", &[]);
    let started = one["started_unix_ns"].clone();
    let mut other = measured(&slow.tcp, "h2", &[]);
    other["started_unix_ns"] = started;
    let whole = document(&merge(&[&one, &other], &["--json", "--expect", "2"]));
    for key in [
        "sent",
        "received",
        "unique",
        "lost",
        "connections",
        "sent_bytes",
        "rtt_samples",
        "rtt_sum_ns",
    ] {
        let sum = one[key].as_u64().unwrap() + other[key].as_u64().unwrap();
        assert_eq!(whole[key], sum, "{key}");
    }
    let both = |key: &str| [one[key].as_u64().unwrap(), other[key].as_u64().unwrap()];
    assert_eq!(
        whole["rtt_min_ns"].as_u64(),
        both("rtt_min_ns").into_iter().min()
    );
    assert_eq!(
        whole["rtt_max_ns"].as_u64(),
        both("rtt_max_ns").into_iter().max()
    );
    assert_eq!(whole["in_flight"], 2);
    assert_eq!(whole["machines"].as_array().map(Vec::len), Some(2));
    assert_eq!(whole["environment"]["hostname"], "h1, h2");
    let name = whole["target"]["name"].as_str().expect("a name");
    assert!(
        name.contains(&fast.tcp) && name.contains(&slow.tcp),
        "{name}"
    );
    assert!(whole["echoes_per_s"].is_f64(), "{whole:#}");
    // The document that came of it is as good as any other.
    let third = moved(&measured(&fast.tcp, "h3", &[]), 0);
    let loads = [
        "cannot be merged",
        "closed loop, 1 in flight",
        "closed loop, 2 in flight",
    ];
    merge(&[&whole, &third], &[]).failed(2, &loads);
    // A machine is in it once, in whatever document it comes.
    let more = document(&merge(&[&one, &third], &["--json"]));
    merge(&[&whole, &more], &[]).failed(2, &["h1", "twice"]);
    let share = one["generator"]["busiest_share"].to_string();
    assert!(share.len() < 12, "{share} has more digits than meaning");
}

#[test]
fn a_comparison_is_no_part_of_a_run() {
    let (one, other) = (echo(), echo());
    let short = ["--rounds", "1", "-c", "9", "--warmup", "0", "--json"];
    let compared = run(&[&["bench", &one.tcp, &other.tcp][..], &short].concat());
    let words = ["a comparison is no part of a run"];
    run_with(&["merge", "-"], &compared.stdout).failed(2, &words);
}

#[test]
fn a_part_that_was_stopped_cuts_the_whole_short_and_says_by_whom() {
    let echo = echo();
    let mut one = measured(&echo.tcp, "h1", &[]);
    let mut other = moved(&one, 1);
    other["environment"]["hostname"] = "h2".into();
    for (by, code) in [("interrupt", 0), ("deadline", 1)] {
        let cut = |name: &str| {
            let reason =
                serde_json::json!({"kind": "interrupted", "message": format!("{name}stopped")});
            serde_json::json!({"result": "cut short", "by": by, "exit_code": code, "reasons": [reason]})
        };
        one["outcome"] = cut("");
        let ended = merge(&[&one, &other], &["--json"]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let whole: Value = serde_json::from_str(ended.text()).expect("one document");
        assert_eq!(whole["outcome"], cut("h1: "));
        let text = merge(&[&one, &other], &[]);
        assert!(
            text.text().ends_with("CUT SHORT: h1: stopped\n"),
            "{text:?}"
        );
    }
}

#[test]
fn where_documents_are_counted_none_is_too_few() {
    let none = run_with(&["merge", "--expect", "20", "-"], b"");
    none.failed(1, &["0 documents came where 20 were expected"]);
    run_with(&["merge", "-"], b"\n").failed(2, &["holds no document"]);
    run(&["merge", "--expect", "1", "/nowhere.json"]).failed(2, &["/nowhere.json"]);
}

#[test]
fn what_is_merged_is_what_one_histogram_would_have_seen() {
    let mut state = Random(1);
    let mut random = |below: u64| state.below(below);
    let files = Scratch::new("property");
    for case in 0..8 {
        let mut whole = Latency::default();
        let machines = 1 + random(5);
        let text: String = (0..machines)
            .map(|machine| {
                let mut part = Report {
                    started_unix_ns: random(1_000_000),
                    elapsed: Duration::from_secs(9),
                    ..Report::default()
                };
                part.environment.hostname = format!("h{machine}");
                // From nothing to the longest that is told apart, in no order.
                for _ in 0..random(300) {
                    let longest = 1 << random(43);
                    let (ns, count) = (random(longest), 1 + random(3));
                    part.rtt.record_many(ns, count);
                    part.counts.unique += count;
                    part.counts.sent += count;
                    part.counts.received += count;
                    whole.record_many(ns, count);
                }
                json(&part)
            })
            .collect();
        let file = files.file("parts.json", text.as_bytes());
        let parts = Saved::load(&[&file], false).expect("documents");
        let merged = merged(&parts).expect("one run");
        assert_eq!(merged.rtt.histogram(), whole.histogram(), "case {case}");
        assert_eq!(
            (merged.rtt.min(), merged.rtt.max()),
            (whole.min(), whole.max())
        );
        assert_eq!(merged.rtt.moments().0, whole.moments().0);
        assert_eq!(merged.counts.unique, whole.count());
        for quantile in [0.1, 0.5, 0.9, 0.99, 0.999] {
            let percentiles = [&merged.rtt, &whole].map(|rtt| rtt.percentile(quantile));
            assert_eq!(percentiles[0], percentiles[1], "case {case}");
        }
    }
}

#[test]
fn windows_apart_have_no_rate() {
    let echo = echo();
    let one = measured(&echo.tcp, "h1", &[]);
    let other = moved(&one, 500_000_000);
    let ended = merge(&[&one, &other], &["--json"]);
    let whole = document(&ended);
    assert!(whole["echoes_per_s"].is_null(), "{whole:#}");
    let notes = whole["notes"].to_string();
    assert!(
        notes.contains("within 500ms") && notes.contains("--start-at"),
        "{notes}"
    );
    // A condition about what is not known is broken.
    merge(&[&one, &other], &["--fail-if", "rate<1"]).failed(1, &["rate"]);
    let text = merge(&[&one, &other], &[]);
    assert!(!text.text().contains("echoes/s,"), "{text:?}");
    let paced = ["-r", "99", "--fail-if", "unsent>99"];
    let one = measured(&echo.tcp, "h1", &paced);
    let text = merge(
        &[&one, &moved(&one, 500_000_000)],
        &["--fail-if", "unsent>999"],
    );
    assert!(text.text().contains("no rate of the whole"), "{text:?}");
    assert!(!text.text().contains("requests/s"), "{text:?}");
}

#[test]
fn seconds_go_where_the_wall_clock_has_them() {
    let echo = echo();
    let one = measured(&echo.tcp, "h1", &["-d", "2s", "-r", "20"]);
    let other = moved(&one, 1_100_000_000);
    let files = Scratch::new("seconds");
    let rows = files.file("rows.csv", b"");
    let args = ["--json", "--csv", &rows, "--fail-if", "unsent>999"];
    let whole = document(&merge(&[&other, &one], &args));
    let echoes =
        |document: &Value, i: usize| document["seconds"][i]["echoes"].as_u64().unwrap_or(0);
    assert_eq!(echoes(&whole, 0), echoes(&one, 0));
    assert_eq!(echoes(&whole, 1), echoes(&one, 1) + echoes(&one, 0));
    assert!(whole["seconds"][1]["rtt_p50_ns"].is_null());
    assert_eq!(
        whole["seconds"][0]["rtt_p50_ns"],
        one["seconds"][0]["rtt_p50_ns"]
    );
    let rows = std::fs::read_to_string(rows).unwrap();
    assert_eq!(
        rows.lines().count(),
        1 + whole["seconds"].as_array().unwrap().len()
    );
}

#[test]
fn what_is_missing_or_does_not_belong_is_said() {
    let echo = echo();
    let one = measured(&echo.tcp, "h1", &[]);
    let other = moved(&one, 1);
    let ended = merge(&[&one, &other], &["--expect", "3", "--json"]);
    ended.failed(1, &["2 documents came where 3 were expected"]);
    assert!(ended.text().contains("\"failed\""), "{ended:?}");
    merge(&[&one, &one], &[]).failed(2, &["h1", "twice"]);
    merge(&[&one, &measured(&echo.tcp, "h2", &["-s", "65"])], &[]).failed(2, &["--size"]);
    merge(&[&one, &measured(&echo.tcp, "h2", &["-P", "2"])], &[]).failed(2, &["--parallel"]);
    let paced = ["-r", "99", "--fail-if", "unsent>99"];
    merge(&[&one, &measured(&echo.tcp, "h2", &paced)], &[]).failed(2, &["--rate"]);
    merge(&[&one, &measured(&echo.udp, "h2", &[])], &[]).failed(2, &["udp", "tcp"]);
    let mut old = other.clone();
    old["schema"] = 1.into();
    merge(&[&one, &old], &[]).failed(2, &["schema is 1"]);
}

#[test]
fn a_log_is_no_document_and_what_comes_together_is_told_apart() {
    let echo = echo();
    let files = Scratch::new("logs");
    let log = files.path("run.hlog").display().to_string();
    let one = measured(&echo.tcp, "h1", &["--hdr", &log]);
    run(&["merge", &log]).failed(2, &["run.hlog", "other tools merge", "--json"]);
    let text = format!("{one}\n{}", measured(&echo.tcp, "h2", &["-s", "65"]));
    let both = files.file("both.json", text.as_bytes());
    let told = run(&["merge", &both]);
    told.failed(2, &["both.json at byte", "cannot be merged with", "--size"]);
}

#[test]
fn a_damaged_document_is_named_and_nothing_is_merged() {
    let echo = echo();
    let one = measured(&echo.tcp, "h1", &[]).to_string();
    let files = Scratch::new("damaged");
    // What the client tells beside its document may have been collected with it.
    let told = format!("echo-client: something\n{one}\n");
    let good = files.file("good.json", told.as_bytes());
    assert_eq!(run(&["merge", &good]).code, Some(0));
    for (damaged, at) in [
        (format!("{told}{}", &one[..one.len() - 9]), told.len()),
        (format!("{told}{{\"schema\": 2}}"), told.len()),
        (format!("{told}nonsense"), told.len()),
        (format!("{told}}}"), told.len()),
    ] {
        let bad = files.file("bad.json", damaged.as_bytes());
        let ended = run(&["merge", &good, &bad]);
        ended.failed(2, &["bad.json", &format!("at byte {at}")]);
        assert_eq!(ended.text(), "");
    }
    run(&["merge", "/nowhere.json"]).failed(2, &["/nowhere.json"]);
    run(&["merge"]).failed(2, &["FILE"]);
}

#[test]
fn the_whole_is_as_bad_as_a_part_that_never_ran() {
    let echo = echo();
    let one = measured(&echo.tcp, "h1", &[]);
    let dead = crate::common::closed_port().to_string();
    let refused = run(&["bench", &dead, "--json"]);
    let mut refused: Value = serde_json::from_slice(&refused.stdout).unwrap();
    refused["environment"]["hostname"] = "h2".into();
    merge(&[&one, &refused], &[]).failed(1, &["h2", "refused"]);
}

#[test]
fn a_run_begins_when_it_is_told_to() {
    let echo = echo();
    let at = SystemTime::now() + Duration::from_secs(3);
    let at = at.duration_since(UNIX_EPOCH).unwrap();
    let told = format!("{}.{:03}", at.as_secs(), at.subsec_millis());
    let document = measured(&echo.tcp, "h1", &["--start-at", &told]);
    let started = document["started_unix_ns"].as_u64().unwrap();
    let late = started.checked_sub(at.as_millis() as u64 * 1_000_000);
    assert!(late.is_some_and(|late| late < 10_000_000_000), "{late:?}");
    let past = ["bench", &echo.tcp, "--start-at", "2020-01-01T00:00:00Z"];
    run(&past).failed(1, &["--start-at", "past"]);
    run(&["bench", &echo.tcp, "--start-at", "soon"]).failed(2, &["date +%s"]);
    // Whoever has waited long enough does not have to wait for that.
    let never = [
        "bench",
        &echo.tcp,
        "--start-at",
        "4000000000",
        "-w",
        "300ms",
    ];
    run(&never).failed(1, &["--deadline"]);
}

#[test]
fn an_independent_reader_finds_the_same_percentiles_in_the_whole() {
    let has = Command::new("python3")
        .args(["-c", "import hdrh.histogram"])
        .output();
    if !has.is_ok_and(|has| has.status.success()) {
        eprintln!("skipped: python3 has no module hdrh; pip install hdrhistogram");
        return;
    }
    let (fast, slow) = (echo(), faulty(&["delay=1ms"]));
    let one = measured(&fast.tcp, "h1", &["-d", "500ms"]);
    let other = moved(&measured(&slow.tcp, "h2", &["-d", "500ms"]), 0);
    let whole = document(&merge(&[&one, &other], &["--json"]));
    let histogram = whole["rtt_histogram"].as_str().unwrap();
    let read = Command::new("python3")
        .args(["-c", READER, histogram])
        .output()
        .unwrap();
    assert!(read.status.success(), "{read:?}");
    let read = String::from_utf8(read.stdout).unwrap();
    let read: Vec<u64> = read
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let keys = ["rtt_samples", "rtt_p50_ns", "rtt_p90_ns", "rtt_p99_ns"];
    assert_eq!(read, keys.map(|key| whole[key].as_u64().unwrap()));
}

/// Prints the number of samples, and three percentiles. That library rounds the rank of a sample,
/// where ours takes the next whole one: asked for a whole rank, both mean the same sample.
const READER: &str = "
import math, sys
from hdrh.histogram import HdrHistogram
whole = HdrHistogram.decode(sys.argv[1])
count = whole.get_total_count()
ranks = [math.ceil(count * p / 100) for p in (50, 90, 99)]
print(count, *(whole.get_value_at_percentile(100 * rank / count) for rank in ranks))
";

/// Three machines on one switch, each with its sshd, as a shell sets them up in the directory `$1`.
const MACHINES: &str = "
cd $1
mount -t tmpfs none /run
mkdir /run/sshd
ssh-keygen -q -t ed25519 -N '' -f key
ip link add switch type bridge
ip addr add 10.9.0.254/24 dev switch
ip link set switch up
for i in 1 2 3; do
    ip netns add h$i
    ip link add port$i type veth peer name eth0 netns h$i
    ip link set port$i master switch up
    ip -n h$i addr add 10.9.0.$i/24 dev eth0
    ip -n h$i link set eth0 up
    ip netns exec h$i unshare --uts sh -ec \"hostname h$i; /usr/sbin/sshd -f /dev/null -h $1/key \\
        -o AuthorizedKeysFile=$1/key.pub -o StrictModes=no -o UsePAM=no -o PidFile=none\"
    printf 'Host h%s\\n HostName 10.9.0.%s\\n IdentityFile %s/key\\n' $i $i $1
done > hosts
printf 'Host *\\n StrictHostKeyChecking no\\n ConnectTimeout 10\\n UserKnownHostsFile %s/known\\n LogLevel ERROR\\n' $1 >> hosts
";

/// Runs what follows on all of them.
const ON_EACH: &str =
    "HOME=$1 parallel --will-cite -j0 --ssh \"ssh -F $1/hosts\" -S h1,h2,h3 --nonall";

/// What a user types, with the client as `$2`, its target as `$3` and the time to begin as `$4`.
const TOGETHER: &str =
    "$2 bench --start-at $4 -w 30s -d 1s --warmup 0 --json $3 | $2 merge --expect 3 --json -";

#[test]
fn three_machines_begin_at_one_moment_and_are_merged() {
    // There is another program of that name.
    for (tool, word) in [("parallel", "GNU"), ("/usr/sbin/sshd", "")] {
        let said = Command::new(tool).arg("--version").output();
        if !said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains(word)) {
            eprintln!("skipped: there is no {word} {tool} here");
            return;
        }
    }
    let name = "three_machines_begin_at_one_moment_and_are_merged";
    network::in_own_machine(name, || {
        let (files, program) = (Scratch::new("machines"), env!("CARGO_BIN_EXE_echo-client"));
        let directory = files.path("").display().to_string();
        let sh = |script: &str, more: &[&str]| {
            let shell = Command::new("sh")
                .args(["-ec", script, "sh", &directory])
                .args(more)
                .output();
            let output = shell.expect("sh runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{script}: {errors}");
            output.stdout
        };
        sh(MACHINES, &[]);
        let server = echo_on("tcp://10.9.0.254:0");
        let target = server.addresses()[0]
            .socket()
            .expect("an address")
            .to_string();
        // On a busy machine it takes seconds to be everywhere.
        let start = Instant::now();
        sh(&format!("{ON_EACH} true"), &[]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let begin = (now + start.elapsed() * 3).as_secs() + 3;
        let together = format!("{ON_EACH} {TOGETHER}");
        let printed = sh(&together, &[program, &target, &begin.to_string()]);
        let whole: Value = serde_json::from_slice(&printed).expect("one document");
        assert_eq!(whole["environment"]["hostname"], "h1, h2, h3");
        let machines = whole["machines"].as_array().expect("a list");
        let each = |key: &str| -> Vec<u64> {
            machines
                .iter()
                .map(|machine| machine[key].as_u64().unwrap())
                .collect()
        };
        assert_eq!(whole["unique"].as_u64(), Some(each("echoes").iter().sum()));
        assert_eq!(whole["rtt_samples"], whole["unique"]);
        let began = each("started_unix_ns");
        assert!(
            began.iter().all(|began| *began >= begin * 1_000_000_000),
            "{began:?}"
        );
    });
}
