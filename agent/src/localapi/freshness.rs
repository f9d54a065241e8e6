//! Answers that show every change that anybody was answered before they were asked for (linearizable reads). Where the
//! managers cannot be asked, what this node last knew is answered, and the answer says so.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use overlay::api::{ApiError, ErrorCode, STALE};
use overlay::intent::Intent;

use super::Context;
use crate::manager::Standing;
use crate::state::MemberHandle;

/// How long a request waits for intent that a manager has to be seen here.
const SEEN_HERE: Duration = Duration::from_secs(5);

/// How the managers stand, if they could be asked; with every request that looks at intent.
#[derive(Clone)]
pub(super) struct Managers(pub(super) Option<Standing>);

/// Brings this node's copy of intent up to date before a request that looks at it.
pub(super) async fn ensure(State(context): State<Context>, mut request: Request, next: Next) -> Response {
    let (standing, cause) = match context.member() {
        Ok(member) if *request.method() == Method::GET => match catch_up(&member).await {
            Ok(standing) => (Some(standing), None),
            Err(ApiError { error, .. }) => (None, Some(error)),
        },
        // Changes are not made by what a node knows; whoever is no member has nothing to look at.
        _ => (None, None),
    };
    request.extensions_mut().insert(Managers(standing));
    let mut response = next.run(request).await;
    if let Some(cause) = cause {
        // A line break would be the only byte that no header can have.
        let value = HeaderValue::from_bytes(cause.replace(char::is_control, " ").as_bytes());
        let value = value.unwrap_or(HeaderValue::from_static("the managers cannot be asked"));
        response.headers_mut().insert(HeaderName::from_static(STALE), value);
    }
    response
}

/// Brings this node's copy of intent up to date: before a change looks up what it names, too.
///
/// # Errors
/// The managers cannot be asked, or their latest changes do not arrive here.
pub(super) async fn catch_up(member: &MemberHandle) -> Result<Standing, ApiError> {
    let standing = member.log.read().await?;
    if member.intent().version < standing.version {
        let error = "the managers' latest changes have not arrived here yet";
        return Err(ApiError::new(ErrorCode::Unavailable, error)
            .hint("`overlayctl status` shows whether a manager is reached; try again"));
    }
    Ok(standing)
}

/// What `find` finds in intent, after every change that anybody was answered before.
///
/// # Errors
/// It finds nothing; as [`catch_up`].
pub(super) async fn find<T, E: Into<ApiError>>(
    member: &MemberHandle,
    find: impl Fn(&Intent) -> Result<T, E>,
) -> Result<T, ApiError> {
    catch_up(member).await?;
    find(&member.intent()).map_err(Into::into)
}

/// What it finds here; the managers are asked only where it finds nothing.
///
/// # Errors
/// As [`find`].
pub(super) async fn find_here<T, E: Into<ApiError>>(
    member: &MemberHandle,
    find: impl Fn(&Intent) -> Result<T, E>,
) -> Result<T, ApiError> {
    if let Ok(found) = find(&member.intent()) {
        return Ok(found);
    }
    self::find(member, find).await
}

/// Waits until the intent here is as asked for, or has had its time.
pub(super) async fn seen(member: &MemberHandle, is: impl Fn(&Intent) -> bool) {
    let mut watch = member.log.watch();
    // Either way the caller looks at what is there now; a manager that is away just costs the wait.
    drop(tokio::time::timeout(SEEN_HERE, watch.wait_for(|intent: &Arc<Intent>| is(intent))).await);
}
