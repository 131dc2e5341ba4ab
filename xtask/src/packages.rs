//! Packages of both programs for Debian and for RPM, as the metadata in their manifests says.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::cargo::{passes, root};
use crate::dist::PROGRAMS;
use crate::process::{self, has, words};
use crate::terminal::{SKIPPED, paint, say};

/// Packing takes seconds.
const LIMIT: Duration = Duration::from_secs(300);

/// What the last commit is known by, in the form of `git log`.
pub fn commit(format: &str) -> Result<String> {
    words(&format!("git log -1 --format={format}"))
}

/// Unpacks the sources of a commit into `folder`.
pub fn sources(folder: &Path, commit: &str) -> Result<()> {
    fs::create_dir(folder)?;
    let mut unpack = Command::new("sh");
    unpack.args([
        "-ec",
        "git archive -o \"$1/source.tar\" \"$0\"; tar -xf \"$1/source.tar\" -C \"$1\"",
    ]);
    passes(unpack.current_dir(root()).arg(commit).arg(folder))
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
            match has(&format!("cargo-{tool}")) {
                true => drop(process::run(&mut command, LIMIT)?.success()?),
                false => say(paint(
                    SKIPPED,
                    format_args!("cargo-{tool}: skipped, it is not here"),
                ))?,
            }
        }
    }
    Ok(())
}
