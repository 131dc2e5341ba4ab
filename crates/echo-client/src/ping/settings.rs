//! The options of `ping`.

use anyhow::anyhow;
use clap::Args;
use echo_core::config::switch;
use echo_core::framing::Framing;
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, Failure, Whole};
use serde::{Deserialize, Serialize};

use crate::config::{File, Mode};
use crate::connection::Connect;

/// The most a datagram over IPv4 holds, and `ping`'s limit too. A stream could carry more, but
/// then one request and its echo no longer fit the buffers on the way.
const MAX_SIZE: u64 = 65_507;

/// The options of `ping`, as they are typed.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Ping")]
pub struct PingSettings {
    /// How many requests to send; 0 goes on until interrupted [default: 0]
    #[arg(short, long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Whole>,
    /// Time from one request to the next; 0 sends each as soon as the last is settled [default: 1s]
    #[arg(short, long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Timespan>,
    /// Bytes of payload [default: 56]
    #[arg(short, long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Send for this long; 0 sets no limit [default: 0s]
    #[arg(short, long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Timespan>,
    /// Show the summary only
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet: Option<bool>,
    /// Start each line with the time, in seconds since 1970
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<bool>,
    /// Connect anew for each request, and time connecting and the echo apart
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_connection: Option<bool>,
    /// Poll instead of sleeping while a reply is awaited: a core's work for the shortest times
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<bool>,
    /// Print one JSON document at the end, and nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<bool>,
    /// Print one JSON event a line as it happens, the document last, and nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_name = "BOOL", value_parser = switch)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jsonl: Option<bool>,
}

/// What is sent, when, and how it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ping {
    /// Requests to send; 0: no limit.
    pub count: u64,
    /// From one request to the next; zero: as soon as the last one is settled.
    pub interval: Timespan,
    /// Bytes of payload.
    pub size: Size,
    /// How long to send for; zero: no limit.
    pub duration: Timespan,
    /// The summary only.
    pub quiet: bool,
    /// The time before each line.
    pub timestamps: bool,
    /// A connection for each request.
    pub new_connection: bool,
    /// Never sleep while a reply is awaited.
    pub busy: bool,
    /// One document.
    pub json: bool,
    /// An event a line.
    pub jsonl: bool,
}

impl Default for Ping {
    fn default() -> Self {
        Ping {
            count: 0,
            interval: Timespan::from_secs(1),
            size: Size(56),
            duration: Timespan::default(),
            quiet: false,
            timestamps: false,
            new_connection: false,
            busy: false,
            json: false,
            jsonl: false,
        }
    }
}

impl Mode for PingSettings {
    type Config = Ping;
    const TABLE: &str = "ping";

    fn pick(file: File) -> Self {
        file.ping
    }

    fn normalized(&self) -> Self {
        self.clone()
    }

    fn has_end(config: &Ping) -> bool {
        config.count > 0 || !config.duration.0.is_zero()
    }
}

impl Ping {
    /// Refuses what cannot be sent.
    pub fn check(&self, connect: &Connect) -> Result<(), Failure> {
        let size = self.size;
        let is_stream = !connect.is_udp();
        let is_framed = is_stream && connect.framing != Framing::Raw;
        let fault = if size.0 > MAX_SIZE && is_stream {
            format!("--size {size}: ping sends {MAX_SIZE} bytes at most; for more there is bench")
        } else if size.0 > MAX_SIZE {
            format!("--size {size}: at most {MAX_SIZE} bytes fit a datagram; send less")
        } else if size.0 == 0 && is_stream && !is_framed {
            "--size 0 sends nothing over a stream; give at least 1, or --udp, or a --framing"
                .to_owned()
        } else if is_framed && size.0 >= connect.max_frame.0 {
            let max = connect.max_frame;
            format!("--size {size} makes frames over --max-frame {max}; send less, or raise it")
        } else if self.json && self.jsonl {
            "--json contradicts --jsonl; leave one of them out".to_owned()
        } else if self.new_connection
            && matches!(connect.target, Endpoint::Inet { .. })
            && !is_stream
        {
            "--new-connection has nothing to connect over UDP; leave one of them out".to_owned()
        } else {
            return Ok(());
        };
        Err(Failure::usage(anyhow!(fault)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sent_is_a_usage_error() {
        let udp = Connect {
            udp: true,
            ..Connect::default()
        };
        let framed = Connect {
            framing: Framing::Length,
            max_frame: Size(64),
            ..Connect::default()
        };
        let size = |bytes| Ping {
            size: Size(bytes),
            ..Ping::default()
        };
        for (ping, connect, word) in [
            (size(65_508), &udp, "65507 bytes fit a datagram"),
            (size(9 << 30), &Connect::default(), "there is bench"),
            (size(0), &Connect::default(), "--size 0"),
            (size(65), &framed, "--max-frame"),
        ] {
            let failure = ping.check(connect).unwrap_err();
            assert_eq!(failure.exit, echo_core::Exit::Usage);
            assert!(failure.to_string().contains(word), "{failure}");
        }
        assert!(size(0).check(&udp).is_ok());
        assert!(size(65_507).check(&udp).is_ok());
        assert!(size(0).check(&framed).is_ok());
    }
}
