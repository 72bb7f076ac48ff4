//! Giving up power, for good. Each function leaves its process with less than before and none returns half done: an
//! error ends the process.

use std::ops::ControlFlow;

use jail::{Failure, Limits, Step};
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::failure::Because;

/// Capability numbers are asked for in order until the kernel knows no more; a kernel can't have more than these.
const CAPABILITIES_MAX: u32 = 64;

/// Dies with its parent from here on. Changing users undoes it, so it is asked for again after that.
pub fn die_with_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .because(Step::Identity, || "the sandbox can't be tied to its supervisor".into())
}

/// No other process may look into this one's memory or files.
pub fn be_opaque() -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).because(Step::Identity, || "the jail can't hide its memory".into())
}

/// Takes on a user and group with no others beside.
pub fn become_user(uid: u32, gid: u32, may_set_groups: bool) -> Result<(), Failure> {
    let say = || format!("user {uid} and group {gid} can't be taken on");
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if may_set_groups {
        set_thread_groups(&[]).because(Step::Identity, say)?;
    }
    set_thread_res_gid(group, group, group).because(Step::Identity, say)?;
    set_thread_res_uid(user, user, user).because(Step::Identity, say)
}

/// Takes away every way to gain a capability, while there is still the one that this takes. Held ones stay until
/// [`drop_capabilities`], whatever user is taken on in between.
pub fn bar_capabilities() -> Result<(), Failure> {
    let say = || "capabilities can't be barred".into();
    clear_ambient_capability_set().because(Step::Identity, say)?;
    drop_bounding_set().because(Step::Identity, say)?;
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )
    .because(Step::Identity, say)
}

/// Drops every held capability; from here on no program that is executed gains any right.
pub fn drop_capabilities() -> Result<(), Failure> {
    let say = || "capabilities can't be dropped".into();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .because(Step::Identity, say)?;
    set_no_new_privs(true).because(Step::Identity, say)
}

fn drop_bounding_set() -> Result<(), Errno> {
    let flow = (0..CAPABILITIES_MAX).try_for_each(|number| {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => ControlFlow::Continue(()),
            // The first number that this kernel does not know.
            Err(Errno::INVAL) if number > 0 => ControlFlow::Break(Ok(())),
            Err(errno) => ControlFlow::Break(Err(errno)),
        }
    });
    flow.break_value().unwrap_or(Ok(()))
}

/// What building and ending sandboxes takes; a helper and what it forks keep no more.
const HELPERS: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_RESOURCE)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_CHROOT);

/// Drops what a helper has no use for, and with it the whole of what it could gain by executing something. Its memory is
/// nobody's to read.
pub fn keep_only_the_helpers() -> Result<(), Failure> {
    let say = || "capabilities can't be dropped".into();
    let held = rustix::thread::capabilities(None).because(Step::Identity, say)?;
    let kept = held.permitted & HELPERS;
    let sets = CapabilitySets { effective: held.effective & kept, permitted: kept, inheritable: CapabilitySet::empty() };
    clear_ambient_capability_set().because(Step::Identity, say)?;
    set_capabilities(None, sets).because(Step::Identity, say)?;
    set_no_new_privs(true).because(Step::Identity, say)?;
    be_opaque()
}

/// Bounds what each process of the agent may use. A lower bound that the caller already has stays.
pub fn limit_resources(limits: &Limits) -> Result<(), Failure> {
    let bounds = [
        (Resource::Core, Some(0)),
        (Resource::Nofile, Some(limits.files_open)),
        // One more than the control group's, so that where there is one it is what refuses, and counts.
        (Resource::Nproc, Some(u64::from(limits.pids).saturating_add(1))),
        (Resource::Fsize, limits.file_size_bytes),
    ];
    for (resource, bound) in bounds {
        let Some(bound) = bound else { continue };
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX).min(bound);
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).because(Step::Limits, || format!("{resource:?} can't be limited to {most}"))?;
    }
    Ok(())
}
