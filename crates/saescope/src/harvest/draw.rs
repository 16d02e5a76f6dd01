//! Random choices that depend on no order: each place has a random number of its own, and the smallest win.
//!
//! The number is a hash of the seed, the purpose, the number and content of the sequence, and the position in it. Passes
//! over parts of a corpus, put together in any order, choose what one pass over the whole chooses.

use crate::digest::Digest;

/// The identity of a sequence by its number in the corpus and its content: the beginning of the SHA-256 of
/// both. Without the number, equal sequences would be chosen all together or not at all.
pub fn sequence_key(number: u32, tokens: &[u32]) -> u64 {
    let mut digest = Digest::new();
    digest.add(&number.to_le_bytes());
    for &id in tokens {
        digest.add(&id.to_le_bytes());
    }
    let mut key = [0; 8];
    key.copy_from_slice(&digest.finish()[..8]);
    u64::from_le_bytes(key)
}

/// Random numbers for one purpose: a feature, or the choice of sequences.
#[derive(Clone, Copy, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The numbers of a feature.
    pub fn of_feature(seed: u64, feature: u32) -> Draw {
        Draw(mix(mix(seed) ^ u64::from(feature)))
    }

    /// The numbers that choose sequences.
    pub fn of_sequences(seed: u64) -> Draw {
        Draw(mix(mix(seed) ^ (1 << 32)))
    }

    /// The number of a position in the sequence with this [`sequence_key`].
    pub fn at(self, key: u64, position: u32) -> u64 {
        mix(mix(self.0 ^ key).wrapping_add(u64::from(position)))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014) after its increment.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_over_positions_features_and_sequences() {
        let mut bins = [0_u32; 16];
        for feature in 0..20 {
            let draw = Draw::of_feature(3, feature);
            for sequence in 0..20_u32 {
                let key = sequence_key(sequence, &[1]);
                for position in 0..100 {
                    bins[(draw.at(key, position) >> 60) as usize] += 1;
                }
            }
        }
        // 2,500 are expected in each; seven standard deviations are 350.
        assert!(bins.iter().all(|&n| n.abs_diff(2500) < 350), "{bins:?}");
        let (a, b) = (Draw::of_feature(3, 0), Draw::of_sequences(3));
        assert_ne!(a.at(5, 0), b.at(5, 0));
        assert_ne!(a.at(5, 0), Draw::of_feature(4, 0).at(5, 0));
    }
}
