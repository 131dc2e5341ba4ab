//! The HTML report of real runs, looked at in a headless browser: on top it shows how a run ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cargo::{Profile, Programs};
use crate::process::{self, Scratch};
use crate::server::Server;
use crate::terminal::{SKIPPED, paint, say};

/// A browser's first start on a busy machine takes longest.
const LIMIT: Duration = Duration::from_secs(90);

/// What Chromium is called.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Reaches for no network on its own account, and finds no host on the page's. A sandbox cannot be
/// set up as root or in a container; the page is our own.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --hide-scrollbars --window-size=900,400";

/// Measures twice, once with a condition that cannot hold, and looks at both reports.
pub fn run() -> Result<()> {
    let found = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = BROWSERS.iter().find(found) else {
        let skipped = "skipped: there is no Chromium on this machine";
        return say(paint(SKIPPED, skipped));
    };
    let scratch = Scratch::new("report")?;
    let programs = Programs::ours(Profile::Dev)?;
    let mut command = programs.command("echo-server")?;
    let server = Server::start(command.arg("--listen=tcp://127.0.0.1:0"), LIMIT)?;
    let address = server.ipv4("tcp")?.to_string();
    for (condition, code) in [("loss>50%,unsent>1000", 0), ("max>1ns", 1)] {
        let page = scratch.path("report.html");
        let mut command = programs.command("echo-client")?;
        let args = "--duration=1s --warmup=0 --rate=1000 --parallel=4 --fail-if";
        command.args(["bench", &address]).args(args.split(' '));
        command.arg(condition).arg("--report").arg(&page);
        let finished = process::run(&mut command, LIMIT)?;
        let Some(true) = finished.status.code().map(|end| end == code) else {
            anyhow::bail!("{condition}: {}: {}", finished.status, finished.stderr);
        };
        let (green, red) = colours(&shoot(browser, &page, &scratch)?)?;
        let is_right = if code == 0 { green > red } else { red > green };
        ensure!(
            is_right && green.max(red) > 20,
            "the report of exit code {code} shows {green} green and {red} red pixels on top"
        );
        say(format!(
            "exit code {code}, opened in {browser}: {green} green and {red} red pixels on top"
        ))?;
    }
    server.stop(LIMIT)?;
    Ok(())
}

/// The top of a page, as it is seen.
fn shoot(browser: &str, page: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let (picture, profile) = (scratch.path("top.png"), scratch.path("profile"));
    let mut command = Command::new(browser);
    command
        .args(FLAGS.split_whitespace())
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(format!("file://{}", page.display()));
    process::run(&mut command, LIMIT)?
        .success()
        .context("the browser failed")?;
    Ok(picture)
}

/// How many pixels are green, and how many red.
fn colours(picture: &Path) -> Result<(usize, usize)> {
    let unread = |error: minipng::Error| anyhow::anyhow!("{}: {error}", picture.display());
    let bytes = fs::read(picture)?;
    let header = minipng::decode_png_header(&bytes).map_err(unread)?;
    let mut buffer = vec![0; header.required_bytes_rgba8bpc()];
    let mut image = minipng::decode_png(&bytes, &mut buffer).map_err(unread)?;
    image.convert_to_rgba8bpc().map_err(unread)?;
    let pixels = || {
        let pixels = image.pixels().chunks_exact(4);
        pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]].map(i32::from))
    };
    let green = pixels().filter(|[r, g, b]| g - r > 40 && g - b > 20);
    // Orange, which is not far from it, has little blue.
    let red = pixels().filter(|[r, g, b]| r - g > 60 && (g - b).abs() < 30);
    Ok((green.count(), red.count()))
}
