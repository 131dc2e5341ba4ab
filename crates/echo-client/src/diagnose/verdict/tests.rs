//! Verdicts of simulated trains: of paths without a fault, and of each fault with numbers at random.

use std::time::Duration;

use echo_core::splitmix::Random;
use echo_explain::{Lang, Phrases};

use super::super::answer::Answer;
use super::super::finding::{Findings, Kind, Verdict};
use super::super::train::{Damage, Probe, Sorted};

use super::super::words::Words;
use super::simulated::{MS, Model, Simulated};
use super::{HEADER, Trains, judge, load};

const PARTS: [&str; 6] = ["title", "means", "next", "sent", "came", "test"];

/// A path without a fault: near or far, with small delays and machines that are busy at times.
fn harmless(dice: &mut Random) -> Model {
    let rtt = *dice.pick(&[MS / 10, MS, 10 * MS, 160 * MS]);
    Model {
        rtt,
        spread: *dice.pick(&[MS / 20, MS, 4 * MS]),
        stalls: *dice.pick(&[(0, 0), (300 * MS, 8 * MS), (2000 * MS, 60 * MS)]),
        ..Model::default()
    }
}

fn verdicts(model: Model, seed: u64) -> Vec<(Verdict, Kind)> {
    let mut findings = Findings::default();
    findings.extend(judge(&Simulated::trains(model, seed)));
    findings.sort();
    let told = findings.all();
    for lang in [Lang::En, Lang::Es] {
        let words = Words::of(lang, Phrases::of(lang));
        for (found, part) in told
            .iter()
            .flat_map(|found| PARTS.map(|part| (found, part)))
        {
            let text = words.say(found, part);
            let is_whole = !text.contains('{') && !text.contains(&format!(".{part}"));
            assert!(is_whole, "{part}: {text}");
        }
    }
    told.iter()
        .map(|found| (found.verdict, found.kind))
        .collect()
}

#[test]
fn of_two_hundred_paths_without_a_fault_none_is_said_to_have_any() {
    assert_eq!(false_alarms(200), 0);
}

#[test]
#[ignore = "it takes minutes: cargo test -p echo-client --lib ten_thousand -- --ignored"]
fn of_ten_thousand_paths_without_a_fault_at_most_ten_are_said_to_have_any() {
    assert!(false_alarms(10_000) <= 10);
}

fn false_alarms(paths: u64) -> usize {
    let mut dice = Random(1);
    let is_wrong = |seed: &u64| {
        let model = harmless(&mut dice);
        let told = verdicts(model.clone(), *seed);
        let is_wrong = told.iter().any(|(_, kind)| *kind == Kind::Problem);
        if is_wrong {
            println!("{model:?}: {told:?}");
        }
        is_wrong
    };
    (0..paths).filter(is_wrong).count()
}

/// Draws faults with numbers at random, and expects each of them to be named in 19 of 20.
fn named(verdict: Verdict, fault: impl Fn(&mut Random, &mut Model)) {
    const RUNS: u64 = 20;
    let mut dice = Random(2);
    let mut missed = Vec::new();
    for seed in 0..RUNS {
        let mut model = harmless(&mut dice);
        fault(&mut dice, &mut model);
        let told = verdicts(model.clone(), seed);
        if !told.iter().any(|(named, _)| *named == verdict) {
            missed.push((model, told));
        }
    }
    assert!(missed.len() as u64 <= RUNS / 20, "{verdict}: {missed:?}");
}

/// A number between two, both included.
fn between(dice: &mut Random, low: u64, high: u64) -> u64 {
    low + dice.below(high - low + 1)
}

#[test]
fn losses_are_told_apart() {
    named(Verdict::LossUp, |dice, model| {
        model.loss.0 = between(dice, 15, 100) as u32
    });
    named(Verdict::LossDown, |dice, model| {
        model.loss.1 = between(dice, 15, 100) as u32
    });
    named(Verdict::LossBursty, |dice, model| {
        model.bursts = (between(dice, 4, 10) as u32, between(dice, 100, 250) as u32);
    });
    named(Verdict::LossPeriodic, |dice, model| {
        model.beat = Some(between(dice, 10, 40))
    });
    named(Verdict::LossBySize, |dice, model| {
        model.large = between(dice, 200, 1000) as u32
    });
    named(Verdict::LossByMark, |dice, model| {
        model.marked = between(dice, 200, 1000) as u32
    });
    named(Verdict::LossFirst, |_, model| model.first = true);
    named(Verdict::Flow, |dice, model| {
        model.dead = Some(between(dice, 2, 32) as usize)
    });
    named(Verdict::Outage, |dice, model| {
        let every = between(dice, 2000, 5000);
        model.outage = Some((every * MS, between(dice, 400, every / 3) * MS));
    });
}

