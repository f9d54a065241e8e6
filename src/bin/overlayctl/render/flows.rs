//! The listing of flows.

use std::io;

use overlay::api::FlowRow;
use overlay::flows::{FlowProtocol, FlowScope, FlowState};
use overlay::model::Seconds;

use super::json;
use super::table::table;
use crate::args::ListFormat;

/// What stands for nothing in the midst of a row.
const NONE: &str = "-";

/// `flow ls`.
pub(crate) fn flows(flows: &[FlowRow], format: ListFormat) -> io::Result<String> {
    match format {
        ListFormat::Json => json(&flows),
        ListFormat::Table => {
            let titles = ["SCOPE", "PROTO", "FROM", "TO", "SERVICE", "BACKEND", "STATE", "IDLE"];
            Ok(table(titles, flows.iter().map(cells)))
        }
    }
}

fn cells(flow: &FlowRow) -> [String; 8] {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| NONE.to_owned());
    [
        scope(flow.scope).to_owned(),
        protocol(flow.protocol).to_owned(),
        flow.from.to_string(),
        flow.to.to_string(),
        name(&flow.service),
        if flow.backend_gone { "(gone)".to_owned() } else { name(&flow.backend) },
        state(flow.state).to_owned(),
        Seconds(flow.idle_seconds).to_string(),
    ]
}

/// As in JSON.
const fn scope(scope: FlowScope) -> &'static str {
    match scope {
        FlowScope::Mesh => "mesh",
        FlowScope::Return => "return",
        FlowScope::Vip => "vip",
        FlowScope::VipReturn => "vip-return",
        FlowScope::Egress => "egress",
        FlowScope::EgressReturn => "egress-return",
        FlowScope::SnatReturn => "snat-return",
        FlowScope::Fragment => "fragment",
    }
}

const fn protocol(protocol: FlowProtocol) -> &'static str {
    match protocol {
        FlowProtocol::Tcp => "tcp",
        FlowProtocol::Udp => "udp",
        FlowProtocol::Icmp => "icmp",
    }
}

/// TCP's as it names them itself (RFC 9293).
const fn state(state: FlowState) -> &'static str {
    match state {
        FlowState::Syn => "SYN",
        FlowState::Established => "ESTABLISHED",
        FlowState::Fin => "FIN",
        FlowState::Rst => "RST",
        FlowState::New => "new",
        FlowState::Stream => "stream",
    }
}
