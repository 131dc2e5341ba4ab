//! The record: every received chunk as a line of JSON, so that a test can see how its client wrote.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::units::unix_ns;
use echo_core::{Clock, Failure, Patient, Zoned, cause};

use crate::event::{Origin, PeerAddress, Stop, unmapped};
use crate::file;
use crate::shutdown::Shutdown;
use crate::thread;

/// The most that waits to be written, in bytes, so that neither a file that stalls nor a pipe that
/// nobody reads holds up the server or its memory.
const QUEUE: usize = 8 << 20;

/// What a chunk costs in the queue besides its bytes.
const CHUNK_COST: usize = size_of::<Entry>();

/// How long a peer waits for its chunk to be written while nothing is, and at most. Then nobody waits
/// any more until half of the queue is free.
const STALLED: Duration = Duration::from_millis(250);
const SLOW: Duration = Duration::from_secs(2);

/// How long the end waits for a file that takes nothing, and how often as long for one that is slow.
const LAST_WORDS: Duration = Duration::from_secs(1);
const TURNS: usize = 5;

/// A file that is written a line at a time, each with one call: a reader never sees a part of one
/// and can read while the server runs. A thread of its own writes.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    file: Mutex<Option<File>>,
    queue: Mutex<Queue>,
    /// Something came to the queue, was written, or is the last.
    changed: Condvar,
    failed: OnceLock<io::Error>,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// What they cost, in bytes; what is being written, too.
    held: usize,
    /// Chunks that have been added, and those that have been written.
    added: u64,
    written: u64,
    /// When something was last written.
    progress: Option<Instant>,
    /// The file takes nothing, or too little: nobody waits for it.
    stalled: bool,
    /// Chunks that are missing since the last entry.
    lost: u64,
    /// And all in all.
    missing: u64,
    /// No more will come.
    closed: bool,
    /// All is written that ever will be.
    over: bool,
}

#[derive(Debug)]
enum Entry {
    Chunk(SystemTime, Origin, Box<[u8]>),
    /// So many chunks are missing here.
    Lost(SystemTime, u64),
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
            file: Mutex::new(Some(file)),
            queue: Mutex::default(),
            changed: Condvar::new(),
            failed: OnceLock::new(),
        })
    }

    /// Starts to write. Where the file takes no more the server stops: half a record would be taken for
    /// a whole one.
    ///
    /// # Errors
    /// A [`Failure`] when the system grants no thread.
    pub(crate) fn start(self: &Arc<Self>, shutdown: &Shutdown) -> Result<(), Failure> {
        let (record, shutdown) = (self.clone(), shutdown.clone());
        let file = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        thread::start("record", move || {
            if let Some(Err(error)) = file.map(|file| record.write_to(file)) {
                record.failed.get_or_init(|| error);
                shutdown.request_for(Stop::RecordFailed);
            }
            record.queue().over = true;
            record.changed.notify_all();
        })
        .map(drop)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a chunk, and waits until it is written: whoever has its echo finds it in the record. Where
    /// the file stalls nobody waits, and what the queue cannot hold is lost and counted.
    pub(crate) fn add(&self, origin: Origin, bytes: &[u8], clock: &Clock) {
        let cost = CHUNK_COST + bytes.len();
        let mut queue = self.queue();
        if queue.over {
            return;
        }
        if queue.held > 0 && queue.held + cost > QUEUE {
            queue.lost += 1;
            queue.missing += 1;
            return;
        }
        // Under the lock, so that the lines are in the order of their times.
        let time = clock.now();
        queue.tell_lost(time);
        queue.held += cost;
        queue.added += 1;
        let (number, start) = (queue.added, Instant::now());
        let chunk = Entry::Chunk(time, origin, bytes.into());
        queue.entries.push_back(chunk);
        self.changed.notify_all();
        while queue.written < number && !queue.stalled && !queue.over {
            let waited = self.changed.wait_timeout(queue, STALLED);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            let last = queue.progress.map_or(start, |at| at.max(start));
            queue.stalled |= last.elapsed() > STALLED || start.elapsed() > SLOW;
        }
    }

    fn write_to(&self, file: File) -> io::Result<()> {
        let mut file = Patient(file);
        while let Some(entry) = self.take() {
            let cost = match entry {
                Entry::Chunk(time, origin, bytes) => {
                    file.write_all(line(time, origin, &bytes).as_bytes())?;
                    CHUNK_COST + bytes.len()
                }
                Entry::Lost(time, chunks) => {
                    let time = unix_ns(time);
                    let line = format!("{{\"time_unix_ns\":{time},\"lost_chunks\":{chunks}}}\n");
                    file.write_all(line.as_bytes())?;
                    0
                }
            };
            let mut queue = self.queue();
            queue.held -= cost;
            queue.written += u64::from(cost > 0);
            queue.progress = Some(Instant::now());
            queue.stalled &= queue.held > QUEUE / 2;
            self.changed.notify_all();
        }
        Ok(())
    }

    /// What is to be written next; `None` at the end.
    fn take(&self) -> Option<Entry> {
        let waits = |queue: &mut Queue| queue.entries.is_empty() && !queue.closed;
        let queue = self.changed.wait_while(self.queue(), waits);
        queue
            .unwrap_or_else(PoisonError::into_inner)
            .entries
            .pop_front()
    }

    /// Ends the record, once all is written or the file takes nothing any more.
    ///
    /// # Errors
    /// A [`Failure`] that says why the record is not whole.
    pub(crate) fn end(&self, clock: &Clock) -> Result<(), Failure> {
        let mut queue = self.queue();
        queue.tell_lost(clock.now());
        queue.closed = true;
        self.changed.notify_all();
        for _ in 0..TURNS {
            let held = queue.held;
            let waited = self
                .changed
                .wait_timeout_while(queue, LAST_WORDS, |queue| !queue.over);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.over || queue.held == held {
                break;
            }
        }
        let cause = match self.failed.get() {
            Some(error) => cause(error),
            None if !queue.over => "it takes nothing, and what is left is missing".to_owned(),
            None if queue.missing > 0 => format!(
                "{} chunks are missing, for it took nothing for too long",
                queue.missing
            ),
            None => return Ok(()),
        };
        Err(Failure::bad(anyhow!(
            "cannot record to {}: {cause}; make room, read it faster, or give another file with --record",
            shown(&self.path)
        )))
    }
}

