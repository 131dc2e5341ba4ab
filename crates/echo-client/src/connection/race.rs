//! Tries the addresses of a target one shortly after the other (RFC 8305); the first to answer wins.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use echo_core::Address;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::attempt::{Ask, Attempt, Progress, open};
use super::{Connect, Connection, TICK};
use crate::interrupt::{Interrupt, Why};

/// The time from one attempt to the next (RFC 8305, section 5), and how long a datagram's answer is
/// waited for before silence counts: about a round trip around the globe.
const STAGGER: Duration = Duration::from_millis(250);

/// Why no address was taken.
pub(super) enum Lost {
    Interrupted(Why),
    /// Each address that was tried, and why it was not taken.
    Failed(Vec<(Address, io::Error)>),
}

/// Connects to the first of `addresses` that does what it is asked for. All are tried within the
/// limits of time that `config` sets.
pub(super) fn race(
    config: &Connect,
    addresses: &[Address],
    ask: Ask,
    interrupt: &Interrupt,
) -> Result<Connection, Lost> {
    let start = Instant::now();
    let limit = config.connect_timeout.0;
    let most = match config.deadline.0 {
        Duration::ZERO => limit,
        deadline => limit.min(deadline),
    };
    // The last one gets its chance too.
    let stagger = STAGGER.min(most / (2 * addresses.len().max(1)) as u32);
    let mut queue = alternating(addresses);
    let mut next = start;
    let (mut attempts, mut failed, mut silent) = (Vec::new(), Vec::new(), None);
    loop {
        let mut left = TICK.min(limit.saturating_sub(start.elapsed()));
        if attempts.is_empty() || Instant::now() >= next {
            match queue
                .pop_front()
                .map(|address| (address, Attempt::begin(config, address, ask)))
            {
                Some((_, Ok(attempt))) => attempts.push(attempt),
                Some((address, Err(error))) => failed.push((address.clone(), error)),
                None if attempts.is_empty() => break,
                None => {}
            }
            next = Instant::now() + stagger;
        }
        if !queue.is_empty() {
            left = left.min(next.saturating_duration_since(Instant::now()));
        }
        let ready = wait(&attempts, left);
        let mut waiting = Vec::new();
        let mut all = attempts.into_iter().zip(ready);
        while let Some((attempt, is_ready)) = all.next() {
            let address = attempt.address.clone();
            match attempt.go_on(is_ready) {
                Ok(Progress::Taken(connection)) => {
                    waiting.extend(all.map(|(attempt, _)| attempt));
                    give_up(waiting, "another address was faster");
                    return Ok(connection);
                }
                Ok(Progress::Waiting(attempt))
                    if attempt.is_content_with_silence() && attempt.age() >= STAGGER =>
                {
                    silent.get_or_insert(address);
                }
                Ok(Progress::Waiting(attempt)) => waiting.push(*attempt),
                Err(error) => {
                    failed.push((address, error));
                    next = Instant::now();
                }
            }
        }
        attempts = waiting;
        if let Some(why) = interrupt.why()
            && !attempts.is_empty()
        {
            give_up(attempts, "stopped");
            return Err(Lost::Interrupted(why));
        }
        if start.elapsed() >= limit {
            let text = format!("no answer within {}", config.connect_timeout);
            let late = attempts.drain(..);
            failed.extend(
                late.map(|late| {
                    late.give_up(io::Error::new(io::ErrorKind::TimedOut, text.clone()))
                }),
            );
        }
    }
    match silent.map(|address| open(config, &address).map_err(|error| (address, error))) {
        Some(Ok(connection)) => Ok(connection),
        Some(Err(error)) => Err(Lost::Failed(vec![error])),
        None => Err(Lost::Failed(failed)),
    }
}

/// The addresses, their families in turn, from that of the first on: where one family is dead, the
/// second attempt is not (RFC 8305, section 4).
fn alternating(addresses: &[Address]) -> VecDeque<&Address> {
    let is_ipv4 = |address: &&Address| address.socket().is_some_and(|socket| socket.is_ipv4());
    let first = addresses.first().is_some_and(|first| is_ipv4(&first));
    let (one, other): (VecDeque<_>, VecDeque<_>) = addresses
        .iter()
        .partition(|address| is_ipv4(address) == first);
    let (mut sides, mut order) = ([one, other], VecDeque::new());
    while order.len() < addresses.len() {
        order.extend(sides[0].pop_front());
        sides.reverse();
    }
    order
}

/// Waits until a socket is ready, `left` at most. Says of each whether it is.
fn wait(attempts: &[Attempt<'_>], left: Duration) -> Vec<bool> {
    let mut sockets: Vec<_> = attempts
        .iter()
        .map(|attempt| PollFd::new(attempt, attempt.interest()))
        .collect();
    let left = Timespec::try_from(left).ok();
    // An interruption only means that it is looked at sooner, and as for the rest: see `is_ready`.
    let _: rustix::io::Result<usize> = poll(&mut sockets, left.as_ref());
    let is_ready = |socket: &PollFd<'_>| socket.revents().intersects(PollFlags::all());
    sockets.iter().map(is_ready).collect()
}

/// Ends attempts that nobody needs any more, and says why where calls are explained.
fn give_up(attempts: Vec<Attempt<'_>>, why: &str) {
    for attempt in attempts {
        attempt.give_up(io::Error::other(why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_keep_their_order() {
        let tcp = |host: &&str| Address::Tcp(format!("{host}:1").parse().unwrap());
        for (given, order) in [
            (
                &["[::1]", "[::2]", "1.1.1.1"][..],
                &["[::1]", "1.1.1.1", "[::2]"][..],
            ),
            (
                &["1.1.1.1", "2.2.2.2", "[::1]"],
                &["1.1.1.1", "[::1]", "2.2.2.2"],
            ),
            (&["1.1.1.1", "2.2.2.2"], &["1.1.1.1", "2.2.2.2"]),
        ] {
            let given: Vec<_> = given.iter().map(tcp).collect();
            let order: Vec<_> = order.iter().map(tcp).collect();
            assert!(alternating(&given).into_iter().eq(&order), "{given:?}");
        }
    }
}
