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

impl Action {
    /// The name it is written with.
    pub fn name(&self) -> &'static str {
        match self {
            Action::NoAccept(_) => "no-accept",
            Action::Refuse => "refuse",
            Action::Banner(_) => "banner",
            Action::Stall => "stall",
            Action::Drop => "drop",
            Action::Corrupt(_) => "corrupt",
            Action::Truncate(_) => "truncate",
            Action::Duplicate => "duplicate",
            Action::Reorder => "reorder",
            Action::Delay(_) => "delay",
            Action::Merge(_) => "merge",
            Action::Split(_) => "split",
            Action::Trickle(..) => "trickle",
            Action::Rate(_) => "rate",
            Action::End(ending, _) => ending.name(),
        }
    }

    /// Whether it happens to single messages, not to a connection as a whole.
    pub(super) fn is_per_message(&self) -> bool {
        matches!(
            self,
            Action::Drop
                | Action::Corrupt(_)
                | Action::Truncate(_)
                | Action::Duplicate
                | Action::Reorder
                | Action::Delay(_)
                | Action::Split(_)
        )
    }

    /// The kinds of socket on which it can happen.
    pub(crate) fn transports(&self) -> &'static [Transport] {
        match self {
            Action::Reorder => &[Transport::Udp],
            // A Unix socket has no reset.
            Action::Refuse | Action::End(Ending::Reset, _) => &[Transport::Tcp],
            Action::Rate(_) => &[Transport::Tcp, Transport::Udp, Transport::Unix],
            action if action.is_per_message() => &[Transport::Tcp, Transport::Udp, Transport::Unix],
            _ => &[Transport::Tcp, Transport::Unix],
        }
    }
}

impl Ending {
    /// The name of the fault that ends a connection so.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Ending::HalfClose => "half-close-after",
            Ending::Close => "close-after",
            Ending::Reset => "reset-after",
        }
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
