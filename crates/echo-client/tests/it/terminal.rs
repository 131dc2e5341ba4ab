//! The client as somebody at a terminal uses it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use crate::common::{DEADLINE, Running, Scratch, command, echo, run_with, udp};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A client on a terminal, and what has been on its screen.
struct Terminal {
    keyboard: File,
    typed: Receiver<Vec<u8>>,
    screen: String,
    client: Running,
}

impl Terminal {
    fn start(args: &[&str]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keyboard).expect("a terminal of ours");
        unlockpt(&keyboard).expect("an open terminal");
        let name = ptsname(&keyboard, Vec::new()).expect("its name");
        let name = name.to_str().expect("text");
        let open = || File::options().read(true).write(true).open(name);
        let stream = || Stdio::from(open().expect("the other end"));
        let mut command = command(args);
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let client = Running::from(command.spawn().expect("the client starts"));
        let keyboard = File::from(keyboard);
        let mut screen = keyboard.try_clone().expect("a second descriptor");
        let (shown, typed) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // With the last who has the terminal open, reading fails.
            while let Ok(len @ 1..) = screen.read(&mut buffer) {
                if shown.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal {
            keyboard,
            typed,
            screen: String::new(),
            client,
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("typed");
    }

    /// Waits until the screen shows `words` after all that has been waited for; takes it off.
    #[track_caller]
    fn shows(&mut self, words: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.screen.find(words) {
                self.screen.drain(..at + words.len());
                return;
            }
            let left = DEADLINE.saturating_sub(start.elapsed());
            let Ok(bytes) = self.typed.recv_timeout(left) else {
                panic!("{words:?} is not on the screen: {}", self.screen);
            };
            self.screen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    #[track_caller]
    fn ends_with(self, code: i32) {
        assert_eq!(self.client.end().code, Some(code), "{}", self.screen);
    }
}

#[test]
fn each_line_that_is_typed_is_echoed_at_once_and_ctrl_d_ends() {
    let echo = echo();
    for (args, target) in [
        (&["-i"][..], &echo.tcp),
        (&["-m", "-"], &echo.tcp),
        (&["-i", "--framing=length"], &echo.tcp),
        (&["-i"], &echo.udp),
    ] {
        let port = target.rsplit(':').next().unwrap();
        let mut terminal = Terminal::start(&[args, &[target]].concat());
        terminal.shows("connected ");
        terminal.shows(&format!(
            " <-> 127.0.0.1:{port}; type a line, Ctrl-D ends\r\n"
        ));
        for line in ["hola", "¿qué tal?"] {
            terminal.types(&format!("{line}\n"));
            let count = line.len() + 1;
            terminal.shows(&format!(
                "Received: \"{line}\\n\" ({count} bytes identical)\r\n"
            ));
        }
        terminal.types("\x04");
        terminal.ends_with(0);
    }
}

#[test]
fn ctrl_d_ends_behind_an_unfinished_line_too() {
    let echo = echo();
    for target in [&echo.tcp, &echo.udp] {
        let mut terminal = Terminal::start(&["-i", target]);
        terminal.shows("Ctrl-D ends");
        // The first hands over what has been typed, as to any program; the second is the end.
        terminal.types("abc\x04");
        terminal.types("\x04");
        terminal.shows("Received: \"abc\" (3 bytes identical)");
        terminal.ends_with(0);
    }
}

#[test]
fn typing_can_be_interrupted() {
    let echo = echo();
    for target in [&echo.tcp, &echo.udp] {
        let mut terminal = Terminal::start(&["-i", target]);
        terminal.shows("Ctrl-D ends");
        terminal.client.interrupt();
        terminal.ends_with(0);
    }
}

#[test]
fn what_is_piped_in_is_sent_a_line_a_datagram_where_lines_are_asked_for() {
    let echo = echo();
    run_with(&[&echo.tcp], b"hola\n").said("Received: \"hola\\n\" (5 bytes identical)\n");
    run_with(&[&echo.tcp], b"")
        .said("Received: \"Hello world! This is an echo server made with Rust.\"\n");
    run_with(&["-m", "this", &echo.tcp], b"not that").said("Received: \"this\"\n");
    let scratch = Scratch::new("piped");
    let path = scratch.file("lines", b"hola\nadios\n");
    // A file, but not what a loop over its lines is yet to read.
    for (begun, said) in [
        (0, "\"hola\\nadios\\n\" (11 bytes identical)"),
        (5, "\"Hello world!"),
    ] {
        let mut file = File::open(&path).unwrap();
        file.seek(SeekFrom::Start(begun)).unwrap();
        let client = command(&[&echo.tcp]).stdin(file).output().unwrap();
        let received = String::from_utf8(client.stdout).unwrap();
        assert!(
            received.starts_with(&format!("Received: {said}")),
            "{received}"
        );
    }
    let lines = "Received: \"a\\n\" (2 bytes identical)\nReceived: \"b\" (1 byte identical)\n";
    run_with(&["-i", &echo.udp], b"a\nb").said(lines);
}

#[test]
fn with_step_no_call_is_made_before_enter() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let target = server.local_addr().unwrap().to_string();
    let mut terminal =
        Terminal::start(&["--step", "-W", "1ms", "--lang=es", "-m", "hola", &target]);
    terminal.shows("[Intro: la siguiente llamada] ");
    terminal.types("\n");
    terminal.shows("s = socket.socket(");
    terminal.shows("[Intro: la siguiente llamada] ");
    assert!(server.accept().is_err(), "nobody has connected");
    terminal.types("\n");
    terminal.shows("ESTABLISHED");
    let (stream, _) = server.accept().unwrap();
    terminal.shows("] ");
    terminal.types("\n");
    terminal.shows("s.sendall(b\"hola\")");
    stream.set_nonblocking(false).unwrap();
    thread::spawn(move || crate::common::echo_changed(&stream, |_| {}));
    for call in ["s.recv(", "s.shutdown(", "s.recv("] {
        terminal.shows("] ");
        terminal.types("\n");
        terminal.shows(call);
    }
    terminal.shows("Recibido: \"hola\"");
    terminal.shows("] ");
    terminal.types("\n");
    terminal.shows("s.close()");
    terminal.shows("TIME_WAIT");
    terminal.ends_with(0);
}

#[test]
fn a_step_can_be_interrupted_and_lines_of_a_pipe_are_steps_too() {
    let echo = echo();
    let mut terminal = Terminal::start(&["--step", &echo.tcp]);
    terminal.shows("] ");
    terminal.client.interrupt();
    terminal.ends_with(1);
    for (args, lines) in [
        (&["--step", &echo.tcp][..], "\n\n"),
        (&["--step", &echo.udp], ""),
    ] {
        let ended = run_with(args, lines.as_bytes());
        let told = ended.stderr.contains("s.close()") || ended.stderr.contains("u.close()");
        assert!(ended.code == Some(0) && told, "{ended:?}");
    }
    run_with(&["--step", "-m", "-", &echo.tcp], b"").failed(2, &["--step reads Enter"]);
}

#[test]
fn people_are_told_in_their_language_and_programs_in_one() {
    let echo = echo();
    let said = |args: &[&str]| {
        let output = command(args).env("LANG", "es_ES.UTF-8").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    let closed = crate::common::closed_port().to_string();
    let told = said(&[&closed]);
    assert_eq!(
        told,
        format!(
            "echo-client: no se puede conectar con tcp {closed}: conexión rechazada; arranca allí \
             echo-server, o espera a que haya uno con --wait 10s\n"
        )
    );
    let told = said(&["-m", "interrupted", &echo.tcp]);
    assert_eq!(
        told, "Recibido: \"interrupted\"\n",
        "the echo is no sentence of ours"
    );
    let told = said(&["ping", "-c", "20", "-i", "1ms", &echo.tcp]);
    for words in [
        " bytes de 127.0.0.1:",
        "tiempo=",
        "20 recibidos, 0% de pérdida",
        "█",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let silent = udp(|_, _, _| ());
    let scratch = Scratch::new("es");
    let file = scratch.file("plain", b"");
    for (args, words) in [
        (
            &["ping", "-c", "1", "-W", "50ms", &silent][..],
            ": seq=1 sin respuesta en 50ms",
        ),
        (
            &["ping", "-c", "1", "-W", "50ms", &silent],
            "¿hay allí un servidor de eco,",
        ),
        (
            &["--interface", "nope", &echo.tcp],
            "--interface nope: no existe tal dispositivo; nombra",
        ),
        (&[&format!("unix:{file}")], ": no es un socket; da la ruta"),
        (
            &["--stamp-key", &file, &echo.tcp],
            "--stamp-key solo firma paquetes de STAMP;",
        ),
        (
            &["bench", &echo.tcp, "--pid", "999999999"],
            "ningún proceso de esta máquina",
        ),
        (
            &["bench", &echo.tcp, "--start-at", "1"],
            "ya pasó; da a cada máquina tiempo",
        ),
        (
            &["diagnose", "unix:e"],
            "un socket Unix no tiene camino que diagnosticar",
        ),
        (
            &[
                "bench",
                &silent,
                "-d",
                "1ms",
                "--warmup=0",
                "-W",
                "9ms",
                "--report",
                "/no/x",
            ],
            "crea el directorio /no",
        ),
    ] {
        let told = said(args);
        assert!(told.contains(words), "{told}");
    }
    assert!(said(&["--json", &closed]).contains("connection refused;"));
    assert!(said(&["--lang=en", &closed]).contains("connection refused;"));
}
