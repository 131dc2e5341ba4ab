//! The record: every received chunk as a line of JSON, so that a test can see how its client wrote.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use echo_core::path::shown;
use echo_core::units::unix_ns;
use echo_core::{Clock, Failure, Patient, Zoned, remedied};

use crate::event::{Origin, PeerAddress, Stop, unmapped};
use crate::file::{self, OwnFile};
use crate::shutdown::Shutdown;
use crate::thread;

/// The memory of what waits to be written, in bytes, so that neither a file that stalls nor a pipe that
/// nobody reads holds up the server or its memory: at most, and as a part of what there is.
const MEMORY: usize = 8 << 20;
const PART: u64 = 8;

/// How long a peer waits for its chunk to be written while nothing is, and at most. Then nobody waits
/// any more, and what finds no room is lost, until half of that room is free.
const STALLED: Duration = Duration::from_millis(250);
const SLOW: Duration = Duration::from_secs(2);

/// The most by which room for lines grows at once, in bytes.
const STEP: usize = 1 << 20;

/// How long the end waits for a file that takes nothing, and how often as long for one that is slow.
const LAST_WORDS: Duration = Duration::from_secs(1);
const TURNS: usize = 5;

/// A file to which whole lines are added: it can be read while the server runs. A thread of its own
/// writes.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    /// The memory that it may take, of which one half is written while lines are added to the other. A
    /// chunk that is larger than a half goes alone.
    pub(crate) memory: usize,
    /// Until it is started, with what removes the file again where it is new.
    file: Mutex<Option<(Option<OwnFile>, File)>>,
    queue: Mutex<Queue>,
    /// Something came to the queue, was written, or is the last.
    changed: Condvar,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    /// Lines that the thread has not taken yet.
    lines: Vec<u8>,
    /// Bytes that have been added, and those that have been written.
    added: u64,
    written: u64,
    /// When something was last written.
    progress: Option<Instant>,
    /// The file takes nothing, or too little: nobody waits for it.
    stalled: bool,
    /// Chunks that are missing since the last line, and all in all.
    lost: u64,
    missing: u64,
    /// No more will come.
    closed: bool,
    /// All is written that ever will be, or why not.
    over: Option<io::Result<()>>,
}

impl Record {
    /// Opens the file, or creates it. What it holds stays. The server has `memory` bytes.
    pub(crate) fn open(path: &Path, memory: u64) -> Result<Self, Failure> {
        let file = file::append(path).map_err(|error| {
            Failure::usage(anyhow!(
                "cannot record to {}: {}",
                shown(path),
                remedied(&error, "give another file with --record")
            ))
        })?;
        Ok(Record {
            path: path.to_owned(),
            memory: usize::try_from(memory / PART).map_or(MEMORY, |part| part.min(MEMORY)),
            file: Mutex::new(Some(file)),
            queue: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Starts to write. Where the file takes no more the server stops: half a record would be taken for
    /// a whole one.
    ///
    /// # Errors
    /// A [`Failure`] when the system grants no thread.
    pub(crate) fn start(self: &Arc<Self>, shutdown: &Shutdown) -> Result<(), Failure> {
        let (record, shutdown) = (self.clone(), shutdown.clone());
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(opened) = file.take() else {
            return Ok(());
        };
        let work = move || {
            // A thread that is refused has it removed, while it is open.
            let (new, file) = opened;
            new.into_iter().for_each(OwnFile::keep);
            let outcome = record.write_to(Patient(file));
            if outcome.is_err() {
                shutdown.request_for(Stop::RecordFailed);
            }
            record.queue().over = Some(outcome);
            record.changed.notify_all();
        };
        thread::start("record", work)
            .inspect_err(|_| self.queue().over = Some(Ok(())))
            .map(drop)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a chunk, and waits until it is written: whoever has its echo finds it in the record. Where
    /// the file stalls nobody waits, and what the queue cannot hold is lost and counted.
    pub(crate) fn add(&self, origin: Origin, bytes: &[u8], clock: &Clock) {
        let (mut queue, start) = (self.queue(), Instant::now());
        while queue.over.is_none() {
            let most = match queue.lines.is_empty() {
                true => usize::MAX,
                false => self.memory / 2,
            };
            // Under the lock, so that the lines are in the order of their times.
            let time = clock.now();
            let may_fit = queue.lines.len() + 2 * bytes.len() <= most;
            if may_fit && queue.push(most, time, |lines| line(lines, time, origin, bytes)) {
                break;
            }
            if queue.stalled || queue.held() == 0 {
                queue.lost += 1;
                queue.missing += 1;
                return;
            }
            queue = self.wait(queue, start);
        }
        let end = queue.added;
        self.changed.notify_all();
        while queue.written < end && !queue.stalled && queue.over.is_none() {
            queue = self.wait(queue, start);
        }
    }

    /// Waits for the writer on behalf of a peer that does since `start`.
    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>, start: Instant) -> MutexGuard<'a, Queue> {
        let waited = self.changed.wait_timeout(queue, STALLED);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        let last = queue.progress.map_or(start, |at| at.max(start));
        queue.stalled |= last.elapsed() > STALLED || start.elapsed() > SLOW;
        queue
    }

    fn write_to(&self, mut file: impl Write) -> io::Result<()> {
        loop {
            let waits = |queue: &mut Queue| queue.lines.is_empty() && !queue.closed;
            let queue = self.changed.wait_while(self.queue(), waits);
            let lines = std::mem::take(&mut queue.unwrap_or_else(PoisonError::into_inner).lines);
            self.changed.notify_all();
            if lines.is_empty() {
                return Ok(());
            }
            let mut rest = &lines[..];
            while !rest.is_empty() {
                let n = match file.write(rest) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                    outcome => outcome?,
                };
                rest = &rest[n..];
                let mut queue = self.queue();
                queue.written += n as u64;
                queue.progress = Some(Instant::now());
                queue.stalled &= queue.held() > self.memory / 4;
                self.changed.notify_all();
            }
        }
    }

    /// Ends the record, once all is written or the file takes nothing any more.
    ///
    /// # Errors
    /// A [`Failure`] that says why the record is not whole.
    pub(crate) fn end(&self, clock: &Clock) -> Result<(), Failure> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_some() {
            // It was never started: there is no thread to be waited for.
            return Ok(());
        }
        drop(file);
        let mut queue = self.queue();
        let time = clock.now();
        // Where that finds no memory, the exit code still tells.
        let _: bool = queue.push(usize::MAX, time, |_| Ok(()));
        queue.closed = true;
        self.changed.notify_all();
        for _ in 0..TURNS {
            let before = queue.written;
            let goes_on = |queue: &mut Queue| queue.over.is_none();
            let waited = self.changed.wait_timeout_while(queue, LAST_WORDS, goes_on);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.over.is_some() || queue.written == before {
                break;
            }
        }
        const OTHER: &str = "give another file with --record";
        let cause = match &queue.over {
            Some(Err(error)) => remedied(error, OTHER),
            None => {
                format!("it takes nothing, and what is left is missing; read it faster, or {OTHER}")
            }
            Some(Ok(())) if queue.missing > 0 => format!(
                "{} chunks are missing, for it took too little for too long; read it faster, or {OTHER}",
                queue.missing
            ),
            Some(Ok(())) => return Ok(()),
        };
        Err(Failure::bad(anyhow!(
            "cannot record to {}: {cause}",
            shown(&self.path)
        )))
    }
}

