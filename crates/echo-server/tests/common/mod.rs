//! A server as a process of its own, and clients whose every wait has a deadline.

mod account;
mod network;
#[allow(dead_code, reason = "xtask uses the rest of it")]
#[path = "../../../../xtask/src/process.rs"]
mod process;
mod stream;

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{ChildStderr, Command};
use std::time::Duration;

use process::{Process, Scratch};
use rustix::process::Signal;

pub use account::{Account, descriptors, raise_open_files};
pub use network::{in_own_network, run};
pub use stream::{connect, echo, exchange, fill, fill_all, pattern, read_to_end, reset, talk};

/// The longest that any one wait may take: far more than any takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Waits for `condition`, and fails with `what` when it does not come true in time.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(LIMIT, what, condition);
}

/// Waits as long as `limit` for what takes much work.
pub fn within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let look = || Ok(condition().then_some(()));
    process::until(limit, look, || format!("not so: {what}")).unwrap();
}

/// Says why a test proves nothing on this machine.
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether `program` can be run here.
pub fn has(program: &str) -> bool {
    let found = process::has(program);
    if !found {
        skip(&format!("{program} is not on this machine"));
    }
    found
}

/// Whether this machine reaches itself over IPv6.
pub fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        skip("this machine has no IPv6");
    }
    has
}

/// A path for this test alone. Its parent, a fresh directory, is removed with it.
pub struct TempPath {
    path: PathBuf,
    _folder: Scratch,
}

impl TempPath {
    pub fn new(name: &str) -> Self {
        let folder = well(Scratch::new("server"));
        TempPath {
            path: folder.path(name),
            _folder: folder,
        }
    }

    /// One that is a link to a file with something of somebody's own in it, and that file.
    pub fn linked(name: &str) -> (Self, PathBuf) {
        let path = TempPath::new(name);
        let target = path.with_extension("target");
        std::fs::write(&target, "mine").unwrap();
        std::os::unix::fs::symlink(&target, &*path).unwrap();
        (path, target)
    }

    /// The path as text, as the command line takes it.
    pub fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// This path as an endpoint.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.text())
    }
}

impl std::ops::Deref for TempPath {
    type Target = std::path::Path;

    fn deref(&self) -> &Self::Target {
        &self.path
    }
}

/// The server's program with nothing in its environment that would configure it.
pub fn program() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_echo-server")))
}

/// The server's program as `wrapper`'s last arguments: `prlimit --nofile=32 echo-server`.
pub fn wrapped(wrapper: &str) -> Command {
    let words: Vec<&str> = wrapper.split(' ').collect();
    wrapped_by(words[0], &words[1..])
}

/// The server's program as the last arguments of `program`, after `args`.
pub fn wrapped_by(program: &str, args: &[&str]) -> Command {
    let mut command = clean(Command::new(program));
    command.args(args).arg(env!("CARGO_BIN_EXE_echo-server"));
    command
}

