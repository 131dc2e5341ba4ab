//! What a server gives up once everything is open: files, TCP connections of its own, new privileges.

use std::path::Path;

use echo_core::named;
use serde::{Deserialize, Serialize};

use crate::event::GivenUp;

/// Whether a server that is ready gives up what it does not need, where the system has a way to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// It does.
    #[default]
    On,
    /// It does not.
    Off,
}

named!(Sandbox);

/// Has this thread, and those that it starts from now on, give up all that the system lets it, but
/// for removing files in the directories `removing`, and renaming them in `making`: in those nothing
/// can be written or read, though anything can be removed. What the system tells of this process stays
/// readable, and TCP can be bound to `ports`.
///
/// # Errors
/// The system refuses: it is as without.
pub(crate) fn enter<'a>(
    removing: impl Iterator<Item = &'a Path>,
    making: Option<&Path>,
    ports: &[u16],
) -> Result<GivenUp, landlock::RulesetError> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus,
    };
    // Landlock grants removing by directory; a rename within one makes and removes.
    let removing = removing.map(|path| (path, AccessFs::RemoveFile.into()));
    let making = making.map(|path| (path, AccessFs::RemoveFile | AccessFs::MakeReg));
    let own = Path::new("/proc/self");
    // Open until the end: where the system forgets an entry of /proc in between, the next one of
    // that name is none that the rule knows.
    std::mem::forget(PathFd::new(own));
    let own = (own, AccessFs::ReadFile | AccessFs::ReadDir);
    let rules = removing.chain(making).chain([own]);
    let rules = rules.filter_map(|(path, access)| {
        let rule = PathBeneath::new(PathFd::new(path).ok()?, access);
        Some(Ok::<_, landlock::RulesetError>(rule))
    });
    let ports = ports
        .iter()
        .map(|port| Ok::<_, landlock::RulesetError>(NetPort::new(*port, AccessNet::BindTcp)));
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?;
    let ruleset = ruleset.create()?.add_rules(rules)?.add_rules(ports)?;
    let status = ruleset.restrict_self()?;
    Ok(GivenUp {
        files: status.ruleset != RulesetStatus::NotEnforced,
        tcp: status.ruleset == RulesetStatus::FullyEnforced,
        privileges: status.no_new_privs,
    })
}
