//! Targets that are measured in turn, round by round, under the same load.

use echo_core::statistics::schedule;

use super::{Bench, known, measure};
use crate::connection::Connect;
use crate::interrupt::Interrupt;
use crate::measure::Watch;
use crate::report::{Report, Round};

/// Measures every target in each round, and reports each with its rounds; how they ended is not
/// decided yet. What ends one of them early ends all: no round of the others would have a partner.
pub fn run(
    targets: &[Connect],
    config: &Bench,
    watch: &Watch,
    interrupt: &Interrupt,
) -> Vec<Report> {
    let mut wholes: Vec<Report> = targets.iter().map(|target| known(target, config)).collect();
    if config.control
        && let Some(control) = wholes.last_mut()
    {
        control.label = Some("control".to_owned());
    }
    let rounds = schedule(targets.len(), config.rounds(), config.seed);
    'rounds: for (number, order) in (1..).zip(&rounds) {
        for &i in order {
            // The control is the first target once more.
            let pid = config.pid.get(i).or(config.pid.first()).copied();
            let (count, name) = (rounds.len(), &wholes[i].target.name);
            watch.say(format!("round {number} of {count}, {name}: "));
            let one = measure(&targets[i], pid, config, watch, interrupt);
            let is_whole = one.fault.is_none() && interrupt.why().is_none();
            add(&mut wholes[i], one);
            if !is_whole {
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

/// Adds one round of a target to what is known of it.
fn add(whole: &mut Report, one: Report) {
    if whole.rounds.is_empty() {
        whole.started_unix_ns = one.started_unix_ns;
        whole.target = one.target.clone();
        whole.environment = one.environment.clone();
    }
    whole.add(&one);
    whole.elapsed += one.elapsed;
    let used = whole.server_cpu_ns.into_iter().chain(one.server_cpu_ns);
    whole.server_cpu_ns = used.reduce(|sum, more| sum + more);
    whole.rounds.push(Round::of(&one));
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
    whole.fault = one.fault;
}
