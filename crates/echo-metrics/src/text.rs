//! The text format of Prometheus, version 0.0.4.

use std::fmt::{self, Display, Write as _};

use echo_core::release::{COMMIT, target};

/// Families of figures, one after the other.
#[derive(Debug, Default)]
pub struct Text(pub String);

impl Text {
    /// Adds a family: each figure with its labels, in braces, or none. As everywhere with Prometheus, a
    /// name that ends in `_total` is that of a counter; any other is a gauge.
    pub fn family(&mut self, name: &str, help: &str, figures: &[(String, f64)]) {
        let kind = match name.ends_with("_total") {
            true => "counter",
            false => "gauge",
        };
        self.add(name, kind, help, figures);
    }

    /// Adds a histogram. Before the labels of each figure goes which of its series it is, such as `_sum`.
    pub fn histogram(&mut self, name: &str, help: &str, figures: &[(String, f64)]) {
        self.add(name, "histogram", help, figures);
    }

    /// Adds a figure that has a family for itself.
    pub fn one(&mut self, name: &str, help: &str, figure: f64) {
        self.family(name, help, &[(String::new(), figure)]);
    }

    /// Adds which program this is, of that `version`.
    pub fn build_info(&mut self, name: &str, version: &str) {
        let target = target();
        let labels = format!("{{version=\"{version}\",commit=\"{COMMIT}\",target=\"{target}\"}}");
        self.family(name, "Which program this is; always 1", &[(labels, 1.0)]);
    }

    fn add(&mut self, name: &str, kind: &str, help: &str, figures: &[(String, f64)]) {
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
