//! A diagnosis as one page, with a picture of the path.

use askama::Template;
use echo_core::Zoned;

use super::diagnosis::Diagnosis;
use super::finding::Finding;
use super::text;
use super::verdict::shown;
use super::words::Words;
use crate::report::html::{Card, Page};

/// The path: this end, whoever answers on the way, the server.
#[derive(Template)]
#[template(path = "path.svg")]
struct Picture {
    description: String,
    stops: Vec<Stop>,
    /// The most that was found at one of them.
    lines: usize,
}

/// Somebody on the path, and what was found there.
struct Stop {
    name: String,
    address: String,
    told: Vec<String>,
    is_bad: bool,
}

/// The page.
pub fn html(diagnosis: &Diagnosis<'_>, words: &Words) -> String {
    let card = |finding: &Finding| Card {
        heading: words.title(finding),
        text: [
            words.evidence(finding),
            words.say(finding, "means"),
            words.say(finding, "next"),
        ]
        .join("\n\n"),
        ..Card::default()
    };
    let mut cards: Vec<Card> = diagnosis.findings.iter().map(card).collect();
    let steps = diagnosis.steps.iter().map(|step| text::step(step, words));
    cards.push(Card {
        heading: words.phrase("What was done"),
        command: steps.collect::<Vec<_>>().join("\n"),
        ..Card::default()
    });
    let page = Page {
        lang: words.lang,
        heading: format!("diagnose {}", diagnosis.path.connect.target),
        about: text::cost(diagnosis, words),
        result: diagnosis.outcome.result,
        reasons: vec![text::verdict(diagnosis, words)],
        picture: picture(diagnosis, words),
        cards,
        document: diagnosis.json(),
        ..Page::default()
    };
    page.html()
}

fn picture(diagnosis: &Diagnosis<'_>, words: &Words) -> String {
    let server = diagnosis.path.remote.map(|remote| Zoned(remote).ip());
    let server = server.unwrap_or_default();
    let mut stops = vec![("this machine".to_owned(), String::new())];
    for hop in &diagnosis.path.hops {
        let address = hop
            .address
            .map_or("?".to_owned(), |address| address.to_string());
        let rtt = hop
            .rtt_ns
            .map_or(String::new(), |rtt| format!(" {}", shown(rtt)));
        if address != server {
            stops.push((format!("{}{rtt}", hop.ttl), address));
        }
    }
    stops.push(("target".to_owned(), server));
    let place = |finding: &Finding| {
        let place = finding.place.as_deref();
        let is_there = |(name, address): &(String, String)| {
            [name.as_str(), address]
                .into_iter()
                .any(|one| Some(one) == place)
        };
        stops.iter().position(is_there).unwrap_or(stops.len() - 1)
    };
    let stop = |(at, (name, address)): (usize, &(String, String))| {
        let found = diagnosis
            .findings
            .iter()
            .filter(|finding| place(finding) == at);
        Stop {
            name: words.phrase(name),
            address: address.clone(),
            is_bad: found.clone().any(Finding::is_problem),
            told: found.map(|finding| finding.verdict.to_string()).collect(),
        }
    };
    let stops: Vec<Stop> = stops.iter().enumerate().map(stop).collect();
    let picture = Picture {
        description: words.phrase("the path, from this machine to the target"),
        lines: stops.iter().map(|stop| stop.told.len()).max().unwrap_or(0),
        stops,
    };
    // Only a value's own formatting can fail, and that of texts and numbers does not.
    picture.render().unwrap_or_default()
}
