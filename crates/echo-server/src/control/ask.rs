//! `echo-server control`: a command given to a running server.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::{Endpoint, Exit, Failure, cause};
use serde_json::{Map, Value};
use socket2::{Domain, SockAddr, Socket, Type};

/// The longest answer, in bytes: that of `connections` has some 200 for each.
const ANSWER_MAX: u64 = 256 << 20;

/// How long an answer is waited for: far longer than one takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives `command` to the server that listens for commands at `path`. Returns its answer, a line of
/// JSON, and whether it did what was asked for.
///
/// # Errors
/// A [`Failure`] when nobody listens there, or nobody answers.
pub fn ask(path: &Path, command: &str) -> Result<(String, Exit), Failure> {
    let path = match Endpoint::try_from(path.as_os_str().to_owned()) {
        Ok(Endpoint::Unix(path)) => path,
        Err(error) if path.as_os_str().as_bytes().starts_with(b"unix:") => {
            let told = anyhow!("cannot connect to {}: {error}", shown(path));
            return Err(Failure::usage(told));
        }
        _ => path.to_owned(),
    };
    let at = format!("unix:{}", shown(&path));
    let fail = |what: String, error: io::Error| {
        let cause = match error.kind() {
            ErrorKind::WouldBlock => format!("it said nothing for {} s", PATIENCE.as_secs()),
            ErrorKind::UnexpectedEof => "it closed the connection without a word".to_owned(),
            _ => cause(&error),
        };
        let remedy = "give the path of a server's --control";
        Failure::unreachable(anyhow!("{what}: {cause}; {remedy}"))
    };
    let socket = connect(&path).map_err(|error| fail(format!("cannot connect to {at}"), error))?;
    let object = exchange(socket, command).and_then(|answer| {
        let object = serde_json::from_str::<Map<String, Value>>(&answer);
        object.map_err(|_| io::Error::other("something else listens there"))
    });
    // Written anew, so that nothing reaches a terminal but what JSON has, and of that no control.
    let object = object.map_err(|error| fail(format!("cannot be answered by {at}"), error))?;
    let exit = match object.contains_key("error") {
        true => Exit::Bad,
        false => Exit::Success,
    };
    let printable = |c: char| match c.is_control() {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    let text: String = Value::Object(object)
        .to_string()
        .chars()
        .map(printable)
        .collect();
    Ok((text + "\n", exit))
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
    let line = format!("{}\n", command.replace('\n', " "));
    let sent = socket.write_all(line.as_bytes());
    let sent = sent.and_then(|()| socket.shutdown(Shutdown::Write));
    let mut answer = String::new();
    // Whoever is turned away is told why, whether its command was read or not.
    match BufReader::new(socket.take(ANSWER_MAX)).read_line(&mut answer) {
        Ok(1..) => Ok(answer),
        read => Err(sent
            .and(read)
            .err()
            .unwrap_or(ErrorKind::UnexpectedEof.into())),
    }
}
