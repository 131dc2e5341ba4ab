//! A run as a picture: two processes, their sockets, and what travelled between them. SVG.

use std::collections::BTreeMap;

use anyhow::Result;
use askama::Template;
use echo_core::address::End;
use echo_core::escape::Escaped;
use echo_explain::{Call, Lang, SocketKind, Texts};

use super::trace::{Arrow, Cargo, Seen, Side, Socket, Trace};

/// The height of one call.
const ROW: i32 = 30;
/// Where the box of each process starts.
const BOXES: [(Side, &str, i32); 2] = [
    (Side::Server, "echo-server", 40),
    (Side::Client, "echo-client", 620),
];
/// Where the innermost bar of each side is; the others stand beside it, further out.
const BARS: (i32, i32) = (450, 690);
const BAR_STEP: i32 = 20;

/// Draws a run, as recorded, in which `message` travelled.
pub fn draw(trace: &Trace, message: &str, lang: Lang) -> Result<String> {
    let texts = Texts::of(lang);
    let on = |side| move |socket: &&Socket| socket.side == side;
    let count = |side| trace.sockets.iter().filter(on(side)).count() as i32;
    let depth = count(Side::Server).max(count(Side::Client));
    let top = 194 + 24 * depth;
    let height = top + ROW * trace.rows.len() as i32 + 74;
    let lanes = lanes(trace);
    let processes = BOXES.map(|(side, name, x)| {
        let sockets = trace.sockets.iter().filter(on(side));
        let mut ids: Vec<u32> = sockets.clone().map(|socket| socket.process).collect();
        ids.dedup();
        let ids = ids
            .iter()
            .map(|id| texts.text("picture-process", &[("id", id)]));
        Process {
            x,
            name,
            ids: ids.collect::<Vec<_>>().join(", "),
            sockets: sockets
                .map(|socket| (class(socket), ends(socket)))
                .collect(),
        }
    });
    let y = |row: usize| top + ROW * row as i32 + ROW / 2;
    let bar = |(socket, x): (&Socket, &i32)| Bar {
        class: class(socket),
        x: *x,
        from: y(socket.rows.0),
        to: y(socket.rows.1),
        waits: socket.waits,
    };
    let picture = Picture {
        height,
        depth,
        title: texts.text("picture-title", &[]),
        message: Escaped(format!("\u{201c}{message}\u{201d}").as_bytes()).to_string(),
        note: texts.text("picture-note", &[]),
        processes,
        bars: trace.sockets.iter().zip(&lanes).map(bar).collect(),
        arrows: trace
            .arrows
            .iter()
            .map(|arrow| course(trace, arrow, &lanes, y, &texts))
            .collect(),
        calls: (0..trace.rows.len())
            .map(|row| line(trace, row, &lanes, y(row)))
            .collect(),
    };
    Ok(picture.render()?)
}

/// What the template places; a pair is x and y, and a class says what kind of socket it is of.
#[derive(Template)]
#[template(path = "demo.svg")]
struct Picture {
    height: i32,
    /// The sockets listed in the fuller of the two boxes.
    depth: i32,
    title: String,
    message: String,
    note: String,
    processes: [Process; 2],
    bars: Vec<Bar>,
    arrows: Vec<Course>,
    calls: Vec<Line>,
}

