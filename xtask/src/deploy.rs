//! What is released, and what docs/deploy has for it: manifests, playbook, units, rules, image and packages.

use anyhow::Result;

use crate::cargo::{passes, target};
use crate::ci::How::{Apart, Shell};
use crate::ci::{Check, check, make, shell};
use crate::process::Scratch;

const STEPS: &[Check] = &[
    check(
        "manifests",
        &["kubectl", "kubernetes-validate"],
        Shell(include_str!("checks/manifests.sh")),
    ),
    check(
        "playbook",
        &["ansible-playbook"],
        Shell("ansible-playbook --syntax-check docs/deploy/ansible/playbook.yml 2>/dev/null"),
    ),
    check(
        "units",
        &["systemd-analyze"],
        Shell(include_str!("checks/units.sh")),
    ),
    check(
        "rules",
        &["promtool"],
        Shell(include_str!("checks/rules.sh")),
    ),
    check(
        "image",
        &["podman", "runc", "unshare"],
        Apart(include_str!("checks/image.sh")),
    ),
    check(
        "packages",
        &["cargo-deb", "dpkg", "lintian", "unshare"],
        Apart(include_str!("checks/packages.sh")),
    ),
];

/// Tries all of it, with programs that are linked statically.
///
/// # Errors
/// The step that fails.
pub fn run() -> Result<()> {
    let own = Scratch::new("static")?;
    let build = include_str!("release/static.sh");
    passes(&mut shell(&["sh"], build, &own, &target()?))?;
    let programs = own.path("bin");
    STEPS.iter().try_for_each(|step| make(step, &programs))
}

/// `cargo xtask dist`: what a release consists of, from a build that anybody can repeat.
pub fn dist() -> Result<()> {
    let (own, build) = (Scratch::new("dist")?, include_str!("release/dist.sh"));
    passes(&mut shell(&["sh"], build, &own, &target()?.join("dist")))
}
