//! A report as text: the summary `ping` made familiar, with a histogram in bars.

use std::time::Duration;

use echo_core::escape::printable;
use echo_core::units::Timespan;

use super::format::{self, Share};
use super::{Bar, Latency, Load, PERCENTILES, Report, Span, Ways, Whose};

/// Rows of the histogram: what one screen has room for beside the rest.
const ROWS: usize = 12;
/// What the labels of a bar take.
const LABEL_COLUMNS: usize = 26;
/// The longest bar: beyond this, more columns show no more.
const BAR_COLUMNS: usize = 60;
/// Fewer samples than this have no shape.
const SHAPELY: u64 = 10;
/// What every terminal has room for.
pub const COLUMNS: usize = 80;
/// Narrower than this, a line of figures is broken anyway.
const LEAST_COLUMNS: usize = 40;
/// Before a line that goes on with another.
const INDENT: &str = "  ";

/// The report as text of so many columns.
pub fn text(report: &Report, columns: usize) -> String {
    let lines = lines(report, columns).into_iter();
    let said = lines.map(|line| report.phrases.say(&line));
    said.map(|line| wrapped(&line, columns) + "\n").collect()
}

/// The columns of the terminal that standard output is; if it is none, those that each has.
pub fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col));
    let known = columns.filter(|&columns| columns > 0);
    known.map_or(COLUMNS, |columns| columns.max(LEAST_COLUMNS))
}

/// A line on as many as it needs; those after the first are indented, and what stands in columns
/// stays there. What it has from a document of others acts on no terminal.
pub(crate) fn wrapped(line: &str, columns: usize) -> String {
    let mut rest = printable(line.trim_end());
    let mut lines = String::new();
    while let Some((end, _)) = rest.char_indices().nth(columns) {
        let is_word = |cut: &usize| !rest[..*cut].trim().is_empty();
        // A word that is longer than a line stands alone.
        let cut = match rest[end..].starts_with(' ') {
            true => Some(end),
            false => rest[..end].rfind(' '),
        };
        let cut = cut.filter(is_word);
        let Some(cut) = cut.or_else(|| Some(end + rest[end..].find(' ')?)) else {
            break;
        };
        lines += rest[..cut].trim_end();
        lines.push('\n');
        rest = format!("{INDENT}{}", rest[cut..].trim_start());
    }
    lines + &rest
}

