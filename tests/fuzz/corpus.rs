//! Runs every target on its corpus and on mutations of it, the same ones in every run.

use overlay_fuzz::{TARGETS, folder, seeds};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

const MUTATIONS: usize = 2000;

#[test]
fn the_seeds_are_what_the_code_encodes() {
    for (target, name, bytes) in seeds() {
        let path = folder(target).join(name);
        let stored = std::fs::read(&path).unwrap();
        assert_eq!(stored, bytes, "{}: `cargo run -p overlay-fuzz` writes it anew", path.display());
    }
}

#[test]
fn nothing_panics() {
    let mut rng = SmallRng::seed_from_u64(7);
    for (name, target) in TARGETS {
        let corpus: Vec<Vec<u8>> = std::fs::read_dir(folder(name))
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .collect();
        assert!(!corpus.is_empty(), "{name} has no seed");
        target(&[]);
        for seed in &corpus {
            target(seed);
            for _ in 0..MUTATIONS {
                target(&mutated(seed, &mut rng));
            }
        }
    }
}

/// A few bytes changed, inserted, removed or cut off.
fn mutated(seed: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] = [0, 0x7f, 0x80, 0xff][rng.random_range(0..4)],
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => {}
        }
    }
    bytes
}
