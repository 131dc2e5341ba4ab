//! The step `reach`: whether anybody answers at each address, over each transport, and who says
//! that nobody does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use echo_core::{Transport, Zoned};

use super::answer::{Answer, came};
use super::dial::{Call, dial};
use super::finding::{Finding, Verdict, finding};
use super::hops::{dead, walk};
use super::path::{Hop, Path, family};
use super::sender::{self, Plan};
use super::train::{Cell, Train};
use super::trains::SMALL;
use crate::connection::is_this_machine;

/// A name may have any number of addresses.
const ADDRESSES: usize = 6;
/// Source ports of datagrams, and datagrams from all of them.
const PORTS: usize = 6;
const DATAGRAMS: usize = 2 * PORTS;
/// A link that is down may be up again after this.
const MOMENT: Duration = Duration::from_secs(1);
/// Connections that are tried.
const CALLS: usize = 4;
/// The time from one datagram to the next.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long a connection may take whose first packet is lost, which is sent again after a second; and a
/// router that asks for a machine next to it three times, a second each, before it says that it is not there.
const CONNECT: Duration = Duration::from_millis(3500);

/// What came of the probes to one address.
#[derive(Debug)]
pub(super) struct Seen {
    remote: SocketAddr,
    /// What datagrams came to; empty: none was wanted.
    pub(super) udp: Vec<Answer>,
    /// The local port from which most of them came back, if any did.
    port: Option<u16>,
    /// What connections came to; empty: none was wanted.
    pub(super) tcp: Vec<Answer>,
}

/// Asks every address, and chooses the one that all further probes go to.
pub fn reach(path: &mut Path<'_>) -> Result<String> {
    let addresses = path.addresses.iter().take(ADDRESSES);
    let mut seen: Vec<Seen> = addresses.map(|remote| Seen::nothing(*remote)).collect();
    if path.wants(Transport::Udp) {
        for seen in &mut seen {
            seen.ask(path)?;
        }
        let is_silent = |seen: &Seen| seen.udp.iter().all(|answer| *answer == Answer::Silence);
        if seen.iter().all(is_silent) {
            // Where the link is down for a moment, all are lost with one. Whoever says something says
            // it seldom, and need not say it again.
            path.interrupt.wait(MOMENT);
            for seen in &mut seen {
                seen.ask(path)?;
            }
        }
    }
    if path.wants(Transport::Tcp) {
        call(path, &mut seen)?;
    }
    let best = seen.iter().max_by_key(|seen| seen.rank());
    if let Some(best) = best.filter(|best| best.rank() > 0) {
        path.remote = Some(best.remote);
        path.has_tcp = came(&best.tcp) > 0;
        path.udp_port = best.port;
        path.rtt = best.answers().filter_map(|answer| answer.time()).min();
    } else if let Some(first) = seen.first() {
        // What cannot be sent is no answer either.
        let _: io::Result<_> = walk(path, first.remote);
    }
    path.findings.extend(judge(&seen, &path.hops));
    let mut told = told(&seen);
    if path.remote.is_some_and(is_this_machine) {
        told += "; that is this machine, and no network lies between";
    }
    Ok(told)
}

/// Connects to each address, unless this machine lacks what it takes.
pub(super) fn call(path: &mut Path<'_>, seen: &mut [Seen]) -> io::Result<()> {
    let calls = seen.iter().flat_map(|seen| [Call::to(seen.remote); CALLS]);
    let calls: Vec<Call> = calls.collect();
    let results = dial(path, &calls, calls.len(), CONNECT)?;
    for (seen, results) in seen.iter_mut().zip(results.chunks(CALLS)) {
        seen.tcp = results.iter().map(|(answer, _)| *answer).collect();
    }
    Ok(())
}

impl Seen {
    pub(super) fn nothing(remote: SocketAddr) -> Self {
        Seen {
            remote,
            udp: Vec::new(),
            port: None,
            tcp: Vec::new(),
        }
    }

