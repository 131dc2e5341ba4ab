//! `cargo xtask bench`: the server beside its peers, in one run on one machine.

mod comparison;
mod contender;
mod correct;
mod embed;
mod facts;
mod lab;
mod machine;
mod matrix;
mod mesh;
mod pairs;
mod plan;
mod report;
mod table;
mod verdicts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::terminal::say;
use lab::Lab;
use plan::Plan;
use report::{Fact, Report};

/// What is measured, and how often.
#[derive(Args)]
pub struct Options {
    /// Only these parts; all of them when none is named
    #[arg(value_name = "PART", value_parser = PossibleValuesParser::new(parts()))]
    parts: Vec<String>,
    /// Times that every row is measured, all servers in turn each time
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Milliseconds that each load is measured for
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(200..=60_000))]
    time: u64,
    /// A first impression: three rounds of 300 ms, fewer connections
    #[arg(long, conflicts_with_all = ["rounds", "time"])]
    quick: bool,
    /// Only ask how often `echo-client bench` tells a server that is 5 % slower from one that is not
    #[arg(long, conflicts_with_all = ["parts", "rounds", "time", "quick"])]
    verdicts: bool,
    /// Only play a mesh of 10,000 nodes: who watches whom, and what it is to a monitor
    #[arg(long, conflicts_with_all = ["parts", "rounds", "time", "quick", "verdicts"])]
    mesh: bool,
    /// Also write the results as Markdown; a page with places marked for them keeps its own words
    #[arg(long, value_name = "FILE")]
    markdown: Vec<PathBuf>,
}

/// What is no ratio of two servers.
type Facts = fn(&Lab, &Options) -> Result<Vec<Fact>>;

const FACTS: &[(&str, Facts)] = &[
    ("idle", |lab, options| facts::idle(lab, options.quick)),
    ("burst", |lab, _| Ok(vec![facts::burst(lab)?])),
    ("stamps", |lab, _| Ok(vec![facts::stamps(lab)?])),
    ("mesh", |lab, options| mesh::cost(lab, options.quick)),
];

/// The names of all parts.
fn parts() -> Vec<String> {
    let plan = Plan::read();
    let rows = plan.rows.into_iter().map(|row| row.key);
    let pairs = plan.pairs.into_iter().map(|pair| pair.key);
    let facts = FACTS.iter().map(|(part, _)| (*part).to_owned());
    let correct = ["correct".to_owned()];
    let mut parts: Vec<_> = rows.chain(pairs).chain(facts).chain(correct).collect();
    parts.dedup();
    parts
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        let is_meant = self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part);
        is_meant && !self.verdicts && !self.mesh
    }
}

/// Measures what was asked for and prints one report.
pub fn run(mut options: Options) -> Result<()> {
    if options.quick {
        (options.rounds, options.time) = (3, 300);
    }
    let lab = Lab::open(options.rounds.into(), Duration::from_millis(options.time))?;
    let mut report = Report::new(&lab);

    for row in lab.plan.rows.iter().filter(|row| options.wants(&row.key)) {
        eprintln!("bench: {}", row.title);
        let measured = matrix::measure(&lab, row);
        report
            .rows
            .extend(report.failures.keep(&row.title, measured));
    }
    for pair in lab
        .plan
        .pairs
        .iter()
        .filter(|pair| options.wants(&pair.key))
    {
        let work = &pair.work;
        eprintln!("bench: {work}");
        let measured = pairs::measure(&lab, pair);
        report.pairs.extend(report.failures.keep(work, measured));
    }
    if options.wants("correct") {
        eprintln!("bench: who is correct");
        report.correct = correct::check_all(&lab);
    }
    for (part, measure) in FACTS {
        if options.wants(part) {
            eprintln!("bench: {part}");
            let measured = measure(&lab, &options);
            let facts = report.failures.keep(part, measured);
            report.facts.extend(facts.unwrap_or_default());
        }
    }
    if options.verdicts {
        let measured = report.failures.keep("verdicts", verdicts::measure(&lab));
        report.facts.extend(measured.unwrap_or_default());
    }
    if options.mesh {
        let played = report.failures.keep("mesh", mesh::play(&lab));
        report.facts.extend(played.unwrap_or_default());
    }

    say(report.markdown())?;
    for path in options.markdown {
        // A page that is not there yet has no words of its own.
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        write(&path, &report.page(&page))?;
    }
    report.verdict()
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
