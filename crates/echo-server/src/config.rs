//! What follows from the settings of a server, and which of them cannot be.

use std::ffi::OsStr;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use echo_core::endpoint::DEFAULT_HOST;
use echo_core::path::{directory, shown};
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, Failure, Framing, Transport};
use echo_explain::Explain;

use crate::event::{Format, GivenUp, Level};
use crate::fault::{Fault, Place};
use crate::file::{is_open_at, is_same, lock_of};
use crate::sandbox;
use crate::settings::MAX_FRAME;
use crate::{Listen, Name, On, Sockets};

pub use crate::settings::Config;

/// More than a socket can hold by default; each worker has one such buffer.
const MAX_BUFFER: u64 = 16 << 20;

/// The longest spin: no machine takes nearly as long to wake.
const MAX_SPIN: Timespan = Timespan(Duration::from_millis(10));

/// What a connection costs that holds nothing: it itself, in a list that doubles, and its deadline.
pub(crate) const CONNECTION: Size = Size(1 << 10);

/// Linux counts the seconds in 15 bits.
const MAX_KEEPALIVE: Timespan = Timespan::from_secs(32_767);

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
            self.max_memory == Size(0) || self.max_memory >= CONNECTION,
            "--max-memory {} is less than one connection costs; give {CONNECTION} at least, or 0 for \
             what the system leaves",
            self.max_memory
        );
        let own = self.listen.iter().filter_map(|listen| listen.max_frame);
        let mut max_frames = own.chain(self.max_frame.iter().map(|one| one.value));
        ensure!(
            max_frames.all(|max| max > Size(0)),
            "--max-frame 0 lets no frame through; give 1 at least"
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
        let control = self.control.to_string();
        let is_file = match control.parse() {
            Ok(Endpoint::Inet { .. }) => false,
            Ok(Endpoint::Unix(_)) => true,
            Err(_) => !control.contains("://"),
        };
        let is_owned = |path: &Path| is_file && !path.to_string_lossy().starts_with('@');
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
        let framed = self.framing.iter().any(|one| one.value != Framing::Raw);
        let for_streams = [
            ("--proxy-protocol", self.proxy_protocol),
            ("--max-total (or --once)", self.max_total > 0),
            ("--framing", framed),
        ];
        for (option, is_set) in for_streams {
            ensure!(
                !is_set || self.listen.iter().any(Listen::has_streams),
                "{option} is for connections, and only datagrams are listened for; add --listen \
                 tcp://HOST:PORT, or leave it out"
            );
        }
        let framing = self.framing.iter().filter_map(|one| one.on.as_ref());
        let max_frame = self.max_frame.iter().filter_map(|one| one.on.as_ref());
        for name in framing.chain(max_frame) {
            self.check_name("on=", name)?;
            ensure!(
                self.called(Some(name)).any(Listen::has_streams),
                "on={name}: that listener gets datagrams, which have no frames; leave it out"
            );
        }
        self.faults()
            .iter()
            .try_for_each(|fault| self.check_fault(fault))
    }

    /// Refuses a fault that cannot happen on any listener that it is for, or with such values at all.
    ///
    /// # Errors
    /// What is wrong with it as it is written, the names that there are, or the kinds of socket on
    /// which it can.
    pub(crate) fn check_fault(&self, fault: &Fault) -> anyhow::Result<()> {
        // A program can put any value into one; what is right is known where one is read.
        let _: Fault = fault.to_string().parse()?;
        let Place { on, transport, .. } = &fault.place;
        on.iter()
            .try_for_each(|name| self.check_name("on=", name))?;
        let able = fault.action.sockets();
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

    /// Refuses a name that no listener has, and that was said after `before`.
    ///
    /// # Errors
    /// The names that there are.
    pub(crate) fn check_name(&self, before: &str, name: &Name) -> anyhow::Result<()> {
        let mut names: Vec<&str> = self.names().map(Name::as_str).collect();
        names.dedup();
        if names.contains(&name.as_str()) {
            return Ok(());
        }
        let known = match names.is_empty() {
            true => "none has a name; give one, as in --listen NAME=127.0.0.1:0".to_owned(),
            false => format!("there is {}", names.join(", ")),
        };
        Err(anyhow!(
            "{before}{name}: no listener has that name; {known}"
        ))
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

    /// Refuses two settings that name one file, or one to which a standard stream goes: one of them
    /// would destroy the other. `file` is that of the settings themselves.
    ///
    /// # Errors
    /// A usage [`Failure`] that names both.
    pub fn check_files(&self, file: Option<&Path>) -> Result<(), Failure> {
        let listen = self.paths().map(|path| ("--listen", path));
        let control = self.control_path().map(|path| ("--control", path));
        let sockets: Vec<_> = control.into_iter().chain(listen).collect();
        let locks = sockets
            .iter()
            .map(|(flag, path)| (format!("the lock of {flag}"), lock_of(path)));
        let named = [
            ("--record", &*self.record),
            ("--ready-file", &*self.ready_file),
            ("--stamp-key", &*self.stamp_key),
        ];
        let settings = file.map(|path| ("--config", path));
        let named = settings.into_iter().chain(named);
        let named = named.chain(sockets.iter().copied());
        let named = named.map(|(flag, path)| (flag.to_owned(), path.to_owned()));
        let all: Vec<(String, PathBuf)> = named.chain(locks).collect();
        let twice = |one: &str, other: &str, path: &Path| {
            Err(Failure::usage(anyhow!(
                "{one} and {other} name one file, {}; give each its own",
                shown(path)
            )))
        };
        for (at, (flag, path)) in all.iter().enumerate() {
            let same = all[..at].iter().find(|(_, other)| is_same(path, other));
            if let Some((other, _)) = same {
                return twice(other, flag, path);
            }
            let own: [(&str, &dyn AsFd); 3] = [
                ("standard input", &io::stdin()),
                ("standard output", &io::stdout()),
                ("standard error", &io::stderr()),
            ];
            // What is only read may be read from there.
            let is_read = ["--config", "--stamp-key"].contains(&&**flag);
            let own = own.iter().skip(usize::from(is_read));
            let mut own = own.filter(|(_, stream)| is_open_at(path, stream.as_fd()));
            if let Some((stream, _)) = own.next() {
                return twice(flag, stream, path);
            }
        }
        Ok(())
    }

    /// The Unix paths that are listened on.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let endpoints = self.listen.iter().map(|listen| &listen.endpoint);
        endpoints.filter_map(|endpoint| match endpoint {
            Sockets::Own(Endpoint::Unix(path)) => Some(&**path),
            Sockets::Own(Endpoint::Inet { .. }) | Sockets::Inherited(_) => None,
        })
    }

    /// Has this thread, and those that it starts from now on, give up all that the system lets it and
    /// such a server does not need: it still removes what it has made, renames its ready file into
    /// place, and binds TCP to `ports`.
    pub fn confine(&self, ports: &[u16]) -> GivenUp {
        let sockets = self.paths().chain(self.control_path()).map(directory);
        let ready = (!self.ready_file.is_none()).then(|| directory(&self.ready_file));
        // Where the system refuses, that is told, and no reason not to serve.
        sandbox::enter(sockets, ready, ports).unwrap_or_default()
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
