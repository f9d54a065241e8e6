//! Probes between all pairs of some endpoints at once.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use crate::lab::Attached;
use crate::probe::{TcpProbe, UdpProbe};
use crate::traffic::Responder;

/// Answers to each probe that span what happens at an agent's start.
const ANSWERS: u64 = 300;

/// Bytes of each stream that do.
const BYTES: u64 = 1 << 18;

/// A question every millisecond over both families, and a TCP stream, between every two endpoints.
pub struct Mesh {
    udp: Vec<(String, UdpProbe)>,
    tcp: Vec<(String, TcpProbe)>,
    _responders: Vec<Responder>,
}

impl Mesh {
    /// Starts them, and waits until all flow.
    ///
    /// # Errors
    /// One never does.
    pub fn start(endpoints: &[&Attached]) -> Result<Self> {
        let responders = endpoints
            .iter()
            .map(|endpoint| Responder::start(&endpoint.netns, &endpoint.row.endpoint.name.to_string()))
            .collect::<Result<_>>()?;
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for (index, from) in endpoints.iter().enumerate() {
            for to in &endpoints[index + 1..] {
                let name = |address: IpAddr| format!("{} to {address}", from.row.endpoint.name);
                for address in [to.ip4(), to.ip6()] {
                    let probe = UdpProbe::start(&from.netns, address).with_context(|| name(address))?;
                    udp.push((name(address), probe));
                }
                // Families in turns: a stream's is that of every second pair.
                let address = if tcp.len() % 2 == 0 { to.ip4() } else { to.ip6() };
                let probe =
                    TcpProbe::start(&from.netns, &to.netns, address).with_context(|| name(address))?;
                tcp.push((name(address), probe));
            }
        }
        Ok(Self { udp, tcp, _responders: responders })
    }

    /// Waits until every probe has been answered, and every stream has flowed, for a while longer.
    ///
    /// # Errors
    /// Which one stands still.
    pub fn flows(&self) -> Result<()> {
        // All of them at once: agents that are away for this must not be taken for dead.
        let udp: Vec<_> = self.udp.iter().map(|(_, probe)| probe.answered() + ANSWERS).collect();
        let tcp: Vec<_> = self.tcp.iter().map(|(_, probe)| probe.received() + BYTES).collect();
        for ((name, probe), goal) in self.udp.iter().zip(udp) {
            probe.wait_for(goal).with_context(|| name.clone())?;
        }
        for ((name, probe), goal) in self.tcp.iter().zip(tcp) {
            probe.wait_for(goal).with_context(|| name.clone())?;
        }
        Ok(())
    }

    /// Stops them all; nothing may have been lost.
    ///
    /// # Errors
    /// Which of them lost what, or which stream broke.
    pub fn stop_without_loss(self) -> Result<()> {
        let lost = self.stop()?;
        ensure!(lost.is_empty(), "lost: {lost:#?}");
        Ok(())
    }

    /// Stops them all, and tells which of them lost what.
    ///
    /// # Errors
    /// Which stream broke.
    pub fn stop(self) -> Result<Vec<String>> {
        let mut lost = Vec::new();
        for (name, probe) in self.udp {
            let report = probe.stop().with_context(|| name.clone())?;
            if report.lost > 0 {
                lost.push(format!("{name}: {report:?}"));
            }
        }
        for (name, probe) in self.tcp {
            probe.stop().with_context(|| name)?;
        }
        Ok(lost)
    }
}
