//! What a diagnosis comes to: verdicts, each with its evidence, and which of them explain others.

use std::collections::BTreeMap;
use std::fmt::Display;

use clap::ValueEnum;
use echo_core::named;
use serde::{Deserialize, Serialize};

/// What may be said of a path, in a word. The texts of `echo-explain` say what each means and what
/// to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "docs/DIAGNOSE.md and the texts say what each is"
)]
pub enum Verdict {
    // Names and addresses.
    DnsNxdomain,
    DnsSlow,
    DnsDead,
    FamilyDead,
    // Whether anybody is reached, and who says that nobody is.
    TcpRefused,
    UdpRefused,
    TcpFiltered,
    UdpFiltered,
    Prohibited,
    Unreachable,
    Loop,
    Dead,
    Flow,
    // Who answers, and how.
    NotEcho,
    Corruption,
    TcpNoEcho,
    TcpProxy,
    UdpProxy,
    ServerSlow,
    Mss,
    TcpOptions,
    // What becomes of datagrams.
    Loss,
    LossPeriodic,
    LossBursty,
    LossUp,
    LossDown,
    LossBySize,
    LossByMark,
    LossFirst,
    Outage,
    Reordering,
    Duplication,
    Jitter,
    FlowSlow,
    // How much fits.
    Policer,
    Bottleneck,
    Mtu,
    MtuBlackhole,
    FragmentsDropped,
    TcpStalls,
    Bufferbloat,
    // What only the far end can tell.
    ServerStall,
    NetworkStall,
    Dscp,
    Ecn,
    Nat,
    Clock,
    // What has changed meanwhile.
    Step,
    Healed,
    // What silence does.
    IdleKilled,
    NatTimeout,
}

named!(Verdict);

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something is wrong.
    Problem,
    /// It may be, and cannot be told from here.
    Unknown,
    /// Worth knowing, and harmless by itself.
    Fact,
}

named!(Kind);

/// One thing that is known of the path, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// In a word.
    pub verdict: Verdict,
    /// Whether it matters.
    pub kind: Kind,
    /// What was sent, in English.
    pub sent: String,
    /// What came of it, in English.
    pub came: String,
    /// The test that the verdict rests on, in English.
    pub test: String,
    /// How often chance alone would have the test say so, once the number of questions that were
    /// asked is counted in; `None` of what needs no chance: an answer that says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// The address of the hop or the end where it happens, if that is known.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What the texts of the verdict name: a size, a rate, a time.
    pub values: BTreeMap<String, String>,
}

impl Finding {
    /// A finding without evidence yet.
    fn new(verdict: Verdict, kind: Kind) -> Self {
        Finding {
            verdict,
            kind,
            sent: String::new(),
            came: String::new(),
            test: String::new(),
            p: None,
            place: None,
            values: BTreeMap::new(),
        }
    }

    /// Something is wrong.
    pub fn problem(verdict: Verdict) -> Self {
        Finding::new(verdict, Kind::Problem)
    }

    /// Something may be wrong.
    pub fn unknown(verdict: Verdict) -> Self {
        Finding::new(verdict, Kind::Unknown)
    }

    /// Something is worth knowing.
    pub fn fact(verdict: Verdict) -> Self {
        Finding::new(verdict, Kind::Fact)
    }

    /// What was sent, and what came of it: `600 datagrams of 64 bytes`, `571 came back`.
    pub fn seen(mut self, sent: impl Display, came: impl Display) -> Self {
        (self.sent, self.came) = (sent.to_string(), came.to_string());
        self
    }

    /// The test that it rests on, and its p where there is one.
    pub fn tested(mut self, test: impl Display, p: impl Into<Option<f64>>) -> Self {
        (self.test, self.p) = (test.to_string(), p.into());
        self
    }

    /// Where it happens: the address of a hop, or of an end. The texts name it `{where}`.
    pub fn at(mut self, place: impl Display) -> Self {
        let place = place.to_string();
        self.place = Some(place.clone());
        self.with("where", place)
    }

    /// A value that the texts of the verdict name `{name}`.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.values.insert(name.to_owned(), value.to_string());
        self
    }
}

