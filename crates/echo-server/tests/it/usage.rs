//! What the command line, variables or a configuration file cannot ask for: exit code 2, and why.

use assert_cmd::assert::Assert;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::common::{LIMIT, Server, TempPath, fails, program, run};

#[test]
fn a_malformed_endpoint_is_a_usage_error() {
    for (text, remedy) in [
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:http", "0 to 65535"),
        ("127.0.0.1:65536", "0 to 65535"),
        ("::1:80", "write [::1]:80"),
        ("sctp://127.0.0.1:1", "write tcp://127.0.0.1:1"),
        ("unix:", "unix:PATH"),
        ("", "HOST:PORT"),
    ] {
        refused(&format!("--listen={text}")).stderr(contains("--listen").and(contains(remedy)));
    }
}

#[test]
fn a_spin_that_would_keep_a_core_busy_is_a_usage_error() {
    refused("--spin=5").stderr(contains("--spin 5s").and(contains("at most 10ms")));
}

/// What comes of one wrong argument: exit code 2, and nothing on standard output.
fn refused(argument: &str) -> Assert {
    let mut command = assert_cmd::Command::from_std(program());
    command
        .arg(argument)
        .timeout(LIMIT)
        .assert()
        .code(2)
        .stdout("")
}

#[test]
fn a_bad_value_is_a_usage_error_that_shows_a_good_one() {
    for (flag, value, remedy) in [
        ("--drain", "soon", "200ms"),
        ("--max-frame", "big", "64k"),
        ("--drain", "-1s", "negative"),
        ("--max-frame", "99999999999999999999999", "too many digits"),
        ("--workers", "0", "from 1 to 8192"),
        ("--workers", "", "from 1 to 8192"),
        ("--udp-rate", "4294967296", "from 0 to 4294967295"),
        (
            "--max-total",
            "18446744073709551615",
            "from 0 to 9223372036854775807",
        ),
        ("--once", "perhaps", "true or false"),
        ("--framing", "json", "raw, lines or length"),
        ("--log-level", "loud", "off, connections or traffic"),
        ("--max-connections", "-1", "from 0 to"),
    ] {
        refused(&format!("{flag}={value}")).stderr(contains(flag).and(contains(remedy)));
    }
}

#[test]
fn a_configuration_file_is_told_by_name_line_and_key() {
    let path = TempPath::new("echo.toml");
    let config = ["--config", path.text()];
    fails(
        program().args(config),
        2,
        &[
            "cannot read the configuration file",
            path.text(),
            "no such file",
        ],
    );
    for (text, told) in [
        (
            "once = true\nlisen = [\"x\"]\n",
            &["line 2", "lisen", "listen"][..],
        ),
        ("\n\ndrain = \"soon\"\n", &["line 3", "drain", "200ms"]),
        (
            "listen = [\"127.0.0.1\"]\n",
            &["line 1", "listen", "HOST:PORT"],
        ),
        ("workers = 0\n", &["line 1", "workers", "from 1 to 8192"]),
        ("listen = 1\n", &["line 1", "expected a text such as"]),
        ("once = 1\n", &["line 1", "expected true or false"]),
        (
            "[[listen]]\nendpoint = \":0\"\nfault = [\"drop\", \"dorp\"]\n",
            &["line 3", "write drop"],
        ),
        ("once = true\nfault = \"dorp\"\n", &["line 2", "write drop"]),
        ("log = \"xml\"\n", &["line 1", "unknown value", "`json`"]),
        ("framing = 1\n", &["line 1", "raw, lines or length"]),
        ("workers = \n", &["line 1"]),
    ] {
        std::fs::write(&*path, text).unwrap();
        let refused = refused(&format!("--config={}", path.text())).stderr(contains(path.text()));
        told.iter()
            .fold(refused, |refused, part| refused.stderr(contains(*part)));
    }
    std::fs::write(&*path, b"\xff\xfe").unwrap();
    fails(program().args(config), 2, &[path.text(), "UTF-8"]);
    fails(
        program().args(["--config", "/"]),
        2,
        &["cannot read", "no regular file"],
    );
    fails(
        program().args(["--config", "/dev/zero"]),
        2,
        &["/dev/zero", "no regular file"],
    );
    run(&format!("mkfifo {}.fifo", path.text()));
    fails(
        program().args(["--config", &format!("{}.fifo", path.text())]),
        2,
        &[".fifo", "no regular file"],
    );
    std::fs::write(&*path, vec![b'#'; (1 << 20) + 1]).unwrap();
    fails(
        program().args(config),
        2,
        &[path.text(), "larger than 1MiB"],
    );
    fails(
        program().env("ECHO_CONFIG", "/nowhere.toml"),
        2,
        &["/nowhere.toml"],
    );
}

