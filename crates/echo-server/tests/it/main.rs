//! All of the server's tests from outside in one program: they mostly wait, and here they do so at once.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/complete.rs"]
mod complete;

mod addresses;
mod commanders;
mod control;
mod explain;
mod faults;
mod fixture;
mod foreign;
mod frames;
mod guard;
mod hostile;
mod limits;
mod listeners;
mod log;
mod metrics;
mod proxy;
mod ready;
mod record;
mod refusals;
mod sandbox;
mod stamp;
mod stopping;
mod streams;
mod systemd;
mod udp;
mod usage;

#[test]
fn every_file_of_tests_is_run() {
    complete::every_file_is_named(include_str!("main.rs"), env!("CARGO_MANIFEST_DIR"));
}
