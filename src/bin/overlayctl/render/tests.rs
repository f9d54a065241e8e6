//! What users see, without an agent.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use overlay::api::{
    ApiError, BackendRow, BackendState, BackendStats, DropCount, EndpointLocal, EndpointRow, ErrorCode,
    Failure, FlowRow, GossipStatus, ManagerState, ManagerStatus, MeshStatus, NetworkDetail, NetworkService,
    NodeRow, NodeStatus, RoleStatus, ServiceDetail, ServiceRow, ServiceStats, Stats, Status, UnderlayStatus,
};
use overlay::flows::{FlowProtocol, FlowScope, FlowState};
use overlay::model::{
    Affinity, Availability, Endpoint, EndpointId, EndpointMode, Network, NetworkId, NodeId, Protocol,
    Publish, PublishMode, Role, Service, ServiceId, SourceIp, Subnet, Unavailable, Vip, Vni, Weight,
};

use overlay::traffic::Counts;

use super::*;
use crate::args::{ListArgs, ListFormat};

const TABLE: ListArgs = ListArgs { format: ListFormat::Table, quiet: false, no_trunc: false };
const JSON: ListArgs = ListArgs { format: ListFormat::Json, ..TABLE };
const QUIET: ListArgs = ListArgs { quiet: true, ..TABLE };
const NO_TRUNC: ListArgs = ListArgs { no_trunc: true, ..TABLE };
const QUIET_NO_TRUNC: ListArgs = ListArgs { no_trunc: true, ..QUIET };

fn node_rows() -> Vec<NodeRow> {
    let row = |byte, hostname: &str, addr: &str| NodeRow {
        id: NodeId::from_bytes([byte; 16]),
        hostname: hostname.into(),
        this: false,
        status: NodeStatus::Ready,
        availability: Availability::Active,
        manager: None,
        addr: addr.parse().unwrap(),
        version: "0.1.0".into(),
    };
    vec![
        NodeRow { manager: Some(ManagerState::Leader), ..row(0x1a, "web-1", "10.0.0.1") },
        NodeRow { this: true, ..row(0x2b, "web-2.example.org", "10.0.0.2") },
        NodeRow {
            status: NodeStatus::Restarting,
            manager: Some(ManagerState::Reachable),
            ..row(0x3b, "cache", "10.0.0.4")
        },
        NodeRow {
            status: NodeStatus::Down,
            availability: Availability::Drain,
            manager: Some(ManagerState::Unreachable),
            ..row(0x3c, "db", "fd00::3")
        },
    ]
}

fn network(byte: u8, name: &str, subnets: &[&str]) -> Network {
    Network {
        id: NetworkId::from_bytes([byte; 16]),
        name: name.parse().unwrap(),
        vni: Vni::new(4096 + u32::from(byte)).unwrap(),
        subnets: subnets.iter().map(|net| Subnet::new(net.parse().unwrap(), None).unwrap()).collect(),
        mtu: None,
        internal: false,
        allow_overlap: false,
        labels: BTreeMap::from([("team".into(), "web".into())]),
    }
}

fn endpoint_rows() -> Vec<EndpointRow> {
    let row = |byte, name: &str, ip6: Option<&str>| EndpointRow {
        endpoint: Endpoint {
            id: EndpointId::from_bytes([byte; 16]),
            network: NetworkId::from_bytes([0x4d; 16]),
            name: name.parse().unwrap(),
            mac: overlay::model::MacAddr::local_from([byte; 6]),
            ip4: Some([10, 1, 0, byte].into()),
            ip6: ip6.map(|ip6| ip6.parse().unwrap()),
            aliases: vec!["www".parse().unwrap()],
            labels: BTreeMap::new(),
            forward: false,
            service: None,
        },
        network_name: "mynet".parse().unwrap(),
        node: NodeId::from_bytes([0x2b; 16]),
        hostname: "web-2.example.org".into(),
        local: None,
    };
    let local = EndpointLocal {
        netns: "/run/netns/blue".into(),
        ifname: "eth0".into(),
        host_ifname: "ovl5e5e5e5e5e5".into(),
    };
    vec![
        EndpointRow { local: Some(local), ..row(0x5e, "web", Some("fd00:1::5e")) },
        row(0x6f, "a-long-endpoint-name", None),
    ]
}

