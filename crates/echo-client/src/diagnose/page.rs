//! A diagnosis as one page, with a picture of the path.

use askama::Template;
use echo_core::Zoned;

use super::finding::Kind;
use super::path::{Done, Path};
use super::verdict::shown;
use super::words::Words;
use super::{document, text};
use crate::report::html::{Card, Page};
use crate::report::{Outcome, Table};

/// The path: this end, whoever answers on the way, the server.
#[derive(Template)]
#[template(path = "path.svg")]
struct Picture {
    description: String,
    stops: Vec<Stop>,
    /// What was found of which nobody knows between whom it happens.
    way: Stop,
    /// The most that was found at one of them.
    lines: usize,
}

/// Somebody on the path, and what was found there.
#[derive(Default)]
struct Stop {
    name: String,
    address: String,
    /// Each in a word, and whether it is wrong.
    told: Vec<(String, bool)>,
    is_bad: bool,
}

/// The page.
pub fn html(path: &Path<'_>, outcome: &Outcome, words: &Words) -> String {
    let found = path.findings.all().iter().map(|finding| Card {
        heading: words.title(finding),
        text: words.paragraphs(finding).join("\n\n"),
        ..Card::default()
    });
    let step = |step: &Done| vec![step.name.to_owned(), text::told(step, words)];
    let heads = ["step", "what came of it"].map(|head| words.phrase(head));
    let mut steps = Table::new(&heads.each_ref().map(String::as_str));
    steps.rows.extend(path.steps.iter().map(step));
    let done = Card::drawn(words.phrase("What was done"), Vec::new(), steps);
    let page = Page {
        lang: words.lang,
        heading: format!("diagnose {}", path.connect.target),
        about: text::cost(path, words),
        result: outcome.result,
        reasons: vec![text::verdict(path, words)],
        picture: picture(path, words),
        cards: found.chain([done]).collect(),
        document: document::json(path, outcome),
        ..Page::default()
    };
    page.html()
}

fn picture(path: &Path<'_>, words: &Words) -> String {
    let stop = |name: String, address: String| Stop {
        name,
        address,
        ..Stop::default()
    };
    let server = path.remote.map(|remote| Zoned(remote).ip());
    let server = server.unwrap_or_default();
    let mut stops = vec![stop("this machine".to_owned(), String::new())];
    for hop in &path.hops {
        let address = hop.address.map(|address| address.to_string());
        let address = address.unwrap_or_else(|| "?".to_owned());
        let rtt = hop.rtt_ns.map(|rtt| format!(" {}", shown(rtt)));
        if address != server {
            let name = format!("{}{}", hop.ttl, rtt.unwrap_or_default());
            stops.push(stop(name, address));
        }
    }
    stops.push(stop("target".to_owned(), server));
    let mut way = Stop::default();
    // What could not be judged happens nowhere.
    let found = path.findings.all().iter();
    for finding in found.filter(|finding| finding.kind != Kind::Unknown) {
        let is_there = |stop: &Stop| {
            [&stop.name, &stop.address]
                .map(Some)
                .contains(&finding.place())
        };
        let at = match stops.iter().position(is_there) {
            None if finding.verdict.is_of_target() => Some(stops.len() - 1),
            known => known,
        };
        let at = at.map_or(&mut way, |at| &mut stops[at]);
        at.is_bad |= finding.is_problem();
        at.told
            .push((finding.verdict.to_string(), finding.is_problem()));
    }
    if !way.told.is_empty() {
        // It stands below the middle, where a hop may be that has nothing to do with it.
        way.told
            .insert(0, (words.phrase("anywhere on the way:"), false));
    }
    for stop in &mut stops {
        stop.name = words.phrase(&stop.name);
    }
    let picture = Picture {
        description: words.phrase("the path, from this machine to the target"),
        lines: stops.iter().map(|stop| stop.told.len()).max().unwrap_or(0),
        stops,
        way,
    };
    // Only a value's own formatting can fail, and that of texts and numbers does not.
    picture.render().unwrap_or_default()
}
