//! A run as a picture: two processes, their sockets, and what travelled between them. SVG.

use std::collections::BTreeMap;
use std::fmt::Write;

use echo_core::address::End;
use echo_core::escape::Escaped;
use echo_explain::{Call, Lang, SocketKind, Texts};

use super::trace::{Arrow, Cargo, Role, Seen, Side, Socket, Trace};

const WIDTH: i32 = 1120;
/// The height of one call.
const ROW: i32 = 30;
/// Where the processes' boxes start, and how wide they are.
const BOX: (i32, i32) = (40, 460);
/// Where the innermost bar of each side is; the others stand beside it, further out.
const BARS: (i32, i32) = (450, 690);
const BAR_STEP: i32 = 20;

/// Light and dark alike: the reader's preference chooses.
const STYLE: &str = "\
svg{--bg:#ffffff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--box:#f6f8fa;--chip:#eaeef2;\
--listen:#0969da;--talk:#1a7f37;--udp:#bc4c00}\
@media(prefers-color-scheme:dark){svg{--bg:#0d1117;--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;\
--box:#151b23;--chip:#262c36;--listen:#4493f8;--talk:#3fb950;--udp:#f0883e}}\
text{font:14px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:var(--ink)}\
.title{font-size:19px;font-weight:600}.soft{fill:var(--soft);font-size:13px}\
.code{font:13px ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}\
.name{font-weight:600;font-size:16px}.chip{fill:var(--chip)}\
.state{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:var(--soft)}\
.listen{--c:var(--listen)}.talk{--c:var(--talk)}.udp{--c:var(--udp)}\
.bar{stroke:var(--c);stroke-width:8;stroke-linecap:round}\
.wait{stroke:var(--c);stroke-width:4;stroke-dasharray:1 9;stroke-linecap:round}\
.dot{fill:var(--bg);stroke:var(--c);stroke-width:2.5}\
.lead{stroke:var(--c,var(--soft));stroke-width:1;stroke-dasharray:1 3}\
.arrow{stroke:var(--c);stroke-width:2;fill:none}.head{fill:var(--c)}.end{stroke-dasharray:6 5}\
.label{fill:var(--c);font-size:12.5px;font-weight:600;text-anchor:middle;paint-order:stroke;\
stroke:var(--bg);stroke-width:5px;stroke-linejoin:round}\
.right{text-anchor:end}";

/// Draws a run, as recorded, in which `message` travelled.
pub fn draw(trace: &Trace, message: &str, lang: Lang) -> String {
    let picture = Picture {
        trace,
        message,
        texts: Texts::of(lang),
        lanes: lanes(trace),
        top: 148 + 24 * deepest(trace) + 46,
    };
    picture.svg()
}

struct Picture<'a> {
    trace: &'a Trace,
    message: &'a str,
    texts: Texts,
    /// Where the bar of each socket stands.
    lanes: Vec<i32>,
    /// Where the first row is.
    top: i32,
}

/// The sockets listed in the fuller of the two boxes.
fn deepest(trace: &Trace) -> i32 {
    let of = |side| {
        trace
            .sockets
            .iter()
            .filter(|socket| socket.side == side)
            .count()
    };
    of(Side::Server).max(of(Side::Client)) as i32
}

