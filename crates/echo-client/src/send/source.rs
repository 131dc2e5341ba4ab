//! What is sent, cut into frames as it is read.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use echo_core::framing::{Decoder, FrameError, Framing};
use echo_core::units::Timespan;
use echo_core::{Failure, Patient, remedied};
use rustix::fs::OFlags;

use super::{DEFAULT_MESSAGE, Send, Trouble};
use crate::connection::{Connect, ErrorKind, Fault, TICK, cause, is_readable};
use crate::interrupt::Interrupt;
use crate::output;

/// The most that is read at a time, and therefore the longest frame that `length` makes of a
/// stream: from 64 KiB on, bulk throughput no longer grows with the size of a write.
pub const CHUNK: usize = 64 << 10;

/// How long whatever is piped in may take to begin, at least: a program has to start.
const PIPED: Duration = Duration::from_secs(5);

/// Messages to send, framed.
pub struct Source {
    /// What it is, for messages: `standard input`, or the file's name.
    pub name: String,
    /// Whether its size is unknown until its end: a file or standard input, not a text.
    pub is_stream: bool,
    /// How long a file is.
    pub len: Option<u64>,
    /// Whether each line is a piece of its own, as somebody types it.
    pub by_line: bool,
    /// A text that has not been sent, or the start of what is piped in.
    text: Option<Vec<u8>>,
    /// What is not read to its end.
    file: Option<Patient<File>>,
    framing: Framing,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// How much at its start has been read and is no piece yet.
    held: usize,
    /// Where the next piece starts in the stream of sent bytes.
    offset: u64,
    /// Where the last complete frame ends.
    complete: u64,
}

/// Bytes to send, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The bytes, framed.
    pub bytes: Vec<u8>,
    /// How many of them come before the payload: a length, or the line end that the input lacked.
    pub header: usize,
    /// Once the server has these, it owes the echo of everything up to this offset: a server
    /// that frames holds an incomplete line back.
    pub due: u64,
}

impl Source {
    /// Opens what `config` says to send; what is piped in, where it says nothing. A file that cannot
    /// be read is a usage error.
    pub fn open(config: &Send, connect: &Connect, interrupt: &Interrupt) -> Result<Self, Trouble> {
        let mut source = Source::empty(connect);
        if !config.file.is_none() {
            let name = config.file.to_string();
            // A pipe that nobody writes to is waited for as any input is, and not in the call.
            let flags = OFlags::NONBLOCK.bits() as i32;
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(flags)
                .open(&config.file);
            let file = file.and_then(|file| Ok((file.metadata()?, file)));
            let file = file.and_then(|(data, file)| match data.is_dir() {
                true => Err(io::ErrorKind::IsADirectory.into()),
                false => Ok((data, file)),
            });
            let (data, file) = file.map_err(|error| {
                let cause = cause(&error);
                Failure::usage(anyhow!("cannot read {name}: {cause}; check --file"))
            })?;
            // What is no regular file says nothing of its length.
            source.len = data.is_file().then_some(data.len());
            (source.name, source.file) = (name, Some(Patient(file)));
        } else if config.step && config.message == "-" {
            return Err(Failure::usage(anyhow!(
                "--step reads Enter from standard input, so that cannot be sent; give --message TEXT or --file"
            ))
            .into());
        } else if config.interactive || config.message == "-" {
            (source.name, source.file) = ("standard input".to_owned(), Some(Patient(stdin()?)));
            source.by_line = config.interactive || io::stdin().is_terminal();
        } else if config.message == DEFAULT_MESSAGE
            && !config.step
            && source.takes_piped(connect, interrupt)?
        {
            source.name = "standard input".to_owned();
        } else {
            let (len, max) = (config.message.len() as u64, connect.max_frame.0);
            if connect.framing == Framing::Length && len > max {
                return Err(Failure::usage(too_long(FrameError::TooLong { len, max })).into());
            }
            source.text = Some(config.message.clone().into_bytes());
        }
        source.is_stream = source.file.is_some();
        Ok(source)
    }

    fn empty(connect: &Connect) -> Self {
        let max = connect.max_frame.0;
        let chunk = match connect.framing {
            Framing::Length => CHUNK.min(usize::try_from(max).unwrap_or(CHUNK)).max(1),
            _ => CHUNK,
        };
        Source {
            name: "the message".to_owned(),
            is_stream: true,
            len: None,
            by_line: false,
            text: None,
            file: None,
            framing: connect.framing,
            decoder: Decoder::new(connect.framing, max),
            buffer: vec![0; chunk],
            held: 0,
            offset: 0,
            complete: 0,
        }
    }

