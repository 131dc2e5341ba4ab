//! A STAMP reflector of a test, which does as one may that is not good.

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use echo_core::stamp::{Arrival, Key, Reflector};

/// What a reflector of a test does otherwise than a good one.
#[derive(Clone, Default)]
pub struct Odd {
    pub key: Option<&'static [u8]>,
    pub is_stateless: bool,
    /// Its clock is ahead.
    pub ahead: Duration,
    /// The number of the request before whose reply it stands still for 300 ms.
    pub stands_at: Option<usize>,
    /// The number of the request at which it ends.
    pub ends_at: Option<usize>,
    /// How long the way there takes, and the way back.
    pub ways: [Duration; 2],
    /// By how much its clock may be off, where that is synchronised.
    pub error: Option<Duration>,
    /// Of so many requests, one does not arrive.
    pub drops: usize,
    /// The bytes of its replies at most.
    pub len: Option<usize>,
}

/// Starts a reflector; returns its address.
pub fn reflector(odd: Odd) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || {
        let mut reflector = Reflector::new(odd.key.map(Key::new), odd.is_stateless);
        let mut buffer = vec![0; 1 << 16];
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("past") + odd.ahead;
        for number in 1.. {
            let Ok((len, source)) = socket.recv_from(&mut buffer) else {
                return;
            };
            if odd.ends_at == Some(number) {
                return;
            }
            thread::sleep(odd.ways[0]);
            let arrival = Arrival {
                source,
                destination: address,
                at: now(),
                ttl: 60,
                tos: 0,
            };
            if odd.drops > 0 && number % odd.drops == 0 {
                continue;
            }
            if odd.stands_at == Some(number) {
                thread::sleep(Duration::from_millis(300));
            }
            let packet = &mut buffer[..len];
            if reflector.reflect(packet, &arrival, odd.error, now).is_ok() {
                let len = odd.len.unwrap_or(len).min(len);
                thread::sleep(odd.ways[1]);
                let _ = socket.send_to(&packet[..len], source);
            }
        }
    });
    address.to_string()
}
