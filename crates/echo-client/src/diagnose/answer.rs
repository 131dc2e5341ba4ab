//! What a probe came to: an answer, a refusal and by whom, or silence.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::connection::ErrorKind;
use crate::connection::ancillary::{Notice, Origin};

/// What one datagram or one attempt to connect came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An echo, or a connection, after this long.
    Came(Duration),
    /// The target itself says that nobody listens.
    Refused,
    /// Somebody forbids it; `None`: this machine.
    Barred(Option<IpAddr>),
    /// Somebody knows no way; `None`: this machine.
    Unreachable(Option<IpAddr>),
    /// Its hops were used up at this router.
    UsedUp(IpAddr),
    /// It was larger than this many bytes, as this hop says.
    TooLarge(Option<IpAddr>, u32),
    /// Nothing.
    Silence,
}

impl Answer {
    /// How long it took to come, if it came.
    pub fn time(&self) -> Option<Duration> {
        match self {
            Answer::Came(time) => Some(*time),
            _ => None,
        }
    }

    /// Whose word it is, of those on the path who speak for others.
    pub fn who(&self) -> Option<IpAddr> {
        match self {
            Answer::Barred(who) | Answer::Unreachable(who) | Answer::TooLarge(who, _) => *who,
            Answer::UsedUp(who) => Some(*who),
            Answer::Came(_) | Answer::Refused | Answer::Silence => None,
        }
    }

    /// What the system says of a socket, where it names nobody.
    pub fn failed(kind: io::ErrorKind) -> Self {
        use io::ErrorKind as Io;
        match kind {
            Io::ConnectionRefused | Io::ConnectionReset => Answer::Refused,
            Io::PermissionDenied => Answer::Barred(None),
            Io::TimedOut => Answer::Silence,
            _ => Answer::Unreachable(None),
        }
    }

    /// What it says where `target` is to be asked.
    ///
    /// # Errors
    /// The same: this machine lacks what it takes to ask, files or ports, and that is no answer.
    pub fn asked(error: io::Error, target: IpAddr) -> io::Result<Self> {
        let is_no_address = error.kind() == io::ErrorKind::AddrNotAvailable;
        // Of a family that it does not have, it has no address either.
        let is_other_family = is_no_address && target.is_ipv6() && error.raw_os_error().is_some();
        match ErrorKind::of(&error) {
            ErrorKind::Exhausted if !is_other_family => Err(error),
            _ => Ok(Answer::failed(error.kind())),
        }
    }

    /// What a notice says of packets to `target` (RFC 792, 1812 and 4443).
    pub fn told(notice: &Notice, target: IpAddr) -> Self {
        let Origin::Icmp { from, kind, code } = notice.origin else {
            return match notice.mtu {
                Some(mtu) => Answer::TooLarge(None, mtu),
                None => Answer::failed(io::Error::from_raw_os_error(notice.errno).kind()),
            };
        };
        if let Some(mtu) = notice.mtu {
            return Answer::TooLarge(Some(from), mtu);
        }
        match (from.is_ipv4(), kind, code) {
            (true, 11, _) | (false, 3, _) => Answer::UsedUp(from),
            // No port: only the target knows its own, and whoever says so in its place forbids it.
            (true, 3, 2 | 3) | (false, 1, 4) if from == target => Answer::Refused,
            (true, 3, 2 | 3 | 9 | 10 | 13) | (false, 1, 1 | 4 | 5 | 6) => {
                Answer::Barred(Some(from))
            }
            _ => Answer::Unreachable(Some(from)),
        }
    }
}

/// How many of them came.
pub fn came(answers: &[Answer]) -> usize {
    answers.iter().filter_map(Answer::time).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(from: &str, kind: u8, code: u8, mtu: Option<u32>) -> Answer {
        let from: IpAddr = from.parse().unwrap();
        let target = match from {
            IpAddr::V4(_) => "192.0.2.9",
            IpAddr::V6(_) => "2001:db8::9",
        };
        let notice = Notice {
            len: 0,
            origin: Origin::Icmp { from, kind, code },
            errno: 0,
            mtu,
        };
        Answer::told(&notice, target.parse().unwrap())
    }

    #[test]
    fn a_closed_port_is_the_targets_word_and_a_firewalls_ban_in_any_other_mouth() {
        for (target, hop, kind, code) in [
            ("192.0.2.9", "192.0.2.1", 3, 3),
            ("2001:db8::9", "2001:db8::1", 1, 4),
        ] {
            assert_eq!(told(target, kind, code, None), Answer::Refused);
            let from = hop.parse().ok();
            assert_eq!(told(hop, kind, code, None), Answer::Barred(from));
        }
    }

    #[test]
    fn what_this_machine_lacks_is_no_answer_of_anybody() {
        use rustix::io::Errno;
        let asked =
            |error: Errno, target: &str| Answer::asked(error.into(), target.parse().unwrap()).ok();
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
        ] {
            assert_eq!(asked(errno, "192.0.2.9"), None, "{errno}");
        }
        let no_way = Some(Answer::Unreachable(None));
        assert_eq!(asked(Errno::NETUNREACH, "192.0.2.9"), no_way);
        assert_eq!(asked(Errno::ADDRNOTAVAIL, "2001:db8::9"), no_way);
    }

    #[test]
    fn icmp_says_who_forbids_who_knows_no_way_and_what_fits() {
        let (four, six) = ("192.0.2.1", "2001:db8::1");
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        for (from, kind, code) in [
            (four, 3, 13),
            (four, 3, 9),
            (four, 3, 10),
            (six, 1, 1),
            (six, 1, 5),
        ] {
            assert_eq!(told(from, kind, code, None), Answer::Barred(Some(at(from))));
        }
        for (from, kind, code) in [(four, 3, 0), (four, 3, 1), (six, 1, 0), (six, 1, 3)] {
            assert_eq!(
                told(from, kind, code, None),
                Answer::Unreachable(Some(at(from)))
            );
        }
        for (from, kind) in [(four, 11), (six, 3)] {
            assert_eq!(told(from, kind, 0, None), Answer::UsedUp(at(from)));
        }
        assert_eq!(
            told(four, 3, 4, Some(1400)),
            Answer::TooLarge(Some(at(four)), 1400)
        );
    }
}
