//! The pictures of a report, each with its table.

use std::time::Duration;

use super::{Axis, Card, Plot};
use crate::report::format::{Share, nanos, rate, round, short_time, thousands, time};
use crate::report::{Curve, Latency, Load, Metric, Report, Second, Span, Step, Table};

/// Bars of the histogram: on a phone each is still wide enough to be pointed at.
const BARS: usize = 40;
/// Points of the curve.
const POINTS: u32 = 240;
/// How many times more or less than the data is near.
const NEAR: f64 = 4.0;
/// Points along the time: as many as a wide screen can show apart.
const MOMENTS: usize = 600;
/// Classes of the two curves of a picture.
const CURVES: [&str; 2] = ["curve", "curve second"];

/// The curve of latency by percentile.
pub fn percentiles(report: &Report) -> Card {
    let mut all = vec![(CURVES[0].to_owned(), "round trip", &report.rtt)];
    if let Some(service) = report.of(Span::Service) {
        all[0].1 = "from when a request was due";
        all.push((CURVES[1].to_owned(), "from when it left", service));
    }
    by_percentile(&all, &limits(report, is_round_trip))
}

/// The way there and the way back, where they are told apart.
pub fn ways(report: &Report) -> Option<Card> {
    let [there, back] = CURVES.map(str::to_owned);
    let both = [
        (there, "there", report.of(Span::There)?),
        (back, "back", report.of(Span::Back)?),
    ];
    let ways = report.ways.as_ref()?;
    Some(Card {
        heading: format!("There and back: {}", ways.one_way),
        ..by_percentile(&both, &[])
    })
}

/// A curve for each distribution, of its class and name; the axis stretches towards the slowest.
pub fn by_percentile(all: &[(String, &str, &Latency)], limits: &[(String, f64)]) -> Card {
    let latencies = || all.iter().map(|(_, _, latency)| *latency);
    // Beyond this share there is only the one slowest sample.
    let most = latencies().map(Latency::count).max().unwrap_or(0);
    let nines = (most.max(10) as f64).log10();
    let range = latencies().flat_map(|latency| [latency.min(), latency.max()]);
    let y = latency_axis(range.flatten().map(nanos), limits);
    let mut plot = Plot::new("Round-trip time by percentile", Axis::nines(nines), y);
    let quantile = |x: f64| 1.0 - 10f64.powf(-x);
    for (class, name, latency) in all.iter().filter(|(_, _, latency)| !latency.is_empty()) {
        let along = (0..=POINTS).map(|i| nines * f64::from(i) / f64::from(POINTS));
        let points = along.map(|x| (x, nanos(latency.quantile(quantile(x)))));
        plot.curve(class, name, &points.collect::<Vec<_>>());
    }
    show_limits(&mut plot, limits);

    let mut table = Table::new(&["Percentile"]);
    table
        .heads
        .extend(all.iter().map(|(_, name, _)| (*name).to_owned()));
    let mut row = |name: &str, of: &dyn Fn(&Latency) -> Option<Duration>| {
        let shown = |latency| of(latency).map_or("too few samples".to_owned(), time);
        let mut cells = vec![name.to_owned()];
        cells.extend(latencies().map(shown));
        table.rows.push(cells);
    };
    row("shortest", &Latency::min);
    for percent in [25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999] {
        let name = format!("{percent} %");
        row(&name, &|latency| latency.percentile(percent / 100.0));
    }
    row("longest", &Latency::max);
    row("mean", &Latency::avg);
    row("deviation", &Latency::mdev);
    Card::drawn("Latency by percentile", vec![plot], table)
}

