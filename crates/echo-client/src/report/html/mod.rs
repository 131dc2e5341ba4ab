//! A report as one page that needs nothing else: no script, no font, no network.

mod figures;
mod plot;

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::format::{self, Share, thousands, time};
use super::{Ending, Load, Mode, Report, json};
pub(crate) use figures::{by_percentile, cells, percentile_table, table};
use figures::{histogram, over_time, percentiles};
pub(crate) use plot::{Axis, Escaped, Plot};

/// A page that has only begun.
pub(crate) fn begin(title: &str) -> String {
    let mut page = String::with_capacity(64 << 10);
    let title = Escaped(title);
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // The browser itself sees to it that nothing is loaded.
    page.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n",
    );
    add(&mut page, format_args!("<title>{title}</title>\n"));
    add(
        &mut page,
        format_args!("<style>\n{}</style>\n", include_str!("page.css")),
    );
    page
}

/// The page.
pub fn html(report: &Report) -> String {
    let (mode, name) = (report.mode.name(), &report.target.name);
    let mut page = begin(&format!("{mode} {name}"));
    header(&mut page, report);
    page.push_str("<main>\n");
    let held = report.verdicts.iter().filter(|verdict| !verdict.failed);
    let mut lines = report.outcome.told(&report.verdicts);
    lines.extend(held.map(ToString::to_string));
    banner(&mut page, report.outcome.result, &lines);
    let has_sent = report.counts.sent > 0;
    if has_sent {
        tiles(&mut page, report);
    }
    told(&mut page, report);
    page.push_str("<div class=\"cards\">\n");
    if !report.rtt.is_empty() {
        percentiles(&mut page, report);
        histogram(&mut page, &report.rtt);
    }
    if let Some(curve) = &report.curve {
        figures::by_rate(&mut page, curve);
    }
    if !report.seconds.is_empty() {
        over_time(&mut page, report);
    }
    if has_sent {
        books(&mut page, report);
    }
    made(&mut page, report);
    page.push_str("</div>\n</main>\n");
    footer(&mut page, report);
    page
}

/// A figure whose unit stands back.
fn unit(text: &str) -> String {
    match text.split_once(' ') {
        Some((value, unit)) => format!("{value} <small>{unit}</small>"),
        None => text.to_owned(),
    }
}

/// Writing to a string cannot fail.
pub(crate) fn add(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(text);
}

fn header(page: &mut String, report: &Report) {
    let target = &report.target;
    let where_to = match target.address.as_str() {
        address if address.is_empty() || address == target.name => target.transport.clone(),
        address => format!("{address} over {}", target.transport),
    };
    let how = match report.load {
        Some(Load::Closed { in_flight }) => format!("closed loop, {in_flight} in flight"),
        Some(Load::Rate { per_s }) => format!("{per_s} requests/s"),
        None if report.mode == Mode::Send => "one message".to_owned(),
        None => "one at a time".to_owned(),
    };
    add(
        page,
        format_args!(
            "<header><h1>{} {}</h1>\n<p>{}, {}, {:.1} s, begun {}</p></header>\n",
            report.mode.name(),
            Escaped(&target.name),
            Escaped(&where_to),
            Escaped(&how),
            report.elapsed.as_secs_f64(),
            Escaped(
                &report
                    .environment
                    .started
                    .replace('T', " ")
                    .replace('Z', " UTC")
            )
        ),
    );
}

