//! A step in words, and the lines of code beside them.

use super::text::wrap;
use std::os::unix::ffi::OsStrExt;

use echo_core::Zoned;
use echo_core::address::End;
use echo_core::escape::Escaped;

use super::{Call, Family, SocketKind, Step};
use crate::netstat;

/// A step in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// Its number, from 1.
    pub number: usize,
    /// The line of Python that it corresponds to.
    pub python: String,
    /// The call, with its real values.
    pub system: String,
    /// What it means.
    pub text: String,
    /// A heading, and the socket's row under it.
    pub listed: Option<(String, String)>,
}

/// The columns that a text takes at most, but for a long path.
const WIDTH: usize = 80;

/// A text as lines.
pub(super) fn paragraph(text: &str) -> String {
    wrap(text, WIDTH).join("\n") + "\n"
}

impl Telling {
    const INDENT: &'static str = "    ";

    /// As a paragraph of text, with colours or without.
    pub fn paragraph(&self, colour: bool) -> String {
        self.lines(WIDTH, colour).join("\n") + "\n"
    }

    /// As lines of at most `width` columns, as far as the words allow.
    pub fn lines(&self, width: usize, colour: bool) -> Vec<String> {
        let paint = |code: &str, text: &str| match colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let indent = Self::INDENT;
        let mut lines = vec![
            format!("{:>2}  {}", self.number, paint("1;36", &self.python)),
            format!("{indent}{}", paint("2", &self.system)),
        ];
        let text = wrap(&self.text, width - indent.len());
        lines.extend(text.iter().map(|line| format!("{indent}{line}")));
        if let Some((heading, row)) = &self.listed {
            lines.push(format!("{indent}{heading}"));
            if !row.is_empty() {
                lines.push(format!("{indent}{}", paint("2", netstat::HEADER)));
                lines.push(format!("{indent}{}", paint("32", row.trim_end())));
            }
        }
        lines
    }
}

/// The line of Python.
pub(super) fn python(name: &str, kind: SocketKind, call: &Call) -> String {
    match call {
        Call::Socket { family, kind } => {
            format!("{name} = socket.socket(socket.{family}, socket.{kind})")
        }
        Call::Bind { asked, .. } => format!("{name}.bind({})", tuple(asked)),
        Call::Listen { backlog } => format!("{name}.listen({backlog})"),
        Call::Accept { peer, .. } => {
            format!("conn, addr = {name}.accept()  # addr: {}", tuple(peer))
        }
        Call::Connect { peer, .. } => format!("{name}.connect({})", tuple(peer)),
        Call::Send { .. } if kind == SocketKind::Datagram => format!("{name}.send(data)"),
        Call::Send { .. } => format!("{name}.sendall(data)"),
        Call::Receive {
            received_bytes,
            room_bytes,
        } => format!("data = {name}.recv({room_bytes})  # len(data): {received_bytes}"),
        Call::SendTo { .. } => format!("{name}.sendto(data, addr)"),
        Call::ReceiveFrom { peer, .. } => {
            format!(
                "data, addr = {name}.recvfrom(65535)  # addr: {}",
                tuple(peer)
            )
        }
        Call::Shutdown { both: false } => format!("{name}.shutdown(socket.SHUT_WR)"),
        Call::Shutdown { both: true } => format!("{name}.shutdown(socket.SHUT_RDWR)"),
        Call::Close => format!("{name}.close()"),
    }
}

/// An address as Python writes it.
fn tuple(end: &End) -> String {
    match end {
        End::Inet(address) => format!("(\"{}\", {})", Zoned(*address).ip(), address.port()),
        // As a literal of bytes, where it is no text; in the abstract namespace a zero comes first.
        End::Unix(path) => match path.to_str() {
            Some(text) => format!("\"{}\"", Escaped(text.as_bytes())),
            None => format!("b\"{}\"", path.as_os_str().as_bytes().escape_ascii()),
        },
    }
}

/// The call, about as strace shows it.
pub(super) fn system(step: &Step) -> String {
    let number = step.socket;
    let (call, outcome) = match &step.call {
        Call::Socket { family, kind } => {
            let protocol = match (family, kind) {
                (Family::Unix, _) => "0",
                (_, SocketKind::Stream) => "IPPROTO_TCP",
                (_, SocketKind::Datagram) => "IPPROTO_UDP",
            };
            (
                format!("socket({family}, {kind}, {protocol})"),
                number.into(),
            )
        }
        Call::Bind { asked, .. } => (format!("bind({number}, {asked})"), 0),
        Call::Listen { backlog } => (format!("listen({number}, {backlog})"), 0),
        Call::Accept { accepted, peer, .. } => {
            (format!("accept4({number}, {peer})"), (*accepted).into())
        }
        Call::Connect { peer, .. } => (format!("connect({number}, {peer})"), 0),
        Call::Send {
            sent_bytes,
            offered_bytes,
        } => (
            format!("send({number}, data, {offered_bytes})"),
            signed(*sent_bytes),
        ),
        Call::Receive {
            received_bytes,
            room_bytes,
        } => (
            format!("recv({number}, data, {room_bytes})"),
            signed(*received_bytes),
        ),
        Call::SendTo {
            peer, sent_bytes, ..
        } => (
            format!("sendto({number}, data, {sent_bytes}, {peer})"),
            signed(*sent_bytes),
        ),
        Call::ReceiveFrom {
            peer,
            received_bytes,
            ..
        } => (
            format!("recvfrom({number}, data, {peer})"),
            signed(*received_bytes),
        ),
        Call::Shutdown { both } => {
            let how = if *both { "SHUT_RDWR" } else { "SHUT_WR" };
            (format!("shutdown({number}, {how})"), 0)
        }
        Call::Close => (format!("close({number})"), 0),
    };
    match &step.error {
        None => format!("{call} = {outcome}"),
        Some(_) => format!("{call} = -1"),
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
