//! What makes the program a good far end for a test: it says when it is ready, and ends by itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::{Failure, Patient, remedied};

use crate::config::Config;
use crate::event::Stop;
use crate::file::{OwnFile, is_held};
use crate::shutdown::Shutdown;
use crate::thread;

/// The file that tells those who cannot read our standard output where we listen. It goes when
/// this is dropped.
#[derive(Debug)]
pub struct ReadyFile(Option<(PathBuf, OwnFile, File)>);

impl ReadyFile {
    /// Writes `text` beside the configured file. That one stays as it is, so that a start which
    /// fails has changed nothing.
    ///
    /// # Errors
    /// A usage [`Failure`] when the system does not allow it, or something else is in its place.
    pub fn draft(config: &Config, text: &str) -> Result<Self, Failure> {
        if config.ready_file.is_none() {
            return Ok(ReadyFile(None));
        }
        let path = &config.ready_file.0;
        let free = match fs::symlink_metadata(path) {
            // A device or a link is put there by someone else, for something else.
            Ok(found) if !found.is_file() => {
                Err(io::Error::other("it is there, and no plain file"))
            }
            Ok(_) if is_held(path) => Err(io::Error::other("it is that of a server that runs")),
            _ => Ok(()),
        };
        let draft = free.and_then(|()| OwnFile::draft(path, text));
        let (draft, file) = draft.map_err(|error| refused(path, &error))?;
        Ok(ReadyFile(Some((path.clone(), draft, file))))
    }

    /// Renames what was written: whoever finds the file finds it whole.
    ///
    /// # Errors
    /// A usage [`Failure`] when the system does not allow it.
    pub fn publish(&mut self) -> Result<(), Failure> {
        match &mut self.0 {
            Some((path, draft, _)) => draft.rename(path).map_err(|error| refused(path, &error)),
            None => Ok(()),
        }
    }
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(anyhow!(
        "cannot write the ready file {}: {}",
        shown(path),
        remedied(
            error,
            "give a file in a directory you may write to with --ready-file"
        )
    ))
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
            let _: io::Result<u64> = io::copy(&mut Patient(io::stdin().lock()), &mut io::sink());
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
            max_total: 1,
            ..Config::default()
        };
        assert!(verdict(&waits, Some(Stop::TimeUp)).is_err());
        assert!(verdict(&waits, Some(Stop::Served)).is_ok());
        assert!(verdict(&waits, Some(Stop::Signal)).is_ok());
        assert!(verdict(&Config::default(), Some(Stop::TimeUp)).is_ok());
    }
}