fn tiles(page: &mut String, report: &Report) {
    let latency = |value: Option<Duration>| match value {
        Some(value) => unit(&time(value)),
        None => "<small>too few</small>".to_owned(),
    };
    let rtt = &report.rtt;
    let none = || "<small>not at once</small>".to_owned();
    let rate = report.echoes_per_s().map(format::rate);
    let bytes = report.received_bytes_per_s().map(|per_s| per_s / 1e6);
    let tiles = [
        (
            "Echoes",
            rate.map_or_else(none, |rate| format!("{rate}<small>/s</small>")),
        ),
        (
            "Each way",
            bytes.map_or_else(none, |mb| format!("{mb:.2} <small>MB/s</small>")),
        ),
        ("Median", latency(rtt.percentile(0.5))),
        ("99th percentile", latency(rtt.percentile(0.99))),
        ("Longest", latency(rtt.max())),
        ("Loss", Share(report.counts.loss()).to_string()),
        ("Unsent", thousands(report.counts.unsent)),
    ];
    let has_rate = matches!(report.load, Some(Load::Rate { .. }));
    let tiles = &tiles[..tiles.len() - usize::from(!has_rate)];
    page.push_str("<dl class=\"tiles\">\n");
    for (name, value) in tiles {
        add(
            page,
            format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"),
        );
    }
    page.push_str("</dl>\n");
}

/// How it ended, on top.
pub(crate) fn banner(page: &mut String, ending: Ending, lines: &[String]) {
    let class = match ending {
        Ending::Passed => "good",
        Ending::Failed => "bad",
        Ending::CutShort => "note",
    };
    let name = ending.name();
    add(
        page,
        format_args!("<section class=\"banner {class}\"><strong>{name}</strong>"),
    );
    for line in lines {
        add(page, format_args!("<p>{}</p>", Escaped(line)));
    }
    page.push_str("</section>\n");
}

/// What to bear in mind.
fn told(page: &mut String, report: &Report) {
    if report.notes.is_empty() {
        return;
    }
    page.push_str("<ul class=\"told\">\n");
    for note in &report.notes {
        add(page, format_args!("<li>{}</li>\n", Escaped(note)));
    }
    page.push_str("</ul>\n");
}

fn books(page: &mut String, report: &Report) {
    let counts = &report.counts;
    let mut rows: Vec<(String, String)> = [
        ("sent", counts.sent),
        ("received", counts.received),
        ("right replies", counts.unique),
        ("lost", counts.lost),
        ("of these, dropped by this side's socket", counts.overflowed),
        ("late", counts.late),
        ("reordered", counts.reordered),
        ("duplicate", counts.duplicate),
        ("corrupt", counts.corrupt),
        ("truncated", counts.truncated),
        ("foreign", counts.foreign),
        ("left over 1 ms late", counts.delayed),
        ("due but never left", counts.unsent),
        ("connections", counts.connections),
        ("bytes sent", counts.sent_bytes),
        ("bytes received", counts.received_bytes),
    ]
    .map(|(name, count)| (name.to_owned(), thousands(count)))
    .into();
    for (kind, count) in &report.errors {
        rows.push((format!("connections failed: {kind}"), thousands(*count)));
    }
    if let Some(generator) = &report.generator {
        rows.push(("client threads".into(), generator.threads.to_string()));
        let cost = report.cpu_per_echo();
        rows.extend(cost.map(|cost| ("client CPU per echo".into(), time(cost))));
        let busy = |share| format!("{} of a core", Share(share));
        let busiest = generator.busiest_share.map(busy);
        rows.extend(busiest.map(|busy| ("busiest client thread".into(), busy)));
    }
    page.push_str("<section><h2>Books</h2>\n");
    pairs(page, &rows);
    page.push_str("</section>\n");
}