/// Latency by the rate at which it was measured.
pub fn by_rate(curve: &Curve) -> Card {
    // From the lowest to the highest.
    let [lowest, highest] = [curve.steps.first(), curve.steps.last()]
        .map(|step| step.map_or(1.0, |step| step.rate_per_s));
    let figures: [fn(&Step) -> Option<u64>; 2] = [|s| s.part.rtt_p99_ns, |s| s.part.rtt_p50_ns];
    let [p99, p50] = figures.map(|of| {
        let steps = curve.steps.iter();
        let known = steps.filter_map(|step| Some((step.rate_per_s, of(step)? as f64)));
        known.collect::<Vec<_>>()
    });
    let y = latency_axis(p99.iter().chain(&p50).map(|point| point.1), &[]);
    let x = Axis::log(lowest, highest, rate);
    let mut plot = Plot::new("Latency by rate", x, y);
    plot.curve(CURVES[0], "99th percentile", &p99);
    plot.curve(CURVES[1], "median", &p50);
    if let Some(kept) = curve.kept_per_s {
        let edges = [f64::NEG_INFINITY, f64::INFINITY].map(|y| (kept, y));
        plot.curve("limit", &format!("kept up to {}/s", rate(kept)), &edges);
    }
    Card {
        text: format!("{}: {}", curve.condition, curve.found()),
        ..Card::drawn("Latency by rate", vec![plot], curve.table())
    }
}

/// How many round trips took how long.
pub fn histogram(report: &Report) -> Card {
    let rtt = &report.rtt;
    let bars = rtt.bars(BARS);
    let percent = |count: u64| count as f64 / rtt.count() as f64 * 100.0;
    let tallest = percent(bars.iter().map(|bar| bar.count).max().unwrap_or(0));
    let from = bars.first().map_or(1, |bar| bar.from_ns.max(1));
    let to = bars.last().map_or(1, |bar| bar.to_ns);
    let mut plot = Plot::new(
        "Histogram of round-trip times",
        Axis::log(from as f64, to as f64, short_time),
        Axis::linear(0.0, tallest, |percent| format!("{} %", round(percent))),
    );
    let mut table = Table::new(&["From", "To", "Round trips", "Share"]);
    for bar in &bars {
        let bounds = [bar.from_ns, bar.to_ns].map(|ns| ns as f64);
        let [from, to] = bounds.map(short_time);
        let share = Share(percent(bar.count) / 100.0).to_string();
        let title = format!("{from} to {to}: {share}");
        plot.bar(bounds, percent(bar.count), &title);
        table.rows.push(vec![from, to, thousands(bar.count), share]);
    }
    Card {
        text: match report.bounds() {
            None => "Share of the echoes by round trip.".into(),
            Some(bounds) => format!("Share of the round trips by how long they took. {bounds}."),
        },
        ..Card::drawn("Distribution", vec![plot], table)
    }
}

