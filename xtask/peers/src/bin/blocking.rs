//! An echo server of blocking calls, with a thread for each connection. Where nanoseconds are named,
//! it works that long for each echo.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let work = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let work = Duration::from_nanos(work.unwrap_or(0));
    let listener = peers::listen()?;
    peers::ready("tcp", listener.local_addr()?)?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::Builder::new()
            .stack_size(128 << 10)
            // A connection that fails is that connection's end.
            .spawn(move || echo(stream, work))?;
    }
    Ok(())
}

fn echo(mut stream: TcpStream, work: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => {
                let begun = Instant::now();
                while !work.is_zero() && begun.elapsed() < work {
                    std::hint::spin_loop();
                }
                stream.write_all(&buffer[..read])?;
            }
        }
    }
}
