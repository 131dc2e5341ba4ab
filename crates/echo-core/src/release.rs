//! Which build of a program this is.

use std::env::consts::{ARCH, OS};

/// The commit that it was built of, where whoever built it has said so in `ECHO_BUILD_COMMIT`, as
/// `cargo xtask dist` does: a program that is built from a copy of the sources cannot know.
pub const COMMIT: &str = match option_env!("ECHO_BUILD_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What it runs on: `x86_64-linux-gnu`.
pub fn target() -> String {
    let library = match () {
        () if cfg!(target_env = "gnu") => "-gnu",
        () if cfg!(target_env = "musl") => "-musl",
        () => "",
    };
    format!("{ARCH}-{OS}{library}")
}

/// What `--version` tells after the name: `version`, and in lines of their own the commit, the target
/// and how it was built.
pub fn long_version(version: &str) -> String {
    let linked = match cfg!(target_feature = "crt-static") {
        true => "static",
        false => "dynamic",
    };
    let checked = match cfg!(debug_assertions) {
        true => ", debug",
        false => "",
    };
    let target = target();
    format!("{version}\ncommit: {COMMIT}\ntarget: {target}\nfeatures: {linked}{checked}")
}