/// Throughput, latency and what went wrong, second by second; of all that, one table.
pub fn over_time(report: &Report) -> Card {
    let moments = moments(report);
    let end = moments.last().map_or(1.0, |moment| moment.to);
    // The first curve is washed down to a lower one, or to the edge.
    let plot = |shows: &str, y: Axis, lower: &[_], curves: &[(&str, &[(f64, f64)])]| {
        let time = Axis::until(end, |s| format!("{} s", round(s)));
        let mut plot = Plot::new(&format!("{shows} over time"), time, y);
        let parts = |points| <[(f64, f64)]>::split(points, |point| point.1.is_nan());
        let lower = parts(lower).chain(std::iter::repeat(&[][..]));
        for (lower, upper) in lower.zip(parts(curves[0].1)) {
            plot.area("wash", lower, upper);
        }
        for (class, (name, points)) in CURVES.iter().zip(curves) {
            plot.curve(class, name, points);
        }
        plot
    };
    // A level line for each moment: between them nothing was measured that a slope could show. Where
    // nothing is known there is a gap.
    let levels = |of: &dyn Fn(&Moment) -> Option<f64>| -> Vec<(f64, f64)> {
        let level = |m: &Moment| [m.from, m.to].map(|at| (at, of(m).unwrap_or(f64::NAN)));
        moments.iter().flat_map(level).collect()
    };
    let highest = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);

    let rates = levels(&|m| Some(m.per_s));
    let offered = match report.load {
        Some(Load::Rate { per_s }) => Some(per_s),
        _ => None,
    };
    let fastest = highest(&rates).max(offered.unwrap_or(0.0));
    let y = Axis::linear(0.0, fastest, round);
    let mut throughput = plot("Echoes a second", y, &[], &[("echoes a second", &rates)]);
    if let Some(per_s) = offered {
        throughput.level(CURVES[1], &format!("offered: {}/s", rate(per_s)), per_s);
    }
    show_limits(
        &mut throughput,
        &limits(report, |metric| metric == Metric::Rate),
    );

    let limits = limits(report, is_round_trip);
    let p50 = levels(&|m| m.second.rtt_p50_ns.map(|ns| ns as f64));
    let p99 = levels(&|m| m.second.rtt_p99_ns.map(|ns| ns as f64));
    let both = p50.iter().chain(&p99).map(|point| point.1);
    let known: Vec<f64> = both.filter(|value| !value.is_nan()).collect();
    let y = latency_axis(known.iter().copied(), &limits);
    // Where the upper edge is not known, there is no band.
    let band = |second: &Second| second.rtt_p99_ns.and(second.rtt_p50_ns);
    let lower = levels(&|m| band(&m.second).map(|ns| ns as f64));
    let curves: [(&str, &[_]); 2] = [("99th percentile", &p99), ("median", &p50)];
    let mut latency = plot("Latency", y, &lower, &curves);
    show_limits(&mut latency, &limits);

    let lost = levels(&|m| Some((m.second.lost + m.second.unsent) as f64));
    let errors = levels(&|m| Some(m.second.errors as f64));
    let worst = highest(&lost).max(highest(&errors));
    let curves: [(&str, &[_]); 2] = [("requests lost or unsent", &lost), ("errors", &errors)];
    let y = Axis::linear(0.0, worst, round);
    let losses = plot("Losses and errors", y, &[], &curves);

    let mut table = Table::new(&[
        "From", "Echoes/s", "Median", "p99", "Longest", "Lost", "Unsent", "Errors",
    ]);
    for moment in &moments {
        let second = &moment.second;
        let shown = |ns: Option<u64>| ns.map_or("too few".to_owned(), |ns| short_time(ns as f64));
        let (at, per_s) = (format!("{} s", moment.from), rate(moment.per_s));
        let [p50, p99, max] = [second.rtt_p50_ns, second.rtt_p99_ns, second.rtt_max_ns].map(shown);
        let [lost, unsent, errors] = [second.lost, second.unsent, second.errors].map(thousands);
        table
            .rows
            .push(vec![at, per_s, p50, p99, max, lost, unsent, errors]);
    }
    // Seconds of several machines have no percentiles.
    let is_known = !known.is_empty();
    let mut plots = vec![throughput];
    plots.extend(is_known.then_some(latency));
    plots.extend((worst > 0.0).then_some(losses));
    Card::drawn("Over time", plots, table)
}

/// Whether a figure is a round trip, which the curves of those show; their deviation is none.
fn is_round_trip(metric: Metric) -> bool {
    use Metric::{Avg, Max, Min, Percentile};
    matches!(metric, Min | Avg | Max | Percentile(Span::Rtt, _))
}

/// The thresholds about figures that are drawn: what has to hold, and where its line is.
fn limits(report: &Report, is_drawn: fn(Metric) -> bool) -> Vec<(String, f64)> {
    let thresholds = report.asked().0.into_iter();
    thresholds
        .filter(|threshold| is_drawn(threshold.metric))
        .map(|threshold| (threshold.kept().to_string(), threshold.limit))
        .collect()
}

fn show_limits(plot: &mut Plot, limits: &[(String, f64)]) {
    for (name, limit) in limits {
        plot.level("limit", name, *limit);
    }
}

/// A second, or several where there are too many to show.
struct Moment {
    from: f64,
    to: f64,
    per_s: f64,
    second: Second,
}

