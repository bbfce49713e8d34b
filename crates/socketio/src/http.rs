//! Responses to Engine.IO requests: payloads, errors, and compression.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use mynah_front::{Body, Held, Refusal};
use mynah_wire::engine::{self, HttpError};

/// What a polling request says about the form of its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PollRequest {
    /// The client is a script element. The response calls `___eio[j]`.
    pub(crate) jsonp: Option<u32>,
    pub(crate) encoding: Option<Encoding>,
}

impl PollRequest {
    pub(crate) fn new<B>(request: &Request<B>) -> Self {
        let query = engine::parse_query(request.uri().query().unwrap_or_default());
        Self {
            jsonp: query.jsonp(),
            encoding: Encoding::accepted(request.headers()),
        }
    }
}

/// A content coding (RFC 9110, section 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        let accepts = |name: &str| {
            accept.split(',').any(|item| {
                let mut parts = item.split(';').map(str::trim);
                let named = parts
                    .next()
                    .is_some_and(|coding| coding.eq_ignore_ascii_case(name));
                let weight = parts
                    .find_map(|part| part.strip_prefix("q="))
                    .and_then(|q| q.parse::<f32>().ok());
                named && weight != Some(0.0)
            })
        };
        match (accepts("gzip"), accepts("deflate")) {
            (true, _) => Some(Self::Gzip),
            (false, true) => Some(Self::Deflate),
            (false, false) => None,
        }
    }

    fn compress(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
            // "deflate" is the zlib format (RFC 9110, section 8.4.1.2).
            Self::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// Makes a response the last one on its HTTP connection.
fn last(mut response: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// Refuses a request because a limit is reached. The client may try again a little later.
fn over_limit(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut response = last(text(status, why));
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response with a payload, which is compressed if it has at least `threshold` bytes and the client accepts
/// an encoding. `held` counts it until it is written; `None` if that would exceed a limit.
pub(crate) fn payload(
    body: Vec<u8>,
    content_type: &'static str,
    encoding: Option<Encoding>,
    threshold: Option<usize>,
    mut held: Held,
) -> Option<Response<Body>> {
    let encoding = encoding.filter(|_| threshold.is_some_and(|bytes| body.len() >= bytes));
    let compressed = encoding.and_then(|encoding| Some((encoding, encoding.compress(&body).ok()?)));
    let (encoding, body) = match compressed {
        Some((encoding, compressed)) => (Some(encoding), compressed),
        None => (None, body),
    };
    let counts = !Held::is_free(body.len());
    if !held.resize(body.len()) {
        return None;
    }
    let mut response = with_body(StatusCode::OK, content_type, body);
    if counts {
        response.body_mut().hold(held);
    }
    if let Some(encoding) = encoding {
        let headers = response.headers_mut();
        let coding = HeaderValue::from_static(encoding.name());
        headers.insert(header::CONTENT_ENCODING, coding);
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    Some(response)
}

/// The response to a POST.
pub(crate) fn ok() -> Response<Body> {
    with_body(StatusCode::OK, "text/html", Bytes::from_static(b"ok"))
}

/// An error in the form that Engine.IO clients know.
pub(crate) fn refuse(error: HttpError) -> Response<Body> {
    with_body(StatusCode::BAD_REQUEST, "application/json", error.body())
}

/// The response to a refused WebSocket upgrade.
pub(crate) fn refuse_upgrade(error: HttpError) -> Response<Body> {
    last(with_body(StatusCode::BAD_REQUEST, "text/html", error.message()))
}

/// A response with plain text.
pub(crate) fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    with_body(status, "text/plain; charset=UTF-8", text)
}

/// The server shuts down.
pub(crate) fn unavailable() -> Response<Body> {
    last(text(
        StatusCode::SERVICE_UNAVAILABLE,
        "The server is shutting down; reconnect.\n",
    ))
}

/// Pages of this origin are not allowed. Engine.IO clients know the code in the body.
pub(crate) fn refuse_origin() -> Response<Body> {
    last(with_body(
        StatusCode::FORBIDDEN,
        "application/json",
        r#"{"code":4,"message":"Pages of this origin may not connect: it is not in the server's list of allowed origins."}"#,
    ))
}

/// There are too many sessions, from this address or in total.
pub(crate) fn too_many(refusal: Refusal) -> Response<Body> {
    match refusal {
        Refusal::Address => over_limit(
            StatusCode::TOO_MANY_REQUESTS,
            "Your address has too many connections; close some of them.\n",
        ),
        _ => over_limit(
            StatusCode::SERVICE_UNAVAILABLE,
            "The server has reached its limit of connections; try again later.\n",
        ),
    }
}

/// The limit of buffered bytes is reached, for this address or in total.
pub(crate) fn too_much_held() -> Response<Body> {
    over_limit(
        StatusCode::SERVICE_UNAVAILABLE,
        "The memory limit for your address, or for all connections, is reached; try again later.\n",
    )
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

/// Copies the headers into memory of their own. Those of a request share hyper's read buffer of 8 KiB, and
/// keep it alive.
pub(crate) fn own(headers: &HeaderMap) -> HeaderMap {
    let own =
        |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone());
    let mut owned = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        // A name may occur more than once.
        owned.append(name, own(value));
    }
    owned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &'static str) -> Option<Encoding> {
        let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
        Encoding::accepted(&headers)
    }

    #[test]
    fn content_codings_are_negotiated() {
        assert_eq!(accepted("gzip, deflate"), Some(Encoding::Gzip));
        assert_eq!(accepted("deflate;q=0.5, br"), Some(Encoding::Deflate));
        assert_eq!(accepted("gzip;q=0"), None);
        for none in [
            "identity",
            "",
            ",",
            ";",
            "gzip ;q=0.0, deflate; q=0",
            "gzipped",
            "g zip",
        ] {
            assert_eq!(accepted(none), None, "{none}");
        }
    }
}
