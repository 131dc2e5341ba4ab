//! What a run's distributions of latencies are of.

use echo_core::named;
use serde::{Deserialize, Serialize};

use super::Latency;

/// A span of time that is measured again and again, in the order in which people read them. Its name
/// begins the keys of its distribution in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// Connecting, where connections are timed.
    Connect,
    /// Request to reply.
    Rtt,
    /// How long a STAMP reflector held requests, by its own clock.
    Residence,
    /// Round trips without that.
    Network,
    /// The way there: how long, or by how much longer than the shortest.
    There,
    /// The way back, likewise.
    Back,
    /// With a rate: from the moment the request was really sent.
    Service,
    /// How much longer each round trip was as this program saw it than as the kernel stamped it:
    /// what this machine adds.
    Host,
}

named!(Span);

impl Span {
    /// All there are.
    pub const ALL: [Span; 8] = [
        Span::Connect,
        Span::Rtt,
        Span::Residence,
        Span::Network,
        Span::There,
        Span::Back,
        Span::Service,
        Span::Host,
    ];

    /// Whether only STAMP tells of it.
    pub fn is_of_ways(self) -> bool {
        use Span::{Back, Network, Residence, There};
        matches!(self, Residence | Network | There | Back)
    }
}

/// Distributions, at most one of each span; one without samples is none.
#[derive(Clone, Debug, Default)]
pub struct Latencies([Option<Latency>; Span::ALL.len()]);

impl Latencies {
    /// That of a span, if there is one.
    pub fn get(&self, span: Span) -> Option<&Latency> {
        let latency = self.0[span as usize].as_ref();
        latency.filter(|latency| !latency.is_empty())
    }

    /// That of a span; where there is none, an empty one.
    pub fn of(&mut self, span: Span) -> &mut Latency {
        self.0[span as usize].get_or_insert_default()
    }

    /// Adds the samples of others.
    pub fn merge(&mut self, other: &Latencies) {
        for span in Span::ALL {
            if let Some(latency) = other.get(span) {
                self.of(span).merge(latency);
            }
        }
    }
}
