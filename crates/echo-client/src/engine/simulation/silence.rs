//! The engine against a far end that is late, silent or gone: what is late is no loss, what is lost is no
//! silence, and silence ends.

use super::*;

/// A plan over one connection.
fn plan(udp: bool, timeout_ms: u64, pace: Pace, count: u64) -> Plan {
    let connect = Connect {
        timeout: Timespan(span(timeout_ms)),
        ..target(if udp {
            "udp://127.0.0.1:7"
        } else {
            "tcp://127.0.0.1:7"
        })
    };
    Plan {
        depth: 100,
        pace,
        count: Some(count),
        ..Plan::new(connect)
    }
}

/// Plays a plan against these steps. Returns what is reported, and what the far end knows.
fn played(plan: &Plan, steps: Vec<Step>) -> (Report, FarEnd) {
    let mut far = FarEnd::new(plan, steps, 1);
    far.look_ns = 100;
    against(plan, far)
}

fn against(plan: &Plan, far: FarEnd) -> (Report, FarEnd) {
    let played = play_out(plan, far, &Told::default(), &Interrupt::default());
    let (mut report, far, _) = played.unwrap();
    assert!(report.counts.balance(), "{:?}", report.counts);
    report.conclude(None, None);
    (report, far)
}

/// What is sent, late, lost and unsent, and the connections.
fn fates(report: &Report) -> [u64; 5] {
    let counts = &report.counts;
    let [sent, unsent] = [counts.sent, counts.unsent];
    [sent, counts.late, counts.lost, unsent, counts.connections]
}

#[test]
fn what_comes_after_its_time_is_late_and_not_lost() {
    let paces = [
        Pace::Closed,
        Pace::Interval(span(20)),
        Pace::Interval(span(200)),
        Pace::Rate(100.0),
    ];
    for (udp, pace) in [true, false]
        .into_iter()
        .flat_map(|udp| paces.map(|p| (udp, p)))
    {
        for (timeout, trip, count) in [(50, 80, 40), (70, 120, 40), (100, 290, 400)] {
            for (depth, patience) in [(1, None), (4, Some(span(0)))] {
                let plan = Plan {
                    depth,
                    patience,
                    ..plan(udp, timeout, pace, count)
                };
                let (report, _) = played(&plan, vec![Step::Echo(trip * MS); 400]);
                let subject = (udp, pace, timeout, trip, depth);
                let [sent, late, lost, unsent, connections] = fates(&report);
                assert_eq!((late, lost, connections), (sent, 0, 1), "{subject:?}");
                assert_eq!(sent + unsent, count, "{subject:?}");
            }
        }
    }
}

#[test]
fn a_refused_datagram_takes_no_other_along_whichever_call_hears_of_it_first() {
    for steps in [
        // It is the next one's write.
        vec![Step::Echo(MS), Step::Refuse],
        vec![Step::Refuse, Step::Echo(MS)],
        vec![Step::Echo(20 * MS), Step::Bar(2)],
    ] {
        let is_barred = matches!(steps[1], Step::Bar(_));
        let plan = Plan {
            depth: 4,
            ..plan(true, 100, Pace::Closed, 20)
        };
        let (report, _) = played(&plan, steps);
        let expected = if is_barred {
            [18, 0, 0, 2, 1]
        } else {
            [20, 0, 1, 0, 1]
        };
        assert_eq!(fates(&report), expected);
    }
}

#[test]
fn a_path_that_is_far_longer_than_the_time_out_is_heard_of_after_few_sockets() {
    for (udp, patience) in [(true, None), (true, Some(span(0))), (false, None)] {
        let plan = Plan {
            patience,
            ..plan(udp, 100, Pace::Interval(span(20)), 400)
        };
        let (report, _) = played(&plan, vec![Step::Echo(900 * MS); 400]);
        // The first waits for three time-outs, the second for six, and the third hears a reply.
        let [sent, late, lost, unsent, connections] = fates(&report);
        assert_eq!((sent, late + lost, unsent, connections), (400, 400, 0, 3));
        assert!(lost < 60, "{lost}");
    }
}

#[test]
fn a_socket_that_falls_silent_is_opened_anew_after_three_time_outs() {
    for udp in [true, false] {
        for (pace, most) in [
            (Pace::Interval(span(50)), 8),
            (Pace::Rate(20.0), 8),
            (Pace::Closed, 4),
        ] {
            let plan = Plan {
                depth: if pace == Pace::Closed { 1 } else { 64 },
                ..plan(udp, 100, pace, 60)
            };
            let mut far = FarEnd::new(&plan, vec![Step::Echo(MS); 10], 1);
            far.lost_line = Some(0);
            let (report, _) = against(&plan, far);
            let [sent, _, lost, _, connections] = fates(&report);
            assert_eq!((sent, connections), (60, 2), "{udp} {pace:?}");
            assert!((3..=most).contains(&lost), "{udp} {pace:?}: {lost}");
        }
    }
}

