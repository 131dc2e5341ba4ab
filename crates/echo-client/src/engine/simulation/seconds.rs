//! The engine against a far end that loses or delays some of what it gets, all the time: each second of
//! the books has what was done to the requests that left in it.

use super::*;
use crate::engine::simulated::{Course, Reflector};
use crate::wire::echo;

const SECONDS: u64 = 3;
const PER_S: u64 = 100;
/// Of so many requests, one is lost.
const LOST: usize = 10;

/// Sends at a steady rate to what `far` is made to be, and looks at each second.
#[track_caller]
fn even(url: &str, timeout: Duration, far: impl FnOnce(&mut FarEnd)) -> Report {
    let connect = Connect {
        timeout: Timespan(timeout),
        ..super::target(url)
    };
    let size = match connect.is_stamp() {
        true => Packets::new(None, 0, 0).size(),
        false => echo::HEADER_LEN,
    };
    let plan = Plan {
        depth: 1024,
        size,
        pace: Pace::Rate(PER_S as f64),
        duration: Some(Duration::from_secs(SECONDS)),
        ..Plan::new(connect)
    };
    let mut end = FarEnd::new(&plan, Vec::new(), 1);
    end.horizon = SECONDS * 1_000 * MS + 2 * nanos(timeout) + 3_000 * MS;
    far(&mut end);
    let played = play_out(&plan, end, &Told::default(), &Interrupt::default());
    let (report, far, _) = played.unwrap();
    assert!(report.counts.balance(), "{:?}", report.counts);
    let lost = |second: u64| {
        let sent = far.messages.iter();
        let of_it = sent.filter(|(at, _)| at / (1_000 * MS) == second);
        of_it.filter(|(_, reply)| reply.is_none()).count() as u64
    };
    let told: Vec<_> = report.seconds.iter().map(|s| (s.sent, s.lost)).collect();
    let is: Vec<_> = (0..SECONDS).map(|second| (PER_S, lost(second))).collect();
    assert_eq!(told, is, "{url} {timeout:?}");
    report
}

fn every<T>(one: impl Fn(bool) -> T) -> Vec<T> {
    let all = (0..(SECONDS * PER_S) as usize).map(|number| one(number % LOST == 3));
    all.collect()
}

#[test]
fn with_an_even_loss_each_second_has_its_share_whatever_the_time_out() {
    for timeout in [20, 1_700, 9_000].map(span) {
        let report = even("udp://127.0.0.1:7", timeout, |far| {
            let steps = every(|is_lost| match is_lost {
                true => Step::Never,
                false => Step::Echo(MS),
            });
            far.steps = steps.into();
        });
        assert_eq!(report.counts.lost, SECONDS * PER_S / LOST as u64);
        let report = even("stamp://127.0.0.1:7", timeout, |far| {
            let courses = every(|is_lost| Course {
                there: if is_lost { Vec::new() } else { vec![MS] },
                held: 0,
                back: vec![MS],
            });
            far.reflector = Some(Reflector::new(courses));
        });
        assert_eq!(report.counts.lost, SECONDS * PER_S / LOST as u64);
    }
}

#[test]
fn what_comes_once_all_has_left_is_of_the_last_second() {
    for duration in [None, Some(Duration::from_secs(60))] {
        let plan = Plan {
            depth: 1024,
            pace: Pace::Rate(PER_S as f64),
            count: Some(PER_S * 3 / 2),
            duration,
            ..Plan::new(Connect {
                timeout: Timespan(span(9_000)),
                ..super::target("udp://127.0.0.1:7")
            })
        };
        let mut far = FarEnd::new(&plan, vec![Step::Echo(4_000 * MS); 149], 1);
        far.steps.push_back(Step::Never);
        far.horizon = 60_000 * MS;
        let (report, ..) = play_out(&plan, far, &Told::default(), &Interrupt::default()).unwrap();
        let told: Vec<_> = report.seconds.iter().map(|s| (s.sent, s.lost)).collect();
        assert_eq!(told, [(PER_S, 0), (PER_S / 2, 1)], "{duration:?}");
    }
}

#[test]
fn what_comes_late_is_lost_in_no_second() {
    let report = even("udp://127.0.0.1:7", span(300), |far| {
        let steps = every(|is_late| Step::Echo(if is_late { 1_500 * MS } else { MS }));
        far.steps = steps.into();
    });
    let counts = report.counts;
    assert_eq!(
        (counts.lost, counts.late),
        (0, SECONDS * PER_S / LOST as u64)
    );
}
