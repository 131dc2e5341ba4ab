//! What is sent, cut into frames as it is read.

use std::fs::File;
use std::io::{self, Cursor, Read};

use anyhow::anyhow;
use echo_core::framing::{Decoder, FrameError, Framing};
use echo_core::{Failure, Patient};

use super::{Send, Trouble};
use crate::connection::{Connect, ErrorKind, cause};
use crate::report::Fault;

/// The most that is read at a time, and therefore the longest frame that `length` makes of a
/// stream: from 64 KiB on, bulk throughput no longer grows with the size of a write.
pub const CHUNK: usize = 64 << 10;

/// Messages to send, framed.
pub struct Source {
    /// What it is, for messages: `standard input`, or the file's name.
    pub name: String,
    /// Whether its size is unknown until its end: a file or standard input, not a text.
    pub is_stream: bool,
    /// How long a file is.
    pub len: Option<u64>,
    reader: Box<dyn Read + std::marker::Send>,
    framing: Framing,
    chunk: usize,
    decoder: Decoder,
    /// Where the next piece starts in the stream of sent bytes.
    offset: u64,
    /// Where the last complete frame ends.
    complete: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has been read yet of a text, which makes a frame even when it is empty.
    Fresh,
    Reading,
    Ended,
}

/// Bytes to send, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// The bytes, with a length header where the framing has one.
    pub bytes: Vec<u8>,
    /// Once the server has these, it owes the echo of everything up to this offset: a server
    /// that frames holds an incomplete line back.
    pub due: u64,
    /// Whether this is the line end that the input lacked.
    pub is_padding: bool,
}

impl Source {
    /// Opens what `config` says to send. A file that cannot be read is a usage error.
    pub fn open(config: &Send, connect: &Connect) -> Result<Self, Failure> {
        if !config.file.is_none() {
            let name = config.file.to_string();
            let file = File::open(&config.file)
                .and_then(|file| match file.metadata()?.is_dir() {
                    true => Err(io::ErrorKind::IsADirectory.into()),
                    false => Ok(file),
                })
                .map_err(|error| {
                    let cause = cause(&error);
                    Failure::usage(anyhow!("cannot read {name}: {cause}; check --file"))
                })?;
            // What is no regular file says nothing of its length.
            let data = file.metadata().ok().filter(|data| data.is_file());
            return Ok(Source {
                len: data.map(|data| data.len()),
                ..Source::stream(name, Box::new(file), connect)
            });
        }
        if config.message == "-" {
            let name = "standard input".to_owned();
            return Ok(Source::stream(
                name,
                Box::new(Patient(io::stdin())),
                connect,
            ));
        }
        let max = connect.max_frame.0;
        let len = config.message.len() as u64;
        if connect.framing == Framing::Length && len > max {
            return Err(Failure::usage(too_long(FrameError::TooLong { len, max })));
        }
        let mut source = Source::stream(
            "the message".to_owned(),
            Box::new(Cursor::new(config.message.clone().into_bytes())),
            connect,
        );
        source.is_stream = false;
        source.state = State::Fresh;
        // One text is one frame, however long.
        source.chunk = config.message.len().max(1);
        Ok(source)
    }

    fn stream(name: String, reader: Box<dyn Read + std::marker::Send>, connect: &Connect) -> Self {
        let max = connect.max_frame.0;
        let chunk = match connect.framing {
            Framing::Length => CHUNK.min(usize::try_from(max).unwrap_or(CHUNK)).max(1),
            _ => CHUNK,
        };
        Source {
            name,
            is_stream: true,
            len: None,
            reader,
            framing: connect.framing,
            chunk,
            decoder: Decoder::new(connect.framing, max),
            offset: 0,
            complete: 0,
            state: State::Reading,
        }
    }

    /// The next bytes to send, or `None` at the end. Waits for input no longer than it must: what
    /// one read returns is sent at once.
    pub fn next(&mut self) -> Result<Option<Piece>, Trouble> {
        if self.state == State::Ended {
            return Ok(None);
        }
        let mut bytes = vec![0; self.chunk];
        let read = loop {
            match self.reader.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let len = read.map_err(|error| {
            let message = format!("cannot read {}: {}", self.name, cause(&error));
            Fault::new(ErrorKind::File, message)
        })?;
        bytes.truncate(len);
        let fresh = std::mem::replace(&mut self.state, State::Reading) == State::Fresh;
        if len == 0 {
            self.state = State::Ended;
            let unfinished = self.framing == Framing::Lines && self.decoder.held() > 0;
            if !unfinished && !fresh {
                return Ok(None);
            }
        }
        let mut framed = Vec::new();
        match self.framing {
            Framing::Lines if len > 0 => framed = bytes,
            framing => framing
                .encode(&bytes, &mut framed)
                .map_err(|error| Failure::usage(too_long(error)))?,
        }
        let is_padding = len == 0 && self.framing == Framing::Lines;
        Ok(Some(self.piece(framed, is_padding)?))
    }

    fn piece(&mut self, bytes: Vec<u8>, is_padding: bool) -> Result<Piece, Failure> {
        let decoded = self.decoder.push(&bytes);
        if let Some(error) = decoded.error {
            return Err(Failure::usage(too_long(error)));
        }
        if decoded.complete > 0 {
            self.complete = self.offset + decoded.complete as u64;
        }
        self.offset += bytes.len() as u64;
        Ok(Piece {
            bytes,
            due: self.complete,
            is_padding,
        })
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

    fn pieces(text: &str, stream: bool, framing: Framing, max: u64) -> Result<Vec<Piece>, Trouble> {
        let connect = Connect {
            framing,
            max_frame: Size(max),
            ..Connect::default()
        };
        let mut source = if stream {
            let reader = Box::new(Cursor::new(text.as_bytes().to_vec()));
            Source::stream("test".into(), reader, &connect)
        } else {
            let config = Send {
                message: text.into(),
                ..Send::default()
            };
            Source::open(&config, &connect)?
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
        assert_eq!((lines[0].due, lines[0].is_padding), (2, false));
        assert_eq!(
            (&lines[1].bytes[..], lines[1].due, lines[1].is_padding),
            (&b"\n"[..], 5, true)
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
