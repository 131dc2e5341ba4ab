//! `cargo xtask dist`: what a release consists of, from a build that anybody can repeat.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::cargo::{cargo, home, passes, target};
use crate::packages;
use crate::process::{self, Scratch};
use crate::terminal::{GOOD, paint, say};

/// The programs that a release has.
pub const PROGRAMS: [&str; 2] = ["echo-server", "echo-client"];

/// Builds the last commit twice, in two folders; where both are the same to the last byte, puts them
/// with their manuals, completions, bill of materials and sums into target/dist.
pub fn run() -> Result<()> {
    let scratch = Scratch::new("dist")?;
    // What is committed meanwhile is no part of it.
    let commit = packages::commit("%H")?;
    let builds = ["one", "another-folder"].map(|name| scratch.path(name));
    for build in &builds {
        say(format!("building in {}", build.display()))?;
        compile(build, &commit)?;
    }
    let dist = target()?.join("dist");
    // What an earlier run left is no part of this one.
    let _ = fs::remove_dir_all(&dist);
    let bin = dist.join("bin");
    fs::create_dir_all(&bin)?;
    for program in PROGRAMS {
        let [one, other] = builds.each_ref().map(|build| built(build, program));
        ensure!(
            fs::read(&one)? == fs::read(&other)?,
            "{program} differs between two builds of one commit"
        );
        fs::copy(&one, bin.join(program))?;
        say(format!("{program}: the same to the last byte in both"))?;
    }
    let mut pages = cargo();
    let example = "run --quiet --locked --package echo-client --example pages --";
    passes(pages.args(example.split(' ')).arg(&dist))?;
    packages::make(&builds[0], &dist.join("share"), &dist)?;
    let bill = serde_json::to_string_pretty(&bill()?)?;
    fs::write(dist.join("echo.cdx.json"), bill + "\n")?;
    sums(&dist)?;
    let files = listed(&dist)?.len();
    let done = format!("{files} files in {}", dist.display());
    say(paint(GOOD, done))
}

/// Builds a commit in `folder`, which leaves no trace in what is built.
fn compile(folder: &Path, commit: &str) -> Result<()> {
    packages::sources(folder, commit)?;
    // Where the sources of dependencies are, whose paths panics would tell.
    let home = home()?;
    let remap = [(folder, "/echo"), (&home, "/cargo")];
    let flags = remap.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let mut build = cargo();
    build
        .current_dir(folder)
        .args(["build", "--release", "--locked", "--quiet"])
        .args(PROGRAMS.map(|program| format!("--package={program}")))
        .arg("--config=profile.release.strip=\"symbols\"")
        .env("ECHO_BUILD_COMMIT", commit)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    passes(&mut build)
}

fn built(folder: &Path, program: &str) -> PathBuf {
    folder.join("target/release").join(program)
}

/// What is linked into the programs, as CycloneDX has it.
fn bill() -> Result<Value> {
    let tree = "tree --locked --edges=normal --no-dedupe --prefix=none --format={p}|{l}";
    let mut command = cargo();
    command.args(tree.split(' '));
    command.args(PROGRAMS.map(|program| format!("--package={program}")));
    let output = command.output().context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    let components = lines.iter().map(|line| {
        let (package, licence) = line.rsplit_once('|').context("no licence")?;
        let mut words = package.split(' ');
        let name = words.next().context("no name")?;
        let version = words.next().context("no version")?.trim_start_matches('v');
        Ok(json!({
            "type": "library", "name": name, "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": [{ "expression": licence.replace('/', " OR ") }],
        }))
    });
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "components": components.collect::<Result<Vec<Value>>>()?,
    }))
}

/// Writes SHA256SUMS over every other file.
fn sums(dist: &Path) -> Result<()> {
    let mut command = Command::new("sha256sum");
    let finished = process::run(
        command.current_dir(dist).args(listed(dist)?),
        std::time::Duration::from_secs(60),
    )?;
    Ok(fs::write(dist.join("SHA256SUMS"), finished.success()?)?)
}

/// The files below a folder, by their paths from there.
fn listed(dist: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![dist.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path.strip_prefix(dist)?.to_owned()),
            }
        }
    }
    files.sort();
    Ok(files)
}
