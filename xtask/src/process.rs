//! Child processes that cannot outlive their owner, and whose every wait has a deadline. The programs'
//! own tests take this file, too.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fmt, fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// What is kept of one output stream; the rest is read and dropped, so that the child never blocks.
const KEPT: usize = 64 << 20;

/// The longest that a command of a few words may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a wait for output goes on before it looks for an interrupt.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How often an exit is looked for: std waits for one without a limit, or not at all.
const POLL: Duration = Duration::from_millis(2);

/// Set by the first signal that asks this task to stop: every wait then ends with an error, and
/// the way out kills the children and removes what was made for them.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Asks this task to stop. Returns whether it had been asked before.
pub fn interrupt() -> bool {
    INTERRUPTED.swap(true, Ordering::Relaxed)
}

/// Whether a signal has asked this task to stop.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// A directory of this task's own, removed when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty one.
    pub fn new(task: &str) -> Result<Self> {
        // The number of the process would not do: one in a namespace has another's.
        let number = RandomState::new().hash_one(());
        let path = env::temp_dir().join(format!("echo-{task}-{number:x}"));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch(path))
    }

    /// A path in it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running child. It is killed when this is dropped, during a panic too.
pub struct Process {
    name: String,
    /// The child itself, with its streams that nobody has collected.
    pub child: Child,
    stdout: Stream,
    /// What it complains about.
    pub stderr: Stream,
}

/// A child's end, and what it wrote.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// All of its stderr, as text.
    pub stderr: String,
}

impl Process {
    /// Starts a child with its three streams piped; what it writes is collected from the start.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut process = Process::unread(command)?;
        process.collect();
        Ok(process)
    }

    /// Starts a child with its three streams piped, which nobody reads as yet.
    pub fn unread(command: &mut Command) -> Result<Self> {
        let name = shown(command);
        ensure!(!is_interrupted(), "interrupted before {name}");
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = streams.stderr(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Process::of(name, child))
    }

    /// A child that someone else has started, whose streams nobody reads as yet.
    pub fn of(name: String, child: Child) -> Self {
        let (stdout, stderr) = (Stream::default(), Stream::default());
        Process {
            name,
            child,
            stdout,
            stderr,
        }
    }

    /// Collects from now on what it writes to pipes that nobody else reads.
    pub fn collect(&mut self) {
        if let Some(stdout) = self.child.stdout.take() {
            self.stdout = Stream::collect(stdout);
        }
        if let Some(stderr) = self.child.stderr.take() {
            self.stderr = Stream::collect(stderr);
        }
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for `line` on stdout and returns the lines before it.
    pub fn lines_before(&mut self, line: &str, limit: Duration) -> Result<Vec<String>> {
        let found = self.stdout.wait_for(limit, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let complete = &text[..text.rfind('\n')? + 1];
            let lines: Vec<_> = complete.lines().map(str::to_owned).collect();
            let end = lines.iter().position(|seen| seen == line)?;
            Some(lines[..end].to_vec())
        });
        found.ok_or_else(|| {
            self.failure(format_args!(
                "expected the line {line:?} on stdout within {limit:?}, saw {:?}",
                String::from_utf8_lossy(&self.stdout.bytes())
            ))
        })
    }

    /// Waits until stdout holds `expected` and nothing else.
    pub fn stdout_becomes(&mut self, expected: &[u8], limit: Duration) -> Result<()> {
        let found = self
            .stdout
            .wait_for(limit, |bytes| (bytes == expected).then_some(()));
        found.ok_or_else(|| {
            self.failure(format_args!(
                "expected {:?} on stdout within {limit:?}, saw {:?}",
                String::from_utf8_lossy(expected),
                String::from_utf8_lossy(&self.stdout.bytes())
            ))
        })
    }

    /// Writes to stdin, which stays open. For messages that fit a pipe.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let name = &self.name;
        let stdin = self.child.stdin.as_mut();
        stdin
            .with_context(|| format!("the stdin of {name} is closed"))?
            .write_all(bytes)
            .with_context(|| format!("cannot write to the stdin of {name}"))
    }

    /// Closes stdin: the child reads its end.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The child has not been waited for, so its number is still its own.
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Closes stdin and waits for the end. A child that takes longer is killed.
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        self.close_stdin();
        self.wait(limit)
    }

    /// Waits for the end, stdin as it is. A child that takes longer is killed.
    pub fn wait(mut self, limit: Duration) -> Result<Finished> {
        self.collect();
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                return Err(self.failure(format_args!("still running after {limit:?}; killed")));
            }
            ensure!(!is_interrupted(), "interrupted during {}", self.name);
            thread::sleep(POLL);
        };
        Ok(Finished {
            status,
            stdout: self.stdout.whole(limit),
            stderr: String::from_utf8_lossy(&self.stderr.whole(limit)).into_owned(),
        })
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes()).into_owned()
    }

    fn failure(&self, what: fmt::Arguments) -> anyhow::Error {
        let stderr = self.stderr();
        match stderr.trim_end() {
            "" => anyhow!("{}: {what}", self.name),
            stderr => anyhow!("{}: {what}; its stderr:\n{stderr}", self.name),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither fails in a way that leaves it running: a child that has ended is only reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Stdout, where the exit code is 0; otherwise an error that carries stderr.
    pub fn success(self) -> Result<Vec<u8>> {
        if !self.status.success() {
            bail!("{}: {}", self.status, self.stderr.trim_end());
        }
        Ok(self.stdout)
    }
}

/// Looks again and again until there is something to see; what is missing after `limit`, `why` tells.
pub fn until<T>(
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
    why: impl FnOnce() -> String,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        ensure!(!is_interrupted(), "interrupted");
        ensure!(Instant::now() < deadline, "{} within {limit:?}", why());
        thread::sleep(POLL);
    }
}

