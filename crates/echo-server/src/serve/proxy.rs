//! The PROXY header, versions 1 and 2, in which a load balancer says whom it speaks for.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};

/// The longest header that is taken, in bytes. Addresses with the usual extensions have a few hundred.
pub(crate) const MAX_HEADER: usize = 4 << 10;

/// How a header of version 1 begins, and the longest that there is.
const TEXT: &[u8] = b"PROXY ";
const MAX_TEXT: usize = 107;

/// How a header of version 2 begins.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The command of version 2 on a connection of the load balancer's own.
const LOCAL: u8 = 0x20;

/// The header at the start of what came on a connection.
#[derive(Debug, PartialEq)]
pub(crate) struct Header {
    /// Its bytes.
    pub(crate) len: usize,
    /// Who is behind the load balancer; `None` where that is itself, or nobody who has an IP address.
    pub(crate) peer: Option<SocketAddr>,
}

/// What came is the start of no header, or of one that is too long.
#[derive(Debug, PartialEq)]
pub(crate) struct NoHeader;

impl Header {
    /// The header that `bytes` begin with; `None` as long as more of it is to come.
    pub(crate) fn of(bytes: &[u8]) -> Result<Option<Self>, NoHeader> {
        let Some(len) = length(bytes)? else {
            return Ok(None);
        };
        let Some(header) = bytes.get(..len) else {
            return Ok(None);
        };
        // Whatever else such a header says is to be ignored.
        if header.starts_with(BINARY) && header[BINARY.len()] == LOCAL {
            return Ok(Some(Header { len, peer: None }));
        }
        match ProxyHeader::parse(header, ParseConfig::default()) {
            Ok((parsed, all)) if all == len => Ok(Some(Header {
                len,
                peer: parsed.proxied_address().map(|address| address.source),
            })),
            _ => Err(NoHeader),
        }
    }
}

/// The length of the header that `bytes` begin with, once they tell.
fn length(bytes: &[u8]) -> Result<Option<usize>, NoHeader> {
    let begins = |with: &[u8]| bytes.starts_with(with) || with.starts_with(bytes);
    let (len, most) = if begins(BINARY) {
        let rest = bytes.get(14..16).map(|len| [len[0], len[1]]);
        let len = rest.map(|len| 16 + usize::from(u16::from_be_bytes(len)));
        (len, MAX_HEADER)
    } else if begins(TEXT) {
        let end = bytes.windows(2).position(|end| end == b"\r\n");
        (end.map(|end| end + 2), MAX_TEXT)
    } else {
        return Err(NoHeader);
    };
    match len.unwrap_or(bytes.len()) <= most {
        true => Ok(len),
        false => Err(NoHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
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
            (longest.into_bytes(), None),
            (binary(0x21, 0x11, &V4), four),
            (binary(0x21, 0x12, &V4), four),
            (binary(0x21, 0x21, &v6), six),
            (binary(0x21, 0x11, &extended), four),
            (binary(0x21, 0x31, &unix), None),
            (binary(0x21, 0x00, b""), None),
            (binary(0x20, 0x00, b""), None),
            (binary(0x20, 0xff, b"ignored"), None),
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
    fn what_is_no_header_is_known_as_soon_as_it_can_be() {
        let endless = [TEXT, &[b'x'; MAX_TEXT]].concat();
        let huge = [BINARY, &[0x21, 0x11, 0x10, 0]].concat();
        for bytes in [
            &b"G"[..],
            b"PROXYT",
            b"\r\n\r\n\0\r\nQUIZ",
            &endless,
            &huge,
            b"PROXY TCP4 192.0.2.1 10.0.0.1 50000 65536\r\n",
            b"PROXY TCP4 ::1 ::1 50000 5346\r\n",
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY UDP4 192.0.2.1 10.0.0.1 50000 5346\r\n",
            &binary(0x31, 0x11, &V4),
            &binary(0x22, 0x11, &V4),
            &binary(0x21, 0x41, &V4),
            &binary(0x21, 0x11, &V4[1..]),
        ] {
            assert_eq!(Header::of(bytes), Err(NoHeader), "{bytes:x?}");
        }
    }
}
