//! The inputs that fuzzing starts from, and those that it found worth keeping, on a stable compiler.

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

#[test]
fn every_target_holds_for_every_input_of_its_corpus() {
    let corpora = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in targets::TARGETS {
        let inputs: Vec<_> = std::fs::read_dir(corpora.join(name)).unwrap().collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let path = input.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(path).unwrap());
        }
    }
}
