//! The PROXY header, versions 1 and 2, in which a load balancer says whom it speaks for.

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ParseConfig, ProxyHeader};

/// The longest header that is taken, in bytes. Addresses with the usual extensions have a few hundred.
pub const MAX_HEADER: usize = 4 << 10;

/// How a header of version 1 begins, and the longest that there is.
const TEXT: &[u8] = b"PROXY ";
const MAX_TEXT: usize = 107;

/// How a header of version 2 begins.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header at the start of what came on a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// Its bytes.
    pub len: usize,
    /// Who is behind the load balancer; `None` where that is itself, or nobody who has an IP address.
    pub peer: Option<SocketAddr>,
}

/// What is wrong with what came.
pub type Flaw = &'static str;

impl Header {
    /// The header that `bytes` begin with; `None` as long as more of it is to come.
    ///
    /// # Errors
    /// They begin with none.
    pub fn of(bytes: &[u8]) -> Result<Option<Self>, Flaw> {
        let Some(len) = length(bytes)? else {
            return Ok(None);
        };
        let Some(header) = bytes.get(..len) else {
            return Ok(None);
        };
        let peer = match header.starts_with(BINARY) {
            true => binary(header)?,
            false => text(header)?,
        };
        Ok(Some(Header { len, peer }))
    }
}

/// The length of the header that `bytes` begin with, once they tell.
fn length(bytes: &[u8]) -> Result<Option<usize>, Flaw> {
    let begins = |with: &[u8]| bytes.starts_with(with) || with.starts_with(bytes);
    let (len, most, too_long) = if begins(BINARY) {
        let rest = bytes.get(14..16).map(|len| [len[0], len[1]]);
        let len = rest.map(|len| 16 + usize::from(u16::from_be_bytes(len)));
        (len, MAX_HEADER, "its PROXY header is over 4096 bytes long")
    } else if begins(TEXT) {
        let end = bytes.windows(2).position(|end| end == b"\r\n");
        let too_long = "its PROXY header does not end within the 107 bytes that version 1 has";
        (end.map(|end| end + 2), MAX_TEXT, too_long)
    } else {
        return Err("it does not begin with a PROXY header, as --proxy-protocol expects");
    };
    match len.unwrap_or(bytes.len()) <= most {
        true => Ok(len),
        false => Err(too_long),
    }
}

/// Who is behind a header of version 2.
fn binary(header: &[u8]) -> Result<Option<SocketAddr>, Flaw> {
    match header[BINARY.len()] {
        // On a connection of the load balancer's own. Whatever else it says is to be ignored.
        0x20 => return Ok(None),
        0x21 => {}
        0x22..=0x2f => return Err("its PROXY header has a command other than LOCAL and PROXY"),
        _ => return Err("its PROXY header has the form of version 2, and is of another"),
    }
    if header[BINARY.len() + 1] & 0x0f == 2 {
        return Err("its PROXY header speaks of datagrams, on a connection");
    }
    match ProxyHeader::parse(header, ParseConfig::default()) {
        Ok((parsed, all)) if all == header.len() => match parsed.tlvs().all(|one| one.is_ok()) {
            true => Ok(parsed.proxied_address().map(|address| address.source)),
            false => Err("an extension in its PROXY header runs beyond the end of that"),
        },
        _ => Err("the addresses in its PROXY header are cut short, or of no family that there is"),
    }
}

