//! What is released, and what docs/deploy has for it: manifests, playbook, units, rules, image and packages.

use anyhow::Result;

use crate::cargo::target;
use crate::check::{self, Check, How::Script};
use crate::process::Scratch;

const STEPS: &[Check] = &[
    ("manifests", Script(include_str!("checks/manifests.sh"))),
    ("playbook", Script(include_str!("checks/playbook.sh"))),
    ("units", Script(include_str!("checks/units.sh"))),
    ("rules", Script(include_str!("checks/rules.sh"))),
    ("restarts", Script(include_str!("checks/restarts.sh"))),
    ("blackbox", Script(include_str!("checks/blackbox.sh"))),
    ("image", Script(include_str!("checks/image.sh"))),
    ("packages", Script(include_str!("checks/packages.sh"))),
    ("rpm", Script(include_str!("checks/rpm.sh"))),
];

/// Tries all of it, with programs that are linked statically.
///
/// # Errors
/// The step that fails.
pub fn run() -> Result<()> {
    let own = Scratch::new("static")?;
    check::run(include_str!("release/static.sh"), &own, &target()?)?;
    let programs = own.path("bin");
    STEPS
        .iter()
        .try_for_each(|step| check::make(step, &programs))
}

/// `cargo xtask dist`: what a release consists of, from a build that anybody can repeat.
pub fn dist() -> Result<()> {
    let (own, build) = (Scratch::new("dist")?, include_str!("release/dist.sh"));
    check::run(build, &own, &target()?.join("dist"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::cargo::root;

    fn shipped(path: &str) -> String {
        fs::read_to_string(root().join("docs/deploy").join(path)).expect("it is shipped")
    }

    /// The words that follow each `before`, as far as they are letters, digits and dashes.
    fn after<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
        let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        let words = text.split(before).skip(1);
        words
            .map(|rest| rest.split(is_end).next().unwrap_or_default())
            .collect()
    }

    #[test]
    fn what_is_scraped_has_the_names_that_rules_and_dashboard_speak_of() {
        let asked = shipped("prometheus/rules.yml")
            + &shipped("prometheus/dashboard.json").replace('\\', "");
        let jobs = after(&asked, "job=\"");
        assert!(jobs.len() > 1, "{jobs:?}");
        let listed = shipped("prometheus/prometheus.yml");
        let pods = shipped("kubernetes/monitoring/podmonitor.yaml");
        let listed_jobs = after(&listed, "job_name: ");
        let pods_jobs = after(&pods, "targetLabel: job\n          replacement: ");
        for job in jobs {
            assert!(
                listed_jobs.contains(&job),
                "{job} is not in {listed_jobs:?}"
            );
            assert!(pods_jobs.contains(&job), "{job} is not in {pods_jobs:?}");
        }
        assert!(listed.contains("target_label: instance"));
        assert!(pods.contains("targetLabel: instance"));
    }

    #[test]
    fn whoever_is_scraped_listens_on_the_port_that_is_scraped() {
        let scrapes = shipped("prometheus/prometheus.yml");
        let [agent, server] = after(&scrapes, "replacement: $1:")[..] else {
            panic!("{scrapes}");
        };
        let fleet = shipped("ansible/playbook.yml");
        assert_eq!(after(&fleet, "--metrics {{ address }}:"), [agent]);
        assert_eq!(after(&fleet, "metrics = [\"{{ address }}:"), [server]);
        let pods = shipped("kubernetes/base/daemonset.yaml");
        assert_eq!(after(&pods, "--metrics=[::]:"), [server, agent]);
        assert_eq!(
            after(&pods, "metrics\n              containerPort: "),
            [server, agent]
        );
        let firewall = shipped("kubernetes/base/networkpolicy.yaml");
        let mut open = after(&firewall, "port: ");
        open.retain(|port| port.starts_with("91"));
        assert_eq!(open, [agent, server]);
        let own_network = shipped("kubernetes/hostnetwork/kustomization.yaml");
        assert!(own_network.contains(&format!("{agent} and {server}")));
    }
}
