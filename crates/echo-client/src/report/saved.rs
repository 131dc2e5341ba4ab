//! Documents that were saved: read back, however many a file holds.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, ensure};
use echo_core::path::shown;
use serde::Deserialize;
use serde_json::Value;

use super::{Report, document};
use crate::connection::cause;

/// Far more than a thousand machines write; less than any machine has.
const LONGEST: u64 = 256 << 20;
/// A document of a day has 20 MB. Taken apart, one takes up to a hundred times its length.
const LONGEST_DOCUMENT: usize = 32 << 20;
/// What the client itself tells on standard error, which some collectors mix in.
const TOLD: &str = "echo-client: ";

/// A report, and where it comes from.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The file's name, and where in it, unless it begins with this.
    pub source: String,
    /// Whether that is a comparison; whether one of targets that were measured in turn.
    pub compared: Option<bool>,
    /// What is saved.
    pub report: Report,
}

impl Saved {
    /// All the reports in files, or on standard input where a name is `-`. A comparison holds one
    /// for each of its targets; a file `may_be_empty`, where whoever asked counts.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing, or something that is no whole report: the error
    /// names the place.
    pub fn load(files: &[impl AsRef<Path>], may_be_empty: bool) -> Result<Vec<Self>> {
        let mut saved = Vec::new();
        for path in files.iter().map(AsRef::as_ref) {
            let source = match path == Path::new("-") {
                true => "standard input".to_owned(),
                false => shown(path).to_string(),
            };
            let text = read(path).map_err(|error| {
                let cause = cause(&error);
                anyhow!("cannot read {source}: {cause}; name a document that --json has printed")
            })?;
            let own = all(&text, &source)?;
            ensure!(
                may_be_empty || !own.is_empty(),
                "{source} holds no document; save one with --json"
            );
            saved.extend(own);
        }
        Ok(saved)
    }

    /// The report; a run that has no name is called after its file.
    pub fn named(self) -> Report {
        let file = self.compared.is_none().then_some(self.source);
        Report {
            label: self.report.label.clone().or(file),
            ..self.report
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match path == Path::new("-") {
        true => io::stdin().take(LONGEST + 1).read_to_end(&mut text)?,
        // A pipe ends once; of a device nobody knows whether it ever does.
        false => match fs::metadata(path)?.file_type() {
            kind if kind.is_char_device() || kind.is_block_device() => {
                return Err(io::Error::other("it is a device"));
            }
            _ => File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?,
        },
    };
    match text.len() as u64 > LONGEST {
        true => Err(io::Error::other(format!(
            "it is longer than {LONGEST} bytes"
        ))),
        false => Ok(text),
    }
}

/// The reports in a text of concatenated documents.
fn all(text: &[u8], source: &str) -> Result<Vec<Saved>> {
    let mut saved = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..]
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        let rest = &text[at..];
        if rest.is_empty() {
            return Ok(saved);
        }
        if rest.starts_with(TOLD.as_bytes()) {
            at += rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
            continue;
        }
        let read = first(rest).and_then(|(document, length)| {
            let compared = document["in_turn"].as_bool();
            Ok((compared, reports(&document)?, length))
        });
        let (compared, reports, length) =
            read.with_context(|| format!("{source}: the document at byte {at} cannot be read"))?;
        saved.extend(reports.into_iter().map(|report| Saved {
            source: match at {
                0 => source.to_owned(),
                at => format!("{source} at byte {at}"),
            },
            compared,
            report,
        }));
        at += length;
    }
}

/// What tells a document of ours from others, of which nothing is kept in memory.
#[derive(Deserialize)]
struct Head {
    schema: Option<u32>,
}

/// The document that a text begins with, and how long that is.
fn first(text: &[u8]) -> Result<(Value, usize)> {
    ensure!(
        !text.starts_with(b"#["),
        "it is a log, which other tools merge; save the run with --json"
    );
    let mut heads = serde_json::Deserializer::from_slice(text).into_iter::<Head>();
    let head = heads.next().transpose();
    let head = head.map_err(|error| match error.is_data() {
        true => Error::new(error).context("it is no report of a run; save one with --json"),
        false => Error::new(error).context("it is no JSON document"),
    })?;
    document::check_schema(&head.and_then(|head| head.schema).into())?;
    let length = heads.byte_offset();
    ensure!(
        length <= LONGEST_DOCUMENT,
        "it is longer than {LONGEST_DOCUMENT} bytes"
    );
    Ok((serde_json::from_slice(&text[..length])?, length))
}

/// The report that a document is, or those it holds.
fn reports(document: &Value) -> Result<Vec<Report>> {
    match document["targets"].as_array() {
        Some(targets) => targets.iter().map(document::from_value).collect(),
        None => Ok(vec![document::from_value(document)?]),
    }
}
