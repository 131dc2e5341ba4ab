//! Paths on which nothing comes back at all: of a transport, of a family, of a port, of a name.

use crate::common::network::names;
use crate::paths::{BOTH, EVERYWHERE, FOUR, SIX, both, diagnosed, rule, serve};

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn silence_of_one_transport_is_a_filter() {
    let test = "silence_of_one_transport_is_a_filter";
    diagnosed(test, FOUR, &["tcp-filtered"], rule("meta l4proto tcp drop"));
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn silence_of_the_other_is_one_too() {
    let test = "silence_of_the_other_is_one_too";
    diagnosed(test, SIX, &["udp-filtered"], rule("meta l4proto udp drop"));
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn silence_of_both_is_a_dead_path() {
    diagnosed(
        "silence_of_both_is_a_dead_path",
        SIX,
        &["dead"],
        rule("drop"),
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_port_where_nobody_listens_is_refused() {
    diagnosed(
        "a_port_where_nobody_listens_is_refused",
        SIX,
        &["udp-refused"],
        |lab| serve(lab, "tcp://[::]:5346", &[]),
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn who_forbids_it_is_named() {
    let rule = rule("reject with icmpx type admin-prohibited");
    diagnosed("who_forbids_it_is_named", SIX, &["prohibited"], rule);
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn who_knows_no_way_is_named() {
    diagnosed("who_knows_no_way_is_named", FOUR, &["unreachable"], |lab| {
        lab.router("ip route replace unreachable 203.0.113.2/32");
        serve(lab, EVERYWHERE, &[])
    });
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn one_dead_family_of_a_name_is_told() {
    diagnosed(
        "one_dead_family_of_a_name_is_told",
        BOTH,
        &["family-dead"],
        |lab| {
            both();
            rule("meta nfproto ipv6 drop")(lab)
        },
    );
}

#[test]
#[ignore = "cargo xtask ci diagnose"]
fn a_name_that_does_not_exist_is_told() {
    diagnosed(
        "a_name_that_does_not_exist_is_told",
        "nobody.invalid:7",
        &["dns-nxdomain"],
        |_| {
            names("");
            Box::new(())
        },
    );
}
