//! `overlayctl node …`

use std::io::Write;

use overlay::api::NodeRow;

use crate::args::ListArgs;
use crate::client::Client;
use crate::error::Error;
use crate::render;

pub(super) fn ls(client: &Client, list: ListArgs, out: &mut dyn Write) -> Result<(), Error> {
    let nodes: Vec<NodeRow> = client.get(&["nodes"])?;
    Ok(out.write_all(render::nodes(&nodes, list)?.as_bytes())?)
}
