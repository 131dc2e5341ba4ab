//! A report as one JSON document, as docs/report.schema.json describes it, and back again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::format::significant;
use super::{Bar, Fault, Latency, PERCENTILES, Report, Span};

/// The version of the JSON document; it changes when a key's meaning does.
pub const SCHEMA: u32 = 2;
/// Bars of the histogram: fine enough to plot.
const BARS: usize = 96;
/// Counts and sizes beyond this are of no measurement: thousands of those can be added up.
const MOST: u64 = 1 << 53;
/// And times in nanoseconds beyond this, which is after the year 2100.
const MOST_NS: u64 = 1 << 62;

/// The report as a JSON document, with a final newline.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(&Document::of(report))
        .expect("every key is a string, and no value can fail");
    text.push('\n');
    text
}

/// The report as a part of a larger document.
pub fn value(report: &Report) -> Value {
    serde_json::to_value(Document::of(report)).expect("every key is a string")
}

/// The report that a document was made of.
///
/// # Errors
/// It is no JSON, of another version of the schema, or damaged.
pub fn read(text: &str) -> Result<Report> {
    from_value(&serde_json::from_str(text).context("it is no JSON document")?)
}

/// The same of a document that has been parsed.
pub fn from_value(document: &Value) -> Result<Report> {
    check_schema(&document["schema"])?;
    check("document", document)?;
    let mut report = Report::deserialize(document)?;
    ensure!(
        report.counts.balance(),
        "what it says was sent and received does not add up"
    );
    report.rtt = latency(document, Span::Rtt)?.context("it has no rtt_histogram")?;
    for span in Span::ALL.into_iter().filter(|span| *span != Span::Rtt) {
        if let Some(latency) = latency(document, span)? {
            *report.others.of(span) = latency;
        }
    }
    Ok(report)
}

/// Refuses documents of another version.
pub fn check_schema(schema: &Value) -> Result<()> {
    ensure!(
        !schema.is_null(),
        "it is no report of a run; save one with --json"
    );
    ensure!(
        *schema == SCHEMA,
        "its schema is {schema}, not {SCHEMA}: it is no report of a run, or one of another version"
    );
    Ok(())
}

/// Refuses numbers that nothing here can have counted, wherever they are in a document.
fn check(key: &str, value: &Value) -> Result<()> {
    match value {
        // What was asked for is not added up, and a sum of latencies is told with care.
        _ if key == "config" || key.ends_with("_sum_ns") => Ok(()),
        Value::Object(members) => members.iter().try_for_each(|(key, part)| check(key, part)),
        Value::Array(items) => items.iter().try_for_each(|item| check(key, item)),
        Value::Number(number) => {
            let most = if key.ends_with("_ns") { MOST_NS } else { MOST };
            let is_square = key.ends_with("_squares_ns2");
            let squares = 0.0..=(MOST as f64) * (MOST_NS as f64).powi(2);
            let is_possible = match is_square {
                true => number
                    .as_f64()
                    .is_some_and(|number| squares.contains(&number)),
                false => number.as_u64().is_none_or(|number| number <= most),
            };
            ensure!(is_possible, "its {key} is {number}, which cannot be");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whatever a document says beside the keys of the report follows from them.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    version: &'static str,
    #[serde(flatten)]
    report: &'a Report,
    /// The gravest reason why the program fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Fault>,
    loss_percent: f64,
    echoes_per_s: Option<f64>,
    received_bytes_per_s: Option<f64>,
    histogram: Vec<Bar>,
    #[serde(flatten)]
    figures: Figures<'a>,
}

impl<'a> Document<'a> {
    fn of(report: &'a Report) -> Self {
        let has_failed = report.outcome.exit_code != 0;
        Document {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            report,
            error: report.outcome.reasons.first().filter(|_| has_failed),
            loss_percent: significant(report.counts.loss() * 100.0),
            echoes_per_s: report.echoes_per_s().map(significant),
            received_bytes_per_s: report.received_bytes_per_s().map(significant),
            histogram: report.rtt.bars(BARS),
            figures: Figures(report),
        }
    }
}

/// The figures of every distribution, each key with its name and the unit.
struct Figures<'a>(&'a Report);

impl Serialize for Figures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (prefix, latency) in self.0.distributions() {
            map.serialize_entry(&format!("{prefix}_samples"), &latency.count())?;
            let spread = [
                ("min", latency.min()),
                ("avg", latency.avg()),
                ("max", latency.max()),
                ("mdev", latency.mdev()),
            ];
            let percentiles = PERCENTILES.map(|(name, share)| (name, latency.percentile(share)));
            for (name, value) in spread.into_iter().chain(percentiles) {
                let key = format!("{prefix}_{}_ns", name.replace('.', "_"));
                map.serialize_entry(&key, &value.map(|value| value.as_nanos() as u64))?;
            }
            let (sum, squares) = latency.moments();
            map.serialize_entry(&format!("{prefix}_sum_ns"), &sum)?;
            map.serialize_entry(&format!("{prefix}_squares_ns2"), &squares)?;
            let histogram = STANDARD.encode(latency.encoded());
            map.serialize_entry(&format!("{prefix}_histogram"), &histogram)?;
        }
        map.end()
    }
}

/// The distribution that a document has of a span, if it has one.
fn latency(document: &Value, prefix: Span) -> Result<Option<Latency>> {
    let get = |name: &str| &document[format!("{prefix}_{name}")];
    let Some(histogram) = get("histogram").as_str() else {
        let has_samples = !get("samples").is_null();
        ensure!(!has_samples, "its {prefix}_samples are without a histogram");
        return Ok(None);
    };
    let damaged = || format!("its {prefix}_histogram is damaged");
    let bytes = STANDARD.decode(histogram).with_context(damaged)?;
    let (sum, squares) = (get("sum_ns").as_u64(), get("squares_ns2").as_f64());
    let moments = (sum.unwrap_or(0), squares.unwrap_or(0.0));
    let range = (get("min_ns").as_u64(), get("max_ns").as_u64());
    let latency = Latency::decoded(&bytes, range, moments).with_context(damaged)?;
    let count = latency.count();
    ensure!(
        *get("samples") == count,
        "{}: it has {count} samples",
        damaged()
    );
    Ok(Some(latency))
}

/// A duration as a number of nanoseconds.
pub mod nanos {
    use super::*;

    /// Writes it.
    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(span.as_nanos() as u64)
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_nanos)
    }
}
