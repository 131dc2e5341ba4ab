//! What helps whoever typed what is no command line: the same error, with a tip.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use echo_core::Endpoint;
use echo_core::endpoint::{DEFAULT_PORT, joined};

use crate::mesh::Source;

/// What other programs take, and how it is written here, where there is a flag.
const MEANT: [(&[&str], Option<&str>, &str); 4] = [
    (
        &["-p", "--port", "--host"],
        None,
        "host and port are one word, without a flag: HOST:PORT",
    ),
    (
        &["-n", "--number", "--requests"],
        None,
        "how many is --count N, which ping and bench take",
    ),
    (
        &["-t"],
        Some("--ttl"),
        "the time to live is --ttl; ping goes on until Ctrl-C where there is no --count",
    ),
    (
        &["--tcp"],
        Some("--udp"),
        "TCP is spoken where there is no --udp",
    ),
];

/// The same error of parsing what was `typed`, with the tip that helps.
pub fn hinted(mut error: clap::Error, typed: &[OsString], mut command: Command) -> clap::Error {
    command.build();
    let typed = typed.iter().skip(1).filter_map(|word| word.to_str());
    let typed: Vec<&str> = typed.collect();
    let late = typed.iter().find_map(|word| command.find_subcommand(word));
    // A subcommand that came too late is taken for the target, and the word after it for a subcommand.
    if let (Some(late), Some(_)) = (late, error.get(ContextKind::InvalidSubcommand)) {
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
    let context = Context {
        command: &command,
        own: late.unwrap_or(&command),
        typed: &typed,
        is_value: error.kind() == ErrorKind::ValueValidation,
        is_target: words.iter().any(|word| word.starts_with("[TARGET]")),
    };
    let hint = words.iter().find_map(|word| context.hint(word));
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
            let usage = ContextValue::StyledStr(context.own.clone().render_usage());
            error.insert(ContextKind::Usage, usage);
        }
    }
    error
}

/// Where a word stands that is wrong.
struct Context<'a> {
    command: &'a Command,
    /// The subcommand, or what has none.
    own: &'a Command,
    typed: &'a [&'a str],
    /// Whether a value is what is wrong, and not that it is there.
    is_value: bool,
    /// Whether it is that of a target.
    is_target: bool,
}

impl Context<'_> {
    fn hint(&self, word: &str) -> Option<String> {
        let command = self.command;
        if let Some(late) = command.find_subcommand(word) {
            return Some(format!("the subcommand goes first: echo-client {late} ..."));
        }
        let own_takes = |word: &str| takes(self.own, word);
        // Nobody sends anything where there is no target.
        let has_target = self
            .own
            .get_positionals()
            .any(|arg| arg.get_id() == "target");
        let has_peers = own_takes("--targets");
        let joined = self.joined(word).filter(|_| has_target || has_peers);
        if let Some(hint) = joined.filter(|_| self.is_target || !self.is_value) {
            return Some(hint);
        }
        let doubled = |typed: &&str| match typed.strip_prefix('-') {
            Some(rest) if rest.len() > 1 => Some(format!("--{rest}")),
            _ => None,
        };
        let mut doubled = self.typed.iter().filter_map(doubled);
        if let Some(double) = doubled.find(|double| own_takes(double)) {
            return Some(format!("it has two dashes: {double}"));
        }
        if self.is_value || own_takes(word) {
            return None;
        }
        let meant = MEANT
            .iter()
            .find(|(words, flag, _)| words.contains(&word) && flag.is_none_or(own_takes));
        if let Some((.., meant)) = meant.filter(|_| has_target) {
            return Some((*meant).to_owned());
        }
        if let Some(mode) = command.get_subcommands().find(|mode| takes(mode, word)) {
            return Some(format!(
                "it is a flag of {mode}: echo-client {mode} {word} ..."
            ));
        }
        if takes(command, word) {
            return Some(format!(
                "it is a flag of sending, which has no subcommand: echo-client {word} ..."
            ));
        }
        if word.starts_with(['-', '[', '<']) {
            return None;
        }
        let is_source = Source::try_from(OsString::from(word)).is_ok();
        match word.parse::<Endpoint>() {
            _ if has_peers && is_source => Some(format!("peers are listed: --targets {word}")),
            Ok(_) if has_target => Some("one target is asked; bench takes several".to_owned()),
            Ok(_) if has_peers => Some(format!("peers are listed: --targets dns:{word}")),
            Err(_) if has_target => {
                Some(format!("to send a text: echo-client HOST:PORT -m {word}"))
            }
            _ => None,
        }
    }

    /// What to write where a host and a port came apart, of which `word` is one.
    fn joined(&self, word: &str) -> Option<String> {
        let is_port = |word: &&str| word.parse::<u64>().is_ok();
        let is_host = |word: &&str| !word.starts_with('-') && word.parse::<Endpoint>().is_err();
        let at = self.typed.iter().position(|typed| *typed == word)?;
        let port = if is_port(&word) { at } else { at + 1 };
        let port_word = self.typed.get(port).filter(|word| is_port(word))?;
        let host = port.checked_sub(1).and_then(|at| self.typed.get(at));
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
}

/// Whether a subcommand has a flag that is typed like this.
fn takes(command: &Command, word: &str) -> bool {
    command.get_arguments().any(|flag| {
        let long = flag.get_long().map(|long| format!("--{long}"));
        let short = flag.get_short().map(|short| format!("-{short}"));
        [long, short].iter().flatten().any(|name| name == word)
    })
}
