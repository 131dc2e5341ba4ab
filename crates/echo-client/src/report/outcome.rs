//! How a run ended, decided once and before anything is shown of it.

use anyhow::anyhow;
use echo_core::{Exit, Failure};
use serde::{Deserialize, Serialize};

use super::threshold::{Metric, Thresholds};
use super::{Report, Verdict};
use crate::connection::{ConnectError, ErrorKind};
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

/// What cuts a run short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// `--deadline`, in the midst of a run that has an end of its own.
    Deadline,
    /// The user.
    Interrupt,
}

/// Something that is wrong with a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its class, for programs.
    pub kind: ErrorKind,
    /// Subject, cause and remedy, for a person.
    pub message: String,
}

impl Fault {
    /// A fault of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Fault {
            kind,
            message: message.into(),
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Fault::new(error.kind, error.to_string())
    }
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
        self.reasons.push(fault);
    }

    /// Why it did not pass, in lines: a condition that is broken says that of itself.
    pub fn told(&self, verdicts: &[Verdict]) -> Vec<String> {
        let broken = verdicts.iter().filter(|verdict| verdict.failed);
        let is_other = |reason: &&Fault| reason.kind != ErrorKind::Threshold;
        let others = self.reasons.iter().filter(is_other);
        let others = others.map(|reason| reason.message.clone());
        broken.map(Verdict::to_string).chain(others).collect()
    }

    /// What the program ends with, unless that is success.
    pub fn failure(&self) -> Option<Failure> {
        let exit = match self.exit_code {
            0 => return None,
            code if code == Exit::Unreachable.code() => Exit::Unreachable,
            _ => Exit::Bad,
        };
        let why: Vec<_> = self.reasons.iter().map(|r| r.message.as_str()).collect();
        Some(Failure::new(exit, anyhow!(why.join("; "))))
    }
}

