//! What is released, and what docs/deploy has for it: manifests, playbook, units, rules, image and packages.

use anyhow::Result;

use crate::cargo::target;
use crate::check::How::{Apart, Shell};
use crate::check::{self, Check, PLAIN};
use crate::process::Scratch;

const STEPS: &[Check] = &[
    Check::new(
        "manifests",
        &["kubectl", "kubernetes-validate"],
        Shell(include_str!("checks/manifests.sh")),
    ),
    Check::new(
        "playbook",
        &["ansible-playbook"],
        Shell("ansible-playbook --syntax-check docs/deploy/ansible/playbook.yml 2>/dev/null"),
    ),
    Check::new(
        "units",
        &["systemd-analyze"],
        Shell(include_str!("checks/units.sh")),
    ),
    Check::new(
        "rules",
        &["promtool"],
        Shell(include_str!("checks/rules.sh")),
    ),
    Check::new(
        "restarts",
        &["systemd-socket-activate", "setpriv", "python3"],
        Apart(include_str!("checks/restarts.sh")),
    ),
    Check::new(
        "blackbox",
        &["prometheus-blackbox-exporter", "curl"],
        Apart(include_str!("checks/blackbox.sh")),
    ),
    Check::new(
        "image",
        &["podman", "runc"],
        Apart(include_str!("checks/image.sh")),
    ),
    Check::new(
        "packages",
        &["cargo-deb", "dpkg", "lintian"],
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
    check::run(PLAIN, build, &own, &target()?)?;
    let programs = own.path("bin");
    STEPS.iter().try_for_each(|step| step.make(&programs))
}

/// `cargo xtask dist`: what a release consists of, from a build that anybody can repeat.
pub fn dist() -> Result<()> {
    let (own, build) = (Scratch::new("dist")?, include_str!("release/dist.sh"));
    check::run(PLAIN, build, &own, &target()?.join("dist"))
}
