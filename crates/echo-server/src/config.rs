//! What a server is told, as it will be: every setting with its value.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use echo_core::endpoint::DEFAULT_HOST;
use echo_core::path::shown;
use echo_core::units::{Size, Timespan};
use echo_core::{Color, Endpoint, Failure, FilePath, Framing, Transport};
use echo_explain::{Explain, Lang};
use serde::{Deserialize, Serialize};

use crate::event::{Format, Level};
use crate::fault::{Fault, Place, Seed};
use crate::file::is_same;
use crate::sandbox::Sandbox;
use crate::{Listen, Name, On, Sockets};

/// A server's effective configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// Where to listen. `HOST:PORT` is TCP and UDP.
    pub listen: Vec<Listen>,
    /// Where to answer monitors, over HTTP.
    pub metrics: Vec<Endpoint>,
    /// How a stream is cut into frames; only complete frames are sent back.
    pub framing: Vec<On<Framing>>,
    /// The longest frame allowed, in bytes; a longer one ends its connection.
    pub max_frame: Vec<On<Size>>,
    /// The most that one read of a stream takes, in bytes.
    pub buffer: Size,
    /// The most bytes that the system holds in each direction of a TCP connection, as sent or not
    /// yet read; 0: as many as it sees fit.
    pub socket_buffer: Size,
    /// Threads, each with its own event loop.
    pub workers: NonZeroUsize,
    /// How long to poll without sleeping after a wake-up that carried one event; 0 never does.
    pub spin: Timespan,
    /// Serve this many connections in all and stop; 0: no limit.
    pub max_total: usize,
    /// Stop after this long; 0: never.
    pub exit_after: Timespan,
    /// Stop when standard input ends.
    pub exit_on_stdin_eof: bool,
    /// Write the ready lines to this file too, unless its name is empty.
    pub ready_file: FilePath,
    /// How long connections that talk may go on once the server is stopping.
    pub drain: Timespan,
    /// The most connections at once; 0: as many as the open-file limit allows.
    pub max_connections: usize,
    /// The most connections at once from one IP address; 0: no limit.
    pub max_per_ip: usize,
    /// The most bytes that peers may hold together; 0, and never more than: three quarters of what the
    /// system leaves.
    pub max_memory: Size,
    /// Close a connection on which nothing arrived for this long; 0: never.
    pub idle_timeout: Timespan,
    /// Close a connection whose peer takes nothing for this long; 0: never.
    pub write_timeout: Timespan,
    /// Probe a silent TCP connection after this long, and give it up after as long again, or after
    /// the write timeout where that is longer; 0: never.
    pub keepalive: Timespan,
    /// UDP replies per second and source; 0: no limit. Loopback sources are not limited.
    pub udp_rate: u32,
    /// Expect a PROXY header at the start of each connection, which says who is behind it.
    pub proxy_protocol: bool,
    /// Answer datagrams from service ports too. Two echo servers can then be set on each other.
    pub udp_allow_any: bool,
    /// The file with the key that senders of STAMP must have, unless its name is empty.
    pub stamp_key: FilePath,
    /// Give replies of STAMP the numbers of their requests, and remember no sessions.
    pub stamp_stateless: bool,
    /// What goes wrong on purpose.
    pub fault: Vec<Fault>,
    /// What chance among the faults follows from.
    pub seed: Seed,
    /// Take commands at this Unix path, unless it is empty; `unix:PATH` is as good.
    pub control: FilePath,
    /// How much is told of what happens.
    pub log_level: Level,
    /// How it is told.
    pub log: Format,
    /// Whether each socket call is told and explained instead, by one worker.
    pub explain: Explain,
    /// Whether it is told in colours.
    pub color: Color,
    /// Whether each line of text begins with its time.
    pub timestamps: bool,
    /// The language of explanations.
    pub lang: Lang,
    /// Write every received chunk to this file, unless its name is empty.
    pub record: FilePath,
    /// Whether the server gives up what it does not need once it is ready.
    pub sandbox: Sandbox,
}

/// More than a socket can hold by default; each worker has one such buffer.
const MAX_BUFFER: u64 = 16 << 20;

/// The longest frame, unless something else is said.
const MAX_FRAME: Size = Size(1 << 20);

/// The longest spin: no machine takes nearly as long to wake.
const MAX_SPIN: Timespan = Timespan(Duration::from_millis(10));