#[test]
fn what_an_outage_cuts_off_a_train_belongs_to_it() {
    let mut trains = Simulated::trains(Model::default(), 1);
    let lose = |probes: &mut [Probe]| probes.iter_mut().for_each(|probe| probe.came = None);
    lose(&mut trains.mixed.as_mut().unwrap().probes[100..200]);
    lose(&mut trains.again.as_mut().unwrap().probes[595..]);
    let found = judge(&trains);
    let told: Vec<_> = found.iter().map(|found| found.verdict).collect();
    assert_eq!(told, [Verdict::Outage]);
}

/// What is told of a path without a fault but for what `change` does to its mixed train.
fn told_of_mixed(change: impl FnMut(&mut Probe)) -> Vec<Verdict> {
    let mut trains = Simulated::trains(Model::default(), 1);
    let probes = &mut trains.mixed.as_mut().unwrap().probes;
    probes.iter_mut().for_each(change);
    let found = judge(&trains);
    found.iter().map(|found| found.verdict).collect()
}

#[test]
fn any_part_of_the_ports_may_be_dead() {
    for dead in [1, 16, 33, 40, 56] {
        let told = told_of_mixed(|probe| {
            probe.came = probe.came.filter(|_| probe.cell.flow >= dead);
        });
        assert_eq!(told, [Verdict::Flow], "{dead}");
    }
}

#[test]
fn what_somebody_calls_too_large_is_not_lost() {
    let mut large = 0;
    let told = told_of_mixed(|probe| {
        large += usize::from(probe.cell.size > 1000);
        if probe.cell.size > 1000 && large < 30 {
            (probe.came, probe.said) = (None, Some((Answer::TooLarge(None, 1000), probe.sent)));
        }
    });
    assert_eq!(told, []);
    let mut trains = Simulated::trains(Model::default(), 1);
    let refuse = |probe: &mut Probe| {
        (probe.came, probe.said) = (None, Some((Answer::TooLarge(None, 1000), probe.sent)));
    };
    let mixed = &mut trains.mixed.as_mut().unwrap().probes;
    mixed[100..200].iter_mut().for_each(refuse);
    let slow = trains.ladder.iter_mut().map(|turn| &mut turn.slow.probes);
    slow.for_each(|probes| probes.iter_mut().take(5).for_each(refuse));
    let found = judge(&trains);
    let told: Vec<_> = found.iter().map(|found| found.verdict).collect();
    assert_eq!(told, []);
}

#[test]
fn what_comes_changed_or_out_of_turn_is_told() {
    named(Verdict::Corruption, |dice, model| {
        model.changed = between(dice, 5, 1000) as u32
    });
    named(Verdict::Duplication, |dice, model| {
        model.twice = between(dice, 10, 200) as u32
    });
    named(Verdict::Reordering, |dice, model| {
        model.held = (between(dice, 20, 200) as u32, between(dice, 5, 30) * MS);
    });
}

#[test]
fn what_is_cut_short_is_not_changed() {
    let mut trains = Simulated::trains(Model::default(), 1);
    for probe in &mut trains.mixed.as_mut().unwrap().probes {
        probe.wrong = (probe.cell.size > 500).then_some(Damage::Cut(500));
    }
    let found = judge(&trains);
    assert_eq!(found.len(), 1, "{found:?}");
    let title = Words::of(Lang::En, Phrases::default()).title(&found[0]);
    assert_eq!(title, "corruption: datagrams come back cut to 500 bytes");
}

#[test]
fn what_is_changed_hides_nothing_that_is_cut_short() {
    let mut trains = Simulated::trains(Model::default(), 1);
    let probes = &mut trains.mixed.as_mut().unwrap().probes;
    probes
        .iter_mut()
        .take(300)
        .for_each(|probe| probe.wrong = Some(Damage::Cut(40)));
    probes[300].wrong = Some(Damage::Byte(28));
    let found = judge(&trains);
    assert_eq!(found.len(), 1, "{found:?}");
    let [came, ..] = Words::of(Lang::En, Phrases::default()).paragraphs(&found[0]);
    assert!(
        came.contains("1 have wrong bytes, and 300 came back cut short"),
        "{came}"
    );
}

