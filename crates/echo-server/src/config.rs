//! What a server is told: as written ([`Settings`]) and as it will be ([`Config`]).

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use echo_core::config::{one_or_many, switch};
use echo_core::named;
use echo_core::path::shown;
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, Failure, FilePath, Framing, Transport, Whole};
use echo_explain::{Explain, Lang};
use serde::{Deserialize, Serialize};

use crate::event::Level;
use crate::fault::{Fault, Seed};
use crate::file::is_same;
use crate::log::Format;
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
    /// Answer datagrams from service ports too. Two echo servers can then be set on each other.
    pub udp_allow_any: bool,
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

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

named!(Color);

/// More than a socket can hold by default; each worker has one such buffer.
const MAX_BUFFER: u64 = 16 << 20;

/// The longest frame, unless something else is said.
const MAX_FRAME: Size = Size(1 << 20);

/// The longest spin: no machine takes nearly as long to wake.
const MAX_SPIN: Timespan = Timespan(Duration::from_millis(10));

/// Linux counts the seconds in 15 bits.
const MAX_KEEPALIVE: Timespan = Timespan::from_secs(32_767);

/// The most cores that Linux knows.
const MAX_WORKERS: u64 = 8192;

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
            udp_allow_any: false,
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
            let is_tcp = |transport: &Option<Transport>| *transport != Some(Transport::Udp);
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
        }
        let faults = self.fault.iter().map(|fault| &fault.place.on);
        let framing = self.framing.iter().map(|framing| &framing.on);
        let max_frame = self.max_frame.iter().map(|max| &max.on);
        let mut named = faults.chain(framing).chain(max_frame).flatten();
        named.try_for_each(|name| self.check_name(name))
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

