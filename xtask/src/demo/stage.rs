//! Where the demo plays: the programs, the server that runs, and what is told of them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use echo_explain::{Lang, Phrases};

use crate::cargo::Programs;
use crate::process::{self, Process, Scratch};
use crate::server::Server;
use crate::terminal::{DIM, TYPED, paint, say};

/// The longest that any one wait may take. All of them together take about two seconds.
pub const LIMIT: Duration = Duration::from_secs(5);

/// What the steps share.
pub struct Stage {
    programs: Programs,
    dir: Scratch,
    phrases: Phrases,
    server: Option<Server>,
}

impl Stage {
    /// A stage with nothing on it yet.
    pub fn new(programs: Programs, lang: Lang) -> Result<Self> {
        Ok(Stage {
            programs,
            dir: Scratch::new("demo")?,
            phrases: Phrases::of(lang),
            server: None,
        })
    }

    /// A text in the language of the demo.
    pub fn say(&self, text: &str) -> String {
        self.phrases.say(text)
    }

    /// Tells what one would type for what happens next.
    pub fn types(&self, command: &str) -> Result<()> {
        let command = paint(TYPED, command);
        say(format!("      {} {command}", paint(DIM, "$")))
    }

    /// Tells what was seen.
    pub fn sees(&self, what: &str) -> Result<()> {
        for line in self.say(what).lines() {
            say(format!("        {line}").trim_end())?;
        }
        Ok(())
    }

    /// Tells what the system lists: less indented, for a row is nearly as wide as a terminal.
    pub fn lists(&self, row: &str) -> Result<()> {
        say(format!("    {row}").trim_end())
    }

    /// A path for the demo's own use, removed with the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// The server that every step but the first finds running.
    pub fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("the server is not running")
    }

    /// Makes a server the one that the steps talk to.
    pub fn keep(&mut self, server: Server) {
        self.server = Some(server);
    }

    /// Takes the server off the stage.
    pub fn take_server(&mut self) -> Result<Server> {
        self.server.take().context("the server is not running")
    }

    /// Starts a server and waits until it is ready; quietly.
    pub fn start_server(&self, args: &[&str]) -> Result<Server> {
        Server::start(&mut self.command("echo-server", args)?, LIMIT)
    }

    /// Runs a client to its end and returns its stdout; fails unless its exit code is 0.
    pub fn client(&self, args: &[&str]) -> Result<Vec<u8>> {
        let mut command = self.command("echo-client", args)?;
        self.types(&process::shown(&command))?;
        process::run(&mut command, LIMIT)?.success()
    }

    /// A client that echoes one message, and shows it as it was sent.
    pub fn echo(&self, args: &[&str], message: &str) -> Result<()> {
        let stdout = String::from_utf8(self.client(args)?)?;
        self.sees(&stdout)?;
        let expected = format!("Received: \"{message}\"");
        ensure!(
            stdout.lines().any(|line| line.starts_with(&expected)),
            "expected the client to print {expected}, saw {stdout:?}"
        );
        Ok(())
    }

    /// A client that runs until its stdin is closed.
    pub fn start_client(&self, args: &[&str]) -> Result<Process> {
        Process::start(&mut self.command("echo-client", args)?)
    }

    fn command(&self, program: &str, args: &[&str]) -> Result<Command> {
        let mut command = self.programs.command(program)?;
        // Whatever the demo's own language is, what they say is compared in this one.
        command.args(args).env("LC_ALL", "C");
        Ok(command)
    }

    /// What the server has written to stderr, for a failure's report.
    pub fn complaints(&self) -> String {
        match &self.server {
            Some(server) => format!("\nthe server's stderr:\n{}", server.process.stderr()),
            None => String::new(),
        }
    }
}

/// Whether this machine has IPv6's loopback address.
pub fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}
