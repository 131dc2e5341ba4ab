//! The step `names`: each family of addresses is asked for apart, and timed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use echo_core::units::Timespan;
use echo_core::{Endpoint, Zoned};

use super::finding::{Finding, Verdict, finding};
use super::path::{Path, family};
use crate::connection::{Connect, Unknown, look_up_family};
use crate::interrupt::Interrupt;
use crate::report::format;
use crate::thread::start_in;

/// A name server that answers needs less, wherever on Earth it is; a system that waits for one
/// that does not answer needs more.
const SLOW: Duration = Duration::from_millis(500);

/// What asking for one family came to.
#[derive(Debug)]
struct Asked {
    is_ipv4: bool,
    found: Result<Vec<SocketAddr>, Unknown>,
    /// How long it took, the quicker of two times where the first was slow.
    took: Duration,
}

/// Looks up the target's addresses.
pub fn names(path: &mut Path<'_>) -> Result<String> {
    let Endpoint::Inet { host, port, .. } = &path.connect.target else {
        bail!("a Unix socket has no name");
    };
    if let Ok(Zoned(address)) = Zoned::at(host, *port) {
        path.addresses = vec![meant(address)];
        bail!("{host} is an address");
    }
    let (connect, interrupt) = (path.connect, path.interrupt);
    let asked: Vec<Asked> = thread::scope(|scope| {
        // In the order of RFC 6724, section 2.1: IPv6 first.
        let families = [false, true].into_iter();
        let wanted = families.filter(|is_ipv4| connect.wants_family(*is_ipv4));
        let ask = move |is_ipv4| ask(connect, interrupt, host, *port, is_ipv4);
        let begin = |is_ipv4| start_in(scope, "ask", move || ask(is_ipv4)).map_err(|_| is_ipv4);
        let threads: Vec<_> = wanted.map(begin).collect();
        // Where the system refuses a thread, they are asked for one after the other.
        let asked = threads.into_iter().filter_map(|thread| match thread {
            Ok(thread) => thread.join().ok(),
            Err(is_ipv4) => Some(ask(is_ipv4)),
        });
        asked.collect()
    });
    let found = asked.iter().flat_map(|asked| asked.found.iter().flatten());
    for address in found.map(|address| meant(*address)) {
        if !path.addresses.contains(&address) {
            path.addresses.push(address);
        }
    }
    path.findings.extend(judge(host, &asked));
    Ok(format!("{host}: {}", list(&asked)))
}

/// Where packets to an address go, and who speaks of them: to IPv4 within IPv6 they are IPv4, and to
/// no address in particular they stay on this machine.
fn meant(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    });
    address
}

/// Asks, and once more where that was slow: a name that nobody has asked for in a while is slow once.
fn ask(connect: &Connect, interrupt: &Interrupt, host: &str, port: u16, is_ipv4: bool) -> Asked {
    let once = || {
        let start = Instant::now();
        let found = look_up_family(connect, host, port, is_ipv4, interrupt);
        (found, start.elapsed())
    };
    let (found, mut took) = once();
    if took >= SLOW && found != Err(Unknown::Silence) {
        took = took.min(once().1);
    }
    Asked {
        is_ipv4,
        found,
        took,
    }
}

/// What the answers say of the name.
fn judge(host: &str, asked: &[Asked]) -> Option<Finding> {
    let is_silent = |asked: &Asked| asked.found == Err(Unknown::Silence);
    let slowest = asked.iter().max_by_key(|asked| asked.took)?;
    let verdict = match asked.iter().all(|asked| asked.found.is_err()) {
        true if asked.iter().any(is_silent) => Verdict::DnsDead,
        true => Verdict::DnsNxdomain,
        // Where nobody can be asked at all, that is known at once, and holds up nobody.
        false if slowest.took >= SLOW => Verdict::DnsSlow,
        false => return None,
    };
    Some(finding!(verdict;
        name: host, list: list(asked), limit: Timespan(SLOW), time: format::time(slowest.took)
    ))
}

fn list(asked: &[Asked]) -> String {
    let told = asked.iter().map(|asked| {
        let found = match &asked.found {
            Ok(addresses) => format!("{} found", addresses.len()),
            Err(Unknown::Nothing(why)) => why.clone(),
            Err(Unknown::Silence) => "no answer".to_owned(),
        };
        let (family, took) = (family(asked.is_ipv4), format::time(asked.took));
        format!("{family}: {found} after {took}")
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(is_ipv4: bool, found: Result<&str, Unknown>, ms: u64) -> Asked {
        Asked {
            is_ipv4,
            found: found.map(|address| vec![address.parse().unwrap()]),
            took: Duration::from_millis(ms),
        }
    }

    fn nothing() -> Result<&'static str, Unknown> {
        Err(Unknown::Nothing("it has no address".to_owned()))
    }

    fn verdict(asked: &[Asked]) -> Option<Verdict> {
        judge("a.name", asked).map(|finding| finding.verdict)
    }

    #[test]
    fn a_name_of_one_family_is_well() {
        assert_eq!(
            verdict(&[
                asked(false, nothing(), 3),
                asked(true, Ok("192.0.2.1:7"), 2)
            ]),
            None
        );
    }

    #[test]
    fn a_name_of_no_family_does_not_exist_unless_nobody_answers() {
        let none = [asked(false, nothing(), 3), asked(true, nothing(), 2)];
        assert_eq!(verdict(&none), Some(Verdict::DnsNxdomain));
        let unknown = [
            asked(false, nothing(), 3),
            asked(true, Err(Unknown::Silence), 2),
        ];
        assert_eq!(verdict(&unknown), Some(Verdict::DnsDead));
    }

    #[test]
    fn one_family_that_waits_for_a_silent_server_is_slow() {
        let slow = [
            asked(false, nothing(), 1001),
            asked(true, Ok("192.0.2.1:7"), 2),
        ];
        assert_eq!(verdict(&slow), Some(Verdict::DnsSlow));
        let silence = |took| {
            verdict(&[
                asked(false, Err(Unknown::Silence), took),
                asked(true, Ok("192.0.2.1:7"), 2),
            ])
        };
        assert_eq!(silence(2000), Some(Verdict::DnsSlow));
        // There is no name server, or none that can be reached: a file knows the name.
        assert_eq!(silence(1), None);
    }
}
