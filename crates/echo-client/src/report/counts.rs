//! What a run counts: what was sent, and what became of it.

use serde::{Deserialize, Serialize};

/// What was sent and what became of it. Bytes are of payload and its framing.
///
/// The books balance: `sent = unique + lost + under_way`, and
/// `received = unique + duplicate + corrupt + truncated + foreign`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// Replies of every kind.
    pub received: u64,
    /// Requests whose own, whole and right reply came, in time or late.
    pub unique: u64,
    /// Requests that never got one.
    pub lost: u64,
    /// Datagrams that came, and that this side's own socket had no room for: of the lost ones,
    /// those that the path has not lost.
    pub overflowed: u64,
    /// Requests under way when the run was stopped, whose time was not up: they may yet be answered,
    /// and are no loss.
    #[serde(default)]
    pub under_way: u64,
    /// Of the unique ones: those that came after their time was up.
    pub late: u64,
    /// Of the unique ones: those that came after the reply to a later request.
    pub reordered: u64,
    /// Further replies to a request that had its own.
    pub duplicate: u64,
    /// Replies with wrong bytes.
    pub corrupt: u64,
    /// Replies of the wrong length.
    pub truncated: u64,
    /// Datagrams that answer none of our requests.
    pub foreign: u64,
    /// With a rate: requests that were due but left over a millisecond late.
    pub delayed: u64,
    /// Requests that were due but never left, were left over when the last connection was given up, or
    /// that this machine's own firewall did not let go.
    pub unsent: u64,
    /// Connections (sockets, for UDP) that were opened.
    pub connections: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

impl Counts {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Counts) {
        self.sent += other.sent;
        self.received += other.received;
        self.unique += other.unique;
        self.lost += other.lost;
        self.overflowed += other.overflowed;
        self.under_way += other.under_way;
        self.late += other.late;
        self.reordered += other.reordered;
        self.duplicate += other.duplicate;
        self.corrupt += other.corrupt;
        self.truncated += other.truncated;
        self.foreign += other.foreign;
        self.delayed += other.delayed;
        self.unsent += other.unsent;
        self.connections += other.connections;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
    }

    /// The share of requests that got no reply of their own, 0 to 1, of those of which it is known.
    pub fn loss(&self) -> f64 {
        self.share(self.lost_on_the_way()).unwrap_or(0.0)
    }

    /// The share that so many requests are of those of which it is known what they have become.
    pub fn share(&self, count: u64) -> Option<f64> {
        let settled = self.sent.saturating_sub(self.under_way);
        (settled > 0).then(|| count as f64 / settled as f64)
    }

    /// Requests that got no reply, and not because this side had no room for it.
    pub fn lost_on_the_way(&self) -> u64 {
        self.lost.saturating_sub(self.overflowed)
    }

    /// Whether the books balance, and none of a kind are more than that kind.
    pub fn balance(&self) -> bool {
        let replies = [self.duplicate, self.corrupt, self.truncated, self.foreign];
        self.late <= self.unique
            && self.reordered <= self.unique
            && self.overflowed <= self.lost
            && self.delayed <= self.sent
            && self.sent == self.unique + self.lost + self.under_way
            && self.received == self.unique + replies.iter().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sent: u64, unique: u64) -> Counts {
        Counts {
            sent,
            received: unique,
            unique,
            lost: sent - unique,
            ..Counts::default()
        }
    }

    #[test]
    fn the_books_balance_only_when_every_reply_has_a_class() {
        let mut books = counts(10, 9);
        assert!(books.balance());
        books.received += 1;
        assert!(!books.balance());
        books.duplicate += 1;
        assert!(books.balance());
        books.lost += 1;
        assert!(!books.balance());
    }
}
