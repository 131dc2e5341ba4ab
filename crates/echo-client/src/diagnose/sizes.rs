//! The step `sizes`: the largest packet that passes whole, who says so where it is less than usual,
//! and whether pieces of larger ones pass.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use super::answer::{Answer, came};
use super::chance::{Count, fisher, significant};
use super::finding::{Finding, Verdict, finding};
use super::options::Options;
use super::path::{Path, To};
use super::sender::{self, Plan, headers};
use super::talk::{MESSAGE, Talk};
use super::train::Cell;
use super::verdict::percent;
use crate::connection::packets::Fragments;

/// The usual packet: what an Ethernet frame carries, in bytes.
const USUAL: usize = 1500;
/// A packet that any path takes.
const SMALL: usize = 100;
/// What a datagram has more than fits one packet, so that it travels in two.
const MORE: usize = 200;
/// Packets of a size that are sent at first, each beside a small one, and as many more before
/// silence is believed; more of them where small ones are lost as well.
const MANY: [usize; 3] = [3, 7, 20];
/// The time from one packet to the next. Even large ones then stay below the limits of rate that
/// other steps look for.
const INTERVAL: Duration = Duration::from_millis(10);
/// Messages of a transfer that fills whole segments: 64 KiB.
const SEGMENTS: u64 = 65_536 / MESSAGE as u64;
/// How long a reply may take on a short path.
const PATIENCE: Duration = Duration::from_millis(300);

/// What became of packets of one size, and of the small ones between them.
#[derive(Debug, Default)]
struct Tried {
    large: Vec<Answer>,
    small: Vec<Answer>,
}

/// Looks for the largest packet that passes, and sends some in pieces.
pub fn sizes(path: &mut Path<'_>) -> Result<String> {
    let to = path.peer()?;
    let (mtu, found) = largest(path, to)?;
    path.mtu = u32::try_from(mtu).ok();
    let found_what = found.as_ref().map(|finding| finding.verdict);
    path.findings.extend(found);
    if found_what == Some(Verdict::LossBySize) {
        return Ok(format!(
            "datagrams of up to {mtu} bytes come back, and larger packets of TCP"
        ));
    }
    // Of IPv6, only this machine cuts packets, and pieces that fill its link then vanish as well.
    let is_hidden = to.0.is_ipv6() && found_what == Some(Verdict::MtuBlackhole);
    let whole = format!("packets of {mtu} bytes come back whole");
    if is_hidden {
        return Ok(whole);
    }
    let size = mtu + MORE;
    let tried = Tried::of(path, to, (size, Fragments::Allowed), &MANY)?;
    if tried.is_silent() {
        let finding = tried.finding(Verdict::FragmentsDropped, size);
        path.findings.extend(finding);
    }
    Ok(match came(&tried.large) {
        0 => format!("{whole}, and no larger ones in pieces"),
        _ => format!("{whole}, and larger ones in pieces"),
    })
}

/// The size of the largest packet that passes, and what there is to tell of it.
fn largest(path: &mut Path<'_>, to: To) -> Result<(usize, Option<Finding>)> {
    let (mut size, mut teller) = (USUAL, None);
    // Each narrower link says so only to what has passed the one before it.
    while size > SMALL {
        let tried = Tried::of(path, to, (size, Fragments::Probed), &MANY)?;
        match tried.told() {
            _ if came(&tried.large) > 0 => break,
            Some((who, mtu)) if mtu < size => {
                // A small link of this machine is no news to it.
                teller = who.or(teller);
                size = mtu;
            }
            None if !tried.is_silent() => match tried.has_small() {
                true => bail!("packets of {size} bytes are turned back, and not as too large"),
                false => bail!("too few packets of any size come back"),
            },
            _ => {
                let mtu = search(path, to, size)?;
                let finding = match do_segments_pass(path, mtu) {
                    // No link is too narrow: a rule looks at datagrams.
                    true => tried.finding(Verdict::LossBySize, size - headers(to.0) as usize),
                    false => {
                        let finding = tried.finding(Verdict::MtuBlackhole, size);
                        finding.map(|finding| finding.with("mtu", mtu))
                    }
                };
                return Ok((mtu, finding));
            }
        }
    }
    let payload = size.saturating_sub(headers(to.0) as usize);
    let told = |who| finding!(Verdict::Mtu; usual: USUAL, mtu: size, payload).at(who);
    Ok((size, teller.map(told)))
}

