//! `overlayctl cluster …`

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use overlay::api::{
    Backup, ClusterInit, ClusterInitialized, ClusterJoin, ClusterJoined, ClusterLeave, ClusterLeft,
    ClusterRestore, JoinToken, JoinTokenQuery, Rotation,
};

use crate::args::{BackupArgs, InitArgs, JoinArgs, JoinTokenArgs, LeaveArgs, RestoreArgs, RotateArgs};
use crate::client::Client;
use crate::error::Error;
use crate::render;

/// How often it is asked how far a rotation is.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) fn init(client: &Client, args: &InitArgs, out: &mut dyn Write) -> Result<(), Error> {
    let request = ClusterInit {
        advertise_addr: args.advertise_addr,
        cert_lifetime: args.cert_lifetime,
        force_new_cluster: args.force_new_cluster,
    };
    let cluster: ClusterInitialized = client.post(&["cluster", "init"], &request)?;
    let text =
        if args.quiet { format!("{}\n", cluster.join_token) } else { render::cluster_initialized(&cluster) };
    Ok(out.write_all(text.as_bytes())?)
}

pub(super) fn join(client: &Client, args: &JoinArgs, out: &mut dyn Write) -> Result<(), Error> {
    let request =
        ClusterJoin { token: args.token.clone(), manager: args.manager, advertise_addr: args.advertise_addr };
    let cluster: ClusterJoined = client.post(&["cluster", "join"], &request)?;
    Ok(out.write_all(render::cluster_joined(&cluster).as_bytes())?)
}

pub(super) fn join_token(client: &Client, args: &JoinTokenArgs, out: &mut dyn Write) -> Result<(), Error> {
    let request = JoinTokenQuery { role: args.role, rotate: args.rotate };
    let token: JoinToken = client.post(&["cluster", "join-token"], &request)?;
    let text = if args.quiet { format!("{}\n", token.token) } else { render::join_token(&token) };
    Ok(out.write_all(text.as_bytes())?)
}

pub(super) fn leave(client: &Client, args: &LeaveArgs, out: &mut dyn Write) -> Result<(), Error> {
    let left: ClusterLeft = client.post(&["cluster", "leave"], &ClusterLeave { force: args.force })?;
    Ok(out.write_all(render::cluster_left(&left).as_bytes())?)
}

/// Begins a rotation, of the certificate authority (`ca`) or of gossip's key (`key`), and waits for its end.
pub(super) fn rotate(
    client: &Client,
    what: &str,
    args: RotateArgs,
    out: &mut dyn Write,
    progress: &mut dyn Write,
) -> Result<(), Error> {
    let mut rotation: Rotation = client.post(&["cluster", what], &serde_json::json!({}))?;
    let mut told = Vec::new();
    while rotation.under_way && !args.detach {
        if rotation.waiting_for != told {
            writeln!(progress, "waiting for {}", rotation.waiting_for.join(", "))?;
            told.clone_from(&rotation.waiting_for);
        }
        thread::sleep(PAUSE);
        rotation = client.get(&["cluster", what])?;
    }
    Ok(writeln!(out, "{}", rotation.newest)?)
}

pub(super) fn backup(client: &Client, args: &BackupArgs, out: &mut dyn Write) -> Result<(), Error> {
    let backup: Backup = client.get(&["cluster", "backup"])?;
    let file = &args.file;
    write_private(file, render::json(&backup)?.as_bytes())
        .map_err(|source| Error::File { file: file.clone(), source })?;
    Ok(writeln!(out, "{}", file.display())?)
}

/// Writes a file that nobody but its owner can read. What is there already is not replaced.
fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

pub(super) fn restore(client: &Client, args: &RestoreArgs, out: &mut dyn Write) -> Result<(), Error> {
    let file = &args.file;
    let text = std::fs::read(file).map_err(|source| Error::File { file: file.clone(), source })?;
    let backup: Backup = serde_json::from_slice(&text)
        .map_err(|error| Error::NoBackup { file: file.clone(), cause: error.to_string() })?;
    let request = ClusterRestore { backup, advertise_addr: args.advertise_addr };
    let cluster: ClusterInitialized = client.post(&["cluster", "restore"], &request)?;
    Ok(out.write_all(render::cluster_initialized(&cluster).as_bytes())?)
}
