//! Who watches whom. All peers stand on a ring, by the hashes of their names, and each watches those
//! that come next. So each is watched by as many as it watches, and one that comes or goes moves one
//! edge for each of those: every agent finds out by itself, and all agree.

use echo_core::splitmix::mix;

/// The ring of all names.
pub struct Ring<'a> {
    /// Each name with its hash, in the order of these.
    stations: Vec<(u64, &'a str)>,
}

impl<'a> Ring<'a> {
    /// The ring of these `names`.
    pub fn new(names: impl Iterator<Item = &'a str>) -> Self {
        let mut stations: Vec<_> = names.map(|name| (hash(&[name]), name)).collect();
        stations.sort_unstable();
        Ring { stations }
    }

    /// The `count` that come next after `name`, which need not be on the ring itself; 0 stands for
    /// all others.
    pub fn after(&self, name: &str, count: usize) -> Vec<&'a str> {
        let own = (hash(&[name]), name);
        let start = self.stations.partition_point(|station| *station <= own);
        let (before, after) = self.stations.split_at(start);
        let names = after.iter().chain(before).map(|(_, name)| *name);
        let others = names.filter(|other| *other != name);
        let count = if count == 0 { usize::MAX } else { count };
        others.take(count).collect()
    }
}

/// A hash that is the same in every version and on every machine: FNV-1a (Fowler, Noll, Vo), whose
/// last letters reach the low bits alone, and a mix of those with all others.
pub fn hash(words: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in words {
        for byte in word.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    mix(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn edges(names: &[String], count: usize) -> BTreeSet<(&str, &str)> {
        let ring = Ring::new(names.iter().map(String::as_str));
        let edges = names.iter().flat_map(|name| {
            ring.after(name, count)
                .into_iter()
                .map(move |to| (&**name, to))
        });
        edges.collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("node-{n}")).collect()
    }

    #[test]
    fn everyone_is_watched_by_as_many_as_it_watches() {
        let names = names(100);
        for count in [1, 7, 32, 99] {
            let mut watchers = BTreeMap::<_, usize>::new();
            let edges = edges(&names, count);
            edges
                .iter()
                .for_each(|(_, to)| *watchers.entry(to).or_default() += 1);
            assert_eq!(edges.len(), 100 * count);
            assert!(watchers.values().all(|watchers| *watchers == count));
            assert!(edges.iter().all(|(from, to)| from != to));
        }
        assert_eq!(edges(&names, 0), edges(&names, 99), "0 is for all");
        assert_eq!(edges(&names[..3], 32).len(), 6, "there are no more");
        assert_eq!(edges(&names[..1], 32).len(), 0);
    }

    #[test]
    fn one_that_leaves_moves_an_edge_for_each_of_its_watchers() {
        let all = names(100);
        let before = edges(&all, 8);
        for gone in 0..100 {
            let mut left = all.clone();
            left.remove(gone);
            let after = edges(&left, 8);
            assert_eq!(after.difference(&before).count(), 8);
        }
    }

    #[test]
    fn whoever_is_on_no_list_watches_as_many() {
        let names = names(100);
        let ring = Ring::new(names.iter().map(String::as_str));
        assert_eq!(ring.after("elsewhere", 5).len(), 5);
    }

    #[test]
    fn hashes_stay_as_they_are() {
        assert_eq!(
            hash(&["node-1"]),
            2476000841061255645,
            "agents of two versions would disagree"
        );
        assert_ne!(hash(&["a", "b"]), hash(&["ab"]));
    }
}
