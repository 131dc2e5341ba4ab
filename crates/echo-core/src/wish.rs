//! A wish to stop, which may reach a process more than once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

/// How long one wish takes to arrive: `timeout`, `tini -g`, or a shell and its terminal signal the
/// process and its group, one right after the other. Nobody types that fast.
const SAME: Duration = Duration::from_millis(500);

/// What a signal that asks a program to stop stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The first wish: the program stops in good order.
    First,
    /// The last wish, once more: nothing is new.
    Same,
    /// Another one: the program ends at once.
    Second,
}

/// Tells wishes to stop apart: the same signal within half a second of its first is the same wish. So
/// whoever goes on asking, however fast, is heard twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes(Option<(Signal, Instant)>);

impl Wishes {
    /// Takes a signal that arrived `now`.
    pub fn hear(&mut self, signal: Signal, now: Instant) -> Wish {
        match self.0 {
            Some((last, at)) if last == signal && now < at + SAME => Wish::Same,
            before => {
                self.0 = Some((signal, now));
                before.map_or(Wish::First, |_| Wish::Second)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signal_within_half_a_second_is_the_same_wish() {
        let (term, int) = (Signal::SIGTERM, Signal::SIGINT);
        let start = Instant::now();
        for (signal, after_ms, wish) in [
            (term, 0, Wish::Same),
            (term, 499, Wish::Same),
            (term, 500, Wish::Second),
            (int, 0, Wish::Second),
            (int, 9999, Wish::Second),
        ] {
            let mut wishes = Wishes::default();
            assert_eq!(wishes.hear(term, start), Wish::First);
            let again = wishes.hear(signal, start + Duration::from_millis(after_ms));
            assert_eq!(again, wish, "{signal} after {after_ms} ms");
        }
        // The second may reach the process twice, too.
        let mut wishes = Wishes::default();
        let told = [
            (0, int),
            (2000, term),
            (2010, term),
            (2499, term),
            (2510, term),
        ];
        let told = told.map(|(ms, signal)| wishes.hear(signal, start + Duration::from_millis(ms)));
        let second = [
            Wish::First,
            Wish::Second,
            Wish::Same,
            Wish::Same,
            Wish::Second,
        ];
        assert_eq!(told, second);
    }

    #[test]
    fn whoever_goes_on_asking_is_heard_twice() {
        let mut wishes = Wishes::default();
        let start = Instant::now();
        let told: Vec<Wish> = (0..4)
            .map(|n| wishes.hear(Signal::SIGINT, start + Duration::from_millis(200 * n)))
            .collect();
        assert_eq!(told, [Wish::First, Wish::Same, Wish::Same, Wish::Second]);
    }
}
