//! `overlayctl node …`

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use overlay::model::Availability;

use super::service::{WaitArgs, words};
use super::{ListArgs, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes
    ///
    /// The node that you are on is marked with "*". A node is Down when it no longer answers the others.
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(ListArgs),
    /// Show everything about nodes, as a JSON array
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(NodesArgs),
    /// Say what a node is wanted for, and label it
    ///
    /// An active node takes endpoints. A paused one takes no new ones. A drained one takes no new ones either, and its
    /// backends get no new flows; existing ones go on for the grace period of each service, and then end.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(NodeUpdateArgs),
    /// Make workers managers
    ///
    /// A cluster has 1, 3 or 5 managers: it goes on while more than half of them are there.
    #[command(after_help = PROMOTE_EXAMPLES)]
    Promote(NodesArgs),
    /// Make managers workers again
    #[command(after_help = DEMOTE_EXAMPLES)]
    Demote(NodesArgs),
    /// Remove nodes from the cluster
    ///
    /// Its certificate serves no more from then on, anywhere, and gossip's key is renewed without it. Have a node that is
    /// alive leave by "overlayctl cluster leave" instead.
    #[command(after_help = RM_EXAMPLES)]
    Rm(NodeRmArgs),
}

const LS_EXAMPLES: &str = "\
Examples:
  overlayctl node ls
  overlayctl node ls --format json";

#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Nodes: a host name, an id, or the beginning of an id
    #[arg(required = true, value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) nodes: Vec<String>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  overlayctl node inspect web-2 | jq -r '.[].labels'";

#[derive(Debug, Args)]
pub(crate) struct NodeUpdateArgs {
    /// The node: a host name, an id, or the beginning of an id
    #[arg(value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) change: NodeChangeArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct NodeChangeArgs {
    /// What it is wanted for
    #[arg(long, value_parser = words::<Availability>(Availability::WORDS))]
    pub(crate) availability: Option<Availability>,
    /// A label to set, for your own use; may be repeated
    #[arg(long = "label-add", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub(crate) label_add: Vec<(String, String)>,
    /// A label to remove; may be repeated
    #[arg(long = "label-rm", value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) label_rm: Vec<String>,
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  overlayctl node update web-2 --availability drain --wait
  overlayctl node update web-2 --availability active
  overlayctl node update web-2 --label-add rack=b4";

const PROMOTE_EXAMPLES: &str = "\
Examples:
  overlayctl node promote web-2 web-3";

const DEMOTE_EXAMPLES: &str = "\
Examples:
  overlayctl node demote web-3";

#[derive(Debug, Args)]
pub(crate) struct NodeRmArgs {
    /// Even if it is alive, or a manager
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) nodes: NodesArgs,
}

const RM_EXAMPLES: &str = "\
Examples:
  overlayctl node rm web-3
  overlayctl node rm --force web-3";
