//! How a run ended, decided once and before anything is shown of it.

use std::time::Duration;

use anyhow::anyhow;
use echo_core::escape::printable;
use echo_core::{Exit, Failure};
use serde::{Deserialize, Serialize};

use super::format::counted;
use super::{Metric, Report, Thresholds, Verdict};
use crate::connection::{ErrorKind, Fault, NO_REFLECTOR, whether_it_is_there};
use crate::interrupt::Why;

/// How a run ended. Every rendering shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// In a word.
    pub result: Ending,
    /// What cut it short, if anything did.
    pub by: Option<Cut>,
    /// What the program exits with.
    pub exit_code: u8,
    /// Why it did not pass; the gravest first.
    pub reasons: Vec<Fault>,
}

/// How a run ended, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It did what it was to do, and the answer is good.
    #[default]
    Passed,
    /// The answer is bad, or there is none.
    Failed,
    /// Nothing was wrong until it was stopped before its time.
    #[serde(rename = "cut short")]
    CutShort,
}

/// What cuts a run short; the worse one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// The user.
    Interrupt,
    /// `--deadline`, in the midst of a run that has an end of its own.
    Deadline,
}

impl Ending {
    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Ending::Passed => "passed",
            Ending::Failed => "FAILED",
            Ending::CutShort => "CUT SHORT",
        }
    }
}

impl Outcome {
    /// One more thing is wrong, and the program fails for it.
    pub fn fail(&mut self, fault: Fault) {
        self.result = Ending::Failed;
        self.exit_code = self.exit_code.max(Exit::Bad.code());
        self.reasons.push(fault.whole());
    }

    /// Takes what came of a condition.
    fn judge(&mut self, verdict: &Verdict) {
        if verdict.failed {
            let message = format!("--fail-if: {verdict}");
            self.fail(Fault::new(ErrorKind::Threshold, message));
        }
    }

    /// It was stopped before its end, after `elapsed`. A deadline is for the whole of a run; whoever
    /// interrupts one has seen enough.
    pub fn cut(&mut self, why: Why, elapsed: Duration) {
        let (by, message) = match why {
            Why::Signal => {
                let elapsed = elapsed.as_secs_f64();
                (Cut::Interrupt, format!("{why} after {elapsed:.2} s"))
            }
            Why::Deadline(_) => (
                Cut::Deadline,
                format!("{why}: the run takes longer than that; allow more time"),
            ),
        };
        let is_told = |reason: &Fault| reason.message.contains(&why.to_string());
        let is_new = !self.reasons.iter().any(is_told);
        let fault = Fault::new(ErrorKind::Interrupted, message);
        self.stop(by, Some(fault).filter(|_| is_new));
    }

    /// It, or a part of it, was stopped.
    fn stop(&mut self, by: Cut, fault: Option<Fault>) {
        self.add(Outcome {
            result: Ending::CutShort,
            by: Some(by),
            exit_code: match by {
                Cut::Deadline => Exit::Bad.code(),
                Cut::Interrupt => Exit::Success.code(),
            },
            reasons: fault.into_iter().collect(),
        });
    }

    /// Takes how a part ended: the whole ends as the worst of them.
    pub fn add(&mut self, part: Outcome) {
        self.exit_code = self.exit_code.max(part.exit_code);
        self.by = self.by.max(part.by);
        if self.result != Ending::Failed && part.result != Ending::Passed {
            self.result = part.result;
        }
        self.reasons.extend(part.reasons);
    }

    /// How a part ended, each reason with its `name`.
    pub fn of(&self, name: &str) -> Self {
        let reasons = self.reasons.iter().cloned();
        Outcome {
            reasons: reasons.map(|reason| reason.of(name)).collect(),
            ..*self
        }
    }

    /// Why it did not pass, in lines: a condition that is broken says that of itself.
    pub fn told(&self, verdicts: &[Verdict]) -> Vec<String> {
        let broken = verdicts.iter().filter(|verdict| verdict.failed);
        let is_other = |reason: &&Fault| verdicts.is_empty() || reason.kind != ErrorKind::Threshold;
        let others = self.reasons.iter().filter(is_other);
        let others = others.map(|reason| reason.message.clone());
        broken.map(Verdict::to_string).chain(others).collect()
    }

    /// How it ended as a person looks for it, in the last lines: what held, and why it did not pass.
    pub fn lines(&self, verdicts: &[Verdict]) -> Vec<String> {
        let mut lines = held(verdicts);
        let (name, told) = (self.result.name(), self.told(verdicts));
        lines.extend(told.is_empty().then(|| name.to_owned()));
        lines.extend(told.iter().map(|line| format!("{name}: {line}")));
        lines
    }

