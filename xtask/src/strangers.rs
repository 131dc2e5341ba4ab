//! STAMP between our programs and ones that nobody here wrote. Between the two is a relay that keeps every
//! packet, so that what one end wrote and what the other made of it is compared field by field.

mod relay;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use echo_core::stamp::Key;
use serde_json::{Deserializer, Value};

use crate::cargo::{self, Profile, Programs, root};
use crate::check::How::Task;
use crate::check::{self, Check};
use crate::process::{self, Process, Scratch, until};
use crate::server::Server;
use crate::terminal::{Skipped, say};
use relay::Relay;

const LIMIT: Duration = Duration::from_secs(60);

/// Packets of a run.
const PACKETS: usize = 20;

/// Where stamp-suite counts a TLV that our reflector does not know.
const NOT_KNOWN: &str = "/measurements/tlv_validation/by_type/5/flags/unrecognized";

/// A program of a crate, as cargo installs it.
struct Stranger {
    name: &'static str,
    version: &'static str,
    /// The program, and what else cargo is told to get it.
    program: &'static str,
    args: &'static [&'static str],
}

const STAMP_SUITE: Stranger = Stranger {
    name: "stamp-suite",
    version: "1.0.0",
    program: "stamp-suite",
    args: &[],
};

/// An implementation of TWAMP Light, whose program is an example.
const TWAMP: Stranger = Stranger {
    name: "twamp",
    version: "0.1.0",
    program: "twamp_example",
    args: &["--example=twamp_example"],
};

/// What it reads from where it runs, to tell on standard output what it has found.
const TWAMP_LOG: &str =
    "appenders: {out: {kind: console}}\nroot: {level: info, appenders: [out]}\n";

const STEPS: &[Check] = &[
    (
        "stamp-suite",
        Task(|| both(&STAMP_SUITE, [suite_measures_ours, ours_measures_suite])),
    ),
    (
        "twamp",
        Task(|| both(&TWAMP, [twamp_measures_ours, ours_measures_twamp])),
    ),
];

/// One of two programs measures the other.
type Measure = fn(&Programs, &Path) -> Result<()>;

/// Has a stranger measure ours, and ours measure it.
fn both(stranger: &Stranger, ways: [Measure; 2]) -> Result<()> {
    let (programs, theirs) = (Programs::ours(Profile::Dev)?, stranger.program()?);
    ways.iter().try_for_each(|way| way(&programs, &theirs))
}

/// Has them measure ours, and ours measure them.
pub fn run() -> Result<()> {
    STEPS.iter().try_for_each(|step| check::make(step, root()))
}

impl Stranger {
    /// Where the program is, once it has been built: from crates.io, or from an earlier run.
    fn program(&self) -> Result<PathBuf> {
        let name = format!("{}-{}", self.name, self.version);
        let root = cargo::target()?.join("strangers").join(name);
        let program = root.join("bin").join(self.program);
        if !program.exists() {
            let mut install = cargo::cargo();
            install.args(["install", "--quiet", "--locked", "--debug", self.name]);
            install.args(["--version", self.version]).args(self.args);
            install.arg("--root").arg(&root);
            let output = install
                .arg("--target-dir")
                .arg(root.join("build"))
                .output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let why = said.lines().find(|line| line.starts_with("error"));
                let why = why.unwrap_or("cargo does not say why");
                bail!(Skipped(format!("{} {}: {why}", self.name, self.version)));
            }
        }
        Ok(program)
    }
}

fn suite_measures_ours(programs: &Programs, suite: &Path) -> Result<()> {
    let scratch = Scratch::new("strangers")?;
    let key_file = scratch.path("key");
    let key = b"a key that both ends have";
    fs::write(&key_file, key)?;
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o400))?;
    let key_file = key_file.to_string_lossy();
    let asks = "--remote-addr=127.0.0.1 -R --output-format=json -L2 --send-delay=5ms \
                --cos --dscp=46 --location --timestamp-info --follow-up-telemetry --direct-measurement \
                --extra-padding=100 --ssid=77";
    for (how, key, ours, theirs) in [
        ("NTP", None, String::new(), String::new()),
        ("PTP", None, String::new(), "--clock-source=PTP".to_owned()),
        (
            "authenticated",
            Some(Key::new(key)),
            format!("--stamp-key={key_file}"),
            format!("--auth-mode=A --verify-tlv-hmac --hmac-key-file={key_file}"),
        ),
    ] {
        let server = reflector(programs, &ours)?;
        let relay = Relay::start(server.ipv4("stamp")?)?;
        let mut sender = Command::new(suite);
        sender.arg(format!("--remote-port={}", relay.address.port()));
        sender.arg(format!("--count={PACKETS}"));
        sender.args(asks.split_whitespace());
        sender.args(theirs.split_whitespace());
        let finished = process::run(&mut sender, LIMIT)?;
        let stderr = finished.stderr.clone();
        let summary: Value = serde_json::from_slice(&finished.success()?)?;
        let (replies, tlvs) = relay.end()?.check(key.as_ref())?;
        // What it read is what was sent.
        for reply in &replies {
            let line = format!(
                "reflector_recv_ts={} reflector_send_ts={} ",
                reply.received.0, reply.sent.0
            );
            ensure!(
                stderr.contains(&line),
                "{how}: it did not read {line}:\n{stderr}"
            );
        }
        let facts = [
            ("/packets_received", PACKETS),
            ("/packets_lost", 0),
            ("/measurements/follow_up/matched", PACKETS - 1),
            ("/measurements/last_reflector_sequence", PACKETS - 1),
            ("/measurements/tlv_validation/flags/unrecognized", PACKETS),
            (NOT_KNOWN, PACKETS),
            ("/measurements/tlv_validation/flags/malformed", 0),
            ("/measurements/tlv_validation/hmac/failed", 0),
        ];
        agree(&summary, &facts).context(how)?;
        server.stop(LIMIT)?;
        say(format!(
            "stamp-suite measures echo-server, {how}: {} packets, their fields and {tlvs} TLVs as they should be",
            replies.len()
        ))?;
    }
    Ok(())
}

