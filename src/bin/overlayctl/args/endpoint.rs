//! `overlayctl endpoint …`

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use overlay::model::{MacAddr, Name, Weight};

use super::{ListArgs, NewArgs, parse};

#[derive(Debug, Subcommand)]
pub(crate) enum EndpointCommand {
    /// Attach a network namespace of this node to a network
    ///
    /// Puts an interface into the namespace, with its addresses, and prints the endpoint's id. The
    /// namespace may be a container's, whatever runs the container.
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach(AttachArgs),
    /// Detach endpoints of this node
    ///
    /// Takes their interfaces out of their namespaces. Prints each endpoint that was detached; one that cannot
    /// be detached does not keep the others.
    #[command(after_help = DETACH_EXAMPLES)]
    Detach(DetachArgs),
    /// List the endpoints of all nodes
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(EndpointLsArgs),
    /// Show everything about endpoints, as a JSON array
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(EndpointInspectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The network namespace: a name as in "ip netns", a path, or the id of a process in it
    #[arg(long, value_name = "NAME|PATH|PID", value_parser = parse::netns)]
    pub(crate) netns: String,
    /// The network: a name, an id, or the beginning of an id
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) network: String,
    /// The endpoint's name, unique in the network
    #[arg(long)]
    pub(crate) name: Name,
    /// A certain IPv4 address [default: a free one]
    #[arg(long)]
    pub(crate) ip: Option<Ipv4Addr>,
    /// A certain IPv6 address [default: a free one]
    #[arg(long)]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// A certain MAC address [default: a random one]
    #[arg(long)]
    pub(crate) mac: Option<MacAddr>,
    /// The interface's name in the namespace [default: the first free one of eth0, eth1, …]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) ifname: Option<String>,
    /// A further name in the network; may be repeated
    #[arg(long = "alias", value_name = "NAME")]
    pub(crate) aliases: Vec<Name>,
    /// A label for your own use, kept with the endpoint; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Let it forward for others, as a router does: its packets' source addresses are not checked
    #[arg(long)]
    pub(crate) forward: bool,
    /// Make it a backend of this service
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) service: Option<String>,
    /// Its share of the service's flows, from 1 to 1000 [default: 1]
    #[arg(long, requires = "service")]
    pub(crate) weight: Option<Weight>,
    #[command(flatten)]
    pub(crate) shown: NewArgs,
}

const ATTACH_EXAMPLES: &str = "\
Examples:
  overlayctl endpoint attach --netns blue --network mynet --name web
  overlayctl endpoint attach --netns blue --network mynet --name web --ip 10.1.0.10
  overlayctl endpoint attach --netns blue --network mynet --name web1 --service web

  A Docker container, started with --network none:
  overlayctl endpoint attach --network mynet --name web \\
      --netns $(docker inspect -f '{{.State.Pid}}' web)";

#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// Endpoints: a name, NETWORK/NAME, an id, or the beginning of an id
    #[arg(required = true, value_name = "ENDPOINT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) endpoints: Vec<String>,
}

const DETACH_EXAMPLES: &str = "\
Examples:
  overlayctl endpoint detach web
  overlayctl endpoint detach mynet/web mynet/db";

#[derive(Debug, Args)]
pub(crate) struct EndpointLsArgs {
    /// Only those in this network
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) network: Option<String>,
    /// Only those on this node
    #[arg(long)]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

const LS_EXAMPLES: &str = "\
Examples:
  overlayctl endpoint ls
  overlayctl endpoint ls --network mynet --local
  overlayctl endpoint detach $(overlayctl endpoint ls --local -q)";

#[derive(Debug, Args)]
pub(crate) struct EndpointInspectArgs {
    /// Endpoints: a name, NETWORK/NAME, an id, or the beginning of an id
    #[arg(required = true, value_name = "ENDPOINT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) endpoints: Vec<String>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  overlayctl endpoint inspect web
  overlayctl endpoint inspect mynet/web | jq -r '.[].ip4'";
