//! What was counted for services.

use std::time::Duration;

use overlay::api::{BackendStats, ServiceStats, Stats};
use overlay::traffic::Counts;

use super::table::table;

/// `service stats`.
pub(crate) fn stats(stats: &Stats) -> String {
    tables(
        ["SERVICE", "BACKEND", "NODE", "FLOWS", "PACKETS", "BYTES"],
        ["SERVICE", "DROPPED", "REASON", "MEANING"],
        stats,
    )
}

/// `service stats --watch`: what was counted in that time, a second.
pub(crate) fn rates(before: &Stats, now: &Stats, time: Duration) -> String {
    let mut stats = now.clone();
    for service in &mut stats.services {
        let before = before.services.iter().find(|before| before.id == service.id);
        per_second(before, service, time);
    }
    tables(
        ["SERVICE", "BACKEND", "NODE", "FLOWS/S", "PACKETS/S", "BYTES/S"],
        ["SERVICE", "DROPPED/S", "REASON", "MEANING"],
        &stats,
    )
}

/// Turns counts into what was counted a second. What was not there before has counted from 0, as has what was forgotten
/// meanwhile.
fn per_second(before: Option<&ServiceStats>, service: &mut ServiceStats, time: Duration) {
    let rate = |before: u64, now: u64| {
        (now.checked_sub(before).unwrap_or(now) as f64 / time.as_secs_f64()).round() as u64
    };
    for backend in &mut service.backends {
        let before = before.and_then(|before| before.backends.iter().find(|before| before.id == backend.id));
        let before = before.map(|before| before.counts).unwrap_or_default();
        let Counts { flows, packets, bytes } = &mut backend.counts;
        *flows = rate(before.flows, *flows);
        *packets = rate(before.packets, *packets);
        *bytes = rate(before.bytes, *bytes);
    }
    for (reason, drop) in &mut service.drops {
        let before = before.and_then(|before| before.drops.get(reason));
        drop.packets = rate(before.map_or(0, |before| before.packets), drop.packets);
    }
    service.drops.retain(|_, drop| drop.packets > 0);
}

/// The backends, and what was dropped if anything was.
fn tables(backends: [&str; 6], drops: [&str; 4], stats: &Stats) -> String {
    let rows = stats.services.iter().flat_map(|service| {
        service.backends.iter().map(|BackendStats { name, hostname, counts, .. }| {
            let Counts { flows, packets, bytes } = counts;
            let counts = [flows, packets, bytes].map(ToString::to_string);
            let [flows, packets, bytes] = counts;
            [service.name.to_string(), name.to_string(), hostname.clone(), flows, packets, bytes]
        })
    });
    let mut text = table(backends, rows);
    let mut dropped = stats
        .services
        .iter()
        .flat_map(|service| {
            service.drops.iter().map(|(reason, drop)| {
                let (name, packets) = (service.name.to_string(), drop.packets.to_string());
                [name, packets, reason.clone(), drop.meaning.clone()]
            })
        })
        .peekable();
    if dropped.peek().is_some() {
        text.push('\n');
        text.push_str(&table(drops, dropped));
    }
    text
}
