//! Requests to the agent: HTTP/1.0 over its Unix socket, one connection each, the answer read to its end.
//!
//! A whole HTTP client would bring an asynchronous runtime with it; one request after another needs none.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay::api::{API_VERSION, ApiError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The longest answer, in bytes: above any that the agent gives, and a stop for what is no agent.
const MAX_ANSWER: u64 = 64 << 20;

/// How long the agent may be silent. Joining a cluster and attaching an endpoint take it some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The agent at one socket.
pub(crate) struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// The agent at `socket`; connects with the first request.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// With another limit on the agent's silence, which is at least a millisecond.
    pub(crate) fn patience(&self, patience: Duration) -> Self {
        Self { socket: self.socket.clone(), patience: patience.max(Duration::from_millis(1)) }
    }

    /// Asks for what is at `path`, a list of segments below the API's version.
    ///
    /// # Errors
    /// Everything that [`Error`] says of the connection and the answer, and the agent's refusal.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Error> {
        self.request("GET", path, &[])
    }

    /// Sends `body` to `path`. Errors as [`Client::get`].
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, Error> {
        self.request("POST", path, &serde_json::to_vec(body).map_err(io::Error::from)?)
    }

    /// Removes what is at `path`. Errors as [`Client::get`].
    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Error> {
        self.request("DELETE", path, &[])
    }

    /// Removes what is at `path`, as `body` says. Errors as [`Client::get`].
    pub(crate) fn delete_with<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.request("DELETE", path, &serde_json::to_vec(body).map_err(io::Error::from)?)
    }

    fn request<T: DeserializeOwned>(&self, method: &str, path: &[&str], body: &[u8]) -> Result<T, Error> {
        let answer = self.exchange(&encode(method, path, body))?;
        let (status, body) = decode(&answer)?;
        if !(200..300).contains(&status) {
            return Err(serde_json::from_slice::<ApiError>(body).map_or_else(
                |_| Error::NotUnderstood {
                    what: format!("HTTP status {status} for {method} {}", target(path)),
                },
                Error::Api,
            ));
        }
        serde_json::from_slice(body).map_err(|error| Error::NotUnderstood { what: error.to_string() })
    }

    fn exchange(&self, request: &[u8]) -> Result<Vec<u8>, Error> {
        let mut answer = Vec::new();
        let read = UnixStream::connect(&self.socket).and_then(|mut stream| {
            stream.set_read_timeout(Some(self.patience))?;
            stream.set_write_timeout(Some(self.patience))?;
            stream.write_all(request)?;
            stream.take(MAX_ANSWER + 1).read_to_end(&mut answer)
        });
        match read {
            Ok(length) if length as u64 > MAX_ANSWER => Err(Error::TooLong { limit: MAX_ANSWER }),
            Ok(_) => Ok(answer),
            Err(source) => Err(self.failure(source)),
        }
    }

    fn failure(&self, source: io::Error) -> Error {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Error::NotRunning { socket, source }
            }
            io::ErrorKind::PermissionDenied => Error::Forbidden { socket },
            // A socket's timeout shows as EAGAIN (socket(7), SO_RCVTIMEO).
            io::ErrorKind::WouldBlock => Error::Silent { limit: self.patience },
            _ => Error::Connection { socket, source },
        }
    }
}

fn encode(method: &str, path: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{method} {} HTTP/1.0\r\nHost: overlayd\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        target(path),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The request target: each segment percent-encoded but for what RFC 3986, section 2.3, leaves as it is.
fn target(path: &[&str]) -> String {
    let mut target = format!("/{API_VERSION}");
    for segment in path {
        target.push('/');
        for byte in segment.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    target.push(byte.into());
                }
                _ => target.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    target
}

/// The status and the body of an answer that was read to its end.
fn decode(answer: &[u8]) -> Result<(u16, &[u8]), Error> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let parsed =
        head.parse(answer).map_err(|error| Error::NotUnderstood { what: format!("no HTTP: {error}") })?;
    let cut_off = Error::CutOff { received: answer.len() };
    let (httparse::Status::Complete(length), Some(status)) = (parsed, head.code) else { return Err(cut_off) };
    let body = answer.get(length..).unwrap_or_default();
    let promised = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    if promised.is_some_and(|promised| body.len() < promised) { Err(cut_off) } else { Ok((status, body)) }
}

#[cfg(test)]
pub(crate) mod tests;
