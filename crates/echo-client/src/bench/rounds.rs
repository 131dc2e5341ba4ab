//! Targets that are measured in turn, round by round, under the same load.

use echo_core::statistics::schedule;

use super::{Job, known};
use crate::connection::{Connect, ErrorKind};
use crate::report::Report;

/// Measures every target in each round, and reports each with its rounds; how they ended is not
/// decided yet. What ends one of them early ends all: no round of the others would have a partner.
pub fn run(job: &Job<'_>, targets: &[Connect]) -> Vec<Report> {
    let config = job.config;
    // One command measures all of them.
    let command = known(&targets[0], config).command;
    let whole = |target: &Connect| Report {
        command: command.clone(),
        ..known(target, config)
    };
    let mut wholes: Vec<Report> = targets.iter().map(whole).collect();
    if config.control
        && let Some(control) = wholes.last_mut()
    {
        control.label = Some("control".to_owned());
    }
    let rounds = schedule(targets.len(), config.rounds(), config.seed.0);
    'rounds: for (number, order) in (1..).zip(&rounds) {
        for &i in order {
            // The control is the first target once more.
            let pid = config.pid.get(i).or(config.pid.first()).copied();
            let (count, name) = (rounds.len(), &wholes[i].target.name);
            job.watch
                .say(format!("round {number} of {count}, {name}: "));
            let one = job.measure(&targets[i], pid, config);
            // A target that stood still for all of a round is no reason to give the others up.
            let (is_cut, is_empty) = (job.interrupt.why().is_some(), is_empty(&one));
            let is_over = is_cut || !(one.fault.is_none() || is_empty);
            // Of what is stopped before it measures anything there is nothing to say beside others.
            if !is_cut || one.counts.sent > 0 || wholes[i].rounds.is_empty() {
                // What is empty is so until something is measured.
                if wholes[i].counts.sent == 0 || !is_empty {
                    wholes[i].fault.clone_from(&one.fault);
                }
                wholes[i].add_round(one);
            }
            if is_over {
                break 'rounds;
            }
        }
    }
    let whole = wholes.iter().map(|whole| whole.rounds.len()).min();
    for target in &mut wholes {
        target.rounds.truncate(whole.unwrap_or(0));
    }
    wholes
}

/// Whether nothing is wrong with a round but that nothing was measured in it.
fn is_empty(round: &Report) -> bool {
    let fault = round.fault.as_ref().map(|fault| fault.kind);
    fault == Some(ErrorKind::Other) && round.counts.sent == 0 && round.counts.connections > 0
}
