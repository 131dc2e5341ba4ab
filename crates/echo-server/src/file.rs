//! Files that a server makes. It takes and removes nothing that is another's.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use echo_core::path::{directory, linked, shown};
use rustix::fs::{FlockOperation, OFlags, PROC_SUPER_MAGIC, flock, fstat, statfs};
use rustix::process::geteuid;

/// The number of `/dev/tty`, which stands for the terminal of whoever opens it.
const CONTROLLING_TERMINAL: u64 = 5 << 8;

/// The bit of a directory in which everybody removes and renames but his own.
const STICKY: u32 = 0o1000;

/// The most names on the way to a file, those of the links' targets among them.
const MOST_NAMES: usize = 4096;

/// A file that this process has made, removed with this unless another has taken its place. It must
/// be open until then, or its number could be another's.
#[derive(Debug)]
pub(crate) struct OwnFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnFile {
    /// The file that is at `path` now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(OwnFile {
            path: path.to_owned(),
            identity: identity(&fs::symlink_metadata(path)?),
        })
    }

    /// A new file beside `path` with `text` in it; while it is open, others see that it is held. What an
    /// earlier process left behind under the first name stays, and another name is found.
    pub(crate) fn draft(path: &Path, text: &str) -> io::Result<(Self, File)> {
        for number in 0.. {
            let draft = suffixed(path, &format!(".{}-{number}", std::process::id()));
            match File::create_new(&draft) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(mut file) => {
                    let own = OwnFile::at(&draft)?;
                    // Some file systems have no locks: there it is as without.
                    let _: rustix::io::Result<()> =
                        flock(&file, FlockOperation::NonBlockingLockExclusive);
                    return file.write_all(text.as_bytes()).map(|()| (own, file));
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Has it take the place of whatever is at `path`.
    pub(crate) fn rename(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.path = path.to_owned();
        Ok(())
    }
}

impl OwnFile {
    /// Lets it stay.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            // Nothing is left to do if someone else removed it in between.
            let _: io::Result<()> = fs::remove_file(&self.path);
        }
    }
}

/// The right to a path, as long as this lives: a lock on `PATH.lock`, which the system gives back
/// when a process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    // Removed before it is unlocked, so that nobody holds a lock on a file that is then removed.
    _file: OwnFile,
    _locked: File,
}

impl Lock {
    /// Takes it; `None` where another process has.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        let path = lock_of(path);
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).mode(0o600);
            options.custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK));
            let file = options
                .open(&path)
                .map_err(|error| match path.is_symlink() {
                    true => io::ErrorKind::AlreadyExists.into(),
                    false => error,
                })?;
            let found = file.metadata()?;
            if !found.is_file() || found.len() > 0 {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                outcome => outcome?,
            }
            // Its last holder may have removed it meanwhile: then it locks nothing.
            if let Ok(own) = OwnFile::at(&path)
                && own.identity == identity(&found)
            {
                return Ok(Some(Lock {
                    _file: own,
                    _locked: file,
                }));
            }
        }
    }
}

/// The file that is locked for the right to a path.
pub(crate) fn lock_of(path: &Path) -> PathBuf {
    suffixed(path, ".lock")
}

/// Whether a process that lives holds the plain file at `path`: it was an [`OwnFile::draft`].
pub(crate) fn is_held(path: &Path) -> bool {
    let held = |file: File| flock(file, FlockOperation::NonBlockingLockShared);
    File::open(path).is_ok_and(|file| held(file) == Err(rustix::io::Errno::WOULDBLOCK))
}

/// Opens a file to add to it, and says that it is new where it is, in the order in which both are to be
/// dropped. No link is followed that others may have put there. Nothing is waited for: a pipe must have
/// its reader.
pub(crate) fn append(path: &Path) -> io::Result<(Option<OwnFile>, File)> {
    append_to(judged(path)?)
}

