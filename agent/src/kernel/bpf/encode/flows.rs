//! Flows. Programs write them, so they are only decoded.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use overlay::flows::{FlowEntry, FlowProtocol, FlowScope, FlowState};
use overlay::lb::Generation;
use overlay::model::Vni;
use overlay_abi::Address;
use overlay_abi::services::{Flow, FlowKey, scope, state};

use super::{Encode, decode_slot};

/// A flow. `now` is the programs' time, since the host's boot.
pub(in crate::kernel::bpf) fn decode_flow(key: &FlowKey, flow: &Flow, now: Duration) -> Result<FlowEntry> {
    Ok(FlowEntry {
        idle: now.saturating_sub(Duration::from_nanos(flow.seen)),
        scope: decode_scope(key.scope)?,
        protocol: decode_protocol(key.protocol)?,
        vni: optional(key.vni, |vni| Vni::decode(&vni))?,
        from: socket(key.source, key.source_port)?,
        to: socket(key.destination, key.destination_port)?,
        translated: if flow.address.is_none() { None } else { Some(socket(flow.address, flow.port)?) },
        backend: optional(flow.backend, |slot| {
            let generation = Generation::from_number(flow.generation);
            Ok((
                decode_slot(slot)?,
                generation.context("a map holds a flow of a backend without a generation")?,
            ))
        })?,
        state: decode_state(key.protocol, flow.state)?,
    })
}

/// 0 is none.
fn optional<T>(number: u32, decode: impl FnOnce(u32) -> Result<T>) -> Result<Option<T>> {
    if number == 0 { Ok(None) } else { decode(number).map(Some) }
}

fn socket(address: Address, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(IpAddr::decode(&address)?, port))
}

fn decode_scope(number: u8) -> Result<FlowScope> {
    Ok(match number {
        scope::MESH => FlowScope::Mesh,
        scope::RETURN => FlowScope::Return,
        scope::VIP => FlowScope::Vip,
        scope::VIP_RETURN => FlowScope::VipReturn,
        scope::EGRESS => FlowScope::Egress,
        scope::EGRESS_RETURN => FlowScope::EgressReturn,
        scope::SNAT_RETURN => FlowScope::SnatReturn,
        scope::FRAGMENT => FlowScope::Fragment,
        _ => bail!("a map holds a flow for the purpose {number}, which there is not"),
    })
}

fn decode_protocol(number: u8) -> Result<FlowProtocol> {
    Ok(match i32::from(number) {
        libc::IPPROTO_TCP => FlowProtocol::Tcp,
        libc::IPPROTO_UDP => FlowProtocol::Udp,
        libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => FlowProtocol::Icmp,
        _ => bail!("a map holds a flow of the protocol {number}, which no program follows"),
    })
}

fn decode_state(protocol: u8, number: u8) -> Result<FlowState> {
    let tcp = i32::from(protocol) == libc::IPPROTO_TCP;
    Ok(match (tcp, number) {
        (true, state::SYN) => FlowState::Syn,
        (true, state::ESTABLISHED) => FlowState::Established,
        (true, state::FIN) => FlowState::Fin,
        // As the programs take all others.
        (true, _) => FlowState::Rst,
        (false, state::ESTABLISHED) => FlowState::Stream,
        (false, _) => FlowState::New,
    })
}

#[cfg(test)]
mod tests {
    use overlay::lb::{BackendSlot, Slot as _};

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn key(scope: u8, protocol: u8) -> FlowKey {
        let end = |text: &str, port| (IpAddr::encode(&text.parse().unwrap()), port);
        FlowKey::new(scope, 100, protocol, end("10.1.0.2", 80), end("10.1.0.3", 40_000))
    }

    #[test]
    fn a_flow_is_decoded() {
        let flow = Flow {
            seen: 99_000_000_000,
            backend: 7,
            generation: 9,
            address: IpAddr::encode(&"2001:db8::1".parse().unwrap()),
            port: 8080,
            state: state::ESTABLISHED,
            ..Flow::default()
        };
        let expected = FlowEntry {
            idle: Duration::from_secs(1),
            scope: FlowScope::Vip,
            protocol: FlowProtocol::Tcp,
            vni: Vni::new(100).ok(),
            from: "10.1.0.2:80".parse().unwrap(),
            to: "10.1.0.3:40000".parse().unwrap(),
            translated: "[2001:db8::1]:8080".parse().ok(),
            backend: BackendSlot::new(7).zip(Generation::from_number(9)),
            state: FlowState::Established,
        };
        assert_eq!(decode_flow(&key(scope::VIP, 6), &flow, NOW).unwrap(), expected);
        let key = FlowKey { vni: 0, ..key(scope::MESH, 58) };
        let expected = FlowEntry {
            // Seen between the look at the clock and that at the flow.
            idle: Duration::ZERO,
            scope: FlowScope::Mesh,
            protocol: FlowProtocol::Icmp,
            vni: None,
            translated: None,
            backend: None,
            state: FlowState::New,
            ..expected
        };
        let flow = Flow { seen: 101_000_000_000, ..Flow::default() };
        assert_eq!(decode_flow(&key, &flow, NOW).unwrap(), expected);
    }

    #[test]
    fn what_no_program_writes_is_refused() {
        for (key, flow) in [
            (key(0, 6), Flow::default()),
            (key(scope::FRAGMENT + 1, 6), Flow::default()),
            (key(scope::MESH, 132), Flow::default()),
            (key(scope::MESH, 6), Flow { backend: 7, ..Flow::default() }),
        ] {
            assert!(decode_flow(&key, &flow, NOW).is_err(), "{key:?}");
        }
    }
}
