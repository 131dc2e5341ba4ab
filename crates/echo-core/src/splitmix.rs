//! SplitMix64 (Steele, Lea, Flood 2014): numbers that look random, from a state that can start
//! anywhere, so that any of them can be had without those before it.

/// What the state grows by: 2^64 divided by the golden ratio.
pub const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output for a state: every bit of it depends on every bit of `state`.
///
/// ```
/// use echo_core::splitmix::{GAMMA, mix};
///
/// // The first output of the reference implementation for the seed 0.
/// assert_eq!(mix(GAMMA), 0xe220_a839_7b1d_cdaf);
/// ```
#[inline]
pub const fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