impl Report {
    /// Decides how the run ended; `why` says what stopped it before its own end, if anything did.
    ///
    /// A run fails for what [`Thresholds::of_every_run`] says. A threshold takes the place of the
    /// one about the same figure, and decides that alone.
    pub fn conclude(&mut self, thresholds: Option<&Thresholds>, why: Option<Why>) {
        let none = Thresholds::default();
        let thresholds = thresholds.unwrap_or(&none);
        let fault = self.fault.take();
        self.verdicts = thresholds.judge(self);
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
                    } = default.judge(self);
                    // Of a run that sent nothing there is no loss to tell, and where something
                    // else went wrong it may well follow from that.
                    let has_cause = default.metric == Metric::Loss && !outcome.reasons.is_empty();
                    let complaint = self.complaint(default.metric, counted.as_ref());
                    let is_new = !has_cause && !outcome.reasons.contains(&complaint);
                    if failed && measured.is_some() && is_new {
                        outcome.fail(complaint);
                    }
                }
                for verdict in self.verdicts.iter().filter(|verdict| verdict.failed) {
                    let message = format!("--fail-if: {verdict}");
                    outcome.fail(Fault::new(ErrorKind::Threshold, message));
                }
            }
        }
        if let Some(why) = why {
            self.cut(&mut outcome, why);
        }
        self.outcome = outcome;
    }

    /// A deadline is for the whole of a run; whoever interrupts one has seen enough.
    fn cut(&self, outcome: &mut Outcome, why: Why) {
        let (by, message) = match why {
            Why::Signal => {
                let elapsed = self.elapsed.as_secs_f64();
                (Cut::Interrupt, format!("{why} after {elapsed:.2} s"))
            }
            Why::Deadline(_) => (
                Cut::Deadline,
                format!("{why}: the run takes longer than that; allow more time"),
            ),
        };
        outcome.by = Some(by);
        let is_told = |reason: &Fault| reason.message.contains(&why.to_string());
        if !outcome.reasons.iter().any(is_told) {
            outcome
                .reasons
                .push(Fault::new(ErrorKind::Interrupted, message));
        }
        if outcome.result == Ending::Passed {
            outcome.result = Ending::CutShort;
            outcome.exit_code = match by {
                Cut::Deadline => Exit::Bad.code(),
                Cut::Interrupt => Exit::Success.code(),
            };
        }
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
        // From anybody a datagram may come; what is on a stream comes from the server.
        let foreign = match self.target.transport.as_str() {
            "udp" => 0,
            _ => counts.foreign,
        };
        let out_of_step = self.errors.get(&ErrorKind::Mismatch).copied();
        (counts.corrupt + counts.truncated + foreign).max(out_of_step.unwrap_or(0))
    }

    /// What is told where no threshold names a figure that is bad. `fault` is the first error.
    fn complaint(&self, metric: Metric, fault: Option<&Fault>) -> Fault {
        let (counts, name) = (&self.counts, &self.target.name);
        let sent = counts.sent;
        let (first, kind, message) = match metric {
            Metric::Errors => (
                fault.cloned(),
                self.errors.keys().next().copied(),
                format!("{} connections to {name} failed", self.errors_in_all()),
            ),
            Metric::Corrupt => (
                fault.filter(|f| f.kind == ErrorKind::Mismatch).cloned(),
                Some(ErrorKind::Mismatch),
                format!("{} replies of {name} were not what was sent", self.wrong()),
            ),
            Metric::Late => (
                None,
                Some(ErrorKind::Late),
                format!(
                    "{} of {sent} replies of {name} came after their time was up; allow more with \
                     --timeout",
                    counts.late
                ),
            ),
            Metric::Unsent => (
                None,
                Some(ErrorKind::Unsent),
                format!(
                    "{} of {} requests were due and never left, for the replies to others were \
                     awaited; add --depth or --parallel, or lower --rate",
                    counts.unsent,
                    sent + counts.unsent
                ),
            ),
            _ => (
                None,
                Some(ErrorKind::Lost),
                format!(
                    "{} of {sent} requests to {name} had no right reply in time",
                    counts.lost
                ),
            ),
        };
        first.unwrap_or_else(|| Fault::new(kind.unwrap_or(ErrorKind::Other), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Counts;
    use std::time::Duration;

    fn run(counts: Counts) -> Report {
        let mut report = Report {
            elapsed: Duration::from_secs(1),
            counts: Counts {
                received: counts.unique + counts.corrupt,
                lost: counts.sent - counts.unique,
                ..counts
            },
            ..Report::default()
        };
        for _ in 0..counts.unique {
            report.rtt.record(Duration::from_millis(1));
        }
        report
    }

    fn sent(sent: u64, unique: u64) -> Counts {
        Counts {
            sent,
            unique,
            connections: 1,
            ..Counts::default()
        }
    }

    /// The exit code and the kinds of the reasons, with these thresholds.
    fn ended(mut report: Report, thresholds: &str) -> (u8, Vec<ErrorKind>) {
        report.conclude(thresholds.parse().ok().as_ref(), None);
        let kinds = report.outcome.reasons.iter().map(|reason| reason.kind);
        (report.outcome.exit_code, kinds.collect())
    }

    #[test]
    fn a_threshold_decides_what_it_names_and_all_else_is_decided_as_without_it() {
        use ErrorKind::{Late, Lost, Mismatch, Reset, Threshold, Unsent};
        let late = Counts {
            late: 50,
            ..sent(100, 100)
        };
        let unsent = Counts {
            unsent: 9,
            ..sent(100, 100)
        };
        let corrupt = Counts {
            corrupt: 1,
            ..sent(100, 100)
        };
        let errors = |kind| Report {
            errors: [(kind, 1)].into(),
            fault: Some(Fault::new(kind, "why")),
            ..run(sent(100, 99))
        };
        for (report, thresholds, reasons) in [
            (run(sent(5, 5)), "", vec![]),
            (run(sent(5, 4)), "", vec![Lost]),
            (run(sent(5, 4)), "loss>30%", vec![]),
            (run(sent(5, 4)), "loss>3%", vec![Threshold]),
            (run(sent(5, 4)), "errors>30", vec![Lost]),
            (run(late), "", vec![Late]),
            (run(late), "loss>1%", vec![Late]),
            (run(late), "late>50%", vec![]),
            (run(late), "late>49%", vec![Threshold]),
            (run(unsent), "loss>1%", vec![Unsent]),
            (run(unsent), "unsent>9", vec![]),
            (run(corrupt), "errors>5,loss>5%", vec![Mismatch]),
            (run(corrupt), "corrupt>1", vec![]),
            (errors(Reset), "", vec![Reset]),
            (errors(Reset), "errors>5,loss>5%", vec![]),
            (errors(Reset), "loss>5%", vec![Reset]),
            (errors(Reset), "errors>5", vec![Lost]),
            (errors(Mismatch), "", vec![Mismatch]),
            (errors(Mismatch), "errors>5,loss>5%", vec![Mismatch]),
            (errors(Mismatch), "errors>5,loss>5%,corrupt>5", vec![]),
            (
                run(sent(5, 5)),
                "p99>1us,rate<9",
                vec![Threshold, Threshold],
            ),
        ] {
            let code = u8::from(!reasons.is_empty());
            assert_eq!(ended(report, thresholds), (code, reasons), "{thresholds:?}");
        }
    }

    #[test]
    fn a_target_that_was_not_there_is_told_apart() {
        let faulty = |counts, kind| Report {
            fault: Some(Fault::new(kind, "why")),
            ..run(counts)
        };
        let connected = Counts {
            connections: 1,
            ..Counts::default()
        };
        for (counts, kind, code) in [
            (Counts::default(), ErrorKind::Refused, 3),
            (sent(1, 0), ErrorKind::Refused, 3),
            (sent(5, 4), ErrorKind::Reset, 1),
            (sent(1, 0), ErrorKind::Mismatch, 1),
            // Who stops it before it is connected has not reached the server; later, has learnt nothing.
            (Counts::default(), ErrorKind::Interrupted, 3),
            (connected, ErrorKind::Interrupted, 1),
        ] {
            let (exit, reasons) = ended(faulty(counts, kind), "loss>99%,errors>99");
            assert_eq!((exit, reasons[0]), (code, kind), "{counts:?}");
        }
    }

    #[test]
    fn what_is_stopped_before_its_end_is_cut_short() {
        let deadline = Why::Deadline("1s".parse().unwrap());
        for (counts, why, result, by, code) in [
            (sent(5, 5), Why::Signal, Ending::CutShort, Cut::Interrupt, 0),
            (sent(5, 5), deadline, Ending::CutShort, Cut::Deadline, 1),
            (sent(5, 4), Why::Signal, Ending::Failed, Cut::Interrupt, 1),
        ] {
            let mut report = run(counts);
            report.conclude(None, Some(why));
            let outcome = &report.outcome;
            assert_eq!((outcome.result, outcome.by), (result, Some(by)));
            assert_eq!(outcome.exit_code, code);
            let last = &outcome.reasons[outcome.reasons.len() - 1];
            assert!(last.message.contains(&why.to_string()), "{last:?}");
        }
    }
}
