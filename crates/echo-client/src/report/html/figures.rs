//! The pictures of a report, each with its table.

use std::time::Duration;

use super::add;
use super::plot::{Axis, Escaped, Plot};
use crate::report::format::{self, Share, nanos, rate, short_time, thousands, time};
use crate::report::{Curve, Latency, Load, Metric, Report, Second, Step};

/// Bars of the histogram: on a phone each is still wide enough to be pointed at.
const BARS: usize = 40;
/// Points of the curve.
const POINTS: u32 = 240;
/// How many times more or less than the data is near.
const NEAR: f64 = 4.0;
/// Points along the time: as many as a wide screen can show apart.
const MOMENTS: usize = 600;

/// The curve of latency by percentile, whose axis stretches towards the slowest.
pub fn percentiles(page: &mut String, report: &Report) {
    let rtt = &report.rtt;
    let limits = limits_of_latency(report);
    let mut all = vec![("curve".to_owned(), rtt)];
    all.extend(
        report
            .service
            .iter()
            .map(|service| ("curve second".to_owned(), service)),
    );
    let (mut plot, nines) = by_percentile(&all, &limits);
    let steps = 20;
    for i in 0..steps {
        let x = |i: i32| nines * f64::from(i) / f64::from(steps);
        let quantile = 1.0 - 10f64.powf(-x(i + 1));
        let title = format!(
            "{} within {}",
            Share(quantile),
            time(rtt.quantile(quantile))
        );
        plot.spot(x(i), x(i + 1), &title);
    }
    limits
        .iter()
        .for_each(|(_, limit)| plot.level("limit", *limit));
    page.push_str("<section><h2>Latency by percentile</h2>\n");
    let curves = match report.service {
        Some(_) => &[
            ("", "from when a request was due"),
            ("second", "from when it left"),
        ][..],
        None => &[("", "so many echoes came back within so long")],
    };
    legend(page, curves, None, &limits);
    page.push_str(&plot.draw("Curve of round-trip time by percentile; the table has its values"));
    let latencies: Vec<_> = all.iter().map(|(_, latency)| *latency).collect();
    let names = ["Round trip", "Service"];
    percentile_table(page, &names[..latencies.len()], &latencies);
    page.push_str("</section>\n");
}

/// A curve for each distribution, of its style, and how many nines they stretch to.
pub fn by_percentile(all: &[(String, &Latency)], limits: &[(String, f64)]) -> (Plot, f64) {
    let latencies = || all.iter().map(|(_, latency)| *latency);
    // Beyond this share there is only the one slowest sample.
    let most = latencies().map(Latency::count).max().unwrap_or(0);
    let nines = (most.max(10) as f64).log10();
    let least = latencies().filter_map(Latency::min).min();
    let longest = latencies().filter_map(Latency::max).max();
    let mut plot = Plot::new(Axis::nines(nines), latency_axis(least, longest, limits));
    for (class, latency) in all.iter().filter(|(_, latency)| !latency.is_empty()) {
        let points = (0..=POINTS).map(|i| nines * f64::from(i) / f64::from(POINTS));
        let points = points.map(|x| (x, nanos(latency.quantile(1.0 - 10f64.powf(-x)))));
        plot.curve(class, &points.collect::<Vec<_>>());
    }
    (plot, nines)
}