/// Runs a command to its end, with nothing on stdin.
pub fn run(command: &mut Command, limit: Duration) -> Result<Finished> {
    Process::start(command)?.finish(limit)
}

/// Runs a command, its words between spaces, that must succeed. Returns what it has printed.
pub fn words(words: &str) -> Result<String> {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    let printed = run(command.args(words), LIMIT)?.success()?;
    Ok(String::from_utf8(printed)?.trim_end().to_owned())
}

/// Whether a program can be run here, or this task may do what only `root` may.
pub fn has(need: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    match need {
        "root" => geteuid().is_root(),
        program => env::split_paths(&path).any(|folder| folder.join(program).is_file()),
    }
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().map_or_else(String::new, quoted);
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

fn quoted(word: &std::ffi::OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%[]{}+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// One output stream of a child, collected by a thread that ends with it.
/// One that nobody collects has ended.
#[derive(Clone, Default)]
pub struct Stream(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    is_open: bool,
}

impl Stream {
    fn collect(mut source: impl Read + Send + 'static) -> Self {
        let stream = Stream::default();
        stream.lock().is_open = true;
        let writer = stream.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let read = source.read(&mut buffer).unwrap_or(0);
                let mut collected = writer.lock();
                let kept = read.min(KEPT.saturating_sub(collected.bytes.len()));
                collected.bytes.extend_from_slice(&buffer[..kept]);
                collected.is_open = read > 0;
                writer.0.1.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        stream
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Waits until `found` finds something; `None` at the limit, when the stream
    /// has ended, or on an interrupt.
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        mut found: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut collected = self.lock();
        loop {
            if let Some(value) = found(&collected.bytes) {
                return Some(value);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !collected.is_open || left.is_zero() || is_interrupted() {
                return None;
            }
            collected = self
                .0
                .1
                .wait_timeout(collected, left.min(LOOK_UP))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Everything, once the stream has ended; a grandchild may hold it open, hence the limit.
    fn whole(&self, limit: Duration) -> Vec<u8> {
        self.wait_for(limit, |_| None::<()>);
        std::mem::take(&mut self.lock().bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_lines_before_ready_are_returned_while_the_child_runs() {
        let mut process =
            Process::start(&mut shell("echo one; echo two; echo ready; cat")).unwrap();
        assert_eq!(
            process.lines_before("ready", LIMIT).unwrap(),
            ["one", "two"]
        );
        process.write(b"more\n").unwrap();
        let finished = process.finish(LIMIT).unwrap();
        assert_eq!(finished.success().unwrap(), b"one\ntwo\nready\nmore\n");
    }

    #[test]
    fn a_child_that_ends_before_its_line_is_told_with_its_stderr() {
        let mut process = Process::start(&mut shell("echo no; echo why >&2; exit 1")).unwrap();
        let error = process.lines_before("ready", LIMIT).unwrap_err();
        // Stdout ended first; stderr follows within the limit.
        process.stderr.whole(LIMIT);
        assert!(error.to_string().contains("no\\n"), "{error}");
        let error = process.finish(LIMIT).unwrap().success().unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }

    #[test]
    fn a_child_over_its_limit_is_killed() {
        let process = Process::start(&mut shell("exec sleep 600")).unwrap();
        let id = process.id();
        let error = process.wait(Duration::from_millis(20)).err().unwrap();
        assert!(error.to_string().contains("still running"), "{error}");
        assert!(
            !fs::exists(format!("/proc/{id}")).unwrap(),
            "it is still there"
        );
    }

    #[test]
    fn a_panic_kills_the_child() {
        let (send, receive) = std::sync::mpsc::channel();
        let owner = thread::spawn(move || {
            let process = Process::start(&mut shell("exec sleep 600")).unwrap();
            send.send(process.id()).unwrap();
            std::panic::resume_unwind(Box::new("as a failed step does"));
        });
        assert!(owner.join().is_err());
        let id = receive.recv().unwrap();
        assert!(
            !fs::exists(format!("/proc/{id}")).unwrap(),
            "it is still there"
        );
    }

    #[test]
    fn a_command_is_shown_as_it_is_typed() {
        let mut command = Command::new("/a/b/echo-client");
        command.args(["-m", "it's", "", "[::1]:5"]);
        assert_eq!(shown(&command), r"echo-client -m 'it'\''s' '' [::1]:5");
    }
}
