//! What happens to simulated peers, and in which order: drawn from a seed.

use echo_core::{Framing, Transport};

use crate::fault::dice;

/// Faults that send everything back in the end, but for those from `CHANGING` on.
pub(super) const FAULTS: [&str; 18] = [
    "",
    "",
    "drop=0%",
    "delay=20ms",
    "delay=1ms..90ms",
    // From here on in small pieces, which makes much traffic long.
    "trickle=1/0s",
    "trickle=100/5ms",
    "split=30",
    "rate=100k",
    "merge=50",
    "refuse,conn=1",
    "refuse,conn=2",
    "close-after=500",
    "close-after=30ms",
    "reset-after=1k",
    "reset-after=2s",
    "half-close-after=300",
    "stall",
];
const DROP: usize = 2;
pub(super) const SLOW: usize = 5;
pub(super) const MERGE: usize = 9;
pub(super) const CHANGING: usize = 12;

/// A limit of frames that some lines exceed.
pub(super) const SHORT: u64 = 60;

/// What stays the same in one run.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) transport: Transport,
    pub(super) framing: Framing,
    pub(super) max_frame: u64,
    pub(super) buffer: u64,
    pub(super) idle_ms: u64,
    pub(super) write_ms: u64,
    pub(super) drain_ms: u64,
    /// Whoever holds the server has it stop, and knows that nobody is going to say more.
    pub(super) asked: bool,
    pub(super) fault: usize,
    pub(super) max_connections: usize,
    pub(super) total: usize,
    pub(super) capacity: u64,
    pub(super) max_memory: u64,
}

/// One step of a schedule. Peers are counted from 0, and go round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Connect,
    /// So many bytes leave the peer.
    Send(usize, u64),
    /// It takes as many of what came back.
    Take(usize, u64),
    /// It finishes sending.
    End(usize),
    /// Every call fails from now on, as after a reset or on a path that is gone.
    Fail(usize, bool),
    /// The system tells of things that have not happened.
    Spurious(usize),
    /// The worker is given what there is to be told, or a part of it.
    Poll,
    /// So many milliseconds pass.
    Wait(u64),
    /// The server is asked to stop.
    Drain,
    /// Whoever controls it has the faults go, or come again.
    Revise,
}

/// The schedule of a seed.
pub(super) fn schedule(seed: u64) -> (Setup, Vec<Step>) {
    let mut random = dice(seed, 1, 0, 0);
    let setup = Setup {
        seed,
        transport: *random.pick(&[Transport::Tcp, Transport::Tcp, Transport::Unix]),
        framing: *random.pick(&[Framing::Raw, Framing::Raw, Framing::Lines]),
        max_frame: *random.pick(&[1 << 20, 1 << 20, SHORT]),
        buffer: *random.pick(&[1, 7, 100, 4 << 10, 20 << 10, 64 << 10]),
        idle_ms: *random.pick(&[0, 0, 50, 1_000]),
        write_ms: *random.pick(&[0, 60_000, 60_000, 1_000]),
        drain_ms: *random.pick(&[10, 2_000, 20_000, 20_000]),
        asked: dice(seed, 4, 0, 0).below(2) == 0,
        fault: random.below(FAULTS.len() as u64) as usize,
        max_connections: *random.pick(&[1, 2, 100, 100]),
        total: *random.pick(&[0, 0, 1, 3]),
        capacity: *random.pick(&[1, 100, 3_000, 50_000, 1 << 20]),
        max_memory: *random.pick(&[1 << 30, 1 << 30, 5_000, 50_000]),
    };
    // As much as takes few calls: where each moves a byte, only few.
    let least = setup.buffer.min(setup.capacity);
    let most: &[u64] = match setup.fault {
        _ if least == 1 => &[3, 20, 60],
        SLOW.. => &[3, 70, 400],
        _ if least < 1_000 => &[3, 70, 400],
        2.. => &[3, 70, 900, 9_000],
        _ => &[3, 70, 900, 9_000, 300_000],
    };
    let mut steps = vec![Step::Connect];
    for _ in 0..10 + random.below(50) {
        let peer = random.below(4) as usize;
        let bytes = *random.pick(most);
        let bytes = 1 + random.below(bytes);
        steps.push(match random.below(64) {
            0..4 => Step::Connect,
            4..22 => Step::Send(peer, bytes),
            22..34 => Step::Take(peer, bytes),
            34..36 => Step::End(peer),
            36 => Step::Fail(peer, random.below(2) == 0),
            37..40 => Step::Spurious(peer),
            40..52 => Step::Poll,
            52..63 => {
                let most = *random.pick(&[3, 50, 400, 3_000]);
                Step::Wait(random.below(most))
            }
            _ => Step::Drain,
        });
    }
    // By chance of its own, for what seeds have shown before is to stay what they show.
    let mut more = dice(seed, 3, 0, 0);
    if (DROP..CHANGING).contains(&setup.fault) {
        for _ in 0..more.below(4) {
            let at = 1 + more.below(steps.len() as u64) as usize;
            steps.insert(at, Step::Revise);
        }
    }
    (setup, steps)
}
