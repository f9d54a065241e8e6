use super::tests::{attach, random, refused};
use super::*;
use crate::fixtures::{
    World, apply, attach_request, create, create_service, netns, network, node_id, service,
};
use crate::intent::{Command, NodeChange};
use crate::model::Weight;

fn for_service(network: &str, name: &str, service: &str) -> api::EndpointAttach {
    api::EndpointAttach { service: Some(service.to_owned()), ..attach_request(network, name) }
}

#[test]
fn a_backend_says_which_service_it_belongs_to() {
    let mut world = World::new();
    network(&mut world.intent, create(2, "other", &["10.2.0.0/24"])).unwrap();
    let web = service(&mut world.intent, create_service(1, "web", &[1], &[])).unwrap();
    let attached = attach(&mut world, &for_service("mynet", "c1", "web"), 1).unwrap();
    let membership = Membership { service: web.name.clone(), weight: Weight::default() };
    assert_eq!(attached.endpoint.service, Some(membership.clone()));
    assert!(web.is_backend(&attached.endpoint));

    let by_id = for_service("mynet", "c2", &web.id.short());
    let request = api::EndpointAttach { weight: Some(Weight::new(9).unwrap()), ..by_id };
    let attached = attach(&mut world, &request, 2).unwrap();
    assert_eq!(attached.endpoint.service, Some(Membership { weight: Weight::new(9).unwrap(), ..membership }));

    let refusals = [
        refused(&world, &for_service("mynet", "c9", "wib")),
        refused(&world, &for_service("other", "c9", "web")),
        refused(
            &world,
            &api::EndpointAttach { weight: Some(Weight::default()), ..attach_request("mynet", "c9") },
        ),
        refused(
            &world,
            &api::EndpointAttach {
                ip: web.vips[0].address.to_string().parse().ok(),
                ..attach_request("mynet", "c9")
            },
        ),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    no service is called "wib"
    the service web is not in the network other, but in mynet
    a weight without a service
    10.1.0.127 of the network mynet is the virtual address of the service web
    "#);
}

#[test]
fn only_an_active_node_takes_endpoints() {
    let mut world = World::new();
    let set = |world: &mut World, availability| {
        let change = NodeChange { availability: Some(availability), ..NodeChange::default() };
        apply(&mut world.intent, &Command::UpdateNode { node: node_id(1), change, at: 1 }).unwrap();
    };
    for availability in [Availability::Pause, Availability::Drain] {
        set(&mut world, availability);
        let error =
            plan(&attach_request("mynet", "c1"), netns(1), &world.situation(), random(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the node host-1 takes no new endpoints: its availability is {availability}")
        );
        assert!(error.hint().unwrap().contains("--availability active"));
    }
    set(&mut world, Availability::Active);
    attach(&mut world, &attach_request("mynet", "c1"), 1).unwrap();
}

#[test]
fn references_to_backends() {
    let mut world = World::new();
    for (n, name) in [(1, "web"), (2, "web.eu")] {
        service(&mut world.intent, create_service(n, name, &[1], &[])).unwrap();
    }
    let backend = |world: &mut World, n: u8, name: &str, service: &str| {
        attach(world, &for_service("mynet", name, service), n).unwrap().endpoint.id
    };
    let one = backend(&mut world, 1, "c1", "web");
    let dotted = backend(&mut world, 2, "eu.c1", "web");
    let other = backend(&mut world, 3, "c3", "web.eu");
    attach(&mut world, &attach_request("mynet", "c4"), 4).unwrap();
    let found = |reference: &str| {
        let found = resolve_backend(reference, world.me, &world.intent, &world.view, &world.attachments);
        found.map(|(service, found)| (service.name.to_string(), found.endpoint.id))
    };
    assert_eq!(found("web.c1"), Ok(("web".to_owned(), one)));
    assert_eq!(found(&format!("web.{}", one.short())), Ok(("web".to_owned(), one)));
    assert_eq!(found("web.eu.c1"), Ok(("web".to_owned(), dotted)));
    assert_eq!(found("web.eu.c3"), Ok(("web.eu".to_owned(), other)));
    for missing in ["web", "web.", ".c1", "web.c4", "web.c3", "wib.c1"] {
        assert_eq!(found(missing), Err(AttachError::NoSuchBackend { reference: missing.to_owned() }));
    }
    backend(&mut world, 5, "c1x", "web.eu");
    let found = |reference: &str| {
        resolve_backend(reference, world.me, &world.intent, &world.view, &world.attachments).map(drop)
    };
    assert!(matches!(found("web.0"), Err(AttachError::AmbiguousEndpoint { .. })));
}