fn moments(report: &Report) -> Vec<Moment> {
    let windows = report.windows();
    // Rounds share a second one after the other, machines at once.
    let add = match report.machines.is_empty() {
        true => |own: f64, other: f64| own + other,
        false => f64::max,
    };
    let measured = |second: &Second| {
        let [from, to] = [second.start_s as f64, second.start_s as f64 + 1.0];
        let shares = windows.iter().map(|w| w[1].min(to) - w[0].max(from));
        let share = shares.filter(|share| *share > 0.0).reduce(add);
        // Of what came at another time it is not known how long that took.
        share.unwrap_or(1.0)
    };
    let group = report.seconds.len().div_ceil(MOMENTS).max(1);
    let moment = |group: &[Second]| {
        // Percentiles cannot be averaged: of several, the worst is shown.
        let worst = |of: fn(&Second) -> Option<u64>| group.iter().filter_map(of).max();
        let sum = |of: fn(&Second) -> u64| group.iter().map(of).sum();
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let echoes: u64 = sum(|second| second.echoes);
        Moment {
            from: first.start_s as f64,
            // The last second of a run may be a part of one only.
            to: last.start_s as f64 + measured(last).min(1.0),
            per_s: echoes as f64 / group.iter().map(measured).sum::<f64>(),
            second: Second {
                echoes,
                lost: sum(|second| second.lost),
                unsent: sum(|second| second.unsent),
                errors: sum(|second| second.errors),
                rtt_p50_ns: worst(|second| second.rtt_p50_ns),
                rtt_p99_ns: worst(|second| second.rtt_p99_ns),
                rtt_max_ns: worst(|second| second.rtt_max_ns),
                ..Second::default()
            },
        }
    };
    report.seconds.chunks(group).map(moment).collect()
}

/// Round figures around the data, and around the thresholds that are near it: one that is far off
/// would press all the rest into a line.
fn latency_axis(values: impl Iterator<Item = f64>, limits: &[(String, f64)]) -> Axis {
    let values: Vec<f64> = values.map(|ns| ns.max(1.0)).collect();
    let [low, high] = [f64::min, f64::max].map(|of| values.iter().copied().reduce(of));
    let (mut low, mut high) = (low.unwrap_or(1.0), high.unwrap_or(1.0));
    for &(_, limit) in limits {
        if (low / NEAR..=high * NEAR).contains(&limit) {
            (low, high) = (low.min(limit), high.max(limit));
        }
    }
    Axis::log(low, high, short_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Part;

    /// A rate for each second of a run whose parts measured from one millisecond to another.
    fn rates(parts: &[[u64; 2]], seconds: &[(u64, u64)], at_once: bool) -> Vec<f64> {
        let part = |&[from, to]: &[u64; 2]| Part {
            started_unix_ns: from * 1_000_000,
            elapsed_ns: (to - from) * 1_000_000,
            ..Part::default()
        };
        let mut parts: Vec<Part> = parts.iter().map(part).collect();
        let elapsed = parts.iter().map(|part| part.elapsed_ns).sum();
        let mut report = Report {
            elapsed: Duration::from_nanos(elapsed),
            ..Report::default()
        };
        match at_once {
            true => report.machines.append(&mut parts),
            false => report.rounds.append(&mut parts),
        }
        let second = |&(start_s, echoes): &(u64, u64)| Second {
            start_s,
            echoes,
            ..Second::default()
        };
        report.seconds = seconds.iter().map(second).collect();
        let moments = moments(&report);
        let first = seconds.first().map_or(0, |second| second.0) as f64;
        assert_eq!(moments[0].from, first);
        assert!(moments.iter().all(|moment| moment.to > moment.from));
        let rates = moments.iter().map(|moment| moment.per_s.round());
        rates.collect()
    }

    #[test]
    fn a_rate_is_by_the_time_in_which_it_was_measured() {
        let rounds = [[0, 1000], [2000, 3000], [4000, 5000], [6000, 7000]];
        let seconds = [(0, 100), (2, 100), (4, 100), (6, 100)];
        assert_eq!(rates(&rounds, &seconds, false), [100.0; 4], "in turn");
        let short = [[0, 300], [300, 600], [1500, 1800]];
        assert_eq!(rates(&short, &[(0, 60), (2, 30)], false), [100.0; 2]);
        let machines = [[0, 2000], [10, 1510]];
        assert_eq!(
            rates(&machines, &[(0, 200), (1, 150)], true),
            [200.0, 150.0]
        );
        let alone = [[0, 1500]];
        assert_eq!(rates(&alone, &[(0, 100), (1, 50)], false), [100.0; 2]);
        assert_eq!(rates(&alone, &[(2, 7)], false), [7.0], "nobody knows");
        let many: Vec<_> = (0..1500).map(|second| (second, 100)).collect();
        assert!(
            rates(&[[0, 1_500_000]], &many, false)
                .iter()
                .all(|rate| *rate == 100.0)
        );
    }
}
