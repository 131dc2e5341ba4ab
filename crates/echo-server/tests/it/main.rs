//! All of the server's tests from outside in one program: they mostly wait, and here they do so at once.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
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
mod refusals;
mod sandbox;
mod stamp;
mod stopping;
mod streams;
mod systemd;
mod udp;

/// A file that no line above names would never run.
#[test]
fn every_file_of_tests_is_run() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it");
    for file in std::fs::read_dir(directory).unwrap().flatten() {
        let path = file.path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let line = format!("\nmod {name};\n");
        assert!(
            name == "main" || include_str!("main.rs").contains(&line),
            "{name}"
        );
    }
}
