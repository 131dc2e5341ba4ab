//! The pictures of a report, each with its table.

use std::time::Duration;

use super::add;
use super::plot::{Axis, Escaped, Plot};
use crate::report::format::{Share, nanos, short_time, thousands, time};
use crate::report::{Latency, Report, Second};

/// Bars of the histogram: on a phone each is still wide enough to be pointed at.
const BARS: usize = 40;
/// Points of the curve.
const POINTS: u32 = 240;
/// Points along the time: as many as a wide screen can show apart.
const MOMENTS: usize = 600;

/// The curve of latency by percentile, whose axis stretches towards the slowest.
pub fn percentiles(page: &mut String, report: &Report) {
    let rtt = &report.rtt;
    // Beyond this share there is only the one slowest sample.
    let nines = (rtt.count().max(10) as f64).log10();
    let x = Axis::nines(nines);
    let curves = [Some(rtt), report.service.as_ref()];
    let all = curves.iter().flatten();
    let lowest = all.clone().filter_map(|l| l.min()).min();
    let highest = all.filter_map(|l| l.max()).max();
    let mut plot = Plot::new(x, latency_axis(lowest, highest));
    for (latency, class) in curves.iter().zip(["curve", "curve second"]) {
        let Some(latency) = latency else { continue };
        let points: Vec<_> = (0..=POINTS)
            .map(|i| nines * f64::from(i) / f64::from(POINTS))
            .map(|x| (x, nanos(latency.quantile(1.0 - 10f64.powf(-x)))))
            .collect();
        plot.curve(class, &points);
    }
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
    page.push_str("<section><h2>Latency by percentile</h2>\n");
    legend(page, report);
    page.push_str(&plot.draw("Curve of round-trip time by percentile; the table has its values"));
    percentile_table(page, report);
    page.push_str("</section>\n");
}

fn legend(page: &mut String, report: &Report) {
    page.push_str(match report.service {
        Some(_) => {
            "<p class=\"legend\"><span>from when a request was due</span>\
             <span class=\"second\">from when it left</span></p>\n"
        }
        None => "<p>So many echoes came back within so long.</p>\n",
    });
}

fn percentile_table(page: &mut String, report: &Report) {
    let service = report.service.as_ref();
    let mut heads = vec!["Percentile", "Round trip"];
    heads.extend(service.map(|_| "Service"));
    let row = |name: &str, of: &dyn Fn(&Latency) -> Option<Duration>| {
        let shown = |latency| of(latency).map_or("too few samples".to_owned(), time);
        let mut cells = vec![name.to_owned(), shown(&report.rtt)];
        cells.extend(service.map(shown));
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
    let y = Axis::linear(tallest * 100.0, |percent| format!("{percent} %"));
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

/// Throughput and latency second by second.
pub fn over_time(page: &mut String, report: &Report) {
    let elapsed = report.elapsed.as_secs_f64();
    let moments = moments(&report.seconds, elapsed);
    let end = moments.last().map_or(1.0, |moment| moment.to);
    let seconds = |s: f64| format!("{s} s");
    let fastest = moments.iter().map(|m| m.rate).fold(0.0, f64::max);
    let mut rate = Plot::new(
        Axis::span(end, seconds),
        Axis::linear(fastest, |rate| thousands(rate as u64)),
    );
    let points = steps(&moments, |moment| Some(moment.rate));
    rate.area("wash", &points);
    rate.curve("curve", &points);
    let latencies = || moments.iter().flat_map(|m| [m.p50, m.p99]).flatten();
    let mut latency = Plot::new(
        Axis::span(end, seconds),
        latency_axis(latencies().min(), latencies().max()),
    );
    latency.curve("curve", &steps(&moments, |m| m.p99.map(nanos)));
    latency.curve("curve second", &steps(&moments, |m| m.p50.map(nanos)));
    let mut rows = Vec::new();
    for moment in &moments {
        let shown = |value: Option<Duration>| value.map_or("too few".to_owned(), time);
        let per_s = thousands(moment.rate.round() as u64);
        let (p50, p99, max) = (shown(moment.p50), shown(moment.p99), shown(moment.max));
        let at = format!("{} s", moment.from);
        rate.spot(
            moment.from,
            moment.to,
            &format!("at {at}: {per_s} echoes/s"),
        );
        let title = format!("at {at}: p99 {p99}, median {p50}");
        latency.spot(moment.from, moment.to, &title);
        rows.push(vec![at, per_s, p50, p99, max, thousands(moment.errors)]);
    }
    page.push_str("<section><h2>Throughput over time</h2>\n<p>Echoes a second.</p>\n");
    page.push_str(&rate.draw("Curve of echoes a second over time; the table has its values"));
    let heads = ["From", "Echoes/s", "Median", "p99", "Longest", "Errors"];
    table(page, &heads, &rows);
    page.push_str(
        "</section>\n<section><h2>Latency over time</h2>\n<p class=\"legend\">\
         <span>99th percentile</span><span class=\"second\">median</span></p>\n",
    );
    page.push_str(&latency.draw("Curves of latency over time; the table has its values"));
    table(page, &heads, &rows);
    page.push_str("</section>\n");
}

/// A second, or several where there are too many to show.
struct Moment {
    from: f64,
    to: f64,
    rate: f64,
    p50: Option<Duration>,
    p99: Option<Duration>,
    max: Option<Duration>,
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

fn latency_axis(min: Option<Duration>, max: Option<Duration>) -> Axis {
    let bound = |value: Option<Duration>| value.map_or(1.0, nanos).max(1.0);
    Axis::log(bound(min), bound(max), short_time)
}

/// The values of a picture, for those who can't see it.
fn table(page: &mut String, heads: &[&str], rows: &[Vec<String>]) {
    page.push_str("<details><summary>Table</summary><div class=\"wide\"><table><thead><tr>");
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
    page.push_str("</tbody></table></div></details>\n");
}
