//! What helps whoever typed what is no command line: the same error, with a tip.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::endpoint::{DEFAULT_PORT, Endpoint, joined};
use crate::nearest;

/// What there is to say of a wrong word, if that is of its kind.
pub type Rule = fn(&Wrong<'_>) -> Option<String>;

/// Those of any program, in the order in which they are asked.
const RULES: [Rule; 3] = [late, apart, doubled];

/// Words that other programs take, the flag that there has to be here, if any, and what to say of them.
pub type Meant = (&'static [&'static str], Option<&'static str>, &'static str);

/// What the value is called where somebody is to be reached.
const PLACES: [&str; 3] = ["TARGET", "ENDPOINT", "SOURCE"];

/// A word of a command line that is wrong.
pub struct Wrong<'a> {
    /// What is wrong.
    pub word: &'a str,
    /// The program as a whole.
    pub program: &'a Command,
    /// The subcommand, or what has none.
    pub own: &'a Command,
    typed: &'a [&'a str],
    /// Whether a value is what is wrong, and not that it is there.
    is_value: bool,
    /// Whether a place is what it was to be.
    is_place: bool,
}

/// The same error of parsing what was `typed`, with the tip that helps: one of any program, then what is
/// `meant`, then what the `rules` of this one say.
pub fn hinted(
    mut error: clap::Error,
    typed: &[OsString],
    mut program: Command,
    meant: &[Meant],
    rules: &[Rule],
) -> clap::Error {
    program.build();
    let typed = typed.iter().skip(1).filter_map(|word| word.to_str());
    let typed: Vec<&str> = typed.collect();
    let mode = |word: &&str| program.find_subcommand(word);
    // A subcommand that came too late is taken for the target, and the word after it for a subcommand.
    if let (Some(late), Some(_)) = (
        typed.iter().skip(1).find_map(mode),
        error.get(ContextKind::InvalidSubcommand),
    ) {
        let late = ContextValue::String(late.get_name().to_owned());
        error.insert(ContextKind::InvalidSubcommand, late);
    }
    let words = [
        ContextKind::InvalidValue,
        ContextKind::InvalidArg,
        ContextKind::InvalidSubcommand,
    ];
    let words = words.into_iter().filter_map(|kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    });
    let words: Vec<String> = words.collect();
    let own = typed.iter().find_map(mode).unwrap_or(&program);
    let is_place = words
        .iter()
        .any(|word| PLACES.iter().any(|place| word.contains(place)));
    let mut wrong = words.iter().map(|word| Wrong {
        word,
        program: &program,
        own,
        typed: &typed,
        is_value: error.kind() == ErrorKind::ValueValidation,
        is_place,
    });
    let hint = wrong.find_map(|wrong| {
        let general = RULES.iter().find_map(|rule| rule(&wrong));
        general
            .or_else(|| wrong.meant(meant))
            .or_else(|| alike(&wrong))
            .or_else(|| rules.iter().find_map(|rule| rule(&wrong)))
    });
    // Nobody who mistypes a flag means to send it.
    let stale = matches!(error.get(ContextKind::Suggested), Some(ContextValue::StyledStrs(tips))
        if tips.iter().any(|tip| tip.to_string().contains("as a value")));
    if stale {
        error.remove(ContextKind::Suggested);
    }
    if let Some(hint) = hint {
        let hints = ContextValue::StyledStrs(vec![hint.into()]);
        error.insert(ContextKind::Suggested, hints);
        // What looks alike is not what was meant, nor is its usage.
        if error.remove(ContextKind::SuggestedArg).is_some() {
            let usage = ContextValue::StyledStr(own.clone().render_usage());
            error.insert(ContextKind::Usage, usage);
        }
    }
    error
}

impl Wrong<'_> {
    /// Whether it stands where it means nothing, and not as a value that is wrong.
    pub fn is_strange(&self) -> bool {
        !self.is_value && !takes(self.own, self.word)
    }

    /// Whether anybody is to be reached where it stands.
    fn has_place(&self) -> bool {
        let mut names = self
            .own
            .get_arguments()
            .filter_map(|arg| arg.get_value_names());
        names.any(|names| names.iter().any(|name| PLACES.contains(&name.as_str())))
    }

    fn meant(&self, table: &[Meant]) -> Option<String> {
        let is_flag = |flag: &str| takes(self.own, flag);
        let meant = table
            .iter()
            .find(|(words, flag, _)| words.contains(&self.word) && flag.is_none_or(is_flag));
        let (.., meant) = meant.filter(|_| self.is_strange() && self.has_place())?;
        Some((*meant).to_owned())
    }
}

fn late(wrong: &Wrong<'_>) -> Option<String> {
    let word = Some(wrong.word).filter(|_| wrong.is_place || !wrong.is_value);
    let late = word.and_then(|word| wrong.program.find_subcommand(word))?;
    let program = wrong.program.get_name();
    Some(format!("the subcommand goes first: {program} {late} ..."))
}

/// A host and a port that came apart, of which the word is one.
fn apart(wrong: &Wrong<'_>) -> Option<String> {
    let is_port = |word: &&str| word.parse::<u64>().is_ok();
    let is_host = |word: &&str| !word.starts_with('-') && word.parse::<Endpoint>().is_err();
    let is_asked = wrong.has_place() && (wrong.is_place || !wrong.is_value);
    let at = wrong.typed.iter().position(|typed| *typed == wrong.word);
    let at = at.filter(|_| is_asked)?;
    let port = if is_port(&wrong.word) { at } else { at + 1 };
    let port_word = wrong.typed.get(port).filter(|word| is_port(word))?;
    let host = port.checked_sub(1).and_then(|at| wrong.typed.get(at));
    let host = host.filter(|host| is_host(host));
    if port != at && host.is_none() {
        return None;
    }
    let host = *host.unwrap_or(&"HOST");
    Some(match port_word.parse() {
        Ok(port) => format!("host and port are one word: {}", joined(host, port)),
        Err(_) => format!(
            "host and port are one word, {}, and 65535 is the last",
            joined(host, DEFAULT_PORT)
        ),
    })
}

fn doubled(wrong: &Wrong<'_>) -> Option<String> {
    let doubled = |typed: &&str| match typed.strip_prefix('-') {
        Some(rest) if rest.len() > 1 => Some(format!("--{rest}")),
        _ => None,
    };
    let mut doubled = wrong.typed.iter().filter_map(doubled);
    let double = doubled.find(|double| takes(wrong.own, double))?;
    Some(format!("it has two dashes: {double}"))
}

/// The first word decides what the others are, whichever of them is found to be wrong.
fn alike(wrong: &Wrong<'_>) -> Option<String> {
    let names = wrong.program.get_subcommands().map(Command::get_name);
    let first = wrong.typed.iter().find(|word| **word != "help")?;
    let first = Some(first).filter(|first| !takes(wrong.program, first))?;
    let alike = nearest(first, names).filter(|alike| alike != first)?;
    Some(format!("a similar subcommand exists: {alike}"))
}

/// Whether a subcommand has a flag that is typed like this.
pub fn takes(command: &Command, word: &str) -> bool {
    command.get_arguments().any(|flag| {
        let long = flag.get_long().map(|long| format!("--{long}"));
        let short = flag.get_short().map(|short| format!("-{short}"));
        [long, short].iter().flatten().any(|name| name == word)
    })
}
