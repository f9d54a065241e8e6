//! `overlayctl node …`

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use overlay::model::Availability;

use super::ListArgs;
use super::service::{WaitArgs, words};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes
    ///
    /// The node that you are on is marked with "*". A node is Down when it no longer answers the others.
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(ListArgs),
    /// Say what a node is wanted for
    ///
    /// An active node takes endpoints. A paused one takes no new ones. A drained one takes no new ones either, and its
    /// backends get no new flows; existing ones go on.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(NodeUpdateArgs),
}

const LS_EXAMPLES: &str = "\
Examples:
  overlayctl node ls
  overlayctl node ls --format json";

#[derive(Debug, Args)]
pub(crate) struct NodeUpdateArgs {
    /// The node: a host name, an id, or the beginning of an id
    #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) node: String,
    /// What it is wanted for
    #[arg(long, required = true, value_parser = words::<Availability>(Availability::WORDS))]
    pub(crate) availability: Availability,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  overlayctl node update web-2 --availability drain --wait
  overlayctl node update web-2 --availability active";
