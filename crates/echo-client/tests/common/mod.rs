//! Servers that behave and servers that do not, and the client as a user runs it.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod bench;
pub mod lab;
pub mod network;
#[path = "../../../../xtask/src/process.rs"]
mod process;
pub mod reflector;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use echo_core::Endpoint;
use echo_server::fault::Seed;
use echo_server::{Config, Handle, Server};
use process::Process;

/// No step takes longer, however busy the machine is.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The client, untouched by this machine's environment.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-client"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

/// Waits until something is so.
pub fn eventually(mut is_so: impl FnMut() -> bool) {
    let look = || Ok(is_so().then_some(()));
    process::until(DEADLINE, look, || "it is not so".to_owned()).unwrap();
}

/// Runs the client to its end.
pub fn run(args: &[&str]) -> Ended {
    run_with(args, b"")
}

/// Runs the client to its end, with `input` as its standard input.
pub fn run_with(args: &[&str], input: &[u8]) -> Ended {
    let mut client = start(args);
    let mut stdin = client.child.stdin.take().expect("piped");
    thread::scope(|scope| {
        // One that ends, or is killed because it hangs, need not have read it all.
        scope.spawn(move || stdin.write_all(input));
        Ended {
            args: args.join(" "),
            ..client.end()
        }
    })
}

/// How a run of the client ended.
pub struct Ended {
    pub args: String,
    /// `None`: a signal killed it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let Ended {
            args, code, stderr, ..
        } = self;
        write!(
            f,
            "{args:?} ended with {code:?}\nstdout: {stdout}\nstderr: {stderr}"
        )
    }
}

impl Ended {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output is text")
    }

    /// It went well and said just this.
    #[track_caller]
    pub fn said(&self, stdout: &str) {
        assert_eq!(
            (self.code, self.text(), self.stderr.as_str()),
            (Some(0), stdout, ""),
            "{}",
            self.args
        );
    }

    /// It failed with `code`, in one line that names `words`, and nothing panicked.
    #[track_caller]
    pub fn failed(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:?}");
        }
        self
    }
}

/// The real server, on ports of the system's choice.
pub struct Echo {
    pub tcp: String,
    pub udp: String,
    pub handle: Handle,
}

/// Starts the real server as `config` says, on 127.0.0.1.
pub fn echo_with(config: Config) -> Echo {
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().expect("an endpoint")],
        ..config
    };
    let handle = Server::bind(config)
        .and_then(Server::spawn)
        .expect("the server starts");
    let port = handle.addresses()[0].socket().expect("an address").port();
    Echo {
        tcp: format!("127.0.0.1:{port}"),
        udp: format!("udp://127.0.0.1:{port}"),
        handle,
    }
}

/// Starts the real server with faults as its `--fault` takes them, and chance that can be repeated.
pub fn faulty(faults: &[&str]) -> Echo {
    let fault = |spec: &&str| spec.parse().unwrap_or_else(|error| panic!("{error}"));
    echo_with(Config {
        fault: faults.iter().map(fault).collect(),
        seed: Seed::Given(7),
        ..Config::default()
    })
}

/// Starts the real server with its defaults.
pub fn echo() -> Echo {
    echo_with(Config::default())
}

/// Starts the real server on one endpoint.
pub fn echo_on(endpoint: &str) -> Handle {
    let listen: Endpoint = endpoint.parse().expect("an endpoint");
    let config = Config {
        listen: vec![listen.into()],
        ..Config::default()
    };
    Server::bind(config)
        .and_then(Server::spawn)
        .expect("the server starts")
}

/// Whether this machine reaches itself over IPv6.
pub fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped: this machine has no IPv6");
    }
    has
}

/// Starts a TCP server that treats every connection as `serve` does; it gets their numbers, from
/// 0 on. It lives as long as the test process.
pub fn tcp(mut serve: impl FnMut(usize, TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            // A test that fails must not leave a thread that waits for ever.
            let _ = stream.set_read_timeout(Some(DEADLINE));
            serve(number, stream);
        }
    });
    address.to_string()
}

/// Starts a UDP server that answers each datagram as `answer` does; it gets their numbers, from
/// 0 on.
pub fn udp(mut answer: impl FnMut(usize, &[u8], &dyn Fn(&[u8])) + Send + 'static) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        for number in 0.. {
            let Ok((len, peer)) = socket.recv_from(&mut buffer) else {
                return;
            };
            answer(number, &buffer[..len], &|reply| {
                let _ = socket.send_to(reply, peer);
            });
        }
    });
    format!("udp://{address}")
}

/// Sends back all that comes, with `change` made to each piece.
pub fn echo_changed(mut stream: &TcpStream, mut change: impl FnMut(&mut Vec<u8>)) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        let mut piece = buffer[..len].to_vec();
        change(&mut piece);
        if stream.write_all(&piece).is_err() {
            return;
        }
    }
}

/// Reads exactly `len` bytes, or panics.
pub fn read(mut stream: &TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("the client sends");
    bytes
}

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) {
    let socket = socket2::Socket::from(stream);
    let _ = socket.set_linger(Some(Duration::ZERO));
}

/// A port on which nothing listens: it was free a moment ago.
pub fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// A client under way; it is killed if the test ends first.
pub struct Running(Process);

impl From<Child> for Running {
    fn from(child: Child) -> Self {
        Running(Process::of("the client".to_owned(), child))
    }
}

impl Deref for Running {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

/// Starts the client with all three streams piped.
pub fn start(args: &[&str]) -> Running {
    Running(Process::unread(&mut command(args)).expect("the client starts"))
}

impl Running {
    /// Sends it SIGINT, as ^C does.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// Waits until it listens for signals, which would end it before.
    pub fn listens(&self) {
        let status = format!("/proc/{}/status", self.child.id());
        let listens = |text: &str| {
            let held = text.lines().find_map(|line| line.strip_prefix("SigBlk:"));
            let held = held.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
            held.is_some_and(|set| set >> 9 & 1 == 1 && set >> 2 & 1 == 1)
        };
        eventually(|| listens(&std::fs::read_to_string(&status).expect("it runs")));
    }

    /// Sends it a signal, by its name.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("sh runs").success());
    }

    /// Reads one line of its standard output.
    pub fn line(&mut self) -> String {
        let stdout = self.child.stdout.as_mut().expect("piped");
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") && stdout.read(&mut byte).expect("readable") == 1 {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    /// Ends its standard input, and waits for its end. Returns its code, and what it said since.
    pub fn end(mut self) -> Ended {
        self.close_stdin();
        self.end_by_itself()
    }

    /// Waits for its end, and leaves its standard input open.
    pub fn end_by_itself(self) -> Ended {
        let finished = self.0.wait(DEADLINE);
        let finished = finished.unwrap_or_else(|error| panic!("{error:#}"));
        Ended {
            args: String::new(),
            code: finished.status.code(),
            stdout: finished.stdout,
            stderr: finished.stderr,
        }
    }
}

/// Bytes without a pattern that an error could hide in.
pub fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    echo_client::wire::echo::fill(1, 1, 0, &mut bytes);
    bytes
}

/// A directory of its own for one test, removed at the end.
pub struct Scratch(process::Scratch);

impl Scratch {
    pub fn new(name: &str) -> Self {
        Scratch(process::Scratch::new(name).expect("a directory"))
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path(name)
    }

    /// The path of a file in it, with `bytes` in it.
    pub fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("written");
        path.display().to_string()
    }
}
