//! What a server gives up once everything is open: files, TCP connections of its own, new privileges.

use std::path::Path;

use echo_core::{Endpoint, named};
use serde::{Deserialize, Serialize};

use crate::Sockets;
use crate::config::Config;
use crate::file::directory;

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

/// What a server gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// To open files, but for those that are open; all of it is left where the system has no Landlock.
    pub files: bool,
    /// To connect and to listen over TCP.
    pub tcp: bool,
    /// To gain privileges, by running a program that has more.
    pub privileges: bool,
}

impl GivenUp {
    const NOTHING: GivenUp = GivenUp {
        files: false,
        tcp: false,
        privileges: false,
    };

    /// Whether it gave up all that it could.
    pub fn is_all(self) -> bool {
        self.files && self.tcp && self.privileges
    }

    /// What the server still may, in words.
    pub fn left(self) -> String {
        let all = [
            (self.files, "files"),
            (self.tcp, "TCP connections of its own"),
            (self.privileges, "new privileges"),
        ];
        let left = all.iter().filter(|(is_given_up, _)| !is_given_up);
        left.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// Has this thread, and those that it starts from now on, give up all that the system lets it, but
/// for removing what the server has made, and renaming its ready file into place: in the
/// directories of those nothing can be written or read, though anything can be removed. What the
/// system tells of this process stays readable, and TCP can be bound to `ports`.
pub fn enter(config: &Config, ports: &[u16]) -> GivenUp {
    let listen = config.listen.iter().map(|listen| &listen.endpoint);
    let sockets = listen.filter_map(|sockets| match sockets {
        Sockets::Own(Endpoint::Unix(path)) => Some(directory(path)),
        _ => None,
    });
    let sockets = sockets.chain(config.control_path().map(directory));
    let ready = (!config.ready_file.is_none()).then(|| directory(&config.ready_file));
    // Where the system refuses, it is as without: told, and no reason not to serve.
    restrict(sockets, ready, ports).unwrap_or(GivenUp::NOTHING)
}

fn restrict<'a>(
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
