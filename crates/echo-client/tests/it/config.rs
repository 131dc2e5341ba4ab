//! Where settings come from, and what is told of those that are wrong.

use crate::common::*;

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let scratch = Scratch::new("layers");
    let file = scratch.file(
        "c.toml",
        b"[connect]\ntarget = \"file:1\"\ntimeout = \"1s\"\nwait = 4\n[send]\nmessage = \"hi\"\n",
    );
    let output = command(&["--config", &file, "-W", "3s", "--print-config"])
        .env("ECHO_TIMEOUT", "2s")
        .env("ECHO_TARGET", "environment:2")
        .env("ECHO_UDP", "yes")
        .env("ECHO_RAW", "")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once("  # "))
        .map(|(value, source)| (value.trim_end(), source))
        .collect();
    let from_file = format!("file {file}");
    for line in [
        ("target = \"environment:2\"", "environment ECHO_TARGET"),
        ("timeout = \"3s\"", "flag --timeout"),
        ("udp = true", "environment ECHO_UDP"),
        ("wait = \"4s\"", &from_file),
        ("message = \"hi\"", &from_file),
        ("raw = false", "default"),
        ("framing = \"raw\"", "default"),
    ] {
        assert!(shown.contains(&line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn what_is_printed_is_a_configuration_that_means_the_same() {
    let scratch = Scratch::new("print");
    for mode in [&[][..], &["ping"], &["bench"]] {
        let typed = ["--print-config", "-6", "-B", "::1", "--max-frame", "64k"];
        let first = run(&[mode, &typed].concat());
        let file = scratch.file("printed.toml", &first.stdout);
        let second = run(&[mode, &["--print-config", "--config", &file]].concat());
        let values = |text: &str| -> Vec<String> {
            let value = |line: &str| line.split("  # ").next().unwrap().trim_end().to_owned();
            text.lines().map(value).collect()
        };
        assert_eq!(values(first.text()), values(second.text()), "{mode:?}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let scratch = Scratch::new("unknown");
    for (text, key, line) in [
        (
            "[connect]\ntarget = \"a:1\"\ntimeot = \"1s\"\n",
            "timeot",
            "line 3",
        ),
        ("[conect]\n", "conect", "line 1"),
        ("[ping]\nspeed = 1\n", "speed", "line 2"),
        ("[connect]\ntimeout = \"soon\"\n", "soon", "line 2"),
        ("[connect]\nudp = \n", "udp", "line 2"),
    ] {
        let file = scratch.file("c.toml", text.as_bytes());
        run(&["--config", &file]).failed(2, &[&file, key, line]);
        let output = command(&[]).env("ECHO_CONFIG", &file).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
    }
}

#[test]
fn a_variable_with_a_bad_value_is_named() {
    for (args, name, value, word) in [
        (&[][..], "ECHO_TIMEOUT", "soon", "200ms"),
        (&[], "ECHO_TARGET", "nowhere", "the port is missing"),
        (&[], "ECHO_UDP", "perhaps", "perhaps"),
        (&["ping"], "ECHO_COUNT", "many", "many"),
    ] {
        let output = command(args).env(name, value).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.contains(name) && stderr.contains(word), "{stderr}");
    }
}

#[test]
fn a_message_on_the_command_line_replaces_a_file_of_the_configuration() {
    let (echo, scratch) = (echo(), Scratch::new("replace"));
    let content = scratch.file("content", b"from a file");
    let config = scratch.file("c.toml", format!("[send]\nfile = {content:?}\n").as_bytes());
    run(&[&echo.tcp, "--config", &config]).said("Received: \"from a file\" (11 bytes identical)\n");
    run(&[&echo.tcp, "--config", &config, "-m", "typed"]).said("Received: \"typed\"\n");
}

#[test]
fn the_version_is_a_line_or_all_that_is_known_of_the_build() {
    let version = format!("echo-client {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["-V"]).text(), version);
    let long = run(&["--version"]);
    assert!(long.text().starts_with(&version), "{long:?}");
    for key in ["commit: ", "target: ", "features: "] {
        let value = long.text().lines().find_map(|line| line.strip_prefix(key));
        assert!(
            value.is_some_and(|value| !value.is_empty()),
            "{key} {long:?}"
        );
    }
}

#[test]
fn completions_of_every_mode_are_printed_for_a_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let printed = run(&["completions", shell]);
        for word in ["fail-if", "baseline", "completions"] {
            assert!(printed.text().contains(word), "{shell}: {word}");
        }
    }
    run(&["completions", "csh"]).failed(2, &["csh", "bash", "zsh", "fish"]);
}

#[test]
fn bash_completes_what_is_typed_of_every_mode() {
    let scratch = Scratch::new("completions");
    let script = scratch.file("bash", run(&["completions", "bash"]).text().as_bytes());
    for (typed, options) in [
        ("--interac", "--interactive"),
        ("pin", "ping"),
        ("ping --sta", "--stamp --stamp-key"),
        ("bench --fi", "--find"),
        ("mesh --targ", "--targets"),
    ] {
        let last = typed.split(' ').next_back().unwrap();
        let complete = format!(
            ". {script}; COMP_WORDS=(echo-client {typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _echo__client echo-client {last} ''; echo ${{COMPREPLY[@]}}"
        );
        let mut bash = std::process::Command::new("bash");
        let output = bash.args(["-c", &complete]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(told.trim(), options, "{typed}: {output:?}");
    }
}
