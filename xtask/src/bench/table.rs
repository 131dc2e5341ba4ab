//! A table in Markdown, which reads well on a terminal, too.

/// Rows of cells under a heading.
pub struct Table {
    /// Whether each column is aligned to the right.
    right: Vec<bool>,
    /// The heading, and then all others.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table. A column whose heading starts with a space is aligned to the right.
    pub fn new(heading: &[&str]) -> Self {
        Table {
            right: heading.iter().map(|cell| cell.starts_with(' ')).collect(),
            rows: vec![heading.iter().map(|cell| cell.trim().to_owned()).collect()],
        }
    }

    /// Adds a row of as many cells as the heading has.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.right.len());
        self.rows.push(cells);
    }

    /// Whether there is anything to show.
    pub fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// All of it, its columns as wide as their widest cells.
    pub fn markdown(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let line = |cells: &[String]| {
            let columns = cells.iter().zip(&widths).zip(&self.right);
            let padded = columns.map(|((cell, width), right)| match right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };
        let dashes = widths.iter().zip(&self.right).map(|(width, right)| {
            let dashes = "-".repeat(width - usize::from(*right));
            dashes + if *right { ":" } else { "" }
        });
        let rule = line(&dashes.collect::<Vec<_>>());
        let mut lines: Vec<String> = self.rows.iter().map(|row| line(row)).collect();
        lines.insert(1, rule);
        lines.concat()
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
            table.markdown(),
            "| name   | number |\n| ------ | -----: |\n| µs     |      7 |\n| longer |  1,000 |\n"
        );
    }
}
