//! The text format of Prometheus, version 0.0.4.

use std::fmt::{self, Display, Write as _};

/// What a family of figures is.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts of what is no larger than each bound.
    Histogram,
}

/// Families of figures, one after the other.
#[derive(Debug, Default)]
pub struct Text(pub String);

impl Text {
    /// Adds a family: each figure with its labels, in braces, or none. Before those of a histogram
    /// goes which of its series it is, such as `_sum`.
    pub fn family<T: Display>(
        &mut self,
        name: &str,
        kind: Type,
        help: &str,
        figures: impl IntoIterator<Item = (String, T)>,
    ) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        // A string takes all that is written to it.
        let _ = write!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}\n");
        for (labels, figure) in figures {
            let _ = writeln!(self.0, "{name}{labels} {figure}");
        }
    }
}

/// The value of a label as it is written, with quotes.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a>(pub &'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '\n' => f.write_str("\\n")?,
                '"' | '\\' => write!(f, "\\{letter}")?,
                _ => f.write_char(letter)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_ends_where_its_value_does() {
        let label = Label("a\"b\\c\nd");
        assert_eq!(label.to_string(), "\"a\\\"b\\\\c\\nd\"");
    }
}
