//! A diagnosis as text: a line a step, and a summary of one screen.

use echo_explain::wrap;

use super::finding::Kind;
use super::path::{Done, Path};
use super::words::Words;

/// Columns that fit any terminal.
const WIDTH: usize = 80;

/// A step: its name, and what came of it beside that.
pub fn step(step: &Done, words: &Words) -> String {
    let lines = wrap(&told(step, words), WIDTH - 9).join("\n         ");
    format!("{:<8} {lines}", step.name)
}

/// What came of a step.
pub fn told(step: &Done, words: &Words) -> String {
    let told = words.phrase(&step.told);
    match step.left_out {
        true => format!("{}: {told}", words.phrase("left out")),
        false => told,
    }
}

/// How it ended, in a line.
pub fn verdict(path: &Path<'_>, words: &Words) -> String {
    let target = &path.connect.target;
    let told = match path.findings.problems().count() {
        0 => format!("{target}: nothing wrong was found"),
        1 => format!("{target}: one thing is wrong"),
        problems => format!("{target}: {problems} things are wrong"),
    };
    words.phrase(&told)
}

/// What it took, in a line.
pub fn cost(path: &Path<'_>, words: &Words) -> String {
    words.phrase(&format!(
        "{} kB sent, {} kB came back, in {:.1} s",
        path.sent_bytes.div_ceil(1000),
        path.received_bytes.div_ceil(1000),
        path.elapsed.as_secs_f64()
    ))
}

/// What is wrong, where, why that is believed, what it means, and what to do next.
pub fn summary(path: &Path<'_>, words: &Words, is_cut: bool) -> String {
    let mut text = format!("\n{}\n", verdict(path, words));
    if is_cut {
        text += &words.phrase("cut short: this is what is known so far");
        text.push('\n');
    }
    for finding in path.findings.all() {
        let mark = match finding.kind {
            Kind::Problem => '!',
            Kind::Unknown => '?',
            Kind::Fact => '-',
        };
        let [evidence, means, next] = words.paragraphs(finding);
        let title = wrap(&words.title(finding), WIDTH - 2).join("\n  ");
        text += &format!("\n{mark} {title}\n");
        for part in [evidence, means, format!("-> {next}")] {
            text += &format!("    {}\n", wrap(&part, WIDTH - 4).join("\n    "));
        }
    }
    format!("{text}\n{}\n", cost(path, words))
}