impl Queue {
    /// Bytes that wait; what is being written, too.
    fn held(&self) -> usize {
        (self.added - self.written) as usize
    }

    /// Adds what `write` writes, and before it where chunks are missing, if some are. Returns whether there
    /// was memory for it: of what is not being written yet, `most` bytes.
    fn push(
        &mut self,
        most: usize,
        time: SystemTime,
        write: impl FnOnce(&mut Lines<'_>) -> io::Result<()>,
    ) -> bool {
        let start = self.lines.len();
        let mut lines = Lines {
            bytes: &mut self.lines,
            most,
        };
        let (time, lost) = (unix_ns(time), self.lost);
        let told = match lost {
            0 => Ok(()),
            _ => writeln!(lines, "{{\"time_unix_ns\":{time},\"lost_chunks\":{lost}}}"),
        };
        let is_added = told.and_then(|()| write(&mut lines)).is_ok();
        match is_added {
            true => self.lost = 0,
            false => self.lines.truncate(start),
        }
        self.added += (self.lines.len() - start) as u64;
        is_added
    }
}

/// Takes lines as long as they are `most` bytes and the system has memory for them.
struct Lines<'a> {
    bytes: &'a mut Vec<u8>,
    most: usize,
}

impl Write for Lines<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (had, needed) = (self.bytes.len(), self.bytes.len() + bytes.len());
        if needed > self.most {
            return Err(ErrorKind::StorageFull.into());
        }
        if needed > self.bytes.capacity() {
            let room = (needed + needed.min(STEP)).min(self.most);
            self.bytes.try_reserve_exact(room - had)?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Written by hand: the bytes can be many, and their hexadecimal form needs no escaping.
fn line(lines: &mut impl Write, time: SystemTime, origin: Origin, bytes: &[u8]) -> io::Result<()> {
    write!(lines, "{{\"time_unix_ns\":{},", unix_ns(time))?;
    match origin {
        Origin::Stream(id, transport, peer) => {
            write!(lines, "\"transport\":\"{transport}\",\"connection\":{id}")?;
            if let PeerAddress::Inet(_) = peer {
                write!(lines, ",\"peer\":\"{peer}\"")?;
            }
        }
        Origin::Datagram { local, peer } => write!(
            lines,
            "\"transport\":\"udp\",\"local\":\"{}\",\"peer\":\"{}\"",
            Zoned(unmapped(local)),
            Zoned(unmapped(peer))
        )?,
    }
    write!(lines, ",\"received_bytes\":{},\"hex\":\"", bytes.len())?;
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 128];
    for part in bytes.chunks(hex.len() / 2) {
        for (byte, digits) in part.iter().zip(hex.chunks_exact_mut(2)) {
            digits.copy_from_slice(&[byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]));
        }
        lines.write_all(&hex[..2 * part.len()])?;
    }
    lines.write_all(b"\"")?;
    if let Ok(text) = std::str::from_utf8(bytes) {
        lines.write_all(b",\"text\":")?;
        serde_json::to_writer(&mut *lines, text)?;
    }
    lines.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_core::Transport;
    use std::time::UNIX_EPOCH;

    fn written(time: SystemTime, origin: Origin, bytes: &[u8]) -> String {
        let mut lines = Vec::new();
        line(&mut lines, time, origin, bytes).unwrap();
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn a_chunk_is_a_line_of_json_with_its_time_size_and_bytes() {
        let time = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_001);
        let peer = "[::ffff:127.0.0.1]:53412".parse().unwrap();
        // Behind a load balancer the peer is not who is connected.
        for transport in [Transport::Tcp, Transport::Unix] {
            let origin = Origin::Stream(3, transport, PeerAddress::Inet(peer));
            assert_eq!(
                written(time, origin, b"\x00hi\xff"),
                format!(
                    "{{\"time_unix_ns\":1700000000000000001,\"transport\":\"{transport}\",\"connection\":3,\
                     \"peer\":\"127.0.0.1:53412\",\"received_bytes\":4,\"hex\":\"006869ff\"}}\n"
                )
            );
        }
        let local = "127.0.0.1:5346".parse().unwrap();
        let origin = Origin::Datagram { local, peer };
        assert_eq!(
            written(time, origin, b"a \"\n"),
            "{\"time_unix_ns\":1700000000000000001,\"transport\":\"udp\",\"local\":\"127.0.0.1:5346\",\
             \"peer\":\"127.0.0.1:53412\",\"received_bytes\":4,\"hex\":\"6120220a\",\"text\":\"a \\\"\\n\"}\n"
        );
    }

    /// Takes a little at a time.
    struct Slow<F>(F);

    impl<F: FnMut()> Write for Slow<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            (self.0)();
            Ok(bytes.len().min(200))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A record of two halves of 512 bytes.
    fn small() -> Record {
        Record::open(Path::new("/dev/null"), PART << 10).unwrap()
    }

    fn add(record: &Record, len: usize) {
        let origin = Origin::Stream(1, Transport::Unix, PeerAddress::Unix);
        record.add(origin, &vec![0xff; len], &Clock::new());
    }

    #[test]
    fn whatever_finds_no_room_waits_while_the_file_takes_more() {
        let record = small();
        let (mut last, mut is_busy) = (Instant::now(), false);
        let look = || {
            let now = Instant::now();
            is_busy |= now - std::mem::replace(&mut last, now) > STALLED / 2;
        };
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| record.write_to(Slow(look)));
            let peers = [10, 180, 900].map(|len| {
                let record = &record;
                scope.spawn(move || (0..20).for_each(|_| add(record, len)))
            });
            for peer in peers {
                peer.join().unwrap();
            }
            record.queue().closed = true;
            record.changed.notify_all();
            writer.join().unwrap().unwrap();
        });
        // A writer that got no time on this machine has stalled.
        let missing = record.queue().missing;
        assert!(missing == 0 || is_busy, "{missing}");
    }

    #[test]
    fn once_it_stalls_nobody_waits_until_half_of_the_room_is_free() {
        let record = small();
        record.queue().stalled = true;
        (0..20).for_each(|_| add(&record, 10));
        assert!(record.queue().missing > 0, "it is full");
        record.queue().closed = true;
        let mut held = Vec::new();
        let look = || {
            let queue = record.queue();
            held.push((queue.held(), queue.stalled));
        };
        record.write_to(Slow(look)).unwrap();
        assert!(held[0].0 > 256 && held[held.len() - 1].0 <= 256, "{held:?}");
        for (held, stalled) in held {
            assert_eq!(stalled, held > 256, "{held}");
        }
    }

    #[test]
    fn a_record_that_was_never_started_has_no_end_to_wait_for() {
        let record = Record::open(Path::new("/dev/null"), u64::MAX).unwrap();
        record.end(&Clock::new()).unwrap();
    }

    #[test]
    fn a_full_disk_stops_the_server_and_is_told() {
        let record = Arc::new(Record::open(Path::new("/dev/full"), u64::MAX).unwrap());
        let (shutdown, clock) = (Shutdown::new(), Clock::new());
        record.start(&shutdown).unwrap();
        let origin = Origin::Stream(1, Transport::Unix, PeerAddress::Unix);
        record.add(origin, b"x", &clock);
        let failure = record.end(&clock).unwrap_err();
        assert_eq!(shutdown.why(), Some(Stop::RecordFailed));
        assert!(failure.to_string().contains("/dev/full"));
    }
}