/// What each cause explains. Whatever stands on the right is not told where the left is found.
const EXPLAINS: &[(Verdict, &[Verdict])] = &[
    (Verdict::LossUp, LOSSES),
    (Verdict::LossDown, LOSSES),
    (Verdict::LossBursty, &[Verdict::Healed]),
    (
        Verdict::Outage,
        &[Verdict::Jitter, Verdict::Step, Verdict::Healed],
    ),
    (Verdict::ServerStall, DELAYS),
    (Verdict::NetworkStall, DELAYS),
    (
        Verdict::NotEcho,
        &[Verdict::TcpNoEcho, Verdict::Corruption, Verdict::UdpRefused],
    ),
    (
        Verdict::MtuBlackhole,
        &[Verdict::Mtu, Verdict::TcpStalls, Verdict::LossBySize],
    ),
    (Verdict::Unreachable, SILENCE),
    (Verdict::Prohibited, SILENCE),
    (Verdict::Loop, SILENCE),
    (Verdict::Dead, SILENCE),
    (
        Verdict::TcpProxy,
        &[
            Verdict::TcpNoEcho,
            Verdict::TcpFiltered,
            Verdict::ServerSlow,
        ],
    ),
];

const LOSSES: &[Verdict] = &[Verdict::Loss];
const DELAYS: &[Verdict] = &[Verdict::Jitter, Verdict::ServerSlow, Verdict::Step];
const SILENCE: &[Verdict] = &[Verdict::TcpFiltered, Verdict::UdpFiltered, Verdict::Flow];

/// What is known of a path so far: what one finding explains is not told beside it.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding, unless one that is known explains it or says the same; those that it
    /// explains go.
    pub fn add(&mut self, finding: Finding) {
        let is_same =
            |known: &Finding| known.verdict == finding.verdict && known.place == finding.place;
        let is_explained = |known: &Finding| explains(known.verdict, finding.verdict);
        if self
            .0
            .iter()
            .any(|known| is_same(known) || is_explained(known))
        {
            return;
        }
        self.0
            .retain(|known| !explains(finding.verdict, known.verdict));
        self.0.push(finding);
    }

    /// Adds each of these, as [`Findings::add`] does.
    pub fn extend(&mut self, found: impl IntoIterator<Item = Finding>) {
        found.into_iter().for_each(|finding| self.add(finding));
    }

    /// Whether there is such a verdict.
    pub fn has(&self, verdict: Verdict) -> bool {
        self.0.iter().any(|finding| finding.verdict == verdict)
    }

    /// What there is, the gravest first, and otherwise in the order in which it was found.
    pub fn sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.kind);
        self.0
    }
}

fn explains(cause: Verdict, symptom: Verdict) -> bool {
    let rows = EXPLAINS.iter().filter(|(known, _)| *known == cause);
    rows.into_iter()
        .any(|(_, symptoms)| symptoms.contains(&symptom))
}

#[cfg(test)]
mod tests {
    use echo_explain::{Lang, Texts};

    use super::*;

    #[test]
    fn every_verdict_has_a_title_a_meaning_and_a_remedy() {
        let texts = Texts::of_verdicts(Lang::En);
        for verdict in Verdict::value_variants() {
            let finding = Finding::problem(*verdict);
            for text in [
                finding.title(&texts),
                finding.means(&texts),
                finding.next(&texts),
            ] {
                assert!(!text.starts_with(&verdict.to_string()), "{verdict}: {text}");
            }
        }
    }

    #[test]
    fn a_cause_hides_what_it_explains_whichever_is_found_first() {
        for order in [[0, 1, 2], [2, 1, 0]] {
            let found = [Verdict::MtuBlackhole, Verdict::TcpStalls, Verdict::Nat];
            let mut findings = Findings::default();
            for at in order {
                findings.add(Finding::problem(found[at]));
                findings.add(Finding::problem(found[at]));
            }
            let left: Vec<_> = findings
                .sorted()
                .iter()
                .map(|found| found.verdict)
                .collect();
            assert_eq!(left.len(), 2, "{left:?}");
            assert!(!left.contains(&Verdict::TcpStalls), "{left:?}");
        }
    }
}
