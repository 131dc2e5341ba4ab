//! How a run ends, by what it found out: which facts fail it, and which thresholds decide of them.

use std::time::Duration;

use echo_client::connection::ErrorKind;
use echo_client::interrupt::Why;
use echo_client::report::{Counts, Cut, Ending, Fault, Report, Thresholds, Verdict};

fn run(counts: Counts) -> Report {
    let mut report = Report {
        elapsed: Duration::from_secs(1),
        counts: Counts {
            received: counts.unique + counts.corrupt + counts.foreign,
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
    // One had no room beside those that strangers sent.
    let mut strange = run(Counts {
        foreign: 9,
        overflowed: 1,
        ..sent(1, 0)
    });
    strange.target.transport = echo_core::Transport::Udp;
    // As many as came had no room, and more than that.
    let dropped = Counts {
        overflowed: 9,
        ..sent(5, 0)
    };
    let errors = |kind| Report {
        errors: [(kind, 1)].into(),
        fault: Some(Fault::new(kind, "why").advise("give it more memory")),
        ..run(sent(100, 99))
    };
    for (report, thresholds, reasons) in [
        (run(sent(5, 5)), "", vec![]),
        (run(sent(5, 4)), "", vec![Lost]),
        (run(sent(5, 4)), "loss>30%", vec![]),
        (run(sent(5, 4)), "loss>3%", vec![Threshold]),
        (run(sent(5, 4)), "errors>30", vec![Lost]),
        (run(dropped), "", vec![Lost]),
        (run(dropped), "loss>5%", vec![Lost]),
        (run(sent(5, 0)), "loss>100%", vec![Lost]),
        (strange, "", vec![Lost]),
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
fn datagrams_that_were_refused_are_no_connections_and_excuse_no_others() {
    let udp = |lost: u64, refused| {
        let mut report = run(sent(20, 20 - lost));
        report.target.transport = echo_core::Transport::Udp;
        report.errors = [(ErrorKind::Refused, refused)].into();
        report.conclude(None, None);
        let reasons = report.outcome.reasons.into_iter();
        reasons.map(|reason| reason.message).collect::<Vec<_>>()
    };
    let told = udp(5, 5);
    assert!(
        told.len() == 1 && told[0].contains("5 datagrams to"),
        "{told:?}"
    );
    let told = udp(6, 1);
    assert!(told[0].contains("1 datagram to"), "{told:?}");
    assert!(told[1].starts_with("6 of 20 requests"), "{told:?}");
}

#[test]
fn a_run_that_fails_for_a_good_figure_says_how_the_opposite_is_asked() {
    for (condition, opposite) in [
        ("p99<2ms", Some("p99>=2ms")),
        ("rate>1", Some("rate<=1")),
        ("p99>1us", None),
        ("rate<9", None),
        ("p99<1us", None),
    ] {
        let mut report = run(sent(5, 5));
        report.conclude(condition.parse().ok().as_ref(), None);
        let notes = report.notes.join("");
        let is_told = opposite.is_some_and(|opposite| notes.ends_with(opposite));
        assert_eq!(is_told, opposite.is_some(), "{condition}: {notes:?}");
        assert_eq!(
            notes.is_empty(),
            opposite.is_none(),
            "{condition}: {notes:?}"
        );
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

#[test]
fn what_is_written_is_what_is_shown() {
    for text in [
        "p99>2ms",
        "p99.9>=1.5s,loss>0.1%",
        "max>1s,rate<50000,errors>0,unsent>0,corrupt>3,late>=0.5%",
        "min<=10us,avg>1ms,mdev>1ms",
    ] {
        assert_eq!(text.parse::<Thresholds>().unwrap().to_string(), text);
    }
    assert_eq!(
        " p99 > 2ms , loss > 1% "
            .parse::<Thresholds>()
            .unwrap()
            .to_string(),
        "p99>2ms,loss>1%"
    );
}

#[test]
fn an_error_says_what_to_write_instead() {
    for (text, remedy) in [
        ("", "FIGURE>LIMIT"),
        (",", "FIGURE>LIMIT"),
        ("p99", "FIGURE>LIMIT"),
        ("p99>2ms,", "FIGURE>LIMIT"),
        ("p100>2ms", "no figure of a run"),
        ("latency>2ms", "no figure of a run"),
        ("p99>2", "write p99>2ms"),
        ("p99<=2.", "write p99<=2.ms"),
        ("p99>+10", "write p99>+10%"),
        ("p50>-5", "write p50>-5%"),
        ("p99>+10ms", "write p99>+10%"),
        ("max>+10", "200ms"),
        ("max>+10%", "write max>2ms"),
        ("max>1m30", "has no unit"),
        ("p99>fast", "200ms"),
        ("p99>", "200ms"),
        ("loss<0.5", "write loss<0.5%"),
        ("loss>-1%", "loss>0.1%, with its percent sign"),
        ("loss>x%", "loss>0.1%"),
        ("rate<NaN", "rate<1000"),
        ("errors>many", "errors>0"),
        ("late>5", "write late>5%"),
    ] {
        let error = text.parse::<Thresholds>().expect_err(text);
        assert!(error.contains(remedy), "{text:?}: {error}");
    }
}

fn told(text: &str, report: &Report) -> Vec<String> {
    let verdicts = text.parse::<Thresholds>().unwrap().judge(report);
    verdicts.iter().map(Verdict::to_string).collect()
}

#[test]
fn a_verdict_says_what_was_to_hold_and_what_was_measured() {
    let mut report = Report {
        elapsed: Duration::from_millis(1001),
        counts: Counts {
            sent: 1000,
            received: 998,
            unique: 998,
            lost: 2,
            ..Counts::default()
        },
        ..Report::default()
    };
    for us in 1..=998 {
        report.rtt.record(Duration::from_micros(us));
    }
    for (condition, verdict) in [
        ("loss>0.1%", "broken: loss <= 0.1% (0.20%)"),
        ("loss>0.2%", "held: loss <= 0.2% (0.2%)"),
        ("rate<1000", "broken: rate >= 1000 (997/s)"),
        ("max>=998us", "broken: max < 998us (998us)"),
        ("max>998us", "held: max <= 998us (998us)"),
        ("p50>1ms", "held: p50 <= 1ms (499 µs)"),
        ("max<=1ms", "broken: max > 1ms (998 µs)"),
        ("errors>0", "held: errors <= 0 (0)"),
    ] {
        assert_eq!(told(condition, &report), [verdict]);
    }
}

#[test]
fn what_rounds_to_its_limit_is_shown_to_the_last_digit() {
    let mut report = Report::default();
    report.rtt.record(Duration::from_nanos(2_000_400));
    assert_eq!(told("max>2ms", &report), ["broken: max <= 2ms (2.0004ms)"]);
}

#[test]
fn a_percentile_that_so_few_samples_cannot_have_is_not_judged_in_silence() {
    let mut report = Report::default();
    for us in [30, 40, 50] {
        report.rtt.record(Duration::from_micros(us));
    }
    let longest = "50 µs, the longest: fewer than 1000 samples have no p99.9";
    assert_eq!(
        told("p99.9>500ms,p99.9>1us,p50>1s", &report),
        [
            format!("held: p99.9 <= 500ms ({longest})"),
            format!("broken: p99.9 <= 1us ({longest})"),
            "held: p50 <= 1s (40 µs)".to_owned()
        ]
    );
}

#[test]
fn a_figure_that_is_not_known_fails() {
    let silent = Report::default();
    assert_eq!(
        told("p99>2ms,loss>1%", &silent),
        [
            "broken: p99 <= 2ms (nothing was measured)",
            "broken: loss <= 1% (nothing was measured)"
        ]
    );
}
