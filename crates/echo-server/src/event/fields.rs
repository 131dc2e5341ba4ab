//! What an event's fields are as JSON, where that is not what they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use echo_core::path::shown;
use echo_core::{Transport, Zoned, units};
use serde::{Serialize, Serializer};

use super::{Address, Datagrams, PeerAddress, unmapped};

/// An IPv4 address of an IPv6 socket is shown as the IPv4 address it is.
pub(super) fn address<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Zoned(unmapped(*address)))
}

/// This end, with its transport.
pub(crate) fn local<S: Serializer>(local: &Address, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Local {
        transport: Transport,
        local: String,
    }
    Local {
        transport: local.transport(),
        local: match local {
            Address::Tcp(address) | Address::Udp(address) => Zoned(unmapped(*address)).to_string(),
            Address::Unix(path) => shown(path).to_string(),
        },
    }
    .serialize(to)
}

/// In nanoseconds.
pub(crate) fn ns<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(units::ns(*time))
}

pub(super) fn received<S: Serializer>(sum: &Datagrams, to: S) -> Result<S::Ok, S::Error> {
    sized("received_bytes", sum, to)
}

pub(super) fn sent<S: Serializer>(sum: &Datagrams, to: S) -> Result<S::Ok, S::Error> {
    sized("sent_bytes", sum, to)
}

/// Datagrams, and their bytes by what became of them.
fn sized<S: Serializer>(key: &str, sum: &Datagrams, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Sized<'a> {
        #[serde(flatten)]
        sum: &'a Datagrams,
        #[serde(flatten)]
        bytes: BTreeMap<&'a str, u64>,
    }
    let bytes = [(key, sum.bytes)].into();
    Sized { sum, bytes }.serialize(to)
}

/// The IP address and port; one on a Unix socket has neither.
impl Serialize for PeerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PeerAddress::Inet(inet) => address(inet, serializer),
            PeerAddress::Unix => serializer.serialize_none(),
        }
    }
}
