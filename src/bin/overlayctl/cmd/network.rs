//! `overlayctl network …`

use std::io::Write;

use overlay::api::{NetworkCreate, NetworkDetail};
use overlay::model::Network;

use super::each;
use crate::args::{CreateArgs, ListArgs, NetworkInspectArgs, NetworkOption, NewFormat, RmArgs};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn create(client: &Client, args: &CreateArgs, out: &mut dyn Write) -> Result<(), Error> {
    let mut request = NetworkCreate {
        name: args.name.clone(),
        subnets: args.subnets.clone(),
        gateways: args.gateways.clone(),
        mtu: None,
        internal: args.internal,
        allow_overlap: args.allow_overlap,
        labels: args.labels.iter().cloned().collect(),
    };
    for option in &args.options {
        match option {
            NetworkOption::Mtu(bytes) => request.mtu = Some(*bytes),
        }
    }
    let network: Network = client.post(&["networks"], &request)?;
    let text = match args.shown.format {
        NewFormat::Id => format!("{}\n", network.id),
        NewFormat::Json => render::json(&network)?,
    };
    Ok(out.write_all(text.as_bytes())?)
}

pub(super) fn ls(client: &Client, list: ListArgs, out: &mut dyn Write) -> Result<(), Error> {
    let networks: Vec<Network> = client.get(&["networks"])?;
    Ok(out.write_all(render::networks(&networks, list)?.as_bytes())?)
}

pub(super) fn inspect(client: &Client, args: &NetworkInspectArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (networks, result) =
        each(&args.networks, |network| client.get::<NetworkDetail>(&["networks", network]));
    out.write_all(render::json(&networks)?.as_bytes())?;
    result
}

pub(super) fn rm(client: &Client, args: &RmArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (_, result) = each(&args.networks, |network| {
        client.delete::<Network>(&["networks", network])?;
        Ok(writeln!(out, "{network}")?)
    });
    result
}
