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
    if let Some(p) = tried.silence() {
        let finding = tried.finding(Verdict::FragmentsDropped, p, size);
        path.findings.add(finding);
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
        if came(&tried.large) > 0 {
            break;
        }
        if let Some((who, mtu)) = tried.told(size) {
            // A small link of this machine is no news to it.
            teller = who.or(teller);
            size = mtu;
            continue;
        }
        let Some(p) = tried.silence() else {
            match came(&tried.small) * 4 >= tried.small.len() * 3 {
                true => bail!("packets of {size} bytes are turned back, and nobody says what fits"),
                false => bail!("too few packets of any size come back"),
            }
        };
        let mtu = search(path, to, size)?;
        let finding = match do_segments_pass(path, mtu) {
            // No link is too narrow: a rule looks at datagrams.
            true => tried.finding(Verdict::LossBySize, p, size - headers(to.0) as usize),
            false => tried
                .finding(Verdict::MtuBlackhole, p, size)
                .with("mtu", mtu),
        };
        return Ok((mtu, Some(finding)));
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
    is_whole && options.is_ok_and(|options| options.packet as usize > size)
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

    /// Who says that no more than how many bytes fit; `None` within: this machine. No less than `size`,
    /// or less than any path takes, says nothing.
    fn told(&self, size: usize) -> Option<(Option<IpAddr>, usize)> {
        let mut told = self.large.iter().filter_map(|answer| match answer {
            Answer::TooLarge(who, mtu) => Some((*who, *mtu as usize)),
            _ => None,
        });
        told.find(|(_, mtu)| (SMALL..size).contains(mtu))
    }

    /// The p of this: nobody said a word of the large ones, while the small ones came.
    fn silence(&self) -> Option<f64> {
        let mut large = self.large.iter();
        let is_silent = large.all(|answer| *answer == Answer::Silence);
        self.p().filter(|_| is_silent)
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
    fn finding(&self, verdict: Verdict, p: f64, size: usize) -> Finding {
        let lost @ [(hits, n), (others, m)] = self.lost();
        let ([share, rest], came) = (lost.map(percent), m - others);
        finding!(verdict, p; n, m, hits, others, size, share, rest, small: SMALL, came)
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
        let mut small = [CAME; 10];
        let is_silent =
            |large: &[Answer], small: &[Answer]| tried(large, small).silence().is_some();
        assert!(is_silent(&[Answer::Silence; 10], &small));
        assert!(!is_silent(&[Answer::Silence, CAME], &small));
        assert!(!is_silent(&[Answer::Barred(None); 10], &small));
        // Ten of ten, and one of ten besides: chance does that too often.
        small[..1].fill(Answer::Silence);
        assert!(!is_silent(&[Answer::Silence; 10], &small));
        let hop = "192.0.2.1".parse().ok();
        let told = tried(&[Answer::Silence, Answer::TooLarge(hop, 1400)], &[CAME; 2]);
        assert_eq!((told.told(1500), told.silence()), (Some((hop, 1400)), None));
    }

    #[test]
    fn who_calls_a_packet_too_large_and_names_no_smaller_one_neither_tells_nor_is_silent() {
        for mtu in [0, 1400, 1500] {
            let tried = tried(&[Answer::TooLarge(None, mtu); 10], &[CAME; 10]);
            assert_eq!((tried.told(1400), tried.silence()), (None, None), "{mtu}");
        }
    }
}