    /// Sends datagrams, and returns what became of them, if they could be sent; an error where this
    /// machine lacks what it takes.
    pub(super) fn ask(&mut self, path: &mut Path<'_>) -> io::Result<Option<Train>> {
        let cells = (0..PORTS).map(|flow| Cell::of(SMALL).over(flow)).collect();
        let plan = Plan::of((self.remote, 0), cells, DATAGRAMS, INTERVAL);
        match sender::send(path, &plan) {
            Ok(train) => {
                self.udp = train.answers(|_| true);
                self.port = good_port(&train);
                Ok(Some(train))
            }
            Err(error) => {
                self.udp = vec![Answer::asked(error, self.remote.ip())?; DATAGRAMS];
                Ok(None)
            }
        }
    }

    pub(super) fn answers(&self) -> impl Iterator<Item = Answer> {
        self.udp.iter().chain(&self.tcp).copied()
    }

    /// How much works: the transports that do.
    fn rank(&self) -> usize {
        usize::from(came(&self.udp) > 0) + usize::from(came(&self.tcp) > 0)
    }

    pub(super) fn ip(&self) -> String {
        Zoned(self.remote).ip()
    }

    /// A finding that tells what was sent to it.
    pub(super) fn filled(&self, finding: Finding) -> Finding {
        let finding = finding.with("datagrams", self.udp.len());
        let finding = finding.with("connections", self.tcp.len());
        finding.with("ports", PORTS).with("ip", self.ip())
    }

    /// What answers to some of what was sent say, if none of them is as it should be.
    fn judge(
        &self,
        what: &str,
        answers: &[Answer],
        [refused, filtered]: [Verdict; 2],
    ) -> Option<Finding> {
        if answers.is_empty() || came(answers) > 0 {
            return None;
        }
        // Whoever says something knows more than silence.
        let said = answers.iter().filter(|answer| **answer != Answer::Silence);
        let answer = *said.clone().next().unwrap_or(&Answer::Silence);
        let verdict = match answer {
            Answer::Refused => refused,
            Answer::Barred(_) => Verdict::Prohibited,
            Answer::Unreachable(_) => Verdict::Unreachable,
            Answer::UsedUp(_) => Verdict::Loop,
            _ => filtered,
        };
        let place = match (answer, answer.who()) {
            (_, Some(who)) => who.to_string(),
            (Answer::Barred(_) | Answer::Unreachable(_), None) => "this machine".to_owned(),
            _ => self.ip(),
        };
        let came = match said.count() {
            0 => "no answer at all".to_owned(),
            said => format!("{said} had such an answer, and nothing else came"),
        };
        let finding = finding!(verdict; n: answers.len(), what, ip: self.ip(), came);
        Some(finding.by("reached").at(place))
    }
}

/// The local port from which most datagrams came back.
fn good_port(train: &Train) -> Option<u16> {
    let ports = train.locals.iter().enumerate().map(|(flow, local)| {
        let answers = train.answers(|cell| cell.flow == flow);
        (came(&answers), local.port())
    });
    let (came, port) = ports.max_by_key(|(came, _)| *came)?;
    (came > 0).then_some(port)
}