    /// Takes what is piped into this program, if that is anything. Says whether it is. A pipe may be one
    /// that a script was started with and nobody writes to, so its first byte is to come in time.
    fn takes_piped(&mut self, connect: &Connect, interrupt: &Interrupt) -> Result<bool, Trouble> {
        self.file = Some(Patient(stdin()?)).filter(|Patient(file)| is_meant(file));
        let limit = PIPED.max(connect.timeout.0).max(connect.wait.0);
        let start = Instant::now();
        while !self.is_ready(interrupt)? {
            // A deadline ends the wait by itself.
            if connect.deadline.0.is_zero() && start.elapsed() >= limit {
                let limit = Timespan(limit);
                return Err(Failure::usage(anyhow!(
                    "nothing was piped in within {limit}; wait for it with --message -, send a text with \
                     --message TEXT, or have no input (</dev/null)"
                ))
                .into());
            }
        }
        self.text = self.read()?.filter(|start| !start.is_empty());
        Ok(self.text.is_some())
    }

    /// What to wait for before [`Source::next`]; `None` where it has the next piece at hand.
    pub fn file(&self) -> Option<&File> {
        let has_next = self.text.is_some() || self.at_hand().is_some();
        let file = self.file.as_ref().filter(|_| !has_next);
        file.map(|Patient(file)| file)
    }

    /// Waits until [`Source::next`] does not.
    ///
    /// # Errors
    /// Somebody has asked to stop.
    pub fn wait(&self, interrupt: &Interrupt) -> Result<(), Fault> {
        while !self.is_ready(interrupt)? {}
        Ok(())
    }

    /// Whether [`Source::next`] does not wait, after waiting for a moment.
    fn is_ready(&self, interrupt: &Interrupt) -> Result<bool, Fault> {
        if let Some(why) = interrupt.why() {
            let message = format!("{why} before all that is to be sent was read");
            return Err(Fault::new(ErrorKind::Interrupted, message));
        }
        if interrupt.take_question() {
            output::note("waiting for what is to be sent");
        }
        Ok(self.file().is_none_or(|file| is_readable(file, TICK)))
    }

    /// The next bytes to send, or `None` at the end: what one read returns. There are none while a line
    /// is yet to end.
    pub fn next(&mut self) -> Result<Option<Piece>, Trouble> {
        let (payload, is_text) = match self.text.take() {
            // One text is one frame, however long, and even when it is empty.
            Some(text) => (text, true),
            None => match self.read()? {
                Some(payload) => (payload, false),
                None => {
                    return Ok(Some(Piece {
                        due: self.complete,
                        ..Piece::default()
                    }));
                }
            },
        };
        let is_unfinished = self.framing == Framing::Lines && self.decoder.held() > 0;
        if payload.is_empty() && !is_text && !is_unfinished {
            return Ok(None);
        }
        let len = payload.len();
        let mut bytes = Vec::new();
        match self.framing {
            Framing::Raw | Framing::Lines if len > 0 => bytes = payload,
            framing => framing
                .encode(&payload, &mut bytes)
                .map_err(|error| Failure::usage(too_long(error)))?,
        }
        let decoded = self.decoder.push(&bytes);
        if let Some(error) = decoded.error {
            return Err(Failure::usage(too_long(error)).into());
        }
        if decoded.complete > 0 {
            self.complete = self.offset + decoded.complete as u64;
        }
        self.offset += bytes.len() as u64;
        Ok(Some(Piece {
            header: bytes.len() - len,
            bytes,
            due: self.complete,
        }))
    }

    /// What a read returns, or a line; nothing at the end, and `None` while a line is yet to end. A
    /// terminal tells of an end once: it is one, whether a line has begun or not.
    fn read(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        if self.at_hand().is_none()
            && let Some(file) = &mut self.file
        {
            let len = some(file, &mut self.buffer[self.held..]).map_err(|error| {
                let message = format!("cannot read {}: {}", self.name, cause(&error));
                Fault::new(ErrorKind::File, message)
            })?;
            self.held += len;
            if len == 0 {
                self.file = None;
            }
        }
        Ok(self.at_hand().map(|len| {
            let read = self.buffer[..len].to_vec();
            self.buffer.copy_within(len..self.held, 0);
            self.held -= len;
            read
        }))
    }

