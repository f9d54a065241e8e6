//! `overlayctl service …`

use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use overlay::api::Unpublish;
use overlay::model::{Affinity, EndpointMode, Name, Publish, Seconds, SourceIp, Unavailable};

use super::{ListArgs, ListFormat, NewArgs, parse, publish};

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Create a service
    ///
    /// Prints the service's id. Its backends are the endpoints that are attached with "--service NAME". Ports that it
    /// publishes are reached on every node, whichever holds the backends.
    #[command(after_help = CREATE_EXAMPLES)]
    Create(ServiceCreateArgs),
    /// List the services
    ///
    /// BACKENDS counts those that take new flows, and all.
    #[command(visible_alias = "list", after_help = LS_EXAMPLES)]
    Ls(ListArgs),
    /// List a service's backends
    #[command(after_help = PS_EXAMPLES)]
    Ps(PsArgs),
    /// Show what clients sent to services, and what of it was dropped, on all nodes together
    ///
    /// Flows, packets and bytes are counted by the node that chose the backend: the one that the client came to, or the
    /// endpoint's own. A node counts from when a backend is in its tables.
    #[command(after_help = STATS_EXAMPLES)]
    Stats(StatsArgs),
    /// Show everything about services, as a JSON array
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(ServicesArgs),
    /// Change a service; its id and its virtual addresses stay
    ///
    /// What is not named stays as it is. Existing flows go on.
    #[command(after_help = UPDATE_EXAMPLES)]
    Update(ServiceUpdateArgs),
    /// Remove services
    ///
    /// Their backends stay as endpoints, and come back with a service that is created under the same name. Prints each
    /// service that was removed; one that cannot be removed does not keep the others.
    #[command(visible_alias = "remove", after_help = RM_EXAMPLES)]
    Rm(ServicesArgs),
    /// Keep new flows from a backend; existing ones go on for the service's grace period
    ///
    /// Once the period is over ("--stop-grace-period" of the service), connections that are left are reset, and what is
    /// sent over UDP goes to another backend. The backend stays attached.
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain(DrainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServiceCreateArgs {
    /// The service's name: letters, digits, "_", "." and "-"
    pub(crate) name: Name,
    /// A network that it is in, by name or id; may be repeated
    #[arg(long = "network", value_name = "NETWORK", required = true, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) networks: Vec<String>,
    /// A port to publish, as PUBLISHED:TARGET[/PROTOCOL], a range as 8000-8010:80-90, or as
    /// published=PORT,target=PORT,protocol=tcp|udp,mode=ingress|host; may be repeated
    #[arg(short, long, value_name = "PORTS", value_parser = publish::publish)]
    pub(crate) publish: Vec<Publish>,
    /// How clients inside its networks reach it: by a virtual address, or by the backends' own
    #[arg(long, value_name = "MODE", default_value = "vip", value_parser = words::<EndpointMode>(EndpointMode::WORDS))]
    pub(crate) endpoint_mode: EndpointMode,
    /// The source address that backends see on published ports: the client's, or the ingress node's
    #[arg(long, value_name = "MODE", default_value = "preserve", value_parser = words::<SourceIp>(SourceIp::WORDS))]
    pub(crate) source_ip: SourceIp,
    /// Whether a client stays with its backend: none, or client-ip[:SECONDS] from its latest connection on; three hours by
    /// default
    #[arg(long, value_name = "AFFINITY", default_value = "none")]
    pub(crate) affinity: Affinity,
    /// How long the flows of a drained backend go on; then connections are reset
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub(crate) stop_grace_period: Seconds,
    /// What a client gets while no backend is live: a refusal, or nothing
    #[arg(long, value_name = "ANSWER", default_value = "reject", value_parser = words::<Unavailable>(Unavailable::WORDS))]
    pub(crate) unavailable: Unavailable,
    /// A label for your own use, kept with the service; may be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) shown: NewArgs,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  overlayctl service create web --network mynet --publish 8080:80
  overlayctl service create dns --network mynet --publish 53:5353/udp --affinity client-ip
  overlayctl service create web --network mynet --publish published=8080,target=80,mode=host
  overlayctl endpoint attach --netns blue --network mynet --name web1 --service web";

const LS_EXAMPLES: &str = "\
Examples:
  overlayctl service ls
  overlayctl service ls --format json";

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// The service: a name, an id, or the beginning of an id
    #[arg(value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

const PS_EXAMPLES: &str = "\
Examples:
  overlayctl service ps web
  overlayctl service ps web --format json";

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// The service: a name, an id, or the beginning of an id; all if left out
    #[arg(value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) service: Option<String>,
    /// Show what is counted a second, again and again
    #[arg(long)]
    pub(crate) watch: bool,
    /// The time between two looks
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse::seconds, requires = "watch")]
    pub(crate) interval: Duration,
    /// How to print it
    #[arg(short = 'o', long, alias = "output", value_enum, default_value_t, conflicts_with = "watch")]
    pub(crate) format: ListFormat,
}

