//! A report as text: the summary `ping` made familiar, with a histogram in bars.

use std::fmt;
use std::time::Duration;

use echo_core::units::Timespan;

use super::{Bar, Counts, Generator, Latency, Load, PERCENTILES, Report, Verdict};

/// Rows of the histogram: what one screen has room for beside the rest.
const ROWS: usize = 12;
/// The longest bar, in columns: with its labels it stays within 80.
const BAR_COLUMNS: usize = 40;

/// Fewer samples than this have no shape.
const SHAPELY: u64 = 10;
/// What every terminal has room for.
const COLUMNS: usize = 80;

/// Shows a report as text. What ended the run is not in it: that is told as an error.
pub struct Text<'a>(pub &'a Report);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = Lines(self.0).to_string();
        lines.lines().try_for_each(|line| wrapped(f, line))
    }
}

/// Writes a line on as many as it needs; those after the first are indented.
fn wrapped(f: &mut fmt::Formatter<'_>, line: &str) -> fmt::Result {
    if line.chars().count() <= COLUMNS {
        return writeln!(f, "{line}");
    }
    let mut used = 0;
    for word in line.split(' ') {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > COLUMNS {
            write!(f, "\n  {word}")?;
            used = 2 + len;
        } else if used > 0 {
            write!(f, " {word}")?;
            used += 1 + len;
        } else {
            write!(f, "{word}")?;
            used = len;
        }
    }
    writeln!(f)
}

/// The text, however wide.
struct Lines<'a>(&'a Report);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let target = &report.target;
        write!(f, "--- {} (", target.name)?;
        if !target.address.is_empty() {
            write!(f, "{}, ", target.address)?;
        }
        let mode = report.mode.name();
        writeln!(f, "{}) {mode} statistics ---", target.transport)?;
        if let Some(load) = report.load {
            writeln!(f, "{}", LoadLine(load))?;
        }
        books(f, report)?;
        if report.load.is_some() {
            throughput(f, report)?;
        }
        if let Some(connect) = &report.connect {
            figures(f, "connect", connect)?;
        }
        figures(f, "rtt", &report.rtt)?;
        if let Some(service) = &report.service {
            figures(f, "service", service)?;
        }
        if let Some(jitter) = report.jitter {
            writeln!(f, "jitter = {:.3} ms", millis(jitter))?;
        }
        if report.rtt.count() >= SHAPELY {
            bars(f, &report.rtt.bars(ROWS))?;
        }
        verdicts(f, &report.verdicts)?;
        report
            .notes
            .iter()
            .try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

struct LoadLine(Load);

impl fmt::Display for LoadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Load::Closed { in_flight } => write!(
                f,
                "closed loop, {in_flight} in flight: each request waits for a reply, so a slow server is asked less often"
            ),
            Load::Rate { per_s } => write!(
                f,
                "{per_s} requests/s: rtt counts from when a request was due, service from when it left"
            ),
        }
    }
}

/// What was sent and what became of it.
fn books(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let counts = &report.counts;
    writeln!(
        f,
        "{} sent, {} received, {} loss, time {:.2} s",
        counts.sent,
        counts.received,
        Share(counts.loss()),
        report.elapsed.as_secs_f64()
    )?;
    // A stream neither repeats nor reorders, so these say something only when they are not zero.
    let classes = classes(counts);
    let datagrams = report.target.transport == "udp";
    if datagrams || classes.iter().any(|&(_, count)| count > 0) {
        let shown: Vec<_> = classes
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        writeln!(f, "{}", shown.join(", "))?;
    }
    if counts.delayed + counts.unsent > 0 {
        writeln!(
            f,
            "{} left over 1 ms late, {} were due and never left",
            counts.delayed, counts.unsent
        )?;
    }
    if !report.errors.is_empty() {
        let shown: Vec<_> = report
            .errors
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        writeln!(f, "errors: {}", shown.join(", "))?;
    }
    Ok(())
}

