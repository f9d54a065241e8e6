//! What managers alone can tell: what nodes join with, and the backup.

use std::net::SocketAddr;

use axum::extract::State;
use overlay::api::{ApiError, Backup, ErrorCode, JoinToken, JoinTokenQuery};
use overlay::intent::{Command, Intent};
use overlay::model::Role;

use super::{Answer, Body, Context, Json, parse};
use crate::identity::{Authority, Secret, Token, TokenError};
use crate::manager::{self, Unanswered};
use crate::refusal::internal;
use crate::state::MemberHandle;

pub(super) async fn join_token(State(context): State<Context>, body: Body) -> Answer<JoinToken> {
    let JoinTokenQuery { role, rotate } = parse(&body)?;
    let member = context.member()?;
    // Whoever cannot tell changes nothing.
    member.role.secrets().map_err(|error| not_told(&member, &error))?;
    if rotate {
        let secret = Secret::random().to_string().into();
        member.log.propose(Command::RotateToken { manager: role == Role::Manager, secret }).await?;
    }
    Ok(Json(token(&context, &member, role).await?))
}

/// The token as it is now.
pub(super) async fn token(
    context: &Context,
    member: &MemberHandle,
    role: Role,
) -> Result<JoinToken, ApiError> {
    // So that what another manager changed is known here.
    member.log.read().await?;
    let secrets = member.role.secrets().map_err(|error| not_told(member, &error))?;
    let secret = match role {
        Role::Manager => &secrets.manager_secret,
        Role::Worker => &secrets.worker_secret,
    };
    let secret = secret.0.parse().map_err(|error: TokenError| internal(error))?;
    let authority = secrets.ca.clone().ok_or_else(|| internal(anyhow::anyhow!("there is no CA")))?;
    let token = Token { ca: Authority::from(authority).digest()?, secret }.to_string();
    Ok(JoinToken { role, token, manager: own_addr(&member.intent(), context, member)? })
}

fn own_addr(intent: &Intent, context: &Context, member: &MemberHandle) -> Result<SocketAddr, ApiError> {
    let node = intent.nodes.get(&member.node);
    let addr = node.map(|node| SocketAddr::new(node.addr, context.config.api_port));
    addr.ok_or_else(|| internal(anyhow::anyhow!("the intent does not name this node")))
}

pub(super) async fn backup(State(context): State<Context>) -> Answer<Backup> {
    let member = context.member()?;
    member.role.secrets().map_err(|error| not_told(&member, &error))?;
    // A manager that lost the others backs up what it has: it may be all that there is.
    if let Err(error) = member.log.read().await {
        tracing::warn!(%error, "backing up what this manager last knew");
    }
    Ok(Json(manager::backup(&member.role).await.map_err(|error| not_told(&member, &error))?))
}

/// Names those who can tell.
fn not_told(member: &MemberHandle, error: &Unanswered) -> ApiError {
    ApiError::new(ErrorCode::Conflict, error.to_string())
        .hint(format!("run it on a manager: {}", member.intent().managers_in_words()))
}