/// Who is behind a header of version 1. The library would take ports that begin with zeros or a sign,
/// which the protocol forbids, and says of nothing what is wrong.
fn text(header: &[u8]) -> Result<Option<SocketAddr>, Flaw> {
    // Whatever else such a header says is to be ignored.
    if header.starts_with(b"PROXY UNKNOWN ") || header == b"PROXY UNKNOWN\r\n" {
        return Ok(None);
    }
    let line = std::str::from_utf8(header).map_err(|_| "its PROXY header is no text")?;
    let words: Vec<&str> = line.trim_end_matches("\r\n").split(' ').collect();
    let (family, rest) = match words[..] {
        [_, family @ ("TCP4" | "TCP6"), ref rest @ ..] => (family, rest),
        _ => return Err("its PROXY header says neither TCP4, TCP6 nor UNKNOWN"),
    };
    let [source, destination, source_port, destination_port] = *rest else {
        return Err(
            "its PROXY header does not have two addresses and two ports, each behind one space",
        );
    };
    let ip = |word: &str| {
        let ip = word.parse::<IpAddr>().ok();
        let ip = ip.filter(|ip| ip.is_ipv4() == (family == "TCP4"));
        ip.ok_or("an address in its PROXY header is none of the family before it")
    };
    let port = |word: &str| {
        let port = word
            .parse::<u16>()
            .ok()
            .filter(|port| port.to_string() == word);
        port.ok_or("a port in its PROXY header is no number from 0 to 65535, as those are written")
    };
    let source = SocketAddr::new(ip(source)?, port(source_port)?);
    ip(destination)?;
    port(destination_port)?;
    Ok(Some(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [BINARY, &[command, family], &len, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0xc3, 0x50, 0x14, 0xe2];

    #[test]
    fn whoever_is_behind_the_load_balancer_is_found_however_the_header_is_cut() {
        let v6 = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap();
        let v6 = [&v6.octets()[..], &[0; 16], &[0xc3, 0x50, 0, 7]].concat();
        let extended = [&V4[..], &[4, 0, 3, 0, 0, 0]].concat();
        let unix = [b'/'; 216];
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(MAX_TEXT - 16));
        let (four, six) = (Some("192.0.2.1:50000"), Some("[2001:db8::1]:50000"));
        for (bytes, peer) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 5346\r\n".to_vec(),
                four,
            ),
            (b"PROXY TCP6 2001:db8::1 ::1 50000 7\r\n".to_vec(), six),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN \xff\r\n".to_vec(), None),
            (longest.into_bytes(), None),
            (version_2(0x21, 0x11, &V4), four),
            (version_2(0x21, 0x21, &v6), six),
            (version_2(0x21, 0x11, &extended), four),
            (version_2(0x21, 0x31, &unix), None),
            (version_2(0x21, 0x00, b""), None),
            (version_2(0x20, 0x00, b""), None),
            (version_2(0x20, 0xff, b"ignored"), None),
        ] {
            for cut in 0..bytes.len() {
                assert_eq!(Header::of(&bytes[..cut]), Ok(None), "{bytes:x?} {cut}");
            }
            let (len, peer) = (bytes.len(), peer.map(|peer| peer.parse().unwrap()));
            let header = Ok(Some(Header { len, peer }));
            assert_eq!(Header::of(&bytes), header);
            assert_eq!(Header::of(&[&bytes[..], b"PROXY \r\n"].concat()), header);
        }
    }

    #[test]
    fn what_is_no_header_is_known_as_soon_as_it_can_be_and_told_for_what_it_is() {
        let endless = [TEXT, &[b'x'; MAX_TEXT]].concat();
        let huge = [BINARY, &[0x21, 0x11, 0x10, 0]].concat();
        for (bytes, flaw) in [
            (&b"G"[..], "does not begin"),
            (b"PROXYT", "does not begin"),
            (b"\r\n\r\n\0\r\nQUIZ", "does not begin"),
            (&endless, "107 bytes"),
            (&huge, "4096 bytes"),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 65536\r\n", "a port"),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 05000 5346\r\n", "a port"),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 05346\r\n", "a port"),
            (b"PROXY TCP6 ::1 ::1 +5000 5346\r\n", "a port"),
            (b"PROXY TCP6 ::1 ::1 5000 \r\n", "a port"),
            (b"PROXY TCP4 ::1 ::1 50000 5346\r\n", "an address"),
            (b"PROXY TCP6 192.0.2.1 ::1 50000 5346\r\n", "an address"),
            (
                b"PROXY TCP4 192.0.2.300 10.0.0.1 50000 5346\r\n",
                "an address",
            ),
            (
                b"PROXY TCP4 192.0.2.01 10.0.0.1 50000 5346\r\n",
                "an address",
            ),
            (b"PROXY TCP6 fe80::1%lo ::1 50000 5346\r\n", "an address"),
            (b"PROXY TCP4 192.0.2.1\r\n", "two addresses and two ports"),
            (
                b"PROXY TCP4  192.0.2.1 10.0.0.1 5 5\r\n",
                "two addresses and two ports",
            ),
            (
                b"PROXY UDP4 192.0.2.1 10.0.0.1 50000 5346\r\n",
                "neither TCP4",
            ),
            (
                b"PROXY tcp4 192.0.2.1 10.0.0.1 50000 5346\r\n",
                "neither TCP4",
            ),
            (b"PROXY UNKNOWNS\r\n", "neither TCP4"),
            (b"PROXY \xff\r\n", "no text"),
            (&version_2(0x31, 0x11, &V4), "of another"),
            (&version_2(0x21, 0x12, &V4), "datagrams"),
            (&version_2(0x21, 0x22, &[0; 36]), "datagrams"),
            (
                &version_2(0x21, 0x11, &[&V4[..], b"\x04\xff\xff\0"].concat()),
                "an extension",
            ),
            (&version_2(0x22, 0x11, &V4), "a command"),
            (&version_2(0x21, 0x41, &V4), "no family"),
            (&version_2(0x21, 0x11, &V4[1..]), "cut short"),
        ] {
            let told = Header::of(bytes).unwrap_err();
            assert!(told.contains(flaw), "{bytes:x?}: {told}");
        }
    }
}