/// The server's program, started by a shell that does `first` before: `ulimit -n 32`.
pub fn after(first: &str) -> Command {
    let mut command = clean(Command::new("sh"));
    command
        .args(["-c", &format!("{first} && exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_echo-server"));
    command
}

fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ECHO_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running server. It is killed when this is dropped, during a panic too.
pub struct Server {
    process: Process,
    ready: Vec<String>,
}

/// A server's end, and all that it wrote.
#[derive(Debug)]
pub struct Ended {
    /// `None`: a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Server {
    /// A server on a port of its own, TCP and UDP, that is ready.
    pub fn start(args: &[&str]) -> Self {
        Server::run(program().arg("--listen=127.0.0.1:0").args(args))
    }

    /// A server that listens where `args` say, and is ready.
    pub fn listening(args: &[&str]) -> Self {
        Server::run(program().args(args))
    }

    /// Whatever `command` starts, once it says that it is ready.
    pub fn run(command: &mut Command) -> Self {
        let mut server = Server::launch(command);
        server.get_ready();
        server
    }

    /// Whatever `command` starts, ready or not.
    pub fn launch(command: &mut Command) -> Self {
        Server::of(well(Process::start(command)))
    }

    /// A server to which nobody listens until someone reads what is returned beside it.
    pub fn unheard(args: &[&str]) -> (Self, ChildStderr) {
        let mut command = program();
        let mut process = well(Process::unread(
            command.arg("--listen=127.0.0.1:0").args(args),
        ));
        let stderr = process.child.stderr.take().unwrap();
        process.collect();
        let mut server = Server::of(process);
        server.get_ready();
        (server, stderr)
    }

    fn of(process: Process) -> Self {
        let ready = Vec::new();
        Server { process, ready }
    }

    fn get_ready(&mut self) {
        self.ready = well(self.process.lines_before("ready", LIMIT));
    }

    /// Waits until it is ready, or has ended without.
    pub fn is_ready(&mut self) -> bool {
        let lines = self.process.lines_before("ready", LIMIT);
        lines.map(|lines| self.ready = lines).is_ok()
    }

    /// The lines before `ready`.
    pub fn ready_lines(&self) -> &[String] {
        &self.ready
    }

    /// The address of the `n`th ready line that begins with `listening KIND`.
    pub fn nth(&self, kind: &str, n: usize) -> SocketAddr {
        let prefix = format!("listening {kind} ");
        let mut found = self.ready.iter().filter_map(|l| l.strip_prefix(&prefix));
        found.nth(n).expect("a line of that kind").parse().unwrap()
    }

    pub fn tcp(&self) -> SocketAddr {
        self.nth("tcp", 0)
    }

    pub fn udp(&self) -> SocketAddr {
        self.nth("udp", 0)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: Signal) {
        well(self.process.signal(signal));
    }

    pub fn is_running(&mut self) -> bool {
        self.process.child.try_wait().unwrap().is_none()
    }

    /// What it has told so far.
    pub fn told(&self) -> String {
        self.process.stderr()
    }

    /// Waits until it has told something in which `found` finds what it looks for.
    pub fn tells<T>(&self, what: &str, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let found = |bytes: &[u8]| found(&String::from_utf8_lossy(bytes));
        let told = self.process.stderr.wait_for(LIMIT, found);
        told.unwrap_or_else(|| panic!("the server does not tell {what}: {:?}", self.told()))
    }

    /// Waits until it has told `text`.
    pub fn says(&self, text: &str) {
        self.tells(text, |told| told.contains(text).then_some(()));
    }

    /// Asks it to stop, and checks that it ends as it should.
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }

    /// Waits for its end.
    pub fn end(self) -> Ended {
        self.end_within(LIMIT)
    }

    /// Waits for its end, if need be for longer than others are waited for.
    pub fn end_within(self, limit: Duration) -> Ended {
        let finished = well(self.process.finish(limit));
        let ended = Ended {
            code: finished.status.code(),
            stdout: String::from_utf8_lossy(&finished.stdout).into_owned(),
            stderr: finished.stderr,
        };
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        ended
    }
}

/// What went well; otherwise the test ends with all that is known.
fn well<T>(result: anyhow::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Runs a command that must end well, by itself.
pub fn succeeds(command: &mut Command) {
    let ended = Server::launch(command).end();
    assert_eq!(ended.code, Some(0), "{command:?}: {}", ended.stderr);
}

/// Runs a command that must end by itself with `code`, having told each of `told`.
pub fn fails(command: &mut Command, code: i32, told: &[&str]) {
    let ended = Server::launch(command).end();
    let mut complaint = String::new();
    for part in told {
        if !ended.stderr.contains(part) {
            let _ = write!(complaint, " does not tell {part:?};");
        }
    }
    assert_eq!(ended.code, Some(code), "{command:?}: {ended:?}");
    assert_eq!(complaint, "", "{command:?}: {:?}", ended.stderr);
    assert_eq!(ended.stdout, "", "{command:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "said once: {ended:?}");
}
