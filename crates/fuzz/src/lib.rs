//! What must hold of any input. Each function is a fuzz target, and a test replays its corpus.

mod stateful;

use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::time::Duration;

use echo_client::wire::echo::{self, Reply};
use echo_core::config::{self, Layers, Source};
use echo_core::escape::Escaped;
use echo_core::framing::{Decoded, Decoder};
use echo_core::stamp::{self, Arrival, Key, Mode, Reflector, Refusal, Request, tlv};
use echo_core::units::{Size, Timespan};
use echo_core::{Endpoint, Framing};
use echo_metrics::head::{MAX_HEAD, asked};
use echo_server::fault::Fault;
use echo_server::proxy::{Header, MAX_HEADER};
use echo_server::settings::Settings;

pub use stateful::{guard, ledger, stream};

/// What a target does with the fuzzer's bytes: panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", frames),
    ("endpoint", endpoint),
    ("units", units),
    ("fault", fault),
    ("config", config),
    ("datagram", datagram),
    ("escape", escape),
    ("head", head),
    ("proxy", proxy),
    ("stamp", reflected),
    ("ledger", ledger),
    ("stream", stream),
    ("guard", guard),
];

/// A stream is cut the same way in whatever pieces it comes. The first two bytes are the limit
/// and the size of the pieces, the others the stream.
pub fn frames(data: &[u8]) {
    let [max, piece, stream @ ..] = data else {
        return;
    };
    for framing in Framing::ALL {
        let max = u64::from(*max);
        let (whole, failed) = complete(framing, max, [stream]);
        let pieces = stream.chunks(usize::from(*piece).max(1));
        assert_eq!(complete(framing, max, pieces), (whole, failed), "{framing}");
        assert!(whole <= stream.len());
        if framing == Framing::Raw {
            assert_eq!((whole, failed), (stream.len(), false));
        }
        let frames: Vec<&[u8]> = framing.frames(stream).collect();
        assert_eq!(frames.concat(), stream, "{framing}");
    }
}

/// How many bytes are complete frames, and whether a frame is over the limit.
fn complete<'a>(
    framing: Framing,
    max: u64,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (usize, bool) {
    let mut decoder = Decoder::new(framing, max);
    let (mut before, mut whole) = (0, 0);
    for chunk in chunks {
        let Decoded { complete, error } = decoder.push(chunk);
        assert!(complete <= chunk.len());
        if complete > 0 {
            whole = before + complete;
        }
        if error.is_some() {
            return (whole, true);
        }
        before += chunk.len();
        assert_eq!(decoder.held(), (before - whole) as u64);
    }
    (whole, false)
}

/// What is taken for an endpoint is printed as one that is the same.
pub fn endpoint(data: &[u8]) {
    printed_the_same::<Endpoint>(data);
}

/// What is taken for a size or a duration is printed as one that is the same.
pub fn units(data: &[u8]) {
    printed_the_same::<Size>(data);
    printed_the_same::<Timespan>(data);
}

/// What is taken for a fault is printed as one that is the same.
pub fn fault(data: &[u8]) {
    printed_the_same::<Fault>(data);
}

fn printed_the_same<T: FromStr + Display + PartialEq + Debug>(data: &[u8]) {
    let text = str::from_utf8(data).ok();
    if let Some(value) = text.and_then(|text| text.parse::<T>().ok()) {
        assert_eq!(value.to_string().parse().ok(), Some(value));
    }
}

/// A file that is taken leads to a configuration that is printed as a file which leads to it again.
pub fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Some(layers) = layers(text) else { return };
    let Ok(effective) = layers.resolve::<echo_server::Config>() else {
        return;
    };
    let printed = layers.to_string();
    let again = self::layers(&printed).expect("what is printed is a file");
    assert_eq!(
        again.resolve::<echo_server::Config>().ok(),
        Some(effective),
        "{printed}"
    );
}

fn layers(text: &str) -> Option<Layers> {
    let settings: Settings = config::parse(text).ok()?;
    let defaults = Layers::defaults(&echo_server::Config::default());
    let layers = defaults.and_then(|layers| layers.over(Source::File("file".into()), &settings));
    Some(layers.expect("settings are a layer"))
}