/// Latency by the rate at which it was measured.
pub fn by_rate(page: &mut String, curve: &Curve) {
    let (Some(first), Some(last)) = (curve.steps.first(), curve.steps.last()) else {
        return;
    };
    let span = |ns: Option<u64>| ns.map(Duration::from_nanos);
    let latencies = || {
        curve
            .steps
            .iter()
            .flat_map(|s| [s.rtt_p50_ns, s.rtt_p99_ns])
            .flatten()
    };
    let x = Axis::log(first.rate_per_s, last.rate_per_s, rate);
    let mut plot = Plot::new(
        x,
        latency_axis(span(latencies().min()), span(latencies().max()), &[]),
    );
    for (class, of) in [
        (
            "curve",
            (|step| step.rtt_p99_ns) as fn(&Step) -> Option<u64>,
        ),
        ("curve second", |step| step.rtt_p50_ns),
    ] {
        let points = curve
            .steps
            .iter()
            .filter_map(|s| Some((s.rate_per_s, of(s)? as f64)));
        plot.curve(class, &points.collect::<Vec<_>>());
    }
    let shown = |ns: Option<u64>| span(ns).map_or("too few".to_owned(), time);
    let rows: Vec<_> = curve
        .steps
        .iter()
        .map(|step| {
            let kept = if step.kept { "kept" } else { "broken" };
            let loss = Share(step.loss_percent / 100.0).to_string();
            let (p50, p99) = (shown(step.rtt_p50_ns), shown(step.rtt_p99_ns));
            vec![rate(step.rate_per_s), p50, p99, loss, kept.to_owned()]
        })
        .collect();
    let told = |what: &str, per_s: Option<f64>| match per_s {
        Some(per_s) => format!("{what} {} requests/s", rate(per_s)),
        None => format!("{what} no rate"),
    };
    let (kept, knee) = (
        told("kept up to", curve.kept_per_s),
        told("the knee is at", curve.knee_per_s),
    );
    let said = format!("{}: {kept}; {knee}. {}", curve.condition, curve.limit);
    page.push_str("<section><h2>Latency by rate</h2>\n");
    add(page, format_args!("<p>{}</p>\n", Escaped(&said)));
    page.push_str(
        "<p class=\"legend\"><span>99th percentile</span><span class=\"second\">median</span></p>\n",
    );
    page.push_str(&plot.draw("Curves of latency by rate; the table has their values"));
    table(
        page,
        &["Requests/s", "Median", "p99", "Loss", "Condition"],
        &rows,
    );
    page.push_str("</section>\n");
}

/// The figures of each distribution, whose name is its head.
pub fn percentile_table(page: &mut String, names: &[&str], latencies: &[&Latency]) {
    let heads = [&["Percentile"], names].concat();
    let row = |name: &str, of: &dyn Fn(&Latency) -> Option<Duration>| {
        let shown = |latency: &&Latency| of(latency).map_or("too few samples".to_owned(), time);
        let mut cells = vec![name.to_owned()];
        cells.extend(latencies.iter().map(shown));
        cells
    };
    let mut rows = vec![row("shortest", &Latency::min)];
    for percent in [25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999] {
        let name = format!("{percent} %");
        rows.push(row(&name, &|latency| latency.percentile(percent / 100.0)));
    }
    rows.push(row("longest", &Latency::max));
    rows.push(row("mean", &Latency::avg));
    rows.push(row("deviation", &Latency::mdev));
    table(page, &heads, &rows);
}

pub fn histogram(page: &mut String, rtt: &Latency) {
    let bars = rtt.bars(BARS);
    let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
        return;
    };
    let share = |count: u64| count as f64 / rtt.count() as f64;
    let tallest = bars.iter().map(|bar| share(bar.count)).fold(0.0, f64::max);
    let x = Axis::log(first.from_ns.max(1) as f64, last.to_ns as f64, short_time);
    let y = Axis::around(0.0, tallest * 100.0, |percent| format!("{percent} %"));
    let mut plot = Plot::new(x, y);
    let mut rows = Vec::new();
    for bar in &bars {
        let (from, to) = (bar.from_ns as f64, bar.to_ns as f64);
        let range = [short_time(from), short_time(to)];
        let portion = Share(share(bar.count)).to_string();
        let title = format!("{} to {}: {portion}", range[0], range[1]);
        plot.bar(from.max(1.0), to, share(bar.count) * 100.0, &title);
        let [from, to] = range;
        rows.push(vec![from, to, thousands(bar.count), portion]);
    }
    page.push_str("<section><h2>Distribution</h2>\n<p>Share of the echoes by round trip.</p>\n");
    page.push_str(&plot.draw("Histogram of round-trip times; the table has its values"));
    table(page, &["From", "To", "Echoes", "Share"], &rows);
    page.push_str("</section>\n");
}

