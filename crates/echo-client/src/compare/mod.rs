//! `compare`: which is faster, and is that true.

pub mod schedule;
pub mod statistics;
