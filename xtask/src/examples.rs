//! The examples in docs/examples, and the commands that documents show, run as their readers would.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, iter};

use anyhow::{Context, Result, ensure};

use crate::cargo::{Profile, Programs, root};
use crate::check;
use crate::process::{self, Scratch};
use crate::terminal::say;

/// Each takes a few hundred milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// What shows commands, in docs/.
const DOCUMENTS: &[&str] = &["../README.md", "FAULTS.md", "EVENTS.md", "README.es.md"];

/// Commands that have no settings to be taken, or that go on.
const OTHERS: &[&str] = &[
    "echo-server control",
    "echo-client compare",
    "echo-client merge",
    "echo-client mesh",
    "echo-server --listen api=tcp://127.0.0.1:0 --listen",
];

/// Runs every example against the programs as they are now.
pub fn run() -> Result<()> {
    let (own, programs) = (Scratch::new("examples")?, Programs::ours(Profile::Dev)?);
    let folder = programs.folder()?;
    check::run(include_str!("checks/examples.sh"), &own, folder)?;
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = iter::once(folder.to_owned()).chain(env::split_paths(&path));
    let path = env::join_paths(paths)?;
    for document in DOCUMENTS {
        let count = check(document, &path).with_context(|| format!("docs/{document}"))?;
        say(format!("{document}: {count} commands are as shown"))?;
    }
    Ok(())
}

