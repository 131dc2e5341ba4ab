//! One thread that serves any number of clients, none of which can hold up another.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// How long to do nothing after accepting or waiting has failed: it would be tried for ever.
pub const PAUSE: Duration = Duration::from_millis(250);

/// What is served, to whom, and how.
pub trait Service: Send + 'static {
    /// Whoever is connected.
    type Client;

    /// Where new clients come, while there are so many.
    fn listeners(&self, clients: usize) -> Vec<PollFd<'_>>;

    /// Takes some of those who wait at a listener, by its place among them.
    fn accept(&mut self, listener: usize, clients: &mut Vec<Self::Client>);

    /// What a client waits for, and until when.
    fn waits(client: &Self::Client) -> (PollFd<'_>, Option<Instant>);

    /// Does for a client what can be done now, and not for too long. Returns whether it stays.
    fn turn(&mut self, client: &mut Self::Client) -> bool;
}

/// The service goes on until this is dropped.
#[derive(Debug)]
pub struct Rounds(#[expect(dead_code, reason = "its end tells")] Arc<UnixStream>);

impl Rounds {
    /// What serves, once it is called.
    ///
    /// # Errors
    /// The system grants no descriptors.
    pub fn new(service: impl Service) -> io::Result<(Self, impl FnOnce() + Send + 'static)> {
        let (ours, woken) = UnixStream::pair()?;
        let ours = Arc::new(ours);
        let goes_on = Arc::downgrade(&ours);
        Ok((Rounds(ours), move || serve(service, &goes_on, &woken)))
    }
}

/// Serves as long as somebody holds what `goes_on` leads to, whose end can be read from `woken`.
fn serve<S: Service>(mut service: S, goes_on: &Weak<UnixStream>, woken: &UnixStream) {
    let mut clients: Vec<S::Client> = Vec::new();
    loop {
        let (mut polled, until): (Vec<_>, Vec<_>) = clients.iter().map(S::waits).unzip();
        polled.push(PollFd::new(woken, PollFlags::IN));
        polled.extend(service.listeners(clients.len()));
        let next = until.iter().flatten().min();
        let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        if poll(&mut polled, timeout.as_ref()).is_err_and(|error| error != Errno::INTR) {
            std::thread::sleep(PAUSE);
        }
        if goes_on.strong_count() == 0 {
            return;
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let now = Instant::now();
        let mut due = until
            .iter()
            .zip(&ready)
            .map(|(until, ready)| *ready || until.is_some_and(|at| at <= now));
        clients.retain_mut(|client| due.next() != Some(true) || service.turn(client));
        for listener in (until.len() + 1..ready.len()).filter(|at| ready[*at]) {
            service.accept(listener - until.len() - 1, &mut clients);
        }
    }
}