#[test]
fn what_was_refused_makes_nobody_more_patient_with_silence() {
    let plan = plan(false, 100, Pace::Interval(span(50)), 200);
    // The first that gets through after ten refusals falls silent.
    let steps = vec![Step::Echo(MS), Step::Restart(4_000 * MS), Step::Never];
    let (report, far) = played(&plan, steps);
    assert!(far.refused >= 10, "{}", far.refused);
    assert_eq!(report.counts.connections, 3);
    let silent = far
        .messages
        .iter()
        .filter(|(sent, reply)| *sent > 4_000 * MS && reply.is_none());
    let silent = silent.count();
    assert!((6..=8).contains(&silent), "{silent}");
}

#[test]
fn silence_is_waited_for_no_longer_than_a_minute() {
    let slow = [vec![Step::Echo(100_000 * MS)], vec![Step::Echo(MS); 20]].concat();
    // In a long outage, after 30 s and then always 60 s; and after a reply that came when this machine woke.
    for (steps, connections) in [(vec![Step::Never; 36], 4), (slow, 2)] {
        let plan = plan(true, 10_000, Pace::Interval(span(5_000)), 36);
        let mut far = FarEnd::new(&plan, steps, 1);
        (far.horizon, far.lost_line) = (400_000 * MS, Some(0));
        let (report, _) = against(&plan, far);
        assert_eq!(report.counts.connections, connections);
    }
}

#[test]
fn a_target_to_which_no_connection_is_made_any_more_is_given_up() {
    let plan = Plan {
        new_connection: true,
        duration: Some(span(20_000)),
        count: None,
        patience: Some(span(2_000)),
        ..plan(false, 100, Pace::Rate(100.0), 0)
    };
    let mut far = FarEnd::new(&plan, Vec::new(), 1);
    (far.dial_ns, far.full_until, far.drops_dials) = (100 * MS, u64::MAX, true);
    let played = play_out(&plan, far, &Told::default(), &Interrupt::default());
    let (_, far, gave_up) = played.unwrap();
    assert!(gave_up);
    assert!(far.now < 4_000 * MS, "{}", far.now);
}

#[test]
fn a_stream_remembers_all_that_it_is_owed() {
    let plan = Plan {
        depth: 60_000,
        ..plan(false, 70, Pace::Rate(100_000.0), 20_000)
    };
    let (report, _) = played(&plan, vec![Step::Echo(180 * MS); 20_000]);
    assert_eq!(fates(&report), [20_000, 20_000, 0, 0, 1]);
}

#[test]
fn a_loss_where_replies_are_quick_is_waited_for_no_longer_than_its_time() {
    for (steps, end_ms) in [
        (vec![Step::Echo(MS), Step::Echo(MS), Step::Never], 5_000),
        // Of a far end that has said nothing yet nobody knows how late it is.
        (vec![Step::Never; 3], 6_000),
    ] {
        let plan = plan(true, 5_000, Pace::Interval(span(10)), 3);
        let (report, far) = played(&plan, steps);
        assert!(report.counts.lost > 0);
        let after = far.now - 20 * MS;
        assert!(after.abs_diff(end_ms * MS) < 30 * MS, "{after}");
    }
}

#[test]
fn what_is_refused_keeps_nobody_waiting() {
    for pace in [Pace::Closed, Pace::Rate(100.0), Pace::Interval(span(10))] {
        let plan = Plan {
            depth: 1,
            ..plan(true, 5_000, pace, 20)
        };
        let (report, far) = played(&plan, vec![Step::Refuse; 20]);
        // After three in a row the socket is opened anew, and each time a little later.
        assert_eq!(fates(&report)[..4], [20, 0, 20, 0], "{pace:?}");
        assert!(far.now < 2_000 * MS, "{pace:?}: it took {} ns", far.now);
    }
}

#[test]
fn a_connection_for_each_request_is_made_at_once() {
    for pace in [Pace::Closed, Pace::Rate(500.0), Pace::Interval(span(2))] {
        let plan = Plan {
            new_connection: true,
            ..plan(false, 1_000, pace, 100)
        };
        let (report, far) = played(&plan, Vec::new());
        assert_eq!(report.counts.unique, 100);
        let last = far.messages[99].0;
        assert!(last <= 200 * MS, "{pace:?}: the last left at {last}");
    }
}

/// Plays a plan with a connection for each request against a far end that takes `dial_ms` to be
/// reached, and refuses new ones until `full_ms`.
fn dialed(plan: &Plan, dial_ms: u64, full_ms: u64, steps: Vec<Step>) -> (Report, FarEnd) {
    let mut far = FarEnd::new(plan, steps, 1);
    far.dial_ns = dial_ms * MS;
    far.full_until = full_ms * MS;
    far.look_ns = 100;
    let played = play_out(plan, far, &Told::default(), &Interrupt::default());
    let (report, far, gave_up) = played.unwrap();
    assert!(report.counts.balance(), "{:?}", report.counts);
    assert!(!gave_up, "no connection is given up");
    (report, far)
}

