//! A picture with axes, as SVG. Its labels are HTML, so that they keep their size on a phone.

use std::fmt::{self, Write};

/// What the picture's own coordinates go up to, both ways.
const FULL: f64 = 1000.0;

/// An axis: values in, a place between 0 and 1 out.
#[derive(Clone, Debug)]
pub struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
    ticks: Vec<Tick>,
}

#[derive(Clone, Debug)]
struct Tick {
    value: f64,
    label: String,
    /// Left out where there is little room.
    is_minor: bool,
}

impl Axis {
    /// From zero to `max` exactly, with ticks at round figures.
    pub fn span(max: f64, label: impl Fn(f64) -> String) -> Self {
        let step = round_step(max.max(f64::MIN_POSITIVE) / 6.0).max(1.0);
        let to = max.max(1.0);
        let ticks = (0..=(to / step * (1.0 + 1e-9)) as usize).map(|i| Tick {
            value: i as f64 * step,
            label: label(i as f64 * step),
            is_minor: i % 2 == 1,
        });
        Axis {
            from: 0.0,
            to,
            is_log: false,
            ticks: ticks.collect(),
        }
    }

    /// Round figures around `min` to `max`.
    pub fn around(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let step = round_step(
            ((max - min) / 5.0)
                .max(max.abs() * 1e-3)
                .max(f64::MIN_POSITIVE),
        );
        let (first, last) = ((min / step).floor(), (max / step).ceil());
        let steps = (last - first).max(1.0);
        let ticks = (0..=steps as usize).map(|i| Tick {
            value: (first + i as f64) * step,
            label: label((first + i as f64) * step),
            is_minor: i % 2 == 1,
        });
        Axis {
            from: first * step,
            to: (first + steps) * step,
            is_log: false,
            ticks: ticks.collect(),
        }
    }

    /// A row for each of the names, the first on top: row `i` is from `-i` down to `-i - 1`.
    pub fn rows(names: impl IntoIterator<Item = String>) -> Self {
        let ticks = names.into_iter().enumerate().map(|(i, label)| Tick {
            value: -(i as f64) - 0.5,
            label,
            is_minor: false,
        });
        let ticks: Vec<Tick> = ticks.collect();
        Axis {
            from: -(ticks.len().max(1) as f64),
            to: 0.0,
            is_log: false,
            ticks,
        }
    }

    /// From `min` to `max`, both above zero, each decade as long as the next.
    pub fn log(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let low = min.log10().floor() as i32;
        let high = max.log10().ceil() as i32;
        let decades = (low..=high).flat_map(|e| [1.0, 2.0, 5.0].map(|m| (m, m * 10f64.powi(e))));
        // The two round figures around the data, and those between.
        let mut ticks: Vec<(f64, f64)> = decades.collect();
        let first = ticks.iter().rposition(|&(_, v)| v <= min).unwrap_or(0);
        let last = ticks.iter().position(|&(_, v)| v >= max);
        ticks.truncate(last.unwrap_or(ticks.len() - 1) + 1);
        ticks.drain(..first.min(ticks.len() - 1));
        let (from, to) = (ticks[0].1, ticks[ticks.len() - 1].1.max(ticks[0].1 * 2.0));
        let is_long = ticks.len() > 7;
        Axis {
            from,
            to,
            is_log: true,
            ticks: ticks
                .into_iter()
                .filter(|&(mantissa, _)| !is_long || mantissa == 1.0)
                .map(|(mantissa, value)| Tick {
                    value,
                    label: label(value),
                    is_minor: !is_long && mantissa == 2.0,
                })
                .collect(),
        }
    }

    /// Shares of 0 to all but 10 to the power of minus `nines`, each nine as long as the next.
    pub fn nines(nines: f64) -> Self {
        let label = |n: usize| match n {
            0 => "50 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            n => format!("99.{} %", "9".repeat(n - 2)),
        };
        let ticks = (0..=nines as usize).map(|n| Tick {
            value: if n == 0 { 2f64.log10() } else { n as f64 },
            label: label(n),
            // The labels grow with the nines: on a phone five of them touch.
            is_minor: n == 0 || (nines >= 5.0 && n >= 3 && n % 2 == 1),
        });
        Axis {
            from: 0.0,
            to: nines,
            is_log: false,
            ticks: ticks.collect(),
        }
    }

    /// Where a value is: 0 at the start, 1 at the end.
    fn place(&self, value: f64) -> f64 {
        let place = match self.is_log {
            true => (value / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        // A value of 0 has no place on a logarithmic axis but its start.
        if place.is_nan() {
            0.0
        } else {
            place.clamp(0.0, 1.0)
        }
    }
}

/// A step of 1, 2 or 5 times a power of ten, at or above `least`.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * decade)
        .find(|&step| step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * decade)
}

/// A picture under construction.
#[derive(Debug)]
pub struct Plot {
    x: Axis,
    y: Axis,
    marks: String,
}

impl Plot {
    /// A picture without data.
    pub fn new(x: Axis, y: Axis) -> Self {
        Plot {
            x,
            y,
            marks: String::new(),
        }
    }

