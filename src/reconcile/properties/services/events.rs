//! What users and nodes do, from one moment to the next.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use crate::fixtures::{World, attachment, bare_service, create, membership, network, node_id};
use crate::model::{
    Attachment, Availability, EndpointId, Network, Protocol, Publish, PublishMode, ServiceId, Vip,
};

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The backend is on that node, of that service.
    Attach {
        n: u8,
        node: u8,
        service: u8,
        weight: u16,
    },
    Detach {
        n: u8,
    },
    Serve {
        service: u8,
        shape: Shape,
    },
    Remove {
        service: u8,
    },
    /// Drained, or no more.
    Drain {
        service: u8,
        n: u8,
    },
    Availability {
        node: u8,
        drain: bool,
    },
    NodeDies {
        node: u8,
    },
    /// Grace periods may end.
    TimePasses {
        seconds: u8,
    },
}

/// How a service can be reached.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    id: u8,
    both_networks: bool,
    vips: bool,
    ingress: Option<u16>,
    host: Option<u16>,
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let shape = (any::<bool>(), any::<bool>(), prop::option::of(1u16..4), prop::option::of(4u16..6));
    prop_oneof![
        6 => (10u8..20, 1u8..4, 1u8..4, 1u16..4)
            .prop_map(|(n, node, service, weight)| Event::Attach { n, node, service, weight }),
        2 => (10u8..20).prop_map(|n| Event::Detach { n }),
        4 => (1u8..4, 0u8..2, shape).prop_map(|(service, again, (both_networks, vips, ingress, host))| {
            let shape = Shape { id: service + 100 * again, both_networks, vips, ingress, host };
            Event::Serve { service, shape }
        }),
        1 => (1u8..4).prop_map(|service| Event::Remove { service }),
        1 => (1u8..4, 10u8..20).prop_map(|(service, n)| Event::Drain { service, n }),
        1 => (1u8..4, any::<bool>()).prop_map(|(node, drain)| Event::Availability { node, drain }),
        1 => (2u8..4).prop_map(|node| Event::NodeDies { node }),
        1 => (1u8..20).prop_map(|seconds| Event::TimePasses { seconds }),
    ]
}

/// Backends with an even number are in `dual`, the others in `mynet`.
fn place(world: &World, n: u8, of: u8, weight: u16) -> Attachment {
    let dual = n.is_multiple_of(2);
    let mut backend =
        attachment(n, &world.network(if dual { "dual" } else { "mynet" }), [10, 1 + u8::from(dual), 0, n]);
    backend.endpoint.ip6 = dual.then(|| [0xfd00, 0, 0, 0, 0, 0, 0, n.into()].into());
    backend.endpoint.service = membership(of, weight);
    backend
}

fn detach(world: &mut World, n: u8) {
    let id = EndpointId::from_bytes([n; 16]);
    world.attachments.remove(&id);
    for node in 1..4 {
        world.view.part_mut(node_id(node)).endpoints.remove(&id);
    }
}

fn remove_service(world: &mut World, n: u8) {
    world.intent.services.retain(|_, service| service.name.as_str() != format!("s{n}"));
}

fn serve(world: &mut World, n: u8, shape: &Shape) {
    let networks: [Network; 2] = ["dual", "mynet"].map(|name| world.network(name));
    let networks: Vec<&Network> = networks.iter().take(1 + usize::from(shape.both_networks)).collect();
    let mut new = bare_service(n, &networks);
    new.id = ServiceId::from_bytes([shape.id; 16]);
    let address = |network: &Network| match network.name.as_str() {
        "dual" => vec![IpAddr::from([10, 2, 0, 100 + n]), [0xfd00, 0, 0, 0, 0, 0, 1, n.into()].into()],
        _ => vec![IpAddr::from([10, 1, 0, 100 + n])],
    };
    if shape.vips {
        new.vips = networks
            .iter()
            .flat_map(|network| {
                address(network).into_iter().map(|address| Vip { network: network.id, address })
            })
            .collect();
    }
    let publish = |port: u16, mode| {
        let range = format!("{}-{}", port, port + 1).parse().unwrap();
        Publish::new(range, 80, Protocol::Tcp, mode).unwrap()
    };
    new.publish.extend(shape.ingress.map(|port| publish(port, PublishMode::Ingress)));
    new.publish.extend(shape.host.map(|port| publish(port, PublishMode::Host)));
    world.intent.services.insert(new.id, new);
}

pub(super) fn happen(world: &mut World, event: &Event) {
    match *event {
        Event::Attach { n, node, service, weight } => {
            detach(world, n);
            let backend = place(world, n, service, weight);
            if node == 1 { world.hold(backend) } else { world.elsewhere(node, backend) }
        }
        Event::Detach { n } => detach(world, n),
        Event::Serve { service, ref shape } => {
            remove_service(world, service);
            serve(world, service, shape);
        }
        Event::Remove { service } => remove_service(world, service),
        Event::Drain { service, n } => {
            let service =
                world.intent.services.values_mut().find(|it| it.name.as_str() == format!("s{service}"));
            let id = EndpointId::from_bytes([n; 16]);
            if let Some(service) = service
                && service.drained.remove(&id).is_none()
            {
                service.drained.insert(id, world.now.as_secs());
            }
        }
        Event::Availability { node, drain } => {
            let availability = if drain { Availability::Drain } else { Availability::Active };
            let node = world.intent.nodes.get_mut(&node_id(node)).unwrap();
            (node.availability, node.drained_at) = (availability, world.now.as_secs());
        }
        Event::NodeDies { node } => *world.view.part_mut(node_id(node)) = Default::default(),
        Event::TimePasses { seconds } => world.now += Duration::from_secs(seconds.into()),
    }
}

/// Before anything happened.
pub(super) fn start() -> World {
    let mut world = World::new();
    network(&mut world.intent, create(2, "dual", &["10.2.0.0/24", "fd00::/64"])).unwrap();
    world
}
