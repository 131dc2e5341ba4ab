//! The engine against a simulated STAMP reflector: what it tells of both ways, compared with what was
//! done to the packets.

use echo_core::splitmix::{Random, mix};

use super::*;
use crate::connection::Timestamps;
use crate::engine::simulated::{Course, Reflector, Session};
use crate::report::{Numbering, Ways};

/// Of so many packets, one each way.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    lost: [u64; 2],
    late: [u64; 2],
    copied: [u64; 2],
}

/// How long the ways are, and the stay between.
const WAYS: [u64; 2] = [3 * MS, 4 * MS];
const HELD: u64 = MS / 2;

impl Path {
    fn courses(self, count: usize, seed: u64) -> Vec<Course> {
        let mut random = Random(seed);
        let mut one_in = |many: u64| random.draw().is_multiple_of(many);
        let mut way = |at: usize| {
            let copies = 1 + u64::from(one_in(self.copied[at]));
            let late = 9 * MS * u64::from(one_in(self.late[at]));
            let is_lost = one_in(self.lost[at]);
            let copies = (0..copies).filter(|_| !is_lost);
            copies.map(|copy| WAYS[at] + late + copy * MS / 2).collect()
        };
        let course = |_| Course {
            there: way(0),
            held: HELD,
            back: way(1),
        };
        (0..count).map(course).collect()
    }
}

/// Sends `count` requests, one in 2 ms, to a reflector. Returns what is reported, and what is so.
fn reflect(reflector: Reflector, count: u64, parallel: usize) -> (Report, FarEnd) {
    reflect_for(reflector, count, parallel, span(60), None)
}

/// The same, with this time-out, and stopped after so long.
fn reflect_for(
    reflector: Reflector,
    count: u64,
    parallel: usize,
    timeout: Duration,
    stopped: Option<u64>,
) -> (Report, FarEnd) {
    let interrupt = Interrupt::default();
    let connect = Connect {
        timeout: Timespan(timeout),
        timestamps: Timestamps::User,
        ..target("stamp://127.0.0.1:7")
    };
    let plan = Plan {
        parallel,
        depth: 64,
        size: Packets::new(None, 0, 0).size(),
        pace: Pace::Interval(span(2)),
        count: Some(count),
        ..Plan::new(connect)
    };
    let mut far = FarEnd::new(&plan, Vec::new(), 1);
    far.horizon = (2 * count + 3_000) * MS;
    far.reflector = Some(reflector);
    far.interrupt = stopped.map(|moment| (moment, interrupt.clone()));
    let played = play_out(&plan, far, &Told::default(), &interrupt);
    let (mut report, far, _) = played.unwrap();
    report.conclude(None, None);
    (report, far)
}

fn sessions(far: &FarEnd) -> &[Session] {
    &far.reflector.as_ref().unwrap().sessions
}

/// The sum over the sessions whose reflector is known to count.
fn known<const N: usize>(far: &FarEnd, of: impl Fn(&Session) -> [u64; N]) -> [u64; N] {
    let counted = sessions(far).iter().filter(|session| session.has_own());
    counted.map(of).fold([0; N], |sum, more| {
        std::array::from_fn(|at| sum[at] + more[at])
    })
}

fn told(report: &Report) -> &Ways {
    report.ways.as_ref().unwrap()
}

/// What holds however the reflector counts.
fn check_books(report: &Report, far: &FarEnd, case: &str) {
    let (counts, ways, seen) = (&report.counts, told(report), &far.seen);
    assert!(counts.balance(), "{case}: {counts:?}");
    let lost: u64 = sessions(far).iter().flat_map(Session::lost).sum();
    assert_eq!(counts.lost, lost, "{case}");
    let ways_lost = [ways.lost_there, ways.lost_back, ways.lost_unknown];
    assert_eq!(ways_lost.iter().sum::<u64>(), lost, "{case}: {ways_lost:?}");
    let counted = [
        counts.unique,
        counts.duplicate,
        counts.reordered,
        counts.late,
    ];
    let is = [seen.unique, seen.duplicate, seen.reordered, seen.late];
    assert_eq!(counted, is, "{case}");
    assert_eq!(
        [counts.corrupt, counts.truncated, counts.foreign],
        [0; 3],
        "{case}"
    );
}

