//! `echo-server control`: a command given to a running server.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::{Exit, Failure, cause};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

/// How long an answer is waited for: far longer than one takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives `command` to the server that listens for commands at `path`. Returns its answer, a line of
/// JSON, and whether it did what was asked for.
///
/// # Errors
/// A [`Failure`] when nobody listens there, or nobody answers.
pub fn ask(path: &Path, command: &str) -> Result<(String, Exit), Failure> {
    let bytes = path.as_os_str().as_bytes();
    let path = Path::new(OsStr::from_bytes(
        bytes.strip_prefix(b"unix:").unwrap_or(bytes),
    ));
    let fail = |what: &str, error: &io::Error| {
        let cause = match error.kind() {
            ErrorKind::WouldBlock => format!("it said nothing for {} s", PATIENCE.as_secs()),
            ErrorKind::UnexpectedEof => "it closed the connection without a word".to_owned(),
            _ => cause(error),
        };
        let remedy = "give the path of a server's --control";
        let told = anyhow!("cannot {what} unix:{}: {cause}; {remedy}", shown(path));
        Failure::new(Exit::Unreachable, told)
    };
    let socket = connect(path).map_err(|error| fail("connect to", &error))?;
    let answer = exchange(socket, command);
    let answer = answer.map_err(|error| fail("be answered by", &error))?;
    let value: Value = serde_json::from_str(&answer).unwrap_or_default();
    let refused = value.get("error").is_some();
    Ok((answer, if refused { Exit::Bad } else { Exit::Success }))
}

/// A connection on which nothing is waited for without end, not even that it is taken in.
fn connect(path: &Path) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// The answer, a line.
fn exchange(mut socket: Socket, command: &str) -> io::Result<String> {
    socket.write_all(format!("{}\n", command.replace('\n', " ")).as_bytes())?;
    socket.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    match BufReader::new(socket).read_line(&mut answer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok(answer),
    }
}
