//! What has been sent and has not come back yet: the bytes that the next ones received must equal.

use std::collections::VecDeque;

use echo_core::Failure;

use super::source::Piece;
use crate::wire::common_prefix;

/// More than the kernels of both ends hold for one connection (Linux allows 4 MiB to send and
/// 6 MiB to receive, each way, by default), so that only a server that stores what it should
/// return makes the sender wait.
const LIMIT: usize = 32 << 20;

/// How many bytes of context a difference shows.
pub const CONTEXT: usize = 16;

/// Pieces on their way, and how far all of them are, in bytes since the start.
#[derive(Debug, Default)]
pub struct Window {
    pieces: VecDeque<Piece>,
    /// How much of the first of them is back.
    returned: usize,
    /// How much of the last of them has not been given to the system.
    unwritten: usize,
    /// The memory that they take.
    held: usize,
    /// Read from the source, framed.
    pub pushed: u64,
    /// The server owes the echo of everything up to here, once it has it.
    pub due: u64,
    /// Given to the system.
    pub written: u64,
    /// Come back, and the same.
    pub received: u64,
    /// Whether everything has been pushed.
    pub is_complete: bool,
}

impl Window {
    /// Adds what is to be sent next; what was added before is written by now.
    pub fn push(&mut self, piece: Piece) {
        self.unwritten = piece.bytes.len();
        self.pushed += self.unwritten as u64;
        self.due = piece.due;
        self.held += memory(&piece);
        self.pieces.push_back(piece);
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.held < LIMIT
    }

    /// What is to be written.
    pub fn outgoing(&self) -> &[u8] {
        let last = self.pieces.back();
        last.map_or(&[], |last| &last.bytes[last.bytes.len() - self.unwritten..])
    }

    /// The system has taken `len` bytes of that.
    pub fn wrote(&mut self, len: usize) {
        self.unwritten -= len;
        self.written += len as u64;
    }

    /// Takes what has come back, as far as it is what was sent, and gives `show` the payload of
    /// that. Returns how many bytes are the same.
    pub fn take(
        &mut self,
        received: &[u8],
        mut show: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut rest = received;
        while let Some(piece) = self.pieces.front() {
            let unwritten = if self.pieces.len() == 1 {
                self.unwritten
            } else {
                0
            };
            let (from, end) = (self.returned, piece.bytes.len() - unwritten);
            let same = common_prefix(&piece.bytes[from..end], rest);
            self.returned += same;
            self.received += same as u64;
            rest = &rest[same..];
            show(&piece.bytes[from.max(piece.header).min(self.returned)..self.returned])?;
            if self.returned < piece.bytes.len() {
                break;
            }
            self.held -= memory(piece);
            self.returned = 0;
            self.pieces.pop_front();
        }
        Ok(received.len() - rest.len())
    }

    /// What should come next, in part. Empty: nothing should.
    pub fn expected(&self) -> Vec<u8> {
        let bytes = self.pieces.iter().flat_map(|piece| &piece.bytes);
        bytes.skip(self.returned).take(CONTEXT).copied().collect()
    }

    /// Whether everything is back.
    pub fn is_all_back(&self) -> bool {
        self.is_complete && self.received == self.pushed
    }
}

fn memory(piece: &Piece) -> usize {
    size_of::<Piece>() + piece.bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window of these bytes, of which each piece begins with a header of two; all are written
    /// but the last `unwritten`.
    fn window(pieces: &[&[u8]], unwritten: usize) -> Window {
        let mut window = Window::default();
        for bytes in pieces {
            window.wrote(window.unwritten);
            window.push(Piece {
                bytes: bytes.to_vec(),
                header: 2,
                due: 0,
            });
        }
        window.wrote(window.unwritten - unwritten);
        window
    }

    #[test]
    fn what_comes_back_leaves_the_window_however_it_is_cut() {
        for read in 1..=10 {
            let mut window = window(&[b"..abc", b"..", b"..d"], 0);
            let mut shown = Vec::new();
            for chunk in b"..abc....d".chunks(read) {
                let show = |payload: &[u8]| {
                    shown.extend_from_slice(payload);
                    Ok(())
                };
                assert_eq!(window.take(chunk, show).unwrap(), chunk.len());
            }
            assert_eq!((&shown[..], window.held), (&b"abcd"[..], 0));
            assert_eq!(window.take(b"x", |_| Ok(())).unwrap(), 0);
            assert_eq!((window.expected(), window.received), (vec![], 10));
        }
    }

    #[test]
    fn a_difference_is_found_at_every_offset() {
        let text = b"abcdefghij";
        for at in 0..text.len() {
            let mut wrong = *text;
            wrong[at] ^= 0x20;
            let mut window = window(&[&text[..4], &text[4..]], 0);
            assert_eq!(window.take(&wrong, |_| Ok(())).unwrap(), at);
            assert_eq!(window.expected(), &text[at..]);
        }
    }

    #[test]
    fn what_has_not_been_sent_cannot_come_back() {
        let mut window = window(&[b"abcdef", b"ghij"], 3);
        assert_eq!(window.outgoing(), b"hij");
        assert_eq!(window.take(b"abcdefghij", |_| Ok(())).unwrap(), 7);
        assert_eq!(window.expected(), b"hij");
        window.wrote(3);
        assert_eq!(window.take(b"hij", |_| Ok(())).unwrap(), 3);
        assert_eq!((window.written, window.outgoing()), (10, &b""[..]));
    }
}
