//! Where one message ends and the next begins: incremental decoders that never copy a byte.
//!
//! An echo's output is its input, so a [`Decoder`] does not produce frames. It says how much of
//! what has arrived is complete frames; the caller sends exactly those bytes back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::named;

/// The bytes of a frame's length, in `length`.
pub const HEADER_LEN: usize = 4;

/// How a byte stream is cut into frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Bytes as they come; every byte is complete.
    #[default]
    Raw,
    /// Up to and including `\n`.
    Lines,
    /// A 32-bit big-endian length, then that many bytes.
    Length,
}

impl Framing {
    /// Every framing, in the order of the documentation.
    pub const ALL: [Framing; 3] = [Framing::Raw, Framing::Lines, Framing::Length];

    /// Appends `payload` to `out` as one frame. `lines` adds a final `\n` where it is missing; a
    /// `\n` before the end makes several frames of it.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when `payload` is longer than a 32-bit length can say; `out` is
    /// then as it was.
    pub fn encode(self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        match self {
            Framing::Raw => out.extend_from_slice(payload),
            Framing::Lines => {
                out.extend_from_slice(payload);
                if !payload.ends_with(b"\n") {
                    out.push(b'\n');
                }
            }
            Framing::Length => {
                let too_long = |_| FrameError::TooLong {
                    len: payload.len() as u64,
                    max: u32::MAX.into(),
                };
                let len = u32::try_from(payload.len()).map_err(too_long)?;
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(payload);
            }
        }
        Ok(())
    }

    /// Cuts `bytes` into frames, headers included, so that the frames joined are `bytes` again.
    /// What is incomplete at the end comes as the last item; `raw` has one item.
    ///
    /// ```
    /// use echo_core::Framing;
    ///
    /// let frames: Vec<_> = Framing::Lines.frames(b"one\ntwo\nth").collect();
    /// assert_eq!(frames, [&b"one\n"[..], b"two\n", b"th"]);
    /// ```
    pub fn frames(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let end = match self {
                Framing::Raw => None,
                Framing::Lines => rest.iter().position(|&b| b == b'\n').map(|at| at + 1),
                Framing::Length => rest.first_chunk().map(|header| {
                    (HEADER_LEN as u64 + u64::from(u32::from_be_bytes(*header))) as usize
                }),
            };
            let (frame, after) = rest.split_at(end.map_or(rest.len(), |end| end.min(rest.len())));
            rest = after;
            (!frame.is_empty()).then_some(frame)
        })
    }
}

named!(Framing);

