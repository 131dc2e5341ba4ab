//! The step `bulk`: one large transfer, and what stops or changes it.

use std::time::Duration;

use anyhow::{Result, bail};

use super::SPENT;
use super::finding::{Finding, Findings, Verdict, finding};
use super::options::unacknowledged;
use super::path::Path;
use super::talk::{Heard, MESSAGE, Talk};
use crate::report::format;

/// Messages of a transfer: 256 KiB in all.
const MESSAGES: u64 = 512;
const BYTES: u64 = MESSAGES * MESSAGE as u64;
/// Nothing comes for so long: the transfer hangs. A few losses cost less, as TCP waits 0.2, 0.4 and
/// 0.8 s before it sends again.
const HUNG: Duration = Duration::from_secs(3);
/// Segments that fit any link (RFC 9293, section 3.7.1).
const SMALL: u32 = 536;

/// One transfer: what came back, and segments of ours that nobody has acknowledged.
type Transfer = (Heard, u32);

/// Transfers once, and again with small segments if it hangs.
pub fn bulk(path: &mut Path<'_>, findings: &mut Findings) -> Result<String> {
    if path.bytes_left() < 3 * BYTES {
        bail!(SPENT);
    }
    let first = transfer(path, None)?;
    let second = match is_whole(&first) {
        true => None,
        false => Some(transfer(path, Some(SMALL))?),
    };
    findings.extend(judge(&first, second.as_ref()));
    let told = first.0.told();
    Ok(match second {
        None => format!("{told} in {}", format::time(first.0.elapsed)),
        Some(_) => told,
    })
}

fn transfer(path: &mut Path<'_>, segment: Option<u32>) -> Result<Transfer> {
    let (_, mut talk) = Talk::open(path, MESSAGE, segment)?;
    let heard = talk.echo(path, MESSAGES, path.patience(HUNG));
    Ok((heard, unacknowledged(&talk.socket).unwrap_or(0)))
}

fn is_whole((heard, _): &Transfer) -> bool {
    heard.back >= BYTES
}

/// What one transfer says, and a second with small segments where the first was not whole.
fn judge(first: &Transfer, second: Option<&Transfer>) -> Option<Finding> {
    let (heard, unacked) = first;
    let kib = BYTES / 1024;
    if let Some((offset, _)) = heard.wrong {
        let finding = finding!(Verdict::Corruption; kib, came: heard.told(), offset);
        return Some(finding.by("bulk"));
    }
    let again = second?;
    let way = match unacked {
        0 => "on the way back",
        _ => "on the way there",
    };
    let (verdict, evidence) = match is_whole(again) {
        true => (Verdict::MtuBlackhole, "large-segments"),
        false => (Verdict::TcpStalls, "tcp-stalls"),
    };
    let finding = finding!(verdict;
        kib, first: heard.told(), second: again.0.told(), segment: SMALL, way, mtu: SMALL + 40,
        bytes: heard.back.min(again.0.back)
    );
    Some(finding.by(evidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(back: u64, wrong: Option<u64>) -> Transfer {
        let wrong = wrong.map(|offset| (offset, back - 1));
        let heard = Heard {
            back,
            wrong,
            ..Heard::default()
        };
        (heard, 3)
    }

    fn verdict(first: &Transfer, second: Option<&Transfer>) -> Option<Verdict> {
        judge(first, second).map(|finding| finding.verdict)
    }

    #[test]
    fn a_transfer_that_only_hangs_with_large_segments_is_a_black_hole() {
        let (whole, hung) = (transfer(BYTES, None), transfer(5000, None));
        assert_eq!(verdict(&whole, None), None);
        assert_eq!(verdict(&hung, Some(&whole)), Some(Verdict::MtuBlackhole));
        assert_eq!(verdict(&hung, Some(&hung)), Some(Verdict::TcpStalls));
        assert_eq!(judge(&hung, Some(&hung)).unwrap().values["bytes"], "5000");
    }

    #[test]
    fn a_wrong_byte_is_told_by_its_offset() {
        let wrong = transfer(BYTES, Some(68));
        assert_eq!(verdict(&wrong, None), Some(Verdict::Corruption));
        assert_eq!(judge(&wrong, None).unwrap().values["offset"], "68");
    }
}
