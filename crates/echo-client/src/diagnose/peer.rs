//! The step `echo`: whether what takes connections is an echo server, how soon it answers, and what
//! became of the options that the two ends offered each other.

use std::time::{Duration, Instant};

use anyhow::Result;
use echo_core::framing::Framing;

use super::finding::{Finding, Verdict, finding};
use super::options::Options;
use super::path::Path;
use super::talk::{Heard, MESSAGE, Talk};
use crate::connection::is_this_machine;
use crate::report::format;

/// Messages that are sent, each once the one before is back; more where none of them was quick, for a
/// machine with other things to do may be slow for a moment.
const MESSAGES: usize = 10;
const MOMENT: Duration = Duration::from_secs(2);
/// A server that is slow takes longer than this for its answer, and longer than the network.
const SLOW: Duration = Duration::from_millis(5);

/// What came of some messages.
#[derive(Debug)]
struct Echoes {
    /// How long the quickest handshake took, and the quickest message.
    handshake: Duration,
    quickest: Duration,
    /// How many were sent, up to the first that was not as it should be, and what came of the last.
    n: usize,
    last: Heard,
}

/// Sends a few messages over one connection, as the server takes them.
pub fn echo(path: &mut Path<'_>) -> Result<String> {
    let remote = path.remote()?;
    let (mut echoes, talk) = Echoes::ask(path)?;
    let mut talk = Some(talk);
    // A server that waits for the end of a line, or takes the first bytes for a length.
    for framing in [Framing::Lines, Framing::Length] {
        let asked = path.framing;
        if asked == Framing::Raw && echoes.verdict() == Some(Verdict::TcpNoEcho) {
            // Some servers take one connection after another.
            drop(talk.take());
            path.framing = framing;
            let Ok((others, again)) = Echoes::ask(path) else {
                path.framing = asked;
                break;
            };
            talk = Some(again);
            let verdict = others.verdict();
            match verdict {
                None => path.findings.add(finding!(Verdict::Framing; framing)),
                Some(_) => path.framing = asked,
            }
            // Whoever answers something else then says more than silence.
            if verdict != Some(Verdict::TcpNoEcho) {
                echoes = others;
            }
        }
    }
    path.findings.extend(echoes.judge());
    // A connection within this machine has segments as large as its buffers.
    if !is_this_machine(remote)
        && let Some(talk) = talk
        && let Ok(options) = Options::of(&talk.socket, remote)
    {
        path.findings.extend(options.judge());
    }
    Ok(echoes.told())
}

impl Echoes {
    /// Sends messages over a new connection, as long as they come back.
    fn ask(path: &mut Path<'_>) -> Result<(Self, Talk)> {
        let mut talk = Talk::open(path, None)?;
        let begun = Instant::now();
        let last = talk.echo(path, 1);
        let mut echoes = Echoes {
            handshake: talk.handshake,
            quickest: last.elapsed,
            n: 1,
            last,
        };
        while echoes.last.is_good()
            && (echoes.n < MESSAGES || (echoes.is_slow() && begun.elapsed() < MOMENT))
        {
            echoes.last = talk.echo(path, 1);
            echoes.quickest = echoes.quickest.min(echoes.last.elapsed);
            echoes.n += 1;
        }
        Ok((echoes, talk))
    }

    /// What is wrong with what came back, if anything is.
    fn verdict(&self) -> Option<Verdict> {
        let Heard { wrong, back, .. } = self.last;
        (!self.last.is_good()).then_some(match wrong {
            // An echo with a few wrong bytes shares most with what was sent, and by chance one in 256.
            Some((_, right)) if right * 2 > back => Verdict::Corruption,
            Some(_) => Verdict::NotEcho,
            None => Verdict::TcpNoEcho,
        })
    }

    /// Whether the program takes its time while its system answers at once.
    fn is_slow(&self) -> bool {
        self.quickest > self.handshake * 2 && self.quickest > self.handshake + SLOW
    }

    /// What they say of the peer.
    fn judge(&self) -> Option<Finding> {
        let (n, network, time) = (self.n, self.handshake, self.quickest);
        if let Some(verdict) = self.verdict() {
            let offset = self.last.wrong.unwrap_or_default().0;
            let came = self.last.told();
            let finding = finding!(verdict; number: n, size: MESSAGE, came, offset);
            return Some(finding.by("echo"));
        }
        let (network, time) = (format::time(network), format::time(time));
        self.is_slow()
            .then(|| finding!(Verdict::ServerSlow; n, network, time))
    }

    fn told(&self) -> String {
        let (n, [time, network]) = (self.n, [self.quickest, self.handshake].map(format::time));
        match self.last.is_good() {
            true => format!(
                "{n} messages came back whole, the quickest in {time}; connecting took {network}"
            ),
            false => self.last.told(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(
        handshake_ms: u64,
        back: u64,
        wrong: Option<(u64, u64)>,
        ms: u64,
    ) -> Option<Verdict> {
        let [handshake, quickest] = [handshake_ms, ms].map(Duration::from_millis);
        let last = Heard {
            back,
            wrong,
            ..Heard::default()
        };
        let echoes = Echoes {
            handshake,
            quickest,
            n: 1,
            last,
        };
        echoes.judge().map(|finding| finding.verdict)
    }

    #[test]
    fn what_comes_back_tells_an_echo_from_other_servers() {
        assert_eq!(verdict(1, 64, None, 1), None);
        let corruption = Some(Verdict::Corruption);
        assert_eq!(verdict(1, 64, Some((20, 63)), 1), corruption);
        assert_eq!(verdict(1, 50, Some((0, 1)), 1), Some(Verdict::NotEcho));
        assert_eq!(verdict(1, 0, None, 2000), Some(Verdict::TcpNoEcho));
    }

    #[test]
    fn a_server_is_slow_only_beside_a_network_that_is_not() {
        assert_eq!(verdict(1, 64, None, 50), Some(Verdict::ServerSlow));
        assert_eq!(verdict(49, 64, None, 50), None);
        assert_eq!(verdict(1, 64, None, 3), None);
    }
}