impl Queue {
    /// Says where chunks are missing, if some are.
    fn tell_lost(&mut self, time: SystemTime) {
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.entries.push_back(Entry::Lost(time, lost));
        }
    }
}

/// Built by hand: the bytes can be many, and their hexadecimal form needs no escaping.
fn line(time: SystemTime, origin: Origin, bytes: &[u8]) -> String {
    let mut line = format!("{{\"time_unix_ns\":{}", unix_ns(time));
    let ends = match origin {
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
    line.reserve(bytes.len() * 2 + 64);
    // Writing to a string cannot fail.
    let _ = write!(line, ",\"received_bytes\":{},\"hex\":\"", bytes.len());
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        line.push(DIGITS[usize::from(byte >> 4)].into());
        line.push(DIGITS[usize::from(byte & 15)].into());
    }
    line.push_str("\"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_chunk_is_a_line_of_json_with_its_time_size_and_bytes() {
        let time = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        let peer = "[::ffff:127.0.0.1]:53412".parse().unwrap();
        let origin = Origin::Stream(3, PeerAddress::Inet(peer));
        assert_eq!(
            line(time, origin, b"\x00hi\xff"),
            "{\"time_unix_ns\":1700000000000000001,\"transport\":\"tcp\",\"connection\":3,\
             \"peer\":\"127.0.0.1:53412\",\"received_bytes\":4,\"hex\":\"006869ff\"}\n"
        );
        let local = "127.0.0.1:5346".parse().unwrap();
        let origin = Origin::Datagram { local, peer };
        assert_eq!(
            line(time, origin, b""),
            "{\"time_unix_ns\":1700000000000000001,\"transport\":\"udp\",\"local\":\"127.0.0.1:5346\",\
             \"peer\":\"127.0.0.1:53412\",\"received_bytes\":0,\"hex\":\"\"}\n"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_stops_the_server_and_is_told() {
        let record = Arc::new(Record::open(Path::new("/dev/full")).unwrap());
        let (shutdown, clock) = (Shutdown::new(), Clock::new());
        record.start(&shutdown).unwrap();
        record.add(Origin::Stream(1, PeerAddress::Unix), b"x", &clock);
        let failure = record.end(&clock).unwrap_err();
        assert_eq!(shutdown.why(), Some(Stop::RecordFailed));
        assert!(failure.to_string().contains("/dev/full"));
    }
}
