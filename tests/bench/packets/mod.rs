//! What the mesh takes for a packet in XDP, alone: the kernel runs the program over and over with packets of many flows
//! (`BPF_PROG_TEST_RUN`). What a device or the kernel's own path take is not in it.

mod tables;

use anyhow::{Context as _, Result};

use crate::report::percentile;
use tables::{Loaded, Size, Transport};

/// How often a program runs without a pause: in far less than the half second that XDP uses a next hop for.
const AT_ONCE: u32 = 20_000;

/// How often a round is tried.
const TRIES: usize = 20;

/// The program that does nothing.
const IDLE: &str = "measured_pass";

/// What is timed.
struct Case {
    what: &'static str,
    program: &'static str,
    size: Size,
    packets: Packets,
    goal: Option<u32>,
}

/// The packets that come.
#[derive(Clone, Copy)]
struct Packets {
    transport: Transport,
    flows: u32,
    /// The flows are known already.
    known: bool,
    /// They are for a published port.
    published: bool,
}

const UNDERLAY: &str = "measured_underlay";
const ONE: Size = Size { services: 1, backends: 1, flows: None };

const fn known(flows: u32) -> Packets {
    Packets { transport: Transport::Acknowledgement, flows, known: true, published: true }
}

const fn new(transport: Transport) -> Packets {
    Packets { transport, flows: 1 << 30, known: false, published: true }
}

const fn case(what: &'static str, size: Size, packets: Packets, goal: Option<u32>) -> Case {
    Case { what, program: UNDERLAY, size, packets, goal }
}

const fn bare(what: &'static str, program: &'static str) -> Case {
    Case { what, program, size: ONE, packets: known(1), goal: None }
}

const MISS: Packets = Packets { published: false, ..known(1000) };
const MILLION: Size = Size { flows: Some(1 << 21), ..ONE };

const CASES: [Case; 17] = [
    bare("XDP_PASS", "measured_pass"),
    bare("XDP_TX", "measured_tx"),
    bare("a bare encapsulation, without a lookup", "measured_encapsulation"),
    case("a known flow, sent on: 1 flow", ONE, known(1), Some(110)),
    case("1,000 flows", ONE, known(1000), Some(115)),
    case("32,000 flows", ONE, known(32_000), Some(220)),
    case("1,000,000 flows", MILLION, known(1_000_000), None),
    case("a new flow, kept", ONE, new(Transport::Datagram), Some(400)),
    case("a new connection, which is not kept", ONE, new(Transport::Opening), Some(170)),
    case("a packet for nobody's port, passed", ONE, MISS, Some(30)),
    case("1,000 flows: 10 services", Size { services: 10, ..ONE }, known(1000), None),
    case("100 services", Size { services: 100, ..ONE }, known(1000), None),
    case("1,000 services", Size { services: 1000, ..ONE }, known(1000), None),
    case("1,000 flows: 10 backends", Size { backends: 10, ..ONE }, known(1000), None),
    case("100 backends", Size { backends: 100, ..ONE }, known(1000), None),
    case("1,000 backends", Size { backends: 1000, ..ONE }, known(1000), None),
    case("a new connection: 1,000 backends", Size { backends: 1000, ..ONE }, new(Transport::Opening), None),
];

/// Prints the table: `rounds` of what is timed, of the cases whose name contains what is chosen.
pub(crate) fn print(rounds: usize, chosen: &str) -> Result<()> {
    let title = format!("XDP, {rounds} rounds of {AT_ONCE} packets");
    println!("{title:<48}{:>12}{:>12}{:>9}{:>12}", "median, ns", "least, ns", "goal", "maps, MB");
    for case in CASES.iter().filter(|case| case.what.contains(chosen)) {
        let mut loaded = Loaded::new(case.size)?;
        let (took, idle) = time(&mut loaded, case, rounds)?;
        let [median, least] = [50, 0].map(|at| percentile(&took, at) - percentile(&idle, at));
        let goal = case.goal.map_or(String::new(), |goal| goal.to_string());
        let memory = loaded.memory()? as f64 / 1e6;
        println!("{:<48}{median:>12.0}{least:>12.0}{goal:>9}{memory:>12.0}", case.what);
    }
    Ok(())
}

/// Nanoseconds that a packet takes, by round, and those of them that it takes to put it back as it was.
fn time(loaded: &mut Loaded, case: &Case, rounds: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let packets = case.packets;
    let port = if packets.published { tables::FIRST_PORT } else { tables::NOBODYS_PORT };
    loaded.set_turns([packets.flows, 0, u32::from(port), case.size.services])?;
    if packets.known {
        loaded.run(case.program, packets.transport, packets.flows)?;
    }
    let (mut took, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        idle.push(loaded.run(IDLE, packets.transport, AT_ONCE)?.1.into());
        took.push(round(loaded, case)?.into());
    }
    Ok((took, idle))
}

/// One that did what is timed to its end: on a busy machine, the next hop may be too old before that.
fn round(loaded: &mut Loaded, case: &Case) -> Result<u32> {
    let expected = match case.program {
        IDLE => tables::XDP_PASS,
        "measured_tx" => tables::XDP_TX,
        _ if case.packets.published => tables::XDP_REDIRECT,
        _ => tables::XDP_PASS,
    };
    let mut rounds = (0..TRIES).map(|_| loaded.run(case.program, case.packets.transport, AT_ONCE));
    let whole = rounds.find(|round| !matches!(round, Ok((verdict, _)) if *verdict != expected));
    let (_, took) = whole.with_context(|| format!("{}: no packet takes that way", case.what))??;
    Ok(took)
}
