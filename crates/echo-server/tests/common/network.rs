//! Network namespaces: addresses, interfaces and rules that no other program sees.

use std::process::{Command, Stdio};

use super::{LIMIT, Server, skip};

/// Set in the process that runs a test in its own network.
const INSIDE: &str = "TEST_RUNS_IN_ITS_OWN_NETWORK";

/// Runs `body`, the whole of the test called `test`, in a network namespace of its own, in which
/// only the loopback interface is up. The test runs again there, in a process of its own.
pub fn in_own_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        return body();
    }
    // Who is no administrator may be one in a user namespace.
    let flags = ["--net", "--net --map-root-user"];
    let Some(flags) = flags.into_iter().find(|flags| can_unshare(flags)) else {
        return skip("this machine grants no network namespace (unshare --net)");
    };
    let mut command = Command::new("unshare");
    command
        .args(flags.split(' '))
        .arg(std::env::current_exe().unwrap())
        .args([test, "--nocapture"])
        .env(INSIDE, "1");
    // The test has limits of its own, and says more when it reaches one.
    let ended = Server::launch(&mut command).end_within(LIMIT * 3);
    // A name that is no test's would run nothing, and pass; one of two would run both.
    let passed = ended.code == Some(0) && ended.stdout.contains("1 passed");
    assert!(passed, "{}{}", ended.stdout, ended.stderr);
    eprint!("{}", ended.stderr);
}

fn can_unshare(flags: &str) -> bool {
    let status = Command::new("unshare")
        .args(flags.split(' '))
        .args(["ip", "link", "set", "lo", "up"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Runs a command, its words between spaces, that must succeed.
pub fn run(words: &str) {
    let mut command = Command::new(words.split(' ').next().unwrap());
    let ended = Server::launch(command.args(words.split(' ').skip(1))).end();
    assert_eq!(ended.code, Some(0), "{words}: {}", ended.stderr);
}
