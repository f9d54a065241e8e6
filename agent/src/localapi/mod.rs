//! The local API: HTTP with JSON bodies on a Unix socket, what `overlayctl` and plugins talk to. The requests and
//! answers are [`overlay::api`]'s; this module translates them and decides nothing.

mod audit;
mod cluster;
mod endpoints;
mod flows;
mod networks;
mod nodes;
mod ports;
mod services;
mod stats;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes as Body;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use nix::unistd::{Gid, Group};
use overlay::api::{ApiError, ErrorCode};
use overlay::config::Config;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};

use crate::eventloop::{Reply, Request};
use crate::kernel::bpf::Observer;
use crate::refusal::not_member;
use crate::state::{MemberHandle, Shared};
use crate::store::Store;

/// What every handler works with.
#[derive(Clone)]
struct Context {
    config: Arc<Config>,
    store: Store,
    shared: watch::Receiver<Arc<Shared>>,
    requests: mpsc::Sender<Request>,
    observer: Arc<Observer>,
}

/// An answer: a JSON value, or an error.
type Answer<T> = Result<Json<T>, Refusal>;

/// A value that is answered as JSON.
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        respond(StatusCode::OK, &self.0)
    }
}

/// An [`ApiError`] as a response.
struct Refusal(ApiError);

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        respond(status, &self.0)
    }
}

fn respond<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Reads a request's body; an empty one stands for `{}`.
fn parse<T: DeserializeOwned>(body: &Body) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}".as_slice() } else { body.as_ref() };
    serde_json::from_slice(body).map_err(|error| {
        ApiError::new(ErrorCode::Invalid, format!("the request's body is not what this path takes: {error}"))
            .hint(
                "the bodies are described in src/api; overlayctl of the agent's own version sends them right",
            )
    })
}

impl Context {
    /// Sends the event loop a request and waits for its answer.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let stopping = || ApiError::new(ErrorCode::Unavailable, "the agent is stopping");
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared.borrow())
    }

    fn member(&self) -> Result<MemberHandle, ApiError> {
        self.shared().member.clone().ok_or_else(not_member)
    }
}

/// A server of the local API.
pub struct LocalApi {
    listener: UnixListener,
    socket: PathBuf,
}

impl LocalApi {
    /// Binds the socket, for root and the members of `group` alone (mode 0660); the socket of an agent that is gone is
    /// replaced.
    ///
    /// # Errors
    /// Another agent answers on it, the path can't be used, or there is no such group.
    pub fn bind(socket: &Path, group: Option<&str>) -> anyhow::Result<Self> {
        let group = group.map(group_id).transpose()?;
        if let Some(folder) = socket.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        if std::os::unix::net::UnixStream::connect(socket).is_ok() {
            return Err(crate::report::advice(
                format!("another overlayd answers on {}", socket.display()),
                "stop it first, or give this one a socket, a state directory and ports of its own",
            ));
        }
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", socket.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(socket).with_context(|| format!("cannot bind {}", socket.display()))?;
        std::os::unix::fs::chown(socket, None, group.map(Gid::as_raw))
            .with_context(|| format!("cannot set the group of {}", socket.display()))?;
        std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o660))
            .with_context(|| format!("cannot set the mode of {}", socket.display()))?;
        Ok(Self { listener, socket: socket.to_owned() })
    }

    /// Serves until `stop`.
    pub async fn serve(
        self,
        config: Arc<Config>,
        store: Store,
        shared: watch::Receiver<Arc<Shared>>,
        requests: mpsc::Sender<Request>,
        observer: Arc<Observer>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let router = router().with_state(Context { config, store, shared, requests, observer });
        axum::serve(self.listener, router.into_make_service_with_connect_info::<audit::Caller>())
            .with_graceful_shutdown(stop)
            .await
            .context("the local API failed")?;
        std::fs::remove_file(&self.socket).with_context(|| format!("cannot remove {}", self.socket.display()))
    }
}

fn router() -> Router<Context> {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/cluster/init", post(cluster::init))
        .route("/v1/cluster/join", post(cluster::join))
        .route("/v1/cluster/leave", post(cluster::leave))
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/nodes/{reference}", get(nodes::inspect).post(nodes::update).delete(nodes::remove))
        .route("/v1/nodes/{reference}/role", post(nodes::set_role))
        .route("/v1/networks", get(networks::list).post(networks::create))
        .route("/v1/networks/{reference}", get(networks::inspect).delete(networks::remove))
        .route("/v1/endpoints", get(endpoints::list).post(endpoints::attach))
        .route("/v1/endpoints/{reference}", get(endpoints::inspect).delete(endpoints::detach))
        .route("/v1/services", get(services::list).post(services::create))
        .route(
            "/v1/services/{reference}",
            get(services::inspect).post(services::update).delete(services::remove),
        )
        .route("/v1/backends/{reference}", post(services::drain))
        .route("/v1/confirm", post(services::confirm))
        .route("/v1/stats", get(stats::all))
        .route("/v1/stats/{reference}", get(stats::one))
        .route("/v1/flows", post(flows::list))
        .route("/v1/flows/flush", post(flows::flush))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_path)
        .layer(from_fn(audit::log))
}

fn group_id(name: &str) -> anyhow::Result<Gid> {
    let group = Group::from_name(name).with_context(|| format!("cannot look up the group {name:?}"))?;
    let no_such = || {
        crate::report::advice(
            format!("there is no group {name:?}, which socket_group names"),
            format!(
                "make it with `groupadd --system {name}`, or leave socket_group out: only root may ask then"
            ),
        )
    };
    Ok(group.ok_or_else(no_such)?.gid)
}

async fn no_such_path(method: axum::http::Method, uri: Uri) -> Refusal {
    let error =
        ApiError::new(ErrorCode::NotFound, format!("the agent has nothing at {method} {}", uri.path()));
    Refusal(error.hint("the paths are listed in src/api; overlayctl of the agent's own version knows them"))
}
