//! A wish to stop, which may reach a process more than once.

use std::time::{Duration, Instant};

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

/// Tells wishes to stop apart: the same signal within half a second is the same wish.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes(Option<(i32, Instant)>);

impl Wishes {
    /// Takes a signal, by its number, that arrived `now`.
    pub fn hear(&mut self, signal: i32, now: Instant) -> Wish {
        match self.0 {
            Some((last, at)) if last == signal && now < at + SAME => Wish::Same,
            before => {
                self.0 = Some((signal, now));
                before.map_or(Wish::First, |_| Wish::Second)
            }
        }
    }
}

/// Whether the one who started this program has a signal ignored, as `nohup` does. Such a signal is to
/// be left alone. Known where the system tells it in /proc.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signal_within_half_a_second_is_the_same_wish() {
        const TERM: i32 = 15;
        const INT: i32 = 2;
        let start = Instant::now();
        for (signal, after_ms, wish) in [
            (TERM, 0, Wish::Same),
            (TERM, 499, Wish::Same),
            (TERM, 500, Wish::Second),
            (INT, 0, Wish::Second),
            (INT, 9999, Wish::Second),
        ] {
            let mut wishes = Wishes::default();
            assert_eq!(wishes.hear(TERM, start), Wish::First);
            let again = wishes.hear(signal, start + Duration::from_millis(after_ms));
            assert_eq!(again, wish, "{signal} after {after_ms} ms");
        }
        // The second may reach the process twice, too.
        let mut wishes = Wishes::default();
        let told = [
            (0, INT),
            (2000, TERM),
            (2010, TERM),
            (2499, TERM),
            (2510, TERM),
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
}
