//! What strace sees of a program's sockets, beside what the program says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use echo_explain::{Call, SocketKind, Step};

/// The program's words, before those of the one that is watched; the calls go to `file`.
pub fn words(file: &Path) -> Vec<String> {
    let calls = "trace=socket,bind,listen,accept4,connect,shutdown,close,recvfrom,sendto";
    let file = file.to_str().expect("a path of text");
    ["strace", "-f", "-qq", "-e", calls, "-o", file]
        .map(str::to_owned)
        .to_vec()
}

/// Whether strace is on this machine and may watch.
pub fn works() -> bool {
    let mut command = Command::new("strace");
    let outcome = command.args(["-o", "/dev/null", "true"]).output();
    let works = outcome.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: strace is not on this machine, or may not watch a program");
    }
    works
}

/// Calls in one notation, in the order in which they began. What one socket received and sent
/// comes apart, for two threads may be at it at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Those that make, join or end a socket.
    pub sockets: Vec<String>,
    /// The sizes that reads of a stream asked for and got, by socket and use of its number.
    pub received: BTreeMap<(i32, usize), Vec<(u64, u64)>>,
    /// And the writes.
    pub sent: BTreeMap<(i32, usize), Vec<(u64, u64)>>,
    /// How often each number has been given to a socket.
    uses: BTreeMap<i32, usize>,
}

impl Calls {
    fn make(&mut self, socket: i32) {
        *self.uses.entry(socket).or_default() += 1;
    }

    fn now(&self, socket: i32) -> (i32, usize) {
        (socket, self.uses.get(&socket).copied().unwrap_or(0))
    }

    /// What the program told: a step a line.
    pub fn told(text: &str) -> Self {
        let mut calls = Calls::default();
        let mut datagrams = BTreeSet::new();
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let step: Step = serde_json::from_str(line).expect("a step a line");
            let number = step.socket;
            let told = match &step.call {
                Call::Socket { family, kind } => {
                    calls.make(number);
                    match kind {
                        SocketKind::Datagram => datagrams.insert(number),
                        SocketKind::Stream => datagrams.remove(&number),
                    };
                    format!("socket({family}, {kind}) = {number}")
                }
                Call::Bind { asked, .. } => format!("bind({number}, {asked})"),
                Call::Listen { backlog } => format!("listen({number}, {backlog})"),
                Call::Accept { accepted, peer, .. } => {
                    calls.make(*accepted);
                    format!("accept4({number}, {peer}) = {accepted}")
                }
                Call::Connect { peer, .. } => format!("connect({number}, {peer})"),
                Call::Shutdown { both } => {
                    let how = if *both { "SHUT_RDWR" } else { "SHUT_WR" };
                    format!("shutdown({number}, {how})")
                }
                Call::Close => format!("close({number})"),
                _ if datagrams.contains(&number) => continue,
                Call::Receive {
                    received_bytes,
                    room_bytes,
                    ..
                } => {
                    let reads = calls.received.entry(calls.now(number)).or_default();
                    reads.push((*room_bytes, *received_bytes));
                    continue;
                }
                Call::Send {
                    sent_bytes,
                    offered_bytes,
                    ..
                } => {
                    let writes = calls.sent.entry(calls.now(number)).or_default();
                    writes.push((*offered_bytes, *sent_bytes));
                    continue;
                }
                Call::SendTo { .. } | Call::ReceiveFrom { .. } => continue,
            };
            calls.sockets.push(told);
        }
        calls
    }

    /// What strace wrote to `file`.
    pub fn seen(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).expect("strace's file");
        let mut calls = Calls::default();
        let mut open = BTreeSet::new();
        let mut datagrams = BTreeSet::new();
        for call in joined(&text) {
            calls.see(&call, &mut open, &mut datagrams);
        }
        calls
    }

    fn see(&mut self, call: &str, open: &mut BTreeSet<i32>, datagrams: &mut BTreeSet<i32>) {
        let Some((name, rest)) = call.split_once('(') else {
            return;
        };
        let (arguments, result) = rest.rsplit_once(" = ").expect("a call has a result");
        let arguments = arguments.trim_end().trim_end_matches(')');
        let result: i64 = result.split(' ').next().unwrap_or("").parse().unwrap_or(-1);
        let number: i32 = arguments
            .split(',')
            .next()
            .unwrap_or("")
            .parse()
            .unwrap_or(-1);
        let made = result as i32;
        if name == "socket" {
            let mut words = arguments.split(", ");
            let family = words.next().unwrap_or("");
            let kind = words.next().unwrap_or("").split('|').next().unwrap_or("");
            if ["AF_INET", "AF_INET6", "AF_UNIX"].contains(&family) && result >= 0 {
                self.make(made);
                open.insert(made);
                match kind {
                    "SOCK_DGRAM" => datagrams.insert(made),
                    _ => datagrams.remove(&made),
                };
                self.sockets
                    .push(format!("socket({family}, {kind}) = {made}"));
            }
            return;
        }
        // Some descriptors are no sockets, or come from elsewhere.
        if !open.contains(&number) {
            return;
        }
        let seen = match name {
            "bind" => format!("bind({number}, {})", address(arguments)),
            "listen" => format!("listen({arguments})"),
            "accept4" if result < 0 => return,
            "accept4" => {
                self.make(made);
                open.insert(made);
                datagrams.remove(&made);
                format!("accept4({number}, {}) = {made}", address(arguments))
            }
            "connect" => format!("connect({number}, {})", address(arguments)),
            "shutdown" => format!("shutdown({arguments})").replace(" /* send */", ""),
            "close" => {
                open.remove(&number);
                format!("close({number})")
            }
            "recvfrom" | "sendto" if result >= 0 && !datagrams.contains(&number) => {
                let size = size(arguments);
                let now = self.now(number);
                let those = match name {
                    "sendto" => &mut self.sent,
                    _ => &mut self.received,
                };
                those.entry(now).or_default().push((size, result as u64));
                return;
            }
            _ => return,
        };
        self.sockets.push(seen);
    }
}

