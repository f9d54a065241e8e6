//! Requests to a node's manager API.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use overlay::model::NodeId;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Exclusion;
use super::wire::{MAX_ANSWER, REQUEST_TIMEOUT, UNKNOWN_NODE};
use crate::identity::{manager_name, node_of};

/// How long it may take to connect, and to agree on TLS then: a host that has stopped still takes connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There is no connection: the request was not sent.
    #[error("{0}")]
    Connect(String),
    /// The one who answered shows a certificate that is not trusted: the request was not sent.
    #[error("{0}")]
    Untrusted(rustls::Error),
    /// This node is not let in: the request was not looked at.
    #[error("{0}")]
    Excluded(Exclusion),
    /// It was sent, and may have taken effect.
    #[error("{0}")]
    Lost(String),
    /// The answer is no.
    #[error("{status}: {cause}")]
    Status {
        /// Its status.
        status: StatusCode,
        /// Its text.
        cause: String,
    },
}

impl ClientError {
    fn lost(error: impl std::fmt::Display) -> Self {
        Self::Lost(format!("the connection broke: {error}"))
    }
}

/// Posts a value to a manager and reads one, both postcard, on a connection of its own.
pub(super) async fn post<Q: Serialize, A: DeserializeOwned>(
    addr: SocketAddr,
    tls: &Arc<ClientConfig>,
    path: &str,
    query: &Q,
) -> Result<A, ClientError> {
    Connection::open(addr, tls, manager_name()).await?.post(path, query).await
}

/// Gets an answer of a manager whose body the caller reads, at its own pace.
pub(super) async fn get(
    addr: SocketAddr,
    tls: &Arc<ClientConfig>,
    path: &str,
) -> Result<Incoming, ClientError> {
    let mut connection = Connection::open(addr, tls, manager_name()).await?;
    let response = timeout(REQUEST_TIMEOUT, connection.send(Method::GET, path, Bytes::new())).await;
    Ok(response.map_err(|_| ClientError::Lost("no answer".to_owned()))??.into_body())
}

/// A connection for one request after the other. After an error it is of no more use.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    node: Option<NodeId>,
    tls: Arc<ClientConfig>,
}

impl Connection {
    /// To whoever has that name in its certificate.
    pub(super) async fn open(
        addr: SocketAddr,
        tls: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, ClientError> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await;
        let stream = stream
            .map_err(|_| ClientError::Connect(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())))?
            .map_err(|error| ClientError::Connect(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| ClientError::Connect(error.to_string()))?;
        let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        let stream = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| ClientError::Connect("the TLS handshake does not come to an end".to_owned()))?
            .map_err(|error| handshake_failed(&error))?;
        let certificates = stream.get_ref().1.peer_certificates();
        let node = certificates.and_then(|chain| chain.first()).and_then(node_of);
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::lost)?;
        // Ends with the sender and the answer's body; an error in it reaches whoever reads that.
        tokio::spawn(connection);
        Ok(Self { sender, node, tls: Arc::clone(tls) })
    }

    /// The node that answers, as its certificate says.
    pub(super) const fn node(&self) -> Option<NodeId> {
        self.node
    }

    /// Whether the other end has not hung up, as far as is known, and it was opened with these settings: what was shown
    /// then may be worth less by now.
    pub(super) fn serves(&self, tls: &Arc<ClientConfig>) -> bool {
        !self.sender.is_closed() && Arc::ptr_eq(&self.tls, tls)
    }

    /// Posts a value and reads one, both postcard.
    pub(super) async fn post<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &Q,
    ) -> Result<A, ClientError> {
        let body = postcard::to_stdvec(query).map_err(|error| ClientError::Connect(error.to_string()))?;
        let exchange = async {
            let response = self.send(Method::POST, path, body.into()).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok(body.map_err(ClientError::lost)?.to_bytes())
        };
        let answer = timeout(REQUEST_TIMEOUT, exchange).await.map_err(|_| {
            ClientError::Lost(format!(
                "no answer within {} s; the change may yet be made",
                REQUEST_TIMEOUT.as_secs()
            ))
        })??;
        postcard::from_bytes(&answer)
            .map_err(|error| ClientError::Lost(format!("the answer makes no sense: {error}")))
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, crate::identity::SERVER_NAME)
            .body(Full::new(body))
            .map_err(|error| ClientError::Connect(error.to_string()))?;
        self.sender.ready().await.map_err(|error| ClientError::Connect(error.to_string()))?;
        let response = self.sender.send_request(request).await.map_err(no_answer)?;
        let status = response.status();
        match status {
            StatusCode::OK => return Ok(response),
            UNKNOWN_NODE => return Err(ClientError::Excluded(Exclusion::Unknown)),
            _ => {}
        }
        let cause =
            Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(ClientError::lost)?;
        let cause = String::from_utf8_lossy(&cause.to_bytes()).trim().to_owned();
        Err(ClientError::Status { status, cause })
    }
}

fn no_answer(error: hyper::Error) -> ClientError {
    if let Some(excluded) = excluded_by(&error) {
        ClientError::Excluded(excluded)
    } else if error.is_canceled() {
        ClientError::Connect(error.to_string())
    } else {
        ClientError::lost(error)
    }
}

/// Whether the other end knows this node's certificate for a removed node's, or for one that has ended. In TLS 1.3, a client
/// hears of that only after its own handshake, in place of the first answer.
fn excluded_by(error: &hyper::Error) -> Option<Exclusion> {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let tls = io.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateRevoked)) => Some(Exclusion::Removed),
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)) => Some(Exclusion::Ended),
        _ => None,
    }
}

fn handshake_failed(error: &std::io::Error) -> ClientError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error @ rustls::Error::InvalidCertificate(_)) => ClientError::Untrusted(error.clone()),
        _ => ClientError::Connect(format!("TLS: {error}")),
    }
}
