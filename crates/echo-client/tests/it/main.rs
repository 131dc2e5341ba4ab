//! All of the client's tests from outside in one program: they mostly wait, and here they do so at once.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../../echo-server/tests/common/complete.rs"]
mod complete;

mod absent;
mod addresses;
mod bad_input;
mod bench;
mod blame;
mod compare;
mod config;
mod corpora;
mod deadline;
mod diagnose;
mod discovery;
mod documents;
mod explain;
mod faults;
mod files;
mod measurement;
mod merge;
mod mesh;
mod message;
mod outcome;
mod pairs;
mod paths;
mod ping;
mod ping_lines;
mod probes;
mod report;
mod saved;
mod search;
mod send;
mod signals;
mod stamp;
mod terminal;
mod unreached;

#[test]
fn every_file_of_tests_is_run() {
    complete::every_file_is_named(include_str!("main.rs"), env!("CARGO_MANIFEST_DIR"));
}
