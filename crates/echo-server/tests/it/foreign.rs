//! Clients that we did not write: the tutorial's language, and the tools that everyone has.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::{LIMIT, Server, TempPath, has, pattern, raise_open_files};

/// Sends bytes, says that it is done, and reads to the end, as the tutorial's client would. With
/// `slow` it begins to read only when nothing more can be sent, and takes its time. Prints
/// nothing; its exit code is 0 when what came back is what was sent.
const CLIENT: &str = r#"
import random, select, socket, sys, threading, time
host, port, size, pace = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
data = random.Random(size).randbytes(size)
s = socket.create_connection((host, port), timeout=30)

def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)

sender = threading.Thread(target=send, daemon=True)
sender.start()
if pace == 'slow':
    while sender.is_alive() and select.select([], [s], [], 0.05)[1]:
        pass
received = bytearray()
while chunk := s.recv(65536):
    received += chunk
    if pace == 'slow':
        time.sleep(0.001)
sender.join()
s.close()
sys.exit(0 if received == data else f'sent {size} bytes, {len(received)} came back')
"#;

fn python(server: &Server, size: usize, pace: &str) {
    let address = server.tcp();
    let mut command = Command::new("python3");
    command
        .args(["-c", CLIENT])
        .args([&address.ip().to_string(), &address.port().to_string()])
        .args([&size.to_string(), pace]);
    crate::common::succeeds(&mut command);
}

#[test]
fn a_python_client_gets_back_what_it_sent() {
    if !has("python3") {
        return;
    }
    for workers in ["--workers=1", "--workers=4"] {
        let server = Server::start(&[workers]);
        for size in [0, 1, 1 << 10, 64 << 10, 10_000_000] {
            python(&server, size, "fast");
        }
        server.stop();
    }
}

#[test]
fn a_python_client_that_reads_slowly_gets_all_of_100_megabytes() {
    if !has("python3") {
        return;
    }
    for workers in ["--workers=1", "--workers=4"] {
        let server = Server::start(&[workers]);
        let start = Instant::now();
        python(&server, 100_000_000, "slow");
        let took = start.elapsed();
        assert!(took < LIMIT, "{took:?}");
        server.stop();
    }
}

/// Runs `client` in a shell with `size` bytes in `$IN`, and compares what it writes to `$OUT`.
fn tool(client: &str, size: usize) {
    let (input, output) = (TempPath::new("in"), TempPath::new("out"));
    let sent = pattern(size, size as u64);
    std::fs::write(&*input, &sent).unwrap();
    File::create(&*output).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{client} <\"$IN\" >\"$OUT\"")])
        .env("IN", &*input)
        .env("OUT", &*output);
    crate::common::succeeds(&mut command);
    let back = std::fs::read(&*output).unwrap();
    assert!(back == sent, "{client}: {} of {size} bytes", back.len());
}

#[test]
fn ncat_gets_back_what_it_sent() {
    if !has("ncat") {
        return;
    }
    let path = TempPath::new("e.sock");
    let server = Server::listening(&["--listen=127.0.0.1:0", "--listen", &path.endpoint()]);
    let port = server.tcp().port();
    for size in [0, 1, 5_000_000] {
        tool(&format!("ncat 127.0.0.1 {port}"), size);
        tool(&format!("ncat -U {}", path.text()), size);
    }
    server.stop();
}

#[test]
fn socat_gets_back_what_it_sent() {
    if !has("socat") {
        return;
    }
    let path = TempPath::new("e.sock");
    let server = Server::listening(&["--listen=127.0.0.1:0", "--listen", &path.endpoint()]);
    let port = server.tcp().port();
    for size in [0, 1, 5_000_000] {
        tool(&format!("socat -t 20 - TCP:127.0.0.1:{port}"), size);
        tool(&format!("socat -t 20 - UNIX-CONNECT:{}", path.text()), size);
    }
    // A datagram has no end: the client waits its time out, half a second.
    tool(&format!("socat -t 0.5 - UDP:127.0.0.1:{port}"), 1000);
    server.stop();
}

#[test]
fn netcat_gets_back_what_it_sent() {
    if !has("nc") {
        return;
    }
    let help = Command::new("nc").arg("-h").output().unwrap();
    if !String::from_utf8_lossy(&help.stderr).contains("-N") {
        return crate::common::skip("this nc cannot half-close (-N)");
    }
    let server = Server::start(&[]);
    for size in [0, 1, 5_000_000] {
        tool(&format!("nc -N 127.0.0.1 {}", server.tcp().port()), size);
    }
    server.stop();
}

#[test]
fn a_thousand_python_connections_are_held_and_echo() {
    if !has("python3") {
        return;
    }
    const CROWD: &str = r#"
import socket, sys
peers = [socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30) for _ in range(1000)]
for i, peer in enumerate(peers):
    peer.sendall(b'%08d' % i)
for i, peer in enumerate(peers):
    assert peer.recv(8, socket.MSG_WAITALL) == b'%08d' % i, i
"#;
    raise_open_files();
    let server = Server::start(&[]);
    let address = server.tcp();
    let start = Instant::now();
    let mut command = Command::new("python3");
    command.args(["-c", CROWD]);
    command.args([&address.ip().to_string(), &address.port().to_string()]);
    crate::common::succeeds(&mut command);
    assert!(start.elapsed() < Duration::from_secs(20));
    server.stop();
}