/// Bars beside one another where their sockets live at the same time, and the conversations next
/// to the middle.
fn lanes(trace: &Trace) -> Vec<i32> {
    let mut lanes = vec![0; trace.sockets.len()];
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    order.sort_by_key(|index| trace.sockets[*index].role == Role::Listening);
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

impl Picture<'_> {
    fn svg(&self) -> String {
        let height = self.top + ROW * self.trace.rows.len() as i32 + 74;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{}</title>\n\
             <style>{STYLE}</style>\n<rect x=\"1\" y=\"1\" width=\"{}\" height=\"{}\" rx=\"14\" \
             fill=\"var(--bg)\" stroke=\"var(--line)\"/>\n",
            escaped(&self.text("picture-title", "")),
            WIDTH - 2,
            height - 2,
        );
        let title = escaped(&self.text("picture-title", ""));
        line(&mut svg, "title", BOX.0, 48, &title);
        let message = format!("\u{201c}{}\u{201d}", self.message);
        line(&mut svg, "soft", BOX.0, 74, &escaped(&message));
        self.process(&mut svg, Side::Server, "echo-server", BOX.0);
        self.process(&mut svg, Side::Client, "echo-client", WIDTH - BOX.0 - BOX.1);
        for index in 0..self.trace.sockets.len() {
            self.bar(&mut svg, index);
        }
        for arrow in &self.trace.arrows {
            self.arrow(&mut svg, arrow);
        }
        // Over all the lines.
        for arrow in &self.trace.arrows {
            self.label(&mut svg, arrow);
        }
        for row in 0..self.trace.rows.len() {
            self.call(&mut svg, row);
        }
        let note = escaped(&self.text("picture-note", ""));
        line(&mut svg, "soft", BOX.0, height - 28, &note);
        svg.push_str("</svg>\n");
        svg
    }

    fn text(&self, key: &str, id: &str) -> String {
        self.texts.text(key, &[("id", &id)])
    }

    fn y(&self, row: usize) -> i32 {
        self.top + ROW * row as i32 + ROW / 2
    }

    /// A process's box: its name, its number, and its sockets with both ends of each.
    fn process(&self, svg: &mut String, side: Side, name: &str, x: i32) {
        let sockets = || {
            let all = self.trace.sockets.iter();
            all.filter(move |socket| socket.side == side)
        };
        let (y, height) = (100, 24 * deepest(self.trace) + 50);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"10\" \
             fill=\"var(--box)\" stroke=\"var(--line)\"/>",
            BOX.1
        );
        line(svg, "name", x + 18, y + 29, name);
        let mut ids: Vec<u32> = sockets().map(|socket| socket.process).collect();
        ids.dedup();
        let ids: Vec<String> = ids
            .iter()
            .map(|id| self.text("picture-process", &id.to_string()))
            .collect();
        let right = x + BOX.1 - 18;
        line(svg, "soft right", right, y + 29, &escaped(&ids.join(", ")));
        for (at, socket) in (0..).zip(sockets()) {
            let y = y + 56 + 24 * at;
            let _ = writeln!(
                svg,
                "<circle class=\"head {}\" cx=\"{}\" cy=\"{}\" r=\"5\"/>",
                class(socket),
                x + 24,
                y - 5
            );
            line(svg, "code", x + 38, y, &escaped(&ends(socket)));
        }
    }

    /// A socket's life; dots where the system still lists it after.
    fn bar(&self, svg: &mut String, index: usize) {
        let socket = &self.trace.sockets[index];
        let (x, class) = (self.lanes[index], class(socket));
        let (from, to) = (self.y(socket.rows.0), self.y(socket.rows.1));
        let _ = writeln!(svg, "<path class=\"bar {class}\" d=\"M{x} {from}V{to}\"/>");
        if socket.waits {
            let _ = writeln!(
                svg,
                "<path class=\"wait {class}\" d=\"M{x} {}V{}\"/>",
                to + 14,
                self.y(self.trace.rows.len()) + 6
            );
        }
    }

    /// Where an arrow starts and ends, and which way it goes.
    fn course(&self, arrow: &Arrow) -> ((i32, i32), (i32, i32), i32) {
        let (from, to) = (self.trace.of_row[arrow.from], self.trace.of_row[arrow.to]);
        let (from, to) = (self.lanes[from], self.lanes[to]);
        let sign = if from < to { 1 } else { -1 };
        let start = (from + 9 * sign, self.y(arrow.from));
        (start, (to - 9 * sign, self.y(arrow.to)), sign)
    }

    fn arrow(&self, svg: &mut String, arrow: &Arrow) {
        let ((x1, y1), (x2, y2), sign) = self.course(arrow);
        let class = class(&self.trace.sockets[self.trace.of_row[arrow.to]]);
        let dashed = if arrow.what == Cargo::End { " end" } else { "" };
        let _ = writeln!(
            svg,
            "<path class=\"arrow {class}{dashed}\" d=\"M{x1} {y1}L{} {y2}\"/>\
             <path class=\"head {class}\" d=\"M{x2} {y2}l{} -5v10z\"/>",
            x2 - 8 * sign,
            -10 * sign
        );
    }

    /// What an arrow stands for, nearer to where it arrives: several may come from one call.
    fn label(&self, svg: &mut String, arrow: &Arrow) {
        let ((x1, y1), (x2, y2), _) = self.course(arrow);
        let class = class(&self.trace.sockets[self.trace.of_row[arrow.to]]);
        let label = match arrow.what {
            Cargo::Handshake => "SYN, SYN-ACK, ACK".to_owned(),
            Cargo::Bytes(count) | Cargo::Datagram(count) => {
                self.texts.count(count, "byte", "bytes")
            }
            Cargo::End => "FIN".to_owned(),
        };
        let tenths = if arrow.what == Cargo::Handshake { 5 } else { 7 };
        let (x, y) = (
            x1 + (x2 - x1) * tenths / 10,
            y1 + (y2 - y1) * tenths / 10 + 4,
        );
        let _ = writeln!(
            svg,
            "<text class=\"label {class}\" x=\"{x}\" y=\"{y}\">{label}</text>"
        );
    }

    /// A call, beside its bar, and the state that the system then listed its socket in.
    fn call(&self, svg: &mut String, row: usize) {
        let seen = &self.trace.rows[row];
        let index = self.trace.of_row[row];
        let (x, y) = (self.lanes[index], self.y(row));
        let class = class(&self.trace.sockets[index]);
        // What a call carried, or a path, is escaped where it is told.
        let text = xml(&Self::call_text(seen));
        let state = state(seen);
        let chip = state.len() as i32 * 7 + 14;
        let outer = outermost(&self.lanes, &self.trace.sockets, seen.side);
        let sign = (outer - x).signum();
        let _ = writeln!(
            svg,
            "<path class=\"lead\" d=\"M{x} {y}H{}\"/>\
             <circle class=\"dot {class}\" cx=\"{x}\" cy=\"{y}\" r=\"5\"/>",
            outer + 12 * sign
        );
        let chip_x = match seen.side {
            Side::Server => {
                let x = outer - 18;
                line(svg, "code right", x, y + 5, &text);
                x - width(&text) - 12 - chip
            }
            Side::Client => {
                let x = outer + 18;
                line(svg, "code", x, y + 5, &text);
                x + width(&text) + 12
            }
        };
        if !state.is_empty() {
            let _ = writeln!(
                svg,
                "<rect class=\"chip\" x=\"{chip_x}\" y=\"{}\" width=\"{chip}\" height=\"18\" rx=\"9\"/>\
                 <text class=\"state\" x=\"{}\" y=\"{}\">{state}</text>",
                y - 9,
                chip_x + 7,
                y + 4
            );
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
    let protocol = match socket.kind {
        SocketKind::Stream => "TCP",
        SocketKind::Datagram => "UDP",
    };
    let text = |end: &Option<End>| end.as_ref().map_or(String::new(), End::to_string);
    let (local, peer) = (text(&socket.local), text(&socket.peer));
    match (socket.role, socket.kind) {
        (Role::Listening, SocketKind::Stream) => {
            format!("{}  {protocol}  {local}  LISTEN", socket.number)
        }
        (Role::Listening, SocketKind::Datagram) => {
            format!("{}  {protocol}  {local}", socket.number)
        }
        _ => format!("{}  {protocol}  {local} \u{2194} {peer}", socket.number),
    }
}

fn class(socket: &Socket) -> &'static str {
    match (socket.kind, socket.role) {
        (SocketKind::Datagram, _) => "udp",
        (_, Role::Listening) => "listen",
        (_, Role::Talking) => "talk",
    }
}

