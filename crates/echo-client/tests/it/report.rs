//! The JSON documents of `ping` and `bench` against docs/report.schema.json.

use std::time::Duration;

use crate::common::{Scratch, closed_port, echo, echo_on, eventually, faulty, run, start, udp};
use echo_client::connection::ErrorKind;
use echo_client::interrupt::Why;
use echo_client::report::{self, Counts, Fault, Generator, Load, Mode, Report, Second, Span};
use echo_core::address::End;
use serde_json::Value;

/// Says where `document` is not as `schema` has it. A keyword that it does not know is an error
/// too, so that the schema cannot promise what nothing checks.
fn errors(schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    let mut check = |holds: bool, why: &str| {
        if !holds {
            found.push(format!("{at}: {document} {why}"));
        }
    };
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let empty = serde_json::Map::new();
    let object = document.as_object().unwrap_or(&empty);
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let mut parts: Vec<(String, &Value, &Value)> = Vec::new();
    for (keyword, value) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$schema" | "title" | "description" => {}
            "type" => {
                let one = std::slice::from_ref(value);
                let names = value.as_array().map_or(one, Vec::as_slice);
                let has = |name: &Value| has_type(document, name.as_str().expect("a type"));
                check(names.iter().any(has), "has the wrong type");
            }
            "const" => check(document == value, "is not the constant"),
            "enum" => check(
                value.as_array().expect("a list").contains(document),
                "is not listed",
            ),
            // What is null is neither.
            "minimum" => check(
                document.is_null() || number(document) >= number(value),
                "is too small",
            ),
            "maximum" => check(
                document.is_null() || number(document) <= number(value),
                "is too large",
            ),
            "required" => {
                let keys = value.as_array().filter(|_| document.is_object());
                for key in keys.into_iter().flatten() {
                    check(
                        object.contains_key(key.as_str().expect("a key")),
                        &format!("lacks {key}"),
                    );
                }
            }
            "properties" => {
                parts.extend(properties.iter().filter_map(|(key, part)| {
                    Some((format!("{at}/{key}"), part, object.get(key)?))
                }))
            }
            "additionalProperties" => {
                for (key, member) in object
                    .iter()
                    .filter(|(key, _)| !properties.contains_key(*key))
                {
                    match value {
                        Value::Bool(allowed) => check(*allowed, &format!("has an unknown {key}")),
                        _ => parts.push((format!("{at}/{key}"), value, member)),
                    }
                }
            }
            "propertyNames" => {
                for key in object.keys() {
                    let names = value["enum"].as_array().expect("a list");
                    check(
                        names.contains(&key.as_str().into()),
                        &format!("has an unknown {key}"),
                    );
                }
            }
            "items" => parts.extend(
                document
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|item| (format!("{at}/-"), value, item)),
            ),
            unknown => panic!("the schema uses {unknown}, which this test does not check"),
        }
    }
    for (at, schema, document) in parts {
        errors(schema, document, &at, found);
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        unknown => panic!("{unknown} is no type"),
    }
}

/// What is wrong with a report.
fn check(document: &Value) -> Vec<String> {
    check_as(
        include_str!("../../../../docs/report.schema.json"),
        document,
    )
}

/// Where a document is not as `schema` has it.
pub fn check_as(schema: &str, document: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let mut found = Vec::new();
    errors(&schema, document, "", &mut found);
    found
}

