//! The HTML report of a real run, opened in a headless browser: its pictures are there, and it
//! needs nothing from elsewhere.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{Profile, Programs, root};
use crate::process;
use crate::server::Server;
use crate::terminal::{Style, Terminal};

/// A browser's first start on a busy machine takes longest.
const LIMIT: Duration = Duration::from_secs(90);

/// What Chromium is called.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Reaches for no network on its own account, and finds no host on the page's.
const FLAGS: &[&str] = &[
    "--headless",
    // A sandbox cannot be set up as root or in a container; the page is our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
];

/// The pictures of a run at a rate, and how often what draws them must be in the page.
const DRAWN: &[(&str, usize)] = &[
    ("<svg", 4),
    ("<details>", 4),
    ("<path class=\"grid\" d=\"M", 4),
    // Latency by percentile and over time have two curves each, throughput has one.
    ("<path class=\"curve\" d=\"M", 3),
    ("<path class=\"curve second\" d=\"M", 2),
    ("<rect class=\"bar\"", 2),
];

/// What would load something, whatever it names.
const LOADERS: &[&str] = &[
    "<script", "<img", "<iframe", "<object", "<embed", "<video", "<audio", "src=", "url(",
    "@import", "http:", "https:",
];

/// Runs a short load, and has a browser open the report of it.
pub fn run() -> Result<()> {
    let out = Terminal::stdout();
    let Some(browser) = browser() else {
        let skipped = "skipped: there is no Chromium on this machine";
        return out.line(out.paint(Style::Skipped, skipped));
    };
    let scratch = Scratch::new()?;
    let page = scratch.0.join("report.html");
    measure(&page)?;
    let mut command = Command::new(browser);
    command
        .args(FLAGS)
        .arg(format!(
            "--user-data-dir={}",
            scratch.0.join("profile").display()
        ))
        .arg("--dump-dom")
        .arg(format!("file://{}", page.display()));
    let finished = process::run(&mut command, LIMIT)?;
    let dom = String::from_utf8(finished.success().context("the browser failed")?)?;
    check(&dom)?;
    out.line(format!(
        "a report of {} KB, opened in {browser}: {} pictures, each with its table; nothing is \
         loaded from elsewhere",
        fs::metadata(&page)?.len() / 1024,
        dom.matches("<svg").count()
    ))
}

fn browser() -> Option<&'static str> {
    let path = env::var_os("PATH")?;
    let dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    BROWSERS
        .iter()
        .copied()
        .find(|name| dirs.iter().any(|dir| dir.join(name).is_file()))
}

/// Has the client measure the server for two seconds, and write its report to `page`.
fn measure(page: &Path) -> Result<()> {
    let manifest = root().join("Cargo.toml");
    let programs = Programs::build(&manifest, &["echo-server", "echo-client"], Profile::Dev)?;
    let mut command = programs.command("echo-server")?;
    command.args(["--listen", "tcp://127.0.0.1:0"]);
    let server = Server::start(&mut command, LIMIT)?;
    let address = server.ipv4("tcp")?.to_string();
    let mut command = programs.command("echo-client")?;
    command
        .args(["bench", &address, "--duration", "2s", "--warmup", "0"])
        .args(["--rate", "1000", "--parallel", "4", "--report"])
        .arg(page);
    process::run(&mut command, LIMIT)?.success()?;
    Ok(())
}

/// What the browser made of the page.
fn check(dom: &str) -> Result<()> {
    for (mark, least) in DRAWN {
        let count = dom.matches(mark).count();
        ensure!(
            count >= *least,
            "{count} times {mark} in the page, expected {least}"
        );
    }
    for loader in LOADERS {
        if let Some(at) = dom.find(loader) {
            let around: String = dom[at..].chars().take(80).collect();
            bail!("the page loads something: {around}");
        }
    }
    let policy = "default-src 'none'";
    ensure!(
        dom.contains(policy),
        "the page's security policy is not {policy}"
    );
    Ok(())
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let dir = env::temp_dir().join(format!("echo-report-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Scratch(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What the system cleans up in time anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        let drawn: String = DRAWN
            .iter()
            .map(|(mark, least)| mark.repeat(*least))
            .collect();
        format!("default-src 'none' {drawn}")
    }

    #[test]
    fn a_page_with_its_pictures_passes() {
        check(&page()).unwrap();
    }

    #[test]
    fn a_page_without_one_of_them_fails() {
        for (mark, _) in DRAWN {
            assert!(check(&page().replacen(mark, "", 1)).is_err(), "{mark}");
        }
    }

    #[test]
    fn a_page_that_loads_something_fails() {
        for loader in LOADERS {
            assert!(check(&(page() + loader)).is_err(), "{loader}");
        }
    }
}
