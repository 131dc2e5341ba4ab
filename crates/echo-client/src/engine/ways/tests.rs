//! Paths that lose, swap and copy packets each way, and what is told of them.

use super::*;
use echo_core::splitmix::{Random, mix};

/// What happens to packets: of so many, one, each way. Times are in the intervals of requests.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    drop: [u64; 2],
    swap: [u64; 2],
    copy: [u64; 2],
    is_stateless: bool,
}

/// What the path has done, and what the session makes of it.
struct Run {
    lost: [u64; 2],
    tail: u64,
    missing: u64,
    copies: u64,
    found: Ways,
}

fn run(path: Path, requests: u64, seed: u64) -> Run {
    let mut random = Random(seed);
    let mut one_in = |many: u64| random.draw().is_multiple_of(many);
    // A way takes what left, by its time, and gives what comes, in order.
    let mut way = |packets: Vec<(u64, u64, u32)>, at: usize| {
        let mut come = Vec::new();
        for (time, ours, theirs) in packets {
            for copy in 0..1 + u64::from(one_in(path.copy[at])) {
                let late = 8 * u64::from(one_in(path.swap[at]));
                if !one_in(path.drop[at]) {
                    come.push((time + late + copy, ours, theirs));
                }
            }
        }
        come.sort_unstable();
        come
    };
    let mut arrived = way((0..requests).map(|n| (2 * n, n, 0)).collect(), 0);
    let mut reached = vec![false; requests as usize];
    for (theirs, packet) in arrived.iter_mut().enumerate() {
        reached[packet.1 as usize] = true;
        packet.2 = theirs as u32;
    }
    let come = way(arrived, 1);
    let came: BTreeSet<u32> = come.iter().map(|packet| packet.2).collect();
    let highest = came.last().map_or(0, |last| *last as usize + 1);
    let missing = (highest - came.len()) as u64;
    let ours: BTreeSet<u64> = come.iter().map(|packet| packet.1).collect();
    let copies = (came.len() - ours.len()) as u64;
    let mut session = Session::default();
    let mut answered = vec![false; requests as usize];
    let mut left = 0;
    for (time, request, theirs) in come {
        while left < requests && left * 2 <= time {
            session.number(left, true);
            left += 1;
        }
        let is_first = !std::mem::replace(&mut answered[request as usize], true);
        // A reflector that copies our numbers copies that which is left out, too.
        let left_out = u64::from(session.gap.is_some_and(|gap| request >= gap));
        let theirs = match path.is_stateless {
            true => (request + left_out) as u32,
            false => theirs,
        };
        session.reply(request, theirs, is_first);
        let oldest = answered.iter().position(|is| !is).unwrap_or(0) as u64;
        session.forget(oldest.max(left.saturating_sub(200)));
    }
    for request in left..requests {
        session.number(request, true);
    }
    let last = answered.iter().rposition(|is| *is).map_or(0, |at| at + 1);
    let lost = |way: bool| {
        let requests = (0..last).filter(|n| !answered[*n] && reached[*n] == way);
        requests.count() as u64
    };
    let lost = [lost(false), lost(true)];
    Run {
        lost,
        tail: requests - last as u64,
        missing,
        copies,
        found: session.end().unwrap_or_default(),
    }
}

fn paths() -> impl Iterator<Item = (Path, u64)> {
    (0..200u64).map(|seed| {
        let draw = |salt: u64, choices: &[u64]| {
            choices[(mix(seed * 31 + salt) % choices.len() as u64) as usize]
        };
        let [drop, swap] = [[0, 20, 20, 5], [0, 0, 100, 30]];
        let path = Path {
            drop: [draw(1, &drop), draw(2, &drop)],
            swap: [draw(3, &swap), draw(4, &swap)],
            ..Path::default()
        };
        (path, seed)
    })
}

#[test]
fn what_was_lost_each_way_is_counted_exactly_whatever_else_happens() {
    for (path, seed) in paths() {
        // Copies of replies are told by their numbers.
        let copied = Path {
            copy: [0, if seed % 2 == 0 { 50 } else { 0 }],
            ..path
        };
        let run = run(copied, 1000, seed);
        if run.found.numbering == Numbering::Unknown {
            assert_eq!(run.lost, [0, 0], "{copied:?}");
            continue;
        }
        let found = [run.found.lost_there, run.found.lost_back];
        assert_eq!(
            found, run.lost,
            "{copied:?} seed {seed}, {} at the end",
            run.tail
        );
        assert_eq!(run.found.duplicated_there, 0, "{copied:?}");
    }
}