#[test]
fn every_document_is_as_the_schema_says() {
    let server = echo();
    let lossy = faulty(&["drop=33%", "truncate=3,msg=50%"]);
    let closed = closed_port().to_string();
    let wrong = udp(|_, _, reply| reply(b"no echo"));
    let reflector = echo_on("stamp://127.0.0.1:0");
    let stamp = format!("stamp://{}", End::from(&reflector.addresses()[0]));
    for args in [
        &["bench", &server.tcp, "-c", "2000", "--fail-if", "p99>1h"][..],
        &[
            "bench",
            &server.tcp,
            "-d",
            "1100ms",
            "-r",
            "1000",
            "--warmup",
            "0",
        ],
        &["bench", &server.udp, "-c", "1", "--warmup", "0"],
        &[
            "bench", &lossy.udp, "-c", "9", "--warmup", "0", "-W", "50ms",
        ],
        &["bench", &closed],
        &[
            "bench",
            &server.tcp,
            "--rounds",
            "3",
            "-d",
            "40ms",
            "--warmup",
            "0",
        ],
        &[
            "bench",
            &server.tcp,
            "--find",
            "p50<1h",
            "-d",
            "20ms",
            "--warmup",
            "0",
        ],
        &["ping", &server.tcp, "-c", "3", "-i", "1ms"],
        &[
            "ping",
            &server.tcp,
            "-c",
            "3",
            "-i",
            "1ms",
            "--new-connection",
        ],
        &["ping", &server.udp, "-c", "30", "-i", "1ms"],
        &["ping", &lossy.udp, "-c", "3", "-i", "1ms", "-W", "50ms"],
        &["ping", &stamp, "-c", "30", "-i", "1ms"],
        &["bench", &stamp, "-c", "9", "--warmup", "0", "--dscp", "46"],
        &["ping", &closed, "-c", "1"],
        &[&server.tcp],
        &[&server.udp, "--fail-if", "max>1h,max>1ns"],
        &[&lossy.udp, "-W", "50ms"],
        &[&wrong],
        &[&wrong, "-w", "1ns"],
        &[&closed],
        &["name.invalid:1"],
    ] {
        let ended = run(&[args, &["--json"]].concat());
        let document: Value = serde_json::from_str(ended.text()).expect("one document");
        assert_eq!(check(&document), [""; 0], "{args:?} printed {document:#}");
        let read = report::read(ended.text()).expect("it reads back");
        assert_eq!(report::json(&read), ended.text(), "{args:?}");
        let code = document["outcome"]["exit_code"].as_i64();
        assert_eq!(code, ended.code.map(i64::from), "{ended:?}");
        assert_eq!(
            document.get("error").is_some(),
            code != Some(0),
            "{ended:?}"
        );
    }
}

#[test]
fn a_comparison_is_as_its_schema_says_and_so_are_its_reports() {
    let (one, other, closed) = (echo(), echo(), closed_port().to_string());
    let short = ["-d", "40ms", "--warmup", "0", "--json"];
    for args in [
        &["bench", &one.tcp, &other.tcp, "--rounds", "6", "--control"][..],
        &[
            "bench", &one.tcp, &other.tcp, "--rounds", "1", "--label", "a",
        ],
        &["bench", &one.tcp, &closed, "--rounds", "2"],
        &[
            "bench",
            &one.tcp,
            &other.tcp,
            "--rounds",
            "6",
            "--fail-if",
            "rate<-99%,p50>+9999%",
        ],
    ] {
        let ended = run(&[args, &short].concat());
        let document: Value = serde_json::from_str(ended.text()).expect("one document");
        let schema = include_str!("../../../../docs/comparison.schema.json");
        assert_eq!(
            check_as(schema, &document),
            [""; 0],
            "{args:?} printed {document:#}"
        );
        for report in document["targets"].as_array().expect("reports") {
            assert_eq!(check(report), [""; 0], "{args:?} printed {report:#}");
        }
        let code = document["outcome"]["exit_code"].as_i64();
        assert_eq!(code, ended.code.map(i64::from), "{ended:?}");
    }
}

#[test]
fn a_comparison_ends_as_a_report_does() {
    let report = include_str!("../../../../docs/report.schema.json");
    let comparison = include_str!("../../../../docs/comparison.schema.json");
    let outcome =
        |schema| serde_json::from_str::<Value>(schema).unwrap()["properties"]["outcome"].take();
    assert_eq!(outcome(comparison), outcome(report));
}

#[test]
fn the_schema_knows_wrong_documents() {
    let ended = run(&["bench", &closed_port().to_string(), "--json"]);
    let right: Value = serde_json::from_str(ended.text()).expect("one document");
    for (key, value) in [
        ("schema", Value::from(1)),
        ("mode", Value::from("pong")),
        ("outcome", Value::from("passed")),
        ("rtt_p99_ns", Value::from(-1)),
        ("sent", Value::from(-1)),
        ("rtt_p50", Value::from(1)),
        ("error", Value::from("refused")),
    ] {
        let mut wrong = right.clone();
        wrong[key] = value;
        assert_eq!(check(&right), [""; 0]);
        assert!(!check(&wrong).is_empty(), "{key}");
    }
}

