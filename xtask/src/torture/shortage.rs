//! Programs with too little of something: of descriptors, threads, memory, room in files, or with
//! standard streams that are closed, full or do not block, or a directory that is full, cannot be
//! written to, or vanishes.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};

use super::Arena;
use super::plan::{Lasting, PLANS};
use super::trial::{self, Case};
use crate::process;
use crate::traffic::LIMIT;

/// Replaces a standard stream by one that is closed, full, or does not block; then runs a program.
const STREAM: &str = include_str!("stream.py");

/// Makes a directory full or read-only, or has it vanish soon; then runs a program.
const DIRECTORY: &str = include_str!("directory.sh");

/// Limits of the system, each with the values that it is set to.
const LIMITS: &[(&str, &[u64])] = &[
    (
        "nofile",
        &[
            3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 28, 32,
        ],
    ),
    ("nproc", &[1, 2, 3, 4, 5, 6]),
    ("fsize", &[0, 1, 100, 4096, 65536]),
    // Address space: threads reserve some of it, and use little.
    ("as", &[192 << 20, 384 << 20, 1 << 30]),
    // With less, there is no room to say so: a bench of two threads holds some 20 MiB.
    ("data", &[32 << 20, 64 << 20]),
];

/// Whom `nproc` limits: not those who may administrate the system.
const NOBODY: &str = "setpriv --reuid=54321 --clear-groups --bounding-set=-all --inh-caps=-all";

/// Every plan under every shortage: it does its work, or says why not.
pub fn too_little(arena: &mut Arena) -> Result<String> {
    let (script, directory) = (arena.dir.path("stream.py"), arena.dir.path("directory.sh"));
    fs::write(&script, STREAM)?;
    fs::write(&directory, DIRECTORY)?;
    let mut wrappers = Vec::new();
    for (limit, values) in LIMITS {
        let who = if *limit == "nproc" && rustix::process::geteuid().is_root() {
            NOBODY
        } else {
            ""
        };
        let limited = |value| format!("{who} prlimit --{limit}={value}:{value}");
        wrappers.extend(values.iter().map(limited));
    }
    for how in ["closed", "full", "nonblocking", "nospace"] {
        let stream = |fd| format!("python3 {} {how} {fd}", script.display());
        wrappers.extend((0..3).map(stream));
    }
    for how in ["full", "read-only", "vanishing"] {
        let script = directory.display();
        wrappers.push(format!("unshare --mount sh {script} {how} DIR"));
    }
    let probe = arena.dir.path("probed");
    fs::create_dir_all(&probe)?;
    wrappers.retain(|wrapper| runs(&wrapper.replace("DIR", &probe.display().to_string())));
    ensure!(!wrappers.is_empty(), "there is neither prlimit nor python3");
    trial::play(arena, |_| {
        let cases = PLANS.iter().flat_map(|plan| {
            // They wait for whoever reads what they print, as `cat` does.
            let is_filter = matches!(plan.mode(), "merge" | "compare");
            let waits = move |wrapper: &&String| is_filter && wrapper.ends_with(" full 1");
            let wrappers = wrappers.iter().filter(move |wrapper| !waits(wrapper));
            wrappers.map(move |wrapper| Case {
                plan: *plan,
                wrapper: wrapper.clone(),
                lasting: Lasting::ForEver,
            })
        });
        Ok(cases.collect())
    })
}

/// Whether this machine can make the shortage, of a program that needs nothing.
fn runs(wrapper: &str) -> bool {
    let mut words = wrapper.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    let finished = process::run(command.args(words).arg("true"), LIMIT);
    finished.is_ok_and(|finished| finished.status.code() != Some(127))
}
