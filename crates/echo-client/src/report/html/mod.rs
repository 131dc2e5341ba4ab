//! A report as one page that needs nothing else: no script, no font, no network.

mod figures;
mod plot;

use std::time::Duration;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use echo_explain::{Lang, Phrases};

use super::format::{self, Share, thousands, time};
use super::text::measured;
use super::{Ending, Load, Mode, Report, Table, held, json};
pub(crate) use figures::by_percentile;
pub(crate) use plot::{Axis, Plot};

/// What a page shows, from top to bottom.
#[derive(Default, Template)]
#[template(path = "page.html")]
pub(crate) struct Page<'a> {
    /// In which language it is told.
    pub lang: Lang,
    /// What was done, to whom.
    pub heading: String,
    /// How, and when.
    pub about: String,
    /// How it ended.
    pub result: Ending,
    /// Why, in lines.
    pub reasons: Vec<String>,
    /// A picture of its own, as SVG.
    pub picture: String,
    /// The most important figures: name, value and unit.
    pub tiles: Vec<(&'static str, String, String)>,
    /// What to bear in mind.
    pub notes: &'a [String],
    /// All else.
    pub cards: Vec<Card>,
    /// The document that the page is made of.
    pub document: String,
}

/// A part of a page: pictures with the table of their values, or a table alone.
#[derive(Default)]
pub(crate) struct Card {
    pub heading: String,
    pub text: String,
    /// What can be typed again.
    pub command: String,
    pub plots: Vec<Plot>,
    pub table: Table,
}

impl Card {
    /// Pictures, and the table of their values.
    pub fn drawn(heading: impl Into<String>, plots: Vec<Plot>, table: Table) -> Self {
        Card {
            heading: heading.into(),
            plots,
            table,
            ..Card::default()
        }
    }

    /// Whether it takes the whole width: for several pictures, or a table that is not folded away.
    fn is_wide(&self) -> bool {
        let has_columns = !self.table.heads.is_empty();
        self.plots.len() > 1 || (self.plots.is_empty() && has_columns)
    }
}