/// Throughput, latency and what went wrong, second by second; of all that, one table.
pub fn over_time(page: &mut String, report: &Report) {
    let moments = moments(&report.seconds, report.elapsed.as_secs_f64());
    let end = moments.last().map_or(1.0, |moment| moment.to);
    let time_axis = || Axis::span(end, |s| format!("{s} s"));
    let mut rows = Vec::new();
    page.push_str("<section class=\"row\"><h2>Over time</h2>\n<div class=\"plots\"><div>");

    let offered = match report.load {
        Some(Load::Rate { per_s }) => Some(per_s),
        _ => None,
    };
    let limits = limits(report, |metric| metric == Metric::Rate);
    let fastest = moments
        .iter()
        .map(|m| m.rate)
        .chain(offered)
        .fold(0.0, f64::max);
    let mut rate = Plot::new(
        time_axis(),
        Axis::around(0.0, fastest, |rate| thousands(rate as u64)),
    );
    let points = steps(&moments, |moment| Some(moment.rate));
    rate.area("wash", &points);
    rate.curve("curve", &points);
    offered
        .into_iter()
        .for_each(|per_s| rate.level("curve second", per_s));
    limits
        .iter()
        .for_each(|(_, limit)| rate.level("limit", *limit));

    let limits_of_latency = limits_of_latency(report);
    let latencies = || moments.iter().flat_map(|m| [m.p50, m.p99]).flatten();
    let range = (latencies().min(), latencies().max());
    let mut latency = Plot::new(
        time_axis(),
        latency_axis(range.0, range.1, &limits_of_latency),
    );
    let [p50, p99] = [
        steps(&moments, |m| m.p50.map(nanos)),
        steps(&moments, |m| m.p99.map(nanos)),
    ];
    latency.band("wash", &p50, &p99);
    latency.curve("curve", &p99);
    latency.curve("curve second", &p50);
    limits_of_latency
        .iter()
        .for_each(|(_, limit)| latency.level("limit", *limit));

    let bad = moments.iter().map(|m| m.lost + m.errors).max().unwrap_or(0);
    let mut losses = Plot::new(
        time_axis(),
        Axis::around(0.0, bad as f64, |count| thousands(count as u64)),
    );
    losses.area("wash", &steps(&moments, |moment| Some(moment.lost as f64)));
    losses.curve("curve", &steps(&moments, |moment| Some(moment.lost as f64)));
    losses.curve(
        "curve second",
        &steps(&moments, |moment| Some(moment.errors as f64)),
    );

    for moment in &moments {
        let shown = |value: Option<Duration>| value.map_or("too few".to_owned(), time);
        let (per_s, lost) = (format::rate(moment.rate), thousands(moment.lost));
        let errors = thousands(moment.errors);
        let (p50, p99, max) = (shown(moment.p50), shown(moment.p99), shown(moment.max));
        let at = format!("{} s", moment.from);
        let spot = |plot: &mut Plot, title: &str| {
            plot.spot(moment.from, moment.to, &format!("at {at}: {title}"));
        };
        spot(&mut rate, &format!("{per_s} echoes/s"));
        spot(&mut latency, &format!("p99 {p99}, median {p50}"));
        spot(&mut losses, &format!("{lost} lost, {errors} errors"));
        rows.push(vec![at, per_s, p50, p99, max, lost, errors]);
    }
    legend(
        page,
        &[("", "echoes a second")],
        offered.map(|per_s| format!("offered: {}/s", format::rate(per_s))),
        &limits,
    );
    page.push_str(&rate.draw("Curve of echoes a second over time; the table has its values"));
    page.push_str("</div><div>");
    let names = [("", "99th percentile"), ("second", "median")];
    legend(page, &names, None, &limits_of_latency);
    page.push_str(&latency.draw("Curves of latency over time; the table has its values"));
    if bad > 0 {
        page.push_str("</div><div>");
        let names = [("", "requests lost"), ("second", "errors")];
        legend(page, &names, None, &[]);
        page.push_str(&losses.draw("Losses and errors over time; the table has their values"));
    }
    page.push_str("</div></div>\n");
    let heads = [
        "From", "Echoes/s", "Median", "p99", "Longest", "Lost", "Errors",
    ];
    table(page, &heads, &rows);
    page.push_str("</section>\n");
}

