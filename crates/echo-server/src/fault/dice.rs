//! Chance that can be repeated: every draw is a pure function of where it is drawn.

use std::time::Duration;

use echo_core::splitmix::{GAMMA, Random, mix};

use super::{Delay, Share};

/// The draws for the message `message` (0: the connection itself) of connection `connection`, made by
/// the fault that is listed at `fault`.
///
/// Nothing is kept between places, so that the order in which they are visited, and by which
/// worker, changes nothing.
pub(crate) fn dice(seed: u64, fault: usize, connection: u64, message: u64) -> Random {
    let place = [fault as u64, connection, message];
    Random(place.into_iter().fold(mix(seed), |state, part| {
        mix(state.wrapping_add(GAMMA) ^ mix(part.wrapping_add(GAMMA)))
    }))
}

impl Share {
    /// Whether a place is among it. Always draws, so that what follows does not depend on the share.
    pub(super) fn hits(self, dice: &mut Random) -> bool {
        dice.below(Share::ALL.millionths().into()) < self.millionths().into()
    }
}

impl Delay {
    /// A delay from its distribution.
    pub(super) fn drawn(self, dice: &mut Random) -> Duration {
        match self {
            Delay::Fixed(delay) => delay,
            Delay::Uniform(least, most) => least + (most - least).mul_f64(unit(dice)),
            Delay::Normal(mean, deviation) => {
                // Box and Muller's.
                let radius = (-2.0 * unit(dice).ln()).sqrt();
                let z = radius * (std::f64::consts::TAU * unit(dice)).cos();
                let seconds = mean.as_secs_f64() + z * deviation.as_secs_f64();
                Duration::from_secs_f64(seconds.max(0.0))
            }
        }
    }
}

/// A number in (0, 1], in steps of 2^-53.
fn unit(dice: &mut Random) -> f64 {
    ((dice.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: u64 = 20_000;

    /// One die for each of many messages, as they are used.
    fn messages(fault: usize, connection: u64) -> impl Iterator<Item = Random> {
        (1..=ROUNDS).map(move |message| dice(7, fault, connection, message))
    }

    #[test]
    fn a_share_of_many_messages_is_hit_to_within_five_deviations() {
        for millionths in [0, 1_000, 10_000, 200_000, 500_000, 999_000, 1_000_000] {
            let share = Share::from_millionths(millionths).unwrap();
            for (fault, connection) in [(0, 1), (1, 1), (0, 2)] {
                let hits = messages(fault, connection)
                    .filter_map(|mut dice| share.hits(&mut dice).then_some(()))
                    .count() as f64;
                let p = f64::from(millionths) / 1e6;
                let deviation = (ROUNDS as f64 * p * (1.0 - p)).sqrt();
                let off = (hits - ROUNDS as f64 * p).abs();
                assert!(off <= 5.0 * deviation, "{share}: {hits} of {ROUNDS}");
            }
        }
    }

    #[test]
    fn faults_connections_and_seeds_draw_independently() {
        let half = Share::from_millionths(500_000).unwrap();
        let draws = |seed, fault, connection| {
            (1..=ROUNDS).map(move |message| half.hits(&mut dice(seed, fault, connection, message)))
        };
        for (seed, fault, connection) in [(8, 0, 1), (7, 1, 1), (7, 0, 2)] {
            let agree = draws(7, 0, 1)
                .zip(draws(seed, fault, connection))
                .filter(|(a, b)| a == b)
                .count() as f64;
            // Five standard deviations of a fair coin.
            let off = (agree - ROUNDS as f64 / 2.0).abs();
            assert!(off <= 2.5 * (ROUNDS as f64).sqrt(), "{agree} of {ROUNDS}");
        }
    }

    #[test]
    fn delays_have_the_mean_and_deviation_of_their_distribution() {
        let ms = Duration::from_millis;
        for (delay, mean, deviation) in [
            (Delay::Fixed(ms(50)), 50.0, 0.0),
            (Delay::Uniform(ms(40), ms(60)), 50.0, 20.0 / 12f64.sqrt()),
            (Delay::Normal(ms(50), ms(10)), 50.0, 10.0),
        ] {
            let drawn: Vec<f64> = messages(0, 1)
                .map(|mut dice| delay.drawn(&mut dice).as_secs_f64() * 1e3)
                .collect();
            let n = drawn.len() as f64;
            let found = drawn.iter().sum::<f64>() / n;
            let spread = (drawn.iter().map(|d| (d - found).powi(2)).sum::<f64>() / n).sqrt();
            assert!((found - mean).abs() < 0.2, "{delay}: mean {found}");
            assert!(
                (spread - deviation).abs() < 0.2,
                "{delay}: deviation {spread}"
            );
        }
    }

    #[test]
    fn a_uniform_delay_stays_within_its_bounds_and_none_is_negative() {
        let ms = Duration::from_millis;
        for mut dice in messages(3, 9) {
            let uniform = Delay::Uniform(ms(40), ms(60)).drawn(&mut dice);
            assert!((ms(40)..=ms(60)).contains(&uniform));
            // Below zero half of the time, if it were let.
            Delay::Normal(Duration::ZERO, ms(10)).drawn(&mut dice);
        }
    }
}
