//! Targets that are measured in turn, round by round, under the same load.

use echo_core::statistics::schedule;

use super::{Bench, known, measure};
use crate::connection::{Connect, ErrorKind};
use crate::interrupt::Interrupt;
use crate::measure::Watch;
use crate::report::{Part, Report};

/// Measures every target in each round, and reports each with its rounds; how they ended is not
/// decided yet. What ends one of them early ends all: no round of the others would have a partner.
pub fn run(
    targets: &[Connect],
    config: &Bench,
    watch: &Watch,
    interrupt: &Interrupt,
) -> Vec<Report> {
    let mut wholes: Vec<Report> = targets.iter().map(|target| known(target, config)).collect();
    // One command measures all of them.
    let command = wholes.first().map(|first| first.command.clone());
    let command = command.unwrap_or_default();
    wholes
        .iter_mut()
        .for_each(|whole| whole.command.clone_from(&command));
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
            watch.say(format!("round {number} of {count}, {name}: "));
            let one = measure(&targets[i], pid, config, watch, interrupt);
            // A target that stood still for all of a round is no reason to give the others up.
            let is_cut = interrupt.why().is_some();
            let is_over = is_cut || !(one.fault.is_none() || is_empty(&one));
            // Of what is stopped before it measures anything there is nothing to say beside others.
            if !is_cut || one.counts.sent > 0 || wholes[i].rounds.is_empty() {
                add(&mut wholes[i], one);
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

/// Adds one round of a target to what is known of it.
fn add(whole: &mut Report, one: Report) {
    if whole.rounds.is_empty() {
        whole.started_unix_ns = one.started_unix_ns;
        whole.target = one.target.clone();
        whole.environment = one.environment.clone();
    }
    whole.add(&one);
    // They were at work one round after the other.
    if let (Some(all), Some(own)) = (&mut whole.generator, &one.generator) {
        all.threads = own.threads;
    }
    let is_empty = is_empty(&one);
    whole.elapsed += one.elapsed;
    whole.took += one.took;
    let used = whole.server_cpu_ns.into_iter().chain(one.server_cpu_ns);
    whole.server_cpu_ns = used.reduce(|sum, more| sum + more);
    whole.rounds.push(Part::of(&one));
    for note in one.notes {
        // The same note of another round has other figures.
        let gist = |note: &str| {
            note.split(|c: char| c.is_ascii_digit())
                .next()
                .map(str::to_owned)
        };
        if !whole.notes.iter().any(|known| gist(known) == gist(&note)) {
            whole.notes.push(note);
        }
    }
    // What is empty is so until something is measured.
    if whole.counts.sent == 0 || !is_empty {
        whole.fault = one.fault;
    }
}
