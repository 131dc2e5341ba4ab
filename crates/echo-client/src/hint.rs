//! What this program says of words that others take, and of those that stand at the wrong mode.

use std::ffi::OsString;

use echo_core::Endpoint;
use echo_core::tip::{Meant, Rule, Wrong, takes};

use crate::mesh::Source;

/// What other programs take.
pub const MEANT: [Meant; 9] = [
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
        Some("--warmup"),
        "for how long is --duration; the time to live is --ttl",
    ),
    (
        &["-t"],
        Some("--ttl"),
        "the time to live is --ttl; ping goes on until Ctrl-C where there is no --count",
    ),
    (
        &["-f", "-A", "--flood"],
        Some("--interval"),
        "as fast as answers come is --interval 0",
    ),
    (
        &["-I"],
        Some("--interface"),
        "from where is --interface NAME, or --bind ADDRESS",
    ),
    (
        &["-M"],
        Some("--df"),
        "what must not be cut into fragments is sent with --df",
    ),
    (
        &["-b", "-R", "--bandwidth"],
        Some("--rate"),
        "how many requests a second is --rate",
    ),
    (
        &["--tcp"],
        Some("--udp"),
        "TCP is spoken where there is no --udp",
    ),
];

/// In the order in which they are asked.
pub const RULES: [Rule; 3] = [of_a_mode, of_sending, bare];

fn of_a_mode(wrong: &Wrong<'_>) -> Option<String> {
    let mut modes = wrong.program.get_subcommands();
    let mode = modes.find(|mode| wrong.is_strange() && takes(mode, wrong.word))?;
    let word = wrong.word;
    Some(format!(
        "it is a flag of {mode}: echo-client {mode} {word} ..."
    ))
}

fn of_sending(wrong: &Wrong<'_>) -> Option<String> {
    let word = wrong.word;
    let is_of_sending = wrong.is_strange() && takes(wrong.program, word);
    is_of_sending.then(|| {
        format!("it is a flag of sending, which has no subcommand: echo-client {word} ...")
    })
}

/// What one more word was meant as.
fn bare(wrong: &Wrong<'_>) -> Option<String> {
    let word = wrong.word;
    if !wrong.is_strange() || word.starts_with(['-', '[', '<']) {
        return None;
    }
    let is_endpoint = word.parse::<Endpoint>().is_ok();
    if takes(wrong.own, "--targets") {
        let is_source = Source::try_from(OsString::from(word)).is_ok();
        let source = if is_source { "" } else { "dns:" };
        return (is_source || is_endpoint)
            .then(|| format!("peers are listed: --targets {source}{word}"));
    }
    let mut positionals = wrong.own.get_positionals();
    positionals.find(|arg| arg.get_id() == "target")?;
    Some(match is_endpoint {
        true => "one target is asked; bench takes several".to_owned(),
        false => format!("to send a text: echo-client HOST:PORT -m {word}"),
    })
}