/// About how wide a text of 13 px is, in a font whose letters are alike.
fn width(text: &str) -> i32 {
    text.chars().count() as i32 * 8
}

fn line(svg: &mut String, class: &str, x: i32, y: i32, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" xml:space=\"preserve\">{text}</text>"
    );
}

/// As text within SVG, without what acts on a terminal.
fn escaped(text: &str) -> String {
    xml(&Escaped(text.as_bytes()).to_string())
}

/// As text within SVG.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::trace::sample;
    use super::*;

    #[test]
    fn the_picture_holds_what_was_recorded() {
        let svg = draw(&sample::trace(), "<hello> & \x1b[2J", Lang::En);
        for part in [
            "process 100",
            "127.0.0.1:5346 \u{2194} 127.0.0.1:53412",
            "accept(3) = 7",
            "recv(7, 16): \"Hello\"",
            "TIME_WAIT",
            "&lt;hello&gt; &amp; \\u{1b}[2J",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("class=\"label").count(), 5);
        assert_eq!(svg.matches("class=\"wait").count(), 1);
    }

    #[test]
    fn the_languages_draw_alike() {
        let trace = sample::trace();
        let (en, es) = (draw(&trace, "x", Lang::En), draw(&trace, "x", Lang::Es));
        assert_eq!(en.lines().count(), es.lines().count());
        assert!(
            es.contains("proceso 100") && !es.contains("picture-"),
            "{es}"
        );
    }
}
