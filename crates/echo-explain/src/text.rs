//! The words of an explanation, in each language: one data file a language, alike in their keys.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::Lang;

/// Values by their names.
pub type Values = BTreeMap<String, String>;

/// `text` with each `{name}` replaced by its value.
pub(super) fn fill(text: &str, values: &Values) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    // Once from left to right, for a value may look like a place.
    while let Some((before, after)) = rest.split_once('{') {
        let place = after.split_once('}');
        let value = place.and_then(|(name, after)| Some((values.get(name)?, after)));
        filled.push_str(before);
        match value {
            Some((value, after)) => {
                filled.push_str(value);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

/// The texts of a language, by key.
#[derive(Clone, Debug)]
pub struct Texts(BTreeMap<String, String>);

impl Texts {
    /// The texts of a language.
    pub fn of(lang: Lang) -> Self {
        let file = match lang {
            Lang::Es => include_str!("es.toml"),
            Lang::En | Lang::Auto => include_str!("en.toml"),
        };
        Texts(toml::from_str(file).expect("a test reads each file"))
    }

    /// What the verdicts of a diagnosis mean, in a language: for each its `title`, what it `means`
    /// and what to do `next`, as `loss.title`.
    pub fn of_verdicts(lang: Lang) -> Self {
        let file = match lang {
            Lang::Es => include_str!("verdicts.es.toml"),
            Lang::En | Lang::Auto => include_str!("verdicts.en.toml"),
        };
        let file: BTreeMap<String, BTreeMap<String, String>> =
            toml::from_str(file).expect("a test reads each file");
        let texts = file.into_iter().flat_map(|(verdict, texts)| {
            let key = move |(what, text)| (format!("{verdict}.{what}"), text);
            texts.into_iter().map(key)
        });
        Texts(texts.collect())
    }

    /// The text of `key`, with each `{name}` replaced by its value.
    pub fn text(&self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        let values = values.iter();
        let values = values.map(|(name, value)| ((*name).to_owned(), value.to_string()));
        self.filled(key, &values.collect())
    }

    /// As [`Texts::text`], of values that stand for many texts.
    pub fn filled(&self, key: &str, values: &Values) -> String {
        fill(self.0.get(key).map_or(key, String::as_str), values)
    }

    /// Whether there is a text of that key.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// A number of things: `1 byte`, `2 bytes`.
    pub fn count(&self, count: u64, one: &str, many: &str) -> String {
        let noun = self.text(if count == 1 { one } else { many }, &[]);
        format!("{count} {noun}")
    }
}

/// Cuts prose into lines of at most `width` columns; a longer word stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn places(text: &str) -> BTreeSet<&str> {
        let parts = text.split('{').skip(1);
        parts.filter_map(|part| part.split('}').next()).collect()
    }

    #[test]
    fn the_languages_have_the_same_keys_and_each_text_the_same_values() {
        for texts in [Texts::of, Texts::of_verdicts] {
            let (en, es) = (texts(Lang::En), texts(Lang::Es));
            assert!(en.0.keys().eq(es.0.keys()));
            for (key, text) in &en.0 {
                assert_eq!(places(text), places(&es.0[key]), "{key}");
                assert!(
                    !text.trim().is_empty() && !es.0[key].trim().is_empty(),
                    "{key}"
                );
            }
        }
    }

    #[test]
    fn a_value_that_looks_like_a_place_stays_as_it_is() {
        let values = [("a", "{b}"), ("b", "x")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fill("{a} {b} {c} {", &values.into()), "{b} x {c} {");
    }

    #[test]
    fn prose_is_wrapped_between_words() {
        let lines = wrap("one two  three\nfourteen-columns x", 9);
        assert_eq!(lines, ["one two", "three", "fourteen-columns", "x"]);
        assert_eq!(wrap("", 9), [""]);
    }
}
