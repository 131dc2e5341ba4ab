//! `length`: a 32-bit big-endian length, then that many bytes.

use super::{Decoded, FrameError};

/// The bytes of a frame's length.
pub const HEADER_LEN: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct Decoder {
    max: u64,
    header: [u8; HEADER_LEN],
    /// Bytes of the current frame that have arrived, header included.
    held: u64,
}

impl Decoder {
    pub(super) fn new(max: u64) -> Self {
        Decoder {
            max,
            header: [0; HEADER_LEN],
            held: 0,
        }
    }

    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn push(&mut self, chunk: &[u8]) -> Decoded {
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

pub(super) fn encode(payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let len = u32::try_from(payload.len()).map_err(|_| FrameError::TooLong {
        len: payload.len() as u64,
        max: u32::MAX.into(),
    })?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// The first frame's payload and what follows the frame.
pub(super) fn split_first(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = frames.split_first_chunk::<HEADER_LEN>()?;
    let len = usize::try_from(u32::from_be_bytes(*header)).ok()?;
    rest.split_at_checked(len)
}
