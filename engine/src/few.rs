//! A map that mostly holds one entry: that one stands in the map itself, without memory of its own.
//!
//! Used for what a body holds open: a task that awaits one trace after the other never has more than one, and with
//! thousands of such runs under way it is the memory that each of them touches that costs time. Whatever is beyond one
//! stands in a hash map.
//!
//! Invariant: a key is in one of the two places, never in both.

use std::hash::Hash;

use rustc_hash::FxHashMap;

/// A map of few entries, or of many.
#[derive(Debug)]
pub(crate) struct Few<K, V> {
    first: Option<(K, V)>,
    more: FxHashMap<K, V>,
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self { first: None, more: FxHashMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V> Few<K, V> {
    /// Sets an entry; gives the one that it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, value));
        }
        match &self.first {
            None => self.first = Some((key, value)),
            Some(_) => drop(self.more.insert(key, value)),
        }
        None
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match &self.first {
            Some((first, value)) if first == key => Some(value),
            _ if self.more.is_empty() => None,
            _ => self.more.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.first {
            Some((first, value)) if first == key => Some(value),
            _ if self.more.is_empty() => None,
            _ => self.more.get_mut(key),
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        match &self.first {
            Some((first, _)) if first == key => self.first.take().map(|(_, value)| value),
            _ if self.more.is_empty() => None,
            _ => self.more.remove(key),
        }
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.first.iter().map(|(key, value)| (key, value)).chain(self.more.iter())
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_a_map_however_many_entries_it_has() {
        let (mut few, mut model) = (Few::default(), BTreeMap::new());
        // Whether an entry is set or removed, and which, from a multiplicative sequence that meets every pair of both.
        let mut state = 1u32;
        for value in 0..2000u32 {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            let (key, is_removal) = ((state >> 16) % 5, (state >> 24).is_multiple_of(2));
            if is_removal {
                assert_eq!(few.remove(&key), model.remove(&key));
            } else {
                assert_eq!(few.insert(key, value), model.insert(key, value));
            }
            for key in 0..5 {
                assert_eq!(few.get(&key), model.get(&key));
                assert_eq!(few.get_mut(&key), model.get_mut(&key));
            }
            assert_eq!(few.iter().collect::<BTreeMap<_, _>>(), model.iter().collect());
            assert_eq!(few.values().count(), model.len());
        }
    }
}
