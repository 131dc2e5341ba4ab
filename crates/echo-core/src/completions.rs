//! What a shell needs to complete the options of a program.

use clap::Command;
use clap_complete::{Shell, generate};

/// The script that has `shell` complete what is typed of `command`.
pub fn completions(shell: Shell, mut command: Command) -> String {
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    generate(shell, &mut command, &name, &mut text);
    let text = String::from_utf8_lossy(&text);
    // What clap_complete has bash look for is `echo__client__subcmd__ping`, and where it has to look it
    // takes the hyphen of our names for the start of a subcommand (clap-rs/clap#6421).
    let (taken, meant) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    text.replace(&taken, &meant)
}
