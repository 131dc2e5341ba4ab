//! The record: every received chunk as a line of JSON, so that a test can see how its client wrote.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::units::unix_ns;
use echo_core::{Failure, Zoned, cause};

use crate::event::{Chunk, Origin, PeerAddress, Stop, unmapped};
use crate::file;
use crate::shutdown::Shutdown;

/// A file that is written a line at a time, each with one call: a reader never sees a part of one
/// and can read while the server runs.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    file: Mutex<File>,
    failed: OnceLock<io::Error>,
    stops: OnceLock<Shutdown>,
}

impl Record {
    /// Opens the file, or creates it. What it holds stays.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = file::append(path).map_err(|error| {
            Failure::usage(anyhow!(
                "cannot record to {}: {}; give another file with --record",
                shown(path),
                cause(&error)
            ))
        })?;
        Ok(Record {
            path: path.to_owned(),
            file: Mutex::new(file),
            failed: OnceLock::new(),
            stops: OnceLock::new(),
        })
    }

    /// Stops the server when the file takes no more: half a record would be taken for a whole one.
    pub(crate) fn stops(&self, shutdown: &Shutdown) {
        self.stops.get_or_init(|| shutdown.clone());
    }

    /// Adds a chunk.
    pub(crate) fn write(&self, chunk: &Chunk<'_>) {
        if self.failed.get().is_some() {
            return;
        }
        let line = line(chunk);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            self.failed.get_or_init(|| error);
            if let Some(shutdown) = self.stops.get() {
                shutdown.request_for(Stop::RecordFailed);
            }
        }
    }

    /// Why the record is not whole.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let error = self.failed.get()?;
        Some(Failure::bad(anyhow!(
            "cannot record to {}: {error}; make room, or give another file with --record",
            shown(&self.path)
        )))
    }
}

/// Built by hand: the bytes can be many, and their hexadecimal form needs no escaping.
fn line(chunk: &Chunk<'_>) -> String {
    let mut line = format!("{{\"time_unix_ns\":{}", unix_ns(chunk.time));
    let ends = match chunk.origin {
        Origin::Stream(id, PeerAddress::Inet(peer)) => format!(
            ",\"transport\":\"tcp\",\"connection\":{id},\"peer\":\"{}\"",
            Zoned(unmapped(peer))
        ),
        Origin::Stream(id, PeerAddress::Unix) => {
            format!(",\"transport\":\"unix\",\"connection\":{id}")
        }
        Origin::Datagram { local, peer } => format!(
            ",\"transport\":\"udp\",\"local\":\"{}\",\"peer\":\"{}\"",
            Zoned(unmapped(local)),
            Zoned(unmapped(peer))
        ),
    };
    line.push_str(&ends);
    line.reserve(chunk.bytes.len() * 2 + 64);
    // Writing to a string cannot fail.
    let _ = write!(line, ",\"received_bytes\":{},\"hex\":\"", chunk.bytes.len());
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in chunk.bytes {
        line.push(DIGITS[usize::from(byte >> 4)].into());
        line.push(DIGITS[usize::from(byte & 15)].into());
    }
    line.push_str("\"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_chunk_is_a_line_of_json_with_its_time_size_and_bytes() {
        let time = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        let peer = "[::ffff:127.0.0.1]:53412".parse().unwrap();
        let chunk = Chunk {
            time,
            origin: Origin::Stream(3, PeerAddress::Inet(peer)),
            bytes: b"\x00hi\xff",
        };
        assert_eq!(
            line(&chunk),
            "{\"time_unix_ns\":1700000000000000001,\"transport\":\"tcp\",\"connection\":3,\
             \"peer\":\"127.0.0.1:53412\",\"received_bytes\":4,\"hex\":\"006869ff\"}\n"
        );
        let local = "127.0.0.1:5346".parse().unwrap();
        let origin = Origin::Datagram { local, peer };
        let bytes = b"";
        assert_eq!(
            line(&Chunk {
                time,
                origin,
                bytes
            }),
            "{\"time_unix_ns\":1700000000000000001,\"transport\":\"udp\",\"local\":\"127.0.0.1:5346\",\
             \"peer\":\"127.0.0.1:53412\",\"received_bytes\":0,\"hex\":\"\"}\n"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_stops_the_server_and_is_told() {
        let record = Record::open(Path::new("/dev/full")).unwrap();
        let shutdown = Shutdown::new();
        record.stops(&shutdown);
        assert!(record.failure().is_none());
        record.write(&Chunk {
            time: UNIX_EPOCH,
            origin: Origin::Stream(1, PeerAddress::Unix),
            bytes: b"x",
        });
        assert_eq!(shutdown.why(), Some(Stop::RecordFailed));
        assert!(record.failure().unwrap().to_string().contains("/dev/full"));
    }
}
