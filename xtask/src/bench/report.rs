//! Everything measured, as text and Markdown.

use anyhow::{Result, ensure};

use super::comparison::HEADING;
use super::correct::Checked;
use super::embed::embed;
use super::lab::Lab;
use super::machine;
use super::matrix::Measured;
use super::table::Table;
use echo_core::statistics::figure;

const WORK_NOTE: &str = "50 x 64 B: fifty connections, messages of 64 bytes, one under way on each \
                         unless a depth is given; CPU is the server's.";
const RATIO_NOTE: &str = "ratio: of the two figures, with its 95 % interval over the rounds, by the \
                          same code as `echo-client bench A B`; faster and slower leave 1 out, a tie holds 1 and no difference of 5 %.";

/// All that one run measured. Parts that were not asked for are empty.
pub struct Report<'a> {
    lab: &'a Lab,
    machine: Vec<(&'static str, String)>,
    /// What could not be measured.
    pub failures: Failures,
    /// The matrix.
    pub rows: Vec<Measured<'a>>,
    /// What was measured in pairs.
    pub pairs: Vec<[String; 8]>,
    /// Who echoes correctly.
    pub correct: Vec<Checked<'a>>,
    /// What is no ratio of two servers.
    pub facts: Vec<Fact>,
}

/// One measured promise that is no ratio of two servers.
pub struct Fact {
    /// What was done.
    pub title: String,
    /// What was measured.
    pub measure: &'static str,
    /// What came out.
    pub value: String,
    /// What had to.
    pub target: String,
    /// Whether it did.
    pub pass: bool,
}

/// What could not be measured, and why. The rest of a long run is not lost to it.
#[derive(Default)]
pub struct Failures(Vec<String>);

impl Failures {
    /// The value of a part that could be measured.
    pub fn keep<T>(&mut self, part: &str, measured: Result<T>) -> Option<T> {
        measured
            .map_err(|error| self.0.push(format!("{part}: {error:#}")))
            .ok()
    }
}

impl<'a> Report<'a> {
    /// A report on this machine with nothing measured yet.
    pub fn new(lab: &'a Lab) -> Self {
        let mut machine = machine::facts();
        machine.push(("pinning", lab.pinning()));
        let (rounds, time) = (lab.rounds, lab.time);
        let method = format!("{rounds} rounds of {time:?} each, in turn");
        machine.push(("method", method));
        Report {
            lab,
            machine,
            failures: Failures::default(),
            rows: Vec::new(),
            pairs: Vec::new(),
            correct: Vec::new(),
            facts: Vec::new(),
        }
    }

    /// An error where our own server could not be measured, or does wrong; not where it is slow.
    pub fn verdict(&self) -> Result<()> {
        let ours = self.correct.iter().filter(|checked| checked.contender.ours);
        let wrong = ours.flat_map(|checked| checked.faults());
        let failed: Vec<String> = self.failures.0.iter().cloned().chain(wrong).collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(())
    }

    /// A page of the documentation, brought up to date: its places for `all` and for the
    /// `summary`, or, where it has neither, the whole of it.
    pub fn page(&self, page: &str) -> String {
        let all = self.markdown();
        // For readers who want to know no more than whether the targets are met.
        let summary = self.targets().markdown();
        let first = embed(page, "all", &all);
        let both = embed(first.as_deref().unwrap_or(page), "summary", &summary);
        both.or(first).unwrap_or_else(|| {
            format!(
                "# Benchmarks\n\nMeasured by `cargo xtask bench`, which repeats all of it.\n\n{all}"
            )
        })
    }

