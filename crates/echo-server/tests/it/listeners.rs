//! Listeners with a name, and a character of their own.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::common::{Server, TempPath, connect, echo, exchange, fails, program, read_to_end};
use echo_server::{Config, Server as InProcess};

/// The address of the ready line that ends with `name`.
fn named(server: &Server, kind: &str, name: &str) -> SocketAddr {
    let lines = server.ready_lines().iter();
    let mut found = lines.filter_map(|line| {
        let address = line.strip_prefix(&format!("listening {kind} "))?;
        address.strip_suffix(&format!(" {name}"))
    });
    found
        .next()
        .expect("a line with that name")
        .parse()
        .unwrap()
}

#[test]
fn a_listener_with_a_name_has_a_character_of_its_own() {
    let server = Server::listening(&[
        "--listen=tcp://127.0.0.1:0",
        "--listen=api=tcp://127.0.0.1:0",
        "--listen=db=127.0.0.1:0",
        "--framing=lines,on=api",
        "--fault=truncate=2,on=db",
        "--log=json",
    ]);
    let (api, db) = (named(&server, "tcp", "api"), named(&server, "tcp", "db"));
    assert_eq!(
        server.ready_lines()[0],
        format!("listening tcp {}", server.tcp())
    );
    echo(connect(server.tcp()), b"no line");
    assert_eq!(exchange(db, b"hello"), b"he");
    let mut stream = connect(api);
    stream.write_all(b"a line\nand a").unwrap();
    let mut back = [0; 7];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"a line\n");
    server.says(&format!("\"local\":\"{api}\",\"listener\":\"api\""));
    server.tells("which listener was connected to", |told| {
        let mut lines = told.lines().filter(|line| line.contains("\"accepted\""));
        lines
            .find(|line| line.ends_with("\"listener\":\"db\"}"))
            .map(drop)
    });
}

#[test]
fn a_table_of_the_file_is_a_listener_and_a_text_is_one_too() {
    let file = TempPath::new("echo.toml");
    let table = "[[listen]]\nname = \"api\"\nendpoint = \"tcp://127.0.0.1:0\"\nframing = \"lines\"\n\
                 max-frame = 4\nfault = { duplicate = true, msg = 1 }\n\n\
                 [[listen]]\nendpoint = \"tcp://127.0.0.1:0\"\n";
    for (settings, listeners) in [(table, 2), ("listen = \"db=tcp://127.0.0.1:0\"\n", 1)] {
        std::fs::write(&*file, settings).unwrap();
        let server = Server::listening(&["--config", file.text()]);
        assert_eq!(server.ready_lines().len(), listeners);
        if listeners == 2 {
            let mut api = connect(named(&server, "tcp", "api"));
            api.write_all(b"a\nb\ntoo long").unwrap();
            assert_eq!(read_to_end(&mut api), b"a\na\nb\n");
            echo(connect(server.nth("tcp", 1)), b"too long for another");
        }
        let print = || {
            let output = program()
                .args(["--config", file.text(), "--print-config"])
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        let values = |printed: &str| -> toml::Table { printed.parse().unwrap() };
        let printed = print();
        std::fs::write(&*file, &printed).unwrap();
        assert_eq!(values(&print()), values(&printed));
    }
}

#[test]
fn a_name_that_no_listener_has_is_refused() {
    let listen = ["--listen=api=127.0.0.1:0", "--listen=127.0.0.1:0"];
    for wrong in [
        "--fault=drop,on=ap",
        "--framing=lines,on=ap",
        "--max-frame=1k,on=ap",
    ] {
        fails(
            program().args(listen).arg(wrong),
            2,
            &["on=ap: no listener has that name", "there is api"],
        );
    }
    fails(
        program().arg("--fault=drop,on=api"),
        2,
        &["none has a name", "--listen NAME="],
    );
}

#[test]
fn a_test_finds_a_listener_by_its_name() {
    let listen = ["a=tcp://127.0.0.1:0", "b=tcp://127.0.0.1:0"];
    let server = InProcess::bind(Config {
        listen: listen.map(|text| text.parse().unwrap()).into(),
        ..Config::default()
    })
    .unwrap();
    let (a, b) = (server.address("a").cloned(), server.address("b").cloned());
    assert_eq!(server.addresses(), [a.unwrap(), b.unwrap()]);
    assert_eq!(server.address("c"), None);
}

/// A port that nobody has.
fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}

#[test]
fn a_port_alone_is_that_of_this_machine() {
    // Another program may take a free port first, so try with others.
    'forms: for form in ["PORT", ":PORT", "--port=PORT", "api=127.0.0.1:PORT"] {
        for _ in 0..50 {
            let port = free_port();
            let argument = form.replace("PORT", &port.to_string());
            let mut server = Server::launch(program().arg(&argument));
            if server.is_ready() {
                assert_eq!(server.ready_lines().len(), 2, "{argument}");
                echo(connect(SocketAddr::from(([127, 0, 0, 1], port))), b"hello");
                continue 'forms;
            }
        }
        panic!("{form}: no port was free");
    }
    let both = Server::listening(&["127.0.0.1:0", "--listen=127.0.0.1:0"]);
    assert_eq!(both.ready_lines().len(), 4);
    both.stop();
    for help in [&["help"][..], &["--help"], &["-h"], &["fault", "help"]] {
        let output = program().args(help).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let word = if help.len() == 2 {
            "reset-after"
        } else {
            "Failing on demand"
        };
        assert!(
            output.status.success() && told.contains(word),
            "{help:?}: {told}"
        );
    }
}

#[test]
fn lines_of_text_begin_with_their_time_where_asked() {
    let server = Server::start(&["--timestamps"]);
    echo(connect(server.tcp()), b"hello");
    server.says(" Closed: ");
    let ended = server.stop();
    for line in ended.stderr.lines() {
        let (time, rest) = line.split_once("Z ").expect("a time");
        let digits = time.chars().filter(char::is_ascii_digit).count();
        assert!(
            time.len() == 23 && digits == 17 && !rest.is_empty(),
            "{line}"
        );
    }
    assert!(ended.stderr.lines().last().unwrap().contains("up for"));
}