fn service_rows() -> Vec<ServiceRow> {
    let publish = |ports: &str, target, protocol, mode| {
        Publish::new(ports.parse().unwrap(), target, protocol, mode).unwrap()
    };
    let network = NetworkId::from_bytes([0x4d; 16]);
    let web = Service {
        id: ServiceId::from_bytes([0x8c; 16]),
        name: "web".parse().unwrap(),
        networks: vec![network],
        publish: vec![
            publish("8080", 80, Protocol::Tcp, PublishMode::Ingress),
            publish("8000-8010", 80, Protocol::Udp, PublishMode::Host),
        ],
        endpoint_mode: EndpointMode::Vip,
        source_ip: SourceIp::Preserve,
        affinity: Affinity::None,
        stop_grace_period: Service::STOP_GRACE_PERIOD,
        unavailable: Unavailable::Reject,
        vips: vec![Vip { network, address: "10.1.0.127".parse().unwrap() }],
        drained: [(EndpointId::from_bytes([0x6f; 16]), 0)].into(),
        labels: BTreeMap::new(),
    };
    let dns = Service {
        id: ServiceId::from_bytes([0x9d; 16]),
        name: "a-long-service-name".parse().unwrap(),
        publish: vec![],
        endpoint_mode: EndpointMode::Dnsrr,
        affinity: "client-ip".parse().unwrap(),
        stop_grace_period: "1m30s".parse().unwrap(),
        vips: vec![],
        ..web.clone()
    };
    vec![
        ServiceRow { service: web, backends: 3, backends_active: 1 },
        ServiceRow { service: dns, backends: 0, backends_active: 0 },
    ]
}

fn backend_rows() -> Vec<BackendRow> {
    let row = |byte, name: &str, state| BackendRow {
        id: EndpointId::from_bytes([byte; 16]),
        name: name.parse().unwrap(),
        network_name: "mynet".parse().unwrap(),
        addresses: vec![[10, 1, 0, byte].into(), "fd00:1::5e".parse().unwrap()],
        node: NodeId::from_bytes([0x2b; 16]),
        hostname: "web-2.example.org".into(),
        weight: Weight::default(),
        state,
    };
    vec![
        BackendRow { weight: Weight::new(1000).unwrap(), ..row(0x5e, "web1", BackendState::Active) },
        row(0x6f, "web2", BackendState::Drained),
        BackendRow { hostname: "db".into(), ..row(0x7f, "web3", BackendState::NodeDrained) },
    ]
}

fn flow_rows() -> Vec<FlowRow> {
    let client = "203.0.113.9:40000".parse().unwrap();
    let web = || FlowRow {
        scope: FlowScope::Mesh,
        protocol: FlowProtocol::Tcp,
        network_name: None,
        from: client,
        to: "192.0.2.1:8080".parse().unwrap(),
        translated: None,
        service: Some("web".to_owned()),
        backend: Some("web1".to_owned()),
        backend_gone: false,
        state: FlowState::Established,
        idle_seconds: 0,
    };
    let network_name = || "mynet".parse().ok();
    vec![
        web(),
        FlowRow {
            scope: FlowScope::Return,
            network_name: network_name(),
            from: "10.1.0.94:80".parse().unwrap(),
            to: client,
            translated: "192.0.2.1:8080".parse().ok(),
            ..web()
        },
        FlowRow { service: None, backend: None, backend_gone: true, idle_seconds: 432_000, ..web() },
        FlowRow {
            scope: FlowScope::EgressReturn,
            protocol: FlowProtocol::Icmp,
            network_name: network_name(),
            from: "[2001:db8::1]:7".parse().unwrap(),
            to: "[2001:db8:1::1]:61000".parse().unwrap(),
            service: None,
            backend: None,
            state: FlowState::New,
            idle_seconds: 29,
            ..web()
        },
    ]
}

