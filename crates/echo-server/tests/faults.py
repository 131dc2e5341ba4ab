"""Each fault as a client sees it that shares no code with the server: python3 faults.py [Faults.CASE].

ECHO_SERVER names the server's program. Every wait has a deadline; none is there to let time pass.
"""

import collections
import errno
import json
import math
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import unittest

LIMIT = 20  # Seconds for what must happen. Far more than it takes on a busy machine.
QUIET = 0.3  # Seconds for what must not happen.
SEED = 7
MASK = (1 << 64) - 1


class Server:
    """A server with faults, and the events that it tells."""

    def __init__(self, *faults, more=(), listen="127.0.0.1:0", seed=SEED):
        command = [os.environ["ECHO_SERVER"], "--listen", listen, "--log", "json"]
        command += ["--exit-on-stdin-eof", "--drain", "0s", "--seed", str(seed)]
        for fault in faults:
            command += ["--fault", fault]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command + list(more), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.address = None
        self.ports = []
        self.sockets = []
        for line in iter(self.process.stdout.readline, "ready\n"):
            assert line, self.process.stderr.read()
            host, _, port = line.split()[-1].rpartition(":")
            self.address = (host, int(port)) if port.isdigit() else line.split()[-1]
            self.ports += [int(port)] if port.isdigit() else []
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.reader.join(LIMIT)
        for file in (self.process.stdin, self.process.stdout, self.process.stderr, *self.sockets):
            file.close()

    def socket(self, family, kind):
        """A socket that is closed with the server."""
        new = socket.socket(family, kind)
        new.settimeout(LIMIT)
        self.sockets.append(new)
        return new

    def connect(self):
        stream = self.socket(socket.AF_INET, socket.SOCK_STREAM)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.connect(self.address)
        return stream

    def udp(self, source="127.0.0.1"):
        datagrams = self.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind((source, 0))
        datagrams.connect(self.address)
        return datagrams

    def stop(self):
        """Stops the server, and returns all its events."""
        self.process.stdin.close()
        assert self.process.wait(LIMIT) == 0
        self.reader.join(LIMIT)
        return [json.loads(line) for line in self.lines]

    def faults(self, name=None):
        """Stops the server, and returns the faults that it applied."""
        events = self.stop()
        assert not any(event["event"] == "lost" for event in events)
        return [e for e in events if e["event"] == "fault" and name in (None, e["fault"])]

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def read_all(stream):
    """All bytes until the peer's end."""
    return b"".join(iter(lambda: stream.recv(1 << 16), b""))


