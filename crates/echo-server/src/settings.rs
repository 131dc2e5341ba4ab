//! What a server can be told, each setting once: as it will be, and as a layer of a file, the
//! environment or the command line says it.

use std::num::NonZeroUsize;
use std::time::Duration;

#[cfg(feature = "cli")]
use clap::builder::{OsStringValueParser, TypedValueParser};
#[cfg(feature = "cli")]
use echo_core::Whole;
#[cfg(feature = "cli")]
use echo_core::config::switch;
#[cfg(feature = "cli")]
use echo_core::text::one_or_many;
use echo_core::units::{Size, Timespan};
use echo_core::{Color, Endpoint, FilePath, Framing};
use echo_explain::{Explain, Lang};
use serde::{Deserialize, Serialize};

use crate::event::{Format, Level};
use crate::fault::{Fault, Seed};
use crate::sandbox::Sandbox;
use crate::{Listen, On};

/// The most cores that Linux knows.
#[cfg(feature = "cli")]
const MAX_WORKERS: u64 = 8192;

/// The longest frame, unless something else is said.
pub(crate) const MAX_FRAME: Size = Size(1 << 20);

/// Declares each setting under the heading of its help: the text of that, how it is written, its type
/// and its default. Numbers are written as what is known of their bounds; switches are off.
macro_rules! settings {
    ($($heading:literal {
        $(
            $(#[doc = $doc:expr])*
            $(#[arg($($arg:tt)*)])*
            $(#[serde($($serde:tt)*)])*
            $name:ident: $type:ty = $default:expr;
        )*
    } $(numbers {
        $(
            $(#[doc = $number_doc:expr])*
            $(#[arg($($number_arg:tt)*)])*
            $number:ident: $number_type:ty as $written:ty = $number_default:expr;
        )*
    })? $(switches {
        $(
            $(#[doc = $switch_doc:expr])*
            $switch:ident;
        )*
    })?)*) => {
        /// A server's effective configuration: every setting with its value.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Config {
            $(
                $($(#[doc = $doc])* pub $name: $type,)*
                $($($(#[doc = $number_doc])* pub $number: $number_type,)*)?
                $($($(#[doc = $switch_doc])* pub $switch: bool,)*)?
            )*
        }

        impl Default for Config {
            fn default() -> Self {
                Config {
                    $(
                        $($name: $default,)*
                        $($($number: $number_default,)*)?
                        $($($switch: false,)*)?
                    )*
                }
            }
        }

        /// One layer of configuration: what a file, the environment or the command line says.
        #[cfg(feature = "cli")]
        #[derive(clap::Args, Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {
            $(
                $(
                    $(#[doc = $doc])*
                    #[arg(long, help_heading = $heading)]
                    $(#[arg($($arg)*)])*
                    $(#[serde($($serde)*)])*
                    pub $name: Option<$type>,
                )*
                $($(
                    $(#[doc = $number_doc])*
                    #[arg(long, help_heading = $heading, value_name = "N")]
                    $(#[arg($($number_arg)*)])*
                    pub $number: Option<$written>,
                )*)?
                $($(
                    $(#[doc = $switch_doc])*
                    #[arg(long, help_heading = $heading, num_args = 0..=1, require_equals = true,
                          default_missing_value = "true", value_name = "BOOL", value_parser = switch)]
                    pub $switch: Option<bool>,
                )*)?
            )*
            /// Serve one connection and exit; the same as --max-total 1, and --once=false as --max-total 0
            #[arg(long, help_heading = "Stopping", num_args = 0..=1, require_equals = true,
                  default_missing_value = "true", value_name = "BOOL", value_parser = switch)]
            pub once: Option<bool>,
        }
    };
}

settings! {
"Listening" {
    /// Listen here; may be given several times [default: 127.0.0.1:5346]
    ///
    /// `HOST:PORT` is TCP and UDP; `tcp://HOST:PORT`, `udp://HOST:PORT` and `unix:PATH` are one
    /// of a kind, and `unix:@NAME` is in Linux's abstract namespace. Port 0 lets the system choose.
    /// `[::]:PORT` takes IPv4 too.
    /// `stamp://HOST` reflects packets of STAMP (RFC 8762) instead, at port 862 unless given.
    /// `systemd` takes the sockets that were handed over, `systemd:NAME` those of a name.
    /// `NAME=ENDPOINT` gives a name, for `on=NAME` and for commands.
    #[arg(visible_alias = "port", value_name = "ENDPOINT", value_delimiter = ',',
          value_parser = OsStringValueParser::new().try_map(Listen::typed))]
    #[serde(default, deserialize_with = "one_or_many::<Listen, _, _>")]
    listen: Vec<Listen> = vec![Endpoint::default().into()];
    /// Echo `raw` bytes as they come, whole `lines`, or whole `length`-prefixed frames [default: raw]
    ///
    /// `lines,on=NAME` does so on the listeners of that name; may be given several times.
    #[arg(value_name = "FRAMING", value_delimiter = ';')]
    #[serde(default, deserialize_with = "one_or_many::<On<Framing>, _, _>")]
    framing: Vec<On<Framing>> = vec![Framing::default().into()];
    /// End a connection that sends a frame longer than this [default: 1MiB]
    ///
    /// `64k,on=NAME` does so on the listeners of that name; may be given several times.
    #[arg(value_name = "SIZE", value_delimiter = ';')]
    #[serde(default, deserialize_with = "one_or_many::<On<Size>, _, _>")]
    max_frame: Vec<On<Size>> = vec![MAX_FRAME.into()];
    /// Once ready, put the ready lines into FILE, all at once
    #[arg(value_name = "FILE")]
    ready_file: FilePath = FilePath::default();
} switches {
    /// Take each connection for whom its PROXY header names (v1 or v2, of a load balancer), which it needs
    proxy_protocol;
}
"Serving" {
    /// Read at most this much of a stream at a time; little shows that it has no messages [default: 64KiB]
    #[arg(value_name = "SIZE")]
    // Below 16 KiB a bulk transfer costs up to three times as much; from 64 KiB on it is flat.
    buffer: Size = Size(64 << 10);
    /// Have the system hold at most this much of a TCP connection, each way; more is for long, fast
    /// paths; 0: as much as it sees fit [default: 256KiB]
    #[arg(value_name = "SIZE")]
    // 1 MiB for a peer that never reads: as much again, each way, is for the system's own use.
    // Enough for a gigabit a second over 2 ms, or for 100 megabits over 20.
    socket_buffer: Size = Size(256 << 10);
    /// After a lone request, poll this long before sleeping; 0 always sleeps [default: 100us]
    #[arg(value_name = "DURATION")]
    spin: Timespan = Timespan(Duration::from_micros(100));
} numbers {
    /// Run this many event loops, each in a thread [default: one per core]
    workers: NonZeroUsize as Whole<1, MAX_WORKERS> =
        std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
} switches {
    /// Number STAMP replies as their requests are numbered, and remember no sessions
    stamp_stateless;
}
"Stopping" {
    /// Exit after this long; 0: never. Too early for --once or --max-total is exit code 1 [default: 0s]
    #[arg(value_name = "DURATION")]
    exit_after: Timespan = Timespan::from_secs(0);
    /// When stopping, let connections that talk go on for at most this long [default: 8s]
    #[arg(value_name = "DURATION")]
    // Containers are killed 10 s after they were asked to stop.
    drain: Timespan = Timespan::from_secs(8);
} numbers {
    /// Serve N connections in all and exit; 0: no limit [default: 0]
    #[arg(conflicts_with = "once")]
    max_total: usize as Whole = 0;
} switches {
    /// Exit when standard input ends, so that no server outlives the test that started it
    exit_on_stdin_eof;
}
"Limits" {
    /// Let peers hold at most this much together: over it the one that holds most is ended, and
    /// where none holds any no more come in; 0, and never more than: three quarters of what the system leaves [default: 0]
    #[arg(value_name = "SIZE")]
    max_memory: Size = Size(0);
    /// Close a connection on which nothing arrives for this long; 0: never [default: 0s]
    #[arg(value_name = "DURATION")]
    idle_timeout: Timespan = Timespan::from_secs(0);
    /// Close a connection whose peer reads nothing for this long; 0: never [default: 5m]
    #[arg(value_name = "DURATION")]
    // Long enough for a person who looks at a paused client, short enough that a peer that never
    // reads does not hold its memory for ever.
    write_timeout: Timespan = Timespan::from_secs(300);
    /// Probe a silent TCP peer after this long, give it up after twice that, or after --write-timeout
    /// where that is longer; 0: never [default: 1m]
    #[arg(value_name = "DURATION")]
    keepalive: Timespan = Timespan::from_secs(60);
    /// Reflect STAMP packets only of senders who have the key in FILE: authenticated mode
    #[arg(value_name = "FILE")]
    stamp_key: FilePath = FilePath::default();
    /// Once ready, give up opening files, TCP connections of its own and new privileges: `on` or
    /// `off` [default: on, where the system can]
    #[arg(value_name = "WHETHER")]
    sandbox: Sandbox = Sandbox::On;
} numbers {
    /// Hold at most this many connections, and never more than the open-file limit allows; 0: as many
    /// as it does [default: 0]
    max_connections: usize as Whole = 0;
    /// Hold at most this many connections from one IP address; 0: no limit [default: 0]
    max_per_ip: usize as Whole = 0;
    /// Answer at most N datagrams a second from one source, loopback excepted; 0: no limit [default: 10000]
    udp_rate: u32 as Whole<0, { u32::MAX as u64 }> = 10_000;
} switches {
    /// Answer datagrams from service ports too (two echo servers can then loop)
    udp_allow_any;
}
"Failing on demand" {
    /// Do this wrong on purpose, such as `drop=20%,udp`; may be given several times
    ///
    /// `echo-server fault help` tells of each: what happens, and where.
    #[arg(value_name = "SPEC", value_delimiter = ';')]
    #[serde(default, deserialize_with = "one_or_many::<Fault, _, _>")]
    fault: Vec<Fault> = Vec::new();
    /// Draw what chance decides among the faults from this number [default: random]
    #[arg(value_name = "N")]
    seed: Seed = Seed::Random;
    /// Take commands at unix:PATH, for its owner alone: faults that come and go, connections to close
    ///
    /// `echo-server control unix:PATH 'fault add drop=20%'` gives one; each is a line, and so is its answer.
    #[arg(value_name = "ENDPOINT")]
    control: FilePath = FilePath::default();
}
"Telling" {
    /// Tell `off`, `connections` or `traffic` [default: connections]
    #[arg(value_name = "LEVEL")]
    log_level: Level = Level::Connections;
    /// Tell it as `text` or as `json` lines [default: text]
    #[arg(value_name = "FORMAT")]
    log: Format = Format::Text;
    /// Tell each socket call and what it means instead; `json` for programs
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "text", value_name = "FORMAT")]
    explain: Explain = Explain::Off;
    /// Use colours `auto`, `always` or `never` [default: auto: on a terminal, unless NO_COLOR is set]
    #[arg(value_name = "WHEN")]
    color: Color = Color::Auto;
    /// Explain in `en` or `es` [default: auto, by the locale]
    #[arg(value_name = "LANG")]
    lang: Lang = Lang::Auto;
    /// Write every received chunk to FILE, with time, size and bytes, as JSON lines
    #[arg(value_name = "FILE")]
    record: FilePath = FilePath::default();
    /// Answer monitors here, over HTTP; may be given several times
    ///
    /// There are `/metrics` for Prometheus, `/livez`, and `/readyz`, which is 503 while stopping.
    #[arg(value_name = "HOST:PORT", value_delimiter = ',')]
    #[serde(default, deserialize_with = "one_or_many::<Endpoint, _, _>")]
    metrics: Vec<Endpoint> = Vec::new();
} switches {
    /// Begin each line of text with its time, in UTC
    timestamps;
}
}

#[cfg(feature = "cli")]
impl Settings {
    /// With what is short for something else spelled out.
    pub(crate) fn spelled_out(mut self) -> Self {
        if let Some(once) = self.once.take() {
            self.max_total = self.max_total.or(Some(Whole(once.into())));
        }
        self
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_is_to_stop_has_time_to() {
        // Killed after 10 s; a record and a standard error that take nothing are waited for by 1.5 s.
        assert!(Config::default().drain <= Timespan::from_secs(8));
    }

    #[test]
    fn settings_and_configuration_have_the_same_keys() {
        let config = toml::Table::try_from(Config::default()).unwrap();
        let settings: Settings = config.clone().try_into().unwrap();
        assert_eq!(toml::Table::try_from(settings).unwrap(), config);
    }
}
