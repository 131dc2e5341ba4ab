//! Files, pipes and disks that fail: what is read and what is written.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::common::*;

#[test]
fn a_file_that_cannot_be_read_is_a_usage_error() {
    let scratch = Scratch::new("file");
    let missing = scratch.path("missing").display().to_string();
    run(&["--file", &missing]).failed(2, &[&missing, "no such file"]);
    let directory = scratch.path("").display().to_string();
    run(&["--file", &directory]).failed(2, &[&directory, "directory"]);
    run(&["--config", &missing]).failed(2, &[&missing, "configuration file"]);
}

#[test]
fn a_full_disk_is_an_error() {
    let echo = echo();
    let (tcp, udp) = (echo.tcp.as_str(), echo.udp.as_str());
    for args in [
        &[tcp][..],
        &[tcp, "--raw"],
        &[udp],
        &["--print-config"],
        &["--help"],
        &["--version"],
        &["ping", "--help"],
        &["ping", tcp, "-c", "1"],
        &["ping", tcp, "-c", "1", "--json"],
        &["ping", tcp, "-c", "1", "--jsonl"],
        &["bench", tcp, "-c", "10", "--warmup", "0"],
        &["bench", tcp, "-c", "10", "--warmup", "0", "--json"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(args).stdout(full).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(
            stderr.contains("standard output: no space left"),
            "{args:?}: {stderr}"
        );
    }
}

#[test]
fn a_page_is_not_written_to_where_standard_error_goes() {
    let (echo, scratch) = (echo(), Scratch::new("noted"));
    let path = scratch.file("page", b"");
    let mut client = command(&["ping", &echo.tcp, "-c", "1", "--report", &path]);
    let noted = OpenOptions::new().append(true).open(&path).unwrap();
    let output = client.stderr(noted).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = std::fs::read_to_string(&path).unwrap();
    assert!(
        told.contains("standard error and --report are both"),
        "{told}"
    );
}

#[test]
fn a_page_does_not_replace_the_result_whose_file_has_another_name_by_now() {
    let (echo, scratch) = (echo(), Scratch::new("renamed"));
    let first = scratch.file("first", b"");
    let second = scratch.path("second").display().to_string();
    std::fs::hard_link(&first, &second).unwrap();
    let result = OpenOptions::new().append(true).open(&first).unwrap();
    std::fs::remove_file(&first).unwrap();
    let mut client = command(&["ping", &echo.tcp, "-c", "1", "--report", &second]);
    let output = client.stdout(result).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("standard output and --report are both"),
        "{told}"
    );
}

#[test]
fn rows_go_to_standard_error_where_that_is_a_pipe_or_a_device() {
    let echo = echo();
    let rows = ["bench", echo.tcp.as_str(), "--csv", "/dev/stderr"];
    let args = [&rows[..], LOAD].concat();
    let piped = run(&args);
    assert_eq!(piped.code, Some(0), "{}", piped.stderr);
    assert!(piped.stderr.starts_with("target,"), "{}", piped.stderr);
    let nowhere = command(&args).stderr(Stdio::null()).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(0));
}

#[test]
fn a_device_is_no_document() {
    for args in [
        &["compare", "/dev/zero", "/dev/zero"][..],
        &["merge", "/dev/zero"],
        &["bench", "127.0.0.1:1", "--baseline", "/dev/zero"],
    ] {
        run(args).failed(2, &["cannot read /dev/zero: it is a device"]);
    }
}

/// A short run.
const LOAD: &[&str] = &["-c", "100", "--warmup", "0"];

