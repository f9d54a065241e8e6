//! `overlayctl endpoint …`

use std::io::Write;

use overlay::api::{EndpointAttach, EndpointRow, NetworkDetail};

use super::each;
use crate::args::{AttachArgs, DetachArgs, EndpointInspectArgs, EndpointLsArgs, NewFormat};
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn attach(client: &Client, args: &AttachArgs, out: &mut dyn Write) -> Result<(), Error> {
    let request = EndpointAttach {
        netns: args.netns.clone(),
        network: args.network.clone(),
        name: args.name.clone(),
        ip: args.ip,
        ip6: args.ip6,
        mac: args.mac,
        ifname: args.ifname.clone(),
        aliases: args.aliases.clone(),
        labels: args.labels.iter().cloned().collect(),
        forward: args.forward,
        service: args.service.clone(),
        weight: args.weight,
    };
    let row: EndpointRow = client.post(&["endpoints"], &request)?;
    let text = match args.shown.format {
        NewFormat::Id => format!("{}\n", row.endpoint.id),
        NewFormat::Json => render::json(&row)?,
    };
    Ok(out.write_all(text.as_bytes())?)
}

pub(super) fn detach(client: &Client, args: &DetachArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (_, result) = each(&args.endpoints, |endpoint| {
        client.delete::<EndpointRow>(&["endpoints", endpoint])?;
        Ok(writeln!(out, "{endpoint}")?)
    });
    result
}

pub(super) fn ls(client: &Client, args: &EndpointLsArgs, out: &mut dyn Write) -> Result<(), Error> {
    let mut rows: Vec<EndpointRow> = match &args.network {
        // Asking for the network tells a network without endpoints from one that does not exist.
        Some(network) => client.get::<NetworkDetail>(&["networks", network])?.endpoints,
        None => client.get(&["endpoints"])?,
    };
    if args.local {
        rows.retain(|row| row.local.is_some());
    }
    Ok(out.write_all(render::endpoints(&rows, args.list)?.as_bytes())?)
}

pub(super) fn inspect(client: &Client, args: &EndpointInspectArgs, out: &mut dyn Write) -> Result<(), Error> {
    let (rows, result) =
        each(&args.endpoints, |endpoint| client.get::<EndpointRow>(&["endpoints", endpoint]));
    out.write_all(render::json(&rows)?.as_bytes())?;
    result
}