fn ours_measures_suite(programs: &Programs, suite: &Path) -> Result<()> {
    // It does not say where it listens, so it is told where nobody does.
    let free = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(suite);
    command.args(["-i", "--stateful-reflector", "--local-addr=127.0.0.1"]);
    let reflector = Process::start(command.arg(format!("--local-port={}", free.port())))?;
    answers(free)?;
    let relay = Relay::start(free)?;
    let document = ping(programs, relay.address)?;
    let (replies, tlvs) = relay.end()?.check(None)?;
    agree(&document, &[("/received", PACKETS), ("/lost", 0)])?;
    drop(reflector);
    say(format!(
        "echo-client measures stamp-suite: {} packets, their fields and {tlvs} TLVs as they should be",
        replies.len()
    ))
}

/// Where it finds what it reads, and another file for its settings.
fn at_home(twamp: &Path) -> Result<(Scratch, PathBuf, Command)> {
    let scratch = Scratch::new("twamp")?;
    fs::create_dir(scratch.path("twamp"))?;
    fs::write(scratch.path("twamp/log_config.yml"), TWAMP_LOG)?;
    let config = scratch.path("config.json");
    let mut command = Command::new(twamp);
    command.arg(&config).current_dir(scratch.path(""));
    Ok((scratch, config, command))
}

/// Its reflector has another layout than was asked for: 41 bytes in the first reply, three more later.
fn ours_measures_twamp(programs: &Programs, twamp: &Path) -> Result<()> {
    let free = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let (_scratch, config, mut command) = at_home(twamp)?;
    let settings = serde_json::json!({
        "mode": "LIGHT_REFLECTOR",
        "source_ip_address": free.to_string(),
        "ref_wait": 900,
    });
    fs::write(&config, settings.to_string())?;
    let _reflector = Process::start(&mut command)?;
    answers(free)?;
    let document = ping(programs, free)?;
    let facts = [
        ("/unique", PACKETS),
        ("/received", PACKETS),
        ("/residence_samples", PACKETS),
        ("/there_samples", PACKETS),
        ("/lost", 0),
    ];
    agree(&document, &facts)?;
    let state = &document["stamp"]["states"][0];
    ensure!(
        state["there_dscp"].is_null(),
        "it tells no class: {document}"
    );
    say(format!(
        "echo-client measures twamp: {PACKETS} packets without TLVs, all of them understood"
    ))
}

fn twamp_measures_ours(programs: &Programs, twamp: &Path) -> Result<()> {
    let (_scratch, config, mut sender) = at_home(twamp)?;
    for padding in [0, 100] {
        let server = reflector(programs, "")?;
        let relay = Relay::start(server.ipv4("stamp")?)?;
        let settings = serde_json::json!({
            "hosts": [{ "ip": "127.0.0.1", "port": relay.address.port() }],
            "mode": "LIGHT_SENDER",
            "source_ip_address": "127.0.0.1:0",
            "collection_period": 2,
            "packet_interval": 50,
            "padding": padding,
            "last_message_timeout": 1,
        });
        fs::write(&config, settings.to_string())?;
        let said = process::run(&mut sender, LIMIT)?.success()?;
        let (replies, _) = relay.end()?.check(None)?;
        // As it counts itself, in a document on its log.
        let said = String::from_utf8_lossy(&said);
        let from = said.find("Result {").context("it says no result")? + "Result ".len();
        let result: Value = Deserializer::from_str(&said[from..])
            .into_iter()
            .next()
            .context("none")??;
        let told = &result["session_results"][0]["network_statistics"];
        let count = ("/total_packets", replies.len());
        agree(told, &[count, ("/forward_loss", 0), ("/backward_loss", 0)])?;
        ensure!(replies.len() >= PACKETS, "only {} packets", replies.len());
        server.stop(LIMIT)?;
        say(format!(
            "twamp measures echo-server, {padding} bytes of padding: {} packets and their fields as they \
             should be",
            replies.len()
        ))?;
    }
    Ok(())
}

fn reflector(programs: &Programs, option: &str) -> Result<Server> {
    let mut command = programs.command("echo-server")?;
    command.args(["--listen=stamp://127.0.0.1:0", "-q"]);
    Server::start(command.args(option.split_whitespace()), LIMIT)
}

/// What our client says of a reflector.
fn ping(programs: &Programs, target: SocketAddr) -> Result<Value> {
    let mut client = programs.command("echo-client")?;
    client.args(["ping", "--stamp", "--json", "-i5ms", "-W2s"]);
    client.arg(format!("-c{PACKETS}")).arg(target.to_string());
    let said = process::run(&mut client, LIMIT)?.success()?;
    Ok(serde_json::from_slice(&said)?)
}

/// Checks what a document says, by where it does.
fn agree(document: &Value, facts: &[(&str, usize)]) -> Result<()> {
    for (fact, should) in facts {
        let is_so = document.pointer(fact).is_some_and(|is| is == should);
        ensure!(is_so, "{fact}: {should} expected: {document}");
    }
    Ok(())
}

/// Waits until a reflector answers.
fn answers(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let answered = || {
        // Nobody may be there yet, which the next call then tells.
        let asked = socket.send_to(&[0; 44], address);
        Ok(asked.and_then(|_| socket.recv(&mut [0; 64])).ok())
    };
    until(LIMIT, answered, || format!("{address} does not answer")).map(drop)
}