/// One, as `sh` starts it: a limit of the shell's, in blocks of 512 bytes, is its own.
fn limited(limit: &str, args: &[&str]) -> Ended {
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    let shell = ["-c", &script, env!("CARGO_BIN_EXE_echo-client"), "bench"];
    let output = std::process::Command::new("sh")
        .env_clear()
        .args([&shell[..], args, LOAD].concat())
        .output()
        .expect("sh runs");
    Ended {
        args: args.join(" "),
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

#[test]
fn a_file_that_cannot_be_written_is_known_before_the_run() {
    let (echo, scratch) = (echo(), Scratch::new("unwritable"));
    let directory = scratch.path("").display().to_string();
    for (path, words) in [
        ("/nonexistent/file", "make the directory /nonexistent,"),
        (directory.as_str(), "name a file in it"),
        ("", "give it a name"),
        (&format!("{directory}/{}", "n".repeat(256)), "too long"),
    ] {
        for flag in ["--report", "--hdr"] {
            let ended = limited(":", &[&echo.tcp, flag, path]);
            ended.failed(1, &[&format!("cannot write {path}"), words]);
            assert_eq!(ended.text(), "");
        }
    }
}

#[test]
fn a_file_that_fails_does_not_take_the_result_or_what_was_there_along() {
    let (echo, scratch) = (echo(), Scratch::new("full"));
    let (page, log) = (
        scratch.file("page", b"a good one"),
        scratch.file("log", b""),
    );
    let there = |path: &str| std::fs::read(path).unwrap().starts_with(b"a good one");
    for (limit, report, hdr, words) in [
        (
            ":",
            "/dev/full",
            log.as_str(),
            "cannot write /dev/full: no space left",
        ),
        (
            ":",
            &page,
            "/dev/full",
            "cannot write /dev/full: no space left",
        ),
        (
            "ulimit -f 4",
            &page,
            &log,
            "file too large; raise the limit (ulimit -f)",
        ),
    ] {
        std::fs::write(&page, "a good one").unwrap();
        let files = [&echo.tcp, "--report", report, "--hdr", hdr];
        let text = limited(limit, &files);
        text.failed(1, &[words]);
        assert!(text.text().contains("100 sent, 100 received"), "{text:?}");
        assert!(text.text().contains("FAILED: cannot write"), "{text:?}");
        let json = limited(limit, &[&files[..], &["--json"]].concat());
        let document: serde_json::Value = serde_json::from_str(json.text()).unwrap();
        assert_eq!(document["error"]["kind"], "file", "{json:?}");
        assert_eq!(there(&page), limit != ":" || report != page, "{files:?}");
    }
    assert_eq!(
        std::fs::read_dir(scratch.path("")).unwrap().count(),
        2,
        "no draft is left"
    );
}

#[test]
fn a_file_may_have_the_longest_name_that_the_system_takes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let (echo, scratch) = (echo(), Scratch::new("long"));
    for name in [&[b'n'; 255], &[0xff; 255]] {
        let path = scratch.path(OsStr::from_bytes(name));
        let mut client = command(&["ping", &echo.tcp, "-c", "1"]);
        let output = client.arg("--report").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(std::fs::read(&path).unwrap().starts_with(b"<!doctype"));
    }
}

#[test]
fn one_file_for_two_outputs_is_a_usage_error() {
    let (echo, scratch) = (echo(), Scratch::new("twice"));
    let file = scratch.file("file", b"a good one");
    let beside = |name: &str| scratch.path(name).display().to_string();
    let (link, hard, dangling) = (beside("link"), beside("hard"), beside("dangling"));
    std::os::unix::fs::symlink("file", &link).unwrap();
    std::fs::hard_link(&file, &hard).unwrap();
    std::os::unix::fs::symlink("new", &dangling).unwrap();
    for (page, log) in [
        (&file, &file),
        (&file, &beside("./file")),
        (&link, &file),
        (&file, &hard),
        (&beside("other"), &beside("././other")),
        (&dangling, &beside("new")),
    ] {
        let ended = limited(":", &[&echo.tcp, "--report", page, "--hdr", log]);
        ended.failed(2, &["--report and --hdr", page]);
    }
    let stdout = format!("exec > {file}");
    let ended = limited(&stdout, &[&echo.tcp, "--report", &link]);
    ended.failed(2, &["standard output", &link]);
    std::fs::write(&file, "a good one").unwrap();
    let ended = limited(":", &[&echo.tcp, "--report", &link, "--hdr", &dangling]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        std::fs::read(&file)
            .unwrap()
            .starts_with(b"<!doctype html>")
    );
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::read(beside("new")).unwrap().starts_with(b"#"));
}

#[test]
fn a_closed_pipe_is_silent() {
    let echo = echo();
    let (tcp, udp) = (echo.tcp.as_str(), echo.udp.as_str());
    for args in [
        &[tcp][..],
        &[tcp, "--raw"],
        &["ping", tcp, "-i", "10ms"],
        &["ping", udp, "-i", "10ms", "--jsonl"],
    ] {
        let mut client = start(args);
        drop(client.child.stdout.take());
        let ended = client.end();
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[test]
fn a_closed_standard_input_is_an_empty_one() {
    let echo = echo();
    let output = command(&[&echo.tcp, "-m", "-"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"Received: \"\" (0 bytes identical)\n");
}