fn classes(counts: &Counts) -> [(&'static str, u64); 6] {
    [
        ("duplicate", counts.duplicate),
        ("reordered", counts.reordered),
        ("corrupt", counts.corrupt),
        ("late", counts.late),
        ("truncated", counts.truncated),
        ("foreign", counts.foreign),
    ]
}

fn throughput(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    write!(
        f,
        "{:.0} echoes/s, {:.2} MB/s each way",
        report.echoes_per_s(),
        report.received_bytes_per_s() / 1e6
    )?;
    if let Some(generator) = &report.generator {
        write!(f, "; {}", cost(generator, report.counts.unique))?;
    }
    writeln!(f)
}

fn cost(generator: &Generator, echoes: u64) -> String {
    let per_echo_us = generator.cpu_ns as f64 / echoes.max(1) as f64 / 1e3;
    let threads = match generator.threads {
        1 => "its thread".to_owned(),
        threads => format!("the busiest of {threads} threads"),
    };
    format!(
        "client CPU {per_echo_us:.2} us/echo, {threads} {:.0}% busy",
        generator.busiest_share * 100.0
    )
}

/// The lines of one distribution; none when there are no samples.
fn figures(f: &mut fmt::Formatter<'_>, name: &str, latency: &Latency) -> fmt::Result {
    let (Some(min), Some(avg), Some(max), Some(mdev)) =
        (latency.min(), latency.avg(), latency.max(), latency.mdev())
    else {
        return Ok(());
    };
    let spread = [min, avg, max, mdev];
    writeln!(f, "{name} min/avg/max/mdev = {} ms", joined(&spread))?;
    let (names, values): (Vec<_>, Vec<_>) = PERCENTILES
        .iter()
        .filter_map(|p| latency.percentile(p.quantile).map(|value| (p.name, value)))
        .unzip();
    if names.is_empty() {
        return Ok(());
    }
    writeln!(f, "{name} {} = {} ms", names.join("/"), joined(&values))
}

fn joined(durations: &[Duration]) -> String {
    let shown: Vec<_> = durations
        .iter()
        .map(|&duration| format!("{:.3}", millis(duration)))
        .collect();
    shown.join("/")
}

fn millis(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}

fn bars(f: &mut fmt::Formatter<'_>, bars: &[Bar]) -> fmt::Result {
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let tallest = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let span = |ns| Timespan(Duration::from_nanos(ns)).to_string();
    for bar in bars {
        let line = format!(
            "{:>7} - {:<7} {:>6} {}",
            span(bar.from_ns),
            span(bar.to_ns),
            Share(bar.count as f64 / total as f64).to_string(),
            drawn(bar.count as f64 / tallest as f64),
        );
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A bar of `share` of the columns there are, in eighths; anything at all is visible.
fn drawn(share: f64) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share * (BAR_COLUMNS * 8) as f64).ceil() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

fn verdicts(f: &mut fmt::Formatter<'_>, verdicts: &[Verdict]) -> fmt::Result {
    verdicts.iter().try_for_each(|verdict| {
        let outcome = if verdict.failed() { "FAILED" } else { "passed" };
        writeln!(f, "{outcome}: fail if {verdict}")
    })
}

/// A share of 0 to 1 as a percentage. Only nothing is shown as 0 %, and only all as 100 %.
pub(super) struct Share(pub f64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let shown = match percent {
            p if p <= 0.0 => "0".to_owned(),
            p if p >= 100.0 => "100".to_owned(),
            p if p < 0.01 => "<0.01".to_owned(),
            p if p > 99.99 => ">99.99".to_owned(),
            p if (1.0..=99.0).contains(&p) => format!("{p:.1}"),
            p => format!("{p:.2}"),
        };
        write!(f, "{shown}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Mode, Target};

    fn ping() -> Report {
        Report {
            mode: Mode::Ping,
            target: Target {
                name: "localhost:5346".into(),
                address: "127.0.0.1:5346".into(),
                transport: "udp".into(),
            },
            counts: Counts {
                sent: 4,
                lost: 4,
                ..Counts::default()
            },
            elapsed: Duration::from_millis(3004),
            ..Report::default()
        }
    }

    #[test]
    fn a_run_that_lost_everything_has_a_summary_all_the_same() {
        assert_eq!(
            Text(&ping()).to_string(),
            "--- localhost:5346 (127.0.0.1:5346, udp) ping statistics ---\n\
             4 sent, 0 received, 100% loss, time 3.00 s\n\
             0 duplicate, 0 reordered, 0 corrupt, 0 late, 0 truncated, 0 foreign\n"
        );
    }

    #[test]
    fn the_summary_reads_as_pings_does() {
        let mut report = ping();
        report.target.transport = "tcp".into();
        report.jitter = Some(Duration::from_micros(3));
        for us in [30, 40, 50, 60] {
            report.rtt.record(Duration::from_micros(us));
        }
        report.counts = Counts {
            sent: 4,
            received: 4,
            unique: 4,
            ..Counts::default()
        };
        assert_eq!(
            Text(&report).to_string(),
            "--- localhost:5346 (127.0.0.1:5346, tcp) ping statistics ---\n\
             4 sent, 4 received, 0% loss, time 3.00 s\n\
             rtt min/avg/max/mdev = 0.030/0.045/0.060/0.011 ms\n\
             rtt p50 = 0.040 ms\n\
             jitter = 0.003 ms\n"
        );
        assert!(!Text(&report).to_string().contains('█'));
        for us in [30, 40, 50, 60, 30, 60] {
            report.rtt.record(Duration::from_micros(us));
        }
        let text = Text(&report).to_string();
        let full = "█".repeat(BAR_COLUMNS);
        let bars = format!("   30us - 33us     30.0% {full}\n   33us - 36us        0%\n");
        assert!(text.contains(&bars), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_no_word_is_lost() {
        let mut report = ping();
        report.mode = Mode::Bench;
        report.load = Some(Load::Closed { in_flight: 1 });
        report.notes = vec!["a note that has a great deal to say ".repeat(9)];
        let text = Text(&report).to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= COLUMNS),
            "{text}"
        );
        let plain = Lines(&report).to_string();
        assert!(plain.split_whitespace().eq(text.split_whitespace()));
    }

    #[test]
    fn a_little_is_never_shown_as_nothing() {
        for (share, shown) in [
            (0.0, "0%"),
            (1e-9, "<0.01%"),
            (0.0012, "0.12%"),
            (0.5, "50.0%"),
            (0.999, "99.90%"),
            (1.0 - 1e-9, ">99.99%"),
            (1.0, "100%"),
        ] {
            assert_eq!(Share(share).to_string(), shown);
        }
        assert_eq!(drawn(1e-9), "▏");
        assert_eq!(drawn(0.0), "");
        assert_eq!(drawn(1.0), "█".repeat(BAR_COLUMNS));
    }
}
