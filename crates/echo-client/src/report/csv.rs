//! A run second by second, as rows for a spreadsheet (RFC 4180).

use std::borrow::Cow;

use super::{Report, Second};

/// A row for each second of each of the reports.
pub fn csv(reports: &[Report]) -> String {
    let mut text =
        "target,start_s,sent,echoes,lost,errors,rtt_p50_ns,rtt_p99_ns,rtt_max_ns\n".to_owned();
    for report in reports {
        let name = quoted(report.label.as_deref().unwrap_or(&report.target.name));
        for second in &report.seconds {
            let Second {
                start_s,
                sent,
                echoes,
                lost,
                errors,
                ..
            } = second;
            let known = |ns: Option<u64>| ns.map_or(String::new(), |ns| ns.to_string());
            let [p50, p99, max] =
                [second.rtt_p50_ns, second.rtt_p99_ns, second.rtt_max_ns].map(known);
            text +=
                &format!("{name},{start_s},{sent},{echoes},{lost},{errors},{p50},{p99},{max}\n");
        }
    }
    text
}

/// A text as one field.
pub fn quoted(text: &str) -> Cow<'_, str> {
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")).into(),
        false => text.into(),
    }
}
