//! The languages in which the programs speak.

use std::ffi::OsString;

use echo_core::named;
use serde::{Deserialize, Serialize};

/// A language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// The one that the environment asks for.
    #[default]
    Auto,
    /// English.
    En,
    /// Spanish.
    Es,
}

impl Lang {
    /// This language, or for [`Lang::Auto`] the one of `ECHO_LANG` or the locale: the first of
    /// `LC_ALL`, `LC_MESSAGES` and `LANG` that is set, as POSIX has it. English where none is known.
    pub fn resolve(self, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        if self != Lang::Auto {
            return self;
        }
        let locale = ["ECHO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| environment(name).filter(|value| !value.is_empty() && value != "auto"))
            .unwrap_or_default();
        let locale = locale.to_string_lossy();
        match locale.split(['_', '.', '@']).next() {
            Some("es") => Lang::Es,
            _ => Lang::En,
        }
    }
}

named!(Lang);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_chooses_unless_a_language_is_given() {
        let resolve = |lang: Lang, set: &[(&str, &str)]| {
            lang.resolve(|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            })
        };
        let auto = |set| resolve(Lang::Auto, set);
        assert_eq!(auto(&[]), Lang::En);
        assert_eq!(auto(&[("LANG", "es_ES.UTF-8")]), Lang::Es);
        assert_eq!(auto(&[("LANG", "es")]), Lang::Es);
        assert_eq!(auto(&[("LANG", "est_EE.UTF-8")]), Lang::En);
        assert_eq!(auto(&[("LC_ALL", "C"), ("LANG", "es_MX")]), Lang::En);
        assert_eq!(auto(&[("LC_ALL", ""), ("LC_MESSAGES", "es@x")]), Lang::Es);
        assert_eq!(auto(&[("ECHO_LANG", "es"), ("LANG", "en_GB")]), Lang::Es);
        assert_eq!(auto(&[("ECHO_LANG", "auto"), ("LANG", "es")]), Lang::Es);
        assert_eq!(resolve(Lang::En, &[("LANG", "es_ES")]), Lang::En);
        assert_eq!(resolve(Lang::Es, &[]), Lang::Es);
    }
}
