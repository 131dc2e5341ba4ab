//! Tries the addresses of a target one shortly after the other (RFC 8305); the first to answer wins.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use echo_core::Address;

use super::attempt::{Ask, Attempt, open};
use super::error::{none_of, unconnected};
use super::{Connect, Connection, ErrorKind, Fault, TICK};
use crate::interrupt::Why;
use crate::output;

/// The time from one attempt to the next (RFC 8305, section 5), and how long a datagram's answer is
/// waited for before silence counts: about a round trip around the globe.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that does what it is asked for. All are tried within the
/// limits of time that `config` sets, unless it is to be `stopped`, which is asked all the time.
///
/// # Errors
/// Why each of them was not taken, or who stopped it.
pub(super) fn race(
    config: &Connect,
    addresses: &[Address],
    ask: Ask,
    stopped: &dyn Fn() -> Option<Why>,
) -> Result<Connection, Fault> {
    let start = Instant::now();
    let limit = ask.limit(config);
    let most = match config.deadline.0 {
        Duration::ZERO => limit,
        deadline => limit.min(deadline),
    };
    // The last one gets its chance too.
    let stagger = STAGGER.min(most / (2 * addresses.len().max(1)) as u32);
    let mut queue = alternating(addresses);
    let mut next = start;
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let (mut failed, mut silent) = (Vec::new(), Vec::new());
    while !(queue.is_empty() && attempts.is_empty()) {
        if (attempts.is_empty() || Instant::now() >= next)
            && let Some(address) = queue.pop_front()
        {
            match Attempt::begin(config, address, ask) {
                Ok(attempt) => attempts.push(attempt),
                Err(error) => {
                    failed.push((address.clone(), error));
                    continue;
                }
            }
            next = Instant::now() + stagger;
        }
        let mut left = TICK.min(limit.saturating_sub(start.elapsed()));
        if !queue.is_empty() {
            left = left.min(next.saturating_duration_since(Instant::now()));
        }
        let mut ready = wait(&attempts, left).into_iter();
        let mut waiting = Vec::new();
        let mut all = attempts.into_iter();
        while let Some(mut attempt) = all.next() {
            match attempt.go_on(ready.next() == Some(true)) {
                Ok(Some(connection)) => {
                    silent.iter().for_each(|silent| go_on(silent, &connection));
                    give_up(waiting.into_iter().chain(all), "another address was faster");
                    return Ok(connection);
                }
                Ok(None) if attempt.is_silent_for(STAGGER) => silent.push(attempt.address),
                Ok(None) if attempt.is_overdue() || start.elapsed() >= limit => {
                    failed.push(attempt.give_up_late(limit));
                }
                Ok(None) => waiting.push(attempt),
                Err(error) => {
                    failed.push((attempt.address, error));
                    next = Instant::now();
                }
            }
        }
        attempts = waiting;
        if let Some(why) = stopped()
            && !attempts.is_empty()
        {
            give_up(attempts, "stopped");
            let stopped = Fault::new(ErrorKind::Interrupted, why.to_string());
            return Err(stopped.of(format_args!("cannot connect to {}", config.target)));
        }
    }
    match silent.first() {
        Some(address) => open(config, address).map_err(|error| unconnected(address, &error)),
        None => Err(none_of(&config.target, &failed)),
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
    let mut sockets: Vec<_> = attempts.iter().filter_map(Attempt::poll).collect();
    super::wait(&mut sockets, left);
    let mut ready = sockets.iter().map(|socket| !socket.revents().is_empty());
    let is_ready = |attempt: &Attempt<'_>| attempt.poll().is_some() && ready.next() == Some(true);
    attempts.iter().map(is_ready).collect()
}

/// Says that an address was left for another: over UDP nothing else shows it.
pub(super) fn go_on(silent: &Address, connection: &Connection) {
    let remote = &connection.remote;
    output::note(format_args!(
        "{silent} does not answer; going on with {remote}"
    ));
}

/// Ends attempts that nobody needs any more, and says why where calls are explained.
fn give_up<'a>(attempts: impl IntoIterator<Item = Attempt<'a>>, why: &str) {
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