fn stats_of(flows: u64, dropped: u64) -> Stats {
    let backend = |byte, name: &str, hostname: &str, flows| BackendStats {
        id: EndpointId::from_bytes([byte; 16]),
        name: name.parse().unwrap(),
        hostname: hostname.to_owned(),
        counts: Counts { flows, packets: 10 * flows, bytes: 1000 * flows },
    };
    let meaning = "A client came to a service that has no backend.".to_owned();
    let service = |byte, name: &str, backends| ServiceStats {
        id: ServiceId::from_bytes([byte; 16]),
        name: name.parse().unwrap(),
        backends,
        drops: BTreeMap::new(),
    };
    Stats {
        services: vec![
            service(0x8c, "web", vec![backend(1, "web1", "n1", flows), backend(2, "web2", "n2", 7)]),
            ServiceStats {
                drops: [("no_backend".to_owned(), DropCount { packets: dropped, meaning })].into(),
                ..service(0x9d, "api", vec![])
            },
        ],
        ..Stats::default()
    }
}

fn ready() -> Status {
    Status {
        version: "0.1.0".into(),
        node: Some(NodeId::from_bytes([0x2b; 16])),
        hostname: "web-2".into(),
        ready: true,
        waiting_for: vec![],
        manager: Some(ManagerStatus { addr: "10.0.0.1:2377".parse().unwrap(), reachable: true, cause: None }),
        manager_role: None,
        intent_version: 12,
        nodes_alive: 3,
        nodes_total: 3,
        networks: 2,
        endpoints_local: 4,
        endpoints_total: 9,
        mesh: Some(MeshStatus { hook: "tc".to_owned(), why: "mesh_hook asks for it".to_owned() }),
        underlay: Some(UnderlayStatus {
            device: "eth0".into(),
            vtep: "10.0.0.2".parse().unwrap(),
            mtu: 1500,
        }),
        failures: vec![],
        drops: BTreeMap::new(),
        gossip: GossipStatus { pushes_sent: 5, syncs: 7, ..GossipStatus::default() },
    }
}

fn troubled() -> Status {
    let failure = |action: &str, cause: &str, attempts| Failure {
        action: action.into(),
        cause: cause.into(),
        attempts,
    };
    let drop = |packets, meaning: &str| DropCount { packets, meaning: meaning.into() };
    Status {
        ready: false,
        waiting_for: vec!["the manager at 10.0.0.1:2377".into(), "facts of 1 node".into()],
        manager: Some(ManagerStatus {
            addr: "10.0.0.1:2377".parse().unwrap(),
            reachable: false,
            cause: Some("Connection refused".to_owned()),
        }),
        manager_role: Some(RoleStatus {
            error: Some("raft.redb: No space left on device (os error 28)".into()),
            ..RoleStatus::default()
        }),
        nodes_alive: 2,
        failures: vec![
            failure("create the device overlay0", "another one has UDP port 4789", 17),
            failure("attach tc_endpoint to ovl5e5e5e5e5e5", "No such device", 1),
        ],
        drops: BTreeMap::from([
            (
                "unknown_vtep".into(),
                drop(1201, "VXLAN from an address that is no node's; is a firewall translating addresses?"),
            ),
            ("spoofed_source".into(), drop(3, "an endpoint sent with an address that is not its own")),
        ]),
        gossip: GossipStatus {
            refused: BTreeMap::from([(
                "forged".into(),
                drop(4, "not sealed with the cluster's key, or altered on the way"),
            )]),
            ..ready().gossip
        },
        ..ready()
    }
}

