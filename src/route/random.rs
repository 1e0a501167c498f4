//! Chance as a value: the gateway draws one number per request, and all choices follow from it.
//!
//! In: a seed. Out: numbers, and draws by weight, that depend on nothing else, so that a test or
//! `explain` sees what the request saw; and draws that stay the same for a session (rendezvous
//! hashing). Never: a source of its own.

/// A seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random(u64);

/// One step of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another seed for the `index`-th choice of the same request.
    #[must_use]
    pub fn nth(self, index: u32) -> Self {
        Self(mix(self.0 ^ (u64::from(index) << 32)))
    }

    /// From 0 to below 1.
    pub fn unit(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are what the fraction holds")]
        let unit = (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }

    /// One of `items`, by weight; all weights 0: each as likely as the others. Weights below 0 and
    /// those that are no numbers count as 0.
    pub fn draw<T>(self, items: &[T], weight: impl Fn(&T) -> f64) -> Option<&T> {
        let weight = |item: &T| clean(weight(item));
        let total: f64 = items.iter().map(weight).sum();
        if total <= 0.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "below the length, which is small"
            )]
            let at = (self.unit() * items.len() as f64) as usize;
            return items.get(at);
        }
        let mut left = self.unit() * total;
        let drawable = items.iter().filter(|item| weight(item) > 0.0);
        let mut last = None;
        for item in drawable {
            left -= weight(item);
            last = Some(item);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

/// Who has to be sent to the same place again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session(u64);

impl Session {
    /// Of a session's id and what else binds it (the virtual key), in this order.
    pub fn of(parts: &[&str]) -> Self {
        Self(hash(parts))
    }

    /// The one of `items` that the session belongs to: each session prefers another one, the share
    /// of each follows its weight, and when one goes only its own sessions move.
    pub fn choose<T>(
        self,
        items: &[T],
        name: impl Fn(&T) -> &str,
        weight: impl Fn(&T) -> f64,
    ) -> Option<&T> {
        let all_zero = items.iter().all(|item| clean(weight(item)) <= 0.0);
        let mut best: Option<(f64, &T)> = None;
        for item in items {
            let weight = if all_zero { 1.0 } else { clean(weight(item)) };
            if weight <= 0.0 {
                continue;
            }
            // Weighted rendezvous: the smallest of -ln(u)/w wins with chance w / sum of all w.
            let unit = Random(self.0 ^ hash(&[name(item)])).unit();
            let score = -(unit.max(f64::MIN_POSITIVE)).ln() / weight;
            if best.is_none_or(|(least, _)| score < least) {
                best = Some((score, item));
            }
        }
        best.map(|(_, item)| item)
    }
}

fn clean(weight: f64) -> f64 {
    if weight.is_finite() && weight > 0.0 { weight } else { 0.0 }
}

/// FNV-1a, with a byte between the parts that no text contains.
pub(super) fn hash(parts: &[&str]) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| step(part.bytes().fold(hash, step), 0xff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_weights() {
        let items = [("a", 0.8), ("b", 0.2), ("c", 0.0)];
        let mut counts = [0_u32; 3];
        for seed in 0..10_000 {
            let (name, _) = Random::new(seed).draw(&items, |item| item.1).unwrap();
            counts[items.iter().position(|item| item.0 == *name).unwrap()] += 1;
        }
        assert!((7_800..8_200).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2], 0, "weight 0 is never drawn");
        assert_eq!(counts.iter().sum::<u32>(), 10_000);
    }

    #[test]
    fn without_weights_all_are_as_likely() {
        let items = [0.0, f64::NAN, -1.0, 0.0];
        let mut counts = [0_u32; 4];
        let places: [usize; 4] = [0, 1, 2, 3];
        for seed in 0..10_000 {
            counts[*Random::new(seed).draw(&places, |at| items[*at]).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (2_300..2_700).contains(count)), "{counts:?}");
        assert_eq!(Random::new(1).draw(&[] as &[u8], |_| 1.0), None);
    }

    #[test]
    fn a_session_stays_and_only_its_own_move() {
        let all = [("a", 0.5), ("b", 0.3), ("c", 0.2)];
        let without_b = [("a", 0.5), ("c", 0.2)];
        let (mut counts, mut moved) = ([0_u32; 3], 0);
        for number in 0..10_000 {
            let session = Session::of(&["vk", &number.to_string()]);
            let choose = |items| {
                let found: Option<&(&str, f64)> =
                    session.choose(items, |item: &(&str, f64)| item.0, |item| item.1);
                found.unwrap().0
            };
            let first = choose(&all);
            assert_eq!(first, choose(&all));
            counts[all.iter().position(|item| item.0 == first).unwrap()] += 1;
            moved += u32::from(first != "b" && choose(&without_b) != first);
        }
        assert_eq!(moved, 0);
        assert!((4_800..5_200).contains(&counts[0]), "{counts:?}");
        assert!((2_800..3_200).contains(&counts[1]), "{counts:?}");
    }
}
