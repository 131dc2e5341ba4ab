//! Reading and writing a stream that may have been left non-blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// How long to do nothing where the system does not let us wait: trying all the time burns a core.
const PAUSE: Duration = Duration::from_millis(50);

/// A stream that waits for room, or for something to read. A standard stream is shared with whoever started the program, and
/// one that the other has made non-blocking fails when its reader is slow, instead of waiting.
#[derive(Debug, Default)]
pub struct Patient<W>(pub W);

impl<S: AsFd> Patient<S> {
    fn wait<T>(
        &mut self,
        ready: PollFlags,
        mut call: impl FnMut(&mut S) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match call(&mut self.0) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut stream = [PollFd::new(&self.0, ready)];
                    // An interruption only means that the call is tried sooner.
                    if poll(&mut stream, None).is_err_and(|error| error != Errno::INTR) {
                        std::thread::sleep(PAUSE);
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

impl<R: Read + AsFd> Read for Patient<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN, |stream| stream.read(buffer))
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait(PollFlags::OUT, W::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn all_arrives_in_the_end_at_a_slow_reader_of_a_non_blocking_stream() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let sent: Vec<u8> = (0..2 << 20).map(|i: u32| (i % 251) as u8).collect();
        let expected = sent.clone();
        let reader = std::thread::spawn(move || {
            let mut back = Vec::new();
            theirs.read_to_end(&mut back).unwrap();
            back == expected
        });
        let mut full = ours.try_clone().unwrap();
        let first = full.write(&sent).unwrap();
        let mut patient = Patient(ours);
        patient.write_all(&sent[first..]).unwrap();
        drop((full, patient));
        assert!(reader.join().unwrap());
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_not_waited_for() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        drop(theirs);
        let error = Patient(ours).write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
