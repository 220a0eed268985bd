//! All tenants of a server, a share at a time.

use std::collections::BTreeSet;

use super::{Component, DONE, NOT_DONE, Swapper, exit_code};
use crate::admin::plugins::TenantListing;
use crate::admin::plugins::line::{Done, Refused, Wrong};
use crate::clock::pause as sleep;
use crate::program::Failure;

/// How often it is looked for faults during a pause, in milliseconds.
const LOOK_MILLISECONDS: u64 = 1_000;

/// What came of a fleet so far.
#[derive(Default)]
struct Swapped {
    /// The plugin's name.
    plugin: String,
    /// The component's SHA-256.
    component: String,
    /// Those of the share at work.
    share: Vec<String>,
    all: BTreeSet<String>,
    other: usize,
}

/// Swaps a share of the tenants after the other, with a pause between. Gives the exit code.
pub(super) fn swap(mut swapper: Swapper, component: &Component, percent: usize, pause: u64) -> Result<u8, Failure> {
    let mut tenants: Vec<String> = swapper.listing()?.tenants.into_iter().map(|listed| listed.tenant).collect();
    tenants.dedup();
    let size = (tenants.len() * percent).div_ceil(100).max(1);
    let mut swapped = Swapped::default();
    for share in tenants.chunks(size) {
        if let Some(code) = swapped.pause(&mut swapper, pause)? {
            return Ok(code);
        }
        swapped.share.clear();
        if let Some(code) = swapped.go_on(&mut swapper, component, share)? {
            return Ok(code);
        }
    }
    swapper.out.line(swapped.summary())?;
    swapper.out.end()?;
    Ok(DONE)
}

impl Swapped {
    /// Swaps a share, and looks for faults; some: it was stopped.
    fn go_on(&mut self, swapper: &mut Swapper, component: &Component, share: &[String]) -> Result<Option<u8>, Failure> {
        for tenant in share {
            match swapper.swap(tenant, component) {
                Ok(Ok(Done { plugin, to, .. })) => {
                    (self.plugin, self.component) = (plugin, to);
                    self.share.push(tenant.clone());
                    self.all.insert(tenant.clone());
                }
                Ok(Err(Refused { kind: Wrong::OtherPlugin, .. })) => self.other += 1,
                Ok(refused) => {
                    let undone = self.roll_back(swapper, BTreeSet::new())?;
                    return Ok(Some(if undone { exit_code(&refused) } else { NOT_DONE }));
                }
                Err(error) => {
                    self.roll_back(swapper, BTreeSet::new())?;
                    return Err(error);
                }
            }
        }
        self.look(swapper)
    }

    /// Waits, and looks for faults meanwhile; some: it was stopped.
    fn pause(&mut self, swapper: &mut Swapper, milliseconds: u64) -> Result<Option<u8>, Failure> {
        let mut left = if self.all.is_empty() { 0 } else { milliseconds };
        while left > 0 {
            let part = left.min(LOOK_MILLISECONDS);
            sleep(part);
            left -= part;
            if let Some(code) = self.look(swapper)? {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    /// Stops where one of those swapped had a fault since, or went back by itself.
    fn look(&mut self, swapper: &mut Swapper) -> Result<Option<u8>, Failure> {
        let tenants = swapper.listing()?.tenants;
        let is_mine = |listed: &TenantListing| listed.plugin == self.plugin && self.all.contains(&listed.tenant);
        let mine = tenants.into_iter().filter(is_mine);
        let (stayed, left): (Vec<_>, Vec<_>) = mine.partition(|listed| listed.sha256 == self.component);
        let faulty: Vec<&TenantListing> = stayed.iter().filter(|listed| listed.faults > 0).collect();
        if faulty.is_empty() && left.is_empty() {
            return Ok(None);
        }
        for TenantListing { tenant, faults, .. } in &faulty {
            swapper.out.line(format_args!("{tenant}: {faults} faults since the new version took over"))?;
        }
        for TenantListing { tenant, sha256, .. } in &left {
            swapper.out.line(format_args!("{tenant}: runs {sha256} by now"))?;
            self.share.retain(|mine| mine != tenant);
        }
        let faulty = faulty.iter().map(|listed| listed.tenant.clone()).collect();
        self.roll_back(swapper, faulty)?;
        Ok(Some(NOT_DONE))
    }

    /// Goes back with the share at work, and with those of earlier ones that had a fault. Whether all went back.
    fn roll_back(&mut self, swapper: &mut Swapper, faulty: BTreeSet<String>) -> Result<bool, Failure> {
        let back: BTreeSet<String> = self.share.drain(..).chain(faulty).collect();
        swapper.out.line(format_args!("stopped; {} of the tenants go back", back.len()))?;
        let mut undone = true;
        for tenant in &back {
            undone &= swapper.roll_back(tenant, Some(&self.plugin))?.is_ok();
            self.all.remove(tenant);
        }
        swapper.out.line(self.summary())?;
        swapper.out.flush()?;
        Ok(undone)
    }

    fn summary(&self) -> String {
        let other = match self.other {
            0 => String::new(),
            other => format!("; passed over: {other} that run another plugin"),
        };
        format!("swapped: {} tenants{other}", self.all.len())
    }
}