#[test]
fn a_run_that_is_stopped_says_so_wherever_it_is_shown() {
    let (server, scratch) = (echo(), Scratch::new("stopped"));
    let page = scratch.path("page.html").display().to_string();
    let bench = ["bench", &server.tcp, "-d", "1h", "--warmup", "0"];
    let ping = ["ping", &server.tcp, "-c", "1000000", "-i", "1ms"];
    for args in [
        [&bench[..], &["--report", &page]].concat(),
        [&bench[..], &["--json"]].concat(),
        [&ping[..], &["-q"]].concat(),
        [&ping[..], &["--json"]].concat(),
        [&ping[..], &["--jsonl"]].concat(),
    ] {
        let before = server.handle.stats().received_bytes;
        let client = start(&args);
        eventually(|| server.handle.stats().received_bytes - before >= 5_000);
        client.interrupt();
        let ended = client.end();
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{ended:?}"
        );
        let last = ended.text().lines().last().expect("a result");
        let is_document = args.iter().any(|arg| arg.starts_with("--json"));
        let json = last
            .strip_prefix("{\"event\"")
            .map_or(ended.text(), |_| last);
        match serde_json::from_str::<Value>(json) {
            Ok(document) => {
                let outcome = match document.get("report") {
                    Some(report) => &report["outcome"],
                    None => &document["outcome"],
                };
                assert_eq!(outcome["result"], "cut short", "{document:#}");
                assert_eq!(outcome["by"], "interrupt");
            }
            Err(_) => assert!(
                !is_document && last.starts_with("CUT SHORT: interrupted after "),
                "{last}"
            ),
        }
    }
    let page = std::fs::read_to_string(&page).expect("a page");
    let banner = page.find("<strong>CUT SHORT</strong>").expect("a banner");
    assert!(banner < page.find("<svg").expect("a picture"));
}

fn sample() -> Report {
    let mut report = Report {
        mode: Mode::Bench,
        load: Some(Load::Rate { per_s: 0.1 + 0.2 }),
        elapsed: Duration::from_nanos(2_500_000_001),
        jitter_ns: Some(7),
        counts: Counts {
            sent: 1000,
            received: 999,
            unique: 999,
            lost: 1,
            connections: 4,
            ..Counts::default()
        },
        errors: [(ErrorKind::NotFound, 3)].into(),
        fault: Some(Fault::new(ErrorKind::NotFound, "\u{e9}\"<&")),
        generator: Some(Generator {
            busiest_share: Some(1.0 / 3.0),
            ..Generator::default()
        }),
        seconds: vec![Second::default()],
        notes: vec!["a note".into()],
        ..Report::default()
    };
    report.others.of(Span::Service);
    for ns in (0..999).map(|i| 12_345 + i * i * 977) {
        report.rtt.record(Duration::from_nanos(ns));
    }
    report.took = Duration::from_millis(2_345);
    report
}

#[test]
fn what_is_written_reads_back_into_the_same_document_and_text() {
    let mut failed = sample();
    let thresholds = "p99>2ms,rate<3.3,loss>7%".parse().unwrap();
    failed.conclude(Some(&thresholds), Some(Why::Signal));
    let mut unknown = Report::default();
    unknown.conclude(Some(&thresholds), None);
    for report in [failed, unknown, Report::default()] {
        let text = report::json(&report);
        let read = report::read(&text).unwrap();
        assert_eq!(report::json(&read), text);
        assert_eq!(report::html(&read), report::html(&report));
        assert_eq!(report::text(&read, 80), report::text(&report, 80));
    }
}

#[test]
fn what_is_no_document_is_told() {
    let text = report::json(&sample());
    let other = text.replacen("\"schema\": 2", "\"schema\": 1", 1);
    let count = text.replacen("\"rtt_samples\": 999", "\"rtt_samples\": 998", 1);
    for (text, words) in [
        ("{", "no JSON"),
        ("{}", "no report of a run"),
        (&other, "schema is 1"),
        (&count, "rtt_histogram is damaged: it has 999 samples"),
        (
            &text.replace("HISTFA", "HASTFA"),
            "rtt_histogram is damaged",
        ),
    ] {
        let error = report::read(text).expect_err(words);
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }
}

#[test]
fn an_honest_stream_that_is_stopped_is_not_called_corrupt() {
    let server = echo();
    let ended = run(&["-f", "/dev/zero", "-w", "500ms", "--json", &server.tcp]);
    let document: Value = serde_json::from_str(ended.text()).expect("one document");
    let reasons = document["outcome"]["reasons"].as_array().expect("reasons");
    let kinds: Vec<_> = reasons.iter().map(|reason| &reason["kind"]).collect();
    assert_eq!(kinds, ["interrupted"], "{document:#}");
    assert_eq!((&document["truncated"], ended.code), (&0.into(), Some(1)));
}

#[test]
fn a_figure_that_is_not_known_is_null_and_numbers_have_six_digits() {
    let document: Value = serde_json::from_str(&report::json(&Report::default())).unwrap();
    for key in ["rtt_min_ns", "rtt_p50_ns", "rtt_p99_ns", "rtt_p99_9_ns"] {
        assert!(document.get(key).is_some_and(Value::is_null), "{key}");
    }
    let document: Value = serde_json::from_str(&report::json(&sample())).unwrap();
    assert_eq!(document["echoes_per_s"], 399.6);
    assert_eq!(document["loss_percent"], 0.1);
}
