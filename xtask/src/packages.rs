//! Packages of both programs for Debian and for RPM, as the metadata in their manifests says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cargo::{passes, root};
use crate::dist::PROGRAMS;
use crate::process;
use crate::terminal::{SKIPPED, paint, say};

/// What the last commit is known by, in the form of `git log`.
pub fn commit(format: &str) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(root());
    git.args(["log", "-1", &format!("--format={format}")]);
    let finished = process::run(&mut git, Duration::from_secs(60))?;
    Ok(String::from_utf8(finished.success()?)?.trim().to_owned())
}

/// Unpacks the sources of a commit into `folder`.
pub fn sources(folder: &Path, commit: &str) -> Result<()> {
    fs::create_dir(folder)?;
    let tar = folder.join("source.tar");
    let mut archive = Command::new("git");
    archive.current_dir(root()).args(["archive", commit, "-o"]);
    passes(archive.arg(&tar))?;
    let mut unpack = Command::new("tar");
    passes(unpack.arg("-xf").arg(&tar).arg("-C").arg(folder))
}

/// Makes packages in `out` of the programs that are built in the sources in `folder`, with the manuals
/// and completions in `share`. Where a tool is missing, that is said.
pub fn make(folder: &Path, share: &Path, out: &Path) -> Result<()> {
    let target = folder.join("target");
    let beside = target.join("dist");
    fs::create_dir_all(&beside)?;
    passes(Command::new("cp").arg("-r").args([share, &beside]))?;
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    // The tools may be older than these words, none of which matters to them.
    let text = text.replace("resolver = \"3\"", "resolver = \"2\"");
    let text = text.replace("edition = \"2024\"", "edition = \"2021\"");
    let text = text.replace("debug = \"line-tables-only\"", "debug = 1");
    fs::write(&manifest, text)?;
    for program in PROGRAMS {
        let changes = format!(
            "{program} ({}-1) unstable; urgency=medium\n\n  * See docs/CHANGELOG.md.\n\n -- The echo \
             authors <echo@example.net>  {}\n",
            env!("CARGO_PKG_VERSION"),
            commit("%cD")?
        );
        fs::write(beside.join(format!("changelog.{program}")), changes)?;
        let (crate_, package) = (format!("-pcrates/{program}"), format!("-p{program}"));
        for (tool, args) in [
            ("deb", &[&package, "--no-build", "--no-strip"][..]),
            ("generate-rpm", &[&crate_, "--target-dir=target"]),
        ] {
            let mut command = Command::new(format!("cargo-{tool}"));
            command.current_dir(folder).arg(tool).args(args);
            command.arg("-o").arg(out.join(""));
            command.env("CARGO_TARGET_DIR", &target);
            command.env("SOURCE_DATE_EPOCH", commit("%ct")?);
            match command.output() {
                Err(_) => say(paint(
                    SKIPPED,
                    format!("cargo-{tool}: skipped, it is not here"),
                ))?,
                Ok(made) => {
                    let said = String::from_utf8_lossy(&made.stderr).into_owned();
                    made.status.success().then_some(()).context(said)?;
                }
            }
        }
    }
    Ok(())
}
