//! Rows for a spreadsheet (RFC 4180).

use serde_json::{Value, json};

use super::Report;

/// A row for each second of each of the reports.
pub fn csv(reports: &[Report]) -> String {
    let seconds = reports.iter().flat_map(|report| {
        report.seconds.iter().map(|second| {
            let mut row = json!(second);
            row["target"] = report.name().into();
            row
        })
    });
    let columns = "target,start_s,sent,echoes,lost,errors,rtt_p50_ns,rtt_p99_ns,rtt_max_ns,unsent";
    rows(columns, seconds)
}

/// What objects have under some keys, which commas divide; of a list, how long it is.
pub fn rows(columns: &str, objects: impl Iterator<Item = Value>) -> String {
    let field = |value: &Value| match value {
        Value::Null => String::new(),
        Value::Array(list) => list.len().to_string(),
        Value::String(text) if !text.contains([',', '"', '\r', '\n']) => text.clone(),
        Value::String(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        other => other.to_string(),
    };
    let row = |object: Value| {
        let fields = columns.split(',').map(|column| field(&object[column]));
        fields.collect::<Vec<_>>().join(",") + "\n"
    };
    format!("{columns}\n{}", objects.map(row).collect::<String>())
}
