//! What is released, and what docs/deploy has for it: manifests, playbook, units, rules, image and packages.

use anyhow::Result;

use crate::cargo::target;
use crate::check::{self, Check, How::Script};
use crate::process::Scratch;

const STEPS: &[Check] = &[
    ("manifests", Script(include_str!("checks/manifests.sh"))),
    ("playbook", Script(include_str!("checks/playbook.sh"))),
    ("units", Script(include_str!("checks/units.sh"))),
    ("rules", Script(include_str!("checks/rules.sh"))),
    ("restarts", Script(include_str!("checks/restarts.sh"))),
    ("blackbox", Script(include_str!("checks/blackbox.sh"))),
    ("image", Script(include_str!("checks/image.sh"))),
    ("packages", Script(include_str!("checks/packages.sh"))),
    ("rpm", Script(include_str!("checks/rpm.sh"))),
];

/// Tries all of it, with programs that are linked statically.
///
/// # Errors
/// The step that fails.
pub fn run() -> Result<()> {
    let own = Scratch::new("static")?;
    check::run(include_str!("release/static.sh"), &own, &target()?)?;
    let programs = own.path("bin");
    STEPS
        .iter()
        .try_for_each(|step| check::make(step, &programs))
}

/// `cargo xtask dist`: what a release consists of, from a build that anybody can repeat.
pub fn dist() -> Result<()> {
    let (own, build) = (Scratch::new("dist")?, include_str!("release/dist.sh"));
    check::run(build, &own, &target()?.join("dist"))
}
