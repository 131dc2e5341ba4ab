//! A table, as text for a terminal and as Markdown.

/// Rows of cells under a heading.
pub struct Table {
    heading: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. A column whose heading starts with a space is aligned to the right.
    pub fn new(heading: &[&'static str]) -> Self {
        Table {
            heading: heading.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as the heading has.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.heading.len());
        self.rows.push(cells);
    }

    /// Whether there is anything to show.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Aligned columns, a rule under the heading.
    pub fn text(&self) -> String {
        let heading: Vec<String> = self.heading.iter().map(|h| h.trim().to_owned()).collect();
        let width = |column: usize| {
            let cells = self
                .rows
                .iter()
                .chain([&heading])
                .map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heading.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                if self.is_right(column) {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)) + "\n";
        let body: String = self.rows.iter().map(|row| line(row)).collect();
        line(&heading) + &rule + &body
    }

    /// The same for a Markdown file.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let heading = line(self.heading.iter().map(|h| h.trim()).collect());
        let rule = (0..self.heading.len()).map(|i| if self.is_right(i) { "---:" } else { "---" });
        let rows = self
            .rows
            .iter()
            .map(|row| line(row.iter().map(String::as_str).collect()));
        heading + &line(rule.collect()) + &rows.collect::<String>()
    }

    fn is_right(&self, column: usize) -> bool {
        self.heading[column].starts_with(' ')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", " number"]);
        table.row(["µs".to_owned(), "7".to_owned()]);
        table.row(["longer".to_owned(), "1,000".to_owned()]);
        assert_eq!(
            table.text(),
            "name    number\n--------------\nµs           7\nlonger   1,000\n"
        );
        assert_eq!(
            table.markdown(),
            "| name | number |\n| --- | ---: |\n| µs | 7 |\n| longer | 1,000 |\n"
        );
    }
}