    /// A curve through `points`, of the style `class`.
    pub fn curve(&mut self, class: &str, points: &[(f64, f64)]) {
        let path = self.path(points);
        self.mark(format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    /// The area between the curve through `points` and the lower edge.
    pub fn area(&mut self, class: &str, points: &[(f64, f64)]) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        let (from, to) = (self.across(first.0), self.across(last.0));
        let path = self.path(points);
        self.mark(format_args!(
            "<path class=\"{class}\" d=\"{path}L{to:.1} {FULL}L{from:.1} {FULL}Z\"/>"
        ));
    }

    /// The area between a lower and an upper curve.
    pub fn band(&mut self, class: &str, lower: &[(f64, f64)], upper: &[(f64, f64)]) {
        let back: Vec<_> = lower.iter().rev().copied().collect();
        let path = self.path(&[upper, &back].concat());
        self.mark(format_args!("<path class=\"{class}\" d=\"{path}Z\"/>"));
    }

    /// A line at one value, from edge to edge, if the picture shows that value.
    pub fn level(&mut self, class: &str, value: f64) {
        if !(self.y.from..=self.y.to).contains(&value) {
            return;
        }
        let down = self.down(value);
        self.mark(format_args!(
            "<path class=\"{class}\" d=\"M0 {down:.1}H{FULL}\"/>"
        ));
    }

    /// A bar from `from` to `to`, as high as `value`; `title` shows when it is pointed at.
    pub fn bar(&mut self, from: f64, to: f64, value: f64, title: &str) {
        let (left, right) = (self.across(from), self.across(to));
        let top = self.down(value);
        // A gap of a tenth tells neighbours apart at every width.
        let (x, width) = (left + (right - left) * 0.05, (right - left) * 0.9);
        let height = FULL - top;
        self.mark(format_args!(
            "<rect class=\"bar\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\"><title>{}</title></rect>",
            Escaped(title)
        ));
    }

    /// An upright stroke at `x`, from `low` up to `high`.
    pub fn stroke(&mut self, class: &str, x: f64, low: f64, high: f64) {
        let (x, top, bottom) = (self.across(x), self.down(high), self.down(low));
        self.mark(format_args!(
            "<path class=\"{class}\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>"
        ));
    }

    /// The whole height from `from` to `to`, which shows `title` when it is pointed at.
    pub fn spot(&mut self, from: f64, to: f64, title: &str) {
        let (x, right) = (self.across(from), self.across(to));
        let width = right - x;
        self.mark(format_args!(
            "<rect class=\"spot\" x=\"{x:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{FULL}\">\
             <title>{}</title></rect>",
            Escaped(title)
        ));
    }

    /// The picture, which is said to show `description`.
    pub fn draw(&self, description: &str) -> String {
        let mut grid = String::new();
        let mut labels = [String::new(), String::new()];
        for tick in &self.y.ticks {
            let down = self.down(tick.value);
            let _ = write!(grid, "M0 {down:.1}H{FULL}");
            let place = self.y.place(tick.value) * 100.0;
            label(&mut labels[0], "bottom", place, tick);
        }
        for tick in &self.x.ticks {
            let across = self.across(tick.value);
            let _ = write!(grid, "M{across:.1} 0V{FULL}");
            label(&mut labels[1], "left", across / FULL * 100.0, tick);
        }
        let [y, x] = labels;
        format!(
            "<div class=\"plot\"><div class=\"y\">{y}</div>\
             <svg viewBox=\"0 0 {FULL} {FULL}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{}\"><path class=\"grid\" d=\"{grid}\"/>{}</svg>\
             <div class=\"x\">{x}</div></div>\n",
            Escaped(description),
            self.marks
        )
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (i, &(x, y)) in points.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.across(x), self.down(y));
        }
        path
    }

    fn across(&self, x: f64) -> f64 {
        self.x.place(x) * FULL
    }

    fn down(&self, y: f64) -> f64 {
        (1.0 - self.y.place(y)) * FULL
    }

    fn mark(&mut self, mark: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.marks.write_fmt(mark);
    }
}

fn label(out: &mut String, side: &str, place: f64, tick: &Tick) {
    let class = if tick.is_minor {
        " class=\"minor\""
    } else {
        ""
    };
    let text = Escaped(&tick.label);
    let _ = write!(
        out,
        "<span{class} style=\"{side}:{place:.2}%\">{text}</span>"
    );
}

/// A text within HTML.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['&', '<', '>', '"', '\'']) {
            let special = part.chars().next_back().unwrap_or_default();
            let entity = match special {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                _ => {
                    f.write_str(part)?;
                    continue;
                }
            };
            f.write_str(&part[..part.len() - 1])?;
            f.write_str(entity)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(axis: &Axis) -> Vec<f64> {
        axis.ticks.iter().map(|tick| tick.value).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_data() {
        let plain = |value: f64| value.to_string();
        assert_eq!(
            values(&Axis::around(0.0, 9.0, plain)),
            [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        );
        assert_eq!(values(&Axis::around(0.0, 0.0, plain)).len(), 2);
        assert_eq!(
            values(&Axis::log(30.0, 700.0, plain)),
            [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
        );
        assert_eq!(
            values(&Axis::log(1.0, 1e6, plain)),
            [1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6]
        );
        for (min, max) in [(1.0, 1.0), (5.0, 5.0), (999.0, 1001.0), (1.0, 1.8e19)] {
            let axis = Axis::log(min, max, plain);
            assert!(
                axis.from <= min && axis.to >= max && axis.to > axis.from,
                "{axis:?}"
            );
        }
    }

    #[test]
    fn every_value_has_a_place_in_the_picture() {
        let plain = |value: f64| value.to_string();
        let axis = Axis::log(10.0, 1000.0, plain);
        assert_eq!(
            [axis.place(10.0), axis.place(100.0), axis.place(1000.0)],
            [0.0, 0.5, 1.0]
        );
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!((0.0..=1.0).contains(&axis.place(value)), "{value}");
        }
    }

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            Escaped("<a href=\"x\">'&é").to_string(),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;é"
        );
    }
}