/// What the answers of all addresses come to. `hops` are those on the way to the first of them,
/// where none works.
fn judge(seen: &[Seen], hops: &[Hop]) -> Vec<Finding> {
    let works = |is_ipv4| {
        let mut family = seen.iter().filter(|seen| seen.remote.is_ipv4() == is_ipv4);
        family.any(|seen| seen.rank() > 0)
    };
    let mut found = Vec::new();
    for one in seen {
        let is_ipv4 = one.remote.is_ipv4();
        if !works(is_ipv4) && works(!is_ipv4) {
            found.push(dead_family(one));
        } else if one.answers().all(|answer| answer == Answer::Silence) {
            let finding = one.filled(dead(hops));
            found.push(match works(is_ipv4) {
                true => finding.at(one.ip()),
                false => finding,
            });
        } else {
            use Verdict::{TcpFiltered, TcpRefused, UdpFiltered, UdpRefused};
            let all = one.answers().collect::<Vec<_>>();
            let [udp, tcp, both] = [
                ("datagrams", &one.udp, [UdpRefused, UdpFiltered]),
                ("connections", &one.tcp, [TcpRefused, TcpFiltered]),
                ("datagrams and connections", &all, [TcpRefused, TcpFiltered]),
            ]
            .map(|(what, answers, verdicts)| one.judge(what, answers, verdicts));
            // What somebody says of both is told once; of a loop, each of its routers may say it.
            let is_one = udp.as_ref().zip(tcp.as_ref()).is_some_and(|(udp, tcp)| {
                let is_place = udp.place() == tcp.place() || udp.verdict == Verdict::Loop;
                udp.verdict == tcp.verdict && is_place
            });
            match is_one {
                true => found.extend(both),
                false => found.extend(udp.into_iter().chain(tcp)),
            }
        }
    }
    found
}

fn dead_family(seen: &Seen) -> Finding {
    let is_ipv4 = seen.remote.is_ipv4();
    let who = seen.answers().find_map(|answer| answer.who());
    let finding = finding!(Verdict::FamilyDead;
        family: family(is_ipv4), other: family(!is_ipv4), list: told(std::slice::from_ref(seen))
    );
    let place = who.map_or_else(|| seen.ip(), |who| who.to_string());
    let finding = seen.filled(finding).at(place);
    // A machine without that family at all never tries: nothing is wrong with the path.
    let is_local = |answer| answer == Answer::Unreachable(None);
    finding.fact_if(seen.answers().all(is_local))
}