/// One layer of configuration: what a file, the environment or the command line says.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Listen here; may be given several times [default: 127.0.0.1:5346]
    ///
    /// `HOST:PORT` is TCP and UDP; `tcp://HOST:PORT`, `udp://HOST:PORT` and `unix:PATH` are one
    /// of a kind, and `unix:@NAME` is in Linux's abstract namespace. Port 0 lets the system choose.
    /// `[::]:PORT` takes IPv4 too.
    /// `systemd` takes the sockets that were handed over, `systemd:NAME` those of a name.
    /// `NAME=ENDPOINT` gives a name, for `on=NAME` and for commands.
    #[arg(long, visible_alias = "port", value_name = "ENDPOINT", value_delimiter = ',',
          value_parser = OsStringValueParser::new().try_map(Listen::try_from), help_heading = "Listening")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub listen: Option<Vec<Listen>>,
    /// Answer monitors here, over HTTP; may be given several times
    ///
    /// There are `/metrics` for Prometheus, `/livez`, and `/readyz`, which is 503 while stopping.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        help_heading = "Telling"
    )]
    #[serde(default, deserialize_with = "one_or_many")]
    pub metrics: Option<Vec<Endpoint>>,
    /// Echo `raw` bytes as they come, whole `lines`, or whole `length`-prefixed frames [default: raw]
    ///
    /// `lines,on=NAME` does so on the listeners of that name; may be given several times.
    #[arg(
        long,
        value_name = "FRAMING",
        value_delimiter = ';',
        help_heading = "Listening"
    )]
    #[serde(default, deserialize_with = "one_or_many")]
    pub framing: Option<Vec<On<Framing>>>,
    /// End a connection that sends a frame longer than this [default: 1MiB]
    ///
    /// `64k,on=NAME` does so on the listeners of that name; may be given several times.
    #[arg(
        long,
        value_name = "SIZE",
        value_delimiter = ';',
        help_heading = "Listening"
    )]
    #[serde(default, deserialize_with = "one_or_many")]
    pub max_frame: Option<Vec<On<Size>>>,
    /// Read at most this much of a stream at a time; little shows that it has no messages [default: 64KiB]
    #[arg(long, value_name = "SIZE", help_heading = "Serving")]
    pub buffer: Option<Size>,
    /// Have the system hold at most this much of a TCP connection, each way; more is for long, fast
    /// paths; 0: as much as it sees fit [default: 256KiB]
    #[arg(long, value_name = "SIZE", help_heading = "Serving")]
    pub socket_buffer: Option<Size>,
    /// Run this many event loops, each in a thread [default: one per core]
    #[arg(long, value_name = "N", help_heading = "Serving")]
    pub workers: Option<Whole<1, MAX_WORKERS>>,
    /// After a lone request, poll this long before sleeping; 0 always sleeps [default: 100us]
    #[arg(long, value_name = "DURATION", help_heading = "Serving")]
    pub spin: Option<Timespan>,
    /// Serve one connection and exit; the same as --max-total 1, and --once=false as --max-total 0
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch, help_heading = "Stopping")]
    pub once: Option<bool>,
    /// Serve N connections in all and exit; 0: no limit [default: 0]
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "once",
        help_heading = "Stopping"
    )]
    pub max_total: Option<Whole>,
    /// Exit after this long; 0: never. Too early for --once or --max-total is exit code 1 [default: 0s]
    #[arg(long, value_name = "DURATION", help_heading = "Stopping")]
    pub exit_after: Option<Timespan>,
    /// Exit when standard input ends, so that no server outlives the test that started it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch, help_heading = "Stopping")]
    pub exit_on_stdin_eof: Option<bool>,
    /// Once ready, put the ready lines into FILE, all at once
    #[arg(long, value_name = "FILE", help_heading = "Listening")]
    pub ready_file: Option<FilePath>,
    /// When stopping, let connections that talk go on for at most this long [default: 8s]
    #[arg(long, value_name = "DURATION", help_heading = "Stopping")]
    pub drain: Option<Timespan>,
    /// Hold at most this many connections; 0: what the open-file limit allows [default: 0]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_connections: Option<Whole>,
    /// Hold at most this many connections from one IP address; 0: no limit [default: 0]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_per_ip: Option<Whole>,
    /// Let peers hold at most this much together: over it the one that holds most is ended, and
    /// where none holds any no more come in; 0, and never more than: three quarters of what the system leaves [default: 0]
    #[arg(long, value_name = "SIZE", help_heading = "Limits")]
    pub max_memory: Option<Size>,
    /// Close a connection on which nothing arrives for this long; 0: never [default: 0s]
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    pub idle_timeout: Option<Timespan>,
    /// Close a connection whose peer reads nothing for this long; 0: never [default: 5m]
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    pub write_timeout: Option<Timespan>,
    /// Probe a silent TCP peer after this long, give it up after twice that, or after --write-timeout
    /// where that is longer; 0: never [default: 1m]
    #[arg(long, value_name = "DURATION", help_heading = "Limits")]
    pub keepalive: Option<Timespan>,
    /// Answer at most N datagrams a second from one source, loopback excepted; 0: no limit [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub udp_rate: Option<Whole<0, { u32::MAX as u64 }>>,
    /// Answer datagrams from service ports too (two echo servers can then loop)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch, help_heading = "Limits")]
    pub udp_allow_any: Option<bool>,
    /// Do this wrong on purpose, such as `drop=20%,udp`; may be given several times
    ///
    /// `echo-server fault help` tells of each: what happens, and where.
    #[arg(
        long,
        value_name = "SPEC",
        value_delimiter = ';',
        help_heading = "Failing on demand"
    )]
    pub fault: Option<Vec<Fault>>,
    /// Draw what chance decides among the faults from this number [default: random]
    #[arg(long, value_name = "N", help_heading = "Failing on demand")]
    pub seed: Option<Seed>,
    /// Take commands at unix:PATH, for its owner alone: faults that come and go, connections to close
    ///
    /// `echo-server control unix:PATH 'fault add drop=20%'` gives one; each is a line, and so is its answer.
    #[arg(long, value_name = "ENDPOINT", help_heading = "Failing on demand")]
    pub control: Option<FilePath>,
    /// Tell `off`, `connections` or `traffic` [default: connections]
    #[arg(long, value_name = "LEVEL", help_heading = "Telling")]
    pub log_level: Option<Level>,
    /// Tell it as `text` or as `json` lines [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Telling")]
    pub log: Option<Format>,
    /// Tell each socket call and what it means instead; `json` for programs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "text",
          value_name = "FORMAT", help_heading = "Telling")]
    pub explain: Option<Explain>,
    /// Use colours `auto`, `always` or `never` [default: auto: on a terminal, unless NO_COLOR is set]
    #[arg(long, value_name = "WHEN", help_heading = "Telling")]
    pub color: Option<Color>,
    /// Begin each line of text with its time, in UTC
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch, help_heading = "Telling")]
    pub timestamps: Option<bool>,
    /// Explain in `en` or `es` [default: auto, by the locale]
    #[arg(long, value_name = "LANG", help_heading = "Telling")]
    pub lang: Option<Lang>,
    /// Write every received chunk to FILE, with time, size and bytes, as JSON lines
    #[arg(long, value_name = "FILE", help_heading = "Telling")]
    pub record: Option<FilePath>,
    /// Once ready, give up opening files, TCP connections of its own and new privileges: `on` or
    /// `off` [default: on, where the system can]
    #[arg(long, value_name = "WHETHER")]
    pub sandbox: Option<Sandbox>,
}

impl Settings {
    /// With what is short for something else spelled out.
    pub(crate) fn spelled_out(mut self) -> Self {
        if let Some(once) = self.once.take() {
            self.max_total = self.max_total.or(Some(Whole(once.into())));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_configuration_have_the_same_keys() {
        let config = toml::Table::try_from(Config::default()).unwrap();
        let settings: Settings = config.clone().try_into().unwrap();
        assert_eq!(toml::Table::try_from(settings).unwrap(), config);
    }
}
