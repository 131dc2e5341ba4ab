//! A listener as it is configured: where it listens, under which name, and what only it does.

use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use echo_core::path::shown;
use echo_core::units::Size;
use echo_core::{Endpoint, Framing, Transport, as_text, text};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fault::Fault;
use crate::name::Name;

/// Where a listener's sockets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// The server opens them.
    Own(Endpoint),
    /// Whoever started the program has opened them: `systemd:NAME`, those of a name, or `systemd`, all
    /// that are not asked for by name.
    Inherited(Option<String>),
}

impl FromStr for Sockets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("systemd") {
            Some("") => Ok(Sockets::Inherited(None)),
            // As systemd.socket(5) has it for FileDescriptorName=.
            Some(name) if name.starts_with(':') => match &name[1..] {
                "" => Err("the name is missing; write systemd:NAME, or systemd for all".to_owned()),
                name if name.contains(|c: char| c == ':' || c.is_control()) => {
                    Err("a name of a socket has neither colons nor control characters".to_owned())
                }
                name => Ok(Sockets::Inherited(Some(name.to_owned()))),
            },
            _ => text.parse().map(Sockets::Own),
        }
    }
}

impl fmt::Display for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sockets::Own(endpoint) => endpoint.fmt(f),
            Sockets::Inherited(None) => f.write_str("systemd"),
            Sockets::Inherited(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

as_text!(Sockets);

/// A listener: `HOST:PORT`, `api=tcp://HOST:PORT`, or in a file a table.
///
/// ```
/// use echo_server::{Listen, Name};
///
/// let listen: Listen = "api=tcp://127.0.0.1:0".parse().unwrap();
/// assert_eq!(listen.name.as_ref().map(Name::as_str), Some("api"));
/// assert_eq!(listen.to_string(), "api=tcp://127.0.0.1:0");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "kebab-case", deny_unknown_fields)]
pub struct Listen {
    /// What others call it by. Several may have one.
    pub name: Option<Name>,
    /// Where it listens. `HOST:PORT` is TCP and UDP.
    pub endpoint: Sockets,
    /// How its streams are cut into frames, where not as all others.
    pub framing: Option<Framing>,
    /// The longest frame it allows, in bytes, where not as all others.
    pub max_frame: Option<Size>,
    /// What goes wrong on purpose with it alone. It needs a name then.
    #[serde(default, deserialize_with = "text::one_or_many::<Fault, _, _>")]
    pub fault: Vec<Fault>,
}

impl Listen {
    /// As it is typed: a path may have bytes that no text has, which are read as they are shown.
    ///
    /// # Errors
    /// What to write instead.
    pub fn typed(typed: OsString) -> Result<Self, String> {
        shown(&typed).to_string().parse()
    }

    /// Whether it reflects packets of STAMP, and echoes nothing.
    pub(crate) fn is_stamp(&self) -> bool {
        let stamp = Some(Transport::Stamp);
        matches!(&self.endpoint, Sockets::Own(Endpoint::Inet { transport, .. }) if *transport == stamp)
    }

    /// The kinds of its sockets, STAMP's being those of UDP. What is handed over may be of any.
    pub(crate) fn transports(&self) -> &'static [Transport] {
        match &self.endpoint {
            Sockets::Own(Endpoint::Inet { transport, .. }) => match transport {
                None => &[Transport::Tcp, Transport::Udp],
                Some(Transport::Tcp | Transport::Unix) => &[Transport::Tcp],
                Some(Transport::Udp | Transport::Stamp) => &[Transport::Udp],
            },
            Sockets::Own(Endpoint::Unix(_)) => &[Transport::Unix],
            Sockets::Inherited(_) => &[Transport::Tcp, Transport::Udp, Transport::Unix],
        }
    }

    /// Whether its sockets were handed over.
    pub(crate) fn is_inherited(&self) -> bool {
        matches!(self.endpoint, Sockets::Inherited(_))
    }

    /// Whether connections can come to it, and not datagrams alone.
    pub(crate) fn has_streams(&self) -> bool {
        self.transports() != [Transport::Udp]
    }

    /// Whether it is one of those of a name, or of all.
    pub(crate) fn is_called(&self, name: Option<&Name>) -> bool {
        name.is_none() || self.name.as_ref() == name
    }
}

impl From<Endpoint> for Listen {
    fn from(endpoint: Endpoint) -> Self {
        Sockets::Own(endpoint).into()
    }
}