/// Runs the commands of a document. One that is shown with its output must say that; of another, the
/// program must take the words. Returns how many there are.
fn check(document: &str, path: &OsStr) -> Result<usize> {
    let text = fs::read_to_string(root().join("docs").join(document))?;
    // What is code is between backticks, be it a block or within a line.
    let code = text.split('`').skip(1).step_by(2);
    let parts = code.flat_map(|code| code.strip_prefix("console\n").unwrap_or(code).split("$ "));
    let shown = parts.map(|part| part.split_once('\n').unwrap_or((part, "")));
    let is_ours = |words: &str| {
        let ours = ["echo-server ", "echo-client "];
        // Several programs at once are for the examples, and what asks a server that runs.
        ours.iter().any(|start| words.starts_with(start))
            && !words.contains(['&', '|'])
            && !words.contains(" > ")
            && !OTHERS.iter().any(|start| words.starts_with(start))
    };
    // What is shown from the middle on is of two programs, too.
    let shown = shown.filter(|(words, output)| is_ours(words) && !output.starts_with(' '));
    // Each run has its own.
    let without_ports = |text: &str| -> String {
        let parts = text.split("127.0.0.1:");
        parts
            .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
            .collect()
    };
    let mut count = 0;
    for (words, output) in shown {
        let words = words.split(" #").next().unwrap_or(words).trim_end();
        // What prints by itself has no settings to be taken.
        let has_settings = output.is_empty() && words != "echo-server fault help";
        let words = match has_settings {
            true => format!("{words} --print-config"),
            false => words.to_owned(),
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", &words])
            .env("PATH", path)
            .env("LC_ALL", "C");
        let finished = process::run(&mut command, LIMIT)?;
        let said = [String::from_utf8(finished.stdout)?, finished.stderr].concat();
        match output.is_empty() {
            true => ensure!(finished.status.success(), "{words}: {said}"),
            false => ensure!(
                without_ports(&said).starts_with(&without_ports(output)),
                "{words}: {output}but it says {said}"
            ),
        }
        count += 1;
    }
    ensure!(count > 0, "it shows no command");
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_core::cause;
    use echo_explain::{Lang, Phrases};
    use std::io;

    fn read(path: &str) -> String {
        fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The lines of a text, each without its indentation.
    fn trimmed(text: &str) -> String {
        text.lines()
            .map(|line| line.trim().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_lines_of_rust_in_the_spanish_readme_are_those_of_the_sources() {
        let text = read("docs/README.es.md");
        let blocks: Vec<_> = text.split("```rust\n").skip(1).collect();
        assert!(blocks.len() >= 9, "a line behind each step");
        for block in blocks {
            let (block, _) = block.split_once("```").unwrap();
            let (path, code) = block.split_once('\n').unwrap();
            let source = trimmed(&read(path.trim_start_matches("// ")));
            assert!(
                source.contains(&trimmed(code)),
                "{path} does not have {code}"
            );
        }
    }

    #[test]
    fn the_lines_of_rust_in_the_table_of_the_readme_are_those_of_the_sources() {
        let text = read("README.md");
        let rows = text.lines().filter(|row| row.contains(".rs) `"));
        for row in rows {
            let (path, code) = row.rsplit_once("](").unwrap().1.split_once(") `").unwrap();
            let code = code.split('`').next().unwrap();
            assert!(read(path).contains(code), "{path} does not have {code}");
        }
    }

    /// The text of every source, as it is said: without escapes, and each value a `{}`.
    fn said() -> String {
        let mut said = String::new();
        let mut folders = vec![root().join("crates"), root().join("xtask/src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.extension().is_some_and(|end| end == "rs") => {
                        said.push_str(&fs::read_to_string(path).unwrap());
                    }
                    false => {}
                }
            }
        }
        let mut joined = String::new();
        for line in said.lines() {
            match line.trim().strip_suffix('\\') {
                Some(goes_on) => joined.push_str(goes_on),
                None => joined.push_str(&format!("{}\n", line.trim())),
            }
        }
        let errors = (1..134).map(io::Error::from_raw_os_error);
        let causes = errors.map(|error| format!("{}\n{}", cause(&error), error.kind()));
        // So say gai_strerror(3) of glibc and, of what is no error of the system, std.
        let resolver =
            "\nTemporary failure in name resolution\nName or service not known\nother error\n";
        joined.replace("\\\"", "\"") + resolver + &causes.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_translated_is_what_the_programs_say() {
        let said = said();
        let is_said = |sentence: &String| {
            // What a label is for stands elsewhere than the label, and what is counted than the count.
            let parts = sentence.split("{}");
            let parts = parts.map(|part| part.trim_start().trim_end_matches([' ', ':', ',', 's']));
            let mut parts = parts.filter(|part| part.len() > 3);
            parts.all(|part| said.contains(part))
        };
        let phrases = Phrases::of(Lang::Es);
        let unsaid: Vec<_> = phrases.english().filter(|one| !is_said(one)).collect();
        assert!(unsaid.is_empty(), "nobody says {unsaid:?}");
    }

    #[test]
    fn failures_and_what_is_to_be_done_about_an_error_of_the_system_are_translated() {
        let (said, phrases) = (said(), Phrases::of(Lang::Es));
        let ways = [
            "remedied",
            ".advise",
            "Failure::bad(anyhow!",
            "Failure::usage(anyhow!",
        ];
        let calls = ways.iter().flat_map(|way| said.split(way).skip(1));
        let remedies = calls.filter_map(|call| {
            let (before, rest) = call.strip_prefix('(')?.split_once('"')?;
            // The remedy stands behind the error and in the same call; its values are no part of it.
            let is_of_call = !before.starts_with(')') && !before.contains(['{', ';']);
            let remedy = rest.split('"').next()?.replace('{', "x").replace('}', "");
            is_of_call.then_some(remedy)
        });
        let remedies: Vec<_> = remedies.collect();
        assert!(remedies.len() > 10, "{remedies:?}");
        let left: Vec<_> = remedies
            .iter()
            .filter(|remedy| phrases.say(remedy) == **remedy)
            .collect();
        assert!(left.is_empty(), "not in phrases.es.toml: {left:?}");
    }

    #[test]
    fn the_lines_of_python_in_the_spanish_readme_are_those_of_the_tutorial() {
        let text = read("docs/README.es.md");
        let blocks = text.split("```python\n# ").skip(1);
        let blocks: Vec<_> = blocks.filter_map(|rest| rest.split_once("```")).collect();
        assert_eq!(blocks.len(), 2, "the client and the server");
        for (block, _) in blocks {
            let (path, code) = block.split_once('\n').unwrap();
            assert!(read(path).contains(code), "{path} does not have {code}");
        }
    }

    #[test]
    fn every_link_between_documents_leads_somewhere() {
        for document in ["README.md", "docs/README.es.md", "docs/EVENTS.md"] {
            let text = read(document);
            let links = text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next());
            let own = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
            let dir = root().join(document).parent().unwrap().to_owned();
            for link in own {
                let path = dir.join(link.split('#').next().unwrap());
                assert!(path.exists(), "{document}: {link}");
            }
        }
    }
}
