//! The faults of a server as they are now. Each has a number that no other ever gets.

use std::sync::Arc;

use super::plan::Plan;
use super::{Fault, Numbered};

/// The faults, and the number from which their chance follows.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    numbered: u64,
    list: Vec<Numbered>,
}

impl Faults {
    pub(crate) fn new(seed: u64, faults: Vec<Fault>) -> Self {
        let mut new = Faults {
            seed,
            numbered: 0,
            list: Vec::new(),
        };
        new.change(|_| false, faults);
        new
    }

    /// Takes those away that are `gone`, and adds `new` ones. Returns both.
    pub(crate) fn change(
        &mut self,
        gone: impl Fn(u64) -> bool,
        new: Vec<Fault>,
    ) -> (Vec<Numbered>, Vec<Numbered>) {
        let list = std::mem::take(&mut self.list);
        let (gone, left) = list.into_iter().partition(|fault| gone(fault.number));
        self.list = left;
        let numbers = self.numbered + 1..;
        let new: Vec<_> = numbers
            .zip(new)
            .map(|(number, fault)| Numbered { number, fault })
            .collect();
        self.numbered += new.len() as u64;
        self.list.extend(new.iter().cloned());
        (gone, new)
    }

    pub(crate) fn list(&self) -> &[Numbered] {
        &self.list
    }

    /// These, made ready to be asked; `None` where there are none.
    pub(crate) fn plan(&self) -> Option<Arc<Plan>> {
        Plan::new(self.seed, &self.list)
    }
}
