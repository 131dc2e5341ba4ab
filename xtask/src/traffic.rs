//! Clients that check every byte: what comes back is what was sent, or a beginning of it.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// The longest that any one wait may take: far more than any takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How one exchange ended.
pub struct Exchange {
    /// Bytes that came back, all of them as they were sent.
    pub back: usize,
    /// Whether that is everything, followed by the end of the stream.
    pub whole: bool,
    /// Bytes that were back when the sending half was closed.
    pub before: usize,
}

impl Exchange {
    /// Checks that all of `sent` came back.
    pub fn all_of(&self, sent: &[u8]) -> Result<()> {
        let (back, len) = (self.back, sent.len());
        ensure!(self.whole, "{back} of {len} bytes came back");
        Ok(())
    }
}

/// What came back is not what was sent.
#[derive(Debug)]
pub struct Differs {
    /// Bytes before it that came back as they were sent.
    after: usize,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.after;
        write!(f, "what came back after {after} bytes is not what was sent")
    }
}

impl Error for Differs {}

/// How a client reads.
#[derive(Clone, Copy)]
pub struct Pace {
    /// The pause before the first piece is read.
    pub start: Duration,
    /// The pause after each piece that was read.
    pub pause: Duration,
    /// How long nothing may come.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            start: Duration::ZERO,
            pause: Duration::ZERO,
            patience: LIMIT,
        }
    }
}

/// A connection on which no call waits for ever.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT)
        .with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// Another of this machine's 127.0.0.0/8, so that no pair of addresses runs out of ports.
pub fn spread(address: SocketAddr, n: u64) -> SocketAddr {
    let [.., a, b] = n.to_be_bytes();
    let ip = Ipv4Addr::new(127, 0, a % 16, b.max(1));
    SocketAddr::new(ip.into(), address.port())
}

/// Connects and has one message echoed, which is complete in every framing.
pub fn greet(address: SocketAddr) -> Result<TcpStream> {
    let stream = connect(address)?;
    echo(&stream, b"\0\0\0\x05hey!\n")?;
    Ok(stream)
}

/// Sends a message that fits the buffers, and reads it back.
pub fn echo(mut stream: &TcpStream, message: &[u8]) -> Result<()> {
    stream.write_all(message).context("cannot send")?;
    let mut back = vec![0; message.len()];
    stream.read_exact(&mut back).context("no echo")?;
    ensure!(
        back == message,
        "the echo of {} bytes differs",
        message.len()
    );
    Ok(())
}

/// Sends `bytes` and an end while it reads; whether it all comes back is for the caller to judge.
///
/// # Errors
/// [`Differs`] when a byte does; others when there is no connection, and when it neither ends nor
/// goes on.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Result<Exchange> {
    exchange_at(address, bytes, Pace::default())
}

/// As [`exchange`], at another pace.
pub fn exchange_at(address: SocketAddr, bytes: &[u8], pace: Pace) -> Result<Exchange> {
    let stream = connect(address)?;
    stream.set_read_timeout(Some(pace.patience))?;
    let (read, before) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (&stream).write_all(bytes)?;
            before.store(read.load(Ordering::Relaxed), Ordering::Relaxed);
            stream.shutdown(Shutdown::Write)
        });
        let came = read_back(&stream, bytes, pace, &read);
        if came.is_err() {
            // The sender must not wait for a peer that is not looked at any more.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let sent = sender.join().expect("the sender does not panic");
        let ended = came?;
        let (back, before) = (read.load(Ordering::Relaxed), before.load(Ordering::Relaxed));
        let whole = ended && sent.is_ok() && back == bytes.len();
        Ok(Exchange {
            back,
            whole,
            before,
        })
    })
}

/// As [`exchange_at`], of several messages at one time, while `trouble` is made.
pub fn exchange_all<T>(
    address: SocketAddr,
    messages: &[Vec<u8>],
    pace: Pace,
    trouble: impl FnOnce() -> Result<T>,
) -> Result<(T, Vec<Result<Exchange>>)> {
    thread::scope(|scope| {
        let streams: Vec<_> = messages
            .iter()
            .map(|message| scope.spawn(move || exchange_at(address, message, pace)))
            .collect();
        let outcome = trouble();
        let streams = streams.into_iter();
        let exchanges = streams.map(|stream| stream.join().expect("no client panics"));
        let exchanges = exchanges.collect();
        Ok((outcome?, exchanges))
    })
}

/// Reads to the end, comparing, and counts what came in `read`. Returns whether an end followed.
fn read_back(mut stream: &TcpStream, sent: &[u8], pace: Pace, read: &AtomicUsize) -> Result<bool> {
    let (mut back, mut buffer) = (0, vec![0; 64 << 10]);
    thread::sleep(pace.start);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(n) => {
                if sent.get(back..back + n) != Some(&buffer[..n]) {
                    bail!(Differs { after: back });
                }
                back += n;
                read.store(back, Ordering::Relaxed);
                thread::sleep(pace.pause);
            }
            Err(error) if is_timeout(&error) => {
                bail!(
                    "{back} of {} bytes came back, then nothing for {:?}",
                    sent.len(),
                    pace.patience
                )
            }
            // Reset, or failed by the network: the connection is over.
            Err(_) => return Ok(false),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Sends one datagram and returns whether it came back within `limit`.
///
/// # Errors
/// When what came back is something else, or comes from elsewhere.
pub fn ask(address: SocketAddr, payload: &[u8], limit: Duration) -> Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(limit))?;
    socket.send_to(payload, address)?;
    let mut buffer = vec![0; 1 << 16];
    match socket.recv_from(&mut buffer) {
        Ok((len, source)) => {
            ensure!(
                source == address,
                "the reply to {address} came from {source}"
            );
            ensure!(
                buffer[..len] == *payload,
                "the reply of {len} bytes is not the request of {}",
                payload.len()
            );
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}

/// Closes a connection with a reset instead of an end.
pub fn reset(stream: TcpStream) -> Result<()> {
    use nix::libc::linger;
    use nix::sys::socket::{setsockopt, sockopt::Linger};

    let at_once = linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, Linger, &at_once).context("cannot set SO_LINGER")
}

/// Sends without reading until nothing more is taken.
pub fn fill(mut stream: &TcpStream, block: &[u8]) -> Result<usize> {
    stream.set_nonblocking(true)?;
    let (mut sent, mut quiet) = (0, 0);
    // The server passes bytes on meanwhile: full for good once nothing has moved for a while.
    while quiet < 30 {
        match stream.write(block) {
            Ok(n) => (sent, quiet) = (sent + n, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
                quiet += 1;
            }
            Err(_) => break,
        }
    }
    stream.set_nonblocking(false)?;
    Ok(sent)
}