/// Between a small packet, which passes, and one of `size`, which does not.
fn search(path: &mut Path<'_>, to: To, size: usize) -> Result<usize> {
    let (mut passes, mut fails) = (SMALL, size);
    while fails - passes > 1 {
        let middle = passes.midpoint(fails);
        let tried = Tried::of(path, to, (middle, Fragments::Probed), &MANY[..1])?;
        match came(&tried.large) {
            0 => fails = middle,
            _ => passes = middle,
        }
    }
    Ok(passes)
}

/// Whether TCP carries packets of more than `size` bytes there and back.
fn do_segments_pass(path: &mut Path<'_>, size: usize) -> bool {
    let has_room = path.bytes_left() > 2 * SEGMENTS * MESSAGE as u64;
    if !path.has_tcp || !path.findings.allow_echo() || !has_room {
        return false;
    }
    let (Ok(remote), Ok(mut talk)) = (path.remote(), Talk::open(path, None)) else {
        return false;
    };
    let is_whole = talk.echo(path, SEGMENTS).back >= SEGMENTS * MESSAGE as u64;
    let options = Options::of(&talk.socket, remote);
    is_whole && options.is_ok_and(|options| options.packet() > size)
}

impl Tried {
    /// Sends so many of `size`, and a small one beside each; more of them before silence is believed.
    fn of(
        path: &mut Path<'_>,
        to: To,
        (size, fragments): (usize, Fragments),
        counts: &[usize],
    ) -> Result<Self> {
        let [small, large] = [SMALL, size].map(|size| Cell::of(size - headers(to.0) as usize));
        let mut tried = Tried::default();
        for count in counts {
            if tried.large.iter().any(|answer| *answer != Answer::Silence) || tried.p().is_some() {
                break;
            }
            let plan = Plan {
                fragments: Some(fragments),
                patience: PATIENCE,
                ..Plan::of(to, vec![small, large], count * 2, INTERVAL)
            };
            let train = sender::send(path, &plan)?;
            tried.small.extend(train.answers(|cell| cell == small));
            tried.large.extend(train.answers(|cell| cell == large));
        }
        Ok(tried)
    }

    /// Who says that no more than how many bytes fit; `None` within: this machine.
    fn told(&self) -> Option<(Option<IpAddr>, usize)> {
        self.large.iter().find_map(|answer| match answer {
            Answer::TooLarge(who, mtu) => Some((*who, *mtu as usize)),
            _ => None,
        })
    }

    /// Whether nobody said a word of the large ones, while the small ones came.
    fn is_silent(&self) -> bool {
        let mut large = self.large.iter();
        large.all(|answer| *answer == Answer::Silence) && self.p().is_some()
    }

    fn has_small(&self) -> bool {
        came(&self.small) * 4 >= self.small.len() * 3
    }

    /// How many of the large ones, and of the small ones, did not come.
    fn lost(&self) -> [Count; 2] {
        [&self.large, &self.small].map(|all| (all.len() - came(all), all.len()))
    }

    /// The p of large ones faring worse than small ones, where chance alone does not do that.
    fn p(&self) -> Option<f64> {
        let [large, small] = self.lost();
        significant(fisher(large, small), 1)
    }

    /// The large ones did not come, of `size` bytes.
    fn finding(&self, verdict: Verdict, size: usize) -> Option<Finding> {
        let lost @ [(hits, n), (others, m)] = self.lost();
        let ([share, rest], came) = (lost.map(percent), m - others);
        Some(finding!(verdict, self.p()?;
            n, m, hits, others, size, share, rest, small: SMALL, came
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAME: Answer = Answer::Came(PATIENCE);

    fn tried(large: &[Answer], small: &[Answer]) -> Tried {
        let (large, small) = (large.to_vec(), small.to_vec());
        Tried { large, small }
    }

    #[test]
    fn what_does_not_fit_is_told_by_somebody_or_by_silence_beside_small_ones_that_come() {
        let hop = "192.0.2.1".parse().ok();
        let told = tried(&[Answer::Silence, Answer::TooLarge(hop, 1400)], &[CAME; 2]);
        assert_eq!((told.told(), told.is_silent()), (Some((hop, 1400)), false));
        let mut small = [CAME; 10];
        assert!(tried(&[Answer::Silence; 10], &small).is_silent());
        assert!(!tried(&[Answer::Silence, CAME], &small).is_silent());
        assert!(!tried(&[Answer::Barred(None); 3], &small).is_silent());
        // Ten of ten, and one of ten besides: chance does that too often.
        small[..1].fill(Answer::Silence);
        assert!(!tried(&[Answer::Silence; 10], &small).is_silent());
    }
}
