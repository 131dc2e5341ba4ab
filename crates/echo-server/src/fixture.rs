//! What makes the program a good far end for a test: it says when it is ready, and ends by itself.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use echo_core::Failure;
use echo_core::path::shown;

use crate::config::Config;
use crate::event::{Address, Stop};
use crate::shutdown::Shutdown;
use crate::thread;

/// The file that tells those who cannot read our standard output where we listen.
#[derive(Debug)]
pub struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    /// Takes the configured file. One of an earlier run would name a server that is gone, so it is
    /// removed.
    ///
    /// # Errors
    /// A usage [`Failure`] when it is there to stay.
    pub fn prepare(config: &Config) -> Result<Self, Failure> {
        if config.ready_file.is_none() {
            return Ok(ReadyFile(None));
        }
        let path = &config.ready_file;
        let removed = match fs::symlink_metadata(path) {
            // A device or a link is put there by someone else, for something else.
            Ok(found) if !found.is_file() => {
                Err(io::Error::other("it is there, and no plain file"))
            }
            Ok(_) => fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        removed.map_err(|error| refused(path, &error))?;
        Ok(ReadyFile(Some(path.to_path_buf())))
    }

    /// Writes `text` beside it and renames that: whoever finds the file finds it whole.
    ///
    /// # Errors
    /// A usage [`Failure`] when the system does not allow it.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        let Some(path) = &self.0 else { return Ok(()) };
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(draft);
        let written = fs::File::create_new(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&draft, path));
        written.map_err(|error| {
            // The draft is of no use to anyone; that it cannot be removed either changes nothing.
            let _: io::Result<()> = fs::remove_file(&draft);
            refused(path, &error)
        })
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(anyhow!(
        "cannot write the ready file {}: {error}; give a file in a directory you may write to with \
         --ready-file",
        shown(path)
    ))
}

/// The ready lines: each socket with the address it got, then `ready`.
pub fn ready_lines(addresses: &[Address]) -> String {
    let lines = addresses.iter();
    lines
        .map(|address| format!("listening {address}\n"))
        .chain(["ready\n".to_owned()])
        .collect()
}

/// Requests `shutdown` when the configured time is up, or when standard input ends.
///
/// # Errors
/// A [`Failure`] when the system grants no thread.
pub fn stop_by_itself(config: &Config, shutdown: &Shutdown) -> Result<(), Failure> {
    let time = Duration::from(config.exit_after);
    if !time.is_zero() {
        let shutdown = shutdown.clone();
        thread::start("exit-after", move || {
            std::thread::sleep(time);
            shutdown.request_for(Stop::TimeUp);
        })?;
    }
    if config.exit_on_stdin_eof {
        let shutdown = shutdown.clone();
        thread::start("stdin", move || {
            // An input that cannot be read has ended, too.
            let _: io::Result<u64> = io::copy(&mut io::stdin().lock(), &mut io::sink());
            shutdown.request_for(Stop::StdinClosed);
        })?;
    }
    Ok(())
}

/// Whether the end was the one that was asked for.
///
/// # Errors
/// A [`Failure`] with exit code 1 when time was up before the connections that were waited for.
pub fn verdict(config: &Config, why: Option<Stop>) -> Result<(), Failure> {
    match config.total() {
        Some(total) if why == Some(Stop::TimeUp) => Err(Failure::bad(anyhow!(
            "{} passed before the {total} of --max-total (or --once) had been served; allow more \
             with --exit-after",
            config.exit_after
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_up_is_a_failure_only_where_connections_were_waited_for() {
        let waits = Config {
            once: true,
            ..Config::default()
        };
        assert!(verdict(&waits, Some(Stop::TimeUp)).is_err());
        assert!(verdict(&waits, Some(Stop::Served)).is_ok());
        assert!(verdict(&waits, Some(Stop::Signal)).is_ok());
        assert!(verdict(&Config::default(), Some(Stop::TimeUp)).is_ok());
    }
}
