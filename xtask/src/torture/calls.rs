//! System calls that fail, once or from then on: those that a program makes, with the errors that
//! the system may give for each, at every place in its run.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::plan::{End, Ground, Lasting, PLANS, Plan};
use super::victim::{self, Victim};
use super::{Arena, Outcome};
use crate::process;
use crate::traffic::LIMIT;

/// Calls that may fail, each with the errors that tell such failures apart.
const ERRORS: &[(&str, &str)] = &[
    (
        "accept4",
        "EMFILE ENFILE ENOBUFS ENOMEM ECONNABORTED EPROTO EPERM EINTR ENETDOWN EHOSTUNREACH ENETUNREACH ENOPROTOOPT",
    ),
    ("bind", "EADDRINUSE EACCES EADDRNOTAVAIL"),
    ("clone3", "EAGAIN ENOMEM"),
    (
        "connect",
        "ECONNREFUSED ETIMEDOUT ENETUNREACH EHOSTUNREACH EADDRNOTAVAIL EACCES EPERM EINTR",
    ),
    ("epoll_create1", "EMFILE ENFILE ENOMEM"),
    ("epoll_ctl", "ENOMEM ENOSPC"),
    ("epoll_wait", "EINTR"),
    ("eventfd2", "EMFILE ENFILE ENOMEM"),
    ("fcntl", "EPERM EBUSY ENOMEM"),
    ("fdatasync", "EIO ENOSPC EDQUOT"),
    ("flock", "EINTR ENOLCK EAGAIN"),
    ("fsync", "EIO ENOSPC EDQUOT"),
    ("ftruncate", "EFBIG EIO"),
    ("getpeername", "ENOBUFS"),
    ("getsockname", "ENOBUFS"),
    ("getsockopt", "ENOBUFS ENOPROTOOPT"),
    ("listen", "EADDRINUSE"),
    (
        "openat",
        "EACCES EMFILE ENFILE ENOENT ENOSPC EROFS EIO ELOOP",
    ),
    ("pipe2", "EMFILE ENFILE ENOMEM"),
    ("poll", "EINTR ENOMEM"),
    ("ppoll", "EINTR ENOMEM"),
    ("prlimit64", "EPERM"),
    ("read", "EINTR EIO"),
    (
        "recvfrom",
        "EINTR ECONNRESET ECONNREFUSED ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOMEM",
    ),
    (
        "recvmmsg",
        "EINTR ECONNREFUSED EHOSTUNREACH ENETUNREACH ENOMEM ENOBUFS EPERM",
    ),
    ("recvmsg", "EINTR ECONNREFUSED EHOSTUNREACH ENOMEM"),
    ("rename", "EACCES ENOSPC EROFS EIO"),
    (
        "sendmmsg",
        "EINTR EPERM ENOBUFS ECONNREFUSED EHOSTUNREACH EMSGSIZE",
    ),
    (
        "sendmsg",
        "EINTR EPERM ENOBUFS ENOMEM ECONNREFUSED EHOSTUNREACH ENETUNREACH ENETDOWN EMSGSIZE EIO EINVAL EACCES",
    ),
    (
        "sendto",
        "EINTR ECONNRESET ECONNREFUSED EPIPE ENOBUFS ENOMEM ETIMEDOUT EHOSTUNREACH EPERM",
    ),
    ("setsockopt", "ENOBUFS ENOPROTOOPT"),
    ("shutdown", "ENOTCONN"),
    ("socket", "EMFILE ENFILE EACCES ENOBUFS EAFNOSUPPORT"),
    ("socketpair", "EMFILE ENFILE"),
    ("splice", "EINTR EINVAL ENOMEM ECONNRESET EPIPE"),
    ("statx", "EACCES EIO"),
    ("timerfd_create", "EMFILE ENFILE ENOMEM"),
    ("unlink", "EACCES EROFS EIO"),
    ("write", "EINTR EIO ENOSPC EFBIG EPIPE"),
];

