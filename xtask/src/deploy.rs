//! What docs/deploy has is tried: manifests, playbook, units, rules, the image and the packages.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::cargo::{cargo, passes, target};
use crate::ci::{Check, How, make};
use crate::dist::PROGRAMS;
use crate::packages;
use crate::process::Scratch;

const STEPS: &[Check] = &[
    Check {
        name: "manifests",
        needs: &["kubectl", "kubernetes-validate"],
        how: How::Shell(include_str!("checks/manifests.sh")),
    },
    Check {
        name: "playbook",
        needs: &["ansible-playbook"],
        how: How::Shell(
            "ansible-playbook --syntax-check docs/deploy/ansible/playbook.yml 2>/dev/null",
        ),
    },
    Check {
        name: "units",
        needs: &["systemd-analyze"],
        how: How::Shell(include_str!("checks/units.sh")),
    },
    Check {
        name: "rules",
        needs: &["promtool"],
        how: How::Shell(include_str!("checks/rules.sh")),
    },
    Check {
        name: "image",
        needs: &["podman", "runc", "unshare"],
        how: How::Apart(include_str!("checks/image.sh")),
    },
    Check {
        name: "packages",
        needs: &["cargo-deb", "dpkg", "lintian", "unshare"],
        how: How::Apart(include_str!("checks/packages.sh")),
    },
];

/// Tries all of it.
///
/// # Errors
/// The step that fails.
pub fn run() -> Result<()> {
    let scratch = Scratch::new("deploy")?;
    let programs = programs(&scratch)?;
    STEPS.iter().try_for_each(|step| make(step, &programs))
}

/// Both programs, linked statically, and the packages that have them, in a folder.
fn programs(scratch: &Scratch) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--target", &triple]);
    build.args(PROGRAMS.map(|program| format!("--package={program}")));
    // As small as they are released.
    build.arg("--config=profile.dev.strip=\"symbols\"");
    passes(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let sources = scratch.path("sources");
    packages::sources(&sources, "HEAD")?;
    let folder = sources.join("target/release");
    fs::create_dir_all(&folder)?;
    for program in PROGRAMS {
        let built = target()?.join(&triple).join("debug").join(program);
        fs::copy(built, folder.join(program))?;
    }
    let mut pages = cargo();
    let example = "run --quiet --locked --package echo-client --example pages --";
    passes(pages.args(example.split(' ')).arg(scratch.path("pages")))?;
    packages::make(&sources, &scratch.path("pages/share"), &folder)?;
    Ok(folder)
}
