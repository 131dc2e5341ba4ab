//! A report as one JSON document, as docs/report.schema.json describes it.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::connection::ErrorKind;

use super::{
    Bar, Counts, Environment, Fault, Generator, Latency, Load, Mode, PERCENTILES, Report, SCHEMA,
    Second, Target, Verdict,
};

/// Bars of the histogram: fine enough to plot.
const BARS: usize = 96;

/// The report as a JSON document, with a final newline.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(&Document::of(report))
        .expect("every key is a string, and no value can fail");
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    mode: Mode,
    version: &'static str,
    target: &'a Target,
    #[serde(flatten)]
    load: Option<LoadKeys>,
    elapsed_ns: u64,
    #[serde(flatten)]
    counts: &'a Counts,
    loss_percent: f64,
    echoes_per_s: f64,
    received_bytes_per_s: f64,
    #[serde(flatten)]
    rtt: Figures<'a>,
    #[serde(flatten)]
    service: Option<Figures<'a>>,
    #[serde(flatten)]
    connect: Option<Figures<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generator: &'a Option<Generator>,
    errors: &'a BTreeMap<ErrorKind, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: &'a Option<Fault>,
    verdicts: Vec<VerdictKeys>,
    notes: &'a [String],
    environment: &'a Environment,
    config: &'a serde_json::Map<String, serde_json::Value>,
    histogram: Vec<Bar>,
    seconds: &'a [Second],
}

impl<'a> Document<'a> {
    fn of(report: &'a Report) -> Self {
        let figures = |prefix, latency| Figures { prefix, latency };
        Document {
            schema: SCHEMA,
            mode: report.mode,
            version: env!("CARGO_PKG_VERSION"),
            target: &report.target,
            load: report.load.map(LoadKeys::of),
            elapsed_ns: report.elapsed.as_nanos() as u64,
            counts: &report.counts,
            loss_percent: report.counts.loss() * 100.0,
            echoes_per_s: report.echoes_per_s(),
            received_bytes_per_s: report.received_bytes_per_s(),
            rtt: figures("rtt", &report.rtt),
            service: report.service.as_ref().map(|l| figures("service", l)),
            connect: report.connect.as_ref().map(|l| figures("connect", l)),
            jitter_ns: report.jitter.map(|jitter| jitter.as_nanos() as u64),
            generator: &report.generator,
            errors: &report.errors,
            error: &report.fault,
            verdicts: report.verdicts.iter().map(VerdictKeys::of).collect(),
            notes: &report.notes,
            environment: &report.environment,
            config: &report.config,
            histogram: report.rtt.bars(BARS),
            seconds: &report.seconds,
        }
    }
}

#[derive(Serialize)]
struct LoadKeys {
    load: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_s: Option<f64>,
}

impl LoadKeys {
    fn of(load: Load) -> Self {
        match load {
            Load::Closed { in_flight } => LoadKeys {
                load: "closed",
                in_flight: Some(in_flight),
                rate_per_s: None,
            },
            Load::Rate { per_s } => LoadKeys {
                load: "rate",
                in_flight: None,
                rate_per_s: Some(per_s),
            },
        }
    }
}

#[derive(Serialize)]
struct VerdictKeys {
    condition: String,
    measured: String,
    failed: bool,
}

impl VerdictKeys {
    fn of(verdict: &Verdict) -> Self {
        VerdictKeys {
            condition: verdict.threshold.to_string(),
            measured: verdict.measured_text(),
            failed: verdict.failed(),
        }
    }
}

/// A distribution's figures, each key with `prefix` and the unit. What is not known has no key.
struct Figures<'a> {
    prefix: &'static str,
    latency: &'a Latency,
}

impl Serialize for Figures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let latency = self.latency;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(&format!("{}_samples", self.prefix), &latency.count())?;
        let spread = [
            ("min", latency.min()),
            ("avg", latency.avg()),
            ("max", latency.max()),
            ("mdev", latency.mdev()),
        ];
        let percentiles = PERCENTILES.map(|p| (p.name, latency.percentile(p.quantile)));
        for (name, value) in spread.into_iter().chain(percentiles) {
            if let Some(value) = value {
                let key = format!("{}_{}_ns", self.prefix, name.replace('.', "_"));
                map.serialize_entry(&key, &(value.as_nanos() as u64))?;
            }
        }
        map.end()
    }
}
