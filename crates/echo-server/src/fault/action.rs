//! What a fault does.

use std::fmt;
use std::time::Duration;

use echo_core::Transport;
use echo_core::units::{Size, Timespan};

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connections are left waiting; the system holds this many, and one more on Linux.
    NoAccept(u16),
    /// The connection is refused, or reset as soon as it is accepted.
    Refuse,
    /// The server speaks first: these bytes are sent when the connection is accepted.
    Banner(Vec<u8>),
    /// What arrives is read and never answered.
    Stall,
    /// The message is not answered.
    Drop,
    /// The answer is changed.
    Corrupt(Corruption),
    /// Only this many bytes of the message are sent back.
    Truncate(u64),
    /// The message is answered twice.
    Duplicate,
    /// The message's answer is overtaken by the next one's.
    Reorder,
    /// The answer comes later.
    Delay(Delay),
    /// Answers are held until there are this many bytes of them.
    Merge(usize),
    /// The answer comes in pieces of this many bytes.
    Split(usize),
    /// Answers come in pieces of this many bytes, this long apart.
    Trickle(usize, Duration),
    /// Answers come at this many bytes a second.
    Rate(u64),
    /// The connection is ended.
    End(Ending, After),
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Our side only; what arrives is read on and never answered.
    HalfClose,
    /// As after a normal exchange.
    Close,
    /// With a reset.
    Reset,
}

/// What is changed in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// One bit.
    Bit,
    /// This many bytes, or all of a shorter message.
    Bytes(u64),
}

/// How long an answer is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Always as long.
    Fixed(Duration),
    /// Anything from the first to the second, all equally likely.
    Uniform(Duration, Duration),
    /// Normally distributed about the first, the second being the standard deviation; never
    /// below zero.
    Normal(Duration, Duration),
}

/// When a connection's end comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Once this many bytes are sent back.
    Bytes(u64),
    /// Once this many messages are answered.
    Messages(u64),
    /// This long after it was accepted.
    Time(Duration),
}

/// A word that says what happens, and all there is to know of it.
pub(super) struct Word {
    pub(super) name: &'static str,
    /// The kinds of socket on which it can happen.
    pub(super) sockets: &'static [Transport],
    /// Whether it happens to single messages, not to a connection as a whole.
    pub(super) per_message: bool,
    /// How it is written.
    pub(super) form: &'static str,
}

impl Word {
    /// Whether a share of the messages, or of the connections, may stand behind it.
    pub(super) fn takes_share(&self) -> bool {
        self.form.contains('%')
    }
}

const TCP: &[Transport] = &[Transport::Tcp];
const UDP: &[Transport] = &[Transport::Udp];
const STREAMS: &[Transport] = &[Transport::Tcp, Transport::Unix];
const ALL: &[Transport] = &[Transport::Tcp, Transport::Udp, Transport::Unix];

/// Says of each word, once, which actions are written with it, on which sockets they can happen, whether
/// to single messages, and how it is written.
macro_rules! words {
    ($($name:literal $(for $action:pat)?, $sockets:ident, $per_message:literal, $form:literal;)+) => {
        /// Every word, in the order in which what they say is applied.
        pub(super) const WORDS: &[Word] = &[$(Word {
            name: $name,
            sockets: $sockets,
            per_message: $per_message,
            form: $form,
        }),+];

        impl Action {
            /// The word that it is written with.
            pub(super) fn word(&self) -> &'static Word {
                match self {
                    $($($action => &Word {
                        name: $name,
                        sockets: $sockets,
                        per_message: $per_message,
                        form: $form,
                    },)?)+
                }
            }
        }
    };
}

