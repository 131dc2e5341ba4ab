//! The step `sizes`: the largest packet that passes whole, who says so where it is less than usual,
//! and whether pieces of larger ones pass.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::answer::{Answer, came};
use super::chance::fisher;
use super::finding::{Finding, Findings, Kind, Verdict, finding};
use super::path::Path;
use super::sender::{self, Plan, headers};
use super::train::{Cell, Probe};
use crate::connection::packets::Fragments;

/// The usual packet: what an Ethernet frame carries, in bytes.
const USUAL: usize = 1500;
/// A packet that any path takes.
const SMALL: usize = 100;
/// What a datagram has more than fits one packet, so that it travels in two.
const MORE: usize = 200;
/// Packets of a size that are sent at first, each beside a small one, and as many more before
/// silence is believed: where every other large one is lost, ten in a row are one time in 1,000.
const FEW: usize = 3;
const MORE_OF_THEM: usize = 7;
/// The time from one packet to the next. Even large ones then stay below the limits of rate that
/// other steps look for.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long a reply may take on a short path.
const PATIENCE: Duration = Duration::from_millis(300);

/// Where packets go, and the local port that they come from.
type To = (SocketAddr, u16);

/// What became of packets of one size, and of the small ones between them.
#[derive(Debug, Default)]
struct Tried {
    large: Vec<Answer>,
    small: Vec<Answer>,
}

/// What became of large packets.
#[derive(Debug, PartialEq, Eq)]
enum Fits {
    /// Some came.
    Yes,
    /// Somebody said that no more than this fits; `None`: this machine.
    Told(Option<IpAddr>, usize),
    /// None came, and the small ones did.
    Silence,
    /// So few of any size come that nothing can be said.
    Unclear,
}

/// Looks for the largest packet that passes, and sends some in pieces.
pub fn sizes(path: &mut Path<'_>, findings: &mut Findings) -> Result<String> {
    let to = path.peer()?;
    let (mtu, found) = largest(path, to)?;
    // Of IPv6, only this machine cuts packets, and pieces that fill its link then vanish as well.
    let is_problem = |found: &Finding| found.kind == Kind::Problem;
    let is_hidden = to.0.is_ipv6() && found.as_ref().is_some_and(is_problem);
    findings.extend(found);
    let mtu = mtu.context("too few packets of any size come back")?;
    path.mtu = u32::try_from(mtu).ok();
    if is_hidden {
        return Ok(format!("packets of {mtu} bytes come back whole"));
    }
    let tried = Tried::surely(path, to, mtu + MORE, Fragments::Allowed)?;
    if tried.fits() == Fits::Silence {
        findings.add(tried.finding(Verdict::FragmentsDropped, mtu + MORE));
    }
    let pieces = match came(&tried.large) {
        0 => "no larger ones in pieces",
        _ => "larger ones in pieces",
    };
    Ok(format!(
        "packets of {mtu} bytes come back whole, and {pieces}"
    ))
}

/// The size of the largest packet that passes, where that can be told, and what there is to tell of it.
fn largest(path: &mut Path<'_>, to: To) -> Result<(Option<usize>, Option<Finding>)> {
    let mut size = USUAL;
    let mut teller = None;
    // Each narrower link says so only to what has passed the one before it.
    while size > SMALL {
        let tried = Tried::surely(path, to, size, Fragments::Probed)?;
        match tried.fits() {
            Fits::Yes => return Ok((Some(size), teller.map(|who| told(who, size, to)))),
            Fits::Told(who, mtu) if mtu < size => {
                // A small link of this machine is no news to it.
                teller = who.or(teller);
                size = mtu;
            }
            Fits::Unclear => return Ok((None, None)),
            _ => {
                let mtu = search(path, to, size)?;
                let finding = tried.finding(Verdict::MtuBlackhole, size);
                return Ok((Some(mtu), Some(finding.with("mtu", mtu))));
            }
        }
    }
    Ok((Some(size), None))
}

