//! When output has colours.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

crate::named!(Color);

impl Color {
    /// Whether to use colours on an output that is, or is not, a terminal, in an environment.
    pub fn enabled(self, terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            // https://no-color.org: present and not empty, whatever the value.
            Color::Auto => terminal && variable("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}