#[test]
fn copies_made_on_the_way_there_are_no_losses() {
    let (mut off, mut all) = (0, 0);
    for (path, seed) in paths() {
        let copied = Path {
            copy: [50, 100],
            ..path
        };
        let run = run(copied, 1000, seed);
        let found = &run.found;
        assert_eq!(found.duplicated_there, run.copies, "{copied:?} {seed}");
        off += found.lost_there.abs_diff(run.lost[0]) + found.lost_back.abs_diff(run.lost[1]);
        all += run.lost[0] + run.lost[1];
        let missing = found.lost_back + found.copies_lost_back;
        // What is missing before the first that came may be an older session's.
        assert!(run.missing - missing <= 1, "{copied:?} {seed}");
    }
    // The reply to a copy that was lost beside a request that never came looks like the reply to
    // that request.
    assert!(off * 100 < all, "{off} of {all}");
}

#[test]
fn a_reflector_that_copies_our_numbers_says_nothing_of_the_way() {
    for (path, seed) in paths() {
        let run = run(
            Path {
                is_stateless: true,
                ..path
            },
            500,
            seed,
        );
        assert_ne!(run.found.numbering, Numbering::Stateful, "{path:?}");
        assert_eq!((run.found.lost_there, run.found.lost_back), (0, 0));
        if run.lost != [0, 0] {
            assert_eq!(run.found.numbering, Numbering::Stateless, "{path:?} {seed}");
        }
    }
}

#[test]
fn numbers_are_taken_for_those_of_requests_and_one_may_be_left_out() {
    let mut session = Session::default();
    for request in 0..4 {
        assert_eq!(session.number(request, true), request as u32);
    }
    assert_eq!((session.request(3), session.request(4)), (Some(3), None));
    session.reply(0, 0, true);
    session.reply(2, 2, true);
    // Something is missing, and the numbers could be ours: one is left out.
    assert_eq!(session.number(4, true), 5);
    assert_eq!(
        [3, 4, 5, 6].map(|n| session.request(n)),
        [Some(3), None, Some(4), None]
    );
    session.reply(4, 4, true);
    let found = session.end().unwrap();
    assert_eq!(found.numbering, Numbering::Stateful);
    assert_eq!((found.lost_there, found.lost_back), (0, 2));
}

#[test]
fn a_session_that_is_older_or_begins_anew_makes_no_losses_up() {
    let mut session = Session::default();
    for (request, theirs) in [(0, 700), (1, 701), (3, 702), (4, 703)] {
        for n in 0..=request {
            session.number(n, true);
        }
        session.reply(request, theirs, true);
    }
    for request in 5..300 {
        session.number(request, true);
        // The reflector has restarted, and three requests met nobody.
        if request > 7 {
            session.reply(request, request as u32 - 8, true);
        }
    }
    let found = session.end().unwrap();
    assert_eq!((found.lost_there, found.lost_back), (1, 0));
}

#[test]
fn numbers_that_count_nothing_tell_of_no_way() {
    type Theirs = fn(u64) -> u32;
    let theirs: [Theirs; 11] = [
        // It does not count, or not each.
        |_| 0,
        |_| 7,
        |request| request as u32 / 2,
        |request| request as u32 % 4,
        // It counts others' requests, too.
        |request| 2 * request as u32,
        |request| (3 * request + request % 2) as u32,
        |request| (request + request / 4) as u32,
        |request| mix(request) as u32,
        |request| u32::MAX - request as u32,
        |request| 1000 - request as u32,
        |request| (request * request * 1000) as u32,
    ];
    for theirs in theirs {
        let mut session = Session::default();
        for request in 0..40 {
            session.number(request, true);
            session.reply(request, theirs(request), true);
        }
        let ways = session.end().unwrap();
        let unknown = Ways {
            numbering: Numbering::Unknown,
            ..Ways::default()
        };
        assert_eq!(ways, unknown);
    }
}

#[test]
fn a_constant_or_our_number_and_a_constant_says_nothing_of_the_way() {
    type Theirs = fn(u32) -> u32;
    let reflectors: [(Theirs, Numbering); 4] = [
        (|_| 0, Numbering::Unknown),
        (|_| 7, Numbering::Unknown),
        (|ours| ours + 1_000_000, Numbering::Stateless),
        (|ours| ours.wrapping_sub(9), Numbering::Stateless),
    ];
    for (at, (theirs, numbering)) in reflectors.into_iter().enumerate() {
        for requests in [8, 10, 12, 16, 100] {
            let mut session = Session::default();
            for request in 0..requests {
                let ours = session.number(request, true);
                if request % 4 != 3 {
                    session.reply(request, theirs(ours), true);
                }
            }
            let ways = session.end().unwrap();
            let nothing = Ways {
                numbering,
                ..Ways::default()
            };
            assert_eq!(ways, nothing, "{at}: {requests}");
        }
    }
}

#[test]
fn a_reflector_may_begin_anew_behind_what_has_been_settled() {
    let mut session = Session::default();
    let mut reply = |request: u64, theirs: u32, is_first: bool| {
        if is_first {
            session.number(request, true);
        }
        session.reply(request, theirs, is_first);
        session.forget(request);
    };
    (0..=1020).for_each(|request| reply(request, request as u32, true));
    // A number that is far ahead, so that those that follow in turn have fallen behind it.
    reply(1020, 1050, false);
    (1021..=1030).for_each(|request| reply(request, request as u32, true));
    reply(1031, 0, true);
    (1032..1040).for_each(|request| reply(request, request as u32 - 1031, true));
    let ways = session.end().unwrap();
    assert_eq!(ways.numbering, Numbering::Stateful);
    assert_eq!((ways.lost_there, ways.lost_back), (0, 0));
}

