//! Who asked for what: a log line for each request of the local API, by the kernel's word for who is at the socket's other
//! end (`SO_PEERCRED`, unix(7)). What only looks is logged at DEBUG.

use axum::body::{Body, to_bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use nix::unistd::{Uid, User};
use overlay::api::{ApiError, ErrorCode};
use serde_json::Value;
use tokio::net::UnixListener;
use tracing::{debug, info};

use super::Refusal;

/// The largest body that is read, in bytes.
const BODY_LIMIT: usize = 1 << 20;
/// The same of a request that carries a backup.
const BACKUP_LIMIT: usize = 64 << 20;
/// How much of a request's body is logged, in bytes.
const SHOWN: usize = 512;
/// What stands in the log for a secret.
const HIDDEN: &str = "…";

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    /// The user's name, or its number if it has none here.
    user: String,
    /// The process; 0 for one that this process can't see, in another PID namespace.
    pid: i32,
    /// Its command, as far as it was still there.
    command: String,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let Ok(peer) = stream.io().peer_cred() else { return Self::default() };
        let pid = peer.pid().unwrap_or_default();
        let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Self { user: name(peer.uid()), pid, command: command.trim().to_owned() }
    }
}

fn name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// Logs a request once it is answered.
pub(super) async fn log(ConnectInfo(caller): ConnectInfo<Caller>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (parts, body) = request.into_parts();
    let limit = if path == "/v1/cluster/restore" { BACKUP_LIMIT } else { BODY_LIMIT };
    let body = match to_bytes(body, limit).await {
        Ok(body) => body,
        Err(error) => {
            let text = format!("the request's body cannot be read: {error}");
            let error = ApiError::new(ErrorCode::Invalid, text)
                .hint(format!("no request of overlayctl is near {limit} bytes"));
            record(&caller, &method, &path, "unreadable", StatusCode::BAD_REQUEST);
            return Refusal(error).into_response();
        }
    };
    let shown = shown(&body);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    record(&caller, &method, &path, &shown, response.status());
    response
}

fn record(caller: &Caller, method: &Method, path: &str, body: &str, status: StatusCode) {
    let Caller { user, pid, command } = caller;
    let status = status.as_u16();
    if only_looks(method, path) {
        debug!(%user, pid, %command, %method, path, status, "asked");
    } else {
        info!(%user, pid, %command, %method, path, %body, status, "asked");
    }
}

/// Whether a request changes nothing and takes no secrets away, as a backup does. Some take a body, and so are no GET.
fn only_looks(method: &Method, path: &str) -> bool {
    let looks = *method == Method::GET || matches!(path, "/v1/flows" | "/v1/confirm");
    looks && path != "/v1/cluster/backup"
}

/// A request's body as it is logged: shortened, without its secrets.
fn shown(body: &[u8]) -> String {
    let mut text = match serde_json::from_slice(body) {
        Ok(mut value) => {
            hide(&mut value);
            value.to_string()
        }
        Err(_) if body.is_empty() => String::new(),
        Err(_) => "no JSON".to_owned(),
    };
    if text.len() > SHOWN {
        text.truncate(text.floor_char_boundary(SHOWN));
        text.push_str(HIDDEN);
    }
    text
}

/// Takes join tokens and backups out.
fn hide(value: &mut Value) {
    for secret in ["token", "backup"] {
        if let Some(secret) = value.get_mut(secret) {
            *secret = HIDDEN.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let body = br#"{"token":"OVL1-aa-bb","manager":"10.0.0.1:2377"}"#;
        assert_eq!(shown(body), r#"{"manager":"10.0.0.1:2377","token":"…"}"#);
    }

    #[test]
    fn who_takes_secrets_away_is_told() {
        assert!(only_looks(&Method::GET, "/v1/nodes"));
        assert!(!only_looks(&Method::GET, "/v1/cluster/backup"));
    }

    #[test]
    fn long_bodies_are_cut_between_characters() {
        let body = serde_json::to_vec(&"ü".repeat(1000)).unwrap();
        let shown = shown(&body);
        assert!(shown.len() <= SHOWN + HIDDEN.len() && shown.ends_with(HIDDEN), "{shown}");
    }

    #[test]
    fn what_is_no_json_is_not_quoted() {
        assert_eq!(shown(b"\xff secret"), "no JSON");
        assert_eq!(shown(b""), "");
    }
}
