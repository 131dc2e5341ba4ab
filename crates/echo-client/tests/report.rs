//! The JSON documents of `ping` and `bench` against docs/report.schema.json.

mod common;

use common::{closed_port, echo, faulty, run};
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
            "type" => check(
                has_type(document, value.as_str().expect("one type")),
                "has the wrong type",
            ),
            "const" => check(document == value, "is not the constant"),
            "enum" => check(
                value.as_array().expect("a list").contains(document),
                "is not listed",
            ),
            "minimum" => check(number(document) >= number(value), "is too small"),
            "maximum" => check(number(document) <= number(value), "is too large"),
            "required" => {
                for key in value.as_array().expect("a list") {
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
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        unknown => panic!("{unknown} is no type"),
    }
}

/// What is wrong with a document.
fn check(document: &Value) -> Vec<String> {
    let schema = include_str!("../../../docs/report.schema.json");
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
        &["ping", &closed, "-c", "1"],
    ] {
        let ended = run(&[args, &["--json"]].concat());
        let document: Value = serde_json::from_str(ended.text()).expect("one document");
        assert_eq!(check(&document), [""; 0], "{args:?} printed {document:#}");
    }
}

#[test]
fn the_schema_knows_wrong_documents() {
    let ended = run(&["bench", &closed_port().to_string(), "--json"]);
    let right: Value = serde_json::from_str(ended.text()).expect("one document");
    for (key, value) in [
        ("schema", Value::from(2)),
        ("mode", Value::from("send")),
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
