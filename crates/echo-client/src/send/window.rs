//! What has been sent and has not come back yet: the bytes that the next ones received must equal.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Trouble;
use super::source::Piece;
use crate::report::Fault;

/// More than the kernels of both ends hold for one connection (Linux allows 4 MiB to send and
/// 6 MiB to receive, each way, by default), so that only a server that stores what it should
/// return makes the sender wait.
const LIMIT: usize = 32 << 20;

/// The sender's and the receiver's common knowledge.
#[derive(Default)]
pub struct Window {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    in_flight: VecDeque<u8>,
    progress: Progress,
    trouble: Option<Trouble>,
    broken: Option<Fault>,
    closed: bool,
}

/// How far the sender is, in bytes since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Read from the source, framed.
    pub pushed: u64,
    /// The server owes the echo of everything up to here, once it has it.
    pub due: u64,
    /// Given to the system.
    pub written: u64,
    /// Where the line end starts that was added to the input.
    pub padding: Option<u64>,
    /// Whether everything has been pushed.
    pub is_complete: bool,
}

/// How received bytes compare with those in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// So many are the same; they are no longer in flight.
    pub same: usize,
    /// What should have come next, in part. Empty: nothing should have.
    pub expected: Vec<u8>,
}

impl Window {
    /// Adds what is about to be sent. Waits for room; false when nobody receives any more.
    pub fn push(&self, piece: &Piece) -> bool {
        let len = piece.bytes.len();
        let mut state = self
            .room
            .wait_while(self.lock(), |state| {
                let held = state.in_flight.len();
                !state.closed && held > 0 && held + len > LIMIT
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.in_flight.extend(&piece.bytes);
        if piece.is_padding {
            state.progress.padding = Some(state.progress.pushed);
        }
        state.progress.pushed += len as u64;
        state.progress.due = piece.due;
        !state.closed
    }

    /// Tells that the system has taken `len` bytes more.
    pub fn written(&self, len: usize) {
        self.lock().progress.written += len as u64;
    }

    /// Tells that there is nothing more to send. Returns whether all of it is back already.
    pub fn end(&self) -> bool {
        let mut state = self.lock();
        state.progress.is_complete = true;
        state.in_flight.is_empty()
    }

    /// Tells why nothing more can be sent, though there is more.
    pub fn fail(&self, trouble: Trouble) {
        self.lock().trouble = Some(trouble);
    }

    /// Tells that the connection takes no more, and why.
    pub fn break_off(&self, how: Fault) {
        self.lock().broken = Some(how);
    }

    /// Why nothing more can be sent; told once.
    pub fn trouble(&self) -> Option<Trouble> {
        self.lock().trouble.take()
    }

    /// Why the connection takes no more.
    pub fn broken(&self) -> Option<Fault> {
        self.lock().broken.clone()
    }

    /// Takes received bytes off the window, as far as they are the same.
    pub fn compare(&self, received: &[u8]) -> Comparison {
        let mut state = self.lock();
        let (front, back) = state.in_flight.as_slices();
        let mut same = common_prefix(front, received);
        if same == front.len() {
            same += common_prefix(back, &received[same..]);
        }
        state.in_flight.drain(..same);
        let expected = state.in_flight.iter().take(CONTEXT).copied().collect();
        drop(state);
        self.room.notify_one();
        Comparison { same, expected }
    }

    /// How far the sender is.
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// Lets a sender that waits for room go: nobody receives any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes of context a difference shows.
pub const CONTEXT: usize = 16;

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let len = a.len().min(b.len());
    if a[..len] == b[..len] {
        return len;
    }
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(pieces: &[&[u8]]) -> Window {
        let window = Window::default();
        for bytes in pieces {
            let bytes = bytes.to_vec();
            assert!(window.push(&Piece {
                bytes,
                ..Piece::default()
            }));
        }
        window
    }

    #[test]
    fn what_comes_back_leaves_the_window_however_it_is_cut() {
        let text = b"abcdefghij";
        for (sent, read) in (1..=10).flat_map(|s| (1..=10).map(move |r| (s, r))) {
            let window = window(&text.chunks(sent).collect::<Vec<_>>());
            for chunk in text.chunks(read) {
                assert_eq!(window.compare(chunk).same, chunk.len());
            }
            assert_eq!(
                window.compare(b"x"),
                Comparison {
                    same: 0,
                    expected: vec![]
                }
            );
        }
    }

    #[test]
    fn a_difference_is_found_at_every_offset() {
        let text = b"abcdefghij";
        for at in 0..text.len() {
            let mut wrong = *text;
            wrong[at] ^= 0x20;
            let comparison = window(&[&text[..4], &text[4..]]).compare(&wrong);
            assert_eq!(comparison.same, at);
            assert_eq!(comparison.expected, &text[at..]);
        }
    }

    #[test]
    fn a_sender_that_waits_for_room_goes_when_nobody_receives() {
        let window = window(&[&vec![0; LIMIT]]);
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                window.push(&Piece {
                    bytes: vec![1],
                    ..Piece::default()
                })
            });
            window.close();
            assert!(!sender.join().unwrap());
        });
    }
}