#[test]
fn nothing_of_a_configuration_file_acts_on_a_terminal() {
    let path = TempPath::new("echo.toml");
    for text in [
        "listen = [\"\x1b]0;title\x07\"]\n",
        "x\x1b[2J = 1\n",
        "\"a\\u001b[2J\\nb\" = 1\n",
        "framing = \"\\u001b[2J\"\n",
        "listen = [\"\\u009b2J\\u202e\"]\n",
        "once = 1 # \x1b[2J\rforged\n",
    ] {
        std::fs::write(&*path, text).unwrap();
        let told = refused(&format!("--config={}", path.text()));
        let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!told.contains(acts), "{text:?}: {told:?}");
        assert!(told.contains("line 1"), "{told}");
    }
}

#[test]
fn a_bad_variable_is_told_by_name() {
    for (variable, value, remedy) in [
        ("ECHO_LISTEN", "127.0.0.1", "HOST:PORT"),
        ("ECHO_DRAIN", "soon", "200ms"),
        ("ECHO_WORKERS", "0", "from 1 to 8192"),
        ("ECHO_ONCE", "perhaps", "true"),
    ] {
        fails(program().env(variable, value), 2, &[variable, remedy]);
    }
    // What an orchestrator injects for a service called "echo" is not ours.
    let mut command = program();
    command.arg("--listen=127.0.0.1:0");
    command
        .env("ECHO_PORT", "tcp://10.0.0.1:7")
        .env("ECHO_SERVICE_HOST", "10.0.0.1");
    Server::run(&mut command).stop();
}

#[test]
fn words_among_json_lines_are_a_usage_error() {
    let both = ["--explain", "--log=json", "--listen=127.0.0.1:0"];
    fails(
        program().args(both),
        2,
        &["--explain", "--log json", "--explain=json"],
    );
    let json = ["--explain=json", "--log=json", "--listen=127.0.0.1:0"];
    Server::run(program().args(json)).stop();
}

#[test]
fn nothing_to_listen_on_is_a_usage_error() {
    let path = TempPath::new("echo.toml");
    std::fs::write(&*path, "listen = []\n").unwrap();
    fails(
        program().args(["--config", path.text()]),
        2,
        &["nothing to listen on", "--listen"],
    );
}

#[test]
fn what_no_listener_could_do_is_a_usage_error() {
    for (args, told) in [
        (
            "--listen=udp://127.0.0.1:0 --proxy-protocol",
            "--proxy-protocol is for connections",
        ),
        (
            "--listen=u=udp://[::1]:0 --listen=stamp://127.0.0.1:0 --proxy-protocol",
            "--proxy-protocol is for connections",
        ),
        (
            "--listen=udp://[::1]:0 --once",
            "--max-total (or --once) is for connections",
        ),
        (
            "--listen=stamp://127.0.0.1:0 --max-total=3",
            "--max-total (or --once) is for connections",
        ),
        (
            "--listen=udp://127.0.0.1:0 --framing=length",
            "--framing is for connections",
        ),
        (
            "--listen=u=udp://127.0.0.1:0 --listen=tcp://127.0.0.1:0 --framing=lines,on=u",
            "which have no frames",
        ),
        (
            "--listen=u=udp://127.0.0.1:0 --listen=tcp://127.0.0.1:0 --max-frame=9,on=u",
            "which have no frames",
        ),
        (
            "--listen=tcp://127.0.0.1:0 --fault=reorder",
            "reorder can happen on udp alone",
        ),
        (
            "--listen=u=udp://127.0.0.1:0 --listen=tcp://127.0.0.1:0 --fault=stall,on=u",
            "as u; leave it out",
        ),
        (
            "--listen=e=unix:e.sock --listen=tcp://127.0.0.1:0 --fault=refuse,on=e",
            "refuse,on=e can happen on tcp alone",
        ),
        (
            "--listen=tcp://127.0.0.1:0 --fault=drop,udp",
            "drop,udp can happen on udp alone",
        ),
    ] {
        fails(program().args(args.split(' ')), 2, &[told]);
    }
}