/// The thresholds about some figures: what has to hold, and where its line is.
fn limits(report: &Report, is_meant: impl Fn(Metric) -> bool) -> Vec<(String, f64)> {
    let thresholds = report.verdicts.iter().map(|verdict| verdict.threshold);
    thresholds
        .filter(|threshold| is_meant(threshold.metric))
        .map(|threshold| (threshold.kept().to_string(), threshold.limit))
        .collect()
}

fn limits_of_latency(report: &Report) -> Vec<(String, f64)> {
    limits(report, |metric| metric.unit() == "ns")
}

fn legend(
    page: &mut String,
    curves: &[(&str, &str)],
    second: Option<String>,
    limits: &[(String, f64)],
) {
    let curves = curves.iter().map(|&(class, name)| (class, name.to_owned()));
    let second = second.map(|name| ("second", name));
    let limits = limits.iter().map(|(name, _)| ("limit", name.clone()));
    page.push_str("<p class=\"legend\">");
    for (class, name) in curves.chain(second).chain(limits) {
        add(
            page,
            format_args!("<span class=\"{class}\">{}</span>", Escaped(&name)),
        );
    }
    page.push_str("</p>\n");
}

/// A second, or several where there are too many to show.
struct Moment {
    from: f64,
    to: f64,
    rate: f64,
    p50: Option<Duration>,
    p99: Option<Duration>,
    max: Option<Duration>,
    lost: u64,
    errors: u64,
}

fn moments(seconds: &[Second], elapsed: f64) -> Vec<Moment> {
    let group = seconds.len().div_ceil(MOMENTS).max(1);
    seconds
        .chunks(group)
        .map(|group| {
            let from = group[0].start_s as f64;
            // The last second may be a part of one only.
            let to = (group[group.len() - 1].start_s + 1) as f64;
            let length = (to.min(elapsed) - from).max(1e-3);
            let echoes: u64 = group.iter().map(|second| second.echoes).sum();
            // Percentiles cannot be averaged: of several, the worst is shown.
            let worst = |of: fn(&Second) -> Option<u64>| {
                group.iter().filter_map(of).max().map(Duration::from_nanos)
            };
            Moment {
                from,
                to: from + length,
                rate: echoes as f64 / length,
                p50: worst(|second| second.rtt_p50_ns),
                p99: worst(|second| second.rtt_p99_ns),
                max: worst(|second| second.rtt_max_ns),
                lost: group.iter().map(|second| second.lost).sum(),
                errors: group.iter().map(|second| second.errors).sum(),
            }
        })
        .collect()
}

/// A level line for each moment: between them nothing was measured that a slope could show.
fn steps(moments: &[Moment], of: impl Fn(&Moment) -> Option<f64>) -> Vec<(f64, f64)> {
    moments
        .iter()
        .filter_map(|moment| Some((moment, of(moment)?)))
        .flat_map(|(moment, value)| [(moment.from, value), (moment.to, value)])
        .collect()
}

/// Round figures around the data, and around the thresholds that are near it: one that is far off
/// would press all the rest into a line.
fn latency_axis(min: Option<Duration>, max: Option<Duration>, limits: &[(String, f64)]) -> Axis {
    let bound = |value: Option<Duration>| value.map_or(1.0, nanos).max(1.0);
    let (mut low, mut high) = (bound(min), bound(max));
    for &(_, limit) in limits {
        if (low / NEAR..=high * NEAR).contains(&limit) {
            (low, high) = (low.min(limit), high.max(limit));
        }
    }
    Axis::log(low, high, short_time)
}

/// The values of a picture, for those who can't see it.
pub fn table(page: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    page.push_str("<details><summary>Table</summary>");
    cells(page, heads, rows);
    page.push_str("</details>\n");
}

/// A table that is a picture of its own.
pub fn cells(page: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    page.push_str("<div class=\"wide\"><table><thead><tr>");
    for head in heads {
        add(
            page,
            format_args!("<th scope=\"col\">{}</th>", Escaped(head)),
        );
    }
    page.push_str("</tr></thead><tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            add(page, format_args!("<td>{}</td>", Escaped(cell)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>");
}
