//! What both programs say, in another language: English stands in the code, where it is said, and a
//! data file a language has what it is in the other.

use std::collections::BTreeMap;

use super::Lang;
use super::text::fill;

/// Letters of English with which a sentence is known by itself.
const FEW: usize = 6;

/// The sentences of a language that somebody has translated; of English, none need be.
#[derive(Clone, Debug, Default)]
pub struct Phrases(Vec<Phrase>);

/// A sentence: the English between its values, and the other with `{1}`, `{2}` for them. What stands
/// behind a word is somebody's own and stays as it is, as does a word alone, which may name a fault or a
/// setting; unless the other has it as `{2*}`.
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

    /// What is a value of a text in this language; a word alone may be a name, and stays as it is.
    pub fn value(&self, text: &str) -> String {
        match text.contains(' ') {
            true => self.say(text),
            false => text.to_owned(),
        }
    }

    fn line(&self, line: &str) -> String {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        let said = self.0.iter().find_map(|phrase| {
            let values = (1..).zip(phrase.values(text)?).flat_map(|(number, value)| {
                let value = match value.split_once("; ") {
                    _ if phrase.is_said(number, value) => self.line(value),
                    // Behind somebody's own there may be another sentence, but not between quotes.
                    Some((own, more)) if !phrase.is_quoted(number) => {
                        format!("{own}; {}", self.line(more))
                    }
                    _ => value.to_owned(),
                };
                [
                    (format!("{number}*"), value.clone()),
                    (number.to_string(), value),
                ]
            });
            // Once from left to right, for a value may look like a place.
            Some(fill(&phrase.other, &values.collect()))
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
        // What has words and a colon in front of it is said by itself.
        if first.is_empty() && values[0].contains(": ") {
            return None;
        }
        // A few letters are found in any sentence, between any words, and in paths; but not with a
        // colon in front.
        let letters = self.english.concat().matches(char::is_alphabetic).count();
        let is_known = !(1..FEW).contains(&letters) || first.ends_with(": ");
        let is_short =
            |value: &&str| value.split(' ').count() <= 2 && !value.starts_with(['/', '.']);
        (is_known || values.iter().all(is_short)).then_some(values)
    }

    fn is_quoted(&self, number: usize) -> bool {
        self.english[number - 1].ends_with('"')
    }

    /// Whether a value is said, too: it is a sentence, or a part of one.
    fn is_said(&self, number: usize, value: &str) -> bool {
        let (before, after) = (&self.english[number - 1], &self.english[number]);
        let is_clause = match before.strip_suffix(' ') {
            None if before.is_empty() => after.starts_with([';', ',']) || after.starts_with(" ("),
            None => !self.is_quoted(number),
            Some(before) => !before.ends_with(char::is_alphanumeric),
        };
        (is_clause && value.contains(' ')) || self.other.contains(&format!("{{{number}*}}"))
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
             \"one of many\" = \"uno entre muchos\"\n\
             \"rate\" = \"ritmo\"\n\
             \"Fault {} added: {}\" = \"fallo {1}: {2}\"\n\
             \"in turn: {}\" = \"por turnos: {1*}\"\n",
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
        assert_eq!(say("Fault 1 added: rate"), "fallo 1: rate");
        assert_eq!(say("in turn: rate"), "por turnos: ritmo");
        assert_eq!(
            Phrases::of(Lang::En).say("connection refused"),
            "connection refused"
        );
    }

    #[test]
    fn what_is_somebody_s_own_stays_as_it_is() {
        let phrases = Phrases::of(Lang::Es);
        for (text, own) in [
            (
                "cannot read /tmp/one of two in time: is a directory; check --file",
                "/tmp/one of two in time",
            ),
            (
                "cannot read connection refused: is a directory; check --file",
                "connection refused",
            ),
            (
                "cannot read /no/{2}: is a directory; check --file",
                "/no/{2}",
            ),
            ("/tmp/one of two: is a directory", "/tmp/one of two"),
            (
                "cannot listen on unix /no/end of x in y or z: is a directory",
                "/no/end of x in y or z",
            ),
        ] {
            let said = phrases.say(text);
            assert!(
                said.contains(own) && said.contains("es un directorio"),
                "{said}"
            );
        }
        let nobody_s = "a sentence of 3 bytes or more that nobody has translated: 1";
        assert_eq!(phrases.say(nobody_s), nobody_s);
    }

    #[test]
    fn what_the_system_says_of_a_socket_is_said_too() {
        let phrases = Phrases::of(Lang::Es);
        for errno in [
            1, 2, 11, 12, 13, 20, 21, 22, 23, 24, 28, 30, 32, 36, 90, 97, 98, 99, 100, 101, 103,
            104, 105, 107, 110, 111, 113,
        ] {
            let error = std::io::Error::from_raw_os_error(errno);
            let remedy = echo_core::remedy(&error).map(str::to_owned);
            for words in remedy.into_iter().chain([echo_core::cause(&error)]) {
                assert_ne!(phrases.say(&words), words, "{errno}");
            }
        }
    }

    #[test]
    fn each_sentence_takes_the_values_that_it_is_given() {
        let phrases = Phrases::of(Lang::Es);
        assert!(phrases.0.len() > 50);
        for Phrase { english, other } in &phrases.0 {
            for number in 1..english.len() {
                let places = [format!("{{{number}}}"), format!("{{{number}*}}")];
                let has = places.iter().any(|place| other.contains(place));
                assert!(has, "{other:?} lacks {number}");
            }
            assert_eq!(other.matches('{').count(), english.len() - 1, "{other:?}");
        }
    }
}
