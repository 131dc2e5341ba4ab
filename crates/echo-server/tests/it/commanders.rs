//! Whoever gives a server commands, and what they are told.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::{LIMIT, Server, TempPath, connect, echo, eventually, fails, program};
use crate::control::Controlled;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

#[test]
fn no_client_of_the_control_socket_holds_up_another_or_the_server() {
    let far_end = Controlled::start(&[]);
    let mut never_reads = far_end.client();
    never_reads.set_nonblocking(true).unwrap();
    while never_reads.write(&b"connections\n".repeat(100)).is_ok() {}
    let mut breaks_off = far_end.client();
    breaks_off.write_all(b"fault ad").unwrap();
    drop(breaks_off);
    let mut garbage = far_end.client();
    garbage.write_all(&[0xff, 0, b'\r', 0x1b, b'\n']).unwrap();
    let mut answer = String::new();
    BufReader::new(&garbage).read_line(&mut answer).unwrap();
    assert!(
        answer.starts_with("{\"error\":\"no such command"),
        "{answer}"
    );
    let mut endless = far_end.client();
    // It may be ended before all is written.
    let _ = endless.write_all(&vec![b'x'; 1 << 20]);
    let mut told = Vec::new();
    let _ = endless.read_to_end(&mut told);
    assert!(told.is_empty() || told.starts_with(b"{\"error\":\"the line is too long"));
    let mut ten: Vec<_> = (0..10).map(|_| far_end.client()).collect();
    for client in &mut ten {
        client.write_all(b"stats\nfault list\n").unwrap();
    }
    for client in &mut ten {
        let answers: Vec<_> = BufReader::new(client)
            .lines()
            .take(2)
            .map(Result::unwrap)
            .collect();
        assert_eq!(answers[1], "{\"faults\":[],\"seed\":7}");
    }
    // More than there is room for: they are turned away, and room comes back.
    let many: Vec<_> = (0..100).map(|_| far_end.client()).collect();
    drop(many);
    eventually("a new client is answered", || {
        let mut client = far_end.client();
        let mut byte = [0];
        client.write_all(b"stats\n").is_ok() && matches!(client.read(&mut byte), Ok(1))
    });
    echo(connect(far_end.server.tcp()), b"hello");
    for wrong in [
        "",
        "fault add",
        "fault add drpo",
        "fault remove x",
        "fault remove 7",
        "close x",
    ] {
        assert!(far_end.ask(wrong)["error"].is_string(), "{wrong}");
    }
    far_end.server.stop();
}

#[test]
fn whoever_finds_all_places_of_the_control_socket_taken_is_told_so() {
    let far_end = Controlled::start(&[]);
    let taken: Vec<_> = (0..32).map(|_| far_end.client()).collect();
    let args = ["control", &far_end.path.endpoint(), "stats"];
    let mut command = assert_cmd::Command::from_std(program());
    let ended = command.args(args).timeout(LIMIT).assert().code(1);
    ended.stdout(predicates::str::contains("32 are connected at once"));
    drop(taken);
    eventually("there is room again", || {
        let mut command = program();
        command.args(args).output().unwrap().status.success()
    });
    far_end.server.stop();
}