/// Linux counts the seconds in 15 bits.
const MAX_KEEPALIVE: Timespan = Timespan::from_secs(32_767);

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![Endpoint::default().into()],
            metrics: Vec::new(),
            framing: vec![Framing::default().into()],
            max_frame: vec![MAX_FRAME.into()],
            // Below 16 KiB a bulk transfer costs up to three times as much; from 64 KiB on it is flat.
            buffer: Size(64 << 10),
            // 1 MiB for a peer that never reads: as much again, each way, is for the system's own use.
            // Enough for a gigabit a second over 2 ms, or for 100 megabits over 20.
            socket_buffer: Size(256 << 10),
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            spin: Timespan(Duration::from_micros(100)),
            max_total: 0,
            exit_after: Timespan::from_secs(0),
            exit_on_stdin_eof: false,
            ready_file: FilePath::default(),
            // Containers are killed 10 s after they were asked to stop.
            drain: Timespan::from_secs(8),
            max_connections: 0,
            max_per_ip: 0,
            max_memory: Size(0),
            idle_timeout: Timespan::from_secs(0),
            // Long enough for a person who looks at a paused client, short enough that a peer
            // that never reads does not hold its memory for ever.
            write_timeout: Timespan::from_secs(300),
            keepalive: Timespan::from_secs(60),
            udp_rate: 10_000,
            proxy_protocol: false,
            udp_allow_any: false,
            stamp_key: FilePath::default(),
            stamp_stateless: false,
            fault: Vec::new(),
            seed: Seed::Random,
            control: FilePath::default(),
            log_level: Level::Connections,
            log: Format::Text,
            explain: Explain::Off,
            color: Color::Auto,
            timestamps: false,
            lang: Lang::Auto,
            sandbox: Sandbox::On,
            record: FilePath::default(),
        }
    }
}

impl Config {
    /// Refuses what cannot be.
    ///
    /// # Errors
    /// A usage [`Failure`] that names the flag.
    pub fn check(&self) -> Result<(), Failure> {
        self.check_values().map_err(Failure::usage)
    }

    fn check_values(&self) -> anyhow::Result<()> {
        ensure!(
            !self.listen.is_empty(),
            "nothing to listen on; give an endpoint with --listen"
        );
        ensure!(
            (1..=MAX_BUFFER).contains(&self.buffer.0),
            "--buffer {} is no size for a read; give one from 1 to {}",
            self.buffer,
            Size(MAX_BUFFER)
        );
        ensure!(
            self.spin <= MAX_SPIN,
            "--spin {} would keep a core busy for nothing; give at most {MAX_SPIN}",
            self.spin
        );
        ensure!(
            self.keepalive <= MAX_KEEPALIVE,
            "--keepalive {} is more than systems count; give at most {MAX_KEEPALIVE}, or 0 to never \
             probe",
            self.keepalive
        );
        ensure!(
            (self.explain, self.log) != (Explain::Text, Format::Json),
            "--explain tells calls in words, in place of the events that --log json writes; give \
             --explain=json for calls as JSON lines, or leave one of the two out"
        );
        for endpoint in &self.metrics {
            let is_tcp = |one: &Option<Transport>| matches!(one, None | Some(Transport::Tcp));
            ensure!(
                matches!(endpoint, Endpoint::Inet { transport, .. } if is_tcp(transport)),
                "--metrics {endpoint} is no address for HTTP; give one as HOST:PORT"
            );
        }
        let is_owned = |path: &Path| {
            !self.control.to_string().contains("://") && !path.to_string_lossy().starts_with('@')
        };
        ensure!(
            self.control_path().is_none_or(is_owned),
            "--control {} has no owner who alone could use it; give a file, as in --control \
             unix:run/control.sock",
            self.control
        );
        for listen in &self.listen {
            ensure!(
                listen.name.is_some() || listen.fault.is_empty(),
                "the listener {listen} has faults of its own; give it a name, too, by which events \
                 tell of it"
            );
            ensure!(
                listen.has_streams() || (listen.framing, listen.max_frame) == (None, None),
                "the listener {listen} gets datagrams, which have no frames; leave framing and \
                 max-frame out"
            );
        }
        let option = match self.stamp_key.is_none() {
            false => Some("--stamp-key"),
            true => self.stamp_stateless.then_some("--stamp-stateless"),
        };
        if let Some(option) = option {
            ensure!(
                self.listen.iter().any(Listen::is_stamp),
                "{option} is for STAMP, which is not listened for; add --listen stamp://{DEFAULT_HOST}"
            );
        }
        ensure!(
            !self.proxy_protocol || self.listen.iter().any(Listen::has_streams),
            "--proxy-protocol is for connections, and only datagrams are listened for; add --listen \
             tcp://HOST:PORT, or leave it out"
        );
        let framing = self.framing.iter().filter_map(|one| one.on.as_ref());
        let max_frame = self.max_frame.iter().filter_map(|one| one.on.as_ref());
        for name in framing.chain(max_frame) {
            self.check_name(name)?;
            ensure!(
                self.called(Some(name)).any(Listen::has_streams),
                "on={name}: that listener gets datagrams, which have no frames; leave it out"
            );
        }
        self.faults()
            .iter()
            .try_for_each(|fault| self.check_fault(fault))
    }

