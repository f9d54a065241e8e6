use super::*;
use crate::lb::Slot as _;
use crate::model::Weight;
use crate::reconcile::tables::Place;

fn service(byte: u8) -> ServiceId {
    ServiceId::from_bytes([byte; 16])
}

fn endpoint(byte: u8) -> EndpointId {
    EndpointId::from_bytes([byte; 16])
}

fn slot(number: u32) -> BackendSlot {
    BackendSlot::new(number).unwrap()
}

fn entry(byte: u8) -> BackendEntry {
    BackendEntry {
        service: ServiceSlot::new(byte.into()).unwrap(),
        endpoint: endpoint(byte),
        generation: Generation::of(service(byte), endpoint(byte)),
        vni: Vni::new(100).unwrap(),
        mac: "02:00:00:00:00:01".parse().unwrap(),
        ip4: Some([10, 1, 0, byte].into()),
        ip6: None,
        place: Place::Local { ifindex: 7 },
        weight: Weight::default(),
        accepts: true,
    }
}

/// Service 1 with endpoint 1 in slot 1, service 2 with endpoint 2 in slot 2.
fn backends() -> Backends {
    let services = [1, 2].map(|byte| (ServiceSlot::new(byte.into()).unwrap(), service(byte)));
    let entries = [1, 2].map(|byte| (slot(byte.into()), entry(byte)));
    Backends::new(&services.into(), &entries.into())
}

fn flow(scope: FlowScope, backend: Option<(BackendSlot, Generation)>) -> FlowEntry {
    FlowEntry {
        idle: Duration::ZERO,
        scope,
        protocol: FlowProtocol::Tcp,
        vni: Vni::new(100).ok(),
        from: "10.1.0.2:80".parse().unwrap(),
        to: "192.0.2.9:40000".parse().unwrap(),
        translated: None,
        backend,
        state: FlowState::Established,
    }
}

#[test]
fn a_flow_is_that_of_the_backend_it_keeps_or_comes_from() {
    let backends = backends();
    let first = Owner::Backend(Backend { service: service(1), endpoint: endpoint(1) });
    let second = Owner::Backend(Backend { service: service(2), endpoint: endpoint(2) });
    let kept = |byte: u8| Some((slot(byte.into()), entry(1).generation));
    for (flow, owner) in [
        (flow(FlowScope::Mesh, kept(1)), first),
        (flow(FlowScope::Vip, kept(1)), first),
        (flow(FlowScope::Mesh, kept(2)), Owner::Gone),
        (flow(FlowScope::Mesh, kept(3)), Owner::Gone),
        (flow(FlowScope::Return, None), second),
        (flow(FlowScope::VipReturn, None), second),
        (FlowEntry { vni: Vni::new(101).ok(), ..flow(FlowScope::Return, None) }, Owner::Gone),
        (flow(FlowScope::Egress, None), Owner::Nobody),
        (flow(FlowScope::Fragment, None), Owner::Nobody),
    ] {
        assert_eq!(backends.owner(&flow), owner, "{flow:?}");
    }
}

#[test]
fn a_selection_has_what_meets_all_of_it() {
    let owner = Owner::Backend(Backend { service: service(1), endpoint: endpoint(1) });
    let flow = flow(FlowScope::Mesh, None);
    let all = Selection::default();
    for (selection, of_backend, of_nobody) in [
        (all, true, true),
        (Selection { protocol: Some(FlowProtocol::Tcp), ..all }, true, true),
        (Selection { protocol: Some(FlowProtocol::Udp), ..all }, false, false),
        (Selection { service: Some(service(1)), ..all }, true, false),
        (Selection { service: Some(service(2)), ..all }, false, false),
        (Selection { backend: Some(endpoint(1)), ..all }, true, false),
        (Selection { backend: Some(endpoint(1)), service: Some(service(2)), ..all }, false, false),
    ] {
        assert_eq!(selection.has(&flow, owner), of_backend, "{selection:?}");
        assert_eq!(selection.has(&flow, Owner::Nobody), of_nobody, "{selection:?}");
        assert_eq!(selection.has(&flow, Owner::Gone), of_nobody, "{selection:?}");
    }
}

#[test]
fn the_flows_with_the_latest_packets_are_kept() {
    let mut recent = Recent::new(2);
    for idle in [3, 1, 4, 2] {
        recent.add(FlowEntry { idle: Duration::from_secs(idle), ..flow(FlowScope::Mesh, None) });
    }
    assert_eq!(recent.flows().map(|flow| flow.idle.as_secs()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(recent.total(), 4);
}

#[test]
fn a_flow_lives_as_long_as_its_state_allows() {
    let idle = Idle { tcp_syn: 1, tcp_established: 2, tcp_fin: 3, tcp_rst: 4, udp: 5, udp_stream: 6 };
    let states = [
        FlowState::Syn,
        FlowState::Established,
        FlowState::Fin,
        FlowState::Rst,
        FlowState::New,
        FlowState::Stream,
    ];
    for (state, limit) in states.into_iter().zip(1..) {
        let of = |idle| FlowEntry { state, idle, ..flow(FlowScope::Mesh, None) };
        assert!(of(Duration::from_secs(limit) - Duration::from_nanos(1)).is_live(&idle), "{state:?}");
        assert!(!of(Duration::from_secs(limit)).is_live(&idle), "{state:?}");
    }
}
