//! Network namespaces: addresses, names and rules that no other program sees.

use std::process::Command;

/// Set in the process that runs a test in its own network.
const INSIDE: &str = "TEST_RUNS_IN_ITS_OWN_NETWORK";

/// Runs `body`, the whole of the test called `test`, where only the loopback interface is up, and
/// where names are those of [`names`]. The test runs again there, in a process of its own.
pub fn in_own_network(test: &str, body: impl FnOnce()) {
    in_own(&["--net", "--mount", "--map-root-user"], test, body);
}

/// The same where processes are its own, too, so that none of them outlives the test; and where the
/// test is root in earnest, so that others can be users.
pub fn in_own_machine(test: &str, body: impl FnOnce()) {
    let unshare = [
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    in_own(&unshare, test, body);
}

/// The same in a process that shares nothing with other tests but the machine.
pub fn in_own_process(test: &str, body: impl FnOnce()) {
    in_own(&[], test, body);
}

fn in_own(unshare: &[&str], test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        if unshare.contains(&"--net") {
            run("ip link set lo up");
        }
        return body();
    }
    let may = Command::new("unshare").args(unshare).arg("true").output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine does not grant unshare {unshare:?}");
        return;
    }
    let output = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().expect("this program"))
        .args([test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    // A name that is no test's would run nothing, and pass.
    let passed = output.status.success() && said.contains("1 passed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(passed, "{said}{errors}");
    eprint!("{errors}");
}

/// Has the system find these names, as lines of a hosts file, and no others.
pub fn names(lines: &str) {
    replace("/etc/hosts", lines);
    replace("/etc/nsswitch.conf", "hosts: files\n");
}

/// Has the system ask a name server for names, by these lines.
pub fn resolver(lines: &str) {
    replace("/etc/resolv.conf", lines);
    replace("/etc/nsswitch.conf", "hosts: dns\n");
}

/// Has whoever reads the file of this name find this in it.
fn replace(name: &str, text: &str) {
    let path = std::env::temp_dir().join(format!("echo-file-{}", std::process::id()));
    std::fs::write(&path, text).expect("written");
    run(&format!("mount --bind {} {name}", path.display()));
    let _: std::io::Result<()> = std::fs::remove_file(path); // It is mounted: nobody needs its name.
}

/// Runs a command, its words between spaces, that must succeed.
pub fn run(words: &str) {
    let mut command = Command::new(words.split(' ').next().expect("a word"));
    let output = command.args(words.split(' ').skip(1)).output();
    let output = output.expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}: {errors}");
}

/// Has packets that arrive meet this rule of nft, or none.
pub fn firewall(rule: &str) {
    run("nft flush ruleset");
    run("nft add table inet test");
    run("nft add chain inet test in { type filter hook input priority 0 ; }");
    if !rule.is_empty() {
        run(&format!("nft add rule inet test in {rule}"));
    }
}
