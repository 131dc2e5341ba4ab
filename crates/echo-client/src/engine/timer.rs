//! An alarm finer than a millisecond, which is all that a poll's own timeout can tell apart.

pub use imp::Timer;

#[cfg(target_os = "linux")]
mod imp {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    /// Wakes a poll.
    #[derive(Debug)]
    pub struct Timer {
        fd: OwnedFd,
        due: u64,
    }

    impl Timer {
        /// An alarm that shows as an event of `token`.
        pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            // Events are edges: each expiry is one, and need not be read off.
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Timer { fd, due: u64::MAX })
        }

        /// Sets the alarm to the moment `due`, which is `left` from now, unless it is set so.
        pub fn set(&mut self, due: u64, left: Duration) -> io::Result<()> {
            if std::mem::replace(&mut self.due, due) == due {
                return Ok(());
            }
            // A time of zero would disarm it.
            let left = left.max(Duration::from_nanos(1));
            let spec = Itimerspec {
                it_interval: Timespec::default(),
                it_value: left.try_into().unwrap_or_default(),
            };
            timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &spec)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};

    /// Leaves it to the poll's timeout, which rounds up to milliseconds.
    #[derive(Debug)]
    pub struct Timer;

    impl Timer {
        /// An alarm that needs no event.
        pub fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Timer)
        }

        /// Does nothing.
        pub fn set(&mut self, _: u64, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }
}
