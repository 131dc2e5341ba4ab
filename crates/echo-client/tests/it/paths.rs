//! Paths with one thing wrong, each in a laboratory of its own.

use crate::common::lab::{Lab, PORT, SERVER};
use crate::common::run;
use echo_server::Config;

#[test]
fn a_laboratory_carries_packets_of_both_families_and_breaks_what_it_is_told_to() {
    let test = "a_laboratory_carries_packets_of_both_families_and_breaks_what_it_is_told_to";
    Lab::open(test, |lab| {
        let _server = lab.serve(&format!("[::]:{PORT}"), Config::default());
        let targets = SERVER.map(|address| format!("udp://{address}:{PORT}"));
        let targets = [
            &targets[0],
            &targets[1].replace("2001", "[2001").replace("::2:", "::2]:"),
        ];
        let ping = |target: &str| run(&["ping", "-c3", "-i10ms", "-W300ms", target]).code;
        assert_eq!(targets.map(|target| ping(target)), [Some(0); 2]);
        lab.forward("ip6 nexthdr udp drop");
        assert_eq!(targets.map(|target| ping(target)), [Some(0), Some(1)]);
    });
}
