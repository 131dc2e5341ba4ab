//! A diagnosis as one page, with a picture of the path.

use askama::Template;
use echo_explain::{Phrases, Texts};

use super::diagnosis::Diagnosis;
use super::finding::{Finding, Kind};
use crate::report::format::time;
use crate::report::html::{Card, Page};

/// From one stop to the next, and from one line below a stop to the next.
const STEP: usize = 190;
const LINE: usize = 18;
/// Where the first of those lines is.
const TOLD: usize = 86;

/// The path: this end, whoever answers on the way, the server.
#[derive(Template)]
#[template(path = "path.svg")]
struct Picture {
    description: String,
    width: usize,
    height: usize,
    start: usize,
    end: usize,
    stops: Vec<Stop>,
}

/// Somebody on the path, and what was found there.
struct Stop {
    x: usize,
    name: String,
    address: String,
    told: Vec<(usize, String)>,
    class: &'static str,
}

/// The page.
pub fn html(diagnosis: &Diagnosis, phrases: &Phrases, texts: &Texts) -> String {
    let said = |text: &str| phrases.say(text);
    let mut cards: Vec<Card> = diagnosis
        .findings
        .iter()
        .map(|finding| card(finding, phrases, texts))
        .collect();
    let steps = diagnosis.steps.iter().map(|step| step.line(phrases));
    cards.push(Card {
        heading: said("What was done"),
        command: steps.collect::<Vec<_>>().join("\n"),
        ..Card::default()
    });
    let (sent, received) = (diagnosis.sent_bytes, diagnosis.received_bytes);
    let page = Page {
        title: format!("diagnose {}", diagnosis.target),
        heading: format!("diagnose {}", diagnosis.target),
        about: said(&super::text::cost(sent, received, diagnosis.elapsed)),
        outcome: &diagnosis.outcome,
        reasons: vec![said(&super::text::verdict(diagnosis))],
        picture: picture(diagnosis, phrases),
        tiles: Vec::new(),
        notes: &[],
        cards,
        document: diagnosis.json(),
        footer: "",
    };
    page.html()
}

fn card(finding: &Finding, phrases: &Phrases, texts: &Texts) -> Card {
    let parts = [
        finding.evidence(phrases),
        finding.means(texts),
        finding.next(texts),
    ];
    Card {
        heading: format!("{}: {}", finding.verdict, finding.title(texts)),
        text: parts.join("\n\n"),
        ..Card::default()
    }
}

fn picture(diagnosis: &Diagnosis, phrases: &Phrases) -> String {
    let server = diagnosis.address.clone().unwrap_or_default();
    let server_ip = server.rsplit_once(':').map_or("", |(ip, _)| ip);
    let server_ip = server_ip.trim_matches(['[', ']']);
    let mut stops = vec![(phrases.say("this machine"), String::new())];
    for hop in &diagnosis.hops {
        let address = hop
            .address
            .map_or("?".to_owned(), |address| address.to_string());
        if address != server_ip {
            let rtt = hop
                .rtt
                .map_or(String::new(), |rtt| format!(" {}", time(rtt)));
            stops.push((format!("{}{rtt}", hop.ttl), address));
        }
    }
    stops.push((phrases.say("target"), server_ip.to_owned()));
    let last = stops.len() - 1;
    let place = |finding: &Finding| {
        let place = finding.place.as_deref().unwrap_or_default();
        let at = stops.iter().position(|(_, address)| address == place);
        at.filter(|_| !place.is_empty()).unwrap_or(last)
    };
    let stop = |(at, (name, address)): (usize, &(String, String))| {
        let here = diagnosis
            .findings
            .iter()
            .filter(|finding| place(finding) == at);
        let here: Vec<&Finding> = here.collect();
        let is_bad = here.iter().any(|finding| finding.kind == Kind::Problem);
        let told = here.iter().enumerate();
        Stop {
            x: STEP / 2 + at * STEP,
            name: name.clone(),
            address: address.clone(),
            told: told
                .map(|(line, finding)| (TOLD + line * LINE, finding.verdict.to_string()))
                .collect(),
            class: if is_bad { "stop bad" } else { "stop" },
        }
    };
    let stops: Vec<Stop> = stops.iter().enumerate().map(stop).collect();
    let lines = stops.iter().map(|stop| stop.told.len()).max().unwrap_or(0);
    let picture = Picture {
        description: phrases.say("the path, from this machine to the target"),
        width: STEP * stops.len(),
        height: TOLD + lines * LINE,
        start: STEP / 2,
        end: STEP / 2 + last * STEP,
        stops,
    };
    // Only a value's own formatting can fail, and that of texts and numbers does not.
    picture.render().unwrap_or_default()
}
