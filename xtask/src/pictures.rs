//! `cargo xtask pictures`: those in docs/, each of a real run; and the page of a report, looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use echo_core::endpoint::DEFAULT_PORT;

use crate::cargo::{Profile, Programs, root};
use crate::check::{need, shell};
use crate::process::{self, Scratch};
use crate::server::Server;
use crate::terminal::{draw, say};

/// A browser's first start on a busy machine takes longest.
const LIMIT: Duration = Duration::from_secs(90);

/// Reaches for no network on its own account, and finds no host on the page's. A sandbox cannot be
/// set up as root or in a container; the page is our own.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars";

/// One picture: its file in docs/, and how it is made there.
type Picture = (&'static str, fn(&Studio, &Path) -> Result<()>);

const PICTURES: &[Picture] = &[
    ("demo.svg", |_, file| explained("en", file)),
    ("demo.es.svg", |_, file| explained("es", file)),
    ("demo-terminal.svg", |_, file| {
        let printed = demo(&["--lang", "en"])?;
        draw("cargo xtask demo --lang en", &printed, file)
    }),
    ("diagnose.svg", Studio::diagnosis),
    ("report.png", |studio, file| {
        let bench = "--parallel 8 --rate 500 --duration 8s --fail-if p99>50ms,loss>0.1%";
        studio.page(&["delay=1ms..3ms"], bench, [1200, 1142], file)
    }),
    ("comparison.png", |studio, file| {
        let bench = "--control --parallel 8 --duration 700ms";
        studio.page(&["delay=2ms", "delay=3ms"], bench, [1200, 1110], file)
    }),
];

/// Which pictures are made.
#[derive(Args)]
pub struct Options {
    /// Only these; all of them when none is named
    #[arg(value_name = "PICTURE", value_parser = PossibleValuesParser::new(PICTURES.iter().map(|(name, _)| *name)))]
    pictures: Vec<String>,
}

/// Makes them anew.
pub fn run(options: &Options) -> Result<()> {
    let studio = Studio::open()?;
    let is_asked =
        |name: &str| options.pictures.is_empty() || options.pictures.iter().any(|n| n == name);
    for (name, make) in PICTURES.iter().filter(|(name, _)| is_asked(name)) {
        make(&studio, &root().join("docs").join(name)).with_context(|| format!("docs/{name}"))?;
        say(format!("docs/{name}: made anew"))?;
    }
    Ok(())
}

/// Measures twice, once with a condition that cannot hold: each report shows on top how its run ended.
pub fn check() -> Result<()> {
    need("chromium")?;
    let studio = Studio::open()?;
    let (server, top) = ([studio.server(0, &["-q"])?], studio.scratch.path("top.png"));
    for (condition, code) in [("loss>50%,unsent>1000", 0), ("max>1ns", 1)] {
        let bench = format!("--rate 1000 --duration 1s --warmup 0 --fail-if {condition}");
        studio.bench(&server, &bench, code, [900, 400], &top)?;
        let (green, red) = colours(&top)?;
        let is_right = if code == 0 { green > red } else { red > green };
        ensure!(
            is_right && green.max(red) > 20,
            "the report of exit code {code} shows {green} green and {red} red pixels on top"
        );
        say(format!(
            "exit code {code}: {green} green and {red} red pixels on top"
        ))?;
    }
    Ok(())
}

/// What this program's own demo draws to `file`.
fn explained(lang: &str, file: &Path) -> Result<()> {
    let file = file.to_string_lossy();
    demo(&["--explain", "--lang", lang, "--picture", &*file]).map(drop)
}

/// What the demo prints on a terminal.
fn demo(words: &[&str]) -> Result<String> {
    let mut demo = Command::new(std::env::current_exe()?);
    demo.arg("demo").args(words).env("CLICOLOR_FORCE", "1");
    Ok(String::from_utf8(
        process::run(&mut demo, LIMIT)?.success()?,
    )?)
}

/// What pictures are made with.
struct Studio {
    programs: Programs,
    scratch: Scratch,
}

impl Studio {
    fn open() -> Result<Self> {
        Ok(Studio {
            programs: Programs::ours(Profile::Dev)?,
            scratch: Scratch::new("pictures")?,
        })
    }

    /// What is said of a path with one thing wrong.
    fn diagnosis(&self, file: &Path) -> Result<()> {
        let script = concat!(
            include_str!("../../crates/echo-client/tests/common/wiring.sh"),
            include_str!("pictures/path.sh")
        );
        let mut shell = shell(script, &self.scratch, self.programs.folder()?)?;
        let said = process::run(&mut shell, LIMIT)?.success()?;
        draw(
            "echo-client diagnose 203.0.113.2:5346",
            &String::from_utf8(said)?,
            file,
        )
    }

    /// The page of a benchmark that passes, of servers with these faults on the ports from the default's on.
    fn page(&self, faults: &[&str], options: &str, size: [u32; 2], file: &Path) -> Result<()> {
        let start = |(port, fault): (u16, &&str)| self.server(port, &["-q", "--fault", fault]);
        let servers = (DEFAULT_PORT..).zip(faults).map(start);
        self.bench(
            &servers.collect::<Result<Vec<_>>>()?,
            options,
            0,
            size,
            file,
        )
    }

    fn server(&self, port: u16, args: &[&str]) -> Result<Server> {
        let mut server = self.programs.command("echo-server")?;
        server.arg(format!("--listen=127.0.0.1:{port}"));
        Server::start(server.args(args), LIMIT)
    }

    /// The page of a benchmark that ends with `code`, as a browser shows it.
    fn bench(
        &self,
        servers: &[Server],
        options: &str,
        code: i32,
        size: [u32; 2],
        file: &Path,
    ) -> Result<()> {
        let page = self.scratch.path("page.html");
        let mut client = self.programs.command("echo-client")?;
        client
            .arg("bench")
            .args(options.split(' '))
            .arg("--report")
            .arg(&page);
        for server in servers {
            client.arg(server.ipv4("tcp")?.to_string());
        }
        let ended = process::run(&mut client, LIMIT)?;
        ensure!(
            ended.status.code() == Some(code),
            "{options}: {}: {}",
            ended.status,
            ended.stderr
        );
        self.shoot(&page, size, file)
    }

    fn shoot(&self, page: &Path, [width, height]: [u32; 2], file: &Path) -> Result<()> {
        let own = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        let mut browser = Command::new("chromium");
        browser
            .args(FLAGS.split_whitespace())
            .arg(format!("--window-size={width},{height}"))
            .arg(own("user-data-dir", self.scratch.path("profile")))
            .arg(own("screenshot", file.to_owned()))
            .arg(format!("file://{}", page.display()));
        process::run(&mut browser, LIMIT)?
            .success()
            .context("the browser failed")?;
        Ok(())
    }
}

/// How many pixels are green, and how many red.
fn colours(picture: &Path) -> Result<(usize, usize)> {
    let unread = |error: minipng::Error| anyhow!("{}: {error}", picture.display());
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
