//! Cargo as a tool: where the workspace is, and building its programs.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process;

/// How programs are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build.
    Dev,
    /// What is measured.
    Release,
}

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask/ lies in the workspace's root")
}

/// The cargo that runs this task, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a tool that tells by itself what is wrong.
pub fn passes(command: &mut Command) -> Result<()> {
    let shown = process::shown(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown}: {status}; it said why above");
    Ok(())
}

/// Where cargo puts what it builds.
///
/// # Errors
/// Cargo does not say.
pub fn target() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--locked", "--format-version=1"]);
    let output = command.output().context("cannot run cargo")?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo says nothing of the workspace")?;
    let path = metadata["target_directory"].as_str();
    Ok(path.context("cargo names no target directory")?.into())
}

/// Built programs by name.
pub struct Programs(BTreeMap<String, PathBuf>);

impl Programs {
    /// Builds both programs of this workspace.
    pub fn ours(profile: Profile) -> Result<Self> {
        let packages = ["echo-server", "echo-client"];
        Programs::build(&root().join("Cargo.toml"), &packages, profile)
    }

    /// Builds every program of `packages` of the workspace that `manifest` belongs to. Cargo says
    /// where they are, wherever its target directory lies.
    pub fn build(manifest: &Path, packages: &[&str], profile: Profile) -> Result<Self> {
        let mut command = cargo();
        command
            .args(["build", "--locked", "--bins"])
            .arg("--message-format=json-render-diagnostics")
            .arg("--manifest-path")
            .arg(manifest)
            .stderr(Stdio::inherit());
        if profile == Profile::Release {
            command.arg("--release");
        }
        for package in packages {
            command.args(["--package", package]);
        }
        let output = command.output().context("cannot run cargo")?;
        ensure!(
            output.status.success(),
            "cannot build {}: cargo said why above",
            packages.join(" and ")
        );
        let programs = String::from_utf8(output.stdout)?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<Vec<Value>, _>>()
            .context("cargo wrote messages that are not JSON")?
            .iter()
            .filter_map(program)
            .collect();
        Ok(Programs(programs))
    }

    /// Adds those of another workspace.
    pub fn extend(&mut self, others: Programs) {
        self.0.extend(others.0);
    }

    /// Runs a program that was built. Settings in the environment, meant for other runs of it,
    /// do not reach it.
    pub fn command(&self, name: &str) -> Result<Command> {
        self.wrapped("", name)
    }

    /// A command as it is typed, behind `wrapper`: `words` are between spaces, and the first of them is a
    /// program that was built, or else one of this machine's.
    pub fn typed(&self, wrapper: &str, words: &str) -> Result<Command> {
        let (program, words) = words.split_once(' ').unwrap_or((words, ""));
        let mut command = match self.0.contains_key(program) {
            true => self.wrapped(wrapper, program)?,
            false => Command::new(program),
        };
        command.args(words.split_whitespace()).current_dir(root());
        Ok(command)
    }

    /// The same behind `wrapper`, a command whose words are between spaces.
    pub fn wrapped(&self, wrapper: &str, name: &str) -> Result<Command> {
        let program = self.path(name)?.as_os_str();
        let mut words = wrapper.split_whitespace().map(OsStr::new).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words);
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("ECHO_") {
                command.env_remove(variable);
            }
        }
        Ok(command)
    }

    /// The folder that ours are in.
    pub fn folder(&self) -> Result<&Path> {
        let folder = self.path("echo-server")?.parent();
        folder.context("a program lies in a folder")
    }

    /// The path of a program that was built.
    fn path(&self, name: &str) -> Result<&Path> {
        match self.0.get(name) {
            Some(path) => Ok(path),
            None => bail!("cargo built no program called {name}"),
        }
    }
}

/// The name and the path in a `compiler-artifact` message of a program.
fn program(message: &Value) -> Option<(String, PathBuf)> {
    let name = message["target"]["name"].as_str()?;
    let path = message["executable"].as_str()?;
    Some((name.to_owned(), path.into()))
}