#[test]
fn what_can_have_no_connection_by_the_end_is_unsent() {
    let plan = Plan {
        parallel: 4,
        new_connection: true,
        duration: Some(span(1_000)),
        count: None,
        ..plan(false, 1_000, Pace::Rate(2_000.0), 0)
    };
    let (report, far) = dialed(&plan, 10, 0, Vec::new());
    let [sent, _, lost, unsent, _] = fates(&report);
    assert_eq!((sent + unsent, lost), (2_000, 0));
    assert!((300..450).contains(&sent), "{sent} were sent");
    let (last, _) = far.messages.last().unwrap();
    assert!(*last < 1_020 * MS, "the last left at {last}");
}

#[test]
fn refusals_at_first_are_forgiven_where_one_has_shown_that_the_target_is_there() {
    // Before the first reply, or after it.
    for first in [Step::Echo(60 * MS), Step::Echo(1)] {
        for pace in [Pace::Closed, Pace::Rate(1_000.0)] {
            let plan = Plan {
                parallel: 8,
                new_connection: true,
                patience: Some(span(10_000)),
                ..plan(false, 1_000, pace, 400)
            };
            let (report, far) = dialed(&plan, 1, 50, vec![first]);
            let counts = &report.counts;
            assert_eq!(counts.lost, far.refused, "{pace:?}");
            assert_eq!((counts.sent, counts.unsent), (400, 0), "{pace:?}");
        }
    }
}

#[test]
fn a_backlog_of_connections_is_made_some_at_a_time() {
    let plan = Plan {
        parallel: 500,
        new_connection: true,
        ..plan(false, 1_000, Pace::Rate(1e6), 500)
    };
    let (report, far) = dialed(&plan, 10, 0, Vec::new());
    assert_eq!(fates(&report)[..4], [500, 0, 0, 0]);
    assert_eq!(far.most_dials, crate::engine::dial::AT_ONCE);
    // Those that had to wait did so from when they were due.
    let longest = report.rtt.quantile(1.0);
    assert!((span(45)..span(60)).contains(&longest), "{longest:?}");
}

#[test]
fn warm_up_has_all_its_connections_however_few_are_to_be_measured() {
    for pace in [Pace::Rate(1_000.0), Pace::Interval(span(1))] {
        let plan = Plan {
            parallel: 8,
            new_connection: true,
            warmup: span(100),
            ..plan(false, 1_000, pace, 1)
        };
        let (report, far) = dialed(&plan, 10, 0, Vec::new());
        assert_eq!(fates(&report)[..4], [1, 0, 0, 0], "{pace:?}");
        let warm = far.messages.len() - 1;
        assert!(warm > 40, "{pace:?}: {warm}");
    }
}

#[test]
fn a_socket_without_a_reply_is_opened_anew_where_others_have_replies() {
    let plan = Plan {
        parallel: 4,
        patience: Some(span(10_000)),
        ..plan(true, 100, Pace::Rate(40.0), 200)
    };
    // A quarter of them: in turn, and so all those of one socket.
    let steps = (0..200).map(|k| match k % 4 == 1 && k < 60 {
        true => Step::Never,
        false => Step::Echo(MS),
    });
    let (report, _) = played(&plan, steps.collect());
    let [sent, _, lost, unsent, connections] = fates(&report);
    // Twice, for the first new one meets the same.
    assert_eq!((sent, unsent, connections), (200, 0, 6));
    assert!((10..=15).contains(&lost), "{lost}");
    assert!(report.errors.is_empty(), "{:?}", report.errors);
}

#[test]
fn what_a_connection_that_was_given_up_was_to_send_is_unsent() {
    for pace in [Pace::Closed, Pace::Rate(1.0), Pace::Interval(span(1_000))] {
        let plan = Plan {
            depth: 1,
            patience: Some(span(0)),
            ..plan(true, 400, pace, 20)
        };
        let (report, _) = played(&plan, vec![Step::Never; 20]);
        let [sent, _, lost, unsent, _] = fates(&report);
        assert_eq!((lost, sent + unsent), (sent, 20), "{pace:?}");
        assert!(unsent > 10, "{pace:?}: {unsent}");
    }
}

#[test]
fn only_drops_of_what_is_measured_excuse_its_losses() {
    let (after, end) = (104 * MS, u64::MAX);
    for (drops, hidden, excused) in [
        (vec![10 * MS, 20 * MS, 30 * MS], 0..0, 0),
        (vec![10 * MS, 105 * MS], 0..0, 1),
        (vec![105 * MS, 106 * MS, 107 * MS, 108 * MS], 0..0, 2),
        // Nor those of which the system told at one end only.
        (vec![10 * MS, 20 * MS, 30 * MS], 0..after, 0),
        (vec![10 * MS, 105 * MS], after..end, 0),
    ] {
        let plan = Plan {
            warmup: span(100),
            ..plan(true, 200, Pace::Interval(span(10)), 20)
        };
        // Two of those that are measured get no reply.
        let mut steps = vec![Step::Echo(MS); 12];
        steps.extend([Step::Never; 2]);
        let mut far = FarEnd::new(&plan, steps, 1);
        (far.drops, far.hides_drops) = (drops, hidden);
        let (report, _) = against(&plan, far);
        let counts = report.counts;
        assert_eq!((counts.lost, counts.overflowed), (2, excused));
    }
}
