//! What docs/deploy has is tried: manifests, playbook, units, the image and the packages. What a step
//! needs and this machine lacks is said, and the step left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::cargo::{cargo, passes, root, target};
use crate::dist::PROGRAMS;
use crate::packages;
use crate::process::Scratch;
use crate::terminal::{SKIPPED, paint, say};

/// A step: its name, the programs that it needs, and what a shell does, stopping at what fails. `$1` is
/// a folder of its own, `$2` that of the programs.
type Step = (&'static str, &'static [&'static str], &'static str);

const STEPS: &[Step] = &[
    (
        "manifests",
        &["kubectl", "kubernetes-validate"],
        include_str!("deploy/manifests.sh"),
    ),
    (
        "playbook",
        &["ansible-playbook"],
        "ansible-playbook --syntax-check docs/deploy/ansible/playbook.yml 2>/dev/null",
    ),
    (
        "units",
        &["systemd-analyze"],
        include_str!("deploy/units.sh"),
    ),
    (
        "image",
        &["podman", "runc", "unshare"],
        include_str!("deploy/image.sh"),
    ),
    (
        "packages",
        &["cargo-deb", "dpkg", "lintian", "unshare"],
        include_str!("deploy/packages.sh"),
    ),
];

/// Tries all of it.
///
/// # Errors
/// The step that fails.
pub fn run() -> Result<()> {
    let scratch = Scratch::new("deploy")?;
    let programs = programs(&scratch)?;
    for (name, needs, script) in STEPS {
        if let Some(missing) = needs.iter().find(|program| !has(program)) {
            let skipped = format!("{name}: skipped, there is no {missing} here");
            say(paint(SKIPPED, skipped))?;
            continue;
        }
        let own = scratch.path(name);
        fs::create_dir(&own)?;
        // In a network and a view of files of its own, where it needs those.
        let mut shell = match needs.contains(&"unshare") {
            true => Command::new("unshare"),
            false => Command::new("sh"),
        };
        if needs.contains(&"unshare") {
            shell.args(["--mount", "--net", "sh"]);
        }
        shell.current_dir(root()).args(["-euc", script, name]);
        passes(shell.arg(own).arg(&programs))?;
        say(format!("{name}: passed"))?;
    }
    Ok(())
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

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| Path::new(&folder).join(program).is_file())
}