/// The machine, the command to type again, and the document.
fn made(page: &mut String, report: &Report) {
    let environment = &report.environment;
    let mut rows = vec![
        ("machine".to_owned(), environment.hostname.clone()),
        ("kernel".to_owned(), environment.kernel.clone()),
        ("cores".to_owned(), environment.cores.to_string()),
    ];
    let congestion = environment.congestion_control.clone();
    rows.extend(congestion.map(|name| ("congestion control".to_owned(), name)));
    page.push_str("<section><h2>How it was measured</h2>\n");
    let command: Vec<_> = report.command.iter().map(|word| quoted(word)).collect();
    let command = command.join(" ");
    add(page, format_args!("<pre>{}</pre>\n", Escaped(&command)));
    pairs(page, &rows);
    let document = STANDARD.encode(json(report));
    add(
        page,
        format_args!(
            "<p><a download=\"report.json\" href=\"data:application/json;base64,{document}\">\
             The whole document, as JSON</a></p></section>\n"
        ),
    );
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=./:,[]%+@".contains(c);
    match word.chars().all(is_plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn footer(page: &mut String, report: &Report) {
    let closed = match report.load {
        Some(Load::Closed { .. }) => {
            " In a closed loop each request waits for a reply: a slow server is asked less often, \
             so its slow moments are under-represented."
        }
        _ => "",
    };
    end(page, closed);
}

/// Says what made the page, and more where there is more to say.
pub(crate) fn end(page: &mut String, more: &str) {
    let version = env!("CARGO_PKG_VERSION");
    add(
        page,
        format_args!("<footer>echo-client {version}.{more}</footer>\n</html>\n"),
    );
}

fn pairs(page: &mut String, rows: &[(String, String)]) {
    page.push_str("<table class=\"pairs\"><tbody>\n");
    for (name, value) in rows {
        let (name, value) = (Escaped(name), Escaped(value));
        add(
            page,
            format_args!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n"),
        );
    }
    page.push_str("</tbody></table>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ErrorKind;
    use crate::report::{Fault, Latency, Second};

    fn report() -> Report {
        let mut report = Report {
            elapsed: Duration::from_millis(2500),
            service: Some(Latency::new()),
            fault: Some(Fault::new(ErrorKind::Reset, "<script>alert(1)</script>")),
            ..Report::default()
        };
        report.target.name = "\"><img src=x>".into();
        for us in 1..=1000 {
            report.rtt.record(Duration::from_micros(us));
        }
        report.seconds = (0..3)
            .map(|start_s| Second {
                start_s,
                echoes: 400,
                rtt_p99_ns: Some(990_000),
                lost: start_s,
                ..Second::default()
            })
            .collect();
        report
    }

    #[test]
    fn every_picture_has_its_table() {
        let page = html(&report());
        let count = |what: &str| page.matches(what).count();
        assert_eq!(count("<svg"), 5);
        assert_eq!(count("<details>"), 3, "what is over time has one");
        assert_eq!(count("aria-label="), 5);
    }

    #[test]
    fn the_command_can_be_copied_and_the_document_downloaded() {
        let mut report = report();
        report.command = ["echo-client", "--fail-if=p99>2ms", "it's"]
            .map(str::to_owned)
            .into();
        let page = html(&report);
        let command = "echo-client &#39;--fail-if=p99&gt;2ms&#39; &#39;it&#39;\\&#39;&#39;s&#39;";
        assert!(page.contains(&format!("<pre>{command}</pre>")), "{page}");
        let (_, link) = page.split_once("data:application/json;base64,").unwrap();
        let document = STANDARD.decode(link.split_once('"').unwrap().0).unwrap();
        assert_eq!(String::from_utf8(document).unwrap(), json(&report));
    }

    #[test]
    fn a_threshold_has_its_line_where_the_picture_is() {
        let mut report = report();
        let thresholds = "p99>2ms,max>1h,rate<100".parse().unwrap();
        report.conclude(Some(&thresholds), None);
        let page = html(&report);
        assert_eq!(page.matches("<path class=\"limit\"").count(), 3);
        assert!(page.contains("<span class=\"limit\">max &lt;= 1h</span>"));
    }

    #[test]
    fn nothing_is_loaded_and_no_text_becomes_markup() {
        let page = html(&report());
        for outside in [
            "http:", "https:", "url(", "@import", "<script", "<img", "src=",
        ] {
            let inside = page
                .replace("http-equiv", "")
                .replace("&quot;&gt;&lt;img src=x", "");
            assert!(!inside.contains(outside), "{outside} is in the page");
        }
    }

    #[test]
    fn no_coordinate_is_out_of_the_picture() {
        for report in [report(), Report::default()] {
            let page = html(&report);
            for bad in ["NaN", "inf", "-0.0", "=\"-"] {
                assert!(!page.contains(bad), "{bad} is in the page");
            }
        }
    }
}
