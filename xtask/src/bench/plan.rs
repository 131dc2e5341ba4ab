//! What is measured, as `bench.toml` has it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::contender::Contender;
use super::matrix::Row;
use super::pairs::Pair;

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
        let of_rows = plan.rows.iter().flat_map(|row| row.servers());
        let of_pairs = plan.pairs.iter().flat_map(|pair| pair.servers());
        let peers = plan.peers.iter().map(String::as_str);
        let named = ["echo", "echo-told"].into_iter();
        for key in of_rows.chain(of_pairs).chain(peers).chain(named) {
            assert!(!plan.server(key).name.is_empty(), "{key}");
        }
    }
}
