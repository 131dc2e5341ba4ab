//! The step `bulk`: one large transfer, and what stops or changes it.

use std::time::Duration;

use anyhow::{Context, Result};

use super::finding::{Finding, Findings, Verdict};
use super::path::Path;
use super::peer::{connect, unacknowledged};
use super::talk::{Heard, MESSAGE, Talk};
use super::{SPENT, Told};
use crate::report::format;

/// Messages of a transfer: 256 KiB in all.
const MESSAGES: u64 = 512;
/// Nothing comes for so long: the transfer hangs. A few losses cost less, as TCP waits 0.2, 0.4 and
/// 0.8 s before it sends again.
const HUNG: Duration = Duration::from_secs(3);
/// Segments that fit any link (RFC 9293, section 3.7.1).
const SMALL: u32 = 536;

/// One transfer.
#[derive(Clone, Debug)]
struct Transfer {
    heard: Heard,
    /// Segments of ours that nobody has acknowledged.
    unacked: u32,
}

/// Transfers once, and again with small segments if it hangs.
pub fn bulk(path: &mut Path<'_>, findings: &mut Findings) -> Result<Told> {
    if !path.has_tcp {
        return Ok(Told::LeftOut("TCP does not connect".to_owned()));
    }
    if [Verdict::NotEcho, Verdict::TcpNoEcho]
        .into_iter()
        .any(|verdict| findings.has(verdict))
    {
        return Ok(Told::LeftOut("no echo comes back".to_owned()));
    }
    if path.bytes_left() < 3 * MESSAGES * MESSAGE as u64 {
        return Ok(Told::LeftOut(SPENT.to_owned()));
    }
    let first = transfer(path, None)?;
    let told = format!(
        "{} in {}",
        first.heard.told(),
        format::time(first.heard.elapsed)
    );
    let second = match first.is_whole() {
        true => None,
        false => Some(transfer(path, Some(SMALL))?),
    };
    if path.interrupt.why().is_none() {
        findings.extend(judge(&first, second.as_ref()));
    }
    Ok(Told::Seen(told))
}

fn transfer(path: &mut Path<'_>, segment: Option<u32>) -> Result<Transfer> {
    let remote = path.remote.context("nothing answers")?;
    let (_, socket) = connect(path, remote, segment).context("no connection was made")?;
    let mut talk = Talk::begin(path, socket, MESSAGE);
    let heard = talk.echo(path, MESSAGES, path.patience(HUNG));
    let unacked = unacknowledged(talk.socket()).unwrap_or(0);
    Ok(Transfer { heard, unacked })
}

impl Transfer {
    fn is_whole(&self) -> bool {
        self.heard.back >= MESSAGES * MESSAGE as u64
    }
}

/// What one transfer says, and a second with small segments where the first was not whole.
fn judge(first: &Transfer, second: Option<&Transfer>) -> Option<Finding> {
    let sent = format!("{} KiB over TCP", MESSAGES * MESSAGE as u64 / 1024);
    if let Some((offset, _)) = first.heard.wrong {
        let finding = Finding::problem(Verdict::Corruption).seen(sent, first.heard.told());
        return Some(
            finding
                .tested("each byte was compared", None)
                .with("offset", offset),
        );
    }
    let second = second?;
    let came = format!(
        "{}; with segments of {SMALL} bytes: {}",
        first.heard.told(),
        second.heard.told()
    );
    let finding = match second.is_whole() {
        true => {
            let way = match first.unacked {
                0 => "on the way back",
                _ => "on the way there",
            };
            Finding::problem(Verdict::MtuBlackhole)
                .tested(
                    format!("large segments hang {way}, small ones do not"),
                    None,
                )
                .with("mtu", SMALL + 40)
        }
        false => Finding::problem(Verdict::TcpStalls)
            .tested(
                "two transfers stopped, the second with small segments",
                None,
            )
            .with("bytes", first.heard.back.min(second.heard.back)),
    };
    Some(finding.seen(sent, came))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: u64 = MESSAGES * MESSAGE as u64;

    fn transfer(back: u64, wrong: Option<u64>) -> Transfer {
        let wrong = wrong.map(|offset| (offset, back - 1));
        Transfer {
            heard: Heard {
                back,
                wrong,
                ..Heard::default()
            },
            unacked: 3,
        }
    }

    fn verdict(first: &Transfer, second: Option<&Transfer>) -> Option<Verdict> {
        judge(first, second).map(|finding| finding.verdict)
    }

    #[test]
    fn a_transfer_that_only_hangs_with_large_segments_is_a_black_hole() {
        let (whole, hung) = (transfer(WHOLE, None), transfer(5000, None));
        assert_eq!(verdict(&whole, None), None);
        assert_eq!(verdict(&hung, Some(&whole)), Some(Verdict::MtuBlackhole));
        assert_eq!(verdict(&hung, Some(&hung)), Some(Verdict::TcpStalls));
        assert_eq!(judge(&hung, Some(&hung)).unwrap().values["bytes"], "5000");
    }

    #[test]
    fn a_wrong_byte_is_told_by_its_offset() {
        let wrong = transfer(WHOLE, Some(68));
        assert_eq!(verdict(&wrong, None), Some(Verdict::Corruption));
        assert_eq!(judge(&wrong, None).unwrap().values["offset"], "68");
    }
}
