//! The files that a run writes beside its result. Each takes its name only once it is whole, so
//! that one which fails leaves what was there as it was.

use std::fs::{self, File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use echo_core::path::{directory, linked, shown};
use echo_core::{Failure, Patient};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Fault, Outcome, Report, csv, hdr, html};
use crate::connection::{ErrorKind, cause};

/// Where a run writes what, besides standard output.
#[derive(Debug, Default)]
pub struct Files {
    page: Option<Named>,
    log: Option<Named>,
    rows: Option<Named>,
}

/// A file as it was named, and where it really is.
#[derive(Debug)]
struct Named {
    /// What it is for: the flag that names it, where one does.
    what: &'static str,
    name: PathBuf,
    path: PathBuf,
    /// What is there already, or why nothing is known of it.
    there: io::Result<Metadata>,
}

impl Files {
    /// Sees to it that the page, the log and the rows can be written, where they are wanted, so that
    /// this is known before the run; nothing that is there is touched. All that it will `read` is
    /// spared.
    ///
    /// # Errors
    /// One cannot be written, is named twice, or is what is read; or it is where standard output
    /// goes, which what is read must not be either.
    pub fn check(
        [page, log, rows]: [Option<&Path>; 3],
        read: impl IntoIterator<Item = impl AsRef<Path>>,
    ) -> Result<Self, Failure> {
        let find = |what, path: Option<&Path>| path.map(|path| Named::find(what, path));
        let files = Files {
            page: find("--report", page),
            log: find("--hdr", log),
            rows: find("--csv", rows),
        };
        let read = read.into_iter();
        let read = read.map(|path| Named::find(READ, path.as_ref()));
        let streams = [(STDOUT, "/proc/self/fd/1"), (STDERR, "/proc/self/fd/2")];
        let streams = streams.map(|(what, path)| Named::find(what, Path::new(path)));
        // A terminal and /dev/null take whatever comes, from anybody; a pipe of notes takes more than these.
        let is_kept = |stream: &Named| match (&stream.there, stream.what) {
            (Ok(data), STDOUT) => !data.file_type().is_char_device(),
            (there, _) => there.as_ref().is_ok_and(Metadata::is_file),
        };
        let streams = streams.into_iter().filter(is_kept);
        let known: Vec<Named> = streams.chain(read).collect();
        let wanted = [&files.page, &files.log, &files.rows];
        let wanted: Vec<&Named> = wanted.into_iter().flatten().collect();
        let known: Vec<&Named> = known.iter().chain(wanted.iter().copied()).collect();
        for (i, file) in known.iter().enumerate() {
            let may_share = |one: &Named| {
                let both = (one.what, file.what);
                matches!(both, (READ | STDERR, READ) | (STDOUT, STDERR))
            };
            let mut before = known[..i].iter();
            if let Some(one) = before.find(|one| one.is_same(file) && !may_share(one)) {
                let name = shown(match one.what {
                    STDOUT | STDERR => &file.name,
                    _ => &one.name,
                });
                let (one, other) = (one.what, file.what);
                return Err(Failure::usage(anyhow!(
                    "{one} and {other} are both {name}; give each a file of its own"
                )));
            }
        }
        for file in wanted {
            let probed = file.probe();
            probed.map_err(|error| Failure::bad(anyhow!(file.unwritable(&error))))?;
        }
        Ok(files)
    }

    /// Writes them. One that cannot be written is a failure of the run, and a part of its outcome.
    pub fn write(&self, report: &mut Report) {
        if let Some(file) = &self.log {
            file.write(&hdr::log(report), &mut report.outcome);
        }
        if let Some(file) = &self.rows {
            let rows = csv::csv(std::slice::from_ref(report));
            file.write(rows.as_bytes(), &mut report.outcome);
        }
        if let Some(file) = &self.page {
            file.write(html(report).as_bytes(), &mut report.outcome);
        }
    }

    /// Writes them for several reports, which have a page together, and an outcome.
    pub fn write_all(&self, reports: &[Report], page: &str, outcome: &mut Outcome) {
        if let Some(file) = &self.rows {
            file.write(csv::csv(reports).as_bytes(), outcome);
        }
        if let Some(file) = &self.page {
            file.write(page.as_bytes(), outcome);
        }
    }
}

const READ: &str = "a file to read";
const STDOUT: &str = "standard output";
const STDERR: &str = "standard error";