#[test]
fn an_address_that_is_nobodys_own_is_a_usage_error() {
    for (args, told) in [
        ("--listen=224.0.0.1:0", "cannot listen on 224.0.0.1:0"),
        ("--listen=udp://239.1.2.3:0", "multicast"),
        ("--listen=tcp://255.255.255.255:0", "broadcast"),
        ("--listen=udp://127.255.255.255:0", "broadcast"),
        ("--listen=[::ffff:224.0.0.1]:0", "multicast"),
        ("--listen=[ff02::1%lo]:0", "multicast"),
        ("--listen=stamp://224.0.0.1:0", "multicast"),
        (
            "--listen=127.0.0.1:0 --metrics=224.0.0.1:0",
            "cannot listen on 224.0.0.1:0",
        ),
    ] {
        let remedy = "give an address of this machine";
        fails(program().args(args.split(' ')), 2, &[told, remedy]);
    }
}

#[test]
fn a_limit_under_which_nothing_could_come_is_a_usage_error() {
    for (args, told) in [
        ("--max-memory=1023", "give 1KiB at least"),
        ("--max-frame=0", "lets no frame through"),
        ("--control=127.0.0.1:7", "--control 127.0.0.1:7"),
    ] {
        refused(args).stderr(contains(told));
    }
}

#[test]
fn what_is_nearly_right_is_answered_with_its_spelling() {
    for (args, told) in [
        ("localhost 7401", "one word: localhost:7401"),
        ("127.0.0.1 7401", "one word: 127.0.0.1:7401"),
        ("::1 7401", "one word: [::1]:7401"),
        ("fe80::1%eth0 7401", "one word: [fe80::1%eth0]:7401"),
        ("--listen localhost 7401", "one word: localhost:7401"),
        ("--port localhost 7401", "one word: localhost:7401"),
        ("--listen tcp:localhost:1", "write tcp://localhost:1"),
        ("--listen a+b=127.0.0.1:0", "write a name of letters"),
        ("tcp 7401", "one word: tcp://127.0.0.1:7401"),
        ("-p 7401", "echo-server 5346, or --listen"),
        ("-p7401", "echo-server 5346, or --listen"),
        ("-l 7401", "echo-server 5346, or --listen"),
        ("-u 7401", "udp://127.0.0.1:5346"),
        ("--udp", "udp://127.0.0.1:5346"),
        ("hlep", "subcommand exists: help"),
        ("faults", "subcommand exists: fault"),
        ("foult help", "subcommand exists: fault"),
        ("contrl unix:x stats", "subcommand exists: control"),
        ("fault list", "echo-server control unix:PATH 'fault list'"),
        (
            "fault add drop",
            "echo-server control unix:PATH 'fault list'",
        ),
        (
            "control unix://found.sock stats",
            "write unix:found.sock or unix:/found.sock",
        ),
        ("--latency 9ms", "--fault delay=200ms"),
        ("--proxy", "behind a load balancer: --proxy-protocol"),
        ("--json", "--log json"),
        ("--host a", "echo-server 5346, or --listen"),
        (
            "-v control unix:x stats",
            "the subcommand goes first: echo-server control",
        ),
    ] {
        let mut command = assert_cmd::Command::from_std(program());
        let told = contains(told);
        let ended = command.args(args.split(' ')).timeout(LIMIT).assert();
        ended.code(2).stderr(told);
    }
}

