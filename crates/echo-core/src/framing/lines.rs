//! `lines`: a frame is everything up to and including `\n`.

use super::Decoded;

#[derive(Clone, Debug)]
pub(super) struct Decoder {
    max: u64,
    held: u64,
}

impl Decoder {
    pub(super) fn new(max: u64) -> Self {
        Decoder { max, held: 0 }
    }

    pub(super) fn held(&self) -> u64 {
        self.held
    }

    pub(super) fn push(&mut self, chunk: &[u8]) -> Decoded {
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
}

pub(super) fn encode(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(payload);
    if !payload.ends_with(b"\n") {
        out.push(b'\n');
    }
}