    /// All of it, as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.machine {
            text += &format!("- {name}: {value}\n");
        }
        let mut notes = [WORK_NOTE, RATIO_NOTE].map(str::to_owned).to_vec();
        notes.extend(self.losses());
        text += &section("Targets", &self.targets(), &notes);
        text += &section("Idle, balance and load", &self.facts(), &[]);
        text += &section("Peers", &self.peers(), &self.faults());
        text.trim_end().to_owned() + "\n"
    }

    fn name(&self, server: &str) -> &str {
        &self.lab.plan.server(server).name
    }

    /// What servers of datagrams lost.
    fn losses(&self) -> impl Iterator<Item = String> {
        self.rows.iter().flat_map(|measured| {
            measured.series.iter().filter_map(|(contender, series)| {
                let lost = series.as_ref().ok()?.lost * 100.0;
                let (name, title) = (self.name(contender), &measured.row.title);
                (lost > 0.0).then(|| format!("{title}: {name} lost {lost:.2} %"))
            })
        })
    }

    fn targets(&self) -> Table {
        let mut table = Table::new(&HEADING);
        let rows = self.rows.iter().flat_map(Measured::targets);
        rows.chain(self.pairs.iter().cloned())
            .for_each(|cells| table.row(cells));
        table
    }

    fn facts(&self) -> Table {
        let mut table = Table::new(&["work", "measure", "value", "target", "verdict"]);
        for fact in &self.facts {
            let verdict = if fact.pass { "pass" } else { "miss" };
            let (title, value) = (&*fact.title, &*fact.value);
            table.row([title, fact.measure, value, &fact.target, verdict].map(str::to_owned));
        }
        table
    }

    /// Every server that speaks TCP, with all that is known of it.
    fn peers(&self) -> Table {
        let mut table = Table::new(&[
            "server",
            "version",
            " round trip p50",
            " CPU per echo, 50 x 64 B",
            " echoes/s",
            "10 MB half-close, slow reader",
            "beside a stalled peer",
        ]);
        let row = |key| self.rows.iter().find(|measured| measured.row.key == key);
        let (ping_pong, fifty) = (row("ping-pong"), row("50"));
        if ping_pong.is_none() && fifty.is_none() && self.correct.is_empty() {
            return table;
        }
        for key in &self.lab.plan.peers {
            let contender = self.lab.plan.server(key);
            let version = match contender.version() {
                Ok(version) => version,
                Err(why) => format!("skipped: {why}"),
            };
            let told = |row: Option<&Measured>| {
                let figure = row.and_then(|row| row.figure(key));
                figure.unwrap_or("-".to_owned())
            };
            let rate = fifty.and_then(|row| figure(&row.samples(key)?.rates));
            let checked = self
                .correct
                .iter()
                .find(|checked| checked.contender.name == contender.name);
            let verdict = |result: Option<&Result<(), String>>| match result {
                None => "-",
                Some(Ok(())) => "pass",
                Some(Err(_)) => "FAIL",
            };
            table.row([
                contender.name.clone(),
                version,
                told(ping_pong),
                told(fifty),
                rate.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
                verdict(checked.map(|checked| &checked.half_close)).to_owned(),
                verdict(checked.map(|checked| &checked.stalled_neighbour)).to_owned(),
            ]);
        }
        table
    }

    /// What each server that failed did wrong.
    fn faults(&self) -> Vec<String> {
        let unmeasured = self.rows.iter().flat_map(|measured| {
            let is_found = |key: &str| self.lab.plan.server(key).version().is_ok();
            let found = measured.series.iter().filter(move |(key, _)| is_found(key));
            found.filter_map(|(key, series)| {
                let error = series.as_ref().err()?;
                Some(format!(
                    "{}, {}: {error}",
                    self.name(key),
                    measured.row.title
                ))
            })
        });
        let wrong = self.correct.iter().flat_map(Checked::faults);
        unmeasured.chain(wrong).collect()
    }
}

/// A table with its title and what must be said about it; nothing of one that has no row.
fn section(title: &str, table: &Table, notes: &[String]) -> String {
    let notes: String = notes.iter().map(|note| format!("\n- {note}")).collect();
    match table.is_empty() {
        true => String::new(),
        false => format!("\n## {title}\n\n{}{notes}\n", table.markdown()),
    }
}