/// Only a datagram that this session has sent is taken for one. The first byte is its size, and the
/// others are what came: as they are, and as damage to what was sent.
pub fn datagram(data: &[u8]) {
    const TOKEN: u64 = 7;
    let [size, came @ ..] = data else { return };
    let mut damaged = sent(TOKEN, 1 << 40, (*size).into());
    damaged
        .iter_mut()
        .zip(came)
        .for_each(|(byte, damage)| *byte ^= damage);
    for datagram in [came, &damaged] {
        let reply = echo::decode(TOKEN, (*size).into(), datagram);
        if let Reply::Whole(number) = reply {
            let sent = sent(TOKEN, number, (*size).into());
            // A sum of 32 bits can be forged; the header cannot differ.
            let header = echo::HEADER_LEN - 4;
            assert_eq!(datagram.len(), sent.len());
            assert_eq!(datagram[..header], sent[..header]);
        }
        let other = echo::decode(!TOKEN, (*size).into(), datagram);
        assert!(!matches!(
            (reply, other),
            (Reply::Whole(_), Reply::Whole(_))
        ));
    }
}

fn sent(token: u64, number: u64, size: usize) -> Vec<u8> {
    let mut datagram = vec![0; size];
    echo::encode(token, number, &mut datagram);
    datagram
}

/// A packet is reflected as long as it was, and tells of itself; one that is not stays as it was. What
/// two reflectors send each other ends. The first byte is odd where the sender has the key.
pub fn reflected(data: &[u8]) {
    let [has_key, came @ ..] = data else { return };
    let key = (has_key % 2 == 1).then(|| Key::new(b"a key"));
    let mut packet = came.to_vec();
    if let Some(key) = key.as_ref().filter(|_| came.len() >= Mode::TAG.end) {
        key.seal(&mut packet);
    }
    let mut one = Reflector::new(key.clone(), false);
    let mut other = Reflector::new(key, false);
    let mode = one.mode();
    let now = Duration::from_secs(1 << 30);
    let arrival = Arrival {
        source: ([192, 0, 2, 1], 1024).into(),
        destination: ([192, 0, 2, 2], 862).into(),
        at: now,
        ttl: 64,
        tos: 0,
    };
    let before = packet.clone();
    if one.reflect(&mut packet, &arrival, None, || now).is_err() {
        assert_eq!(packet, before);
        return;
    }
    assert_eq!(packet.len(), before.len());
    let request = Request::decode(mode, &before);
    let reply = stamp::Reply::decode(mode, &packet).expect("a reply");
    assert_eq!((Some(reply.request), reply.seq), (request, 0));
    let [asked, answered] = [&before, &packet].map(|packet| {
        let tlvs = tlv::tlvs(&packet[mode.tlvs_at(packet.len())..]);
        let shapes = tlvs.map(|tlv| tlv.map(|tlv| (tlv.kind, tlv.value.len())));
        shapes.collect::<Vec<_>>()
    });
    // Flags apart, which can make zeros of a header, nothing is added, moved or left out.
    assert!(asked.starts_with(&answered), "{asked:?} {answered:?}");
    assert!(other.reflect(&mut packet, &arrival, None, || now).is_ok());
    let again = one.reflect(&mut packet, &arrival, None, || now);
    assert_eq!(again, Err(Refusal::Reply));
}

/// Nothing that is escaped acts on a terminal.
pub fn escape(data: &[u8]) {
    let text = Escaped(data).to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// What a monitor's request asks for does not change when more of it comes, and is known once there is
/// no room for more.
pub fn head(data: &[u8]) {
    let data = &data[..data.len().min(MAX_HEAD)];
    let whole = asked(data);
    let first = (0..=data.len()).find_map(|len| asked(&data[..len]));
    assert_eq!(first, whole);
    assert!(whole.is_some() || data.len() < MAX_HEAD);
}

/// Who is behind a load balancer does not change when more comes, is known once there is no room for
/// more, and is the same whoever tells it again.
pub fn proxy(data: &[u8]) {
    let whole = Header::of(data).transpose();
    let first = (0..=data.len()).find_map(|len| Header::of(&data[..len]).transpose());
    assert_eq!(first, whole);
    assert!(whole.is_some() || data.len() < MAX_HEADER);
    let Some(Ok(Header { len, peer })) = whole else {
        return;
    };
    assert!(len <= data.len().min(MAX_HEADER));
    if let Some(peer) = peer {
        let family = if peer.is_ipv4() { "TCP4" } else { "TCP6" };
        let (ip, port) = (peer.ip(), peer.port());
        let again = format!("PROXY {family} {ip} {ip} {port} 7\r\n");
        let (len, peer) = (again.len(), Some(peer));
        let header = Header { len, peer };
        assert_eq!(Header::of(again.as_bytes()), Ok(Some(header)));
    }
}