#[test]
fn waiting_that_fails_for_a_while_ends_no_commands() {
    let far_end = Controlled::start(&[]);
    let (process, own) = (
        Pid::from_raw(far_end.server.id().cast_signed()),
        getrlimit(Resource::Nofile),
    );
    let allow = |current| prlimit(process, Resource::Nofile, Rlimit { current, ..own }).unwrap();
    let mut client = far_end.client();
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    // Nobody may wait for more descriptors at once than it may have; who waits already goes on.
    allow(Some(1));
    eventually("nobody answers", || {
        client.write_all(b"stats\n").unwrap();
        matches!(client.read(&mut [0; 4096]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    allow(own.current);
    client.set_read_timeout(Some(LIMIT)).unwrap();
    assert!(client.read(&mut [0; 4096]).unwrap() > 0, "it has ended");
    assert_eq!(far_end.ask("stats")["connections"], 0);
    allow(Some(1));
    far_end.server.stop();
}

#[test]
fn the_control_socket_is_its_owners_and_goes_with_the_server() {
    let far_end = Controlled::start(&[]);
    let mode = std::fs::metadata(&*far_end.path)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // As a script writes it, below the root.
    let control = format!("--control=unix:/{}", far_end.path.text());
    fails(
        program().args(["--listen=127.0.0.1:0", &control]),
        1,
        &["another server listens there"],
    );
    far_end.ask("fault list");
    let Controlled { path, server } = far_end;
    server.stop();
    let left = std::fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(left.count(), 0);
    for nobodys in ["--control=unix:@name", "--control=unix://name"] {
        fails(program().arg(nobodys), 2, &["--control", "give a file"]);
    }
    fails(
        program().args(["--control", path.text(), "--record", path.text()]),
        2,
        &["--control", "--record", "one file"],
    );
}

#[test]
fn a_shell_gives_commands_too() {
    let far_end = Controlled::start(&["--listen=api=tcp://127.0.0.1:0"]);
    let control = |command: &str| {
        let args = ["control", &far_end.path.endpoint(), command];
        let output = program().args(args).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, answer) = control("fault add drop=20%,on=api");
    assert_eq!(code, Some(0));
    assert_eq!(
        answer,
        "{\"added\":[{\"number\":1,\"spec\":\"drop,on=api,msg=20%\"}]}\n"
    );
    let (code, answer) = control("fault add drop=20%,on=ap");
    assert_eq!(code, Some(1));
    assert!(answer.contains("there is api"), "{answer}");
    let nobody = far_end.path.with_file_name("nobody");
    fails(
        program().args(["control", nobody.to_str().unwrap(), "stats"]),
        3,
        &["cannot connect to unix:", "no such file"],
    );
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let (silent, full) = (TempPath::new("silent"), TempPath::new("full"));
    let _silent = std::os::unix::net::UnixListener::bind(&*silent).unwrap();
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener
        .bind(&socket2::SockAddr::unix(&*full).unwrap())
        .unwrap();
    listener.listen(0).unwrap();
    // Whoever comes after it is not even taken in.
    let _waits = UnixStream::connect(&*full).unwrap();
    std::thread::scope(|scope| {
        for (path, what) in [(&silent, "be answered by"), (&full, "connect to")] {
            scope.spawn(move || {
                let mut ask = program();
                ask.args(["control", &path.endpoint(), "stats"]);
                let wanted = format!("cannot {what} unix:");
                crate::common::fails(&mut ask, 3, &[&wanted, "nothing for 5 s"]);
            });
        }
    });
}

#[test]
fn a_line_that_is_too_long_is_no_command_however_it_arrives() {
    let far_end = Controlled::start(&[]);
    let mut client = far_end.client();
    client
        .write_all(&[&b"stats"[..], &[b' '; 16 << 10], b"\n"].concat())
        .unwrap();
    let mut answer = String::new();
    BufReader::new(&client).read_line(&mut answer).unwrap();
    assert!(
        answer.starts_with("{\"error\":\"the line is too long"),
        "{answer}"
    );
}

#[test]
fn what_is_no_answer_of_a_server_is_told_so_and_never_printed() {
    let (control, echo) = (TempPath::new("c.sock"), TempPath::new("e.sock"));
    let control_at = format!("--control={}", control.endpoint());
    let server = Server::listening(&["--listen", &echo.endpoint(), &control_at]);
    // The path of a listener that echoes instead of that of `--control`.
    let ask = |path: &TempPath, command: &str| {
        let mut asked = program();
        asked.args(["control", &path.endpoint(), command]);
        asked
    };
    for command in ["stats", "{\"error\":5,\u{1b}[31m}", "fault add drop=20%"] {
        let told = ["something else listens there", "--control"];
        fails(&mut ask(&echo, command), 3, &told);
    }
    assert!(ask(&control, "stats").output().unwrap().status.success());
    server.stop();
}

#[test]
fn the_last_command_needs_no_end_of_line_and_may_add_several_faults() {
    let far_end = Controlled::start(&[]);
    let mut client = far_end.client();
    client.write_all(b"fault add drop=20%;delay=1s").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let added = [
        json!({ "number": 1, "spec": "drop,msg=20%" }),
        json!({ "number": 2, "spec": "delay=1s" }),
    ];
    assert_eq!(answer["added"], json!(added));
}