    /// What the program ends with, unless that is success.
    pub fn failure(&self) -> Option<Failure> {
        let exit = match self.exit_code {
            0 => return None,
            code if code == Exit::Unreachable.code() => Exit::Unreachable,
            _ => Exit::Bad,
        };
        let why: Vec<_> = self.reasons.iter().map(|r| printable(&r.message)).collect();
        Some(Failure::new(exit, anyhow!(why.join("; "))))
    }
}

/// The conditions that were kept, in lines.
pub fn held(verdicts: &[Verdict]) -> Vec<String> {
    let held = verdicts.iter().filter(|verdict| !verdict.failed);
    held.map(Verdict::to_string).collect()
}

impl Report {
    /// Decides how the run ended; `why` says what stopped it before its own end, if anything did.
    ///
    /// A run fails for what [`Thresholds::unnamed`] says. A threshold takes the place of the
    /// one about the same figure, and decides that alone.
    pub fn conclude(&mut self, thresholds: Option<&Thresholds>, why: Option<Why>) {
        let none = Thresholds::default();
        let thresholds = thresholds.unwrap_or(&none);
        let fault = self.fault.take();
        self.verdicts = thresholds.judge(self);
        let good = self.verdicts.iter().filter(|verdict| verdict.is_for_good());
        let notes = good.map(|Verdict { threshold, .. }| {
            let kept = threshold.negated();
            format!(
                "{threshold} fails a run for being better than that; to ask for it, write {kept}"
            )
        });
        self.notes.extend(notes.collect::<Vec<_>>());
        let mut outcome = Outcome::default();
        match fault {
            // Whatever else is wrong follows from that.
            Some(fault) if self.never_reached(&fault) => {
                outcome.fail(fault);
                outcome.exit_code = Exit::Unreachable.code();
            }
            fault => {
                // What the errors count is told, and excused, as one of them.
                let (counted, fatal) = match fault {
                    Some(fault) if self.counts_as_error(&fault) => (Some(fault), None),
                    fault => (None, fault),
                };
                fatal.into_iter().for_each(|fault| outcome.fail(fault));
                for default in thresholds.unnamed() {
                    let Verdict {
                        measured, failed, ..
                    } = default.decide(default.metric.of(self));
                    // Of a run that sent nothing there is no loss to tell, and where something
                    // else went wrong it may well follow from that.
                    let is_explained = !self.target.is_udp()
                        || self.counts.lost <= self.errors_in_all() + self.wrong();
                    let has_cause = default.metric == Metric::Loss
                        && !outcome.reasons.is_empty()
                        && (is_explained || self.counts.received == 0);
                    let complaint = self.complaint(default.metric, counted.as_ref()).whole();
                    let is_new = !has_cause && !outcome.reasons.contains(&complaint);
                    if failed && measured.is_some() && is_new {
                        outcome.fail(complaint);
                    }
                }
                self.verdicts
                    .iter()
                    .for_each(|verdict| outcome.judge(verdict));
                // Whatever is excused, a run that has seen nothing is no good one.
                let is_blind = self.counts.sent > 0 && self.counts.received == self.counts.foreign;
                if is_blind && outcome.reasons.is_empty() {
                    outcome.fail(self.nothing_came());
                }
            }
        }
        if let Some(why) = why {
            outcome.cut(why, self.took);
        }
        self.outcome = outcome;
    }

    /// What went wrong by the time that a saved run, or a part of this one, `ended`, and that no
    /// figure tells: those are judged by the conditions of this run. A search has no `verdicts`, and
    /// that it found nothing stays.
    pub fn inherit(&mut self, ended: &Outcome, verdicts: &[Verdict]) {
        use ErrorKind::{Interrupted, Late, Lost, Mismatch, Threshold, Unsent};
        for reason in &ended.reasons {
            let is_judged = match reason.kind {
                Threshold => !verdicts.is_empty(),
                Late | Lost | Mismatch | Unsent => true,
                kind => self.errors.contains_key(&kind),
            };
            match ended.by {
                _ if is_judged => {}
                Some(by) if reason.kind == Interrupted => {
                    self.outcome.stop(by, Some(reason.clone()));
                }
                _ => self.outcome.fail(reason.clone()),
            }
        }
    }

    /// A saved run that others are held against: it is not judged again, and how it ended is worth
    /// a note.
    pub fn as_base(mut self) -> Self {
        let ended = std::mem::take(&mut self.outcome);
        self.verdicts.clear();
        if ended.result != Ending::Passed {
            let how = ended.lines(&[]).join("; ");
            self.notes
                .push(format!("when this was measured it ended so: {how}"));
        }
        self
    }

    /// A saved run that is held against another, judged by the conditions of now.
    pub fn judged_again(mut self, thresholds: &Thresholds) -> Self {
        let ended = std::mem::take(&mut self.outcome);
        let verdicts = std::mem::take(&mut self.verdicts);
        self.conclude(Some(thresholds), None);
        self.inherit(&ended, &verdicts);
        self
    }