#[test]
fn delays_are_told_apart() {
    named(Verdict::Jitter, |dice, model| {
        model.jitter = between(dice, 25, 100) * MS + model.rtt / 5;
    });
    named(Verdict::FlowSlow, |dice, model| {
        let slower = between(dice, 10, 50) * MS + model.rtt / 8;
        model.slower = Some((between(dice, 2, 16) as usize, slower));
    });
    named(Verdict::Step, |dice, model| {
        let more = between(dice, 10, 50) * MS + model.rtt / 4;
        model.step = Some((between(dice, 1000, 8000) * MS, more));
    });
    named(Verdict::ServerStall, |dice, model| {
        model.server = Some((2000 * MS, between(dice, 200, 600) * MS));
    });
    named(Verdict::NetworkStall, |dice, model| {
        model.network = Some((2000 * MS, between(dice, 200, 600) * MS));
    });
}

#[test]
fn who_stops_now_and_then_has_not_gone_another_way() {
    let mut dice = Random(5);
    for seed in 0..20 {
        let mut model = harmless(&mut dice);
        let every = between(&mut dice, 1000, 2000);
        model.server = Some((every * MS, between(&mut dice, 300, 500) * MS));
        let mut trains = Simulated::trains(model.clone(), seed);
        trains.stamp = None;
        let told = judge(&trains);
        // Nor is it known who stops: a queue that others fill does the same.
        let mut problems = told.iter().filter(|found| found.is_problem());
        let is_jitter = problems.all(|found| found.verdict == Verdict::Jitter);
        assert!(is_jitter, "{model:?}: {told:?}");
    }
}

#[test]
fn a_machine_that_was_late_at_times_still_sees_another_way() {
    let mut dice = Random(6);
    for seed in 0..100 {
        for step in [None, Some((between(&mut dice, 2500, 8000) * MS, 30 * MS))] {
            let model = Model {
                step,
                ..harmless(&mut dice)
            };
            let mut trains = Simulated::trains(model.clone(), seed);
            let Trains {
                steady,
                mixed,
                again,
                ..
            } = &mut trains;
            for train in [steady, mixed, again].into_iter().flatten() {
                train.stalled = Duration::from_millis(250);
            }
            let told = judge(&trains);
            let is_told = told.iter().any(|found| found.verdict == Verdict::Step);
            let is_long = model.rtt > 200 * MS;
            assert!(is_told == step.is_some() || is_long, "{model:?}: {told:?}");
        }
    }
}

#[test]
fn a_stop_is_told_of_if_it_comes_twice_and_is_longer_than_this_machine_was_late() {
    let told = |every: u64, late: u64| {
        let server = Some((every * MS, 250 * MS));
        let mut trains = Simulated::trains(
            Model {
                rtt: MS,
                server,
                ..Model::default()
            },
            1,
        );
        if let Some(train) = &mut trains.stamp {
            train.stalled = Duration::from_millis(late);
        }
        let mut found = judge(&trains).into_iter().map(|found| found.verdict);
        found.find(|found| [Verdict::ServerStall, Verdict::Unjudged].contains(found))
    };
    assert_eq!(told(2000, 0), Some(Verdict::ServerStall));
    assert_eq!(told(2000, 100), None);
    assert_eq!(told(2000, 150), Some(Verdict::Unjudged));
    // Once in the four seconds of the train.
    assert_eq!(told(4100, 0), None);
}

#[test]
fn limits_are_told_apart() {
    named(Verdict::Policer, |dice, model| {
        let rate = between(dice, 60_000, 350_000) as f64;
        model.policer = Some((rate, rate * between(dice, 0, 1) as f64 + 20_000.0));
    });
    named(Verdict::Policer, |dice, model| {
        model.window = Some(between(dice, 70, 350) as usize)
    });
    named(Verdict::Bottleneck, |dice, model| {
        let rate = between(dice, 250_000, 2_100_000) as f64;
        model.shaper = Some((rate, between(dice, 20_000, 1_000_000) as f64));
    });
}

#[test]
fn losses_at_random_that_end_are_no_bursts_and_are_told_to_be_gone() {
    let mut dice = Random(4);
    for seed in 0..20 {
        let mut model = harmless(&mut dice);
        model.loss.0 = between(&mut dice, 50, 300) as u32;
        // Within the first train, the second or the ladder.
        model.healed = Some(between(&mut dice, 800, 6000) * MS);
        let told = verdicts(model.clone(), seed);
        let is_told = |verdict| told.iter().any(|(named, _)| *named == verdict);
        assert!(!is_told(Verdict::LossBursty), "{model:?}: {told:?}");
        assert!(is_told(Verdict::Loss), "{model:?}: {told:?}");
        assert!(is_told(Verdict::Healed), "{model:?}: {told:?}");
    }
}