#[test]
fn a_flag_is_no_subcommand_with_a_slip() {
    for (args, told) in [
        ("--fault drp=20%", "write drop"),
        ("--fault help", "`echo-server fault help` tells"),
        ("--fault drop=20% --metrcis 1", "'--metrics'"),
        ("--control unix:/x --metrcis 1", "'--metrics'"),
        ("--record fault --metrcis 1", "'--metrics'"),
    ] {
        let mut command = assert_cmd::Command::from_std(program());
        let ended = command.args(args.split(' ')).timeout(LIMIT).assert();
        let ended = ended.code(2).stderr(contains(told));
        ended.stderr(contains("subcommand").not());
    }
}

#[test]
fn the_value_of_another_option_is_no_host() {
    for option in ["--framing", "--workers", "--log-level"] {
        let mut command = assert_cmd::Command::from_std(program());
        let refused = command.args([option, "x", "7401"]).timeout(LIMIT).assert();
        let told = String::from_utf8_lossy(&refused.code(2).get_output().stderr).into_owned();
        assert!(!told.contains("one word"), "{told}");
    }
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused_as_any_that_is_wrong() {
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    let mut command = assert_cmd::Command::from_std(program());
    let refused = command
        .args([bytes, "7401".as_ref()])
        .timeout(LIMIT)
        .assert();
    refused.code(2).stderr(contains("invalid value"));
}

#[test]
fn a_fault_of_the_file_is_pointed_at_as_one_of_the_command_line_is() {
    let path = TempPath::new("echo.toml");
    std::fs::write(&*path, "fault = [\"drop=5\"]\n").unwrap();
    let told = |args: [&str; 2]| {
        let output = program().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let pointed = told(["--config", path.text()]);
    assert!(pointed.contains("\n  drop=5\n        ^"), "{pointed}");
    let told = told(["-p", "0"]);
    assert!(!told.contains("as a value"), "nobody means that: {told}");
}

#[test]
fn a_time_that_the_system_does_not_count_is_told_by_its_option() {
    refused("--keepalive=10h").stderr(contains("--keepalive 10h").and(contains("at most 9h6m7s")));
    let long = [
        "--write-timeout=25d",
        "--idle-timeout=60d",
        "--drain=100d",
        "--keepalive=9h",
    ];
    let server = Server::start(&[&long[..], &["--exit-after=200d", "--spin=0"]].concat());
    crate::common::echo(crate::common::connect(server.tcp()), b"hello");
    server.stop();
}

#[test]
fn a_reflector_that_makes_no_sense_is_refused_with_a_remedy() {
    let file = TempPath::new("key");
    std::fs::write(&*file, "short").unwrap();
    for (args, told) in [
        (&["--listen=stamp://::1"][..], "in brackets"),
        (&["--listen=stamp://"], "stamp://HOST"),
        (&["--listen=stamp://unix:x"], "not a number"),
        (
            &["--listen=stamp:127.0.0.1:862"],
            "write stamp://127.0.0.1:862",
        ),
        (&["--listen=stamp://tcp://127.0.0.1:1"], "too many colons"),
        (&["--stamp-key=x"], "--listen stamp://127.0.0.1"),
        (&["--stamp-stateless"], "--listen stamp://127.0.0.1"),
        (
            &["--listen=stamp://127.0.0.1:0", "--stamp-key=/dev/zero"],
            "no regular file",
        ),
        (
            &[
                "--listen=stamp://127.0.0.1:0",
                "--stamp-key=/nonexistent/key",
            ],
            "no such file",
        ),
        (
            &["--listen=stamp://127.0.0.1:0", "--stamp-key", file.text()],
            "16 bytes or more",
        ),
        (&["--metrics=stamp://127.0.0.1:0"], "--metrics"),
    ] {
        let ended = Server::launch(program().args(args)).end();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(told), "{told}: {ended:?}");
    }
    let config = TempPath::new("config.toml");
    let framed = r#"listen = [{ endpoint = "stamp://127.0.0.1:0", framing = "lines" }]"#;
    std::fs::write(&*config, framed).unwrap();
    fails(
        program().args(["--config", config.text()]),
        2,
        &["have no frames"],
    );
    let printed = program()
        .args(["--listen=way=stamp://[::1]", "--print-config"])
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains(r#""way=stamp://[::1]:862""#), "{printed}");
}
