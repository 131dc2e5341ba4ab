//! What a run's figures are about: who was asked, and the machine that measured.

use echo_core::address::End;
use echo_core::path::shown;
use echo_core::{Endpoint, Transport};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Mode;
use crate::connection::{Address, Connect};

/// Who was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The target as it was written.
    pub name: String,
    /// The address and port it resolved to, or the path; empty while it has not been resolved.
    pub address: String,
    /// What carries messages.
    pub transport: Transport,
}

impl Target {
    /// The target as it was written; its address is known once it has been resolved.
    pub fn of(connect: &Connect) -> Self {
        Target {
            name: match &connect.target {
                Endpoint::Unix(path) => shown(path).to_string(),
                Endpoint::Inet { host, port, .. } => {
                    Endpoint::inet(None, host.as_str(), *port).to_string()
                }
            },
            address: String::new(),
            transport: connect.transport(),
        }
    }

    /// Its name, and where that is not the address itself, that too; and the transport.
    pub fn told(&self) -> String {
        let (name, address, transport) = (&self.name, &self.address, self.transport);
        match address.is_empty() || address == name {
            true => format!("{name} ({transport})"),
            false => format!("{name} ({address}, {transport})"),
        }
    }

    /// Whether it is asked by datagrams: they may come in any order, and from anybody.
    pub fn is_udp(&self) -> bool {
        matches!(self.transport, Transport::Udp | Transport::Stamp)
    }

    /// Notes the address that answered to the name.
    pub fn found(&mut self, address: &Address) {
        self.address = End::from(address).to_string();
    }
}

/// The machine that measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// What the machine is called.
    pub hostname: String,
    /// The kernel's name and release.
    pub kernel: String,
    /// When it began, in UTC (RFC 3339).
    pub started: String,
    /// Cores this process may run on.
    pub cores: usize,
    /// The congestion control of the first connection, where there is one.
    pub congestion_control: Option<String>,
}

impl Environment {
    /// This machine. The congestion control is known only once a connection is open.
    pub fn detect() -> Self {
        let system = rustix::system::uname();
        let [hostname, name, release] = [system.nodename(), system.sysname(), system.release()]
            .map(|text| text.to_string_lossy());
        Environment {
            hostname: hostname.into_owned(),
            kernel: format!("{name} {release}"),
            started: format!("{:.0}", Timestamp::now()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            congestion_control: None,
        }
    }
}

/// What is typed as it is, in this order, and behind no flag.
const WORDS: [&str; 2] = ["target", "against"];

/// The effective configuration, keyed as the flags are, and the command that amounts to it.
pub fn configuration<S: Serialize + Default>(
    mode: Mode,
    connect: &Connect,
    settings: &S,
) -> (Map<String, Value>, Vec<String>) {
    let mut command = vec!["echo-client".to_owned()];
    // Sending is what is done without a subcommand.
    command.extend((mode != Mode::Send).then(|| mode.to_string()));
    let mut all = table(connect);
    all.extend(table(settings));
    let mut plain = table(&Connect::default());
    plain.extend(table(&S::default()));
    let is_plain = |key: &str, value: &Value| plain.get(key).unwrap_or(&Value::Null) == value;
    let is_flag = |key: &str, value: &Value| !WORDS.contains(&key) && !is_plain(key, value);
    let flags = all.iter().filter(|(key, value)| is_flag(key, value));
    command.extend(flags.map(flag));
    command.extend(WORDS.iter().filter_map(|key| all.get(*key)).flat_map(words));
    (all, command)
}

fn table(settings: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// What is typed for a value: a word, or one for each of several.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(words).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

fn flag((key, value): (&String, &Value)) -> String {
    match value {
        Value::Bool(true) => format!("--{key}"),
        Value::Number(number) if number.is_f64() => {
            format!("--{key}={}", number.as_f64().unwrap_or_default())
        }
        other => format!("--{key}={}", words(other).join(",")),
    }
}
