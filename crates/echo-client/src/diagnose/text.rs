//! A diagnosis as text: a line a step, and a summary of one screen.

use std::fmt::Write;

use echo_explain::wrap;

use super::diagnosis::{Diagnosis, Done};
use super::finding::Kind;
use super::words::Words;

/// Columns that fit any terminal.
const WIDTH: usize = 96;

/// A step, in a line.
pub fn step(step: &Done, words: &Words) -> String {
    let told = words.phrase(&step.told);
    match step.left_out {
        true => format!("{:<8} {}: {told}", step.name, words.phrase("left out")),
        false => format!("{:<8} {told}", step.name),
    }
}

/// How it ended, in a line.
pub fn verdict(diagnosis: &Diagnosis<'_>, words: &Words) -> String {
    let target = &diagnosis.path.connect.target;
    let found = diagnosis.findings.iter();
    let told = match found.filter(|found| found.is_problem()).count() {
        0 => format!("{target}: nothing wrong was found"),
        1 => format!("{target}: one thing is wrong"),
        problems => format!("{target}: {problems} things are wrong"),
    };
    words.phrase(&told)
}

/// What it took, in a line.
pub fn cost(diagnosis: &Diagnosis<'_>, words: &Words) -> String {
    words.phrase(&format!(
        "{} kB sent, {} kB came back, in {:.1} s",
        diagnosis.path.sent_bytes.div_ceil(1000),
        diagnosis.path.received_bytes.div_ceil(1000),
        diagnosis.elapsed.as_secs_f64()
    ))
}

/// What is wrong, where, why that is believed, what it means, and what to do next.
pub fn summary(diagnosis: &Diagnosis<'_>, words: &Words) -> String {
    let mut text = format!("\n{}\n", verdict(diagnosis, words));
    if diagnosis.outcome.by.is_some() {
        text += &format!(
            "{}\n",
            words.phrase("cut short: this is what is known so far")
        );
    }
    for finding in &diagnosis.findings {
        let mark = match finding.kind {
            Kind::Problem => '!',
            Kind::Unknown => '?',
            Kind::Fact => '-',
        };
        let title = words.title(finding);
        let [means, next] = ["means", "next"].map(|part| words.say(finding, part));
        // Writing to a text cannot fail.
        let _ = writeln!(text, "\n{mark} {title}");
        for part in [words.evidence(finding), means, format!("-> {next}")] {
            for line in wrap(&part, WIDTH - 4) {
                let _ = writeln!(text, "    {line}");
            }
        }
    }
    format!("{text}\n{}\n", cost(diagnosis, words))
}
