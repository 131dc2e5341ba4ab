//! Each reply of each order that there is, in its class, once.

use super::*;

const TIMEOUT: u64 = 100;

fn ledger(requests: u64) -> Ledger {
    let mut ledger = Ledger::new(TIMEOUT);
    for _ in 0..requests {
        ledger.push(Request::new(0, 0));
    }
    ledger
}

fn classes(ledger: &mut Ledger, at: u64, numbers: &[u64]) -> Vec<Class> {
    numbers
        .iter()
        .map(|&number| ledger.reply(number, at).class)
        .collect()
}

#[test]
fn every_reply_has_a_class() {
    let mut ledger = ledger(6);
    assert_eq!(
        classes(&mut ledger, 1, &[1, 3, 2, 3, 0, 7]),
        [
            Class::Ok,
            Class::Ok,
            Class::Reordered,
            Class::Duplicate,
            Class::Foreign,
            Class::Foreign,
        ]
    );
    let expired = std::iter::from_fn(|| ledger.expire(TIMEOUT));
    let expired: Vec<_> = expired.map(|(number, _)| number).collect();
    assert_eq!((expired, ledger.awaited()), (vec![4, 5, 6], 0));
    assert_eq!(ledger.misses, 1);
    let entries = [(); 2].map(|()| ledger.reply(5, TIMEOUT + 1));
    assert_eq!(
        entries.map(|entry| (entry.class, entry.given_up)),
        [(Class::Late, true), (Class::Duplicate, false)]
    );
    assert_eq!((ledger.answered(), ledger.misses), (4, 0));
    assert_eq!(ledger.abandon(), None, "all were given up before");
}

#[test]
fn a_reply_after_its_time_is_late_even_when_nobody_looked() {
    for (at, class) in [(TIMEOUT, Class::Ok), (TIMEOUT + 1, Class::Late)] {
        let mut datagrams = ledger(1);
        assert_eq!(classes(&mut datagrams, at, &[1]), [class]);
        let (entry, count) = ledger(1).reply_next(5, at).unwrap();
        assert_eq!((entry.class, count), (class, 1));
    }
}

#[test]
fn memory_is_bounded_and_nothing_is_forgotten_that_is_awaited() {
    let requests = REMEMBERED as u64 + 10;
    let mut ledger = ledger(requests);
    ledger.forget();
    assert_eq!(ledger.slots.len() as u64, requests);
    while ledger.expire(TIMEOUT).is_some() {}
    // However many: as long again as it was waited for them, their replies are late.
    for (sent, first, class) in [(2, 10, Class::Late), (3, 11, Class::Duplicate)] {
        ledger.push(Request::new(sent * TIMEOUT, sent * TIMEOUT));
        ledger.forget();
        assert_eq!(classes(&mut ledger, sent * TIMEOUT, &[first]), [class]);
    }
    assert_eq!(ledger.slots.len(), REMEMBERED);
    let last = requests - 1;
    assert_eq!(classes(&mut ledger, 3 * TIMEOUT, &[last]), [Class::Late]);
    // However many left within that time, there is an end to it.
    let sent = 10 * TIMEOUT;
    let next = ledger.next();
    for _ in 0..MOST {
        ledger.push(Request::new(sent, sent));
    }
    while ledger.expire(sent + TIMEOUT).is_some() {}
    ledger.push(Request::new(sent + TIMEOUT, sent + TIMEOUT));
    ledger.forget();
    assert_eq!((ledger.slots.len(), ledger.oldest), (MOST, next + 1));
}

#[test]
fn a_request_that_failed_is_not_awaited() {
    let mut ledger = ledger(2);
    assert_eq!(ledger.give_up_oldest(), Some((1, Request::new(0, 0))));
    assert_eq!((ledger.awaited(), ledger.next_expiry()), (1, Some(TIMEOUT)));
    assert_eq!(ledger.reply(2, 1).class, Class::Ok);
    assert_eq!(
        (ledger.give_up_oldest(), ledger.next_expiry()),
        (None, None)
    );
}

#[test]
fn a_stream_answers_in_order_what_left_together_together() {
    let mut ledger = ledger(3);
    ledger.push(Request::new(5, 5));
    assert_eq!(ledger.reply_next(2, 9).unwrap().1, 2);
    let wrong = ledger.wrong_next().unwrap();
    assert_eq!(wrong.answers, Some((3, Request::new(0, 0))));
    let (entry, count) = ledger.reply_next(9, 9).unwrap();
    assert_eq!((entry.answers.unwrap().0, count), (4, 1));
    assert_eq!((ledger.awaited(), ledger.unanswered()), (0, 0));
    assert_eq!(ledger.reply_next(1, 9), None);
    assert_eq!((ledger.answered(), ledger.next()), (3, 5));
}

#[test]
fn each_that_is_refused_is_a_miss() {
    let mut ledger = Ledger::new(100);
    for _ in 0..3 {
        ledger.push(Request::new(0, 0));
    }
    let refused = [(); 3].map(|()| (ledger.refuse_oldest().unwrap().0, ledger.misses));
    assert_eq!(refused, [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn a_request_leaves_after_it_was_sent_and_before_it_is_told() {
    let mut ledger = ledger(0);
    ledger.push(Request::new(100, 110));
    for (at, entered, left) in [(109, false, 110), (150, true, 150), (201, false, 110)] {
        assert_eq!(ledger.departed(1, at, 200), entered);
        assert_eq!(ledger.request(1).unwrap().departed(), left);
    }
    assert!(!ledger.departed(1, 111 + u64::from(u32::MAX), u64::MAX));
    assert!(!ledger.departed(2, 150, 200), "there is no such request");
}

#[test]
fn what_left_together_is_missed_once() {
    let mut ledger = ledger(64);
    for sent in [TIMEOUT, 2 * TIMEOUT] {
        ledger.push(Request::new(sent, sent));
    }
    let mut misses = Vec::new();
    for now in [TIMEOUT, 2 * TIMEOUT, 3 * TIMEOUT] {
        while ledger.expire(now).is_some() {}
        misses.push(ledger.misses);
    }
    assert_eq!(misses, [1, 2, 3]);
}
