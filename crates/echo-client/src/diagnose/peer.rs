//! The step `echo`: whether what takes connections is an echo server, how soon it answers, and what
//! became of the options that the two ends offered each other.

use std::time::Duration;

use anyhow::Result;
use echo_core::framing::Framing;

use super::finding::{Finding, Findings, Verdict, finding};
use super::options::Options;
use super::path::Path;
use super::talk::{Heard, Talk};
use crate::connection::is_this_machine;
use crate::report::format;

/// Bytes of a message, and how many are sent, each once the one before is back.
const MESSAGE: usize = 64;
const MESSAGES: usize = 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// A server that is slow takes longer than this for its answer, and longer than the network.
const SLOW: Duration = Duration::from_millis(5);

/// What came of the messages.
#[derive(Debug)]
struct Echoes {
    /// How long the quickest handshake took.
    handshake: Duration,
    /// What came of each message, up to the first that was not as it should be.
    heard: Vec<Heard>,
}

/// Sends a few messages over one connection, as the server takes them.
pub fn echo(path: &mut Path<'_>, findings: &mut Findings) -> Result<String> {
    let remote = path.remote()?;
    let (mut echoes, mut talk) = Echoes::ask(path)?;
    // A server that waits for the end of a line, or takes the first bytes for a length.
    for framing in [Framing::Lines, Framing::Length] {
        let asked = path.framing;
        if asked == Framing::Raw && echoes.verdict() == Some(Verdict::TcpNoEcho) {
            path.framing = framing;
            let (others, other) = Echoes::ask(path)?;
            match others.verdict() {
                None => {
                    findings.add(finding!(Verdict::Framing; framing));
                    (echoes, talk) = (others, other);
                }
                Some(_) => path.framing = asked,
            }
        }
    }
    findings.extend(echoes.judge());
    // A connection within this machine has segments as large as its buffers.
    if !is_this_machine(remote)
        && let Ok(options) = Options::of(&talk.socket, remote)
    {
        findings.extend(options.judge());
    }
    Ok(echoes.told())
}

impl Echoes {
    /// Sends messages over a new connection, as long as they come back.
    fn ask(path: &mut Path<'_>) -> Result<(Self, Talk)> {
        let (handshake, mut talk) = Talk::open(path, MESSAGE, None)?;
        let mut heard = Vec::new();
        while heard.len() < MESSAGES && heard.last().is_none_or(is_good) {
            heard.push(talk.echo(path, 1, path.patience(PATIENCE)));
        }
        Ok((Echoes { handshake, heard }, talk))
    }

    /// What is wrong with what came back, if anything is.
    fn verdict(&self) -> Option<Verdict> {
        let last = self.heard.last().filter(|last| !is_good(last))?;
        Some(match last.wrong {
            // An echo with a few wrong bytes shares most with what was sent, and by chance one in 256.
            Some((_, right)) if right * 2 > last.back => Verdict::Corruption,
            Some(_) => Verdict::NotEcho,
            None => Verdict::TcpNoEcho,
        })
    }

    /// What they say of the peer.
    fn judge(&self) -> Option<Finding> {
        let Some(verdict) = self.verdict() else {
            return self.slow();
        };
        let last = self.heard.last()?;
        Some(
            finding!(verdict;
                number: self.heard.len(), size: MESSAGE, came: last.told(),
                offset: last.wrong.unwrap_or_default().0
            )
            .by("echo"),
        )
    }

    /// Whether the program takes its time while its system answers at once.
    fn slow(&self) -> Option<Finding> {
        let (network, time) = (self.handshake, self.quickest()?);
        let is_slow = time > network * 2 && time > network + SLOW;
        is_slow.then(|| {
            finding!(Verdict::ServerSlow;
                n: self.heard.len(), network: format::time(network), time: format::time(time)
            )
        })
    }

    fn quickest(&self) -> Option<Duration> {
        self.heard.iter().map(|heard| heard.elapsed).min()
    }

    fn told(&self) -> String {
        match (self.heard.last(), self.quickest()) {
            (Some(last), Some(time)) if is_good(last) => format!(
                "{} messages came back whole, the quickest in {}; connecting took {}",
                self.heard.len(),
                format::time(time),
                format::time(self.handshake)
            ),
            (last, _) => last.map(Heard::told).unwrap_or_default(),
        }
    }
}

fn is_good(heard: &Heard) -> bool {
    heard.is_good(MESSAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(back: u64, wrong: Option<(u64, u64)>, ms: u64) -> Heard {
        Heard {
            back,
            wrong,
            elapsed: Duration::from_millis(ms),
            ..Heard::default()
        }
    }

    fn verdict(handshake_ms: u64, heard: Vec<Heard>) -> Option<Verdict> {
        let handshake = Duration::from_millis(handshake_ms);
        Echoes { handshake, heard }
            .judge()
            .map(|finding| finding.verdict)
    }

    #[test]
    fn what_comes_back_tells_an_echo_from_other_servers() {
        assert_eq!(verdict(1, vec![heard(64, None, 1)]), None);
        assert_eq!(
            verdict(1, vec![heard(64, Some((20, 63)), 1)]),
            Some(Verdict::Corruption)
        );
        assert_eq!(
            verdict(1, vec![heard(50, Some((0, 1)), 1)]),
            Some(Verdict::NotEcho)
        );
        assert_eq!(
            verdict(1, vec![heard(0, None, 2000)]),
            Some(Verdict::TcpNoEcho)
        );
    }

    #[test]
    fn a_server_is_slow_only_if_its_quickest_answer_is() {
        let quick_once = vec![heard(64, None, 50), heard(64, None, 1)];
        assert_eq!(verdict(1, quick_once), None);
        let slow = vec![heard(64, None, 50), heard(64, None, 51)];
        assert_eq!(verdict(1, slow.clone()), Some(Verdict::ServerSlow));
        assert_eq!(verdict(49, slow), None);
        assert_eq!(verdict(1, vec![heard(64, None, 3)]), None);
    }
}