impl From<Sockets> for Listen {
    fn from(endpoint: Sockets) -> Self {
        Listen {
            name: None,
            endpoint,
            framing: None,
            max_frame: None,
            fault: Vec::new(),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What is before the `=` is a name where it is neither a path nor an address.
        let named = text.split_once('=').filter(|(name, _)| !name.contains(':'));
        let (name, endpoint) = named.map_or((None, text), |(name, to)| (Some(name), to));
        Ok(Listen {
            name: name.map(str::parse).transpose()?,
            ..endpoint.parse::<Sockets>()?.into()
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        self.endpoint.fmt(f)
    }
}

/// A text where that says it all, and a table otherwise.
impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = Listen {
            name: self.name.clone(),
            ..self.endpoint.clone().into()
        };
        match *self == plain {
            true => serializer.collect_str(self),
            false => Listen::serialize(self, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrTable)
    }
}

struct TextOrTable;

impl<'de> Visitor<'de> for TextOrTable {
    type Value = Listen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a text such as \"api=127.0.0.1:0\", or a table such as { name = \"api\", endpoint = \
             \"127.0.0.1:0\" }",
        )
    }

    fn visit_str<E: de::Error>(self, listen: &str) -> Result<Listen, E> {
        text::read(StrDeserializer::new(listen))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Listen, A::Error> {
        Listen::deserialize(MapAccessDeserializer::new(table))
    }
}

/// A setting's value for all listeners, or for those of a name: `lines`, `lines,on=api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On<T> {
    /// The value.
    pub value: T,
    /// The listeners' name; `None`: all for which nothing else is said.
    pub on: Option<Name>,
}

impl<T> From<T> for On<T> {
    fn from(value: T) -> Self {
        On { value, on: None }
    }
}

impl<T: Copy> On<T> {
    /// The value among `all` for a listener that is called `name`, and has `own` of its own.
    pub(crate) fn of(all: &[Self], name: Option<&Name>, own: Option<T>) -> Option<T> {
        let last = |on| all.iter().rfind(|one| one.on.as_ref() == on);
        let named = name.and_then(|name| last(Some(name)));
        let value = |on: &On<T>| on.value;
        named.map(value).or(own).or(last(None).map(value))
    }
}

impl<T: FromStr<Err: fmt::Display>> FromStr for On<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (value, on) = match text.split_once(",on=") {
            Some((value, name)) => (value, Some(name.parse()?)),
            None => (text, None),
        };
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(On { value, on })
    }
}

impl<T: fmt::Display> fmt::Display for On<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)?;
        match &self.on {
            Some(name) => write!(f, ",on={name}"),
            None => Ok(()),
        }
    }
}

as_text!(On<T>, T: fmt::Display + FromStr<Err: fmt::Display>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_a_text_or_a_table() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct File {
            listen: Vec<Listen>,
        }
        let text = "listen = [\"[::1]:7\", \"api=unix:a=b\", { name = \"db\", endpoint = \
                    \"tcp://localhost:1\", framing = \"lines\", max-frame = 9, fault = [\"drop\"] }]";
        let file: File = toml::from_str(text).unwrap();
        let [plain, named, table] = &file.listen[..] else {
            panic!("{file:?}");
        };
        assert_eq!((&plain.name, plain.to_string()), (&None, "[::1]:7".into()));
        assert_eq!(named.endpoint, Sockets::Own(Endpoint::Unix("a=b".into())));
        assert_eq!(table.framing, Some(Framing::Lines));
        assert_eq!(table.max_frame, Some(Size(9)));
        assert_eq!(table.fault.len(), 1);
        let again = toml::to_string(&file).unwrap();
        assert_eq!(toml::from_str::<File>(&again).unwrap(), file, "{again}");
        for wrong in [
            "{ endpint = \"a:1\" }",
            "{ name = \"a b\" }",
            "\"x:y\"",
            "7.5",
        ] {
            let text = format!("listen = [{wrong}]");
            assert!(toml::from_str::<File>(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sockets_that_are_handed_over_are_told_from_hosts() {
        let named = |name: &str| Sockets::Inherited(Some(name.to_owned()));
        for (text, sockets) in [
            ("systemd", Sockets::Inherited(None)),
            ("systemd:a b", named("a b")),
        ] {
            assert_eq!(sockets.to_string(), text);
            assert_eq!(text.parse(), Ok(sockets));
        }
        let listen: Listen = "api=systemd:web".parse().unwrap();
        assert_eq!(
            (listen.endpoint, listen.name.unwrap().as_str()),
            (named("web"), "api")
        );
        assert!(matches!("systemd.example:7".parse(), Ok(Sockets::Own(_))));
        for wrong in ["systemd:", "systemd:a:b", "systemd:a\n", "systemd7"] {
            assert!(wrong.parse::<Sockets>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_word_about_a_name_holds_and_then_its_own() {
        let all: Vec<On<Framing>> = ["lines", "length", "raw,on=a", "lines,on=a"]
            .map(|text| text.parse().unwrap())
            .into();
        let of = |name: Option<&str>, own| {
            let name: Option<Name> = name.map(|name| name.parse().unwrap());
            On::of(&all, name.as_ref(), own)
        };
        assert_eq!(of(None, None), Some(Framing::Length));
        assert_eq!(of(Some("b"), None), Some(Framing::Length));
        assert_eq!(of(Some("b"), Some(Framing::Raw)), Some(Framing::Raw));
        assert_eq!(of(Some("a"), Some(Framing::Raw)), Some(Framing::Lines));
    }
}
