//! What both programs say, in another language: English stands in the code, where it is said, and a
//! data file a language has what it is in the other.

use std::collections::BTreeMap;

use super::Lang;

/// The sentences of a language that somebody has translated; of English, none need be.
#[derive(Clone, Debug, Default)]
pub struct Phrases(Vec<Phrase>);

/// A sentence: the English between its values, and the other with `{1}`, `{2}` for them.
#[derive(Clone, Debug)]
struct Phrase {
    english: Vec<String>,
    other: String,
}

impl Phrases {
    /// Those of a language.
    pub fn of(lang: Lang) -> Self {
        match lang {
            Lang::En | Lang::Auto => Phrases::default(),
            Lang::Es => Phrases::read(include_str!("phrases.es.toml")),
        }
    }

    fn read(file: &str) -> Self {
        let file: BTreeMap<String, String> = toml::from_str(file).expect("a test reads it");
        let phrase = |(english, other): (String, String)| Phrase {
            english: english.split("{}").map(str::to_owned).collect(),
            other,
        };
        let mut phrases: Vec<_> = file.into_iter().map(phrase).collect();
        // What says most of a text is meant, where several fit, and what divides it into parts says
        // more than a word within one of them.
        let weight = |part: &String| part.len() + 4 * part.matches([':', ';']).count();
        let said = |phrase: &Phrase| phrase.english.iter().map(weight).sum::<usize>();
        phrases.sort_by_key(|phrase| std::cmp::Reverse(said(phrase)));
        Phrases(phrases)
    }

    /// The English sentences, each value a `{}`.
    pub fn english(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|phrase| phrase.english.join("{}"))
    }

    /// A text in this language, each line by itself; what nobody has translated stays as it is.
    pub fn say(&self, text: &str) -> String {
        match self.0.is_empty() {
            true => text.to_owned(),
            false => text
                .split('\n')
                .map(|line| self.line(line))
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    fn line(&self, line: &str) -> String {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        let said = self.0.iter().find_map(|phrase| {
            let values = phrase.values(text)?;
            let value = |said: String, (number, value): (usize, &&str)| {
                // What stands between quotes is somebody's own.
                let value = match phrase.english[number - 1].ends_with('"') {
                    true => (*value).to_owned(),
                    false => self.line(value),
                };
                said.replace(&format!("{{{number}}}"), &value)
            };
            Some((1..).zip(&values).fold(phrase.other.clone(), value))
        });
        match said {
            Some(said) => format!("{indent}{said}"),
            None => line.to_owned(),
        }
    }
}

impl Phrase {
    /// The values in a text that is this sentence.
    fn values<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let (first, rest) = self.english.split_first()?;
        let mut text = text.strip_prefix(first.as_str())?;
        let Some((last, between)) = rest.split_last() else {
            return text.is_empty().then(Vec::new);
        };
        let mut values = Vec::new();
        for part in between {
            let (value, after) = text.split_once(part.as_str())?;
            values.push(value);
            text = after;
        }
        values.push(text.strip_suffix(last.as_str())?);
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_said_with_its_values_and_theirs_are_said_too() {
        let phrases = Phrases::read(
            "\"cannot connect to {}: {}; {}\" = \"sin conexión con {1}: {2}; {3}\"\n\
             \"connection refused\" = \"rechazada\"\n\
             'heard \"{}\"' = 'oído \"{1}\"'\n\
             \"{} sent, {} received\" = \"{2} de {1}\"\n\
             \"{}: {}\" = \"{1}: {2}\"\n\
             \"{} of {}\" = \"{1} de {2}\"\n\
             \"one of many\" = \"uno entre muchos\"\n",
        );
        let say = |text: &str| phrases.say(text);
        assert_eq!(
            say("cannot connect to tcp 127.0.0.1:1: connection refused; look: there"),
            "sin conexión con tcp 127.0.0.1:1: rechazada; look: there"
        );
        assert_eq!(say("---\n  4 sent, 3 received\n"), "---\n  3 de 4\n");
        assert_eq!(
            say("heard \"connection refused\""),
            "oído \"connection refused\""
        );
        assert_eq!(say("a: one of many"), "a: uno entre muchos");
        assert_eq!(say("no sentence"), "no sentence");
        assert_eq!(
            Phrases::of(Lang::En).say("connection refused"),
            "connection refused"
        );
    }

    #[test]
    fn what_the_system_says_of_a_socket_is_said_too() {
        let phrases = Phrases::of(Lang::Es);
        for errno in [
            1, 2, 11, 12, 13, 20, 21, 22, 23, 24, 28, 30, 32, 36, 90, 97, 98, 99, 100, 101, 103,
            104, 105, 107, 110, 111, 113,
        ] {
            let words = echo_core::cause(&std::io::Error::from_raw_os_error(errno));
            assert_ne!(phrases.say(&words), words, "{errno}");
        }
    }

    #[test]
    fn each_sentence_takes_the_values_that_it_is_given() {
        let phrases = Phrases::of(Lang::Es);
        assert!(phrases.0.len() > 50);
        for Phrase { english, other } in &phrases.0 {
            for number in 1..english.len() {
                assert!(
                    other.contains(&format!("{{{number}}}")),
                    "{other:?} lacks {number}"
                );
            }
            assert_eq!(other.matches('{').count(), english.len() - 1, "{other:?}");
        }
    }
}
