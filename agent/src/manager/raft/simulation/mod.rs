//! The managers in simulated time: the Raft library, our storage and our state machine, over a network that loses, delays and
//! cuts, and disks that lose and tear what was not synced.
//!
//! A life has one thread, a clock that leaps, and one seed that everything random is drawn from: a schedule that fails is named by its
//! seed, and run again by `OVERLAY_SIM_SEED=… cargo test -p overlayd managers_lose_nothing`. How the asynchronous runtime
//! orders what happens at the very same instant is the one thing that the seed does not decide everywhere.

mod clients;
mod disk;
mod faults;
mod given;
mod history;
mod network;
mod observed;
mod runtime;
mod wishes;
mod world;

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use self::runtime::run;
use self::world::World;

/// How many schedules a test run takes, unless `OVERLAY_SIM_SCHEDULES` says so.
const SCHEDULES: u64 = 200;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn managers_lose_nothing_whatever_fails() {
    if let Some(seed) = setting("OVERLAY_SIM_SEED") {
        return drop(schedule(seed));
    }
    let first: u64 = rand::random_range(0..1 << 32);
    let schedules = setting("OVERLAY_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let began = Instant::now();
    let (next, end) = (AtomicU64::new(first), first + schedules);
    let lives = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        if std::panic::catch_unwind(|| schedule(seed)).is_err() {
            next.store(end, Ordering::Relaxed);
            panic!("OVERLAY_SIM_SEED={seed} tells how");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(lives);
        }
    });
    println!("{schedules} schedules from seed {first} on in {:?}", began.elapsed());
}

#[test]
fn a_seed_tells_the_same_story_again() {
    assert_eq!(schedule(7), schedule(7));
}

/// One cluster's life: faults for a while, then none, and what must have come of it. Returns a digest of what happened.
fn schedule(seed: u64) -> Vec<u8> {
    run(async move {
        let mut rng = SmallRng::seed_from_u64(seed);
        let managers = if rng.random_bool(0.5) { 3 } else { 5 };
        let mut world = World::new(managers, rng);
        world.live(Duration::from_secs(20)).await;
        world.check()
    })
}
