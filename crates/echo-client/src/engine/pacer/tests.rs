//! When requests of each pace are due, and what is told of those that never left.

use super::*;
use crate::connection::Connect;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// When warm-up ends, when sending does, and after how many requests.
type Bounds = (u64, Option<u64>, Option<u64>);

fn pacer(pace: Pace, index: usize, workers: usize, bounds: Bounds) -> Pacer {
    let (measure_from, end, count) = bounds;
    let plan = Plan {
        pace,
        warmup: Duration::from_nanos(measure_from),
        duration: end.map(|end| Duration::from_nanos(end - measure_from)),
        count,
        ..Plan::new(Connect::default())
    };
    Pacer::new(&plan, index, workers)
}

fn closed(bounds: Bounds) -> Pacer {
    pacer(Pace::Closed, 0, 1, bounds)
}

fn rate(per_s: f64, index: usize, workers: usize, bounds: Bounds) -> Pacer {
    pacer(Pace::Rate(per_s), index, workers, bounds)
}

fn interval(step: u64, bounds: Bounds) -> Pacer {
    pacer(Pace::Interval(Duration::from_nanos(step)), 0, 1, bounds)
}

/// Every request a pacer gives to one who asks all the time, in steps of `step`.
fn all(pacer: &mut Pacer, step: u64, until: u64) -> Vec<u64> {
    (0..=until / step)
        .flat_map(|i| std::iter::from_fn(|| pacer.take(i * step)).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_closed_loop_is_due_whenever_there_is_room() {
    let mut pacer = closed((0, Some(10), None));
    assert_eq!(
        [pacer.take(3), pacer.take(3), pacer.take(9)],
        [Some(3), Some(3), Some(9)]
    );
    assert_eq!(pacer.next_due(), None);
    assert!(!pacer.is_finished(9));
    assert_eq!(pacer.take(10), None);
    assert!(pacer.is_finished(10));
}

#[test]
fn a_rate_is_due_at_equal_steps_however_late_one_asks() {
    let mut pacer = rate(4.0, 0, 1, (0, Some(SECOND + 1), None));
    let quarters = [0, SECOND / 4, SECOND / 2, SECOND / 4 * 3];
    assert_eq!(pacer.take(0), Some(0));
    assert_eq!(pacer.take(0), None);
    assert_eq!(pacer.next_due(), Some(quarters[1]));
    // A second of silence: the three that were due meanwhile keep their times.
    let late: Vec<_> = (0..3).filter_map(|_| pacer.take(SECOND)).collect();
    assert_eq!(late, quarters[1..]);
    // What was due before the end may leave after it; what is due then may not.
    assert!(pacer.is_due(SECOND) && !pacer.is_finished(SECOND));
    assert!(pacer.is_due(SECOND + 1) && pacer.is_finished(SECOND + 1));
    assert_eq!(pacer.take(2 * SECOND), Some(SECOND));
    assert_eq!(pacer.take(2 * SECOND), None);
}

#[test]
fn a_rate_makes_so_many_requests_a_second_and_no_more() {
    for per_s in [7, 9, 11, 13, 29, 101, 997, 7919] {
        for (from, end) in [(0, SECOND), (SECOND, 3 * SECOND), (7 * SECOND, 8 * SECOND)] {
            let mut pacer = rate(per_s as f64, 0, 1, (from, Some(end), None));
            let taken = all(&mut pacer, SECOND / 100, end).into_iter();
            let measured = taken.filter(|due| *due >= from).count() as u64;
            assert_eq!(measured, per_s * (end - from) / SECOND, "{per_s}/s");
            let mut idle = rate(per_s as f64, 0, 1, (from, Some(end), None));
            assert_eq!(idle.stop(end, true).count, measured, "{per_s}/s");
        }
    }
}

#[test]
fn workers_share_a_rate_evenly() {
    let end = Some(SECOND);
    let mut together: Vec<u64> = (0..3)
        .flat_map(|i| all(&mut rate(300.0, i, 3, (0, end, None)), 1_000_000, SECOND))
        .collect();
    together.sort_unstable();
    let alone = all(&mut rate(300.0, 0, 1, (0, end, None)), 1_000_000, SECOND);
    assert_eq!(together.len(), 300);
    assert!(
        together
            .iter()
            .zip(&alone)
            .all(|(a, b)| a.abs_diff(*b) <= 1)
    );
}

#[test]
fn a_rate_does_not_drift_in_a_day() {
    let day = 86_400 * SECOND;
    let mut pacer = rate(3.0, 0, 1, (0, None, None));
    pacer.next = 3 * 86_400;
    assert!(pacer.next_due().unwrap().abs_diff(day) <= 32);
}

#[test]
fn warm_up_costs_no_budget() {
    let mut pacer = rate(10.0, 0, 1, (SECOND, None, Some(5)));
    let due = all(&mut pacer, SECOND / 100, 10 * SECOND);
    assert_eq!(due.len(), 10 + 5);
    assert!(pacer.is_finished(0));
}

#[test]
fn what_warm_up_left_undone_does_not_delay_what_is_measured() {
    let mut pacer = rate(1000.0, 0, 1, (SECOND, Some(2 * SECOND), None));
    assert_eq!(pacer.take(SECOND / 2), Some(0));
    assert_eq!(pacer.take(SECOND), Some(SECOND));
    assert_eq!(pacer.stop(2 * SECOND, true).count, 999);
}

#[test]
fn what_was_due_and_never_left_is_counted() {
    let mut pacer = rate(10.0, 0, 1, (SECOND, Some(3 * SECOND), None));
    all(&mut pacer, SECOND / 100, 2 * SECOND);
    assert_eq!(pacer.stop(5 * SECOND, true).count, 9);
    let mut interrupted = rate(10.0, 0, 1, (0, None, None));
    assert_eq!(interrupted.stop(SECOND, true).count, 10);
    assert!(interrupted.is_finished(SECOND));
    assert_eq!(interrupted.next_due(), None, "nothing is to be woken for");
    assert_eq!(interrupted.take(SECOND), None);
    // However many they are, they are not counted one by one.
    let mut absurd = rate(1e15, 0, 1, (0, None, None));
    assert_eq!(absurd.stop(SECOND, true).count, 1_000_000_000_000_000);
    let mut closed = closed((0, None, None));
    assert_eq!(closed.stop(SECOND, true), Unsent::default());
    assert_eq!(closed.take(SECOND), None);
}

#[test]
fn what_waits_for_a_connection_is_due_when_it_was_and_sent_once() {
    let mut pacer = rate(10.0, 0, 1, (0, Some(SECOND), Some(5)));
    let tenth = SECOND / 10;
    // As many as are due wait, and no more; whoever has a connection first sends the first of them.
    assert_eq!(
        [(); 4].map(|()| pacer.hold(2 * tenth)),
        [true, true, true, false]
    );
    assert_eq!(
        [(); 2].map(|()| pacer.take(3 * tenth)),
        [Some(0), Some(tenth)]
    );
    assert!(pacer.hold(4 * tenth) && pacer.hold(4 * tenth));
    assert!(!pacer.is_finished(5 * tenth), "three of five have not left");
    assert_eq!((pacer.next_due(), pacer.hold(9 * tenth)), (None, false));
    assert_eq!(pacer.take(9 * tenth), Some(2 * tenth));
    assert_eq!(pacer.stop(SECOND, true).count, 2);
    assert!(pacer.is_finished(SECOND) && pacer.take(SECOND).is_none());
    // From the end on none begins to wait, and of those that do, none leaves once all is cut.
    let mut late = rate(10.0, 0, 1, (0, Some(SECOND), None));
    assert!(late.hold(SECOND - 1) && late.hold(SECOND - 1) && !late.hold(SECOND));
    assert!(!late.is_finished(SECOND), "two are yet to leave");
    assert_eq!(late.take(SECOND), Some(0));
    late.cut_at(SECOND + 5);
    assert_eq!(late.take(SECOND + 5), None);
    assert_eq!(late.stop(SECOND, true).count, 9);
    let mut steady = interval(tenth, (0, None, Some(2)));
    assert!(steady.hold(0) && !steady.hold(0) && steady.hold(tenth));
    assert_eq!([(); 2].map(|()| steady.take(SECOND)), [Some(SECOND); 2]);
    assert!(steady.is_finished(SECOND));
}

#[test]
fn what_never_left_has_waited_since_it_was_due() {
    let mut pacer = rate(10.0, 0, 1, (0, Some(SECOND), None));
    assert_eq!(pacer.take(0), Some(0));
    let waits: Vec<_> = pacer.stop(SECOND, true).waits().collect();
    let expected: Vec<_> = (1..10)
        .rev()
        .map(|tenths| (tenths * SECOND / 10, 1))
        .collect();
    assert_eq!(waits, expected);
    // Very many are counted together, and none is left out.
    let mut absurd = rate(1e9, 0, 1, (0, Some(SECOND), None));
    let waits: Vec<_> = absurd.stop(SECOND, true).waits().collect();
    assert!(waits.len() < 30_000, "{}", waits.len());
    assert_eq!(waits.iter().map(|wait| wait.1).sum::<u64>(), SECOND);
    assert_eq!(waits[0].0, SECOND);
}

#[test]
fn after_a_pause_an_interval_goes_on_without_a_burst() {
    let mut pacer = interval(SECOND / 5, (0, None, Some(9)));
    assert_eq!([pacer.take(0), pacer.take(0)], [Some(0), None]);
    // A little late, and then in step again; far too late, and then anew from there.
    let late = SECOND / 5 + 5;
    assert_eq!([pacer.take(late), pacer.take(late)], [Some(late), None]);
    assert_eq!(pacer.next_due(), Some(SECOND / 5 * 2));
    assert_eq!(all(&mut pacer, SECOND, SECOND), [SECOND]);
    assert_eq!(pacer.next_due(), Some(SECOND / 5 * 6));
    assert_eq!(pacer.meant(0), SECOND / 5 * 6);
}
