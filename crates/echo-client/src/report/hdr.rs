//! The HdrHistogram interval log (format 1.3, V2 compressed), which other tools read and merge.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};

use echo_core::path::shown;

use crate::connection::cause;
use crate::engine::recorder::Slice;
use crate::report::Latency;

/// The tag of the service times that a paced run logs beside its latencies.
pub const SERVICE_TAG: &str = "service";

/// The latencies of a run in nanoseconds, a histogram for each second.
pub struct HdrLog {
    path: PathBuf,
    file: BufWriter<File>,
    serializer: V2DeflateSerializer,
}

impl HdrLog {
    /// Starts a log whose seconds count from `start`, the wall clock when measuring began.
    ///
    /// # Errors
    /// The file cannot be created or written.
    pub fn create(path: &Path, start: SystemTime) -> io::Result<Self> {
        let mut log = HdrLog {
            path: path.to_owned(),
            file: BufWriter::new(File::create(path)?),
            serializer: V2DeflateSerializer::new(),
        };
        // Where both times are given, every reader takes an interval's own as relative to them.
        IntervalLogWriterBuilder::new()
            .add_comment("[echo-client bench; values are round trips in nanoseconds]")
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(start)
            .with_base_time(start)
            .begin_log_with(&mut log.file, &mut log.serializer)?;
        log.file.write_all(LEGEND)?;
        Ok(log)
    }

    /// Appends a second.
    ///
    /// # Errors
    /// The file, which the error names, cannot be written.
    pub fn write(&mut self, slice: &Slice) -> io::Result<()> {
        let service = slice.service.as_ref();
        self.histogram(slice.second, &slice.rtt, None)
            .and_then(|()| match service {
                Some(service) => self.histogram(slice.second, service, Tag::new(SERVICE_TAG)),
                None => Ok(()),
            })
            .map_err(|error| self.unwritable(&error))
    }

    /// Sees to it that all is in the file.
    ///
    /// # Errors
    /// The file, which the error names, cannot be written.
    pub fn finish(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &io::Error) -> io::Error {
        let text = format!("cannot write {}: {}", shown(&self.path), cause(error));
        io::Error::new(error.kind(), text)
    }

    fn histogram(
        &mut self,
        second: u64,
        latency: &Latency,
        tag: Option<Tag<'_>>,
    ) -> io::Result<()> {
        IntervalLogWriterBuilder::new()
            .begin_log_with(&mut self.file, &mut self.serializer)?
            .write_histogram(
                latency.histogram(),
                Duration::from_secs(second),
                Duration::from_secs(1),
                tag,
            )
            .map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            })
    }
}

const LEGEND: &[u8] =
    b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

impl std::fmt::Debug for HdrLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HdrLog").finish_non_exhaustive()
    }
}
