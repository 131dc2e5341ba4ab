//! The files that a run writes beside its result. Each takes its name only once it is whole, so
//! that one which fails leaves what was there as it was.

use std::fs::{self, File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use echo_core::Failure;
use echo_core::path::shown;
use rustix::io::Errno;

use super::{Fault, Outcome, Report, csv, hdr, html};
use crate::connection::{ErrorKind, cause};

/// As many links as the system itself follows to a file.
const LINKS: usize = 40;

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
    name: PathBuf,
    path: PathBuf,
}

impl Files {
    /// Sees to it that all can be written, so that this is known before the run; nothing that is
    /// there is touched.
    ///
    /// # Errors
    /// One cannot be written, or is named twice, or is where standard output goes.
    pub fn check(
        page: Option<&Path>,
        log: Option<&Path>,
        rows: Option<&Path>,
    ) -> Result<Self, Failure> {
        let [page, log, rows] = [page, log, rows].map(|path| path.map(Named::find));
        let files = Files { page, log, rows };
        for (i, (flag, one)) in files.all().enumerate() {
            let mut others = files.all().skip(i + 1);
            if let Some((other, _)) = others.find(|(_, other)| one.is_same(other)) {
                return Err(twice(&format!("{flag} and {other}"), &one.name));
            }
        }
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let stdout = stdout.and_then(|stdout| File::from(stdout).metadata());
        for (_, file) in files.all() {
            let there = fs::metadata(&file.path);
            // A terminal and /dev/null take whatever comes, from anybody.
            if let (Ok(there), Ok(stdout)) = (there, &stdout)
                && !stdout.file_type().is_char_device()
                && is_same(&there, stdout)
            {
                return Err(twice("standard output and a file", &file.name));
            }
            file.probe()
                .map_err(|error| Failure::bad(anyhow!(file.unwritable(&error))))?;
        }
        Ok(files)
    }

    /// Each that is wanted, and the flag that names it.
    fn all(&self) -> impl Iterator<Item = (&'static str, &Named)> {
        let all = [
            ("--report", &self.page),
            ("--hdr", &self.log),
            ("--csv", &self.rows),
        ];
        all.into_iter()
            .filter_map(|(flag, file)| Some((flag, file.as_ref()?)))
    }

    /// Sees to it that none of them takes the place of a file that is read.
    ///
    /// # Errors
    /// One would.
    pub fn spare(&self, read: &[impl AsRef<Path>]) -> Result<(), Failure> {
        for read in read {
            let read = Named::find(read.as_ref());
            if let Some((flag, file)) = self.all().find(|(_, file)| file.is_same(&read)) {
                return Err(twice(&format!("a file to read and {flag}"), &file.name));
            }
        }
        Ok(())
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

fn twice(what: &str, name: &Path) -> Failure {
    let name = shown(name);
    Failure::usage(anyhow!(
        "{what} are both {name}; give each a file of its own"
    ))
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl Named {
    /// Follows the links of a name, also to a file that is not there yet.
    fn find(name: &Path) -> Self {
        let mut path = name.to_owned();
        // What /dev/stdout and its like lead to has no name of its own.
        let is_special = fs::metadata(name).is_ok_and(|data| !data.is_file() && !data.is_dir());
        for _ in 0..if is_special { 0 } else { LINKS } {
            match fs::read_link(&path) {
                Ok(link) => path = directory(&path).join(link),
                Err(_) => break,
            }
        }
        let path = match (directory(&path).canonicalize(), path.file_name()) {
            (Ok(directory), Some(file)) if !is_special => directory.join(file),
            _ => path,
        };
        let name = name.to_owned();
        Named { name, path }
    }

    fn is_same(&self, other: &Named) -> bool {
        let there = [self, other].map(|file| fs::metadata(&file.path));
        match there {
            // A device can be written to twice; of a pipe somebody reads both, one by one.
            [Ok(one), Ok(_)] if !one.is_file() => false,
            [Ok(one), Ok(other)] => is_same(&one, &other),
            _ => self.path == other.path,
        }
    }

    /// Whether it is there and no regular file, but a device or a pipe: it is written as it is.
    fn is_special(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|data| !data.is_file())
    }

    /// Fails as writing would.
    fn probe(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(data) if data.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            _ if self.name.as_os_str().as_bytes().ends_with(b"/") => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // To open a pipe is to wait for its reader.
            Ok(data) if data.file_type().is_fifo() => return Ok(()),
            Ok(data) if !data.is_file() => {
                return File::options().write(true).open(&self.path).map(drop);
            }
            // That it may be replaced does not mean that it may be changed.
            Ok(_) => File::options().append(true).open(&self.path).map(drop)?,
            Err(_) if self.path.file_name().is_none() => {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => return Err(error),
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
        if self.is_special() {
            return File::options()
                .write(true)
                .open(&self.path)?
                .write_all(bytes);
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
                "a socket is no file".to_owned()
            }
            _ => "check its permissions".to_owned(),
        };
        let (name, cause) = (shown(&self.name), cause(error));
        format!("cannot write {name}: {cause}; {remedy}, or write elsewhere")
    }
}

/// The directory that a file is in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
