//! What a server gives up once it is ready, seen from outside.

use std::fs::read_to_string;
use std::os::unix::net::UnixStream;

use crate::common::{Server, TempPath, connect, echo};

/// The names of a process's threads that have given up new privileges, and of those that have not.
fn threads(id: u32) -> (Vec<String>, Vec<String>) {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let all = tasks.map(|task| {
        let task = task.unwrap().path();
        let name = read_to_string(task.join("comm")).unwrap();
        let status = read_to_string(task.join("status")).unwrap();
        (name.trim().to_owned(), status.contains("NoNewPrivs:\t1"))
    });
    let (confined, free): (Vec<_>, Vec<_>) = all.partition(|(_, is_confined)| *is_confined);
    [confined, free]
        .map(|list| list.into_iter().map(|(name, _)| name).collect())
        .into()
}

#[test]
fn whatever_touches_what_peers_send_is_confined_and_serves_and_cleans_up_all_the_same() {
    let (socket, ready, record) = (
        TempPath::new("e.sock"),
        TempPath::new("ready"),
        TempPath::new("record"),
    );
    let server = Server::listening(&[
        &format!("--listen=127.0.0.1:0,{}", socket.endpoint()),
        &format!("--ready-file={}", ready.text()),
        &format!("--record={}", record.text()),
        "--workers=2",
    ]);
    echo(connect(server.tcp()), b"over TCP");
    echo(UnixStream::connect(&*socket).unwrap(), b"over a path");
    let (confined, free) = threads(server.id());
    for name in ["echo-server", "worker-0", "worker-1", "record", "log"] {
        assert!(
            confined.iter().any(|own| own == name),
            "{name}: {confined:?}"
        );
    }
    assert_eq!(free, ["signals"]);
    assert!(ready.exists());
    server.stop();
    assert!(!socket.exists() && !ready.exists(), "they are removed");
    let record = read_to_string(&*record).unwrap();
    assert_eq!(record.lines().count(), 2, "{record}");
}

#[test]
fn a_sandbox_can_be_left_out() {
    let server = Server::listening(&["--listen=tcp://127.0.0.1:0", "--sandbox=off"]);
    echo(connect(server.tcp()), b"as ever");
    assert_eq!(threads(server.id()).0, [""; 0]);
}
