//! `--record`: every chunk as it arrived, in a file that nobody else's start or link puts at risk.

use std::net::UdpSocket;

use crate::common::{Server, TempPath, connect, echo, eventually, exchange, program};
use crate::fixture::{all_names, objects};

#[test]
fn a_record_goes_through_no_link_that_others_may_have_put() {
    let (path, target) = TempPath::linked("record");
    let arguments = ["--listen=127.0.0.1:0", "--record", path.text()];
    let dir = path.parent().unwrap();
    let set_mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(dir, mode).unwrap();
    };
    let is_refused = || {
        let told = ["cannot record to", "is a link"];
        crate::common::fails(program().args(arguments), 2, &told);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "mine");
    };
    set_mode(0o777);
    is_refused();
    // Whoever may write to such a directory cannot have put there what is ours.
    for mode in [0o755, 0o1777] {
        set_mode(mode);
        std::fs::write(&target, "mine").unwrap();
        let server = Server::run(program().args(arguments));
        echo(connect(server.tcp()), b"hello");
        server.stop();
        let kept = std::fs::read_to_string(&target).unwrap();
        assert!(kept.starts_with("mine{"), "{mode:o}: {kept}");
    }
    if !rustix::process::geteuid().is_root() {
        return crate::common::skip("only root gives a link to another");
    }
    std::fs::write(&target, "mine").unwrap();
    let other = Some(54321);
    std::os::unix::fs::lchown(&*path, other, None).unwrap();
    is_refused();
    // Whose a directory is renames what is in it.
    std::os::unix::fs::lchown(&*path, Some(0), None).unwrap();
    std::os::unix::fs::chown(dir, other, None).unwrap();
    is_refused();
}

#[test]
fn a_record_goes_through_no_directory_that_others_may_have_linked() {
    let path = TempPath::new("real/record");
    let real = path.parent().unwrap();
    let dir = real.parent().unwrap();
    std::fs::create_dir(real).unwrap();
    let (link, way) = (dir.join("d"), dir.join("way"));
    std::os::unix::fs::symlink("real", &link).unwrap();
    std::os::unix::fs::symlink("d/record", &way).unwrap();
    let set_mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(dir, mode).unwrap();
    };
    set_mode(0o777);
    let through = link.join("record");
    for record in [&through, &way] {
        let mut command = program();
        command
            .args(["--listen=127.0.0.1:0", "--record"])
            .arg(record);
        crate::common::fails(&mut command, 2, &["cannot record to", "is a link"]);
    }
    assert!(!path.exists());
    set_mode(0o755);
    for record in [&through, &way] {
        let mut command = program();
        command
            .args(["--listen=127.0.0.1:0", "--record"])
            .arg(record);
        Server::run(&mut command).stop();
    }
    assert!(path.exists());
}

#[test]
fn a_record_goes_to_what_is_open_as_well() {
    let path = TempPath::new("record");
    let kept = path.with_extension("kept");
    let open = format!(
        "exec 3>{0} && ln {0} {1} && rm {0}",
        path.text(),
        kept.display()
    );
    let mut command = crate::common::after(&open);
    command.args(["--listen=127.0.0.1:0", "--record=/proc/self/fd/3"]);
    let server = Server::run(&mut command);
    echo(connect(server.tcp()), b"hello");
    server.stop();
    let kept = std::fs::read_to_string(&kept).unwrap();
    assert!(kept.contains("hello") && !path.exists(), "{kept}");
}

#[test]
fn a_record_is_none_of_the_standard_streams() {
    for name in ["/dev/stdout", "/proc/self/fd/2", "/dev/fd/1"] {
        let mut command = program();
        command.args(["--listen=127.0.0.1:0", "--record", name]);
        crate::common::fails(&mut command, 2, &["--record and standard", "name one file"]);
    }
    // A terminal of its own, which goes by three names.
    if !crate::common::has("script") {
        return;
    }
    for name in ["/dev/stderr", "/dev/tty"] {
        let server = format!(
            "{} --listen=127.0.0.1:0 --record {name}",
            env!("CARGO_BIN_EXE_echo-server")
        );
        let told = std::process::Command::new("script")
            .args(["-qec", &server, "/dev/null"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(2), "{said}");
        assert!(said.contains("--record and standard"), "{said}");
    }
    let mut command = program();
    command.args(["--listen=127.0.0.1:0", "--record=/dev/null"]);
    Server::run(command.stdin(std::process::Stdio::null())).stop();
}

#[test]
fn a_record_that_a_failed_start_has_made_goes_again() {
    let path = TempPath::new("record");
    let record = ["--record", path.text()];
    let bad = ["--listen=127.0.0.1:0", "--ready-file=no/such/directory"];
    crate::common::fails(program().args(record).args(bad), 2, &["the ready file"]);
    assert_eq!(all_names(&path), [""; 0]);
    // Through a link to what is not there yet, too.
    let link = path.with_file_name("link");
    std::os::unix::fs::symlink(&*path, &link).unwrap();
    let linked = ["--record", link.to_str().unwrap()];
    crate::common::fails(program().args(linked).args(bad), 2, &["the ready file"]);
    assert_eq!(all_names(&path), ["link"]);
    std::fs::remove_file(link).unwrap();
    std::fs::write(&*path, "before\n").unwrap();
    crate::common::fails(program().args(record).args(bad), 2, &["the ready file"]);
    assert_eq!(std::fs::read_to_string(&*path).unwrap(), "before\n");
    std::fs::remove_file(&*path).unwrap();
    Server::start(&record).stop();
    assert_eq!(
        all_names(&path),
        ["record"],
        "a server that served leaves it"
    );
}

#[test]
fn the_record_holds_every_chunk_as_it_arrived() {
    let path = TempPath::new("record");
    let server = Server::start(&["--record", path.text(), "-q"]);
    let read = || std::fs::read_to_string(&*path).unwrap();
    let stream = connect(server.tcp());
    for part in [&b"two \xff"[..], b"parts"] {
        echo(&stream, part);
    }
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    datagrams.send_to(b"", server.udp()).unwrap();
    // It is written before the server goes on: no end has to be waited for.
    eventually("three lines", || read().lines().count() == 3);
    let chunks = objects(&read());
    let peer = stream.local_addr().unwrap().to_string();
    for (chunk, hex) in chunks.iter().zip(["74776f20ff", "7061727473"]) {
        assert_eq!(
            (&chunk["connection"], &chunk["hex"]),
            (&1.into(), &hex.into())
        );
        assert_eq!(chunk["peer"], *peer);
        assert_eq!(chunk["received_bytes"], 5);
    }
    assert_eq!(chunks[2]["transport"], "udp");
    assert_eq!(chunks[2]["received_bytes"], 0);
}

#[test]
fn a_record_misses_nothing_of_a_bulk_transfer() {
    let path = TempPath::new("record");
    let server = Server::start(&["--record", path.text(), "--log-level=off"]);
    let sent = crate::common::pattern(10_000_000, 1);
    assert_eq!(exchange(server.tcp(), &sent), sent);
    server.stop();
    let text = std::fs::read_to_string(&*path).unwrap();
    let hex: Vec<u8> = objects(&text)
        .iter()
        .flat_map(|chunk| chunk["hex"].as_str().unwrap().as_bytes().to_vec())
        .collect();
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    let recorded: Vec<u8> = hex
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect();
    assert!(recorded == sent);
}