/// A process's box: its name, its numbers, and its sockets with both ends of each.
struct Process {
    x: i32,
    name: &'static str,
    ids: String,
    sockets: Vec<(&'static str, String)>,
}

/// A socket's life; dots where the system still lists it after.
struct Bar {
    class: &'static str,
    x: i32,
    from: i32,
    to: i32,
    waits: bool,
}

/// Something that travelled, and what it was.
struct Course {
    class: &'static str,
    /// As a class of its own.
    dashed: &'static str,
    start: (i32, i32),
    end: (i32, i32),
    /// Whether it goes to the right, or to the left (-1).
    sign: i32,
    at: (i32, i32),
    label: String,
}

/// A call, beside its bar, and the state that the system then listed its socket in.
struct Line {
    class: &'static str,
    x: i32,
    y: i32,
    /// How far the line goes that leads to its text.
    lead: i32,
    side: &'static str,
    text_x: i32,
    text: String,
    chip_x: i32,
    /// How wide the chip with its state is.
    chip: i32,
    state: String,
}

/// Bars beside one another where their sockets live at the same time, and the conversations next
/// to the middle.
fn lanes(trace: &Trace) -> Vec<i32> {
    let mut lanes = vec![0; trace.sockets.len()];
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    order.sort_by_key(|index| trace.sockets[*index].known.peer.is_none());
    let mut taken: BTreeMap<(Side, i32), Vec<(usize, usize)>> = BTreeMap::new();
    for index in order {
        let Socket {
            side, rows, waits, ..
        } = trace.sockets[index];
        let rows = (rows.0, if waits { trace.rows.len() } else { rows.1 });
        let free = |lane: &i32| {
            let others = taken.get(&(side, *lane)).map_or(&[][..], Vec::as_slice);
            others
                .iter()
                .all(|other| other.1 < rows.0 || rows.1 < other.0)
        };
        let lane = (0..).find(free).unwrap_or(0);
        taken.entry((side, lane)).or_default().push(rows);
        lanes[index] = match side {
            Side::Server => BARS.0 - lane * BAR_STEP,
            Side::Client => BARS.1 + lane * BAR_STEP,
        };
    }
    lanes
}

fn course(
    trace: &Trace,
    arrow: &Arrow,
    lanes: &[i32],
    y: impl Fn(usize) -> i32,
    texts: &Texts,
) -> Course {
    let (from, to) = (trace.of_row[arrow.from], trace.of_row[arrow.to]);
    let sign = if lanes[from] < lanes[to] { 1 } else { -1 };
    let start = (lanes[from] + 9 * sign, y(arrow.from));
    let end = (lanes[to] - 9 * sign, y(arrow.to));
    let label = match arrow.what {
        Cargo::Handshake => "SYN, SYN-ACK, ACK".to_owned(),
        Cargo::Bytes(count) => texts.count(count, "byte", "bytes"),
        Cargo::End => "FIN".to_owned(),
    };
    // Nearer to where it arrives: several may come from one call.
    let tenths = if arrow.what == Cargo::Handshake { 5 } else { 7 };
    let between = |from: i32, to: i32| from + (to - from) * tenths / 10;
    let dashed = if arrow.what == Cargo::End { "end" } else { "" };
    Course {
        class: class(&trace.sockets[to]),
        dashed,
        start,
        end,
        sign,
        at: (between(start.0, end.0), between(start.1, end.1)),
        label,
    }
}

fn line(trace: &Trace, row: usize, lanes: &[i32], y: i32) -> Line {
    let (seen, index) = (&trace.rows[row], trace.of_row[row]);
    // What a call carried, or a path, is escaped where it is told.
    let (text, state) = (call_text(seen), state(seen));
    // About as wide as 13 px, in a font whose letters are alike.
    let width = text.chars().count() as i32 * 8;
    let chip = state.len() as i32 * 7 + 14;
    let outer = outermost(lanes, &trace.sockets, seen.side);
    let (side, text_x, chip_x) = match seen.side {
        Side::Server => ("right", outer - 18, outer - 30 - width - chip),
        Side::Client => ("", outer + 18, outer + 30 + width),
    };
    Line {
        class: class(&trace.sockets[index]),
        x: lanes[index],
        y,
        lead: outer + 12 * (outer - lanes[index]).signum(),
        side,
        text_x,
        text,
        chip_x,
        chip,
        state: state.to_owned(),
    }
}

fn call_text(seen: &Seen) -> String {
    let number = seen.step.socket;
    match &seen.step.call {
        Call::Socket { kind, .. } => format!("socket({kind}) = {number}"),
        Call::Bind { local, .. } => format!("bind({number}, {local})"),
        Call::Listen { backlog } => format!("listen({number}, {backlog})"),
        Call::Accept { accepted, .. } => format!("accept({number}) = {accepted}"),
        Call::Connect { peer, .. } => format!("connect({number}, {peer})"),
        Call::Send { data, .. } => format!("send({number}, \"{data}\")"),
        Call::Receive {
            data, room_bytes, ..
        } => format!("recv({number}, {room_bytes}): \"{data}\""),
        Call::SendTo { data, .. } => format!("sendto({number}, \"{data}\")"),
        Call::ReceiveFrom { data, .. } => format!("recvfrom({number}): \"{data}\""),
        Call::Shutdown { .. } => format!("shutdown({number})"),
        Call::Close => format!("close({number})"),
    }
}

/// Where the bar of a side that is furthest from the middle stands.
fn outermost(lanes: &[i32], sockets: &[Socket], side: Side) -> i32 {
    let own = lanes.iter().zip(sockets);
    let own = own
        .filter(|(_, socket)| socket.side == side)
        .map(|(x, _)| *x);
    match side {
        Side::Server => own.min().unwrap_or(BARS.0),
        Side::Client => own.max().unwrap_or(BARS.1),
    }
}

/// `LISTEN` and the like, as the system listed it after a call; empty where nobody looked, and for
/// sockets that have no state.
fn state(seen: &Seen) -> &str {
    let row = seen.step.listed.as_deref().unwrap_or("");
    let state = row.split_whitespace().next_back().unwrap_or("");
    match state
        .chars()
        .all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit())
    {
        true => state,
        false => "",
    }
}

/// A socket in a process's box.
fn ends(socket: &Socket) -> String {
    let known = &socket.known;
    let protocol = match known.kind {
        SocketKind::Stream => "TCP",
        SocketKind::Datagram => "UDP",
    };
    let text = |end: &Option<End>| end.as_ref().map_or(String::new(), End::to_string);
    let (number, local) = (socket.number, text(&known.local));
    match (&known.peer, known.kind) {
        (None, SocketKind::Stream) => format!("{number}  {protocol}  {local}  LISTEN"),
        (None, SocketKind::Datagram) => format!("{number}  {protocol}  {local}"),
        (peer, _) => format!("{number}  {protocol}  {local} \u{2194} {}", text(peer)),
    }
}

fn class(socket: &Socket) -> &'static str {
    match (socket.known.kind, &socket.known.peer) {
        (SocketKind::Datagram, _) => "udp",
        (_, None) => "listen",
        (_, Some(_)) => "talk",
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::sample;
    use super::*;

    #[test]
    fn the_picture_holds_what_was_recorded() {
        let svg = draw(&sample::trace(), "<hello> & \x1b[2J", Lang::En).unwrap();
        for part in [
            "process 100",
            "127.0.0.1:5346 \u{2194} 127.0.0.1:53412",
            "accept(3) = 7",
            "recv(7, 16): &#34;Hello&#34;",
            "TIME_WAIT",
            "&#60;hello&#62; &#38; \\x1b[2J",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("class=\"label").count(), 6);
        assert_eq!(svg.matches("class=\"wait").count(), 1);
    }

    #[test]
    fn the_languages_draw_alike() {
        let trace = sample::trace();
        let [en, es] = [Lang::En, Lang::Es].map(|lang| draw(&trace, "x", lang).unwrap());
        assert_eq!(en.lines().count(), es.lines().count());
        assert!(
            es.contains("proceso 100") && !es.contains("picture-"),
            "{es}"
        );
    }
}
