//! What cannot be done: said once, with subject, cause and remedy, and the right exit code.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;

use crate::common::{Server, TempPath, fails, has, in_own_network, program, wrapped};

#[test]
fn a_port_in_use_is_told_with_a_way_out() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = [
        format!("tcp://{}", tcp.local_addr().unwrap()),
        format!("udp://{}", udp.local_addr().unwrap()),
    ];
    for endpoint in taken {
        let subject = format!("cannot listen on {}", endpoint.replace("://", " "));
        fails(
            program().args(["--listen", &endpoint]),
            1,
            &[&subject, "the port is in use", "--listen"],
        );
    }
}

#[test]
fn a_second_server_cannot_share_or_steal_a_port() {
    let server = Server::start(&[]);
    for kind in ["tcp", "udp"] {
        for host in ["127.0.0.1", "0.0.0.0"] {
            let endpoint = format!("{kind}://{host}:{}", server.tcp().port());
            fails(
                program().args(["--listen", &endpoint]),
                1,
                &["cannot listen on", kind, "the port is in use"],
            );
        }
    }
    server.stop();
}

#[test]
fn a_unix_socket_that_is_served_is_not_taken_over() {
    let path = TempPath::new("e.sock");
    let server = Server::listening(&["--listen", &path.endpoint()]);
    fails(
        program().args(["--listen", &path.endpoint()]),
        1,
        &[
            path.text(),
            "another server listens there",
            "choose another path",
        ],
    );
    crate::common::echo(
        std::os::unix::net::UnixStream::connect(&*path).unwrap(),
        b"still here",
    );
    server.stop();
}

/// A server that hangs has a full queue, and asking whether it is there must not hang too.
#[test]
fn a_unix_socket_whose_server_hangs_is_not_waited_for() {
    let path = TempPath::new("e.sock");
    let _listener = UnixListener::bind(&*path).unwrap();
    let mut waiting = Vec::new();
    // Queued until the listener, who never accepts, has no room left.
    loop {
        let socket =
            socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        if socket
            .connect(&socket2::SockAddr::unix(&*path).unwrap())
            .is_err()
        {
            break;
        }
        waiting.push(socket);
    }
    fails(
        program().args(["--listen", &path.endpoint()]),
        1,
        &[path.text(), "another server listens there"],
    );
}

/// A listener that has not come to listen yet refuses as one that is gone does.
#[test]
fn a_unix_socket_that_is_bound_and_does_not_listen_yet_is_not_taken_over() {
    let path = TempPath::new("e.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&*path).unwrap())
        .unwrap();
    let told = [path.text(), "another server listens there"];
    fails(program().args(["--listen", &path.endpoint()]), 1, &told);
    // Of a name with an end of line the system's table says too little.
    let odd = TempPath::new("e\n.sock");
    let other = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    other
        .bind(&socket2::SockAddr::unix(&*odd).unwrap())
        .unwrap();
    let told = ["cannot tell", "remove it if none does"];
    fails(program().args(["--listen", &odd.endpoint()]), 1, &told);
    assert!(odd.exists());
    socket.listen(1).unwrap();
    std::os::unix::net::UnixStream::connect(&*path).unwrap();
    drop(socket);
    Server::listening(&["--listen", &path.endpoint()]).stop();
}

#[test]
fn a_file_beside_a_socket_that_is_no_lock_stays() {
    let path = TempPath::new("e.sock");
    let lock = format!("{}.lock", path.text());
    std::fs::write(&lock, "keep").unwrap();
    fails(
        program().args(["--listen", &path.endpoint()]),
        1,
        &[path.text(), ".lock", "choose another path"],
    );
    assert_eq!(std::fs::read_to_string(&lock).unwrap(), "keep");
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
    fails(
        program().args(["--listen", &path.endpoint()]),
        1,
        &[path.text(), ".lock, is no lock", "choose another path"],
    );
    std::fs::remove_file(&lock).unwrap();
    // One that was left behind is as good as none.
    std::fs::write(&lock, "").unwrap();
    Server::listening(&["--listen", &path.endpoint()]).stop();
    assert!(!path.exists() && !std::path::Path::new(&lock).exists());
}

#[test]
fn a_server_that_refuses_keeps_its_port() {
    let server = Server::start(&["--fault=refuse"]);
    let endpoint = format!("tcp://{}", server.tcp());
    fails(
        program().args(["--listen", &endpoint]),
        1,
        &["the port is in use"],
    );
    server.stop();
}

#[test]
fn a_listen_that_fails_leaves_no_path_behind() {
    if !has("strace") {
        return;
    }
    let path = TempPath::new("e.sock");
    let trace = "strace -f -qq -o /dev/null -e trace=listen -e inject=listen:error=ENOBUFS";
    let told = [path.text(), "no buffer space available"];
    fails(
        wrapped(trace).args(["--listen", &path.endpoint()]),
        1,
        &told,
    );
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        0
    );
}

#[test]
fn a_file_that_is_no_socket_stays() {
    let path = TempPath::new("precious.txt");
    std::fs::write(&*path, "keep").unwrap();
    fails(
        program().args(["--listen", &path.endpoint()]),
        1,
        &[path.text(), "is no socket", "choose another path"],
    );
    assert_eq!(std::fs::read_to_string(&*path).unwrap(), "keep");
}

#[test]
fn a_socket_path_that_cannot_be_is_told() {
    let missing = TempPath::new("missing/e.sock");
    fails(
        program().args(["--listen", &missing.endpoint()]),
        1,
        &[missing.text(), "its directory does not exist", "create it"],
    );
    let long = TempPath::new(&"long".repeat(50));
    fails(
        program().args(["--listen", &long.endpoint()]),
        1,
        &[long.text(), "too long for a socket", "shorter"],
    );
}

#[test]
fn a_privileged_port_needs_a_capability_and_says_which() {
    in_own_network(
        "a_privileged_port_needs_a_capability_and_says_which",
        || {
            if !has("setpriv") {
                return;
            }
            let wrapper = "setpriv --bounding-set=-net_bind_service --inh-caps=-net_bind_service";
            for kind in ["tcp", "udp"] {
                let endpoint = format!("{kind}://127.0.0.1:7");
                fails(
                    wrapped(wrapper).args(["--listen", &endpoint]),
                    1,
                    &[
                        &format!("cannot listen on {kind} 127.0.0.1:7"),
                        "permission denied",
                        "CAP_NET_BIND_SERVICE",
                        "--listen",
                    ],
                );
            }
        },
    );
}

#[test]
fn an_address_of_another_machine_is_told() {
    fails(
        program().arg("--listen=192.0.2.77:0"),
        1,
        &["192.0.2.77", "no such address", "ip address"],
    );
}

#[test]
fn a_name_without_an_address_is_told() {
    fails(
        program().arg("--listen=no-such-host.invalid:0"),
        1,
        &["no-such-host.invalid", "could not be resolved", "spelling"],
    );
}
