//! A report as text: the summary `ping` made familiar, with a histogram in bars.

use std::fmt::{self, Write};
use std::time::Duration;

use echo_core::units::Timespan;
use echo_explain::wrap;

use super::format::{self, Share};
use super::{Bar, Counts, Generator, Latency, Load, PERCENTILES, Report};

/// Rows of the histogram: what one screen has room for beside the rest.
const ROWS: usize = 12;
/// What the labels of a bar take.
const LABEL_COLUMNS: usize = 26;
/// The longest bar: beyond this, more columns show no more.
const BAR_COLUMNS: usize = 60;
/// Fewer samples than this have no shape.
const SHAPELY: u64 = 10;
/// What every terminal has room for.
const COLUMNS: usize = 80;
/// Narrower than this, a line of figures is broken anyway.
const LEAST_COLUMNS: usize = 40;
/// Before a line that goes on with another.
const INDENT: &str = "  ";

/// Shows a report as text.
pub struct Text<'a> {
    report: &'a Report,
    columns: usize,
}

impl<'a> Text<'a> {
    /// As wide as every terminal is.
    pub fn new(report: &'a Report) -> Self {
        Text {
            report,
            columns: COLUMNS,
        }
    }

    /// As wide as the terminal that standard output is, if it is one.
    pub fn to_fit(report: &'a Report) -> Self {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let columns = size
            .map(|size| size.ws_col.into())
            .filter(|&columns| columns > 0);
        Text {
            report,
            columns: columns.map_or(COLUMNS, |columns: usize| columns.max(LEAST_COLUMNS)),
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = String::new();
        self.lines(&mut lines)?;
        lines
            .lines()
            .try_for_each(|line| writeln!(f, "{}", wrapped(line, self.columns)))
    }
}

/// A line on as many as it needs; those after the first are indented.
pub(crate) fn wrapped(line: &str, columns: usize) -> String {
    match line.chars().count() <= columns {
        true => line.to_owned(),
        false => wrap(line, columns - INDENT.len()).join(&format!("\n{INDENT}")),
    }
}

impl Text<'_> {
    /// The text, however wide.
    fn lines(&self, f: &mut String) -> fmt::Result {
        let &Text { report, columns } = self;
        let (target, mode) = (report.target.told(), report.mode.name());
        writeln!(f, "--- {target} {mode} statistics ---")?;
        if let Some(load) = report.load {
            writeln!(f, "{}", paced(load))?;
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
        if let Some(jitter_ns) = report.jitter_ns {
            writeln!(f, "jitter = {:.3} ms", jitter_ns as f64 / 1e6)?;
        }
        if report.rtt.count() >= SHAPELY {
            let room = columns.saturating_sub(LABEL_COLUMNS).min(BAR_COLUMNS);
            bars(f, &report.rtt.bars(ROWS), room)?;
        }
        if let Some(curve) = &report.curve {
            write!(f, "{curve}")?;
        }
        for note in &report.notes {
            writeln!(f, "note: {note}")?;
        }
        outcome(f, report)
    }
}

fn paced(load: Load) -> String {
    match load {
        Load::Closed { in_flight } => format!(
            "closed loop, {in_flight} in flight: each request waits for a reply, so a slow server is asked less often"
        ),
        Load::Rate { per_s } => format!(
            "{per_s} requests/s: rtt counts from when a request was due, service from when it left"
        ),
    }
}

/// What was sent and what became of it.
fn books(f: &mut String, report: &Report) -> fmt::Result {
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

fn throughput(f: &mut String, report: &Report) -> fmt::Result {
    let mut told = Vec::new();
    if let Some((echoes, bytes)) = report.echoes_per_s().zip(report.received_bytes_per_s()) {
        let (echoes, megabytes) = (format::rate(echoes), bytes / 1e6);
        told.push(format!("{echoes} echoes/s, {megabytes:.2} MB/s each way"));
    }
    told.extend(report.generator.as_ref().and_then(|g| cost(g, report)));
    match told.is_empty() {
        true => Ok(()),
        false => writeln!(f, "{}", told.join("; ")),
    }
}

/// What the load cost this side. A cost per echo needs echoes, and a share of a core some time.
fn cost(generator: &Generator, report: &Report) -> Option<String> {
    let threads = match generator.threads {
        1 => "its thread".to_owned(),
        threads => format!("the busiest of {threads} threads"),
    };
    let per_echo = format::time(report.cpu_per_echo()?);
    let busy = match generator.busiest_share {
        Some(share) => format!(", {threads} {:.0}% busy", share * 100.0),
        None => String::new(),
    };
    Some(format!("client CPU {per_echo}/echo{busy}"))
}

/// The lines of one distribution; none when there are no samples.
fn figures(f: &mut String, name: &str, latency: &Latency) -> fmt::Result {
    let (Some(min), Some(avg), Some(max), Some(mdev)) =
        (latency.min(), latency.avg(), latency.max(), latency.mdev())
    else {
        return Ok(());
    };
    let spread = [min, avg, max, mdev];
    writeln!(f, "{name} min/avg/max/mdev = {} ms", joined(&spread))?;
    let (names, values): (Vec<_>, Vec<_>) = PERCENTILES
        .iter()
        .filter_map(|(name, quantile)| Some((*name, latency.percentile(*quantile)?)))
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

fn bars(f: &mut String, bars: &[Bar], room: usize) -> fmt::Result {
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let tallest = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    let span = |ns| Timespan(Duration::from_nanos(ns)).to_string();
    for bar in bars {
        let line = format!(
            "{:>7} - {:<7} {:>6} {}",
            span(bar.from_ns),
            span(bar.to_ns),
            Share(bar.count as f64 / total as f64).to_string(),
            drawn(bar.count as f64 / tallest as f64, room),
        );
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A bar of `share` of the columns there are, in eighths; anything at all is visible.
fn drawn(share: f64, columns: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (share * (columns * 8) as f64).ceil() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// How it ended, in the last lines, where a person looks.
fn outcome(f: &mut String, report: &Report) -> fmt::Result {
    for verdict in report.verdicts.iter().filter(|verdict| !verdict.failed) {
        writeln!(f, "{verdict}")?;
    }
    let name = report.outcome.result.name();
    let told = report.outcome.told(&report.verdicts);
    match told.is_empty() {
        true => writeln!(f, "{name}"),
        false => told
            .iter()
            .try_for_each(|line| writeln!(f, "{name}: {line}")),
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
            Text::new(&ping()).to_string(),
            "--- localhost:5346 (127.0.0.1:5346, udp) ping statistics ---\n\
             4 sent, 0 received, 100% loss, time 3.00 s\n\
             0 duplicate, 0 reordered, 0 corrupt, 0 late, 0 truncated, 0 foreign\n\
             passed\n"
        );
    }

    #[test]
    fn the_summary_reads_as_pings_does() {
        let mut report = ping();
        report.target.transport = "tcp".into();
        report.jitter_ns = Some(3000);
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
            Text::new(&report).to_string(),
            "--- localhost:5346 (127.0.0.1:5346, tcp) ping statistics ---\n\
             4 sent, 4 received, 0% loss, time 3.00 s\n\
             rtt min/avg/max/mdev = 0.030/0.045/0.060/0.011 ms\n\
             rtt p50 = 0.040 ms\n\
             jitter = 0.003 ms\n\
             passed\n"
        );
        assert!(!Text::new(&report).to_string().contains('█'));
        for us in [30, 40, 50, 60, 30, 60] {
            report.rtt.record(Duration::from_micros(us));
        }
        let text = Text::new(&report).to_string();
        let full = "█".repeat(COLUMNS - LABEL_COLUMNS);
        let bars = format!("   30us - 33us     30.0% {full}\n   33us - 36us        0%\n");
        assert!(text.contains(&bars), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_a_terminal_and_no_word_is_lost() {
        let mut report = ping();
        report.mode = Mode::Bench;
        report.load = Some(Load::Closed { in_flight: 1 });
        report.notes = vec!["a note that has a great deal to say ".repeat(9)];
        (0..99).for_each(|us| report.rtt.record(Duration::from_micros(us)));
        for columns in [60, 80, 120] {
            let text = Text {
                report: &report,
                columns,
            };
            let mut plain = String::new();
            text.lines(&mut plain).unwrap();
            let text = text.to_string();
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= columns), "{text}");
            assert!(plain.split_whitespace().eq(text.split_whitespace()));
        }
    }

    #[test]
    fn anything_at_all_is_visible() {
        assert_eq!(drawn(1e-9, 40), "▏");
        assert_eq!(drawn(0.0, 40), "");
        assert_eq!(drawn(1.0, 40), "█".repeat(40));
    }
}
