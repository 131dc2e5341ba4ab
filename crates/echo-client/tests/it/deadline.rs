//! `--deadline` ends every mode, whatever it waits for.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::common::bench::counts;
use crate::common::*;

#[test]
fn a_server_that_keeps_silent_is_waited_for_until_the_deadline() {
    let silent = tcp(|_, mut stream| {
        let _: std::io::Result<u64> = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let ended = run(&[&silent, "-m", "hi", "-W", "1h", "--deadline", "1s"]);
    ended.failed(1, &["stopped by --deadline 1s", "0 of 2 bytes"]);
    let silent = udp(|_, _, _| {});
    let ended = run(&[&silent, "-m", "hi", "-W", "1h", "-w", "1s"]);
    ended.failed(1, &["stopped by --deadline 1s before the reply came"]);
}

#[test]
fn a_server_that_does_not_come_up_is_waited_for_until_the_deadline() {
    let closed = closed_port().to_string();
    for mode in [&[][..], &["ping"], &["bench"]] {
        let args = [mode, &[&closed, "--wait", "1h", "-w", "200ms"]].concat();
        run(&args).failed(3, &["stopped by --deadline 200ms"]);
    }
}

#[test]
fn a_ping_sums_up_at_the_deadline() {
    let ended = run(&["ping", &echo().tcp, "-i", "10ms", "-w", "2s"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.text().contains("0% loss"), "{ended:?}");
}

#[test]
fn a_path_that_reorders_has_lost_nothing_at_the_deadline() {
    let far = faulty(&["delay=10ms..90ms,udp"]);
    let ended = run(&["ping", &far.udp, "-i", "2ms", "-w", "1s", "--json"]);
    let document: serde_json::Value = serde_json::from_str(ended.text()).unwrap();
    assert_eq!((&document["lost"], ended.code), (&0.into(), Some(0)));
    assert!(document["reordered"].as_u64() > Some(0), "{ended:?}");
}

#[test]
fn what_is_under_way_at_the_deadline_is_no_loss() {
    let far = faulty(&["delay=400ms"]);
    for target in [&far.tcp, &far.udp] {
        for args in [&["-i", "300ms", "-w", "1s"], &["-i", "100ms", "-w", "1s"]] {
            let ended = run(&[&["ping", target.as_str(), "--json"], &args[..]].concat());
            assert_eq!(ended.code, Some(0), "{ended:?}");
            let report: serde_json::Value = serde_json::from_str(ended.text()).unwrap();
            let [sent, unique, lost, under_way] =
                counts(&report, ["sent", "unique", "lost", "under_way"]);
            assert_eq!((lost, sent), (0, unique + under_way), "{report}");
            assert!(under_way > 0 && sent <= 10, "{report}");
        }
    }
    let cut = [
        "-r", "20", "-d", "1h", "-w", "1s", "--warmup", "0", "--depth", "64",
    ];
    let ended = run(&[&["bench", far.tcp.as_str()], &cut[..]].concat());
    ended.failed(1, &["stopped by --deadline 1s"]);
    assert!(
        ended.text().contains(" 0% loss") && ended.text().contains("under way"),
        "{ended:?}"
    );
}

#[test]
fn an_input_that_does_not_end_is_a_failure_at_the_deadline() {
    let echo = echo();
    let mut client = command(&[&echo.tcp, "-m", "-", "-w", "1s"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    client
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(1));
    assert!(told.contains("stopped by --deadline 1s: 0 of 0"), "{told}");
}

#[test]
fn a_pipe_that_a_script_was_started_with_is_not_waited_for_without_end() {
    let echo = echo();
    let mut silent = command(&[&echo.tcp, "-W", "100ms"]);
    let silent = silent.stdin(std::process::Stdio::piped());
    let mut client = silent.stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It stays open. A program that is to write takes its time to start, however short an answer may take.
    let input = client.stdin.take();
    let told = std::io::read_to_string(client.stderr.take().unwrap()).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(2), "{told}");
    assert!(
        told.contains("within 5s") && told.contains("</dev/null"),
        "{told}"
    );
    drop(input);
}

#[test]
fn an_input_that_says_no_more_is_waited_for_until_the_deadline_or_an_interrupt() {
    let (echo, scratch) = (echo(), Scratch::new("fifo"));
    let fifo = scratch.path("fifo").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for (begun, args) in [
        ("", vec![]),
        ("", vec!["-u"]),
        ("abc", vec!["-u", "-m", "-"]),
        ("abc", vec!["-i"]),
        ("abc", vec!["-i", "-u"]),
        ("", vec!["--file", &fifo]),
    ] {
        let target = match args.contains(&"-u") {
            true => &echo.udp,
            false => &echo.tcp,
        };
        for is_deadline in [true, false] {
            let limit = if is_deadline { "500ms" } else { "1h" };
            let args = [&args[..], &[target, "--json", "-w", limit]].concat();
            let mut client = start(&args);
            let input = client.child.stdin.as_mut().unwrap();
            input.write_all(begun.as_bytes()).unwrap();
            if !is_deadline {
                client.listens();
                client.interrupt();
            }
            // It ends while its input is open.
            let mut document = Vec::new();
            let stdout = client.child.stdout.as_mut().unwrap();
            stdout.read_to_end(&mut document).unwrap();
            let told: serde_json::Value = serde_json::from_slice(&document)
                .unwrap_or_else(|_| panic!("{args:?} has no document"));
            assert_ne!(told["outcome"]["result"], "passed", "{args:?}: {told}");
            assert!(code(&mut client).is_some(), "{args:?}");
        }
    }
}

#[test]
fn what_the_deadline_cuts_short_is_a_failure() {
    let echo = echo();
    let cut = ["-c", "1000000", "-i", "10ms", "-w", "2s"];
    let ended = run(&[&["ping", &echo.tcp][..], &cut].concat());
    ended.failed(1, &["stopped by --deadline 2s"]);
    assert!(ended.text().contains("0% loss"), "{ended:?}");
    // The next one would leave after the deadline.
    for pace in [
        &["ping", "-i", "300ms"][..],
        &["bench", "-r", "3", "--warmup=0"],
    ] {
        let ended = run(&[pace, &["-c", "100", "-w", "1s", &echo.tcp]].concat());
        ended.failed(1, &["stopped by --deadline 1s"]);
        assert!(ended.text().contains("0% loss"), "{ended:?}");
    }
    let ended = run(&["bench", &echo.tcp, "-d", "1h", "-w", "2s"]);
    ended.failed(1, &["stopped by --deadline 2s"]);
}

#[test]
fn even_an_output_that_nobody_reads_does_not_outlast_the_deadline() {
    let echo = echo();
    let file = Scratch::new("deadline");
    let mut client = stuck(&echo, &file, "2s");
    assert_eq!(code(&mut client), Some(1));
}

#[test]
fn one_interrupt_is_enough_for_a_client_that_is_stuck() {
    let echo = echo();
    let file = Scratch::new("interrupted");
    let mut client = stuck(&echo, &file, "1h");
    client.interrupt();
    assert_eq!(code(&mut client), Some(1));
}

#[test]
fn a_baseline_that_nobody_writes_is_waited_for_no_longer_than_the_deadline() {
    let scratch = Scratch::new("baseline");
    let pipe = scratch.path("pipe").display().to_string();
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let ended = run(&["bench", "127.0.0.1:1", "-w", "1s", "--baseline", &pipe]);
    ended.failed(1, &[&pipe, "stopped by --deadline 1s"]);
}

/// A client that has begun to write to a standard output which stays open, and full.
fn stuck(echo: &Echo, file: &Scratch, deadline: &str) -> Running {
    let path = file.file("noise", &noise(4_000_000));
    let mut client = start(&[
        &echo.tcp, "--file", &path, "--raw", "-W", "1h", "-w", deadline,
    ]);
    let stdout = client.child.stdout.as_mut().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    client
}

fn code(client: &mut Running) -> Option<i32> {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < DEADLINE);
        match client.child.try_wait().unwrap() {
            Some(status) => return status.code(),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
