//! A comparison as one page: a table, a curve for each target, and every round.

use super::comparison::{Comparison, Row};
use super::text::told;
use crate::report::html::{
    Axis, Escaped, Plot, add, banner, begin, by_percentile, cells, end, percentile_table, table,
};

/// Curves that can be told apart.
const COLOURS: usize = 6;

/// The page.
pub fn html(comparison: &Comparison) -> String {
    let title = comparison.title();
    let mut page = begin(&format!("compare {}", comparison.names.join(", ")));
    let names = Escaped(&comparison.names.join(" · ")).to_string();
    add(
        &mut page,
        format_args!("<header><h1>{names}</h1>\n<p>{title}</p></header>\n<main>\n"),
    );
    let reasons = comparison.outcome.told(&[]);
    banner(&mut page, comparison.outcome.result, &reasons);
    page.push_str("<div class=\"cards\">\n");
    figures(&mut page, comparison);
    percentiles(&mut page, comparison);
    for row in &comparison.rows {
        strips(&mut page, comparison, row);
    }
    page.push_str("</div>\n</main>\n");
    end(&mut page, "");
    page
}

fn figures(page: &mut String, comparison: &Comparison) {
    let rows: Vec<Vec<String>> = comparison.lines(|row, name, cell| {
        let value = row.figure.shown(cell.value).to_string();
        let mut line = vec![row.figure.name().to_owned(), name.to_owned(), value];
        line.extend(told(row, cell));
        line
    });
    page.push_str(
        "<section><h2>Figures</h2>\n<p>The middle of the rounds, its ratio to that of the first \
         target, and where the ratio lies with 95 % confidence.</p>\n",
    );
    let heads = ["Figure", "Target", "Measured", "Ratio", "Verdict"];
    cells(page, &heads, &rows);
    page.push_str("</section>\n");
}

fn percentiles(page: &mut String, comparison: &Comparison) {
    let latencies: Vec<_> = comparison
        .targets
        .iter()
        .map(|target| &target.rtt)
        .collect();
    if latencies.iter().all(|latency| latency.is_empty()) {
        return;
    }
    let curves = latencies.iter().enumerate();
    let curves: Vec<_> = curves
        .map(|(i, latency)| (colour("curve", i), *latency))
        .collect();
    let (plot, _) = by_percentile(&curves, &[]);
    page.push_str("<section><h2>Latency by percentile</h2>\n");
    legend(page, comparison);
    page.push_str(
        &plot.draw("Curves of round-trip time by percentile; the table has their values"),
    );
    let names: Vec<_> = comparison.names.iter().map(String::as_str).collect();
    percentile_table(page, &names, &latencies);
    page.push_str("</section>\n");
}

/// Each round of each target as a stroke, and their middle as a thick one: what a difference has to
/// stand out from.
fn strips(page: &mut String, comparison: &Comparison, row: &Row) {
    let values = || {
        row.cells
            .iter()
            .flat_map(|cell| cell.rounds.iter().copied())
    };
    let (low, high) = (
        values().fold(f64::MAX, f64::min),
        values().fold(0.0, f64::max),
    );
    let shown = |value: f64| row.figure.shown(value).to_string();
    let numbers = (1..=row.cells.len()).map(|number| number.to_string());
    let mut plot = Plot::new(
        Axis::around(low, high, |value| row.figure.short(value)),
        Axis::rows(numbers),
    );
    let mut rows = Vec::new();
    for (i, (name, cell)) in comparison.names.iter().zip(&row.cells).enumerate() {
        let (bottom, top) = (-(i as f64) - 0.8, -(i as f64) - 0.2);
        for value in &cell.rounds {
            plot.stroke(&colour("stroke", i), *value, bottom, top);
        }
        plot.stroke(
            &colour("stroke middle", i),
            cell.value,
            bottom - 0.1,
            top + 0.1,
        );
        let rounds = cell.rounds.iter().enumerate();
        rows.extend(
            rounds.map(|(round, value)| vec![name.clone(), (round + 1).to_string(), shown(*value)]),
        );
    }
    let name = row.figure.name();
    add(
        page,
        format_args!("<section><h2>Every round: {name}</h2>\n"),
    );
    legend(page, comparison);
    page.push_str(&plot.draw("A stroke for each round of each target; the table has their values"));
    table(page, &["Target", "Round", name], &rows);
    page.push_str("</section>\n");
}

fn legend(page: &mut String, comparison: &Comparison) {
    page.push_str("<p class=\"legend\">");
    for (i, name) in comparison.names.iter().enumerate() {
        let (class, name) = (colour("", i), Escaped(name));
        add(
            page,
            format_args!("<span class=\"{class}\">{} {name}</span>", i + 1),
        );
    }
    page.push_str("</p>\n");
}

fn colour(class: &str, target: usize) -> String {
    format!("{class} c{}", target % COLOURS)
}
