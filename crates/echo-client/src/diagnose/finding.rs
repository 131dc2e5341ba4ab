//! What a diagnosis comes to: verdicts, each with its evidence, and which of them explain others.

use std::fmt::Display;

use clap::ValueEnum;
use echo_core::named;
use echo_explain::Values;
use serde::{Deserialize, Serialize};

/// What may be said of a path, in a word. docs/DIAGNOSE.md says what each is, and the texts of
/// `echo-explain` what it means and what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    Stopped,
    Flow,
    // Who answers, and how.
    NotEcho,
    Corruption,
    TcpNoEcho,
    Framing,
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
    // What a step could not judge.
    Unjudged,
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

/// One thing that is known of the path, and why. The texts of `echo-explain` say it, with its values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// In a word.
    pub verdict: Verdict,
    /// Whether it matters.
    pub kind: Kind,
    /// Whose texts tell of it, as far as there are any; what they do not tell, that of the verdict does.
    #[serde(skip)]
    pub evidence: Option<&'static str>,
    /// How often chance alone would have the test say so, once the number of questions that were
    /// asked is counted in; `None` of what needs no chance: an answer that says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// What the texts name: a size, a rate, a time, and `where` it happens.
    pub values: Values,
}

/// A finding of a verdict, with the p of its test where there is one, and values by the names that its
/// texts have for them; a name alone is that of a variable: `finding!(Verdict::Loss, p; n, lost: 3)`.
macro_rules! finding {
    (@ $name:ident) => { $name };
    (@ $name:ident $value:expr) => { $value };
    ($verdict:expr $(, $p:expr)?; $($name:ident $(: $value:expr)?),*) => {
        $crate::diagnose::finding::Finding::of(
            $verdict,
            &[$((stringify!($name), &finding!(@ $name $($value)?))),*],
        )$(.p($p))?
    };
}

pub(super) use finding;

impl Verdict {
    /// Whether it matters, if what was measured does not say otherwise.
    fn kind(self) -> Kind {
        match self {
            Verdict::Framing | Verdict::Mss | Verdict::TcpOptions | Verdict::Mtu => Kind::Fact,
            Verdict::Dscp | Verdict::Ecn | Verdict::Nat | Verdict::Clock => Kind::Fact,
            Verdict::Healed | Verdict::NatTimeout => Kind::Fact,
            Verdict::Unjudged => Kind::Unknown,
            _ => Kind::Problem,
        }
    }

    /// Whether it is of whoever answers there. Of the others, some have a place, and the rest may
    /// happen anywhere on the way.
    pub fn is_of_target(self) -> bool {
        use Verdict::*;
        matches!(
            self,
            TcpRefused
                | UdpRefused
                | Stopped
                | Clock
                | NotEcho
                | TcpNoEcho
                | Framing
                | ServerSlow
                | ServerStall
        )
    }
}

impl Finding {
    /// A finding, and what its texts name `{name}`.
    pub fn of(verdict: Verdict, values: &[(&str, &dyn Display)]) -> Self {
        let finding = Finding {
            verdict,
            kind: verdict.kind(),
            evidence: None,
            p: None,
            values: Values::new(),
        };
        let values = values.iter();
        values.fold(finding, |finding, (name, value)| finding.with(name, value))
    }

    /// Whether something is wrong.
    pub fn is_problem(&self) -> bool {
        self.kind == Kind::Problem
    }

    /// The same, as a fact if it is harmless here.
    pub fn fact_if(mut self, is_harmless: bool) -> Self {
        if is_harmless {
            self.kind = Kind::Fact;
        }
        self
    }

    /// The same, on evidence of another name.
    pub fn by(self, evidence: &'static str) -> Self {
        Finding {
            evidence: Some(evidence),
            ..self
        }
    }

    /// The same, as a test says that is wrong with probability `p`.
    pub fn p(self, p: f64) -> Self {
        Finding { p: Some(p), ..self }
    }

    /// The same, with one more value.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.values.insert(name.to_owned(), value.to_string());
        self
    }

    /// The same, where it happens: the address of a hop, or of an end.
    pub fn at(self, place: impl Display) -> Self {
        self.with("where", place)
    }

    /// Whether it is why something else was found, of the same address and transport: only a rule looks
    /// at the transport.
    fn explains(&self, symptom: &Finding) -> bool {
        let mut rows = EXPLAINS.iter().filter(|(cause, _)| *cause == self.verdict);
        let is_same = |name| match (self.values.get(name), symptom.values.get(name)) {
            (Some(one), Some(other)) => one.split(" and ").any(|one| one == other),
            _ => true,
        };
        rows.any(|(_, symptoms)| symptoms.contains(&symptom.verdict))
            && is_same("ip")
            && (self.verdict != Verdict::Prohibited || is_same("what"))
    }

    /// Where it happens, if that is known.
    pub fn place(&self) -> Option<&String> {
        self.values.get("where")
    }
}

