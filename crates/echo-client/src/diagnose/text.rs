//! A diagnosis in the words of a language: a summary of one screen, and the parts that a page shows too.

use std::fmt::Write;

use echo_explain::{Lang, Phrases, Texts, wrap};

use super::diagnosis::{Diagnosis, Done};
use super::finding::{Finding, Kind};

/// Columns that fit any terminal.
const WIDTH: usize = 96;

/// The words of one language.
pub struct Words {
    /// Which it is.
    pub lang: Lang,
    texts: Texts,
    phrases: Phrases,
}

impl Words {
    /// What is said in `lang`: texts of verdicts, and what both programs say.
    pub fn of(lang: Lang, phrases: Phrases) -> Self {
        Words {
            lang,
            texts: Texts::of_verdicts(lang),
            phrases,
        }
    }

    /// An English sentence.
    pub fn phrase(&self, english: &str) -> String {
        self.phrases.say(english)
    }

    /// One part of what is said of a finding: `title`, `means`, `next`, or of its evidence `sent`,
    /// `came` and `test`.
    pub fn say(&self, finding: &Finding, part: &str) -> String {
        let section = match part {
            "sent" | "came" | "test" => &finding.evidence,
            _ => &finding.verdict.to_string(),
        };
        let values = finding.values.iter();
        let said = values.map(|(name, value)| (name.clone(), self.phrase(value)));
        self.texts
            .filled(&format!("{section}.{part}"), &said.collect())
    }

    /// What was found, in a word and in a line.
    pub fn title(&self, finding: &Finding) -> String {
        format!("{}: {}", finding.verdict, self.say(finding, "title"))
    }

    /// What was sent, what came of it, and the test.
    pub fn evidence(&self, finding: &Finding) -> String {
        let [sent, came, test] = ["sent", "came", "test"].map(|part| self.say(finding, part));
        let p = match finding.p {
            None => String::new(),
            Some(p) if p < 1e-99 => ", p < 1e-99".to_owned(),
            Some(p) => format!(", p = {p:.0e}"),
        };
        format!("{sent}: {came} ({test}{p})")
    }

    /// A step, in a line.
    pub fn step(&self, step: &Done) -> String {
        let told = self.phrase(&step.told);
        match step.left_out {
            true => format!("{:<8} {}: {told}", step.name, self.phrase("left out")),
            false => format!("{:<8} {told}", step.name),
        }
    }

    /// How it ended, in a line.
    pub fn verdict(&self, diagnosis: &Diagnosis<'_>) -> String {
        let target = &diagnosis.path.connect.target;
        let found = diagnosis.findings.iter();
        let told = match found.filter(|found| found.is_problem()).count() {
            0 => format!("{target}: nothing wrong was found"),
            1 => format!("{target}: one thing is wrong"),
            problems => format!("{target}: {problems} things are wrong"),
        };
        self.phrase(&told)
    }

    /// What it took, in a line.
    pub fn cost(&self, diagnosis: &Diagnosis<'_>) -> String {
        self.phrase(&format!(
            "{} kB sent, {} kB came back, in {:.1} s",
            diagnosis.path.sent_bytes.div_ceil(1000),
            diagnosis.path.received_bytes.div_ceil(1000),
            diagnosis.elapsed.as_secs_f64()
        ))
    }
}

/// What is wrong, where, why that is believed, what it means, and what to do next.
pub fn summary(diagnosis: &Diagnosis<'_>, words: &Words) -> String {
    let mut text = format!("\n{}\n", words.verdict(diagnosis));
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
    format!("{text}\n{}\n", words.cost(diagnosis))
}
