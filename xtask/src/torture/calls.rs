//! System calls that fail, once or from then on: those that a program makes, with the errors that
//! the system may give for each, at every place in its run.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Arena;
use super::plan::{End, Ground, Lasting, PLANS, Plan};
use super::trial::{self, Case, LOG};
use crate::process::words;
use crate::terminal::Skipped;

/// Calls that may fail, each with errors that the system has for it.
const ERRORS: &str = include_str!("errors.txt");

/// Calls that cannot fail, that only a system's loader or allocator makes (what comes of too little memory
/// is seen under limits), or that end a program; and one that frees what it is to free even where it fails.
/// Some are made in few runs, as where a thread yields to the one that holds what it waits for: what the
/// programs import from the C library (`nm -D`) tells them all.
const SPARED: &str = "\
access arch_prctl brk clock_gettime close execve exit exit_group futex getpid getrandom gettid madvise mmap \
mprotect mremap munmap open pause pread64 restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn \
sched_yield set_robust_list set_tid_address sigaltstack sysinfo tgkill uname";

/// The first places differ most; those after them are tried at growing distances.
const EACH: u64 = 8;

/// Has calls of both programs fail.
pub fn fail(arena: &mut Arena) -> Result<String> {
    can_inject()?;
    trial::play(arena, |ground| {
        let mut all = Vec::new();
        for plan in PLANS {
            all.extend(cases_of(ground, *plan).with_context(|| plan.0)?);
        }
        Ok(all)
    })
}

/// Every case of a plan: what it calls is seen in a run without failures.
fn cases_of(ground: &Ground, plan: Plan) -> Result<Vec<Case>> {
    let log = ground.path("strace");
    let wrapper = format!("strace -D -f -o {}", log.display());
    // A slow tracer may cost a datagram, which is told; what is called is seen all the same.
    let end = plan.play(ground, &wrapper, Lasting::Once)?;
    ensure!(end != End::Told(2), "its command line is wrong");
    let counts = counts(&log)?;
    let errors = ERRORS.lines().filter_map(|line| line.split_once(' '));
    let errors: Vec<_> = errors.collect();
    let spared = SPARED.split(' ').map(|call| (call, ""));
    let known: HashMap<_, _> = errors.iter().copied().chain(spared).collect();
    let unknown: Vec<_> = counts
        .keys()
        .filter(|call| !known.contains_key(call.as_str()))
        .collect();
    ensure!(
        unknown.is_empty(),
        "nobody says how these may fail: {unknown:?}"
    );
    let mut cases = Vec::new();
    for (call, errors) in errors {
        let most = counts.get(call).copied().unwrap_or(0);
        let is_tried = |n: &u64| *n <= EACH || n.is_power_of_two();
        for place in (1..=most).filter(is_tried) {
            // A closed standard output is silent, and so is the line that a trial waits for.
            let is_ready_line = plan.is_server() && call == "write" && place == 1;
            let told = errors
                .split(' ')
                .filter(|e| !(is_ready_line && *e == "EPIPE"));
            for error in told {
                let spec = format!("{call}:error={error}:when={place}");
                cases.push(case(plan, call, &spec, Lasting::Once));
                // A signal for ever is no error. A server writes to wake itself, too, which does
                // not fail: who could never wake could never stop.
                let wakes = plan.is_server() && call == "write";
                if error != "EINTR" && !wakes {
                    cases.push(case(plan, call, &(spec + "+"), Lasting::ForEver));
                }
            }
        }
    }
    Ok(cases)
}

fn case(plan: Plan, call: &str, spec: &str, lasting: Lasting) -> Case {
    // Only the calls that are to fail are stopped at.
    let wrapper = format!("strace -D -f --seccomp-bpf -o {LOG} -e trace={call} -e inject={spec}");
    Case {
        plan,
        wrapper,
        lasting,
    }
}

/// How often each call was made, by the thread that made it most often: they are counted apart.
fn counts(log: &Path) -> Result<BTreeMap<String, u64>> {
    let mut by_thread: HashMap<(&str, &str), u64> = HashMap::new();
    let log = fs::read_to_string(log)?;
    for (thread, rest) in log.lines().filter_map(|line| line.split_once(' ')) {
        // A call that another thread's interrupts has a second line, and signals have lines of their own.
        let is_name = |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let call = rest.trim_start().split('(').next();
        if let Some(call) = call.filter(is_name) {
            *by_thread.entry((thread, call)).or_insert(0) += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let entry = most.entry(call.to_owned()).or_insert(0);
        *entry = count.max(*entry);
    }
    Ok(most)
}

fn can_inject() -> Result<()> {
    let probe = "strace -D -f --seccomp-bpf -o /dev/null -e inject=getppid:error=EPERM true";
    let why = "strace is missing, or may not trace here";
    words(probe).map_err(|_| Skipped(why.to_owned()))?;
    Ok(())
}
