//! A comparison as one page: a table, a curve for each target, and every round.

use super::comparison::{Comparison, Figure};
use crate::report::html::{Axis, Card, Page, Plot, by_percentile, made};
use crate::report::{Latency, Metric, Table};
use echo_explain::Lang;

/// Curves that can be told apart.
const COLOURS: usize = 6;

/// The page.
pub fn html(comparison: &Comparison) -> String {
    let names = &comparison.names;
    let mut cards = vec![Card {
        text: "The middle of the rounds, its ratio to that of the first target, and where the \
               ratio lies with 95 % confidence."
            .into(),
        ..Card::drawn("Figures", Vec::new(), comparison.table())
    }];
    let targets = comparison.targets.iter().zip(names).enumerate();
    let latencies: Vec<(String, &str, &Latency)> = targets
        .map(|(i, (target, name))| (colour("curve", i), name.as_str(), &target.rtt))
        .collect();
    if latencies.iter().any(|(_, _, latency)| !latency.is_empty()) {
        cards.push(by_percentile(&latencies, &[]));
    }
    for metric in Metric::COMPARED {
        let figures = comparison.figures.iter().filter(|f| f.metric == metric);
        let figures: Vec<&Figure> = figures.collect();
        cards.extend((!figures.is_empty()).then(|| strips(metric, names, &figures)));
    }
    // What was measured in turn was measured by one command.
    let mut all: Vec<Card> = comparison.targets.iter().map(made).collect();
    all.dedup_by(|one, other| one.command == other.command);
    cards.extend(all);
    let page = Page {
        lang: Lang::En,
        heading: names.join(" · "),
        about: comparison.title(),
        result: comparison.outcome.result,
        reasons: [comparison.outcome.told(&[]), comparison.held()].concat(),
        notes: &comparison.notes(),
        cards,
        document: comparison.json(),
        ..Page::default()
    };
    page.html()
}

/// Each round of each target as a stroke, and their middle as a thick one: what a difference has to
/// stand out from.
fn strips(metric: Metric, names: &[String], figures: &[&Figure]) -> Card {
    let values = figures.iter().flat_map(|figure| &figure.rounds);
    let (low, high) = values.fold((f64::MAX, 0.0), |(low, high), value| {
        (value.min(low), value.max(high))
    });
    let shown = |value| metric.unit().shown(value, 4);
    let mut plot = Plot::new(
        "A stroke for each round of each target",
        Axis::linear(low, high, |value| metric.unit().shown(value, 3)),
        Axis::rows(figures.len()),
    );
    let mut table = Table::new(&["Target", "Round", &metric.to_string()]);
    for (i, (name, figure)) in names.iter().zip(figures).enumerate() {
        let stroke = |value, beyond| {
            let row = -(i as f64);
            [(value, row - 0.8 - beyond), (value, row - 0.2 + beyond)]
        };
        for (round, value) in (1..).zip(&figure.rounds) {
            plot.line(&colour("stroke", i), &stroke(*value, 0.0));
            let row: [String; 3] = [name.clone(), i32::to_string(&round), shown(*value)];
            table.rows.push(row.into());
        }
        let (class, name) = (colour("stroke middle", i), format!("{} {name}", i + 1));
        plot.curve(&class, &name, &stroke(figure.value, 0.1));
    }
    Card::drawn(format!("Every round: {metric}"), vec![plot], table)
}

fn colour(class: &str, target: usize) -> String {
    format!("{class} c{}", target % COLOURS)
}