#[test]
fn tables() {
    let networks = [network(0x4d, "mynet", &["10.1.0.0/24"]), network(0x7a, "b", &["10.2.0.0/24"])];
    insta::assert_snapshot!("node_ls", nodes(&node_rows(), TABLE).unwrap());
    insta::assert_snapshot!("network_ls", super::networks(&networks, TABLE).unwrap());
    insta::assert_snapshot!("endpoint_ls", endpoints(&endpoint_rows(), TABLE).unwrap());
    insta::assert_snapshot!("node_ls_no_trunc", nodes(&node_rows(), NO_TRUNC).unwrap());
    insta::assert_snapshot!("network_ls_no_trunc", super::networks(&networks, NO_TRUNC).unwrap());
    insta::assert_snapshot!("endpoint_ls_no_trunc", endpoints(&endpoint_rows(), NO_TRUNC).unwrap());
    insta::assert_snapshot!("endpoint_ls_empty", endpoints(&[], TABLE).unwrap());
}

#[test]
fn tables_of_services() {
    insta::assert_snapshot!("service_ls", services(&service_rows(), TABLE).unwrap());
    insta::assert_snapshot!("service_ls_json", services(&service_rows()[..1], JSON).unwrap());
    insta::assert_snapshot!("service_ps", backends(&backend_rows(), TABLE).unwrap());
    insta::assert_snapshot!("service_ps_json", backends(&backend_rows()[..1], JSON).unwrap());
    assert_eq!(services(&service_rows()[..1], QUIET).unwrap(), "8c8c8c8c8c8c\n");
    assert_eq!(backends(&backend_rows()[..1], QUIET_NO_TRUNC).unwrap(), "5e".repeat(16) + "\n");
}

#[test]
fn counts_and_rates() {
    let (before, now) = (stats_of(100, 3), stats_of(400, 9));
    insta::assert_snapshot!("service_stats", stats(&now));
    insta::assert_snapshot!("service_stats_json", json(&now.services).unwrap());
    insta::assert_snapshot!("service_stats_watch", rates(&before, &now, Duration::from_millis(1500)));
    let quiet = rates(&now, &now, Duration::from_secs(2));
    assert!(!quiet.contains("DROPPED"), "{quiet}");
    // Counted from 0 again.
    let again = rates(&now, &stats_of(40, 9), Duration::from_secs(2));
    assert!(again.contains("n1     20        200         20000\n"), "{again}");
}

#[test]
fn listings_of_flows() {
    insta::assert_snapshot!("flow_ls", flows(&flow_rows(), ListFormat::Table).unwrap());
    insta::assert_snapshot!("flow_ls_json", flows(&flow_rows()[1..2], ListFormat::Json).unwrap());
}

#[test]
fn json_of_a_service_with_its_backends() {
    let [row, _] = <[ServiceRow; 2]>::try_from(service_rows()).unwrap();
    let detail = ServiceDetail {
        service: row.service,
        network_names: vec!["mynet".parse().unwrap()],
        backends: backend_rows(),
    };
    insta::assert_snapshot!("service_inspect", json(&[detail]).unwrap());
}

#[test]
fn only_ids() {
    assert_eq!(nodes(&node_rows()[..2], QUIET).unwrap(), "1a1a1a1a1a1a\n2b2b2b2b2b2b\n");
    assert_eq!(nodes(&node_rows()[..1], QUIET_NO_TRUNC).unwrap(), "1a".repeat(16) + "\n");
    assert_eq!(nodes(&node_rows()[..1], QUIET).unwrap().trim(), node_rows()[0].id.short());
}

#[test]
fn json_of_lists() {
    let networks = [network(0x4d, "mynet", &["10.1.0.0/24"])];
    insta::assert_snapshot!("node_ls_json", nodes(&node_rows()[..1], JSON).unwrap());
    insta::assert_snapshot!("network_ls_json", super::networks(&networks, JSON).unwrap());
    insta::assert_snapshot!("endpoint_ls_json", endpoints(&endpoint_rows(), JSON).unwrap());
    assert_eq!(nodes(&[], JSON).unwrap(), "[]\n");
}