/// Places after the first ones, which differ most, are tried at growing distances.
const EACH: u64 = 8;

/// Trials at one time: most of a trial is waiting.
const AT_ONCE: usize = 4;

/// How long a sample is drawn for, unless all are asked for.
const SAMPLE: Duration = Duration::from_secs(50);

/// One failure in the run of a plan.
struct Case {
    plan: &'static Plan,
    call: &'static str,
    error: &'static str,
    /// The first call that fails, counted in each thread apart.
    place: u64,
    /// Whether those after it fail too.
    lasting: Lasting,
}

impl Case {
    /// As strace has it.
    fn spec(&self) -> String {
        let Case {
            call, error, place, ..
        } = self;
        let on = match self.lasting {
            Lasting::Once => "",
            Lasting::ForEver => "+",
        };
        format!("{call}:error={error}:when={place}{on}")
    }
}

/// Has calls of both programs fail: a sample that belongs to the seed, or all of them.
pub fn fail(arena: &mut Arena) -> Result<Outcome> {
    if let Some(why) = cannot_inject(arena) {
        return Ok(Outcome::Skipped(why));
    }
    let mut random = arena.random.clone();
    let mut command = victim::command(&arena.server, "", &["--listen=127.0.0.1:0"]);
    let healthy = Victim::start(&mut command)?;
    let grounds = (0..AT_ONCE).map(|n| Ground::new(arena, n, healthy.tcp));
    let grounds = grounds.collect::<Result<Vec<_>>>()?;
    let mut cases = Vec::new();
    for plan in PLANS {
        cases.extend(cases_of(&grounds[0], plan).with_context(|| plan.name())?);
    }
    let all = cases.len();
    for n in (1..all).rev() {
        cases.swap(n, random.below(n as u64 + 1) as usize);
    }
    let budget = if arena.all { Duration::MAX } else { SAMPLE };
    let (ends, faults) = play(&grounds, &cases, budget);
    drop(grounds);
    healthy.balances(8 << 10)?;
    healthy.stop()?;
    ensure!(
        faults.is_empty(),
        "{} of {} cases:\n{}",
        faults.len(),
        ends.values().sum::<u64>() + faults.len() as u64,
        summary(&faults)
    );
    let count = |end| ends.get(&end).copied().unwrap_or(0);
    let tried: u64 = ends.values().sum::<u64>() - count(End::Untouched);
    arena.tally.faults += tried;
    Ok(Outcome::Held(format!(
        "{tried} of {all} cases (call, error, place, once or for ever) in {} plans: {} overcome, {} told with their exit code",
        PLANS.len(),
        count(End::Overcome),
        count(End::Told),
    )))
}

/// The faults that look alike together, the first of each in full.
fn summary(faults: &[(&Case, String)]) -> String {
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (case, error) in faults {
        let (name, spec) = (case.plan.name(), case.spec());
        let words = error.split(|c: char| c.is_ascii_digit()).next();
        let kind = format!("{name} {} {words:?}", case.call);
        let others = alike.entry(kind).or_default();
        others.push(match others.is_empty() {
            true => format!("{name}: {spec}: {error}\n so too:"),
            false => spec,
        });
    }
    let kinds = alike.values().map(|kind| kind.join(" "));
    kinds.collect::<Vec<_>>().join("\n")
}

