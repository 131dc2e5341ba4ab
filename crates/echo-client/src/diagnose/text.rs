//! A diagnosis as a summary of one screen.

use std::fmt::Write;
use std::time::Duration;

use echo_explain::{Phrases, Texts, wrap};

use super::diagnosis::Diagnosis;
use super::finding::{Finding, Kind};

/// Columns that fit any terminal.
const WIDTH: usize = 96;

/// What is wrong, where, why that is believed, what it means, and what to do next.
pub fn summary(diagnosis: &Diagnosis, phrases: &Phrases, texts: &Texts) -> String {
    let mut text = String::new();
    let mut put = |line: &str| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{line}");
    };
    put("");
    put(&phrases.say(&verdict(diagnosis)));
    if diagnosis.outcome.by.is_some() {
        put(&phrases.say("cut short: this is what is known so far"));
    }
    for finding in &diagnosis.findings {
        put("");
        put(&format!(
            "{} {}: {}",
            mark(finding.kind),
            finding.verdict,
            finding.title(texts)
        ));
        let mut part = |text: &str| {
            for line in wrap(text, WIDTH - 4) {
                put(&format!("    {line}"));
            }
        };
        part(&finding.evidence(phrases));
        part(&finding.means(texts));
        let next = finding.next(texts);
        if !next.is_empty() {
            part(&format!("-> {next}"));
        }
    }
    put("");
    let Diagnosis {
        sent_bytes,
        received_bytes,
        elapsed,
        ..
    } = diagnosis;
    put(&phrases.say(&cost(*sent_bytes, *received_bytes, *elapsed)));
    text
}

/// How it ended, in a line.
pub fn verdict(diagnosis: &Diagnosis) -> String {
    let Diagnosis { target, .. } = diagnosis;
    let problems = diagnosis.findings.iter();
    match problems.filter(|found| found.kind == Kind::Problem).count() {
        0 => format!("{target}: nothing wrong was found"),
        1 => format!("{target}: one thing is wrong"),
        problems => format!("{target}: {problems} things are wrong"),
    }
}

/// What it took, in a line.
pub fn cost(sent_bytes: u64, received_bytes: u64, elapsed: Duration) -> String {
    format!(
        "{} kB sent, {} kB came back, in {:.1} s",
        sent_bytes.div_ceil(1000),
        received_bytes.div_ceil(1000),
        elapsed.as_secs_f64()
    )
}

fn mark(kind: Kind) -> char {
    match kind {
        Kind::Problem => '!',
        Kind::Unknown => '?',
        Kind::Fact => '-',
    }
}

impl Finding {
    /// What it is, in a line.
    pub fn title(&self, texts: &Texts) -> String {
        self.say(texts, "title")
    }

    /// What it means for whoever uses the path.
    pub fn means(&self, texts: &Texts) -> String {
        self.say(texts, "means")
    }

    /// What to do about it, if anything.
    pub fn next(&self, texts: &Texts) -> String {
        self.say(texts, "next")
    }

    fn say(&self, texts: &Texts, what: &str) -> String {
        texts.filled(&format!("{}.{what}", self.verdict), &self.values)
    }

    /// What was sent, what came of it, and the test.
    pub fn evidence(&self, phrases: &Phrases) -> String {
        let mut text = format!("{}: {}", phrases.say(&self.sent), phrases.say(&self.came));
        if !self.test.is_empty() {
            text += &format!(" ({}", phrases.say(&self.test));
            if let Some(p) = self.p {
                text += &match p < 1e-99 {
                    true => ", p < 1e-99".to_owned(),
                    false => format!(", p = {p:.0e}"),
                };
            }
            text.push(')');
        }
        text
    }
}