#[test]
fn a_rate_that_this_machine_has_not_reached_is_not_judged() {
    let told = |slow_sender: u64| {
        let model = Model {
            slow_sender,
            rtt: MS,
            policer: Some((1e6, 1e5)),
            ..Model::default()
        };
        let found = judge(&Simulated::trains(model, 1));
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.verdict, found.kind))
            .collect();
        found
    };
    assert_eq!(told(0), [(Verdict::Policer, Kind::Problem)]);
    assert_eq!(told(2 * MS), [(Verdict::Unjudged, Kind::Unknown)]);
    // A low rate that was missed is below a high one that was reached.
    let model = Model {
        rtt: MS,
        ..Model::default()
    };
    let mut trains = Simulated::trains(model, 1);
    for (at, probe) in (0..).zip(&mut trains.ladder[0].fast.probes) {
        probe.sent += at * 10 * MS;
        probe.came = probe.came.map(|came| came + at * 10 * MS);
    }
    assert_eq!(judge(&trains), []);
}

#[test]
fn a_long_queue_leaves_room_in_the_budget_for_a_transfer_that_fills_it() {
    let trains = Simulated::trains(
        Model {
            rtt: MS,
            shaper: Some((1e6, 1.5e6)),
            ..Model::default()
        },
        1,
    );
    let probes = trains.turns().flat_map(|train| &train.probes);
    let bytes: usize = probes.map(|probe| probe.cell.size + HEADER).sum();
    assert!(bytes < 1_300_000, "{bytes}");
}

#[test]
fn who_stops_beside_a_transfer_is_no_long_queue() {
    let is_told = |came: fn(u64) -> u64| {
        let probe = |sent: u64| Probe {
            sent: sent * MS,
            came: Some(came(sent) * MS),
            ..Probe::default()
        };
        let probes: Vec<Probe> = (0..400).step_by(20).map(probe).collect();
        let is_told = |probes: &[&Probe]| load(&Sorted::of([MS; 100]), probes).is_some();
        let told = is_told(&Vec::from_iter(&probes));
        // The clock is set back after each.
        is_told(&Vec::from_iter(probes.iter().rev()));
        told
    };
    assert!(is_told(|sent| sent * 2 + 1));
    assert!(!is_told(|_| 401));
    // Twice, and in between nothing waits.
    assert!(!is_told(|sent| match sent {
        0..180 => 301,
        180..280 => sent + 1,
        _ => 600,
    }));
}

/// The rate of the limit that a path is said to have, in what it counts.
fn limit(model: Model, seed: u64) -> Option<f64> {
    let found = judge(&Simulated::trains(model, seed));
    let limit = found
        .iter()
        .find(|found| found.verdict == Verdict::Policer)?;
    let told = limit.values["rate"].strip_prefix("about ")?;
    let (number, unit) = told.split_once(' ')?;
    let scale = match unit {
        "packets a second" => 1.0,
        "kbit/s" => 125.0,
        _ => 125_000.0,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

#[test]
fn a_limit_is_told_with_the_rate_that_it_lets_through() {
    let (mut dice, mut missed) = (Random(3), Vec::new());
    for seed in 0..40 {
        let counts_packets = seed % 2 == 0;
        let rate = match counts_packets {
            true => between(&mut dice, 150, 1000),
            false => between(&mut dice, 100_000, 500_000),
        } as f64;
        // From a tenth of a second to a third: what is saved up between two trains, or more.
        let policer = Some((rate, rate / between(&mut dice, 3, 10) as f64));
        let loss = (between(&mut dice, 0, 30) as u32, 0);
        let model = Model {
            policer,
            counts_packets,
            loss,
            rtt: MS,
            ..Model::default()
        };
        let told = limit(model.clone(), seed).unwrap_or_default();
        let range = rate * 0.85..rate * 1.15;
        missed.extend((!range.contains(&told)).then_some((told, model)));
    }
    assert!(missed.len() <= 2, "{missed:?}");
    for window in [70, 200, 350] {
        let model = Model {
            window: Some(window),
            rtt: MS,
            ..Model::default()
        };
        assert_eq!(limit(model, 1), Some(window as f64));
    }
}

#[test]
fn marks_that_are_cleared_are_told() {
    named(Verdict::Dscp, |_, model| model.cleared = !3);
    named(Verdict::Ecn, |_, model| model.cleared = 3);
}
