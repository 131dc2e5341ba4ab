//! All of the client's tests from outside in one program: they mostly wait, and here they do so at once.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod bad_input;
mod bench;
mod compare;
mod config;
mod corpora;
mod deadline;
mod diagnose;
mod documents;
mod explain;
mod faults;
mod measurement;
mod merge;
mod mesh;
mod outcome;
mod paths;
mod ping;
mod ping_lines;
mod report;
mod send;
mod signals;
mod stamp;
mod terminal;

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
