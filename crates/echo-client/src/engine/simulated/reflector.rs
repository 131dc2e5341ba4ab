//! A simulated STAMP reflector, behind a path that loses, delays and copies packets on each way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use echo_core::stamp::{ErrorEstimate, Mode, Reply, Request, Stamp};

use super::{FarEnd, Kind, Parcel};

/// When each copy of a packet comes, after it left: none where it is lost.
pub type Way = Vec<u64>;

/// What becomes of one request: on the way there, in the reflector, and what of each reply to it.
#[derive(Clone, Debug)]
pub struct Course {
    pub there: Way,
    pub held: u64,
    pub back: Way,
}

/// The reflector and the path.
#[derive(Debug)]
pub struct Reflector {
    pub is_stateless: bool,
    /// What becomes of the requests, in the order in which they leave; of the last one again and again.
    pub courses: VecDeque<Course>,
    /// Requests on the way, by when they arrive.
    arriving: BTreeMap<(u64, usize), Packet>,
    arrivals: usize,
    /// What is known of each line.
    pub sessions: Vec<Session>,
}

/// A request: message `n` of a line.
#[derive(Debug)]
struct Packet {
    line: usize,
    n: usize,
    bytes: Vec<u8>,
    course: Course,
}

/// What has become of the packets of a line.
#[derive(Debug, Default)]
pub struct Session {
    /// The number that each request has, if it has reached the reflector.
    pub numbers: Vec<Option<u32>>,
    /// Each reply that was read: the request it answers, the reflector's number and the request's.
    pub read: Vec<(usize, u32, u32)>,
    next: u32,
}

impl Reflector {
    /// A reflector whose clock is ours, and is set by nothing.
    pub fn new(courses: Vec<Course>) -> Self {
        Reflector {
            is_stateless: false,
            courses: courses.into(),
            arriving: BTreeMap::new(),
            arrivals: 0,
            sessions: Vec::new(),
        }
    }

    /// When the next packet reaches it.
    pub fn next(&self) -> Option<u64> {
        self.arriving.keys().next().map(|(at, _)| *at)
    }

    /// The session of a line.
    fn session(&mut self, line: usize) -> &mut Session {
        let len = self.sessions.len().max(line + 1);
        self.sessions.resize_with(len, Session::default);
        &mut self.sessions[line]
    }

    /// Makes a request that arrives `late` after it left its reply, and says which number that has.
    fn reflect(&mut self, line: usize, packet: &mut [u8], late: u64, held: u64) -> u32 {
        let request = Request::decode(Mode::Unauthenticated, packet).expect("a packet of STAMP");
        let is_stateless = self.is_stateless;
        let session = self.session(line);
        let format = request.error.format();
        let came = request.sent.since_epoch(format) + Duration::from_nanos(late);
        let reply = Reply {
            seq: if is_stateless {
                request.seq
            } else {
                session.next
            },
            sent: Stamp::new(came + Duration::from_nanos(held), format),
            error: ErrorEstimate::new(None, format),
            received: Stamp::new(came, format),
            request,
            ttl: 0,
        };
        session.next += 1;
        reply.encode(Mode::Unauthenticated, packet);
        reply.seq
    }

    /// Enters that a reply to message `n` of a line was read.
    pub fn read(&mut self, line: usize, n: usize, packet: &[u8]) {
        let reply = Reply::decode(Mode::Unauthenticated, packet).expect("a reply of STAMP");
        self.session(line)
            .read
            .push((n, reply.seq, reply.request.seq));
    }
}

impl Session {
    /// Requests that were lost on the way there, on the way back, and behind the last that was answered.
    pub fn lost(&self) -> [u64; 3] {
        let answered: BTreeSet<usize> = self.read.iter().map(|read| read.0).collect();
        let known = answered.last().map_or(0, |last| last + 1);
        let lost = (0..self.numbers.len()).filter(|n| !answered.contains(n));
        let (before, behind): (Vec<usize>, Vec<usize>) = lost.partition(|n| *n < known);
        let back = before
            .iter()
            .filter(|n| self.numbers[**n].is_some())
            .count();
        [before.len() - back, back, behind.len()].map(|count| count as u64)
    }