words! {
    "no-accept" for Action::NoAccept(_), STREAMS, false, "no-accept, or no-accept=4 to let 4 wait";
    "refuse" for Action::Refuse, TCP, false, "refuse, or refuse=20% for a share of the connections";
    "banner" for Action::Banner(_), STREAMS, false, "banner=220 ready\\r\\n";
    "stall" for Action::Stall, STREAMS, false, "stall, or stall=20% for a share of the connections";
    "drop" for Action::Drop, ALL, true, "drop, or drop=20% for a share of the messages";
    "corrupt" for Action::Corrupt(_), ALL, true, "corrupt, corrupt=1% for a share of the messages, or corrupt=4 for 4 bytes";
    "truncate" for Action::Truncate(_), ALL, true, "truncate=100";
    "duplicate" for Action::Duplicate, ALL, true, "duplicate, or duplicate=5% for a share of the messages";
    "reorder" for Action::Reorder, UDP, true, "reorder, or reorder=5% for a share of the datagrams";
    "delay" for Action::Delay(_), ALL, true, "delay=50ms, delay=40ms..60ms or delay=50ms±10ms";
    "hold", ALL, true, "hold=200ms";
    "merge" for Action::Merge(_), STREAMS, false, "merge=4k";
    "split" for Action::Split(_), ALL, true, "split=3";
    "trickle" for Action::Trickle(..), STREAMS, false, "trickle=1/100ms";
    "rate" for Action::Rate(_), ALL, false, "rate=10k";
    "half-close-after" for Action::End(Ending::HalfClose, _), STREAMS, false, "half-close-after=1k, =3msg or =200ms";
    "close-after" for Action::End(Ending::Close, _), STREAMS, false, "close-after=1k, =3msg or =200ms";
    // A Unix socket has no reset.
    "reset-after" for Action::End(Ending::Reset, _), TCP, false, "reset-after=1k, =3msg or =200ms";
}

impl Action {
    /// The place of its word among [`WORDS`].
    pub(super) fn index(&self) -> Option<usize> {
        WORDS.iter().position(|word| word.name == self.name())
    }

    /// The name it is written with.
    pub fn name(&self) -> &'static str {
        self.word().name
    }

    /// The kinds of socket on which it can happen.
    pub(crate) fn sockets(&self) -> &'static [Transport] {
        self.word().sockets
    }
}

impl Ending {
    /// The name of the fault that ends a connection so.
    pub(crate) fn name(self) -> &'static str {
        Action::End(self, After::Bytes(0)).name()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Action::NoAccept(backlog) => write!(f, "={backlog}"),
            Action::Banner(bytes) => {
                f.write_str("=")?;
                bytes.iter().try_for_each(|byte| match byte {
                    b'\r' => f.write_str("\\r"),
                    b'\n' => f.write_str("\\n"),
                    // Neither what separates faults nor their parts, nor what is trimmed.
                    b',' | b';' | b'\\' => write!(f, "\\x{byte:02x}"),
                    b'!'..=b'~' => write!(f, "{}", char::from(*byte)),
                    _ => write!(f, "\\x{byte:02x}"),
                })
            }
            Action::Truncate(bytes) | Action::Rate(bytes) => write!(f, "={}", Size(*bytes)),
            Action::Corrupt(Corruption::Bytes(bytes)) => write!(f, "={}", Size(*bytes)),
            Action::Merge(bytes) | Action::Split(bytes) => write!(f, "={}", Size(*bytes as u64)),
            Action::Delay(delay) => write!(f, "={delay}"),
            Action::Trickle(bytes, every) => {
                write!(f, "={}/{}", Size(*bytes as u64), Timespan(*every))
            }
            Action::End(_, after) => write!(f, "={after}"),
            Action::Refuse
            | Action::Stall
            | Action::Drop
            | Action::Corrupt(Corruption::Bit)
            | Action::Duplicate
            | Action::Reorder => Ok(()),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delay::Fixed(delay) => write!(f, "{}", Timespan(*delay)),
            Delay::Uniform(least, most) => write!(f, "{}..{}", Timespan(*least), Timespan(*most)),
            Delay::Normal(mean, deviation) => {
                write!(f, "{}±{}", Timespan(*mean), Timespan(*deviation))
            }
        }
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            After::Bytes(bytes) => write!(f, "{}", Size(*bytes)),
            After::Messages(messages) => write!(f, "{messages}msg"),
            After::Time(time) => write!(f, "{}", Timespan(*time)),
        }
    }
}