#[test]
fn a_reflector_that_begins_anew_soon_overtakes_nothing() {
    // It begins anew with this request, and the replies to these do not come, or come late.
    for (anew, lost, late) in [
        (50, vec![], None),
        (1, vec![], None),
        (40, vec![0, 40], None),
        (40, vec![0, 1, 2, 40, 42], None),
        (60, vec![], Some(57)),
        (60, vec![0], Some(59)),
    ] {
        let mut session = Session::default();
        for request in 0..150 {
            session.number(request, true);
            let prompt = (!lost.contains(&request) && late != Some(request)).then_some(request);
            for come in prompt
                .into_iter()
                .chain(late.filter(|late| late + 5 == request))
            {
                let theirs = come - if come < anew { 0 } else { anew };
                session.reply(come, theirs as u32, true);
            }
        }
        let found = session.end().unwrap();
        let case = format!("{anew} {lost:?} {late:?} {found:?}");
        let reordered = (found.reordered_there, found.reordered_back);
        assert_eq!(reordered, (0, 0), "{case}");
        assert_eq!((found.duplicated_there, found.duplicated_back), (0, 0));
        assert_eq!((found.lost_there, found.copies_lost_back), (0, 0), "{case}");
        // Of those around the restart, nobody knows what became.
        let lost = lost.len() as u64;
        assert!(
            (lost.saturating_sub(1)..=lost).contains(&found.lost_back),
            "{case}"
        );
    }
}

#[test]
fn what_is_not_measured_is_not_counted() {
    let mut session = Session::default();
    for request in 0..100 {
        session.number(request, request >= 50);
        if request != 20 && request != 70 {
            let theirs = request - u64::from(request > 20) - u64::from(request > 70);
            session.reply(request, theirs as u32, true);
        }
    }
    assert_eq!(session.end().unwrap().lost_there, 1);
}

#[test]
fn numbers_in_no_order_take_little_room_and_time() {
    type Theirs = fn(u64) -> u32;
    let theirs: [Theirs; 4] = [
        |_| 7,
        // Each two are swapped, for ever.
        |request| request as u32 ^ 1,
        |request| request as u32 / 2,
        |request| u32::MAX - request as u32,
    ];
    for (at, theirs) in theirs.into_iter().enumerate() {
        let mut session = Session::default();
        for request in 0..300_000 {
            session.number(request, true);
            session.reply(request, theirs(request), true);
            session.forget(request);
            assert!(session.replies.len() as u64 <= 2 * MOST + BATCH, "{at}");
        }
        assert_eq!(session.end().unwrap().numbering, Numbering::Unknown, "{at}");
    }
    let mut session = Session::default();
    session.number(0, true);
    for copy in 0..100_000 {
        session.reply(0, copy, copy == 0);
    }
    assert!(session.copies.len() as u64 <= MOST + 1);
}

#[test]
fn a_session_without_an_answer_leaves_nothing_to_the_next() {
    let mut session = Session::default();
    for request in 0..300 {
        session.number(request, false);
    }
    assert_eq!(session.end(), None);
    for request in 0..100 {
        session.number(request, true);
        assert_eq!(session.request(100 + request as u32), None);
        if request != 50 {
            session.reply(request, (request - u64::from(request > 50)) as u32, true);
        }
    }
    assert_eq!(session.end().unwrap().lost_there, 1);
}

#[test]
fn an_outage_voids_no_session_and_takes_no_room() {
    let mut session = Session::default();
    let mut send = |request: u64, theirs: Option<u32>| {
        session.number(request, true);
        if let Some(theirs) = theirs {
            session.reply(request, theirs, true);
        }
        session.forget(request.saturating_sub(10));
        assert!(session.replies.len() as u64 <= 2 * BATCH);
    };
    (0..5_000).for_each(|request| send(request, Some(request as u32)));
    (5_000..205_000).for_each(|request| send(request, None));
    (205_000..300_000).for_each(|request| send(request, Some(request as u32 - 200_000)));
    let ways = session.end().unwrap();
    assert_eq!(ways.numbering, Numbering::Stateful);
    assert_eq!((ways.lost_there, ways.lost_back), (200_000, 0));
}

#[test]
fn a_reflector_may_begin_anew_several_times_soon() {
    let mut session = Session::default();
    for request in 0..900 {
        session.number(request, true);
        session.reply(request, (request % 150) as u32, true);
    }
    let ways = session.end().unwrap();
    assert_eq!(ways.numbering, Numbering::Stateful);
    assert_eq!((ways.lost_there, ways.lost_back), (0, 0));
}
