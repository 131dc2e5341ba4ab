//! What a server gave up once it was ready.

use serde::Serialize;

/// What a server gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GivenUp {
    /// To open files, but for those that are open; all of it is left where the system has no Landlock.
    pub files: bool,
    /// To connect and to listen over TCP.
    pub tcp: bool,
    /// To gain privileges, by running a program that has more.
    pub privileges: bool,
}

impl GivenUp {
    /// Whether it gave up all that it could.
    pub fn is_all(self) -> bool {
        self.files && self.tcp && self.privileges
    }

    /// What the server still may, in words.
    pub fn left(self) -> String {
        let all = [
            (self.files, "the opening of files"),
            (self.tcp, "TCP connections of its own"),
            (self.privileges, "new privileges"),
        ];
        let left = all.iter().filter(|(is_given_up, _)| !is_given_up);
        left.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}