/// The lines, however wide, with bars that fit the columns.
fn lines(report: &Report, columns: usize) -> Vec<String> {
    let (target, mode) = (report.target.told(), report.mode);
    let mut lines = vec![format!("--- {target} {mode} statistics ---")];
    lines.extend(measured(report));
    if report.rtt.count() >= SHAPELY {
        let room = columns.saturating_sub(LABEL_COLUMNS).min(BAR_COLUMNS);
        lines.extend(bars(&report.rtt.bars(ROWS), room));
    }
    if let Some(curve) = &report.curve {
        let table = curve.table().said(&report.phrases).to_string();
        let table = table.lines().filter(|_| !curve.steps.is_empty());
        lines.extend(table.map(str::to_owned));
        lines.push(format!("{}: {}", curve.condition, curve.found()));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines.extend(report.outcome.lines(&report.verdicts));
    lines
}

/// What was measured, in words.
pub fn measured(report: &Report) -> Vec<String> {
    let mut lines: Vec<_> = report
        .load
        .map(|load| paced(load, report))
        .into_iter()
        .collect();
    lines.extend(books(report));
    lines.extend(report.ways.iter().flat_map(Ways::told));
    lines.extend(report.load.and_then(|_| throughput(report)));
    let is_known = report.of(Span::There).is_some();
    let both = report.ways.iter().filter(|_| is_known);
    lines.extend(both.map(|ways| format!("there and back: {}", ways.one_way)));
    // What this machine adds is told beside whose stamps they are.
    let shown = report
        .distributions()
        .filter(|(span, _)| *span != Span::Host);
    lines.extend(shown.flat_map(|(span, latency)| figures(span, latency)));
    let whose = report.timestamps;
    lines.extend(whose.map(|whose| stamped(whose, report.of(Span::Host))));
    let jitter = report.jitter_ns.map(Duration::from_nanos);
    lines.extend(jitter.map(|jitter| format!("jitter = {} ms", millis(&[jitter]))));
    lines
}

fn paced(load: Load, report: &Report) -> String {
    match load {
        Load::Closed { in_flight } => format!(
            "closed loop, {in_flight} in flight: each request waits for a reply, so a slow server is asked less often"
        ),
        Load::Rate { .. } if report.machines.len() > 1 && !report.has_rate() => {
            "no rate of the whole: rtt counts from when a request was due, service from when it left"
                .to_owned()
        }
        Load::Rate { per_s } => format!(
            "{per_s} requests/s: rtt counts from when a request was due, service from when it left"
        ),
    }
}

/// What was sent and what became of it.
fn books(report: &Report) -> Vec<String> {
    let counts = &report.counts;
    let (sent, received, loss) = (counts.sent, counts.received, Share(counts.loss()));
    // What a ping is to last counts to the end of its last interval; nobody waits for that.
    let took = Some(report.took).filter(|took| report.load.is_none() && !took.is_zero());
    let time = took.unwrap_or(report.elapsed).as_secs_f64();
    let digits = if time < 0.1 { 4 } else { 2 };
    let mut lines = vec![format!(
        "{sent} sent, {received} received, {loss} loss, over {time:.digits$} s"
    )];
    let classes = [
        ("duplicate", counts.duplicate),
        ("reordered", counts.reordered),
        ("corrupt", counts.corrupt),
        ("late", counts.late),
        ("truncated", counts.truncated),
        ("foreign", counts.foreign),
    ];
    // A stream neither repeats nor reorders, so these say something only when they are not zero.
    let datagrams = report.target.is_udp();
    if datagrams || classes.iter().any(|&(_, count)| count > 0) {
        let shown = classes.map(|(name, count)| format!("{count} {name}"));
        lines.push(shown.join(", "));
    }
    if counts.under_way > 0 {
        lines.push(format!(
            "{} under way when it was stopped, and not known to be lost",
            counts.under_way
        ));
    }
    let (delayed, unsent) = (counts.delayed, counts.unsent);
    if delayed + unsent > 0 {
        lines.push(format!(
            "{delayed} left over 1 ms late, {unsent} were due and never left"
        ));
    }
    lines.extend(report.bounds());
    if !report.errors.is_empty() {
        let errors = report.errors.iter();
        let said = errors.map(|(kind, n)| format!("{n} {}", report.phrases.say(&kind.to_string())));
        let shown: Vec<_> = said.collect();
        lines.push(format!("errors: {}", shown.join(", ")));
    }
    lines
}

fn throughput(report: &Report) -> Option<String> {
    let mut told = Vec::new();
    if let Some((echoes, bytes)) = report.echoes_per_s().zip(report.received_bytes_per_s()) {
        let (echoes, bytes) = (format::rate(echoes), format::bytes_per_s(bytes));
        told.push(format!("{echoes} echoes/s, {bytes} each way"));
    }
    // A cost per echo needs echoes, and a share of a core some time.
    if let Some(generator) = &report.generator
        && let Some(cost) = generator.cpu_ns.checked_div(report.counts.unique)
    {
        let busy = generator
            .busiest_share
            .map(|share| match generator.threads {
                1 => format!(", its thread {:.0}% busy", share * 100.0),
                threads => format!(
                    ", the busiest of {threads} threads {:.0}% busy",
                    share * 100.0
                ),
            });
        let (cost, busy) = (format::short_time(cost as f64), busy.unwrap_or_default());
        told.push(format!("client CPU {cost}/echo{busy}"));
    }
    let cost = report.server_cpu_per_echo_ns().map(format::short_time);
    told.extend(cost.map(|cost| format!("server CPU {cost}/echo")));
    (!told.is_empty()).then(|| told.join("; "))
}

/// The lines of one distribution; none when there are no samples.
fn figures(span: Span, latency: &Latency) -> Vec<String> {
    let spread = [latency.min(), latency.avg(), latency.max(), latency.mdev()];
    let known = PERCENTILES
        .iter()
        .filter_map(|(name, quantile)| Some((*name, latency.percentile(*quantile)?)));
    let (names, percentiles): (Vec<_>, Vec<_>) = known.unzip();
    let spread: Vec<Duration> = spread.into_iter().flatten().collect();
    [
        ("min/avg/max/mdev", spread),
        (&names.join("/"), percentiles),
    ]
    .into_iter()
    .filter(|(_, values)| !values.is_empty())
    .map(|(names, values)| format!("{span} {names} = {} ms", millis(&values)))
    .collect()
}

/// Whose clock it was, and what that has left out of the round trips.
fn stamped(whose: Whose, host: Option<&Latency>) -> String {
    let whose = match whose {
        Whose::Kernel => "the kernel's",
        Whose::Receive => "the kernel's on receiving, this program's on sending",
        Whose::User => "this program's",
    };
    let [p50, p99] = [0.5, 0.99].map(|quantile| host.and_then(|host| host.percentile(quantile)));
    let added = p50.zip(p99).map(|(p50, p99)| {
        let added = millis(&[p50, p99]);
        format!("; this machine adds p50/p99 = {added} ms to what a program sees")
    });
    format!("time stamps: {whose}{}", added.unwrap_or_default())
}

fn millis(durations: &[Duration]) -> String {
    let millis = durations
        .iter()
        .map(|duration| format::nanos(*duration) / 1e6);
    let shown: Vec<_> = millis.map(|ms| format!("{ms:.3}")).collect();
    shown.join("/")
}

fn bars(bars: &[Bar], room: usize) -> impl Iterator<Item = String> {
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let tallest = bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1);
    bars.iter().map(move |bar| {
        let [from, to] =
            [bar.from_ns, bar.to_ns].map(|ns| Timespan(Duration::from_nanos(ns)).to_string());
        let share = Share(bar.count as f64 / total as f64).to_string();
        let drawn = drawn(bar.count as f64 / tallest as f64, room);
        let line = format!("{from:>7} - {to:<7} {share:>6} {drawn}");
        line.trim_end().to_owned()
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Counts, Mode, Target};
    use echo_core::Transport;

    fn ping() -> Report {
        Report {
            mode: Mode::Ping,
            target: Target {
                name: "localhost:5346".into(),
                address: "127.0.0.1:5346".into(),
                transport: Transport::Udp,
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
            text(&ping(), COLUMNS),
            "--- localhost:5346 (127.0.0.1:5346, udp) ping statistics ---\n\
             4 sent, 0 received, 100% loss, over 3.00 s\n\
             0 duplicate, 0 reordered, 0 corrupt, 0 late, 0 truncated, 0 foreign\n\
             passed\n"
        );
    }

    #[test]
    fn a_ping_lasts_as_long_as_it_took_and_not_to_the_end_of_its_last_interval() {
        let mut report = ping();
        report.took = Duration::from_millis(2010);
        assert!(text(&report, COLUMNS).contains("over 2.01 s"));
        report.took = Duration::from_micros(213);
        assert!(text(&report, COLUMNS).contains("over 0.0002 s"));
        report.load = Some(Load::Rate { per_s: 1.0 });
        assert!(text(&report, COLUMNS).contains("over 3.00 s"));
    }

    #[test]
    fn the_summary_reads_as_pings_does() {
        let mut report = ping();
        report.target.transport = Transport::Tcp;
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
            text(&report, COLUMNS),
            "--- localhost:5346 (127.0.0.1:5346, tcp) ping statistics ---\n\
             4 sent, 4 received, 0% loss, over 3.00 s\n\
             rtt min/avg/max/mdev = 0.030/0.045/0.060/0.011 ms\n\
             rtt p50 = 0.040 ms\n\
             jitter = 0.003 ms\n\
             passed\n"
        );
        assert!(!text(&report, COLUMNS).contains('█'));
        for us in [30, 40, 50, 60, 30, 60] {
            report.rtt.record(Duration::from_micros(us));
        }
        let text = text(&report, COLUMNS);
        let full = "█".repeat(COLUMNS - LABEL_COLUMNS);
        let bars = format!("   29us - 32us     30.0% {full}\n   32us - 35us        0%\n");
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
            let plain = lines(&report, columns).join("\n");
            let text = text(&report, columns);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest.is_some_and(|widest| widest <= columns), "{text}");
            assert!(plain.split_whitespace().eq(text.split_whitespace()));
        }
    }

    #[test]
    fn what_stands_in_columns_stays_there() {
        let line = "p50     control  70.56 us  unknown (520 rounds would tell 5 %)";
        let told = "p50     control  70.56 us  unknown (520\n  rounds would tell 5 %)";
        assert_eq!(wrapped(line, 40), told);
        let long = "a".repeat(50);
        assert_eq!(
            wrapped("aaa bbb ccc", 7),
            "aaa bbb\n  ccc",
            "a line is full"
        );
        let told = format!("x\n  {long}\n  y");
        assert_eq!(wrapped(&format!("x {long} y"), 40), told);
    }

    #[test]
    fn anything_at_all_is_visible() {
        assert_eq!(drawn(1e-9, 40), "▏");
        assert_eq!(drawn(0.0, 40), "");
        assert_eq!(drawn(1.0, 40), "█".repeat(40));
    }
}
