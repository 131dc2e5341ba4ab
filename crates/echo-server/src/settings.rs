//! What a server is told, as it is written: one layer each of a file, the environment, the command line.

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use echo_core::config::{one_or_many, switch};
use echo_core::units::{Size, Timespan};
use echo_core::{Color, Endpoint, FilePath, Framing, Whole};
use echo_explain::{Explain, Lang};
use serde::{Deserialize, Serialize};

use crate::event::{Format, Level};
use crate::fault::{Fault, Seed};
use crate::sandbox::Sandbox;
use crate::{Listen, On};

/// The most cores that Linux knows.
const MAX_WORKERS: u64 = 8192;

/// One layer of configuration: what a file, the environment or the command line says.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Listen here; may be given several times [default: 127.0.0.1:5346]
    ///
    /// `HOST:PORT` is TCP and UDP; `tcp://HOST:PORT`, `udp://HOST:PORT` and `unix:PATH` are one
    /// of a kind, and `unix:@NAME` is in Linux's abstract namespace. Port 0 lets the system choose.
    /// `[::]:PORT` takes IPv4 too.
    /// `stamp://HOST` reflects packets of STAMP (RFC 8762) instead, at port 862 unless given.
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
    /// Take each connection for whom its PROXY header names (v1 or v2, of a load balancer), which it needs
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch, help_heading = "Listening")]
    pub proxy_protocol: Option<bool>,
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
    /// Reflect STAMP packets only of senders who have the key in FILE: authenticated mode
    #[arg(long, value_name = "FILE", help_heading = "Limits")]
    pub stamp_key: Option<FilePath>,
    /// Number STAMP replies as their requests are numbered, and remember no sessions
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch, help_heading = "Serving")]
    pub stamp_stateless: Option<bool>,
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
    #[arg(long, value_name = "WHETHER", help_heading = "Limits")]
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
    use crate::Config;

    #[test]
    fn settings_and_configuration_have_the_same_keys() {
        let config = toml::Table::try_from(Config::default()).unwrap();
        let settings: Settings = config.clone().try_into().unwrap();
        assert_eq!(toml::Table::try_from(settings).unwrap(), config);
    }
}