impl Page<'_> {
    /// The page as HTML.
    pub fn html(&self) -> String {
        // Only a value's own formatting can fail, and that of texts and numbers does not.
        self.render().unwrap_or_default()
    }

    fn said(&self, english: &str) -> String {
        Phrases::of(self.lang).say(english)
    }

    fn link(&self) -> String {
        self.said("The whole document, as JSON")
    }

    fn encoded(&self) -> String {
        STANDARD.encode(&self.document)
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// The page of a report.
pub fn html(report: &Report) -> String {
    let run = format!("{} {}", report.mode, report.target.name);
    let mut reasons = report.outcome.told(&report.verdicts);
    reasons.extend(held(&report.verdicts));
    let has_sent = report.counts.sent > 0;
    let mut cards = Vec::new();
    if !report.rtt.is_empty() {
        cards.extend([figures::percentiles(report), figures::histogram(report)]);
    }
    cards.extend(figures::ways(report));
    cards.extend(report.curve.as_ref().map(figures::by_rate));
    if !report.seconds.is_empty() {
        cards.push(figures::over_time(report));
    }
    cards.extend(has_sent.then(|| Card {
        heading: "In words".into(),
        text: measured(report).join("\n"),
        ..Card::default()
    }));
    cards.push(made(report));
    let page = Page {
        lang: Lang::En,
        heading: match report.machines.len() {
            0 | 1 => run,
            runs => format!("{runs} runs of {run}"),
        },
        about: about(report),
        result: report.outcome.result,
        reasons,
        tiles: if has_sent { tiles(report) } else { Vec::new() },
        notes: &report.notes,
        cards,
        document: json(report),
        ..Page::default()
    };
    page.html()
}

fn about(report: &Report) -> String {
    let how = match report.load {
        Some(load) => load.to_string(),
        None if report.mode == Mode::Send => "one message".to_owned(),
        None => "one at a time".to_owned(),
    };
    let elapsed = report.elapsed.as_secs_f64();
    let begun = report.environment.started.replace('T', " ");
    let begun = begun.replace('Z', " UTC");
    let target = report.target.told();
    format!("{target}, {how}, {elapsed:.1} s, begun {begun}")
}

fn tiles(report: &Report) -> Vec<(&'static str, String, String)> {
    let latency = |value: Option<Duration>| value.map_or(" too few".to_owned(), time);
    let rate = |value: Option<String>| value.unwrap_or(" not at once".to_owned());
    let rtt = &report.rtt;
    let echoes = report.echoes_per_s();
    let bytes = report.received_bytes_per_s();
    let mut tiles = vec![
        (
            "Echoes",
            rate(echoes.map(|r| format!("{} /s", format::rate(r)))),
        ),
        ("Each way", rate(bytes.map(format::bytes_per_s))),
        ("Median", latency(rtt.percentile(0.5))),
        ("99th percentile", latency(rtt.percentile(0.99))),
        ("Longest", latency(rtt.max())),
        ("Loss", Share(report.counts.loss()).to_string()),
    ];
    if let Some(Load::Rate { .. }) = report.load {
        tiles.push(("Unsent", thousands(report.counts.unsent)));
    }
    let parts = |(name, text): (&'static str, String)| match text.split_once(' ') {
        Some((value, unit)) => (name, value.to_owned(), format!(" {unit}")),
        None => (name, text, String::new()),
    };
    tiles.into_iter().map(parts).collect()
}

/// The machine, and the command to type again.
pub(crate) fn made(report: &Report) -> Card {
    let environment = &report.environment;
    let mut rows = vec![
        ["machine".to_owned(), environment.hostname.clone()],
        ["kernel".to_owned(), environment.kernel.clone()],
        ["cores".to_owned(), environment.cores.to_string()],
    ];
    let congestion = environment.congestion_control.clone();
    rows.extend(congestion.map(|name| ["congestion control".to_owned(), name]));
    let words: Vec<_> = report.command.iter().map(|word| quoted(word)).collect();
    Card {
        heading: match report.machines.len() {
            0 | 1 => "How it was measured".into(),
            _ => "How the first of the runs was measured".into(),
        },
        command: words.join(" "),
        table: Table {
            heads: Vec::new(),
            rows: rows.into_iter().map(Vec::from).collect(),
        },
        ..Card::default()
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=./:,[]%+@".contains(c);
    match word.chars().all(is_plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ErrorKind;
    use crate::report::{Fault, Latencies, Part, Second, Span};

    fn report() -> Report {
        let mut service = Latencies::default();
        service.of(Span::Service);
        let mut report = Report {
            elapsed: Duration::from_millis(2500),
            others: service,
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
    fn the_page_of_several_machines_says_so_and_draws_nothing_that_is_not_known() {
        let mut report = report();
        report.machines = vec![Part::default(); 3];
        for second in &mut report.seconds {
            second.rtt_p99_ns = None;
        }
        let page = html(&report);
        assert!(page.contains("3 runs of ping"), "the heading");
        assert!(page.contains("How the first of the runs was measured"));
        assert!(!page.contains("Latency over time"), "there is none");
    }

    #[test]
    fn the_command_can_be_copied_and_the_document_downloaded() {
        let mut report = report();
        report.command = ["echo-client", "--fail-if=p99>2ms", "it's"]
            .map(str::to_owned)
            .into();
        let page = html(&report);
        let command = "echo-client &#39;--fail-if=p99&#62;2ms&#39; &#39;it&#39;\\&#39;&#39;s&#39;";
        assert!(page.contains(&format!("<pre>{command}</pre>")));
        let (_, link) = page.split_once("data:application/json;base64,").unwrap();
        let document = STANDARD.decode(link.split_once('"').unwrap().0).unwrap();
        assert_eq!(String::from_utf8(document).unwrap(), json(&report));
    }

    #[test]
    fn a_threshold_has_its_line_where_the_picture_is() {
        let mut report = report();
        // Of the last three there is no picture.
        let others = "server-cpu>500us,connect-p99>500us,mdev>500us";
        let thresholds = format!("p99>2ms,max>1h,rate<100,{others}").parse().unwrap();
        report.conclude(Some(&thresholds), None);
        let page = html(&report);
        assert_eq!(page.matches("<path class=\"limit\"").count(), 3);
        assert!(page.contains("<span class=\"limit\">max &#60;= 1h</span>"));
    }

    #[test]
    fn nothing_is_loaded_and_no_text_becomes_markup() {
        let page = html(&report());
        for outside in [
            "http:", "https:", "url(", "@import", "<script", "<img", "src=",
        ] {
            let inside = page
                .replace("http-equiv", "")
                .replace("&#34;&#62;&#60;img src=x", "");
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