const STATS_EXAMPLES: &str = "\
Examples:
  overlayctl service stats
  overlayctl service stats web --watch
  overlayctl service stats -o json | jq '.[] | {name, drops}'";

#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    /// Services: a name, an id, or the beginning of an id
    #[arg(required = true, value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) services: Vec<String>,
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  overlayctl service inspect web
  overlayctl service inspect web | jq '.[].vips'";

#[derive(Debug, Args)]
pub(crate) struct ServiceUpdateArgs {
    /// The service: a name, an id, or the beginning of an id
    #[arg(value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) service: String,
    /// A network to be in as well; may be repeated
    #[arg(long, value_name = "NETWORK", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) network_add: Vec<String>,
    /// A network to leave; may be repeated
    #[arg(long, value_name = "NETWORK", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) network_rm: Vec<String>,
    /// A port to publish as well, as for "service create"; may be repeated
    #[arg(long, value_name = "PORTS", value_parser = publish::publish)]
    pub(crate) publish_add: Vec<Publish>,
    /// A published port or range to publish no more, as PUBLISHED[/PROTOCOL]; may be repeated
    #[arg(long, value_name = "PORTS", value_parser = publish::unpublish)]
    pub(crate) publish_rm: Vec<Unpublish>,
    /// How clients inside its networks reach it
    #[arg(long, value_name = "MODE", value_parser = words::<EndpointMode>(EndpointMode::WORDS))]
    pub(crate) endpoint_mode: Option<EndpointMode>,
    /// The source address that backends see on published ports
    #[arg(long, value_name = "MODE", value_parser = words::<SourceIp>(SourceIp::WORDS))]
    pub(crate) source_ip: Option<SourceIp>,
    /// Whether a client stays with its backend: none, or client-ip[:SECONDS] from its latest connection on; three hours by
    /// default
    #[arg(long, value_name = "AFFINITY")]
    pub(crate) affinity: Option<Affinity>,
    /// How long the flows of a drained backend go on; then connections are reset
    #[arg(long, value_name = "TIME")]
    pub(crate) stop_grace_period: Option<Seconds>,
    /// What a client gets while no backend is live
    #[arg(long, value_name = "ANSWER", value_parser = words::<Unavailable>(Unavailable::WORDS))]
    pub(crate) unavailable: Option<Unavailable>,
    /// A label to set; may be repeated
    #[arg(long = "label-add", value_name = "KEY=VALUE", value_parser = parse::label)]
    pub(crate) labels_add: Vec<(String, String)>,
    /// The key of a label to remove; may be repeated
    #[arg(long = "label-rm", value_name = "KEY")]
    pub(crate) labels_rm: Vec<String>,
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  overlayctl service update web --publish-add 8443:443
  overlayctl service update web --publish-rm 8080 --source-ip snat";

const RM_EXAMPLES: &str = "\
Examples:
  overlayctl service rm web";

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The backend: the service's name, a dot, and the endpoint's name or id
    #[arg(value_name = "SERVICE.ENDPOINT", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) backend: String,
    /// Let it take new flows again
    #[arg(long)]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Whether to wait for all nodes.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// Wait until every node that is alive has put it into effect
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait; then it exits with 1 and says which nodes are missing
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse::seconds, requires = "wait")]
    pub(crate) timeout: Duration,
}

const DRAIN_EXAMPLES: &str = "\
Examples:
  overlayctl service drain web.web1 --wait && sleep 10 && overlayctl endpoint detach web1
  overlayctl service drain web.web1 --undo";

/// A choice of words, which help and completion show.
pub(super) fn words<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr<Err = overlay::model::Invalid> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}
