//! The head of an HTTP request, of which only the method and the path matter here.

use httparse::{EMPTY_HEADER, Error, Request, Status};

/// The most bytes of a head; whoever scrapes sends a few hundred.
pub const MAX_HEAD: usize = 8 << 10;

/// The most fields of a head.
const MAX_FIELDS: usize = 64;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/metrics`
    Metrics,
    /// `/livez`: whether all workers work.
    Live,
    /// `/readyz`: whether connections are accepted.
    Ready,
}

/// Why there is no page: the status of the answer, with fields of its own, and what it says.
pub type Refusal = (&'static str, &'static str);

const MALFORMED: Refusal = ("400 Bad Request", "this is no HTTP/1.1\n");
const NOT_FOUND: Refusal = ("404 Not Found", "there are /metrics, /livez and /readyz\n");
const NOT_ALLOWED: Refusal = ("405 Method Not Allowed\r\nAllow: GET", "use GET\n");
const TOO_LARGE: Refusal = (
    "431 Request Header Fields Too Large",
    "the head may have 8 KiB and 64 fields\n",
);

/// A page, or why there is none.
pub type Asked = Result<Page, Refusal>;

/// What the request asks for that begins with `bytes`; `None` as long as its head is not complete.
pub fn asked(bytes: &[u8]) -> Option<Asked> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(Status::Complete(len)) if len <= MAX_HEAD => {}
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => return None,
        Ok(_) | Err(Error::TooManyHeaders) => return Some(Err(TOO_LARGE)),
        Err(_) => return Some(Err(MALFORMED)),
    }
    let page = match path(request.path.unwrap_or_default()) {
        "/metrics" => Ok(Page::Metrics),
        "/livez" => Ok(Page::Live),
        "/readyz" => Ok(Page::Ready),
        _ => Err(NOT_FOUND),
    };
    Some(match request.method {
        Some("GET") => page,
        // It asks for no body.
        Some("HEAD") => page
            .and(Err(NOT_ALLOWED))
            .map_err(|(status, _)| (status, "")),
        _ => page.and(Err(NOT_ALLOWED)),
    })
}

/// The path of a target, which may have a query and, as proxies get it, a scheme and a host.
fn path(target: &str) -> &str {
    const SCHEME: &str = "http://";
    let target = target.split_once('?').map_or(target, |(path, _)| path);
    let scheme = target.get(..SCHEME.len());
    match scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME)) {
        true => target[SCHEME.len()..]
            .find('/')
            .map_or("/", |at| &target[SCHEME.len() + at..]),
        false => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(head: &str) -> Result<Page, Refusal> {
        asked(head.as_bytes()).expect("the head is complete")
    }

    #[test]
    fn a_page_is_found_by_its_path_in_every_form() {
        for target in [
            "/metrics",
            "/metrics?name=x",
            "http://127.0.0.1:9/metrics",
            "HTTP://h/metrics?",
        ] {
            for version in ["1.0", "1.1"] {
                let head = format!("GET {target} HTTP/{version}\r\n\r\n");
                assert_eq!(page(&head), Ok(Page::Metrics), "{head}");
            }
        }
        for target in [
            "/",
            "/metrics/",
            "//metrics",
            "/METRICS",
            "*",
            "http://h",
            "http://h?/metrics",
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert_eq!(page(&head), Err(NOT_FOUND), "{head}");
        }
    }

    #[test]
    fn a_page_can_be_had_with_get_alone() {
        for method in ["POST", "PUT", "get"] {
            let head = format!("{method} /readyz HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(page(&head), Err(NOT_ALLOWED), "{head}");
        }
        for (target, (status, _)) in [("/readyz", NOT_ALLOWED), ("/", NOT_FOUND)] {
            let head = format!("HEAD {target} HTTP/1.1\r\n\r\n");
            assert_eq!(page(&head), Err((status, "")), "{head}: no body");
        }
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_in_fields() {
        let head = |len: usize| {
            let start = "GET /livez HTTP/1.1\r\nX: ";
            let fill = "x".repeat(len - start.len() - 4);
            format!("{start}{fill}\r\n\r\n")
        };
        assert_eq!(page(&head(MAX_HEAD)), Ok(Page::Live));
        assert_eq!(page(&head(MAX_HEAD + 1)), Err(TOO_LARGE));
        assert_eq!(asked(&head(MAX_HEAD).as_bytes()[..MAX_HEAD - 1]), None);
        let fields = "a: b\r\n".repeat(MAX_FIELDS + 1);
        let head = format!("GET /livez HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(page(&head), Err(TOO_LARGE));
        let endless = vec![b'x'; MAX_HEAD];
        assert_eq!(asked(&endless).unwrap(), Err(TOO_LARGE));
    }

    #[test]
    fn what_is_no_http_is_told_so_at_once() {
        for head in [
            "GET /metrics\r\n\r\n",
            "GET /metrics HTTP/2.0\r\n\r\n",
            "\x16\x03\x01",
            "a\0",
        ] {
            assert_eq!(page(head), Err(MALFORMED), "{head:?}");
        }
    }
}