#[test]
fn what_each_way_loses_repeats_and_overtakes_is_what_was_done_to_it() {
    let (mut there, mut back, mut exact) = (0, 0, 0);
    for seed in 0..60u64 {
        let draw = |salt: u64, choices: &[u64]| {
            choices[(mix(seed * 31 + salt) % choices.len() as u64) as usize]
        };
        let [few, some] = [[0, 20, 20, 3], [0, 0, 40, 15]];
        let path = Path {
            lost: [draw(1, &few), draw(2, &few)],
            late: [draw(3, &some), draw(4, &some)],
            // Copies of replies are told by their numbers.
            copied: [0, draw(5, &some)],
        };
        let parallel = 1 + (seed % 3) as usize;
        let case = format!("seed {seed}, {parallel} sockets, {path:?}");
        let reflector = Reflector::new(path.courses(300, seed));
        let (report, far) = reflect(reflector, 300, parallel);
        check_books(&report, &far, &case);
        let ways = told(&report);
        let [lost_there, lost_back, _] = known(&far, Session::lost);
        let lost = [ways.lost_there, ways.lost_back];
        let [at_the_end] = known(&far, |session| [session.at_the_end()]);
        for (found, is) in lost.into_iter().zip([lost_there, lost_back]) {
            assert!(found.abs_diff(is) <= at_the_end, "{case}: {found}, {is}");
        }
        assert_eq!(lost[0] + lost[1], lost_there + lost_back, "{case}");
        assert!(ways.copies_lost_back <= at_the_end, "{case}");
        // Mostly there are none of these, and then all is exact.
        exact += u64::from(at_the_end == 0);
        let reordered = [ways.reordered_there, ways.reordered_back];
        assert_eq!(reordered, known(&far, Session::reordered), "{case}");
        let duplicated = [ways.duplicated_there, ways.duplicated_back];
        assert_eq!(duplicated, known(&far, Session::duplicated), "{case}");
        there += lost_there;
        back += lost_back;
    }
    assert!(there > 300 && back > 300, "{there} {back}");
    assert!(exact > 30, "{exact}");
}

#[test]
fn of_a_run_that_is_stopped_all_that_was_lost_has_its_way() {
    let mut lost = 0;
    for seed in 0..20 {
        let path = Path {
            lost: [20, 20],
            ..Path::default()
        };
        let reflector = Reflector::new(path.courses(300, seed));
        // Nobody waits for what is under way as long as for any reply.
        let (report, _) = reflect_for(reflector, 300, 1, span(5_000), Some(400 * MS));
        let (counts, ways) = (&report.counts, told(&report));
        assert!(counts.balance(), "seed {seed}: {counts:?}");
        let ways_lost = [ways.lost_there, ways.lost_back, ways.lost_unknown];
        assert_eq!(ways_lost.iter().sum::<u64>(), counts.lost, "{ways_lost:?}");
        lost += counts.lost;
    }
    assert!(lost > 100, "{lost}");
}

#[test]
fn copies_of_requests_are_told_from_copies_of_replies() {
    for seed in 0..20 {
        let path = Path {
            late: [40, 40],
            copied: [9, 7],
            ..Path::default()
        };
        let reflector = Reflector::new(path.courses(400, seed));
        let (report, far) = reflect(reflector, 400, 1);
        check_books(&report, &far, &format!("seed {seed}"));
        let ways = told(&report);
        let duplicated = [ways.duplicated_there, ways.duplicated_back];
        assert_eq!(duplicated, known(&far, Session::duplicated), "seed {seed}");
        assert!(duplicated.iter().all(|count| *count > 10), "{duplicated:?}");
        assert_eq!([ways.lost_there, ways.lost_back], [0, 0], "seed {seed}");
    }
}

#[test]
fn a_stateless_reflector_tells_no_way_and_every_count_all_the_same() {
    let mut stateless = 0;
    for seed in 0..30 {
        let path = Path {
            lost: [20, 20],
            late: [30, 30],
            copied: [0, 25],
        };
        let mut reflector = Reflector::new(path.courses(300, seed));
        reflector.is_stateless = true;
        let (report, far) = reflect(reflector, 300, 1);
        check_books(&report, &far, &format!("seed {seed}"));
        let ways = told(&report);
        assert_eq!(ways.lost_unknown, report.counts.lost, "seed {seed}");
        assert_ne!(ways.numbering, Numbering::Stateful, "seed {seed}");
        stateless += u64::from(ways.numbering == Numbering::Stateless);
    }
    assert_eq!(stateless, 30);
}