    /// The conditions that it was judged by.
    pub fn asked(&self) -> Thresholds {
        let asked = self.verdicts.iter().map(|verdict| verdict.threshold);
        Thresholds(asked.collect())
    }

    /// Takes what came of one condition more, about a figure that is not of this run alone.
    pub fn take(&mut self, verdict: Verdict) {
        self.outcome.judge(&verdict);
        self.verdicts.push(verdict);
    }

    /// Whether the target was not there: no connection came about, or a datagram was turned back.
    fn never_reached(&self, fault: &Fault) -> bool {
        let turned_back = matches!(fault.kind, ErrorKind::Refused | ErrorKind::Unreachable);
        let counts = &self.counts;
        let no_connection = counts.connections == 0 && counts.sent == 0;
        counts.received == 0 && (no_connection || turned_back)
    }

    fn counts_as_error(&self, fault: &Fault) -> bool {
        self.errors.contains_key(&fault.kind)
            || fault.kind == ErrorKind::Mismatch && self.wrong() > 0
    }

    /// Replies that were not what was sent, or connections that ended for one.
    pub(super) fn wrong(&self) -> u64 {
        let counts = &self.counts;
        // From anybody a datagram may come, and it comes as it was sent; what is on a stream comes
        // from the server, and is short where the connection ended, which is an error of its own.
        let others = match self.target.is_udp() {
            true => counts.truncated,
            false => counts.foreign,
        };
        let out_of_step = self.errors.get(&ErrorKind::Mismatch).copied();
        (counts.corrupt + others).max(out_of_step.unwrap_or(0))
    }

    /// What is told where no threshold names a figure that is bad. `fault` is the first error.
    fn complaint(&self, metric: Metric, fault: Option<&Fault>) -> Fault {
        let is_told = |fault: &&Fault| match metric {
            Metric::Errors => true,
            Metric::Corrupt => fault.kind == ErrorKind::Mismatch,
            _ => false,
        };
        if let Some(fault) = fault.filter(is_told) {
            return fault.clone();
        }
        let (counts, name) = (&self.counts, &self.target.name);
        let (sent, unsent, late) = (counts.sent, counts.unsent, counts.late);
        match metric {
            Metric::Errors => {
                let kind = *self.errors.keys().next().unwrap_or(&ErrorKind::Other);
                let errors = self.errors_in_all();
                let failed = match self.target.is_udp() {
                    true => counted(errors, "datagram", "datagrams"),
                    false => counted(errors, "connection", "connections"),
                };
                let fault = Fault::new(kind, format!("{failed} to {name} failed"));
                match (kind, &self.ways) {
                    (ErrorKind::Refused, Some(_)) => fault.advise(NO_REFLECTOR),
                    (ErrorKind::Refused | ErrorKind::Permission, None) => fault.remedied(),
                    _ => fault,
                }
            }
            Metric::Corrupt => {
                let (one, several) = (
                    format!("reply of {name} was"),
                    format!("replies of {name} were"),
                );
                let message = counted(self.wrong(), &one, &several) + " not what was sent";
                Fault::new(ErrorKind::Mismatch, message)
            }
            Metric::Late => Fault::new(
                ErrorKind::Late,
                format!(
                    "{late} of {sent} replies of {name} came after their time was up; allow more with \
                     --timeout"
                ),
            ),
            Metric::Unsent => {
                let why = match self.errors_in_all() {
                    0 => {
                        "the replies to others were awaited; add --depth or --parallel, or lower \
                         --rate"
                    }
                    _ => "connections had failed, or this machine did not let them go",
                };
                let due = sent + unsent;
                Fault::new(
                    ErrorKind::Unsent,
                    format!("{unsent} of {due} requests were due and never left, for {why}"),
                )
            }
            _ => {
                let lost = counts.lost_on_the_way();
                let message =
                    format!("{lost} of {sent} requests to {name} had no right reply in time");
                let fault = Fault::new(ErrorKind::Lost, message);
                match counts.unique {
                    0 => fault.advise(self.whether_it_is_there()),
                    _ => fault,
                }
            }
        }
    }

    fn nothing_came(&self) -> Fault {
        let (counts, name) = (&self.counts, &self.target.name);
        let requests = counted(counts.sent, "request", "requests");
        let message = format!("nothing was measured: no reply to {requests} to {name} was read");
        Fault::new(ErrorKind::Lost, message).advise(match counts.overflowed {
            0 => self.whether_it_is_there(),
            _ => "this side's own socket had no room for them: lower --depth",
        })
    }

    /// What to look at where nothing came back as it should.
    pub fn whether_it_is_there(&self) -> &'static str {
        whether_it_is_there(self.ways.is_some(), self.target.is_udp())
    }
}