    /// Refuses a fault that cannot happen on any listener that it is for.
    ///
    /// # Errors
    /// The names that there are, or the kinds of socket on which it can.
    pub(crate) fn check_fault(&self, fault: &Fault) -> anyhow::Result<()> {
        let Place { on, transport, .. } = &fault.place;
        on.iter().try_for_each(|name| self.check_name(name))?;
        let able = fault.action.transports();
        let able = able
            .iter()
            .filter(|one| transport.is_none_or(|only| only == **one));
        let able: Vec<&Transport> = able.collect();
        let mut kinds = self.called(on.as_ref()).flat_map(Listen::transports);
        ensure!(
            kinds.any(|kind| able.contains(&kind)),
            "the fault {fault} can happen on {} alone, of which nothing is listened for{}; leave it out, \
             or add --listen",
            able.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" and "),
            on.iter()
                .map(|name| format!(" as {name}"))
                .collect::<String>()
        );
        Ok(())
    }

    /// The listeners of a name, or all.
    fn called<'a>(&'a self, name: Option<&'a Name>) -> impl Iterator<Item = &'a Listen> {
        self.listen
            .iter()
            .filter(move |listen| listen.is_called(name))
    }

    /// Refuses a name that no listener has.
    ///
    /// # Errors
    /// The names that there are.
    pub(crate) fn check_name(&self, name: &Name) -> anyhow::Result<()> {
        let mut names: Vec<&str> = self.names().map(Name::as_str).collect();
        names.dedup();
        if names.contains(&name.as_str()) {
            return Ok(());
        }
        let known = match names.is_empty() {
            true => "none has a name; give one, as in --listen NAME=127.0.0.1:0".to_owned(),
            false => format!("there is {}", names.join(", ")),
        };
        Err(anyhow!("on={name}: no listener has that name; {known}"))
    }

    /// The names of the listeners.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.listen.iter().filter_map(|listen| listen.name.as_ref())
    }

    /// What goes wrong on purpose: everywhere, then on each listener.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let own = self.listen.iter().flat_map(|listen| {
            listen.fault.iter().map(|fault| {
                let mut fault = fault.clone();
                fault.place.on = listen.name.clone();
                fault
            })
        });
        self.fault.iter().cloned().chain(own).collect()
    }

    /// How the streams of a listener are cut into frames.
    pub(crate) fn framing_of(&self, listen: &Listen) -> Framing {
        On::of(&self.framing, listen.name.as_ref(), listen.framing).unwrap_or_default()
    }

    /// The longest frame that a listener allows, in bytes.
    pub(crate) fn max_frame_of(&self, listen: &Listen) -> u64 {
        let own = On::of(&self.max_frame, listen.name.as_ref(), listen.max_frame);
        own.unwrap_or(MAX_FRAME).0
    }

    /// Refuses two settings that name one file: one of them would destroy the other. `file` is
    /// that of the settings themselves.
    ///
    /// # Errors
    /// A usage [`Failure`] that names both.
    pub fn check_files(&self, file: Option<&Path>) -> Result<(), Failure> {
        let endpoints = self.listen.iter().map(|listen| &listen.endpoint);
        let listen = endpoints.filter_map(|endpoint| match endpoint {
            Sockets::Own(Endpoint::Unix(path)) => Some(("--listen", &**path)),
            Sockets::Own(Endpoint::Inet { .. }) | Sockets::Inherited(_) => None,
        });
        let named = [
            ("--record", &*self.record),
            ("--ready-file", &*self.ready_file),
            ("--stamp-key", &*self.stamp_key),
            ("--control", self.control_path().unwrap_or(Path::new(""))),
        ];
        let settings = file.map(|path| ("--config", path));
        let all: Vec<(&str, &Path)> = settings.into_iter().chain(named).chain(listen).collect();
        for (at, (flag, path)) in all.iter().enumerate() {
            let same = all[..at].iter().find(|(_, other)| is_same(path, other));
            if let Some((other, _)) = same {
                return Err(Failure::usage(anyhow!(
                    "{other} and {flag} name one file, {}; give each its own",
                    shown(*path)
                )));
            }
        }
        Ok(())
    }

    /// Where commands are taken.
    pub(crate) fn control_path(&self) -> Option<&Path> {
        let bytes = self.control.as_os_str().as_bytes();
        let path = bytes.strip_prefix(b"unix:").unwrap_or(bytes);
        (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)))
    }

    /// The bytes of a worker's buffer.
    pub(crate) fn buffer_len(&self) -> usize {
        usize::try_from(self.buffer.0.clamp(1, MAX_BUFFER)).unwrap_or(usize::MAX)
    }

    /// What is told: with explanations every call, and otherwise what was asked for.
    pub fn level(&self) -> Level {
        match self.explain {
            Explain::Off => self.log_level,
            Explain::Text | Explain::Json => Level::Calls,
        }
    }

    /// The event loops. Where calls are explained there is one, so that they have an order.
    pub(crate) fn loops(&self) -> usize {
        match self.explain {
            Explain::Off => self.workers.get(),
            Explain::Text | Explain::Json => 1,
        }
    }

    /// How many connections are served in all; `None`: no limit.
    pub fn total(&self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.max_total)
    }
}
