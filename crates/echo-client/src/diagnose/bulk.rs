//! The step `bulk`: one large transfer, and what stops or changes it.

use anyhow::{Result, bail};

use super::SPENT;
use super::finding::{Finding, Verdict, finding};
use super::options::unacknowledged;
use super::path::Path;
use super::talk::{Heard, MESSAGE, Talk};
use crate::report::format;

/// Messages of a transfer: 256 KiB in all.
const MESSAGES: u64 = 4096;
const BYTES: u64 = MESSAGES * MESSAGE as u64;
/// Segments that fit any link (RFC 9293, section 3.7.1).
const SMALL: u32 = 536;

/// What came back of a transfer, and segments of ours that nobody has acknowledged.
type Transfer = (Heard, u32);

/// Transfers once, and where that hangs again with small segments; where those do not hang, with large
/// ones once more.
pub fn bulk(path: &mut Path<'_>) -> Result<String> {
    if path.bytes_left() < 3 * BYTES {
        bail!(SPENT);
    }
    let mut done = Vec::new();
    for segment in [None, Some(SMALL), None] {
        let mut talk = Talk::open(path, segment)?;
        let heard = talk.echo(path, MESSAGES);
        let unacknowledged = unacknowledged(&talk.socket).unwrap_or(0);
        done.push((heard, unacknowledged));
        // The first has to be whole, and of the others both are needed or none.
        let is_second = done.len() == 2;
        if is_whole(&done[0]) || done.iter().any(is_cut) || (is_second && !is_whole(&done[1])) {
            break;
        }
    }
    path.findings.extend(judge(&done));
    let told = done[0].0.told();
    Ok(match is_whole(&done[0]) {
        true => format!("{told} in {}", format::time(done[0].0.elapsed)),
        false => told,
    })
}

fn is_whole((heard, _): &Transfer) -> bool {
    heard.back >= BYTES
}

/// Whether there was no time for the rest, which says nothing against what was transferred.
fn is_cut(done: &Transfer) -> bool {
    !is_whole(done) && done.0.ended.is_none() && !done.0.hung
}

/// What transfers say: one that is whole; or one that is not, one with small segments and, where that
/// is whole, another with large ones.
fn judge(done: &[Transfer]) -> Option<Finding> {
    let (heard, unacknowledged) = done.first()?;
    let kib = BYTES / 1024;
    if let Some((offset, _)) = heard.wrong {
        let finding = finding!(Verdict::Corruption; kib, came: heard.told(), offset);
        return Some(finding.by("bulk"));
    }
    if let Some((cut, _)) = done.iter().find(|done| is_cut(done)) {
        let mut why = format!("{} in {}", cut.told(), format::time(cut.elapsed));
        if heard.hung {
            why = format!(
                "the first hung ({}), and another was not over: {why}",
                heard.told()
            );
        }
        return Some(finding!(Verdict::Unjudged; what: "bulk", why));
    }
    let (verdict, evidence) = match done {
        [(first, _), .., (last, _)] if first.ended.and(last.ended).is_some() => {
            (Verdict::TcpStalls, "transfers-ended")
        }
        [_, small] if !is_whole(small) => (Verdict::TcpStalls, "tcp-stalls"),
        [(first, _), _, (large, _)] if first.hung && large.hung => {
            (Verdict::MtuBlackhole, "large-segments")
        }
        // It was a moment's trouble, if any, or two that have nothing in common.
        _ => return None,
    };
    let way = match unacknowledged {
        0 => "on the way back",
        _ => "on the way there",
    };
    let (small, _) = &done[1];
    let bytes = heard.back.min(small.back);
    let finding = finding!(verdict;
        kib, first: heard.told(), second: small.told(), segment: SMALL, way, mtu: SMALL + 40, bytes
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
            hung: back < BYTES,
            ..Heard::default()
        };
        (heard, 3)
    }

    fn verdict(done: &[Transfer]) -> Option<Verdict> {
        judge(done).map(|finding| finding.verdict)
    }

    #[test]
    fn a_transfer_that_hangs_twice_and_only_with_large_segments_is_a_black_hole() {
        let (whole, hung) = (transfer(BYTES, None), transfer(5000, None));
        let done = |large: [&Transfer; 3]| verdict(&large.map(Transfer::clone));
        assert_eq!(verdict(std::slice::from_ref(&whole)), None);
        assert_eq!(done([&hung, &whole, &hung]), Some(Verdict::MtuBlackhole));
        assert_eq!(done([&hung, &whole, &whole]), None);
        let stalled = [hung.clone(), hung];
        assert_eq!(verdict(&stalled), Some(Verdict::TcpStalls));
        assert_eq!(judge(&stalled).unwrap().values["bytes"], "5000");
    }

    #[test]
    fn a_transfer_that_is_reset_or_slow_has_not_hung() {
        let mut reset = transfer(100_000, None);
        (reset.0.hung, reset.0.ended) = (false, Some(Some(std::io::ErrorKind::ConnectionReset)));
        let [whole, hung] = [BYTES, 5000].map(|back| transfer(back, None));
        for ended in [vec![&reset; 2], vec![&reset, &whole, &reset]] {
            let ended: Vec<_> = ended.into_iter().cloned().collect();
            let found = judge(&ended).unwrap();
            assert_eq!(found.evidence, Some("transfers-ended"));
        }
        assert_eq!(verdict(&[reset.clone(), whole.clone(), hung.clone()]), None);
        assert_eq!(verdict(&[hung.clone(), whole, reset]), None);
        let mut slow = transfer(100_000, None);
        slow.0.hung = false;
        assert_eq!(
            verdict(std::slice::from_ref(&slow)),
            Some(Verdict::Unjudged)
        );
        let found = judge(&[hung, slow]).unwrap();
        assert_eq!(found.verdict, Verdict::Unjudged);
        assert!(found.values["why"].starts_with("the first hung (5000 bytes"));
    }

    #[test]
    fn a_wrong_byte_is_told_by_its_offset() {
        let wrong = transfer(BYTES, Some(68));
        assert_eq!(
            verdict(std::slice::from_ref(&wrong)),
            Some(Verdict::Corruption)
        );
        assert_eq!(judge(&[wrong]).unwrap().values["offset"], "68");
    }
}
