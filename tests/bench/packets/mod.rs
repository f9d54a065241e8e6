//! What the mesh takes for a packet in XDP, alone: the kernel runs the program over and over with packets of many flows
//! (`BPF_PROG_TEST_RUN`). What a device or the kernel's own path take is not in it.

mod tables;

use anyhow::{Result, bail};

use crate::report::median;
use tables::{Loaded, Size, Transport};

/// How often a program runs without a pause: far less than the half second that XDP uses a next hop for.
const AT_ONCE: u32 = 100_000;

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

/// Prints the table; `rounds` of 100,000 runs each.
pub(crate) fn print(rounds: usize) -> Result<()> {
    println!("{:<48}{:>9}{:>9}", format!("XDP, medians of {rounds} rounds of {AT_ONCE}"), "ns", "goal");
    for case in &CASES {
        let took = time(case, rounds)?;
        let goal = case.goal.map_or(String::new(), |goal| goal.to_string());
        println!("{:<48}{took:>9.0}{goal:>9}", case.what);
    }
    Ok(())
}

/// Nanoseconds that a packet takes, less what it takes to put it back as it was.
fn time(case: &Case, rounds: usize) -> Result<f64> {
    let mut loaded = Loaded::new(case.size)?;
    let packets = case.packets;
    let port = if packets.published { tables::FIRST_PORT } else { tables::NOBODYS_PORT };
    let turns = [packets.flows, 0, u32::from(port), case.size.services];
    loaded.set_turns(turns)?;
    if packets.known {
        // TCP's flows are kept from the second packet on.
        for _ in 0..2 {
            loaded.run(case.program, packets.transport, packets.flows)?;
        }
    }
    let (mut took, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        took.push(run(&mut loaded, case)?);
        idle.push(f64::from(loaded.run("measured_pass", packets.transport, AT_ONCE)?.1));
    }
    Ok(median(&took) - median(&idle))
}

/// Runs a round, and ensures that it did what is timed.
fn run(loaded: &mut Loaded, case: &Case) -> Result<f64> {
    let (verdict, took) = loaded.run(case.program, case.packets.transport, AT_ONCE)?;
    let expected = match case.program {
        "measured_pass" => tables::XDP_PASS,
        "measured_tx" => tables::XDP_TX,
        _ if case.packets.published => tables::XDP_REDIRECT,
        _ => tables::XDP_PASS,
    };
    if verdict != expected {
        bail!("{}: the verdict is {verdict} instead of {expected}", case.what);
    }
    Ok(f64::from(took))
}