/// Whole calls, which strace cuts where others come in between, in the order in which they began; but
/// what makes a descriptor in that of their ends: its number may be of one that was closed meanwhile.
fn joined(text: &str) -> Vec<String> {
    const CUT: &str = " <unfinished ...>";
    let mut calls: Vec<String> = Vec::new();
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.lines() {
        let (process, call) = line.split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(CUT) {
            waiting.insert(process, calls.len());
            calls.push(start.to_owned());
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            if let Some(at) = waiting.remove(process) {
                calls[at].push_str(rest);
                if ["socket(", "accept4("]
                    .iter()
                    .any(|made| calls[at].starts_with(made))
                {
                    let made = std::mem::take(&mut calls[at]);
                    calls.push(made);
                }
            }
        } else {
            calls.push(call.to_owned());
        }
    }
    // The end of the process leaves some calls without theirs.
    calls.retain(|call| call.contains(" = "));
    calls
}

/// The address within a call's arguments, as we write it.
fn address(arguments: &str) -> String {
    let after = |key: &str, end: char| {
        let (_, rest) = arguments.split_once(key)?;
        rest.split(end).next().map(str::to_owned)
    };
    let port = || after("port=htons(", ')').unwrap_or_default();
    if let Some(ip) = after("inet_addr(\"", '"') {
        return format!("{ip}:{}", port());
    }
    if let Some(ip) = after("inet_pton(AF_INET6, \"", '"') {
        return format!("[{ip}]:{}", port());
    }
    after("sun_path=\"", '"').unwrap_or_default()
}

/// The size that `recvfrom` and `sendto` have after the bytes, which strace quotes and shortens.
fn size(arguments: &str) -> u64 {
    let after = match arguments.rfind('"') {
        Some(quote) => &arguments[quote + 1..],
        None => arguments,
    };
    let mut words = after.trim_start_matches("...").split(", ").skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or(0)
}