#[test]
fn json_of_a_network_with_its_endpoints() {
    let detail = NetworkDetail {
        network: network(0x4d, "mynet", &["10.1.0.0/24", "fd00:1::/64"]),
        effective_mtu: 1450,
        endpoints: endpoint_rows(),
        services: vec![NetworkService {
            name: "web".parse().unwrap(),
            vips: ["10.1.0.127", "fd00:1::ffff"].map(|vip| vip.parse().unwrap()).into(),
        }],
    };
    insta::assert_snapshot!("network_inspect", json(&[detail]).unwrap());
}

#[test]
fn states() {
    let newborn = Status {
        node: None,
        ready: false,
        waiting_for: vec!["a cluster".into()],
        manager: None,
        intent_version: 0,
        nodes_alive: 0,
        nodes_total: 0,
        networks: 0,
        endpoints_local: 0,
        endpoints_total: 0,
        underlay: None,
        mesh: None,
        ..ready()
    };
    let leads = RoleStatus { running: true, leader: Some("web-2".into()), error: None };
    let manager = Status { manager_role: Some(leads), ..ready() };
    insta::assert_snapshot!("status_ready", status(&ready()));
    insta::assert_snapshot!("status_of_a_manager", status(&manager));
    insta::assert_snapshot!("status_troubled", status(&troubled()));
    insta::assert_snapshot!("status_in_no_cluster", status(&newborn));
    insta::assert_snapshot!("status_json", json(&troubled()).unwrap());
}

#[test]
fn cluster() {
    let node = NodeId::from_bytes([0x2b; 16]);
    let initialized = |manager: &str| {
        let manager = manager.parse().unwrap();
        cluster_initialized(&ClusterInitialized { node, join_token: "TOKEN".into(), manager })
    };
    insta::assert_snapshot!("cluster_init", initialized("10.0.0.1:2377"));
    insta::assert_snapshot!("cluster_init_ipv6", initialized("[fd00::1]:2377"));
    insta::assert_snapshot!("cluster_join", cluster_joined(&ClusterJoined { node, role: Role::Worker }));
    let token =
        JoinToken { role: Role::Manager, token: "TOKEN".into(), manager: "10.0.0.1:2377".parse().unwrap() };
    insta::assert_snapshot!("cluster_join_token", join_token(&token));
    let left = |still_listed| cluster_left(&ClusterLeft { node, still_listed });
    let both = left(None) + &left(Some("no manager can be reached: 10.0.0.1:2377: timed out".into()));
    insta::assert_snapshot!("cluster_leave", both);
}

#[test]
fn errors() {
    let socket = || "/run/overlay/overlayd.sock".into();
    let refused = |name: &str| ApiError::new(ErrorCode::NotFound, format!("no network is called {name:?}"));
    let errors = [
        Error::NotRunning { socket: socket(), source: io::ErrorKind::NotFound.into() },
        Error::NotRunning { socket: socket(), source: io::ErrorKind::ConnectionRefused.into() },
        Error::Forbidden { socket: socket() },
        Error::Connection { socket: socket(), source: io::ErrorKind::ConnectionReset.into() },
        Error::Silent { limit: Duration::from_secs(60) },
        Error::CutOff { received: 17 },
        Error::TooLong { limit: 64 << 20 },
        Error::NotUnderstood { what: "HTTP status 404 for GET /v1/things".into() },
        Error::Some(vec![
            Error::Api(refused("a").hint("`overlayctl network ls` lists them")),
            Error::Api(refused("b")),
        ]),
        Error::Unconfirmed {
            waited: Duration::from_secs(30),
            missing: vec!["web-2 (no answer within 4 s)".into(), "db (it went down meanwhile)".into()],
        },
        Error::NotReady { waited: Duration::from_secs(30), missing: troubled().waiting_for },
        Error::Output(io::ErrorKind::StorageFull.into()),
    ];
    insta::assert_snapshot!("errors", errors.iter().map(error).collect::<Vec<_>>().join("\n"));
}
