//! `echo-server control`: a command given to a running server.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::{Exit, Failure, cause};
use serde_json::Value;

/// How long an answer is waited for: far longer than one takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gives `command` to the server that listens for commands at `path`. Returns its answer, a line of
/// JSON, and whether it did what was asked for.
///
/// # Errors
/// A [`Failure`] when nobody listens there, or nobody answers.
pub fn ask(path: &Path, command: &str) -> Result<(String, Exit), Failure> {
    let fail = |what: &str, error: &std::io::Error| {
        Failure::new(
            Exit::Unreachable,
            anyhow!(
                "cannot {what} unix:{}: {}; give the path of a server's --control",
                shown(path),
                cause(error)
            ),
        )
    };
    let bytes = path.as_os_str().as_bytes();
    let path = Path::new(OsStr::from_bytes(
        bytes.strip_prefix(b"unix:").unwrap_or(bytes),
    ));
    let mut stream = UnixStream::connect(path).map_err(|error| fail("connect to", &error))?;
    let mut answer = String::new();
    let mut exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{}\n", command.replace('\n', " ")).as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        BufReader::new(&stream).read_line(&mut answer)
    };
    match exchange() {
        Ok(0) => Err(fail(
            "be answered by",
            &std::io::ErrorKind::UnexpectedEof.into(),
        )),
        Ok(_) => {
            let value: Value = serde_json::from_str(&answer).unwrap_or_default();
            let refused = value.get("error").is_some();
            Ok((answer, if refused { Exit::Bad } else { Exit::Success }))
        }
        Err(error) => Err(fail("be answered by", &error)),
    }
}