/// What each cause explains. Whatever stands on the right is not told where the left is found.
const EXPLAINS: &[(Verdict, &[Verdict])] = {
    use Verdict::*;
    &[
        (LossUp, &[Loss]),
        (LossDown, &[Loss]),
        (Outage, &[Jitter, Step, Healed]),
        (ServerStall, STOPPED),
        (NetworkStall, STOPPED),
        (NotEcho, &[TcpNoEcho, Corruption, UdpRefused]),
        (MtuBlackhole, &[Mtu, TcpStalls, LossBySize]),
        (Unreachable, &[TcpFiltered, UdpFiltered]),
        (Prohibited, &[TcpFiltered, UdpFiltered]),
        (Loop, &[TcpFiltered, UdpFiltered]),
        (Dead, &[TcpFiltered, UdpFiltered]),
        (TcpProxy, &[TcpNoEcho, TcpFiltered, ServerSlow]),
    ]
};

/// What whoever stops makes of the path: what comes meanwhile waits, and buffers overflow.
const STOPPED: &[Verdict] = {
    use Verdict::*;
    &[Jitter, ServerSlow, Step, LossBursty, Outage]
};

/// What is known of a path so far: what one finding explains is not told beside it.
#[derive(Clone, Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a finding, unless one that is known explains it or says the same; those that it
    /// explains go.
    pub fn add(&mut self, finding: Finding) {
        let is_told = |known: &Finding| {
            let what =
                [known, &finding].map(|one| (one.verdict, one.place(), one.values.get("what")));
            what[0] == what[1] || known.explains(&finding)
        };
        if !self.0.iter().any(is_told) {
            self.0.retain(|known| !finding.explains(known));
            self.0.push(finding);
        }
    }

    /// Adds each of these, as [`Findings::add`] does.
    pub fn extend(&mut self, found: impl IntoIterator<Item = Finding>) {
        found.into_iter().for_each(|finding| self.add(finding));
    }

    /// What there is.
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// Those that say that something is wrong.
    pub fn problems(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|finding| finding.is_problem())
    }

    /// Whether there is such a verdict.
    pub fn has(&self, verdict: Verdict) -> bool {
        self.0.iter().any(|finding| finding.verdict == verdict)
    }

    /// Whether an echo may come over TCP, for all that was found.
    pub fn allow_echo(&self) -> bool {
        !self.has(Verdict::NotEcho) && !self.has(Verdict::TcpNoEcho)
    }

    /// Puts the gravest first, and leaves the rest in the order in which it was found.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|finding| finding.kind);
    }
}

#[cfg(test)]
mod tests {
    use echo_explain::{Lang, Phrases};

    use super::super::words::Words;
    use super::*;

    #[test]
    fn every_verdict_has_a_title_a_meaning_and_a_remedy() {
        let words = Words::of(Lang::En, Phrases::default());
        for verdict in Verdict::value_variants() {
            let finding = Finding::of(*verdict, &[]);
            for part in ["title", "means", "next"] {
                let text = words.say(&finding, part);
                assert!(!text.starts_with(&verdict.to_string()), "{verdict}: {text}");
            }
        }
    }

    #[test]
    fn a_cause_hides_nothing_of_another_address_or_transport() {
        let left = |found: [Finding; 2]| {
            let mut findings = Findings::default();
            findings.extend(found);
            findings.all().len()
        };
        let barred = |what| finding!(Verdict::Prohibited; what, ip: "192.0.2.1");
        let silent = |ip| finding!(Verdict::UdpFiltered; what: "datagrams", ip);
        let both = "datagrams and connections";
        assert_eq!(left([barred(both), silent("192.0.2.1")]), 1);
        assert_eq!(left([barred(both), silent("192.0.2.2")]), 2);
        assert_eq!(left([barred("connections"), silent("192.0.2.1")]), 2);
        assert_eq!(left([barred(both), Finding::of(Verdict::Flow, &[])]), 2);
    }

    #[test]
    fn a_cause_hides_what_it_explains_whichever_is_found_first() {
        for order in [[0, 1, 2], [2, 1, 0]] {
            let found = [Verdict::MtuBlackhole, Verdict::TcpStalls, Verdict::Nat];
            let mut findings = Findings::default();
            for at in order {
                findings.add(Finding::of(found[at], &[]));
                findings.add(Finding::of(found[at], &[]));
            }
            let left: Vec<_> = findings.all().iter().map(|found| found.verdict).collect();
            assert_eq!(left.len(), 2, "{left:?}");
            assert!(!left.contains(&Verdict::TcpStalls), "{left:?}");
        }
    }
}
