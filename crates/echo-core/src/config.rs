//! Configuration in layers: defaults, then a TOML file, then the environment, then flags.
//!
//! A layer is any serializable value; it overrides, key by key, what lies below it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
pub use toml::Table;

use crate::escape::printable;
use crate::path::{contents, shown};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable; see [`variable`].
    Environment,
    /// The command line.
    Flag,
}

/// Layers folded over one another, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    merged: Table,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    /// The bottom layer: every key with its default.
    pub fn defaults(defaults: &impl Serialize) -> Result<Self> {
        Layers::default().over(Source::Default, defaults)
    }

    /// Folds another layer over these. A key it leaves out keeps its value.
    pub fn over(mut self, source: Source, layer: &impl Serialize) -> Result<Self> {
        for (key, value) in Table::try_from(layer).context("a layer must be a table")? {
            self.sources.insert(key.clone(), source.clone());
            self.merged.insert(key, value);
        }
        Ok(self)
    }

    /// The keys of all layers, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.merged.keys().map(String::as_str)
    }

    /// The effective configuration.
    pub fn resolve<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(self.merged.clone().try_into()?)
    }
}

/// The effective values as a valid configuration file, each with its source in a comment.
impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self
            .merged
            .iter()
            .map(|(key, value)| (key, format!("{key} = {value}")))
            .collect();
        let width = lines
            .iter()
            .map(|(_, line)| line.chars().count())
            .max()
            .unwrap_or(0);
        for (key, line) in &lines {
            write!(f, "{line:width$}  # ")?;
            match &self.sources[*key] {
                Source::Default => writeln!(f, "default")?,
                Source::File(path) => writeln!(f, "file {}", shown(path))?,
                Source::Environment => writeln!(f, "environment {}", variable(key))?,
                Source::Flag => writeln!(f, "flag --{key}")?,
            }
        }
        Ok(())
    }
}

/// The environment variable that sets `key`: `ECHO_MAX_FRAME` for `max-frame`.
pub fn variable(key: &str) -> String {
    format!("ECHO_{}", key.replace('-', "_").to_uppercase())
}

/// The environment as flags, for the keys that it sets: a variable is a flag spelled otherwise,
/// and one parser reads both. An empty variable counts as not set.
pub fn flags_from_environment<'a>(
    keys: impl IntoIterator<Item = &'a str>,
    lookup: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Vec<(String, std::ffi::OsString)> {
    keys.into_iter()
        .filter_map(|key| {
            let variable = variable(key);
            let value = lookup(&variable).filter(|value| !value.is_empty())?;
            let mut flag = std::ffi::OsString::from(format!("--{key}="));
            flag.push(value);
            Some((variable, flag))
        })
        .collect()
}

/// What a setting that is on or off is typed as, for command lines and the environment.
///
/// # Errors
/// What to write instead.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "t" | "1" => Ok(true),
        "false" | "no" | "off" | "n" | "f" | "0" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// The most that a settings file may have, in bytes: a thousand times what one needs.
const MAX_FILE: u64 = 1 << 20;

/// Reads a settings file. An error names the file, the line and the key.
pub fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    parse(&read_text(path)?).with_context(|| shown(path).to_string())
}

/// Reads the text of a settings file, for [`parse`]: a regular file of at most 1 MiB.
pub fn read_text(path: &Path) -> Result<String> {
    text_of(path, MAX_FILE)
        .map_err(|why| anyhow!("cannot read the configuration file {}: {why}", shown(path)))
}

/// The text of a regular file of `max` bytes at most; see [`contents`].
///
/// # Errors
/// Why it cannot be had.
pub fn text_of(path: &Path, max: u64) -> Result<String, String> {
    let bytes = contents(path, max)?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8; save it as that".to_owned())
}

/// Reads the text of a settings file. An error names the line and the key. Nothing of the text
/// that it shows acts on a terminal.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let (shown, message) = (error.to_string(), error.message());
        let shown = shown.trim_end();
        let place = shown.strip_suffix(message).unwrap_or(shown);
        let place: Vec<String> = place.split('\n').map(printable).collect();
        let message: Vec<String> = plain(message).split('\n').map(printable).collect();
        anyhow!("{}{}", place.join("\n"), message.join("\n"))
    })
}

/// An error's words, where they are those of programmers, as words of whoever writes the file.
fn plain(message: &str) -> String {
    [
        ("unknown variant", "unknown value"),
        ("unknown field", "unknown key"),
        ("invalid type: ", "invalid value: "),
        ("floating point", "number"),
        ("expected a boolean", "expected true or false"),
        (
            "expected a sequence",
            "expected a list, such as [\"a\", \"b\"]",
        ),
        ("expected a string", "expected a text in quotes"),
        ("expected path string", "expected a text in quotes"),
        ("wanted string or table", "expected a text in quotes"),
        ("expected f64", "expected a number"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected usize", "expected a whole number from 0 on"),
    ]
    .iter()
    .fold(message.to_owned(), |message, (theirs, ours)| {
        message.replace(theirs, ours)
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Config {
        max_frame: u32,
        listen: Vec<String>,
        once: bool,
    }

    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    struct Settings {
        max_frame: Option<u32>,
        listen: Option<Vec<String>>,
        once: Option<bool>,
    }

    fn layers() -> Layers {
        let defaults = Config {
            max_frame: 1,
            listen: vec!["a".into(), "b".into()],
            once: false,
        };
        let file = Settings {
            max_frame: Some(2),
            once: Some(true),
            ..Settings::default()
        };
        let environment = Settings {
            max_frame: Some(3),
            ..Settings::default()
        };
        Layers::defaults(&defaults)
            .and_then(|layers| layers.over(Source::File("e.toml".into()), &file))
            .and_then(|layers| layers.over(Source::Environment, &environment))
            .and_then(|layers| layers.over(Source::Flag, &Settings::default()))
            .unwrap()
    }

    #[test]
    fn the_topmost_layer_that_has_a_key_wins() {
        let config: Config = layers().resolve().unwrap();
        let expected = Config {
            max_frame: 3,
            listen: vec!["a".into(), "b".into()],
            once: true,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn the_print_is_a_valid_file_that_names_each_source() {
        let text = layers().to_string();
        assert_eq!(
            text,
            "listen = [\"a\", \"b\"]  # default\n\
             max-frame = 3        # environment ECHO_MAX_FRAME\n\
             once = true          # file e.toml\n"
        );
        assert_eq!(
            toml::from_str::<Config>(&text).unwrap(),
            layers().resolve().unwrap()
        );
    }

    #[test]
    fn a_variable_is_a_flag_spelled_otherwise() {
        let lookup = |name: &str| match name {
            "ECHO_MAX_FRAME" => Some("64k".into()),
            "ECHO_ONCE" => Some("".into()),
            _ => None,
        };
        assert_eq!(
            flags_from_environment(["max-frame", "once", "listen"], lookup),
            [("ECHO_MAX_FRAME".into(), "--max-frame=64k".into())]
        );
    }

    #[test]
    fn a_bad_value_is_told_in_plain_words() {
        for (text, words) in [
            ("listen = \"a\"", "value: string \"a\", expected a list"),
            ("listen = [1]", "expected a text in quotes"),
            ("once = 1.5", "value: number `1.5`, expected true or false"),
            ("lisen = 1", "unknown key `lisen`"),
        ] {
            let error = parse::<Settings>(text).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
            assert!(error.contains("line 1") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        assert_eq!(switch("YES"), Ok(true));
        assert_eq!(switch("0"), Ok(false));
        assert_eq!(switch(""), Err("write true or false".to_owned()));
    }
}
