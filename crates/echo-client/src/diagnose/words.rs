//! The words of a language for what a diagnosis finds.

use echo_explain::{Lang, Phrases, Texts};

use super::finding::Finding;

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

    /// One part of what is said of a finding, `title`, `means`, `next`, `sent`, `came` or `test`; the
    /// evidence's own where it has one.
    pub fn say(&self, finding: &Finding, part: &str) -> String {
        let verdict = finding.verdict.to_string();
        let key = |section: &str| format!("{section}.{part}");
        let special = finding.evidence.map(key);
        let special = special.filter(|key| self.texts.has(key));
        let values = finding.values.iter();
        let said = values.map(|(name, value)| (name.clone(), self.phrase(value)));
        let key = special.unwrap_or_else(|| key(&verdict));
        self.texts.filled(&key, &said.collect())
    }

    /// What was found, in a word and in a line.
    pub fn title(&self, finding: &Finding) -> String {
        format!("{}: {}", finding.verdict, self.say(finding, "title"))
    }

    /// What was sent, what came of it and the test; what that means; what to do next.
    pub fn paragraphs(&self, finding: &Finding) -> [String; 3] {
        let [sent, came, test, means, next] =
            ["sent", "came", "test", "means", "next"].map(|part| self.say(finding, part));
        let p = match finding.p {
            None => String::new(),
            Some(p) if p < 1e-99 => ", p < 1e-99".to_owned(),
            Some(p) => format!(", p = {p:.0e}"),
        };
        [format!("{sent}: {came} ({test}{p})"), means, next]
    }
}