    /// Requests that were overtaken across the end of what is known: answered behind the last reply that
    /// was read though sent before, or the other way round. Nobody can tell their ways.
    pub fn at_the_end(&self) -> u64 {
        let last = self.read.iter().map(|read| read.0).max();
        let highest = self.read.iter().map(|read| read.1).max();
        let numbers = self.numbers.iter().enumerate();
        let across = numbers
            .filter(|(n, number)| number.is_some() && (Some(*n) > last) != (**number > highest));
        across.count() as u64
    }

    /// Whether a number has shown that the reflector counts itself.
    pub fn has_own(&self) -> bool {
        self.read.iter().any(|(_, theirs, ours)| theirs != ours)
    }

    /// The first replies that were read to each request, and how many were read after one to a later
    /// number.
    fn firsts(&self) -> (Vec<(usize, u32)>, u64) {
        let (mut known, mut firsts) = (BTreeSet::new(), Vec::new());
        let (mut highest, mut overtaken) = (0, 0);
        for &(n, theirs, _) in &self.read {
            if known.insert(n) {
                firsts.push((n, theirs));
                overtaken += u64::from(theirs < highest);
            }
            highest = highest.max(theirs);
        }
        (firsts, overtaken)
    }

    /// How many requests came there after later ones, and how many replies here.
    pub fn reordered(&self) -> [u64; 2] {
        let (mut firsts, back) = self.firsts();
        firsts.sort_unstable_by_key(|first| first.1);
        let mut last = 0;
        let late = firsts.iter().filter(|(n, _)| {
            let is_late = *n < last;
            last = last.max(*n);
            is_late
        });
        [late.count() as u64, back]
    }

    /// How many further replies were read: to copies of requests, and copies of replies.
    pub fn duplicated(&self) -> [u64; 2] {
        let (mut requests, mut numbers) = (BTreeSet::new(), BTreeSet::new());
        let (mut there, mut back) = (0, 0);
        for &(n, theirs, _) in &self.read {
            let is_new = numbers.insert(theirs);
            if !requests.insert(n) {
                there += u64::from(is_new);
                back += u64::from(!is_new);
            }
        }
        [there, back]
    }
}

impl FarEnd {
    /// Message `n` of a line has left for the reflector.
    pub(super) fn leave(&mut self, line: usize, n: usize, packet: &[u8]) {
        let Some(reflector) = &mut self.reflector else {
            return;
        };
        let course = match &mut reflector.courses {
            courses if courses.len() > 1 => courses.pop_front(),
            courses => courses.front().cloned(),
        };
        let course = course.expect("a course");
        reflector.session(line).numbers.push(None);
        for after in &course.there {
            reflector.arrivals += 1;
            let key = (self.now + after, reflector.arrivals);
            let packet = Packet {
                line,
                n,
                bytes: packet.to_vec(),
                course: course.clone(),
            };
            reflector.arriving.insert(key, packet);
        }
    }

    /// What has reached the reflector by now is answered.
    pub(super) fn reflect(&mut self) {
        while let Some(reflector) = &mut self.reflector
            && let Some(entry) = reflector.arriving.first_entry()
            && entry.key().0 <= self.now
        {
            let ((at, _), packet) = entry.remove_entry();
            let Packet {
                line,
                n,
                mut bytes,
                course,
            } = packet;
            let left = self.messages[self.lines[line].numbers[n]].0;
            let number = reflector.reflect(line, &mut bytes, at - left, course.held);
            reflector.session(line).numbers[n] = Some(number);
            for after in course.back {
                let after = (at + course.held + after).saturating_sub(self.now);
                self.send(line, after, Parcel::Bytes(bytes.clone(), Kind::Whole, n, 0));
            }
        }
    }
}
