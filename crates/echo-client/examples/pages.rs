//! Writes the manuals of both programs, and their completions for three shells, below a folder.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::Generator;
use clap_complete::Shell::{Bash, Fish, Zsh};
use echo_core::completions;

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let share = folder.unwrap_or_default().join("share");
    write(echo_server::cli::Cli::command(), &share)?;
    write(echo_client::cli::Cli::command(), &share)
}

fn write(command: clap::Command, share: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, folder) in [
        (Bash, "bash-completion/completions"),
        (Zsh, "zsh/site-functions"),
        (Fish, "fish/vendor_completions.d"),
    ] {
        let folder = share.join(folder);
        fs::create_dir_all(&folder)?;
        let file = folder.join(shell.file_name(&name));
        fs::write(file, completions(shell, command.clone()))?;
    }
    let folder = share.join("man/man1");
    fs::create_dir_all(&folder)?;
    clap_mangen::generate_to(command.disable_help_subcommand(true), folder)
}
