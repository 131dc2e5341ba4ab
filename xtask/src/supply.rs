//! The supply chain: every dependency comes from crates.io, under a licence that may be shipped.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cargo::{cargo, root};
use crate::terminal::Terminal;

/// The one place code may come from, besides this repository.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences that ask for no more than their text beside the program.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Every lock file's manifest.
const MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "crates/fuzz/Cargo.toml",
    "xtask/peers/Cargo.toml",
];

/// Refuses a dependency from elsewhere, or under another licence.
pub fn check() -> Result<()> {
    for manifest in MANIFESTS {
        let path = root().join(manifest);
        let count = check_manifest(&path).with_context(|| (*manifest).to_owned())?;
        Terminal::stdout().line(format!("{manifest}: {count} packages"))?;
    }
    Ok(())
}

fn check_manifest(manifest: &Path) -> Result<usize> {
    let output = cargo()
        .args([
            "metadata",
            "--locked",
            "--format-version=1",
            "--manifest-path",
        ])
        .arg(manifest)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"]
        .as_array()
        .context("no packages in cargo's metadata")?;
    let faults: Vec<String> = packages.iter().filter_map(fault).collect();
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(packages.len())
}

/// What is wrong with a package of `cargo metadata`, if anything is.
fn fault(package: &Value) -> Option<String> {
    let name = format!(
        "{} {}",
        package["name"].as_str()?,
        package["version"].as_str()?
    );
    match package["source"].as_str() {
        // A path: cargo allows those outside the repository too, and that is what is refused.
        None => {
            let path = package["manifest_path"].as_str().unwrap_or_default();
            if !Path::new(path).starts_with(root()) {
                return Some(format!("{name} lies outside this repository, in {path}"));
            }
        }
        Some(REGISTRY) => {}
        Some(source) => {
            return Some(format!(
                "{name} comes from {source}; only crates.io is allowed"
            ));
        }
    }
    let licence = package["license"].as_str().unwrap_or("(none)");
    (!allowed(licence)).then(|| {
        format!("{name} is under {licence}, which the list in xtask/src/supply.rs does not cover")
    })
}

/// Whether an SPDX expression can be met with the listed licences alone. `AND` binds tighter than
/// `OR`, `WITH` tightest; a slash is how crates once wrote `OR`.
fn allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &tokens[..];
    any(&mut rest) == Some(true) && rest.is_empty()
}

/// `all OR all ...`; `None` where the grammar is broken.
fn any(tokens: &mut &[&str]) -> Option<bool> {
    let mut met = all(tokens)?;
    while take(tokens, "OR") {
        // Not `||`: what follows must be read in any case.
        met |= all(tokens)?;
    }
    Some(met)
}

/// `licence AND licence ...`
fn all(tokens: &mut &[&str]) -> Option<bool> {
    let mut met = one(tokens)?;
    while take(tokens, "AND") {
        met &= one(tokens)?;
    }
    Some(met)
}

/// A licence, with its exception, or an expression in parentheses.
fn one(tokens: &mut &[&str]) -> Option<bool> {
    if take(tokens, "(") {
        let met = any(tokens)?;
        return take(tokens, ")").then_some(met);
    }
    let (licence, rest) = tokens.split_first()?;
    *tokens = rest;
    if take(tokens, "WITH") {
        let (exception, rest) = tokens.split_first()?;
        *tokens = rest;
        return Some(LICENCES.contains(&format!("{licence} WITH {exception}").as_str()));
    }
    Some(LICENCES.contains(licence))
}

fn take(tokens: &mut &[&str], word: &str) -> bool {
    let found = tokens.first() == Some(&word);
    if found {
        *tokens = &tokens[1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_expression_is_met_by_listed_licences_alone() {
        for (expression, met) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0 OR MIT", true),
            ("MIT/Apache-2.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND GPL-3.0", false),
            ("GPL-3.0 OR MIT AND ISC", true),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("GPL-3.0 WITH LLVM-exception", false),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT MIT", false),
            ("(none)", false),
        ] {
            assert_eq!(allowed(expression), met, "{expression:?}");
        }
    }

    #[test]
    fn a_package_from_elsewhere_is_a_fault() {
        let package = |source: Value, licence: &str| {
            json!({ "name": "p", "version": "1.0.0", "source": source, "license": licence,
                    "manifest_path": "/elsewhere/Cargo.toml" })
        };
        assert_eq!(fault(&package(json!(REGISTRY), "MIT")), None);
        for (package, cause) in [
            (package(json!(REGISTRY), "GPL-3.0"), "under GPL-3.0"),
            (
                package(json!("git+https://example.org/p"), "MIT"),
                "only crates.io",
            ),
            (package(Value::Null, "MIT"), "outside this repository"),
        ] {
            let fault = fault(&package).unwrap();
            assert!(fault.contains(cause), "{fault}");
        }
    }
}
