//! What is measured, as `bench.toml` has it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::comparison::Figure;
use super::contender::Contender;

/// Servers, and what is asked of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The servers, by what the rest calls them.
    #[serde(rename = "server")]
    servers: BTreeMap<String, Contender>,
    /// Everything that speaks TCP.
    pub peers: Vec<String>,
    /// What `echo-client bench` compares, in the order of the report.
    #[serde(rename = "row")]
    pub rows: Vec<Row>,
    /// What it cannot compare by itself: other loads than its own, and its own cost.
    #[serde(rename = "pair")]
    pub pairs: Vec<Pair>,
}

/// One kind of work.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name on the command line.
    pub key: String,
    /// Its name in tables.
    pub title: String,
    /// The load, as options of `echo-client bench`.
    pub load: String,
    /// What is read off.
    pub figure: Figure,
    /// Who must be at most so many times as much as whom.
    pub targets: Vec<(String, String, f64)>,
    /// Servers measured for the picture, with no target, each by itself.
    #[serde(default)]
    pub others: Vec<String>,
}

impl Row {
    /// Those with a target.
    pub fn compared(&self) -> Vec<&str> {
        let sides = self
            .targets
            .iter()
            .flat_map(|(ours, against, _)| [ours, against]);
        let mut compared: Vec<&str> = sides.map(String::as_str).collect();
        compared.sort();
        compared.dedup();
        compared
    }
}

/// Two that are measured in turn.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pair {
    /// Its name on the command line.
    pub key: String,
    /// What is done.
    pub work: String,
    /// What is read off.
    pub figure: Figure,
    /// The most that the ratio of the first to the other may be.
    pub at_most: f64,
    /// What the server has to do besides.
    pub beside: Option<String>,
    /// Both.
    pub sides: [Side; 2],
}

/// One of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Its name in tables.
    pub name: String,
    /// The server.
    pub server: String,
    /// What is run, as it is typed.
    pub load: String,
}

impl Plan {
    /// The plan.
    pub fn read() -> Self {
        toml::from_str(include_str!("bench.toml")).expect("a test reads it")
    }

    /// A server, as `bench.toml` calls it.
    pub fn server(&self, key: &str) -> &Contender {
        self.servers.get(key).expect("a test looks for each")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_that_is_asked_for_is_there() {
        let plan = Plan::read();
        let compared = plan.rows.iter().flat_map(|row| row.compared());
        let others = plan.rows.iter().flat_map(|row| &row.others);
        let sides = plan.pairs.iter().flat_map(|pair| &pair.sides);
        let of_sides = sides.map(|side| &side.server);
        let listed = others.chain(of_sides).chain(&plan.peers);
        let named = ["echo", "echo-told", "reflector"].into_iter();
        for key in compared.chain(listed.map(String::as_str)).chain(named) {
            assert!(!plan.server(key).name.is_empty(), "{key}");
        }
    }
}