impl Named {
    /// Follows the links of a name, also to a file that is not there yet.
    fn find(what: &'static str, name: &Path) -> Self {
        // By its name: what standard output was opened as may be called otherwise by now.
        let there = fs::metadata(name);
        // What /dev/stdout and its like lead to has no name of its own.
        let is_special = there.as_ref();
        let is_special = is_special.is_ok_and(|data| !data.is_file() && !data.is_dir());
        let path = match is_special {
            true => name.to_owned(),
            false => linked(name),
        };
        let path = match (directory(&path).canonicalize(), path.file_name()) {
            (Ok(directory), Some(file)) if !is_special => directory.join(file),
            _ => path,
        };
        Named {
            what,
            name: name.to_owned(),
            there,
            path,
        }
    }

    fn is_same(&self, other: &Named) -> bool {
        match (&self.there, &other.there) {
            // A device can be written to twice; of a pipe somebody reads both, one by one, unless
            // one of them is the result; and what is read from one is not lost by writing to it.
            (Ok(one), Ok(_)) if !one.is_file() && (self.what != STDOUT || other.what == READ) => {
                false
            }
            (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
            (Err(_), Err(_)) => self.path == other.path,
            _ => false,
        }
    }

    /// Fails as writing would.
    fn probe(&self) -> io::Result<()> {
        let name = self.name.as_os_str().as_bytes();
        match &self.there {
            _ if name.ends_with(b"/") => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(data) if data.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            // To open a pipe is to wait for its reader.
            Ok(data) if data.file_type().is_fifo() => return Ok(()),
            Ok(data) if !data.is_file() => {
                return File::options().write(true).open(&self.path).map(drop);
            }
            // That it may be replaced does not mean that it may be changed.
            Ok(_) => File::options().append(true).open(&self.path).map(drop)?,
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => {
                return Err(Errno::NAMETOOLONG.into());
            }
            Err(_) if self.path.file_name().is_none() => {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            Err(_) => {}
        }
        let (draft, _) = self.draft()?;
        fs::remove_file(&draft)
    }

    /// Begins the file that is written until it is whole: beside, since only there it can be
    /// renamed, and by a short name, since its own may be as long as the system takes. In containers
    /// that share a directory, many processes have the same number.
    fn draft(&self) -> io::Result<(PathBuf, File)> {
        let name = format!(".echo-client.{:016x}", RandomState::new().hash_one(()));
        let draft = directory(&self.path).join(name);
        let file = File::create_new(&draft)?;
        Ok((draft, file))
    }

    fn write(&self, bytes: &[u8], outcome: &mut Outcome) {
        if let Err(error) = self.replace(bytes) {
            let told = self.unwritable(&error);
            outcome.fail(Fault::new(ErrorKind::File, told));
        }
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        // A device or a pipe is written as it is.
        if fs::metadata(&self.path).is_ok_and(|data| !data.is_file()) {
            // Nobody may read a pipe, and opening it would wait for somebody.
            let mut how = File::options();
            how.write(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
            return Patient(how.open(&self.path)?).write_all(bytes);
        }
        let (draft, mut file) = self.draft()?;
        let written = file.write_all(bytes).and_then(|()| {
            if let Ok(there) = fs::metadata(&self.path) {
                file.set_permissions(there.permissions())?;
            }
            fs::rename(&draft, &self.path)
        });
        if written.is_err() {
            // The error that is told is the first one.
            let _ = fs::remove_file(&draft);
        }
        written
    }

    fn unwritable(&self, error: &io::Error) -> String {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("make the directory {}", shown(directory(&self.path)))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room".to_owned(),
            io::ErrorKind::FileTooLarge => "raise the limit (ulimit -f)".to_owned(),
            io::ErrorKind::IsADirectory => "name a file in it".to_owned(),
            io::ErrorKind::InvalidFilename => "give it a name".to_owned(),
            _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                let is_pipe = |data: &Metadata| data.file_type().is_fifo();
                match self.there.as_ref().is_ok_and(is_pipe) {
                    true => "nobody reads it: start its reader first".to_owned(),
                    false => "a socket is no file".to_owned(),
                }
            }
            _ => "check its permissions".to_owned(),
        };
        let (name, cause) = (shown(&self.name), cause(error));
        format!("cannot write {name}: {cause}; {remedy}, or write elsewhere")
    }
}