def read(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        assert piece, f"ended after {data!r}"
        data += piece
    return data


def silent(sock):
    """Whether nothing arrives."""
    sock.settimeout(QUIET)
    try:
        return not sock.recv(100)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(LIMIT)


def datagrams(address, count):
    """The answers to numbered datagrams from the server's first source. The second one tells when
    they are complete: it is answered after all that came before."""
    first, second = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    answers = []
    with first, second:
        second.settimeout(LIMIT)
        for sock in (first, second):
            sock.connect(address)
        for start in range(1, count + 1, 50):
            # Few enough at a time for any buffer.
            for number in range(start, min(start + 50, count + 1)):
                first.send(b"datagram %d" % number)
            second.send(b"fence")
            assert second.recv(100) == b"fence"
            first.setblocking(False)
            try:
                while True:
                    answers.append(first.recv(100))
            except BlockingIOError:
                pass
    return answers


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def chosen(share, message, fault=0, connection=1, seed=SEED):
    """The server's decision, computed anew: whether a share of messages has this one."""
    gamma = 0x9E3779B97F4A7C15
    state = mix(seed)
    for part in (fault, connection, message):
        state = mix((state + gamma & MASK) ^ mix(part + gamma & MASK))
    return mix(state + gamma & MASK) * 1_000_000 >> 64 < share * 1_000_000


class Faults(unittest.TestCase):
    def test_exactly_the_datagrams_that_the_seed_chooses_are_dropped(self):
        with Server("drop=20%,conn=1") as server:
            answers = datagrams(server.address, 1000)
            kept = [n for n in range(1, 1001) if not chosen(0.2, n)]
            self.assertEqual(answers, [b"datagram %d" % n for n in kept])
            told = {event["message"] for event in server.faults("drop")}
            self.assertEqual(told, set(range(1, 1001)) - set(kept))

    def test_a_dropped_message_is_missing_from_a_stream(self):
        with Server("drop,msg=2", more=["--framing", "lines"]) as server, server.connect() as stream:
            stream.sendall(b"one\ntwo\nthree\n")
            stream.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(stream), b"one\nthree\n")

    def test_duplicates_arrive_twice(self):
        with Server("duplicate=10%,conn=1") as server:
            counts = collections.Counter(datagrams(server.address, 300))
            twice = {answer for answer, count in counts.items() if count == 2}
            self.assertEqual(len(counts), 300)
            self.assertEqual(max(counts.values()), 2)
            told = {b"datagram %d" % event["message"] for event in server.faults("duplicate")}
            self.assertEqual(twice, told)
            self.assertGreater(len(told), 10)

    def test_a_corrupt_message_differs_in_one_bit_where_it_is_told(self):
        with Server("corrupt") as server, server.connect() as stream:
            sent, got = bytes(1000), []
            for _ in range(20):
                stream.sendall(sent)
                got.append(read(stream, 1000))
            for answer, event in zip(got, server.faults("corrupt"), strict=True):
                wrong = [offset for offset in range(1000) if answer[offset]]
                self.assertEqual(wrong, [event["offset"]])
                self.assertEqual(answer[wrong[0]].bit_count(), 1)

    def test_as_many_bytes_are_corrupt_as_were_asked_for(self):
        with Server("corrupt=4,udp") as server:
            sock = server.udp()
            sock.send(bytes(100))
            answer = sock.recv(200)
            self.assertEqual((len(answer), sum(map(bool, answer))), (100, 4))

    def test_a_truncated_datagram_is_short(self):
        with Server("truncate=3,msg=..2") as server:
            sock = server.udp()
            for message, answer in [(b"hello", b"hel"), (b"ab", b"ab"), (b"hello", b"hello")]:
                sock.send(message)
                self.assertEqual(sock.recv(100), answer)
            self.assertEqual([event["bytes"] for event in server.faults("truncate")], [3])

    def test_reordered_datagrams_change_places(self):
        with Server("reorder=10%,conn=1,msg=..299") as server:
            numbers = [int(answer.split()[1]) for answer in datagrams(server.address, 300)]
            late = [n for n, before in zip(numbers[1:], numbers) if n < before]
            self.assertEqual(sorted(numbers), list(range(1, 301)))
            self.assertEqual(late, [event["message"] for event in server.faults("reorder")])
            self.assertGreater(len(late), 10)

    def delays(self, fault):
        """The delays of datagrams in milliseconds: as measured, and as told. A machine that is busy
        adds its own; the calmest of some runs counts."""
        runs = []
        while not runs or min(runs)[0] > 20 and len(runs) < 5:
            measured, told = self.measure(fault)
            late = [measured[number] - told[number] for number in told]
            self.assertGreaterEqual(min(late), 0, "an answer came before its time")
            runs.append((statistics.median(late), list(measured.values()), list(told.values())))
        late, measured, told = min(runs)
        self.assertLess(late, 100, "answers come late")
        return measured, told

    def measure(self, fault):
        with Server(fault) as server:
            sock = server.udp()
            sent, delays = {}, {}
            for number in range(1, 201):
                message = b"%d" % number
                sent[message] = time.monotonic_ns()
                sock.send(message)
            while len(delays) < 200:
                message = sock.recv(100)
                delays[int(message)] = (time.monotonic_ns() - sent[message]) / 1e6
            told = {event["message"]: event["delay_ns"] / 1e6 for event in server.faults("delay")}
        self.assertEqual(len(told), 200)
        return delays, told

    def test_a_fixed_delay_holds_every_answer_back_as_long(self):
        measured, told = self.delays("delay=200ms")
        self.assertEqual(set(told), {200})
        self.assertLess(statistics.median(measured), 300)

    def test_a_uniform_delay_spreads_evenly_between_its_bounds(self):
        measured, told = self.delays("delay=100ms..500ms")
        self.assertTrue(all(100 <= delay <= 500 for delay in told))
        for quarter in range(4):
            share = sum(100 + 100 * quarter <= delay < 200 + 100 * quarter for delay in told)
            self.assertTrue(25 <= share <= 75, f"{share} of 200 in quarter {quarter}")
        self.assertAlmostEqual(statistics.mean(measured), 300, delta=120)

    def test_a_normal_delay_has_its_mean_and_deviation(self):
        measured, told = self.delays("delay=300ms±60ms")
        # Five standard errors of 200 draws; what was measured is later by what the machine takes.
        self.assertAlmostEqual(statistics.mean(told), 300, delta=5 * 60 / math.sqrt(200))
        self.assertAlmostEqual(statistics.stdev(told), 60, delta=5 * 60 / math.sqrt(400))
        self.assertAlmostEqual(statistics.mean(measured), 300, delta=120)
        self.assertAlmostEqual(statistics.stdev(measured), 60, delta=50)

    def test_a_delayed_stream_keeps_its_order(self):
        lines = b"".join(b"line %d\n" % number for number in range(200))
        more = ["--framing", "lines"]
        with Server("delay=1ms..100ms", more=more) as server, server.connect() as stream:
            stream.sendall(lines)
            stream.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(stream), lines)

    def test_a_reset_is_seen_as_such_behind_the_bytes_before_it(self):
        with Server("reset-after=5") as server, server.connect() as stream:
            stream.sendall(b"hello world")
            self.assertEqual(read(stream, 5), b"hello")
            with self.assertRaises(OSError) as caught:
                stream.recv(1)
            self.assertEqual(caught.exception.errno, errno.ECONNRESET)
            events = server.stop()
            closed = [e["detail"] for e in events if e["event"] == "closed"]
            self.assertEqual(closed, ["the fault reset-after"])

    def test_a_reset_comes_after_a_time(self):
        with Server("reset-after=300ms") as server:
            start = time.monotonic()
            with server.connect() as stream, self.assertRaises(ConnectionResetError):
                stream.recv(1)
            self.assertGreater(time.monotonic() - start, 0.29)

    def test_a_close_is_an_end_after_as_many_bytes(self):
        with Server("close-after=5,conn=1") as server:
            with server.connect() as stream:
                stream.sendall(b"hello world")
                self.assertEqual(read_all(stream), b"hello")
            with server.connect() as stream:
                stream.sendall(b"hello world")
                self.assertEqual(read(stream, 11), b"hello world")
            self.assertEqual([event["connection"] for event in server.faults()], [1])

    def test_a_close_after_messages_comes_with_the_last_answer(self):
        more = ["--framing", "lines"]
        with Server("close-after=2msg", more=more) as server, server.connect() as stream:
            stream.sendall(b"one\ntwo\nthree\n")
            self.assertEqual(read_all(stream), b"one\ntwo\n")

    def test_a_half_closed_connection_can_be_written_to(self):
        with Server("half-close-after=5") as server, server.connect() as stream:
            stream.sendall(b"hello world")
            self.assertEqual(read_all(stream), b"hello")
            for _ in range(100):
                stream.sendall(bytes(10_000))
            stream.shutdown(socket.SHUT_WR)
            self.wait_for(server, lambda event: event["event"] == "closed" and event["reason"] == "finished")
            closed = next(e for e in server.stop() if e["event"] == "closed")
            self.assertEqual((closed["received_bytes"], closed["sent_bytes"]), (1_000_011, 5))

    def wait_for(self, server, wanted):
        deadline = time.monotonic() + LIMIT
        while not any(wanted(json.loads(line)) for line in list(server.lines)):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.002)

    def test_a_stalled_connection_reads_and_never_answers(self):
        with Server("stall") as server, server.connect() as stream:
            # More than the system's buffers hold.
            for _ in range(100):
                stream.sendall(bytes(1 << 20))
            self.assertTrue(silent(stream))
            self.assertEqual([e["message"] for e in server.faults("stall")], [None])

    def test_the_backlog_fills_when_nothing_is_accepted(self):
        with Server("no-accept=2") as server:
            # The system holds one more than it is told to.
            waiting = [server.connect() for _ in range(3)]
            with self.assertRaises(TimeoutError):
                socket.create_connection(server.address, timeout=QUIET)
            self.assertTrue(all(silent(stream) for stream in waiting[:1]))
            self.assertEqual(len(server.faults("no-accept")), 1)

    def test_those_before_are_accepted_when_later_ones_are_not(self):
        with Server("no-accept,conn=2..") as server:
            first = server.connect()
            first.sendall(b"hello")
            self.assertEqual(read(first, 5), b"hello")
            second = server.connect()
            second.sendall(b"hello")
            self.assertTrue(silent(second))
            events = server.stop()
            self.assertEqual(sum(event["event"] == "accepted" for event in events), 1)

    def test_every_connection_is_refused(self):
        with Server("refuse") as server:
            for _ in range(3):
                with self.assertRaises(ConnectionRefusedError):
                    server.connect()
            sock = server.udp()
            sock.send(b"not this")
            self.assertEqual(sock.recv(100), b"not this")

    def test_some_connections_are_reset_as_soon_as_they_are_accepted(self):
        with Server("refuse,conn=..2") as server:
            for _ in range(2):
                with self.assertRaises(ConnectionResetError), server.connect() as stream:
                    stream.recv(1)
            with server.connect() as stream:
                stream.sendall(b"hello")
                self.assertEqual(read(stream, 5), b"hello")
            self.assertEqual([e["connection"] for e in server.faults("refuse")], [1, 2])

    def test_a_trickle_comes_in_pieces_at_its_times(self):
        with Server("trickle=2/100ms") as server, server.connect() as stream:
            start = time.monotonic()
            stream.sendall(b"0123456789")
            pieces = []
            while sum(len(piece) for _, piece in pieces) < 10:
                pieces.append((time.monotonic() - start, stream.recv(100)))
            self.assertEqual(b"".join(piece for _, piece in pieces), b"0123456789")
            took = pieces[-1][0]
            self.assertGreater(time.monotonic() - start, 0.4)
            self.assertLess(took, 4, pieces)
            # Even if this client was held up, most pieces came alone.
            self.assertGreater(len(pieces), 2, pieces)
            self.assertTrue(all(len(piece) % 2 == 0 for _, piece in pieces), pieces)

    def test_a_rate_limits_what_comes_in_a_second(self):
        with Server("rate=64k") as server, server.connect() as stream:
            start = time.monotonic()
            stream.sendall(bytes(32 << 10))
            stream.shutdown(socket.SHUT_WR)
            self.assertEqual(len(read_all(stream)), 32 << 10)
            took = time.monotonic() - start
            self.assertTrue(0.45 < took < 2, took)

    def test_a_rate_spaces_datagrams(self):
        with Server("rate=1000,udp") as server:
            sock = server.udp()
            start = time.monotonic()
            for _ in range(6):
                sock.send(bytes(100))
            for _ in range(6):
                self.assertEqual(len(sock.recv(200)), 100)
            self.assertGreater(time.monotonic() - start, 0.49)

    def test_a_split_answer_takes_several_reads(self):
        with Server("split=3") as server, server.connect() as stream:
            partial = 0
            for _ in range(20):
                stream.sendall(b"0123456789")
                first = stream.recv(100)
                partial += len(first) < 10
                self.assertEqual(first + read(stream, 10 - len(first)), b"0123456789")
            # This client may be held up now and then.
            self.assertGreater(partial, 5)
            self.assertEqual([e["pieces"] for e in server.faults("split")], [4] * 20)

    def test_a_split_datagram_is_several(self):
        with Server("split=4") as server:
            sock = server.udp()
            sock.send(b"0123456789")
            self.assertEqual([sock.recv(100) for _ in range(3)], [b"0123", b"4567", b"89"])

    def test_merged_answers_wait_for_each_other(self):
        with Server("merge=10") as server, server.connect() as stream:
            stream.sendall(b"0123")
            self.assertTrue(silent(stream))
            stream.sendall(b"4567")
            self.assertTrue(silent(stream))
            stream.sendall(b"89ab")
            self.assertEqual(stream.recv(100), b"0123456789ab")
            stream.sendall(b"rest")
            stream.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(stream), b"rest")
            self.assertEqual([e["bytes"] for e in server.faults("merge")], [12, 4])

    def test_a_banner_is_said_before_the_client_says_anything(self):
        with tempfile.TemporaryDirectory() as dir:
            listen = f"tcp://127.0.0.1:0,unix:{dir}/s"
            faults = [r"banner=220 ready\, go\x3b\r\n,tcp,conn=..2", r"banner=unix\n,unix"]
            # A banner is no message: its answers are whole all the same.
            with Server(*faults, listen=listen, more=["--framing", "lines"]) as server:
                unix, server.address = server.address, ("127.0.0.1", server.ports[0])
                for banner in [b"220 ready, go;\r\n"] * 2 + [b""]:
                    stream = server.connect()
                    self.assertEqual(read(stream, len(banner)), banner)
                    stream.sendall(b"line\n")
                    self.assertEqual(read(stream, 5), b"line\n")
                    stream.shutdown(socket.SHUT_WR)
                    self.assertEqual(read_all(stream), b"")
                stream = server.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                stream.connect(unix)
                self.assertEqual(read(stream, 5), b"unix\n")
                self.assertEqual([e["transport"] for e in server.faults("banner")], ["tcp", "tcp", "unix"])

    def test_the_first_answer_of_each_is_held_and_what_comes_behind_it_waits(self):
        with Server("hold=400ms") as server, server.connect() as stream:
            start = time.monotonic()
            stream.sendall(b"first")
            # The server has read it, so that the next is a message of its own.
            time.sleep(QUIET)
            stream.sendall(b"second")
            self.assertEqual(read(stream, 11), b"firstsecond")
            self.assertGreater(time.monotonic() - start, 0.399)
            udp = server.udp()
            start = time.monotonic()
            udp.send(b"held")
            self.assertEqual(udp.recv(100), b"held")
            self.assertGreater(time.monotonic() - start, 0.399)
            for sock in (stream, udp):
                sock.send(b"again")
                self.assertEqual(sock.recv(100), b"again")
            told = [(e["transport"], e["message"], e["delay_ns"]) for e in server.faults()]
            self.assertEqual(told, [("tcp", 1, 400_000_000), ("udp", 1, 400_000_000)])

    def test_a_fault_touches_only_its_place(self):
        with Server("drop,peer=127.0.0.2,msg=2", "stall,tcp,conn=2", more=["--framing", "lines"]) as server:
            for source, answers in [("127.0.0.2", [b"1\n", b"3\n"]), ("127.0.0.3", [b"1\n", b"2\n", b"3\n"])]:
                sock = server.udp(source)
                for message in (b"1\n", b"2\n", b"3\n"):
                    sock.send(message)
                self.assertEqual([sock.recv(10) for _ in answers], answers)
            for number in (1, 2, 3):
                stream = server.connect()
                stream.sendall(b"hello\n")
                if number == 2:
                    self.assertTrue(silent(stream))
                else:
                    self.assertEqual(read(stream, 6), b"hello\n")

    def test_unix_sockets_have_faults_too(self):
        with tempfile.TemporaryDirectory() as dir:
            with Server("delay=100ms,unix", "close-after=5", listen=f"unix:{dir}/s") as server:
                stream = server.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                stream.connect(server.address)
                start = time.monotonic()
                stream.sendall(b"hello world")
                self.assertEqual(read_all(stream), b"hello")
                self.assertGreater(time.monotonic() - start, 0.099)

    def run_of(self, workers, seed=SEED):
        """What clients see, and what the server tells, in a run with much chance in it."""
        faults = ["drop=20%,tcp", "corrupt=3,msg=10%,tcp", "duplicate=10%,conn=..4", "truncate=2,msg=10%,tcp"]
        faults += ["delay=0ms..5ms", "close-after=300,conn=30%", "stall,conn=20%", "drop=30%,udp,conn=1"]
        with Server(*faults, more=["--framing", "lines", "--workers", workers], seed=seed) as server:
            seen = []
            for _ in range(10):
                with server.connect() as stream:
                    stream.sendall(b"".join(b"line %d\n" % number for number in range(60)))
                    stream.shutdown(socket.SHUT_WR)
                    seen.append(read_all(stream))
            # What the delay leaves of their order is no matter of chance: only what is told counts.
            datagrams(server.address, 200)
            told = [(e["transport"], e["connection"], e["message"] or 0, e["fault"]) for e in server.faults()]
            return seen, sorted(told)

    def test_the_same_seed_gives_the_same_faults_whatever_the_workers(self):
        one, four = self.run_of("1"), self.run_of("4")
        self.assertEqual(one, four)
        self.assertGreater(len(one[1]), 300)
        self.assertNotEqual(one, self.run_of("4", seed=8))

    def test_a_drawn_seed_is_told_and_repeats_the_run(self):
        command = [os.environ["ECHO_SERVER"], "--listen", "127.0.0.1:0", "--fault", "drop=50%,conn=1"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                words = process.stderr.readline().split()
                self.assertEqual(words[:4], ["1", "fault", "configured;", "--seed"])
                port = int(process.stdout.readline().split(":")[1])
                answers = datagrams(("127.0.0.1", port), 100)
            finally:
                process.terminate()
        kept = [n for n in range(1, 101) if not chosen(0.5, n, seed=int(words[4]))]
        self.assertEqual(answers, [b"datagram %d" % n for n in kept])

    def test_a_wrong_fault_ends_with_two_and_is_pointed_at(self):
        for spec, column in [("drop=20", 8), ("delay=50mx", 10), ("drop,udp,refuse", 10), ("", 1), ("reorder,tcp", 9)]:
            command = [os.environ["ECHO_SERVER"], "--fault", spec]
            run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual((run.returncode, run.stdout), (2, ""))
            self.assertIn(f"at character {column}:", run.stderr)
            self.assertIn("\n  " + " " * (column - 1) + "^\n", run.stderr)

    def test_faults_come_from_a_file_too(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write('[[fault]]\ntruncate = 3\nudp = true\n\n[[fault]]\nclose-after = "4"\n')
            file.flush()
            with Server(more=["--config", file.name]) as server, server.connect() as stream:
                stream.sendall(b"hello")
                self.assertEqual(read_all(stream), b"hell")
                sock = server.udp()
                sock.send(b"hello")
                self.assertEqual(sock.recv(100), b"hel")

    def test_memory_is_bounded_while_answers_are_held_back(self):
        with Server("delay=1h") as server:
            before = server.memory()
            streams = [server.connect() for _ in range(8)]
            for stream in streams:
                stream.settimeout(QUIET)
                sent = 0
                # Reading pauses, and then the system's buffers fill.
                with self.assertRaises(TimeoutError):
                    while sent < 64 << 20:
                        sent += stream.send(bytes(1 << 16))
            sock = server.udp()
            for _ in range(5_000):
                sock.send(bytes(1000))
            with server.connect() as stream:
                stream.sendall(b"hello")
                self.assertTrue(silent(stream))
            self.assertLess(server.memory() - before, 8 << 10, "KiB")


if __name__ == "__main__":
    unittest.main()
