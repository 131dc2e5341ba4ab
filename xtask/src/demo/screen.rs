//! What the demo prints, as a terminal shows it: SVG.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result};

use super::picture::xml;
use crate::process;
use crate::terminal::Terminal;

/// The demo takes about two seconds, and a build before it has been done.
const LIMIT: Duration = Duration::from_secs(60);

/// A column's and a line's size, and the margin, in pixels.
const CELL: (f32, i32) = (8.4, 19);
const MARGIN: i32 = 24;
const TITLE_BAR: i32 = 38;

const STYLE: &str = "\
text{font:14px ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d1d7e0;\
white-space:pre}\
.b{font-weight:700;fill:#f0f6fc}.d{fill:#9198a1}.g{fill:#3fb950}.r{fill:#f85149;font-weight:700}\
.y{fill:#d29922}.c{fill:#56d4dd}.m{font-weight:700;fill:#56d4dd}";

/// Runs this program with `args` and in colour, shows what it prints, and draws that to `path`.
pub fn shoot(out: Terminal, args: &[&str], path: &Path) -> Result<()> {
    let mut command = Command::new(env::current_exe().context("where is this program?")?);
    let stdout = process::run(command.args(args).env("CLICOLOR_FORCE", "1"), LIMIT)?.success()?;
    let text = String::from_utf8_lossy(&stdout);
    let title = format!("cargo xtask {}", args.join(" "));
    fs::write(path, draw(&title, &text))
        .with_context(|| format!("cannot write the picture {}", path.display()))?;
    out.line(text.trim_end())
}

fn draw(title: &str, text: &str) -> String {
    let lines: Vec<Vec<Span>> = text.trim_matches('\n').lines().map(spans).collect();
    let columns = lines
        .iter()
        .map(|line| columns(line))
        .max()
        .unwrap_or(0)
        .max(80);
    let width = (columns as f32 * CELL.0) as i32 + 2 * MARGIN;
    let height = TITLE_BAR + lines.len() as i32 * CELL.1 + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<rect x=\"1\" y=\"1\" width=\"{}\" height=\"{}\" rx=\"12\" \
         fill=\"#0d1117\" stroke=\"#3d444d\"/>\n\
         <circle cx=\"26\" cy=\"22\" r=\"6\" fill=\"#ff5f57\"/>\
         <circle cx=\"47\" cy=\"22\" r=\"6\" fill=\"#febc2e\"/>\
         <circle cx=\"68\" cy=\"22\" r=\"6\" fill=\"#28c840\"/>\n\
         <text class=\"d\" x=\"{}\" y=\"27\" text-anchor=\"middle\">{title}</text>\n",
        width - 2,
        height - 2,
        width / 2,
    );
    for (row, line) in (1..).zip(&lines) {
        let y = TITLE_BAR + MARGIN + row * CELL.1 - 5;
        let mut column = 0;
        for span in line {
            let count = span.text.chars().count();
            if !span.text.trim().is_empty() {
                // Each letter keeps its column, whatever the font.
                let _ = writeln!(
                    svg,
                    "<text class=\"{}\" x=\"{:.1}\" y=\"{y}\" textLength=\"{:.1}\" \
                     lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\">{}</text>",
                    span.class,
                    MARGIN as f32 + column as f32 * CELL.0,
                    count as f32 * CELL.0,
                    xml(&span.text)
                );
            }
            column += count;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Text in one style.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    class: &'static str,
    text: String,
}

fn columns(line: &[Span]) -> usize {
    line.iter().map(|span| span.text.chars().count()).sum()
}

/// A line cut where its style changes.
fn spans(line: &str) -> Vec<Span> {
    let mut parts = line.split("\x1b[");
    let plain = parts.next().unwrap_or("");
    let first = Span {
        class: "",
        text: plain.to_owned(),
    };
    let styled = parts.filter_map(|part| {
        let (code, text) = part.split_once('m')?;
        let text = text.to_owned();
        let class = class(code);
        Some(Span { class, text })
    });
    [first].into_iter().chain(styled).collect()
}

/// The class of a style that this program or the two it shows print.
fn class(code: &str) -> &'static str {
    match code {
        "1" => "b",
        "2" => "d",
        "32" => "g",
        "1;31" => "r",
        "33" => "y",
        "36" => "c",
        "1;36" => "m",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_its_style_changes() {
        let span = |class, text: &str| Span {
            class,
            text: text.to_owned(),
        };
        assert_eq!(
            spans("a \x1b[1;31mbad\x1b[0m end"),
            [span("", "a "), span("r", "bad"), span("", " end")]
        );
        let svg = draw("t", "\x1b[32m<ok>\x1b[0m");
        assert!(svg.contains("&lt;ok&gt;") && !svg.contains('\x1b'), "{svg}");
    }
}
