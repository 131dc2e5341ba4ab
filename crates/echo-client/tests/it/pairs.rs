//! Two things that are wrong with a path at once, of which neither hides the other.

use crate::common::lab::Lab;
use crate::paths::{BOTH, both, diagnosed, reflected};

/// A fault that may come together with others: its verdict, and what breaks the path so.
type Fault = (&'static str, fn(&Lab));

const NARROW: Fault = ("mtu", |lab| {
    lab.router("ip route change 203.0.113.0/24 dev rs mtu 1400");
});
/// So narrow that no datagram of other steps fits.
const SILENT: Fault = ("mtu-blackhole", |lab| {
    lab.router("ip route change 203.0.113.0/24 dev rs mtu 1000");
    let chain = "filter hook output priority 0";
    lab.rule(chain, "icmp type destination-unreachable drop");
});
const LOSSY: Fault = ("loss-up", |lab| {
    lab.forward("iif rc meta l4proto udp numgen random mod 1000 < 50 drop");
});
const LIMITED: Fault = ("policer", |lab| {
    lab.forward("iif rc meta l4proto udp limit rate over 200 kbytes/second burst 20 kbytes drop");
});
const UNMARKED: Fault = ("dscp", |lab| lab.forward("iif rc ip dscp set cs0"));
const HALF_DEAD: Fault = ("family-dead", |lab| lab.forward("meta nfproto ipv6 drop"));

macro_rules! pairs {
    ($($test:ident: $one:ident $other:ident)*) => {$(
        #[test]
        #[ignore = "cargo xtask ci diagnose"]
        fn $test() {
            let [one, other] = [$one, $other];
            let test = stringify!($test);
            diagnosed(test, BOTH, &[one.0, other.0], |lab| {
                both();
                one.1(lab);
                other.1(lab);
                reflected("accept")(lab)
            });
        }
    )*};
}

pairs! {
    a_narrow_link_and_losses_are_both_told: NARROW LOSSY
    a_narrow_link_and_a_limit_are_both_told: NARROW LIMITED
    a_narrow_link_and_an_erased_mark_are_both_told: NARROW UNMARKED
    a_narrow_link_and_a_dead_family_are_both_told: NARROW HALF_DEAD
    a_black_hole_and_losses_are_both_told: SILENT LOSSY
    a_black_hole_and_a_limit_are_both_told: SILENT LIMITED
    losses_and_a_limit_are_both_told: LOSSY LIMITED
    losses_and_an_erased_mark_are_both_told: LOSSY UNMARKED
    losses_and_a_dead_family_are_both_told: LOSSY HALF_DEAD
    a_limit_and_an_erased_mark_are_both_told: LIMITED UNMARKED
    a_limit_and_a_dead_family_are_both_told: LIMITED HALF_DEAD
    an_erased_mark_and_a_dead_family_are_both_told: UNMARKED HALF_DEAD
}
