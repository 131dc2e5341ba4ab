//! A picture with axes, as SVG. Its labels are HTML, so that they keep their size on a phone.

use std::fmt::Write;

use crate::report::format;

/// What the picture's own coordinates go up to, both ways.
const FULL: f64 = 1000.0;
/// Axes have about so many steps.
const STEPS: f64 = 5.0;

/// An axis: values in, a place between 0 and 1 out.
#[derive(Clone, Debug)]
pub struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
    /// Values, and what is written there.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Round figures around `min` to `max`.
    pub fn linear(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let least = (max - min) / STEPS;
        let least = least.max(max.abs() * 1e-3).max(f64::MIN_POSITIVE);
        let decade = 10f64.powf(least.log10().floor());
        let mut steps = [1.0, 2.0, 5.0].map(|step| step * decade).into_iter();
        let step = steps.find(|step| *step >= least * (1.0 - 1e-9));
        let step = step.unwrap_or(10.0 * decade);
        let (first, last) = ((min / step).floor(), (max / step).ceil());
        let steps = (last - first).max(1.0);
        let values = (0..=steps as usize).map(|i| (first + i as f64) * step);
        Axis {
            from: first * step,
            to: (first + steps) * step,
            is_log: false,
            ticks: values.map(|value| (value, label(value))).collect(),
        }
    }

    /// From zero to `end` exactly.
    pub fn until(end: f64, label: impl Fn(f64) -> String) -> Self {
        let mut axis = Axis::linear(0.0, end, label);
        axis.to = end;
        axis.ticks.retain(|(value, _)| *value <= end);
        axis
    }

    /// From `min` to `max`, both above zero, each decade as long as the next.
    pub fn log(min: f64, max: f64, label: impl Fn(f64) -> String) -> Self {
        let decades = min.log10().floor() as i32..=max.log10().ceil() as i32;
        let round = decades.flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(e)));
        let round: Vec<f64> = round.collect();
        // The two round figures around the data, and those between.
        let first = round.iter().rposition(|value| *value <= min).unwrap_or(0);
        let last = round.iter().position(|value| *value >= max);
        let last = last.unwrap_or(round.len() - 1);
        let is_long = last - first > 6;
        let ticks = (first..=last).filter(|i| !is_long || i % 3 == 0);
        Axis {
            from: round[first],
            to: round[last].max(round[first] * 2.0),
            is_log: true,
            ticks: ticks.map(|i| (round[i], label(round[i]))).collect(),
        }
    }

    /// Shares of 0 to all but 10 to the power of minus `nines`, each nine as long as the next.
    pub fn nines(nines: f64) -> Self {
        let ticks = (0..=nines as usize).map(|n| match n {
            0 => (2f64.log10(), "50 %".to_owned()),
            1 => (1.0, "90 %".to_owned()),
            2 => (2.0, "99 %".to_owned()),
            n => (n as f64, format!("99.{} %", "9".repeat(n - 2))),
        });
        Axis {
            from: 0.0,
            to: nines,
            is_log: false,
            ticks: ticks.collect(),
        }
    }

    /// `count` rows, the first on top: row `i` is from `-i` down to `-i - 1`.
    pub fn rows(count: usize) -> Self {
        let ticks = (0..count).map(|i| (-(i as f64) - 0.5, (i + 1).to_string()));
        Axis {
            from: -(count.max(1) as f64),
            to: 0.0,
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

    /// What is written where, in percent of its length.
    fn labels(&self) -> Vec<(f64, String)> {
        let percent = |value| format::significant(self.place(value) * 100.0);
        let ticks = self.ticks.iter();
        ticks
            .map(|(value, label)| (percent(*value), label.clone()))
            .collect()
    }
}

/// A picture under construction.
#[derive(Debug)]
pub struct Plot {
    /// What it shows, for those who can't see it.
    pub description: String,
    /// Classes of lines, and what those are.
    pub legend: Vec<(String, String)>,
    /// What is written where along the lower edge, in percent of it.
    pub across: Vec<(f64, String)>,
    /// The same along the left edge, from below.
    pub up: Vec<(f64, String)>,
    /// Lines behind the data.
    pub grid: String,
    /// Classes of shapes, their paths, and what shows where they are pointed at.
    pub marks: Vec<(String, String, String)>,
    x: Axis,
    y: Axis,
}

impl Plot {
    /// A picture without data.
    pub fn new(description: &str, x: Axis, y: Axis) -> Self {
        let mut plot = Plot {
            description: format!("{description}; the table has the values"),
            legend: Vec::new(),
            across: x.labels(),
            up: y.labels(),
            grid: String::new(),
            marks: Vec::new(),
            x,
            y,
        };
        let edges = [f64::NEG_INFINITY, f64::INFINITY];
        let upright = plot.x.ticks.iter().map(|(x, _)| edges.map(|y| (*x, y)));
        let level = plot.y.ticks.iter().map(|(y, _)| edges.map(|x| (x, *y)));
        plot.grid = upright.chain(level).map(|line| plot.path(&line)).collect();
        plot
    }

    /// A line through `points`, of the style `class`.
    pub fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let path = self.path(points);
        self.mark(class, path, "");
    }

    /// The same, with a name in the legend.
    pub fn curve(&mut self, class: &str, name: &str, points: &[(f64, f64)]) {
        self.legend.push((class.to_owned(), name.to_owned()));
        self.line(class, points);
    }

    /// A line at one value, from edge to edge, if the picture shows that value.
    pub fn level(&mut self, class: &str, name: &str, value: f64) {
        let edges = [f64::NEG_INFINITY, f64::INFINITY].map(|x| (x, value));
        let is_shown = (self.y.from..=self.y.to).contains(&value);
        self.curve(class, name, if is_shown { &edges } else { &[] });
    }

    /// The area between a lower and an upper curve; between that and the lower edge where there is
    /// no lower one.
    pub fn area(&mut self, class: &str, lower: &[(f64, f64)], upper: &[(f64, f64)]) {
        let edge = [upper.first(), upper.last()].map(|point| point.map(|(x, _)| (*x, 0.0)));
        let edge: Vec<_> = edge.into_iter().flatten().collect();
        let lower = if lower.is_empty() { &edge } else { lower };
        let back: Vec<_> = lower.iter().rev().copied().collect();
        let path = self.path(&[upper, &back].concat());
        self.mark(class, path + "Z", "");
    }

    /// A bar of some height above the `x` from one value to another, which shows `title` when it is
    /// pointed at.
    pub fn bar(&mut self, x: [f64; 2], height: f64, title: &str) {
        let [from, to] = x;
        let corners = [(from, 0.0), (from, height), (to, height), (to, 0.0)];
        let path = self.path(&corners);
        self.mark("bar", path + "Z", title);
    }

    fn mark(&mut self, class: &str, path: String, title: &str) {
        // Of no points there is no line.
        if path.starts_with('M') {
            self.marks.push((class.to_owned(), path, title.to_owned()));
        }
    }

    /// Through those points that are known; a line ends where one is not.
    fn path(&self, points: &[(f64, f64)]) -> String {
        let (mut path, mut command) = (String::new(), 'M');
        for &(x, y) in points {
            if y.is_nan() {
                command = 'M';
                continue;
            }
            let (across, down) = (self.x.place(x) * FULL, (1.0 - self.y.place(y)) * FULL);
            // Writing to a string cannot fail.
            let _ = write!(path, "{command}{across:.1} {down:.1}");
            command = 'L';
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(axis: &Axis) -> Vec<f64> {
        axis.ticks.iter().map(|tick| tick.0).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_data() {
        let plain = |value: f64| value.to_string();
        assert_eq!(
            values(&Axis::linear(0.0, 9.0, plain)),
            [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        );
        assert_eq!(values(&Axis::linear(0.0, 0.0, plain)).len(), 2);
        assert_eq!(
            values(&Axis::until(2.5, plain)),
            [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        );
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
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!((0.0..=1.0).contains(&axis.place(value)), "{value}");
        }
    }
}