    /// How much of what is held goes at once: a line, or all where no end of one is waited for.
    fn at_hand(&self) -> Option<usize> {
        let held = &self.buffer[..self.held];
        let line = || held.iter().position(|byte| *byte == b'\n');
        let is_whole = match self.by_line {
            true => held.len() == self.buffer.len(),
            false => !held.is_empty(),
        };
        let end = self.by_line.then(line).flatten().map(|at| at + 1);
        end.or((is_whole || self.file.is_none()).then_some(held.len()))
    }
}

/// Standard input. Not buffered, for a poll does not know of what a buffer holds.
fn stdin() -> Result<File, Failure> {
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| {
        let cause = remedied(&error, "give --message TEXT, or --file");
        Failure::bad(anyhow!("cannot read standard input: {cause}"))
    })?;
    Ok(stdin.into())
}

/// Whether it is there for this program: a pipe that another one writes to, as in `echo hola |
/// echo-client`, or a file that is redirected. One that has been read from belongs to somebody else: to
/// a loop over its lines, in which this program is asked to start.
fn is_meant(mut file: &File) -> bool {
    let is_begun = file.stream_position().is_ok_and(|at| at > 0);
    let data = file.metadata();
    data.is_ok_and(|data| data.file_type().is_fifo() || data.is_file() && !is_begun)
}

/// What one read returns.
fn some(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn too_long(error: FrameError) -> anyhow::Error {
    anyhow!(
        "cannot send the message: {error}; send less, or raise --max-frame here and on the server"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_core::units::Size;
    use std::os::fd::OwnedFd;

    fn pieces(text: &str, stream: bool, framing: Framing, max: u64) -> Result<Vec<Piece>, Trouble> {
        let connect = Connect {
            framing,
            max_frame: Size(max),
            ..Connect::default()
        };
        let mut source = if stream {
            let (file, mut writer) = std::io::pipe().unwrap();
            std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
            Source {
                file: Some(Patient(File::from(OwnedFd::from(file)))),
                ..Source::empty(&connect)
            }
        } else {
            let config = Send {
                message: text.into(),
                ..Send::default()
            };
            Source::open(&config, &connect, &Interrupt::default())?
        };
        let mut pieces = Vec::new();
        while let Some(piece) = source.next()? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn bytes(pieces: &[Piece]) -> Vec<u8> {
        pieces
            .iter()
            .flat_map(|piece| piece.bytes.clone())
            .collect()
    }

    #[test]
    fn a_text_is_one_frame_even_when_it_is_empty() {
        for (text, framing, framed) in [
            ("", Framing::Raw, &b""[..]),
            ("", Framing::Lines, b"\n"),
            ("", Framing::Length, b"\0\0\0\0"),
            ("ab", Framing::Raw, b"ab"),
            ("ab", Framing::Lines, b"ab\n"),
            ("ab\n", Framing::Lines, b"ab\n"),
            ("ab", Framing::Length, b"\0\0\0\x02ab"),
        ] {
            assert_eq!(bytes(&pieces(text, false, framing, 100).unwrap()), framed);
        }
    }

    #[test]
    fn an_empty_stream_sends_nothing() {
        for framing in Framing::ALL {
            assert_eq!(pieces("", true, framing, 100).unwrap(), []);
        }
    }

    #[test]
    fn a_stream_is_cut_into_frames_that_the_server_takes() {
        let frames = pieces("abcde", true, Framing::Length, 2).unwrap();
        assert_eq!(
            bytes(&frames),
            b"\0\0\0\x02ab\0\0\0\x02cd\0\0\0\x01e",
            "frames of at most --max-frame bytes"
        );
    }

    #[test]
    fn an_incomplete_line_is_not_due_before_its_end() {
        let lines = pieces("a\nbc", true, Framing::Lines, 100).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].due, lines[0].header), (2, 0));
        assert_eq!(
            (&lines[1].bytes[..], lines[1].due, lines[1].header),
            (&b"\n"[..], 5, 1)
        );
    }

    #[test]
    fn a_frame_over_the_limit_is_a_usage_error() {
        for (framing, stream) in [
            (Framing::Length, false),
            (Framing::Lines, false),
            (Framing::Lines, true),
        ] {
            let Err(Trouble::Here(failure)) = pieces("abcdefgh", stream, framing, 4) else {
                panic!("a frame over the limit was taken");
            };
            assert_eq!(failure.exit, echo_core::Exit::Usage);
            assert!(failure.to_string().contains("--max-frame"), "{failure}");
        }
    }
}
