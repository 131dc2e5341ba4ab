//! Commands as lines of text, and their answers as JSON.

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use super::Control;
use crate::fault::Fault;

/// What can be asked, for whoever asks something else.
const COMMANDS: &str = "fault list, fault add SPEC[;SPEC], fault remove N, fault clear, stats, \
                        connections, close N|all [reset], pause [LISTENER], resume [LISTENER], stop";

impl Control {
    /// Does what a line asks for. The answer is an object, with `error` where it cannot be done.
    pub fn command(&self, line: &str) -> Value {
        self.answer(line)
            .unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }

    fn answer(&self, line: &str) -> Result<Value> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        Ok(match words[..] {
            ["fault", "list"] => {
                let (faults, seed) = self.faults()?;
                json!({ "faults": faults, "seed": seed })
            }
            ["fault", "add", _, ..] => {
                let spec = line.trim_start().trim_start_matches("fault").trim_start();
                let spec = spec.trim_start_matches("add").trim();
                let faults: Result<Vec<Fault>, _> = spec.split(';').map(str::parse).collect();
                let (_, added) = self.change(|_| false, faults?)?;
                json!({ "added": added })
            }
            ["fault", "remove", number] => {
                let number = number.parse().map_err(|_| {
                    anyhow!("{number:?} is no number of a fault; write fault remove 1")
                })?;
                let fault = self.remove_fault(number)?;
                json!({ "removed": [{ "number": number, "spec": fault }] })
            }
            ["fault", "clear"] => {
                let (removed, _) = self.change(|_| true, Vec::new())?;
                json!({ "removed": removed })
            }
            ["stats"] => json!(self.stats()?),
            ["connections"] => json!({ "connections": self.connections()? }),
            ["close", which] => self.closed(which, false)?,
            ["close", which, "reset"] => self.closed(which, true)?,
            ["pause"] => self.pause(None).map(|()| json!({ "paused": null }))?,
            ["pause", name] => {
                self.pause(Some(name.parse().map_err(|cause: String| anyhow!(cause))?))?;
                json!({ "paused": name })
            }
            ["resume"] => self.resume(None).map(|()| json!({ "resumed": null }))?,
            ["resume", name] => {
                self.resume(Some(name.parse().map_err(|cause: String| anyhow!(cause))?))?;
                json!({ "resumed": name })
            }
            ["stop"] => self.stop().map(|()| json!({ "stopping": true }))?,
            _ => bail!("no such command; write one of: {COMMANDS}"),
        })
    }

    fn closed(&self, which: &str, reset: bool) -> Result<Value> {
        let chosen = match which {
            "all" => None,
            number => Some(number.parse().map_err(|_| {
                anyhow!("{number:?} is no number of a connection; write close 1, or close all")
            })?),
        };
        let closed = self.close(chosen, reset)?;
        match (chosen, closed.is_empty()) {
            (Some(number), true) => bail!("no connection {number} is open"),
            _ => Ok(json!({ "closed": closed })),
        }
    }
}
