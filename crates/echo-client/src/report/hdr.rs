//! The HdrHistogram interval log (format 1.3, V2 compressed), which other tools read and merge.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::{Latency, Report};

/// The tag of the service times that a paced run logs beside its latencies.
pub const SERVICE_TAG: &str = "service";

const LEGEND: &[u8] =
    b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
const IN_MEMORY: &str = "memory takes every histogram";

/// The latencies of a run in nanoseconds, a histogram for each second.
pub fn log(report: &Report) -> Vec<u8> {
    let mut log = Vec::new();
    let start = UNIX_EPOCH + Duration::from_nanos(report.started_unix_ns);
    // Where both times are given, every reader takes an interval's own as relative to them.
    IntervalLogWriterBuilder::new()
        .add_comment("[echo-client; values are round trips in nanoseconds]")
        .add_comment("[Histogram log format version 1.3]")
        .with_start_time(start)
        .with_base_time(start)
        .begin_log_with(&mut log, &mut V2DeflateSerializer::new())
        .expect(IN_MEMORY);
    log.extend_from_slice(LEGEND);
    for second in &report.seconds {
        log.extend_from_slice(&second.log);
    }
    log
}

/// What the log says of an interval that begins at `start`, since measuring began.
pub fn lines(
    start: Duration,
    length: Duration,
    rtt: &Latency,
    service: Option<&Latency>,
) -> Vec<u8> {
    let (mut lines, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let tagged = service.map(|service| (service, Tag::new(SERVICE_TAG)));
    for (latency, tag) in [(rtt, None)].into_iter().chain(tagged) {
        IntervalLogWriterBuilder::new()
            .begin_log_with(&mut lines, &mut serializer)
            .expect(IN_MEMORY)
            .write_histogram(&latency.histogram(), start, length, tag)
            .expect(IN_MEMORY);
    }
    lines
}
