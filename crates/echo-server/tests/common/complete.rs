//! Whether every file of tests is run; the tests of both programs ask it.

/// Fails where a file in `tests/it` is named by no line of its `main.rs`: it would never run.
pub fn every_file_is_named(main: &str, package: &str) {
    for file in std::fs::read_dir(format!("{package}/tests/it")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let line = format!("\nmod {name};\n");
        assert!(name == "main" || main.contains(&line), "{name}");
    }
}