/// Plays cases until the time is up. Returns how they ended, and what went wrong.
fn play<'c>(
    grounds: &[Ground],
    cases: &'c [Case],
    budget: Duration,
) -> (HashMap<End, u64>, Vec<(&'c Case, String)>) {
    let start = Instant::now();
    let left = Mutex::new(cases.iter());
    let next = || {
        let in_time = start.elapsed() < budget && !process::is_interrupted();
        left.lock()
            .expect("nobody panics with it")
            .next()
            .filter(|_| in_time)
    };
    let work = |ground: &Ground| {
        let (mut ends, mut faults) = (HashMap::new(), Vec::new());
        while let Some(case) = next() {
            match trial(ground, case) {
                Ok(end) => *ends.entry(end).or_insert(0) += 1,
                Err(error) => {
                    faults.push((case, format!("{error:#}")));
                }
            }
        }
        (ends, faults)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = grounds
            .iter()
            .map(|ground| scope.spawn(|| work(ground)))
            .collect();
        let mut total = (HashMap::new(), Vec::new());
        for worker in workers {
            let (ends, mut faults) = worker.join().expect("no trial panics");
            for (end, count) in ends {
                *total.0.entry(end).or_insert(0) += count;
            }
            total.1.append(&mut faults);
        }
        total
    })
}

fn trial(ground: &Ground, case: &Case) -> Result<End> {
    let log = ground.path("strace");
    // Only the calls that are to fail are stopped at.
    let wrapper = format!(
        "strace -D -f --seccomp-bpf -o {} -e trace={} -e inject={}",
        log.display(),
        case.call,
        case.spec()
    );
    let end = case.plan.play(ground, &wrapper, case.lasting)?;
    // The tracer writes a little after the end of whom it traces.
    let struck = fs::read_to_string(&log).is_ok_and(|log| log.contains("(INJECTED)"));
    Ok(if struck { end } else { End::Untouched })
}

/// Every case of a plan: what it calls is seen in a run without failures.
fn cases_of(ground: &Ground, plan: &'static Plan) -> Result<Vec<Case>> {
    let log = ground.path("strace");
    let wrapper = format!("strace -D -f -o {}", log.display());
    match plan.play(ground, &wrapper, Lasting::Once)? {
        End::Overcome => {}
        end => bail!("without any failure: {end:?}"),
    }
    let counts = counts(&log)?;
    let mut cases = Vec::new();
    for &(call, errors) in ERRORS {
        let most = counts.get(call).copied().unwrap_or(0);
        // The signal's own pair of sockets, which cannot fail like this.
        let spared = match (call, plan.is_server()) {
            ("recvfrom" | "sendto", true) => 4,
            _ => 0,
        };
        let is_tried = |n: &u64| *n > spared && (*n <= spared + EACH || n.is_power_of_two());
        let places = (1..=most).filter(is_tried);
        for place in places {
            for error in errors.split(' ') {
                // A signal for ever is no error, and nobody gives up on one.
                let both = &[Lasting::Once, Lasting::ForEver][..];
                let lasting = if error == "EINTR" { &both[..1] } else { both };
                cases.extend(lasting.iter().map(|&lasting| Case {
                    plan,
                    call,
                    error,
                    place,
                    lasting,
                }));
            }
        }
    }
    Ok(cases)
}

/// How often each call was made, by the thread that made it most often.
fn counts(log: &Path) -> Result<BTreeMap<String, u64>> {
    let mut by_thread: HashMap<(String, String), u64> = HashMap::new();
    for line in fs::read_to_string(log)?.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        if let Some((call, _)) = rest.trim_start().split_once('(') {
            *by_thread
                .entry((thread.to_owned(), call.to_owned()))
                .or_insert(0) += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let entry = most.entry(call).or_insert(0);
        *entry = count.max(*entry);
    }
    Ok(most)
}

fn cannot_inject(arena: &Arena) -> Option<String> {
    let path = arena.path("probe");
    let probe = format!(
        "strace -D -f --seccomp-bpf -o {} -e inject=getppid:error=EPERM true",
        path.display()
    );
    let words: Vec<&str> = probe.split(' ').collect();
    let mut command = std::process::Command::new(words[0]);
    match process::run(command.args(&words[1..]), LIMIT) {
        Ok(finished) if finished.status.success() => None,
        _ => Some("strace is missing, or may not trace here".to_owned()),
    }
}