/// Why a stream cannot be cut into frames any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame is, or claims to be, longer than allowed. Sizes are in bytes of payload for
    /// `length`, and include the `\n` for `lines`.
    TooLong {
        /// What it claims, or what has arrived of it so far.
        len: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// The stream ended within a frame.
    Truncated {
        /// The bytes of it that had arrived, header included.
        held: u64,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLong { len, max } => {
                write!(f, "frame of {len} bytes or more is over the limit of {max}")
            }
            FrameError::Truncated { held } => {
                write!(f, "the stream ended within a frame, {held} bytes into it")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// What a [`Decoder`] made of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decoded {
    /// The chunk's bytes up to here end a frame: together with what was held before, they are
    /// complete frames. 0: no frame ended in this chunk.
    pub complete: usize,
    /// The stream is of no use after `complete`.
    pub error: Option<FrameError>,
}

impl Decoded {
    /// Nothing is wrong with what came.
    const fn well(complete: usize) -> Self {
        let error = None;
        Decoded { complete, error }
    }

    /// The frame that begins at `complete` is too long.
    const fn too_long(complete: usize, len: u64, max: u64) -> Self {
        let error = Some(FrameError::TooLong { len, max });
        Decoded { complete, error }
    }
}

/// Finds the frame boundaries of one stream, chunk by chunk, in constant memory.
///
/// ```
/// use echo_core::framing::{Decoder, Framing};
///
/// let mut decoder = Decoder::new(Framing::Lines, 1024);
/// assert_eq!(decoder.push(b"one\ntw").complete, 4);
/// assert_eq!(decoder.held(), 2);
/// assert_eq!(decoder.push(b"o\n").complete, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    framing: Framing,
    max: u64,
    /// Bytes of the current frame that have arrived, header included.
    held: u64,
    /// What has arrived of the current frame's length.
    header: [u8; HEADER_LEN],
}

impl Decoder {
    /// A decoder at the start of a stream. A frame over `max_frame` bytes is an error; `raw` has
    /// no frames to limit.
    pub fn new(framing: Framing, max_frame: u64) -> Self {
        Decoder {
            framing,
            max: max_frame,
            held: 0,
            header: [0; HEADER_LEN],
        }
    }

    /// Takes the next chunk of the stream. After an error nothing more may be pushed.
    pub fn push(&mut self, chunk: &[u8]) -> Decoded {
        match self.framing {
            Framing::Raw => Decoded::well(chunk.len()),
            Framing::Lines => self.push_lines(chunk),
            Framing::Length => self.push_lengths(chunk),
        }
    }

    /// The bytes that have arrived of a frame that is not complete yet.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Whether the stream may end here. What `raw` and `lines` hold is echoed as it is.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] for `length`, within a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match (self.framing, self.held) {
            (Framing::Length, held @ 1..) => Err(FrameError::Truncated { held }),
            _ => Ok(()),
        }
    }

    fn push_lines(&mut self, chunk: &[u8]) -> Decoded {
        // What fits into the limit as a whole holds no line over it: only the last `\n` matters.
        if self.held + chunk.len() as u64 <= self.max {
            let last = chunk.iter().rposition(|&b| b == b'\n');
            let complete = last.map_or(0, |at| at + 1);
            let before = if complete == 0 { self.held } else { 0 };
            self.held = before + (chunk.len() - complete) as u64;
            return Decoded::well(complete);
        }
        let mut complete = 0;
        for line in chunk.split_inclusive(|&b| b == b'\n') {
            let len = self.held + line.len() as u64;
            if len > self.max {
                return Decoded::too_long(complete, len, self.max);
            }
            if line.ends_with(b"\n") {
                complete += line.len();
                self.held = 0;
            } else {
                self.held = len;
            }
        }
        Decoded::well(complete)
    }

    fn push_lengths(&mut self, chunk: &[u8]) -> Decoded {
        let mut at = 0;
        let mut complete = 0;
        loop {
            while self.held < HEADER_LEN as u64 {
                let Some(&byte) = chunk.get(at) else {
                    return Decoded::well(complete);
                };
                self.header[self.held as usize] = byte;
                self.held += 1;
                at += 1;
            }
            let len = u64::from(u32::from_be_bytes(self.header));
            if len > self.max {
                return Decoded::too_long(complete, len, self.max);
            }
            let missing = HEADER_LEN as u64 + len - self.held;
            let available = (chunk.len() - at) as u64;
            if missing > available {
                self.held += available;
                return Decoded::well(complete);
            }
            at += missing as usize;
            complete = at;
            self.held = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(framing: Framing, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        framing.encode(payload, &mut out).unwrap();
        out
    }

    /// A payload without `\n`, so that `lines` makes one frame of it.
    fn payload(len: usize) -> Vec<u8> {
        (0..len).map(|i| b'a' + (i % 26) as u8).collect()
    }

    #[test]
    fn a_claim_of_four_gigabytes_is_refused_from_its_header() {
        let (len, max) = (u32::MAX.into(), 1 << 20);
        let refused = Decoded {
            complete: 0,
            error: Some(FrameError::TooLong { len, max }),
        };
        assert_eq!(Decoder::new(Framing::Length, max).push(&[0xff; 4]), refused);
    }

    #[test]
    fn frames_joined_are_the_bytes_they_were_cut_from() {
        for framing in Framing::ALL {
            let whole = [frame(framing, &payload(5)), frame(framing, &payload(0))].concat();
            for end in 0..=whole.len() {
                let frames: Vec<&[u8]> = framing.frames(&whole[..end]).collect();
                assert_eq!(frames.concat(), whole[..end], "{framing} {end}");
            }
            let expected = if framing == Framing::Raw { 1 } else { 2 };
            assert_eq!(framing.frames(&whole).count(), expected, "{framing}");
        }
    }
}