/// What came, address by address.
pub(super) fn told(seen: &[Seen]) -> String {
    let of = |answers: &[Answer]| match answers.len() {
        0 => "not asked".to_owned(),
        sent => format!("{} of {sent}", came(answers)),
    };
    let told = seen.iter().map(|seen| {
        let (ip, udp, tcp) = (seen.ip(), of(&seen.udp), of(&seen.tcp));
        format!("{ip}: UDP {udp}, TCP {tcp}")
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::finding::{Findings, Kind};
    use super::super::train::Probe;
    use super::*;

    const MS: Answer = Answer::Came(Duration::from_millis(1));
    const HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn seen(remote: &str, udp: Answer, tcp: Answer) -> Seen {
        Seen {
            udp: vec![udp; DATAGRAMS],
            tcp: vec![tcp; CALLS],
            ..Seen::nothing(remote.parse().unwrap())
        }
    }

    fn verdicts(seen: &[Seen]) -> Vec<(Verdict, Option<String>)> {
        let hop = Hop {
            ttl: 1,
            address: Some(HOP),
            rtt_ns: None,
        };
        let found = judge(seen, &[hop]).into_iter();
        found
            .map(|finding| (finding.verdict, finding.place().cloned()))
            .collect()
    }

    #[test]
    fn one_answer_of_a_transport_is_enough() {
        let mut one = seen("203.0.113.9:7", Answer::Silence, Answer::Silence);
        (one.udp[3], one.tcp[1]) = (MS, MS);
        assert_eq!(verdicts(&[one]), []);
    }

    #[test]
    fn what_one_transport_meets_is_told_with_who_says_so() {
        let target = Some("203.0.113.9".to_owned());
        let hop = Some(HOP.to_string());
        for (answer, udp, tcp, place) in [
            (
                Answer::Refused,
                Verdict::UdpRefused,
                Verdict::TcpRefused,
                &target,
            ),
            (
                Answer::Silence,
                Verdict::UdpFiltered,
                Verdict::TcpFiltered,
                &target,
            ),
            (
                Answer::Barred(Some(HOP)),
                Verdict::Prohibited,
                Verdict::Prohibited,
                &hop,
            ),
            (
                Answer::Unreachable(Some(HOP)),
                Verdict::Unreachable,
                Verdict::Unreachable,
                &hop,
            ),
            (Answer::UsedUp(HOP), Verdict::Loop, Verdict::Loop, &hop),
        ] {
            let without_udp = [seen("203.0.113.9:7", answer, MS)];
            assert_eq!(verdicts(&without_udp), [(udp, place.clone())]);
            let without_tcp = [seen("203.0.113.9:7", MS, answer)];
            assert_eq!(verdicts(&without_tcp), [(tcp, place.clone())]);
        }
    }

    #[test]
    fn what_somebody_says_of_both_transports_is_told_once() {
        let other = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
        let barred = Answer::Barred(Some(HOP));
        let both = [seen("203.0.113.9:7", barred, barred)];
        let told = judge(&both, &[]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].values["what"], "datagrams and connections");
        assert_eq!(told[0].values["n"], (DATAGRAMS + CALLS).to_string());
        let apart = [seen("203.0.113.9:7", barred, Answer::Barred(other))];
        assert_eq!(verdicts(&apart).len(), 2);
    }

    #[test]
    fn a_way_that_is_missing_is_missing_for_both_transports_though_of_one_nobody_says_so() {
        for (answer, verdict) in [
            (Answer::Unreachable(Some(HOP)), Verdict::Unreachable),
            (Answer::UsedUp(HOP), Verdict::Loop),
        ] {
            for (udp, tcp) in [(answer, Answer::Silence), (Answer::Silence, answer)] {
                let mut findings = Findings::default();
                findings.extend(judge(&[seen("203.0.113.9:7", udp, tcp)], &[]));
                let told: Vec<_> = findings.all().iter().map(|found| found.verdict).collect();
                assert_eq!(told, [verdict]);
            }
        }
    }

    #[test]
    fn silence_of_everything_is_a_dead_path_behind_the_last_hop_that_answers() {
        let silent = [seen("203.0.113.9:7", Answer::Silence, Answer::Silence)];
        assert_eq!(verdicts(&silent), [(Verdict::Dead, Some(HOP.to_string()))]);
    }

    #[test]
    fn one_dead_address_beside_one_that_works_is_named_itself() {
        let works = seen("203.0.113.9:7", MS, MS);
        let silent = seen("203.0.113.10:7", Answer::Silence, Answer::Silence);
        let dead = [(Verdict::Dead, Some("203.0.113.10".to_owned()))];
        assert_eq!(verdicts(&[works, silent]), dead);
    }

    #[test]
    fn a_family_is_dead_where_only_the_other_works() {
        let six = seen("[2001:db8::9]:7", MS, MS);
        let four = seen("203.0.113.9:7", Answer::Silence, Answer::Barred(Some(HOP)));
        let dead = [(Verdict::FamilyDead, Some(HOP.to_string()))];
        assert_eq!(verdicts(&[six, four]), dead);
    }

    #[test]
    fn a_machine_without_a_family_is_only_a_fact() {
        let none = Answer::Unreachable(None);
        let six = seen("[2001:db8::9]:7", none, none);
        let found = judge(&[six, seen("203.0.113.9:7", MS, MS)], &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, Kind::Fact);
    }

    #[test]
    fn the_port_that_answers_most_is_kept() {
        let port = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut train = Train {
            locals: (40_000..40_006).map(port).collect(),
            ..Train::default()
        };
        for number in 0..DATAGRAMS {
            let flow = number / 2;
            let cell = Cell {
                flow,
                ..Cell::of(SMALL)
            };
            train.probes.push(Probe {
                cell,
                ..Probe::default()
            });
        }
        assert_eq!(good_port(&train), None);
        for answered in [1, 8, 9] {
            train.probes[answered].came = Some(1);
        }
        assert_eq!(good_port(&train), Some(40_004));
    }
}
