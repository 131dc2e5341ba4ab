//! The messages of one stream: every byte follows from token, number and offset, so that none
//! need be kept to be compared.

use echo_core::framing::{Framing, HEADER_LEN};

use crate::wire::echo;

/// What one connection sends, again and again.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    token: u64,
    payload_len: usize,
    framing: Framing,
}

impl Message {
    /// Messages of `payload_len` bytes, each one frame.
    pub fn new(token: u64, payload_len: usize, framing: Framing) -> Self {
        Message {
            token,
            payload_len,
            framing,
        }
    }

    /// The bytes of a message as it travels, framing included.
    pub fn wire_len(&self) -> usize {
        self.payload_len
            + match self.framing {
                Framing::Raw => 0,
                Framing::Lines => 1,
                Framing::Length => HEADER_LEN,
            }
    }

    /// Fills `out` with the bytes of message `number` from `offset` on.
    #[inline]
    pub fn fill(&self, number: u64, offset: usize, out: &mut [u8]) {
        match self.framing {
            Framing::Raw => echo::fill(self.token, number, offset as u64, out),
            Framing::Lines => {
                echo::fill(self.token, number, offset as u64, out);
                for byte in out.iter_mut().filter(|byte| **byte == b'\n') {
                    *byte = b' ';
                }
                if offset + out.len() > self.payload_len {
                    out[self.payload_len - offset] = b'\n';
                }
            }
            Framing::Length => {
                let header = (self.payload_len as u32).to_be_bytes();
                let rest = header.get(offset..).unwrap_or_default();
                let (head, body) = out.split_at_mut(rest.len().min(out.len()));
                head.copy_from_slice(&rest[..head.len()]);
                let offset = (offset + head.len()).saturating_sub(HEADER_LEN);
                echo::fill(self.token, number, offset as u64, body);
            }
        }
    }

    /// Fills `out` with the bytes of messages one after another, from `offset` within message
    /// `number` on.
    pub fn fill_stream(&self, number: u64, offset: usize, out: &mut [u8]) {
        let wire_len = self.wire_len();
        let (mut number, mut offset, mut out) = (number, offset, out);
        while !out.is_empty() {
            let (part, rest) = out.split_at_mut((wire_len - offset).min(out.len()));
            self.fill(number, offset, part);
            (number, offset, out) = (number + 1, 0, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use echo_core::framing::Decoder;

    fn whole(message: &Message, number: u64) -> Vec<u8> {
        let mut bytes = vec![0; message.wire_len()];
        message.fill(number, 0, &mut bytes);
        bytes
    }

    #[test]
    fn a_message_is_exactly_one_frame() {
        for framing in [Framing::Lines, Framing::Length] {
            for len in [0, 1, 7, 64, 1000] {
                let message = Message::new(7, len, framing);
                for number in 0..50 {
                    let bytes = whole(&message, number);
                    let mut decoder = Decoder::new(framing, 1 << 20);
                    let cut = bytes.len() - 1;
                    assert_eq!(decoder.push(&bytes[..cut]).complete, 0, "{framing} {len}");
                    assert_eq!(decoder.push(&bytes[cut..]).complete, 1, "{framing} {len}");
                }
            }
        }
    }

    #[test]
    fn no_two_messages_are_alike() {
        let message = Message::new(1, 64, Framing::Raw);
        assert_ne!(whole(&message, 0), whole(&message, 1));
        assert_ne!(
            whole(&message, 0),
            whole(&Message::new(2, 64, Framing::Raw), 0)
        );
    }

    #[test]
    fn a_stream_is_its_messages_end_to_end() {
        for framing in Framing::ALL {
            let message = Message::new(7, 21, framing);
            let bytes: Vec<u8> = (3..6).flat_map(|number| whole(&message, number)).collect();
            for from in 0..message.wire_len() {
                for to in from..=bytes.len() {
                    let mut part = vec![0; to - from];
                    message.fill_stream(3, from, &mut part);
                    assert_eq!(part, bytes[from..to], "{framing} {from}..{to}");
                }
            }
        }
    }
}