/// Between a small packet, which passes, and one of `size`, which does not.
fn search(path: &mut Path<'_>, to: To, size: usize) -> Result<usize> {
    let (mut passes, mut fails) = (SMALL, size);
    while fails - passes > 1 {
        let middle = passes.midpoint(fails);
        let tried = Tried::of(path, to, middle, Fragments::Probed, FEW)?;
        match came(&tried.large) {
            0 => fails = middle,
            _ => passes = middle,
        }
    }
    Ok(passes)
}

fn told(who: IpAddr, mtu: usize, (remote, _): To) -> Finding {
    let payload = mtu - headers(remote) as usize;
    finding!(Verdict::Mtu; usual: USUAL, mtu, payload).at(who)
}

impl Tried {
    /// Sends a few of `size`, and more of them before silence is believed.
    fn surely(path: &mut Path<'_>, to: To, size: usize, fragments: Fragments) -> Result<Self> {
        let mut tried = Tried::of(path, to, size, fragments, FEW)?;
        if tried.large.iter().all(|answer| *answer == Answer::Silence) {
            let more = Tried::of(path, to, size, fragments, MORE_OF_THEM)?;
            tried.large.extend(more.large);
            tried.small.extend(more.small);
        }
        Ok(tried)
    }

    /// Sends `count` of `size`, and a small one beside each.
    fn of(
        path: &mut Path<'_>,
        to: To,
        size: usize,
        fragments: Fragments,
        count: usize,
    ) -> Result<Self> {
        let cells = [SMALL, size].map(|size| Cell::of(size - headers(to.0) as usize));
        let plan = Plan {
            fragments: Some(fragments),
            patience: PATIENCE,
            ..Plan::of(to, cells.to_vec(), count * cells.len(), INTERVAL)
        };
        let train = sender::send(path, &plan)?;
        let is_small = |probe: &&Probe| probe.cell == cells[0];
        let (small, large): (Vec<_>, Vec<_>) = train.probes.iter().partition(is_small);
        let answers = |probes: Vec<&Probe>| probes.into_iter().map(Probe::answer).collect();
        Ok(Tried {
            large: answers(large),
            small: answers(small),
        })
    }

    fn fits(&self) -> Fits {
        let told = self.large.iter().find_map(|answer| match answer {
            Answer::TooLarge(who, mtu) => Some((*who, *mtu as usize)),
            _ => None,
        });
        match (came(&self.large), told) {
            (1.., _) => Fits::Yes,
            (0, Some((who, mtu))) => Fits::Told(who, mtu),
            // What the budget has left unsent is no silence.
            (0, None) if self.large.is_empty() || self.small.is_empty() => Fits::Unclear,
            (0, None) if came(&self.small) * 4 >= self.small.len() * 3 => Fits::Silence,
            (0, None) => Fits::Unclear,
        }
    }

    /// None of the large ones came, of `size` bytes.
    fn finding(&self, verdict: Verdict, size: usize) -> Finding {
        let (large, small) = (self.large.len(), self.small.len());
        let came = came(&self.small);
        let p = fisher((large, large), (small - came, small));
        finding!(verdict; n: large, size, small: SMALL, came).p(p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAME: Answer = Answer::Came(PATIENCE);

    fn fits(large: &[Answer], small: &[Answer]) -> Fits {
        let (large, small) = (large.to_vec(), small.to_vec());
        Tried { large, small }.fits()
    }

    #[test]
    fn one_large_packet_that_comes_is_enough_whatever_anybody_says() {
        let told = Answer::TooLarge(None, 1400);
        assert_eq!(fits(&[Answer::Silence, told, CAME], &[CAME; 3]), Fits::Yes);
    }

    #[test]
    fn what_does_not_fit_is_told_by_somebody_or_by_silence_beside_small_ones_that_come() {
        let hop = "192.0.2.1".parse().ok();
        let told = [Answer::Silence, Answer::TooLarge(hop, 1400)];
        assert_eq!(fits(&told, &[CAME; 2]), Fits::Told(hop, 1400));
        let mut small = [CAME; 10];
        assert_eq!(fits(&[Answer::Silence; 10], &small), Fits::Silence);
        small[..3].fill(Answer::Silence);
        assert_eq!(fits(&[Answer::Silence; 10], &small), Fits::Unclear);
    }
}
