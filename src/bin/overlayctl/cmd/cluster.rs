//! `overlayctl cluster …`

use std::io::Write;

use overlay::api::{ClusterInit, ClusterInitialized, ClusterJoin, ClusterJoined};

use crate::args::{InitArgs, JoinArgs};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn init(client: &Client, args: &InitArgs, out: &mut dyn Write) -> Result<(), Error> {
    let request = ClusterInit { advertise_addr: args.advertise_addr };
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
