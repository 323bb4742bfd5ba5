//! The stages, one file per family.

pub(crate) mod checksum;
mod copies;
mod dedup;
mod done;
pub(crate) mod flush;
mod gang;
mod nop_write;
pub(crate) mod space;
mod throttle;
mod transform;
mod vdev_io;
mod write_form;

use std::sync::Arc;

use zio_core::{IssueAsync, Ready, Stage};

pub(crate) use space::{allocate, overlapping};
pub(crate) use throttle::Throttle;
pub(crate) use vdev_io::{child_on, vdev_child};

use crate::cost;
use crate::shared::Shared;

/// One object for each stage of the table that has work to do here.
pub(crate) fn all(shared: &Arc<Shared>) -> Vec<Arc<dyn Stage>> {
    let s = || Arc::clone(shared);
    vec![
        Arc::new(transform::ReadBpInit::new(s())),
        Arc::new(write_form::WriteBpInit),
        Arc::new(dedup::FreeBpInit),
        Arc::new(IssueAsync::new(cost::is_light)),
        Arc::new(write_form::WriteCompress::new(s())),
        #[cfg(feature = "crypt")]
        Arc::new(crate::crypt::Encrypt::new(s())),
        Arc::new(checksum::Generate::new(s())),
        Arc::new(nop_write::NopWrite),
        Arc::new(dedup::DdtReadStart),
        Arc::new(dedup::DdtReadDone::new(s())),
        Arc::new(dedup::DdtWrite::new(s())),
        Arc::new(dedup::DdtFree::new(s())),
        Arc::new(gang::GangAssemble::new(s())),
        Arc::new(gang::GangIssue::new(s())),
        Arc::new(throttle::DvaThrottle::new(s())),
        Arc::new(space::DvaAllocate::new(s())),
        Arc::new(space::DvaFree::new(s())),
        Arc::new(space::DvaClaim::new(s())),
        Arc::new(Ready),
        Arc::new(vdev_io::IoStart::new(s())),
        Arc::new(vdev_io::IoDone::new(s())),
        Arc::new(vdev_io::IoAssess::new(s())),
        Arc::new(checksum::Verify::new(s())),
        Arc::new(done::Settle::new(s())),
    ]
}