/// The same where all links on the way have been judged: what has come since at its last name is not followed.
fn append_to(path: PathBuf) -> io::Result<(Option<OwnFile>, File)> {
    let mut options = OpenOptions::new();
    if let Ok(file) = options.append(true).create_new(true).open(&path) {
        return Ok((Some(OwnFile::at(&path)?), file));
    }
    options.create_new(false).create(true);
    let mut how = OFlags::NONBLOCK;
    if !is_in_proc(&path) {
        how |= OFlags::NOFOLLOW;
    }
    let opened = options.custom_flags(flags(how)).open(&path);
    opened.map(|file| (None, file)).map_err(|error| {
        let is_pipe = || fs::metadata(&path).is_ok_and(|found| found.file_type().is_fifo());
        match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::NXIO) if is_pipe() => {
                io::Error::other("nobody reads it; start its reader first")
            }
            _ => error,
        }
    })
}

/// Where the file at `path` is, or will be: past all links on the way, none of which others may have put
/// there.
fn judged(path: &Path) -> io::Result<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> {
        let names = path.components().rev();
        names.map(|name| name.as_os_str().to_owned()).collect()
    };
    let (mut way, mut rest) = (PathBuf::new(), names(path));
    for _ in 0..MOST_NAMES {
        let Some(name) = rest.pop() else {
            return Ok(way);
        };
        let next = way.join(name);
        match fs::read_link(&next) {
            Ok(_) if !is_trusted(&next) => {
                let link = shown(&next);
                let why = format!("{link} is a link, in a directory to which others may write");
                return Err(io::Error::other(why));
            }
            Ok(target) if !is_in_proc(&next) => rest.extend(names(&target)),
            _ => way = next,
        }
    }
    // Links that go round.
    Err(rustix::io::Errno::LOOP.into())
}

/// Whether it is the system's own: its links to what is open lead there and name no path.
fn is_in_proc(path: &Path) -> bool {
    statfs(directory(path)).is_ok_and(|system| system.f_type == PROC_SUPER_MAGIC)
}

/// Whether only this user and the administrator can put files beside `path`, or it is a link of theirs which
/// nobody else can put another in the place of: in a directory such as /tmp, one's own is all that one may
/// rename.
fn is_trusted(path: &Path) -> bool {
    let is_own_link = |found: fs::Metadata| found.is_symlink() && is_ours(&found);
    fs::metadata(directory(path)).is_ok_and(|directory| {
        let is_sticky = directory.mode() & STICKY != 0;
        let is_kept = || is_sticky && fs::symlink_metadata(path).is_ok_and(is_own_link);
        is_ours(&directory) && (directory.mode() & 0o022 == 0 || is_kept())
    })
}

/// Whether it is this user's or the administrator's.
fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == 0 || found.uid() == geteuid().as_raw()
}

/// Whether both name one file, or will once it is there.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let found = |path: &Path| fs::metadata(path).ok().map(|found| identity(&found));
    let place = |path: &Path| Some((found(directory(path))?, path.file_name()?.to_owned()));
    match (found(one), found(other)) {
        (None, None) => {
            let [one, other] = [one, other].map(|path| place(&linked(path)));
            one.is_some() && one == other
        }
        (one, other) => one == other,
    }
}

/// Whether `stream` is the file, the pipe or the terminal at `path`: what another device is given goes
/// nowhere that matters.
pub(crate) fn is_open_at(path: &Path, stream: BorrowedFd<'_>) -> bool {
    let open = fstat(stream).map(|found| (found.st_dev, found.st_ino));
    fs::metadata(path).is_ok_and(|there| {
        let is_it = open.is_ok_and(|open| open == identity(&there));
        match there.file_type().is_char_device() {
            true => stream.is_terminal() && (is_it || there.rdev() == CONTROLLING_TERMINAL),
            false => is_it,
        }
    })
}

fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// As std takes them.
fn flags(flags: OFlags) -> i32 {
    flags.bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_comes_after_the_judgement_is_not_followed() {
        let dir = std::env::temp_dir().join(format!("echo-file-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (path, elsewhere) = (dir.join("record"), dir.join("elsewhere"));
        let target = judged(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let told = append_to(target).map(drop);
        let is_made = elsewhere.exists();
        fs::remove_dir_all(dir).unwrap();
        assert!(told.is_err() && !is_made);
    }
}
