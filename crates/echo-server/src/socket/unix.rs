//! Listening on a path: whose it is, and what is left behind there.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::{cause, remedied};
use socket2::{Domain, SockAddr, Type};

use crate::Listen;
use crate::event::{Address, Events};
use crate::file::{self, Lock, OwnFile};
use crate::socket::listener::{Listener, SocketFile};
use crate::socket::open;

/// Binds the path of `listen`, unless another has it. A file gets the permissions `mode`, or those of the
/// umask.
pub(crate) fn bind(
    path: &Path,
    listen: &Arc<Listen>,
    backlog: i32,
    mode: Option<u32>,
    events: &Events,
) -> anyhow::Result<Listener> {
    let fail = |cause: String| anyhow!("cannot listen on unix {}: {cause}", shown(path));
    let refused = |error: io::Error| {
        fail(match error.kind() {
            io::ErrorKind::NotFound => "its directory does not exist; create it first".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "permission denied; choose a directory you may write to".to_owned()
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
                "the path is too long for a socket (108 bytes on Linux); choose a shorter one"
                    .to_owned()
            }
            io::ErrorKind::AlreadyExists => {
                "a file beside it, of its name and .lock, is no lock; choose another path"
                    .to_owned()
            }
            _ => remedied(&error, "choose another path"),
        })
    };
    let opening = open(events, Domain::UNIX, Type::STREAM, None).map_err(refused)?;
    let address = SockAddr::unix(path).map_err(refused)?;
    let file = if address.as_pathname().is_some() {
        let right = Lock::take(path).map_err(refused)?;
        let right = right.ok_or_else(|| fail(SERVED.to_owned()))?;
        remove_stale(events, path).map_err(fail)?;
        opening.bind(&address).map_err(refused)?;
        let file = SocketFile {
            _socket: OwnFile::at(path).map_err(refused)?,
            _right: right,
        };
        if let Some(mode) = mode {
            // Nobody can connect before it listens.
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(refused)?;
        }
        Some(file)
    } else {
        opening.bind(&address).map_err(refused)?;
        None
    };
    opening.listen(backlog).map_err(refused)?;
    let listener = Listener::new(listen, Address::Unix(path.to_owned()), opening);
    Ok(Listener {
        _file: file,
        ..listener
    })
}

/// Why a path is not taken over.
const SERVED: &str = "another server listens there; stop it, or choose another path";

/// The same, where the system does not tell whether a server that is about to listen has it.
const UNKNOWN: &str = "a socket file is there, and /proc/net/unix cannot tell whether a server still has it; \
                       remove it if none does, or choose another path";

/// Removes a socket file that no server has; anything else that is in the way stays.
fn remove_stale(events: &Events, path: &Path) -> Result<(), String> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err("a file of that name exists and is no socket; choose another path".to_owned());
    }
    // Without waiting: a server that hangs has a full queue, and would be waited for for ever.
    let probe = || {
        let probe = open(events, Domain::UNIX, Type::STREAM, None)?;
        probe.connect(&SockAddr::unix(path)?)
    };
    match probe() {
        // One that is bound and does not listen yet refuses, too.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match is_bound(path) {
            Some(false) => fs::remove_file(path).map_err(|error| {
                let cause = cause(&error);
                format!("the socket file left behind there cannot be removed: {cause}")
            }),
            Some(true) => Err(SERVED.to_owned()),
            None => Err(UNKNOWN.to_owned()),
        },
        _ => Err(SERVED.to_owned()),
    }
}

/// Whether the system lists a socket that may be bound to `path`: by the whole path or, where one
/// was bound by a path from wherever its program was, by the name. `None`: it cannot be told.
fn is_bound(path: &Path) -> Option<bool> {
    let table = fs::read("/proc/net/unix").ok()?;
    if path.as_os_str().as_bytes().contains(&b'\n') {
        return None;
    }
    let is_it = |line: &[u8]| {
        // Seven columns before it, none of which has a slash.
        let mut columns = line
            .splitn(2, |byte| *byte == b':')
            .nth(1)
            .unwrap_or_default();
        for _ in 0..6 {
            columns = columns.trim_ascii_start();
            let end = columns.iter().position(|byte| *byte == b' ');
            columns = &columns[end.unwrap_or(columns.len())..];
        }
        let listed = Path::new(OsStr::from_bytes(
            columns.strip_prefix(b" ").unwrap_or_default(),
        ));
        match listed.is_absolute() {
            true => file::is_same(listed, path),
            false => listed
                .file_name()
                .is_some_and(|name| Some(name) == path.file_name()),
        }
    };
    Some(table.split(|byte| *byte == b'\n').any(is_it))
}
