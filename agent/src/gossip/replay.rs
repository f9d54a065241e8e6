//! The replay window: which of a sender's last counters were seen (as in RFC 4303, section 3.4.3).

/// How far behind the highest counter a datagram may arrive.
const SIZE: u64 = 1024;
const WORDS: usize = (SIZE / 64) as usize;

/// The highest counter seen, and a bit for each of the last [`SIZE`].
#[derive(Debug, Default)]
pub(super) struct Window {
    highest: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// Whether the counter was not seen, and is recent enough to tell. Counters start at 1.
    pub(super) fn is_fresh(&self, counter: u64) -> bool {
        counter > self.highest || (counter > 0 && self.highest - counter < SIZE && !self.bit(counter))
    }

    /// Notes a counter as seen.
    pub(super) fn mark(&mut self, counter: u64) {
        if counter > self.highest {
            let forgotten = (counter - self.highest).min(SIZE);
            for passed in counter - forgotten + 1..=counter {
                self.seen[word(passed)] &= !mask(passed);
            }
            self.highest = counter;
        }
        self.seen[word(counter)] |= mask(counter);
    }

    fn bit(&self, counter: u64) -> bool {
        self.seen[word(counter)] & mask(counter) != 0
    }
}

fn word(counter: u64) -> usize {
    (counter % SIZE / 64) as usize
}

fn mask(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_set(counters in prop::collection::vec(1u64..5000, 1..400)) {
            let (mut window, mut seen, mut highest) = (Window::default(), BTreeSet::new(), 0);
            for counter in counters {
                let fresh = !seen.contains(&counter) && counter + SIZE > highest;
                prop_assert_eq!(window.is_fresh(counter), fresh, "{} after {}", counter, highest);
                if fresh {
                    window.mark(counter);
                    seen.insert(counter);
                    highest = highest.max(counter);
                }
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_range() {
        let mut window = Window::default();
        assert!(!window.is_fresh(0));
        window.mark(u64::MAX);
        assert!(!window.is_fresh(u64::MAX));
        assert!(window.is_fresh(u64::MAX - 1));
        assert!(!window.is_fresh(u64::MAX - SIZE));
    }
}
